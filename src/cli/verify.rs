//! `binlogfs verify`: the chain, the objects, with `--deep` every byte; and what a second copy heals.

mod report;

use super::agent::host_name;
use super::exit::Exit;
use super::{Global, output, reading, status_locks};
use crate::cache::opening::TailCache;
use crate::cache::{CacheOptions, SegmentReader};
use crate::config;
use crate::index::Index;
use crate::model::{Micros, StoreUrl};
use crate::store::{self, OpenMode, SharedStore};
use crate::stream;
use crate::sync::Pace;
use crate::sync::heal::OwnFiles;
use crate::telemetry;
use crate::verify::deep::{self, Reading};
use crate::verify::proofs::{self, PROOFS_NAME};
use crate::verify::repair::Repair;
use crate::verify::{Audit, Finding, FindingKind, Proofs};
use anyhow::{Context as _, Result, bail};
use report::Report;
use std::path::PathBuf;
use std::sync::Arc;

#[derive(clap::Args, Debug)]
pub struct VerifyArgs {
    /// The stream, such as file:///srv/binlogs/orders.
    url: StoreUrl,
    /// Read every segment: decrypt, decompress, hash, and scan it again. Needs --identity where segments are encrypted.
    #[arg(long)]
    deep: bool,
    /// Read at most so much of what is stored, such as 50GiB: what this host has never read first, then what it read longest ago.
    #[arg(long, value_name = "SIZE", value_parser = config::size, requires = "deep")]
    budget: Option<u64>,
    /// Read only what this host has never read and found right.
    #[arg(long, requires = "deep")]
    since_last: bool,
    /// Bytes per second read from the store at most, such as 50MB.
    #[arg(long, value_name = "RATE", value_parser = config::rate, requires = "deep")]
    rate: Option<u64>,
    /// List objects that no record names, and those that later records have replaced; and count those that fences took out.
    #[arg(long)]
    orphans: bool,
    /// Ask of every segment whether and until when its object is locked.
    #[arg(long)]
    locks: bool,
    /// Heal what a --replica can heal. Nothing is removed: a damaged object stays beside the good one that takes its place.
    #[arg(long, requires = "replica")]
    repair: bool,
    /// Remove damaged records and pages, whose places are taken otherwise. Takes the right to delete.
    #[arg(long, requires = "repair")]
    replace: bool,
    /// Heal what the server's own binlogs can heal: an object that is lost or damaged is made anew from its file, if that is still
    /// listed here and its SHA-256 is the one recorded.
    #[arg(long, value_name = "DATADIR|BASENAME.index")]
    repair_from: Option<PathBuf>,
}

pub async fn run(global: &Global, args: &VerifyArgs) -> Result<Exit> {
    let started_at = Micros::now();
    let store = store::open(&args.url, OpenMode::Existing).await?;
    let mut replicas = Vec::new();
    for url in &global.replica {
        replicas.push(store::open(url, OpenMode::Existing).await?);
    }
    let repair = repair(global, args)?;
    let mut audit = open(&store, replicas, repair.as_ref()).await?;
    let mut report = Report::new(&args.url, started_at, &audit);
    let looked = look_over(global, args, repair.as_ref(), &mut audit, &mut report).await;
    report.finish(&audit);
    if let Err(error) = looked {
        // It may have taken hours: what was found and healed is told whatever came after it.
        if !audit.findings.is_empty() {
            report.failed = Some(telemetry::message(&error));
            report.print(global, &audit.segments)?;
        }
        return Err(error);
    }
    report.print(global, &audit.segments)?;
    Ok(match report.is_clean() {
        true => Exit::Done,
        false => Exit::Findings,
    })
}

async fn look_over(
    global: &Global,
    args: &VerifyArgs,
    repair: Option<&Repair>,
    audit: &mut Audit,
    report: &mut Report,
) -> Result<()> {
    if repair.is_some() {
        // A store that overwrites what is there would lose what an archiver makes meanwhile.
        let probed = stream::probe_condition(audit.store(), audit.stream().file_bytes()).await;
        probed.context("nothing was repaired")?;
    }
    check_ledger(global, args, audit, repair).await?;
    audit.check_objects().await;
    let reading = match args.deep {
        true => {
            check_keys(global, audit)?;
            Some(reader(global, args, audit)?)
        }
        false => None,
    };
    if let Some(reading) = &reading {
        read_due(global, args, reading, audit, report).await?;
    }
    audit.drop_gone().await?;
    if let Some(repair) = repair {
        audit
            .repair_objects(repair, reading.as_ref().map(|(reading, _)| reading))
            .await?;
    }
    if args.locks {
        let counts = status_locks::count(audit.store(), &audit.segments, Micros::now()).await?;
        report.locks = Some(counts);
    }
    if args.orphans {
        match audit.unread().await? {
            Some(unread) => {
                (report.orphans, report.superseded) =
                    (Some(unread.orphans), Some(unread.superseded));
                report.fenced = Some(unread.fenced);
            }
            None => eprintln!(
                "binlogfs: note: orphans are not listed: the ledger cannot be read whole, and an object whose record cannot be read would \
                 pass for one"
            ),
        }
    }
    Ok(())
}

/// What may be healed, and from where, if anything.
fn repair(global: &Global, args: &VerifyArgs) -> Result<Option<Repair>> {
    let archiver = format!("binlogfs {} on {}", env!("CARGO_PKG_VERSION"), host_name());
    let own_files = match &args.repair_from {
        Some(source) => {
            let index = reading::index_path(global, &args.url)?;
            Some(OwnFiles {
                source: source.clone(),
                dir: index.parent().unwrap_or(&index).to_owned(),
                by: archiver.clone(),
            })
        }
        None => None,
    };
    let wanted = args.repair || own_files.is_some();
    Ok(wanted.then_some(Repair {
        replace: args.replace,
        archiver,
        own_files,
    }))
}

/// Opens the stream; `stream.json` is put back first where that is asked for and needed.
async fn open(
    store: &SharedStore,
    replicas: Vec<SharedStore>,
    repair: Option<&Repair>,
) -> Result<Audit> {
    let error = match Audit::open(store, replicas.clone()).await {
        Ok(audit) => return Ok(audit),
        Err(error) => error,
    };
    let Some(repair) = repair.filter(|_| Audit::lacks_stream_file(&error)) else {
        return Err(error);
    };
    let mut finding = Finding::new(FindingKind::Ledger, error.to_string());
    finding.healed(repair.stream_file(store, &replicas).await?);
    let mut audit = Audit::open(store, replicas).await?;
    audit.findings.insert(0, finding);
    Ok(audit)
}

async fn check_ledger(
    global: &Global,
    args: &VerifyArgs,
    audit: &mut Audit,
    repair: Option<&Repair>,
) -> Result<()> {
    if let Some(repair) = repair {
        audit.repair_records(repair).await?;
    }
    audit.compare_ends(repair).await?;
    let seen = reading::index_path(global, &args.url)
        .ok()
        .filter(|path| path.exists());
    if let Some((seen, _)) = seen.and_then(|path| Index::open(&path).ok()) {
        // One that cannot be read tells nothing.
        if let Err(error) = audit.check_seen(&seen) {
            tracing::debug!(%error, "the local index");
        }
    }
    audit.check_pages().await?;
    if let Some(repair) = repair {
        audit.repair_pages(repair).await?;
    }
    audit.check_entries()
}

/// Without a key nothing is wrong with the archive, only with the call.
fn check_keys(global: &Global, audit: &Audit) -> Result<()> {
    let (count, recipients) = &audit.encrypted;
    if *count > 0 && global.identity.is_empty() {
        let for_whom: Vec<&str> = recipients.iter().map(String::as_str).collect();
        let segments = output::count(*count, "segment");
        let are = output::of_number(*count, "is", "are");
        bail!(
            "{segments} {are} encrypted for {}: --deep needs the private key of one of them, --identity FILE",
            for_whom.join(", ")
        );
    }
    Ok(())
}

fn reader(
    global: &Global,
    args: &VerifyArgs,
    audit: &Audit,
) -> Result<(Reading, indicatif::ProgressBar)> {
    let identities = reading::identities(&global.identity)?;
    let reader = SegmentReader::new(
        Arc::clone(audit.store()),
        identities.clone(),
        Some(Arc::clone(audit.index()) as Arc<dyn TailCache>),
        CacheOptions::default(),
    );
    let bar = output::byte_bar(0);
    let shown = bar.clone();
    let reading = Reading {
        reader: Arc::new(reader),
        reader_of: Arc::new(move |store| {
            SegmentReader::new(store, identities.clone(), None, CacheOptions::default())
        }),
        pace: Arc::new(Pace::new(None, args.rate, None)),
        on_read: Arc::new(move |bytes, name| {
            shown.inc(bytes);
            shown.set_message(name.to_owned());
        }),
    };
    Ok((reading, bar))
}

/// Reads what is due, and remembers what was right.
async fn read_due(
    global: &Global,
    args: &VerifyArgs,
    (reading, bar): &(Reading, indicatif::ProgressBar),
    audit: &mut Audit,
    report: &mut Report,
) -> Result<()> {
    let mut proofs = proofs(global, args, audit)?;
    let index = Arc::clone(audit.index());
    let due = proofs::due(
        &audit.segments,
        |key| proofs.as_ref().and_then(|proofs| proofs.at(key)),
        args.budget,
        args.since_last,
    );
    let sizes = due.iter().map(|segment| segment.size);
    bar.set_length(sizes.fold(0, u64::saturating_add));
    let mut failed = None;
    let findings = &mut audit.findings;
    deep::read_all(reading, &index, due, |segment, finding| {
        let at = finding.is_none().then(Micros::now);
        report.segments_read += 1;
        report.read.insert(segment.seq.0);
        // What could not be read was not found wrong: when it was last right stays as it was.
        let is_known =
            finding.as_ref().map(|finding| finding.kind) != Some(FindingKind::ObjectUnknown);
        if let Some(proofs) = proofs.as_mut().filter(|_| is_known)
            && let Err(error) = proofs.note(&segment.key, at)
        {
            failed.get_or_insert(error);
        }
        findings.extend(finding);
    })
    .await;
    report.bytes_read = bar.position();
    bar.finish_and_clear();
    if let Some(proofs) = proofs {
        report.proven(&audit.segments, &proofs);
    }
    match failed {
        Some(error) if args.budget.is_some() || args.since_last => {
            Err(error).context("what was read cannot be remembered; pass --cache-dir")
        }
        Some(error) => {
            tracing::warn!(%error, "what was read cannot be remembered");
            Ok(())
        }
        None => Ok(()),
    }
}

/// What this host has proven before. Only those who ask for a part need it.
fn proofs(global: &Global, args: &VerifyArgs, audit: &Audit) -> Result<Option<Proofs>> {
    let id = audit.stream().file().stream_id;
    let opened = reading::index_path(global, &args.url)
        .and_then(|path| Proofs::open(&path.with_file_name(PROOFS_NAME), id));
    match opened {
        Ok(proofs) => Ok(Some(proofs)),
        Err(error) if args.budget.is_some() || args.since_last => Err(error),
        Err(error) => {
            tracing::warn!(%error, "what is read is not remembered");
            Ok(None)
        }
    }
}

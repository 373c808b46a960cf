//! `binlogfs migrate`: a stream to another place, without a gap.

use super::agent::host_name;
use super::exit::Exit;
use super::signals::Signals;
use super::{Global, output, reading};
use crate::backup::RegistryError;
use crate::config::LEVEL_MAX;
use crate::index::Index;
use crate::model::StoreUrl;
use crate::segment::Recipients;
use crate::store::{self, OpenMode};
use crate::stream::{Stream, StreamError};
use crate::sync::anew::{Anew, unreadable};
use crate::sync::archive::LEVEL_DEFAULT;
use crate::sync::migrate::{Migration, Order, Report, check_encryption, look, open_copy};
use crate::sync::system_clock;
use crate::telemetry;
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How often --follow looks for new records: the time between two files of a busy server is longer.
const FOLLOW_EVERY: Duration = Duration::from_secs(2);

/// Copy a stream to another bucket, cloud or prefix, record by record, and move its archivers there.
///
/// Without --cut-over the stream goes on where it is, and the copy is brought up to date each time; with --follow it stays so.
/// Every object is copied byte for byte and held against its recorded checksums. With --identity, and where nothing is encrypted,
/// each copy is read back to its last byte, too, and its SHA-256 compared. Registered backups are carried over, and that they
/// were removed, too.
///
/// With --recipient, --level or --allow-unencrypted objects are not copied but made anew: each segment is read with --identity (the key
/// that opens it now), its SHA-256 compared with its record, and what was read is compressed and encrypted again and sent, in one pass
/// and without a file on this host. A second --identity, of one of the new recipients, reads each back. The new objects are of the
/// format that this build writes. Say the same in every run of one copy.
///
/// --cut-over brings the copy up to date and closes the stream at its old place for good, with a record that says where it went:
/// an archiver that meets it stops, and says so. Point it to the new place; nothing is archived twice, and nothing is left out.
/// All other records and all objects of the old place stay as they are.
#[derive(clap::Args, Debug)]
pub struct MigrateArgs {
    /// The stream, such as file:///srv/binlogs/orders.
    from: StoreUrl,
    /// Where it is to be, such as s3://bucket/prod/orders. Nothing else may be archived there.
    to: StoreUrl,
    /// Stay, and carry every new record over, until SIGTERM or SIGINT.
    #[arg(long, conflicts_with_all = ["cut_over", "dry_run"])]
    follow: bool,
    /// Close the old place when the new one has everything.
    #[arg(long, conflicts_with = "dry_run")]
    cut_over: bool,
    /// Say what would be copied.
    #[arg(long)]
    dry_run: bool,
    /// Public key that the copy is to be for: objects are made anew. May be repeated.
    #[arg(long, value_name = "age1...")]
    recipient: Vec<String>,
    /// zstd level of the copy, 1 to 19: objects are made anew.
    #[arg(long, value_parser = clap::value_parser!(i32).range(1..=i64::from(LEVEL_MAX)))]
    level: Option<i32>,
    /// The copy is not encrypted, though the stream may be: objects are made anew.
    #[arg(long, conflicts_with = "recipient")]
    allow_unencrypted: bool,
}

impl MigrateArgs {
    fn is_anew(&self) -> bool {
        !self.recipient.is_empty() || self.level.is_some() || self.allow_unencrypted
    }

    /// How objects are made anew, if that is asked for.
    fn anew(&self, index: &Path) -> Result<Option<Anew>> {
        if !self.is_anew() {
            return Ok(None);
        }
        Ok(Some(Anew {
            recipients: Recipients::parse(&self.recipient)?,
            allow_unencrypted: self.allow_unencrypted,
            level: self.level.unwrap_or(LEVEL_DEFAULT),
            dir: index.parent().unwrap_or(index).to_owned(),
        }))
    }
}

async fn opened(global: &Global, url: &StoreUrl) -> Result<Stream> {
    let store = store::open(url, OpenMode::Existing).await?;
    let (index, _) = Index::open(&reading::index_path_of_many(global, url)?)?;
    Ok(Stream::open(store, Arc::new(index)).await?)
}

/// Both places are taken as they are: what the first copy lacks is to be healed there, and the record that closes it goes nowhere
/// else.
fn check_replicas(global: &Global, args: &MigrateArgs) -> Result<()> {
    if global.replica.is_empty() {
        return Ok(());
    }
    bail!(
        "'migrate' reads and closes {} itself and writes to {} alone, so that --replica has no effect: run it without. 'binlogfs verify --repair \
         --replica' heals a stream beforehand, and 'binlogfs replicate' fills a replica of the new place afterwards",
        args.from,
        args.to
    )
}

pub async fn run(global: &Global, args: &MigrateArgs) -> Result<Exit> {
    check_replicas(global, args)?;
    let from = opened(global, &args.from).await?;
    let index = reading::index_path_of_many(global, &args.to)?;
    let anew = args.anew(&index)?;
    if args.dry_run {
        let to = match opened(global, &args.to).await {
            Ok(to) => Some(to),
            Err(error) if reading::is_nothing_there(&error) => None,
            Err(error) => return Err(error),
        };
        let report = look(&from, to.as_ref(), anew.as_ref()).await?;
        print(global, args, &report)?;
        return Ok(Exit::Done);
    }
    if let Some(anew) = &anew {
        check_encryption(&from, anew).await?;
    }
    let order = Order {
        to_url: args.to.to_string(),
        identities: reading::identities(&global.identity)?,
        anew,
        by: format!("binlogfs {} on {}", env!("CARGO_PKG_VERSION"), host_name()),
        clock: system_clock(),
        stop: Arc::new(AtomicBool::new(false)),
    };
    let store = store::open(&args.to, OpenMode::Create).await?;
    let (index, _) = Index::open(&index)?;
    let to = open_copy(&from, store, Arc::new(index), &order.clock).await?;
    let bar = output::tally_bar("records");
    let progress = |report: &Report| bar.set_position(report.compared + report.carried);
    let mut migration = Migration::begin(&from, &to, &order).await?;
    let report = match (args.cut_over, args.follow) {
        (true, _) => {
            let ended = migration.cut_over(progress).await;
            ended.context("the migration ended before its cut-over was done; run it again")?
        }
        (false, true) => follow(migration, &order, progress).await?,
        (false, false) => {
            let old = migration.catch_up(progress).await?;
            migration.carry_backups().await?;
            migration.finish(&old)
        }
    };
    bar.finish_and_clear();
    print(global, args, &report)?;
    Ok(Exit::Done)
}

/// Carries over what comes, until a signal or the cut-over of another run.
async fn follow(
    mut migration: Migration<'_>,
    order: &Order,
    progress: impl Fn(&Report),
) -> Result<Report> {
    let mut stopped = Signals::stop()?;
    let (stop, mut heard) = (Arc::clone(&order.stop), stopped.clone());
    tokio::spawn(async move {
        if heard.wait_for(|stopped| *stopped).await.is_ok() {
            stop.store(true, Ordering::Relaxed);
        }
    });
    loop {
        // The store may be away for a while: what was carried over stays.
        let outcome = migration.catch_up(&progress).await;
        if let Err(error) = &outcome {
            if !is_passing(error) {
                return outcome.map(|old| migration.finish(&old));
            }
            tracing::warn!("{}; trying again", telemetry::message(error));
        }
        let over = outcome.as_ref().is_ok_and(|old| old.moved.is_some());
        if over || ended_within(FOLLOW_EVERY, &mut stopped).await {
            migration.carry_backups().await?;
            let old = outcome?;
            return Ok(migration.finish(&old));
        }
    }
}

/// Whether a signal comes within `time`.
async fn ended_within(time: Duration, stopped: &mut watch::Receiver<bool>) -> bool {
    let stop = stopped.wait_for(|stopped| *stopped);
    tokio::time::timeout(time, stop).await.is_ok()
}

/// Whether an error is one of a store that may answer later.
fn is_passing(error: &anyhow::Error) -> bool {
    let of_store =
        { error.chain() }.any(|cause| of_store(cause).is_some_and(store::Error::is_transient));
    of_store || unreadable(error).is_some_and(|read| read.cause.is_passing())
}

/// The store's error that `cause` is, or passes on: then it does not stand in a chain itself.
fn of_store<'e>(cause: &'e (dyn std::error::Error + 'static)) -> Option<&'e store::Error> {
    let of_stream = || match cause.downcast_ref::<StreamError>()? {
        StreamError::Store(error) => Some(error),
        _ => None,
    };
    let of_registry = || match cause.downcast_ref::<RegistryError>()? {
        RegistryError::Store(error) => Some(error),
        _ => None,
    };
    let own = cause.downcast_ref::<store::Error>();
    own.or_else(of_stream).or_else(of_registry)
}

fn print(global: &Global, args: &MigrateArgs, report: &Report) -> Result<()> {
    if global.json {
        let mut json = serde_json::to_value(report)?;
        json["from"] = args.from.to_string().into();
        json["to"] = args.to.to_string().into();
        json["dry_run"] = args.dry_run.into();
        json["made_anew"] = args.is_anew().into();
        return output::print_json(&json);
    }
    let mut text = match args.dry_run {
        true => "would carry over ".to_owned(),
        false => "carried over ".to_owned(),
    };
    text += &format!(
        "{} of {}",
        output::count(report.carried, "record"),
        report.records
    );
    text += &match args.is_anew() {
        true => made(args, report),
        false => format!(
            ", with {} ({})\n",
            output::count(report.objects_copied, "object"),
            output::size(report.bytes_copied)
        ),
    };
    if report.compared > 0 {
        let were = output::count(report.compared, "record");
        text += &format!("{were} there already, and the same\n");
    }
    if report.objects_there > 0 {
        let were = output::count(report.objects_there, "object");
        text += &format!("{were} there already, with the recorded checksums\n");
    }
    if report.objects_gone > 0 {
        let gone = output::count(report.objects_gone, "object");
        text += &match args.is_anew() {
            true => format!("{gone} of pruned or replaced segments not made: nothing reads them\n"),
            false => {
                format!("{gone} of pruned or replaced segments not in the old place any more\n")
            }
        };
    }
    text += &proven(args, report);
    if report.backups > 0 {
        text += &format!("{}\n", output::count(report.backups, "registered backup"));
    }
    if report.backups_removed > 0 {
        let removed = output::count(report.backups_removed, "backup");
        text += &format!("{removed} taken off the list, as in the old place\n");
    }
    text += &match (report.cut_over, args.dry_run) {
        (true, _) => format!(
            "cut over: {} is closed; point the archivers to {}\n",
            args.from, args.to
        ),
        (false, true) => String::new(),
        (false, false) => format!("{} goes on: --cut-over closes it\n", args.from),
    };
    output::print(&text)
}

/// What was made anew, and what was proven of it.
fn made(args: &MigrateArgs, report: &Report) -> String {
    let objects = output::count(report.objects_made, "object");
    let for_whom = match args.recipient.as_slice() {
        [] => "for nobody (not encrypted)".to_owned(),
        recipients => format!("for {}", recipients.join(", ")),
    };
    let read = output::size(report.bytes_read);
    match args.dry_run {
        true => format!(", and make {objects} anew {for_whom} ({read} to be read)\n"),
        false => format!(
            ", with {objects} made anew {for_whom} ({read} read, {} stored)\n{objects} made of bytes with the recorded SHA-256\n",
            output::size(report.bytes_made)
        ),
    }
}

/// How far the copies were read.
fn proven(args: &MigrateArgs, report: &Report) -> String {
    let mut text = String::new();
    if report.read_back > 0 {
        text += &format!(
            "{} read back: SHA-256 as recorded\n",
            copies(report.read_back)
        );
    }
    if report.checksums_only > 0 {
        let only = copies(report.checksums_only);
        text += &match args.is_anew() {
            true => {
                format!("{only} not read back: no --identity is of one of the new recipients\n")
            }
            false => {
                format!(
                    "{only} held against checksums only: no --identity opens what is in there\n"
                )
            }
        };
    }
    text
}

fn copies(count: u64) -> String {
    match count {
        1 => "1 copy".to_owned(),
        n => format!("{n} copies"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::ReadError;
    use crate::ledger::StreamFile;
    use crate::store::ErrorKind;

    #[test]
    fn a_store_that_is_away_for_a_while_is_tried_again_whoever_tells_of_it() {
        let error = |kind| store::Error::new(kind, "get", StreamFile::key(), "s3://b");
        for (kind, passes) in [(ErrorKind::Timeout, true), (ErrorKind::Denied, false)] {
            let read = ReadError {
                segment: "binlog.000001".into(),
                object: "segments/x".into(),
                cause: error(kind).into(),
            };
            let told: [anyhow::Error; 5] = [
                error(kind).into(),
                anyhow::Error::from(error(kind)).context("record 7"),
                StreamError::from(error(kind)).into(),
                RegistryError::from(error(kind)).into(),
                anyhow::Error::from(read).context("the copy does not read"),
            ];
            for told in told {
                assert_eq!(is_passing(&told), passes, "{told:#}");
            }
        }
    }
}

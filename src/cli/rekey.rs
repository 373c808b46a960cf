//! `binlogfs rekey`: other recipients for what is archived, in records alone or with new objects.

use super::agent::host_name;
use super::exit::Exit;
use super::{Global, output, reading};
use crate::config::LEVEL_MAX;
use crate::index::Index;
use crate::model::{Seq, StoreUrl};
use crate::segment::Recipients;
use crate::store::{self, OpenMode, Writers};
use crate::stream::Stream;
use crate::sync::anew::Anew;
use crate::sync::append;
use crate::sync::archive::LEVEL_DEFAULT;
use crate::sync::rekey::{Order, Rekeying, Report};
use crate::sync::system_clock;
use anyhow::{Context as _, Result, bail};
use std::sync::Arc;

/// Give archived segments to other keys: with --identity the key that opens them now, with --recipient those that are to.
///
/// For each encrypted segment a record is added to the ledger that carries a new age header: the same file key, wrapped for the
/// new recipients. No object is read but for its header and tail, and none is written. Run again, it goes on where it was.
///
/// This takes nothing from whoever has an old key: he can still open the objects themselves, whose own headers stay. --rewrite stores
/// each segment again instead, under a new key of the bucket and with a new file key, in one pass; 'binlogfs prune --superseded' then
/// deletes the old objects a day later. It does not change for whom new segments are encrypted either: that is the archiver's --recipient, or its configuration.
#[derive(clap::Args, Debug)]
pub struct RekeyArgs {
    /// The stream, such as s3://bucket/prod/orders.
    url: StoreUrl,
    /// Public key that is to open the segments; may be repeated, and those given are all there will be.
    #[arg(long, value_name = "age1...", required = true)]
    recipient: Vec<String>,
    /// Only segments that were archived with this one or after it: a name of the newest timeline, as 'binlogfs ls' shows it.
    #[arg(long, value_name = "NAME")]
    since: Option<String>,
    /// Say what would be done, from the ledger alone.
    #[arg(long)]
    dry_run: bool,
    /// Read each segment and store it again, encrypted with a new file key, instead of carrying a new header in its record.
    #[arg(long)]
    rewrite: bool,
    /// zstd level of what is stored again, 1 to 19.
    #[arg(long, requires = "rewrite", default_value_t = LEVEL_DEFAULT, value_parser = clap::value_parser!(i32).range(1..=i64::from(LEVEL_MAX)))]
    level: i32,
    /// The store has no conditional create, and nobody else writes to the stream meanwhile.
    #[arg(long)]
    single_writer: bool,
}

pub async fn run(global: &Global, args: &RekeyArgs) -> Result<Exit> {
    if global.identity.is_empty() {
        bail!(
            "re-keying needs the private key that opens the segments now: --identity FILE, or BINLOGFS_IDENTITY"
        );
    }
    let identities = reading::identities(&global.identity)?;
    let recipients = Recipients::parse(&args.recipient)?;
    let writers = match args.single_writer {
        true => Writers::One,
        false => Writers::Many,
    };
    let store = store::open_for(
        &args.url,
        OpenMode::Existing,
        writers,
        None,
        store::Protection::default(),
    )
    .await?;
    let path = reading::index_path(global, &args.url)?;
    let (index, _) = Index::open(&path)?;
    let stream = Stream::open(store, Arc::new(index)).await?;
    let order = Order {
        since: since(&stream, args.since.as_deref()).await?,
        identities,
        rewrite: args.rewrite.then(|| Anew {
            recipients: recipients.clone(),
            allow_unencrypted: false,
            level: args.level,
            dir: path.parent().unwrap_or(&path).to_owned(),
        }),
        recipients,
        dry_run: args.dry_run,
        single_writer: args.single_writer,
        by: format!("binlogfs {} on {}", env!("CARGO_PKG_VERSION"), host_name()),
        clock: system_clock(),
    };
    let bar = output::tally_bar("segments");
    let report = Rekeying::begin(&stream, &order)
        .await?
        .run(|report| bar.set_position(report.segments))
        .await;
    bar.finish_and_clear();
    let report = report.context(
        "re-keying ended early: segments that were re-keyed are so for good, and another run goes on with the others",
    )?;
    print(global, args, &order, &report)?;
    Ok(match report.is_complete() {
        true => Exit::Done,
        false => Exit::Findings,
    })
}

/// The record that introduced the segment `name`; the first, if none is named.
async fn since(stream: &Stream, name: Option<&str>) -> Result<Seq> {
    let Some(name) = name else {
        return Ok(Seq(1));
    };
    let state = append::followed(stream).await?;
    let (timeline, _) = state
        .newest_timeline()
        .context("the stream has no segment yet")?;
    let entry = stream.index().entry(timeline, &name.parse()?)?;
    let entry = entry.with_context(|| {
        format!("timeline {timeline} has no {name}; 'binlogfs ls' shows what there is")
    })?;
    Ok(entry.seq)
}

fn print(global: &Global, args: &RekeyArgs, order: &Order, report: &Report) -> Result<()> {
    if global.json {
        let mut json = serde_json::to_value(report)?;
        json["dry_run"] = args.dry_run.into();
        json["rewrite"] = args.rewrite.into();
        json["recipients"] = order.recipients.to_strings().into();
        json["complete"] = report.is_complete().into();
        return output::print_json(&json);
    }
    let mut text = match (args.dry_run, args.rewrite) {
        (true, false) => "would re-key ".to_owned(),
        (true, true) => "would rewrite ".to_owned(),
        (false, false) => "re-keyed ".to_owned(),
        (false, true) => "rewrote ".to_owned(),
    };
    text += &output::count(report.rekeyed, "segment");
    if let Some((first, last)) = &report.range {
        text += &match first == last {
            true => format!(" ({first})"),
            false => format!(" ({first} to {last})"),
        };
    }
    text += &format!(" for {}", order.recipients.to_strings().join(", "));
    if report.already > 0 {
        text += &format!("; {} already for exactly those", are(report.already));
    }
    if report.unencrypted > 0 {
        text += &format!("; {} not encrypted", are(report.unencrypted));
    }
    text += "\n";
    for foreign in &report.foreign {
        text += &format!(
            "{} ({} to {}) {} for {}, and none of the identities given is one of them: {}\n",
            output::count(foreign.segments, "segment"),
            foreign.first,
            foreign.last,
            output::of_number(foreign.segments, "is", "are"),
            foreign.recipients.join(", "),
            order.identities
        );
    }
    for failed in &report.failed {
        text += &format!("{}: {}\n", failed.name, failed.reason);
    }
    let untold = report.failures - report.failed.len() as u64;
    if untold > 0 {
        text += &format!("{untold} more could not be re-keyed\n");
    }
    output::print(&text)?;
    if report.rekeyed > 0 && !args.dry_run {
        eprintln!("binlogfs: note: {}", what_stays(args));
    }
    Ok(())
}

/// What an old key still opens.
fn what_stays(args: &RekeyArgs) -> String {
    match args.rewrite {
        true => format!(
            "the old objects are still there, and whoever has an old key and can read them can still open them: 'binlogfs prune {} \
             --superseded --execute' deletes them when they were replaced a day ago",
            args.url
        ),
        false => "the objects themselves are as they were: whoever has an old key and can read them can still open them".to_owned(),
    }
}

fn are(count: u64) -> String {
    format!("{count} {}", output::of_number(count, "is", "are"))
}

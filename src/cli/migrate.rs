//! `binlogfs migrate`: a stream to another place, without a gap.

use super::agent::host_name;
use super::exit::Exit;
use super::signals::Signals;
use super::{Global, output, reading};
use crate::backup::RegistryError;
use crate::cache::{Cause, ReadError};
use crate::index::Index;
use crate::model::StoreUrl;
use crate::store::{self, OpenMode};
use crate::stream::Stream;
use crate::sync::migrate::{Migration, Order, Report, look, open_copy};
use crate::sync::system_clock;
use crate::telemetry;
use anyhow::{Context as _, Result};
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
/// each copy is read back to its last byte, too, and its SHA-256 compared.
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
}

async fn opened(global: &Global, url: &StoreUrl) -> Result<Stream> {
    let store = store::open(url, OpenMode::Existing).await?;
    let (index, _) = Index::open(&reading::index_path_of_many(global, url)?)?;
    Ok(Stream::open(store, Arc::new(index)).await?)
}

pub async fn run(global: &Global, args: &MigrateArgs) -> Result<Exit> {
    let from = opened(global, &args.from).await?;
    if args.dry_run {
        let to = match opened(global, &args.to).await {
            Ok(to) => Some(to),
            Err(error) if reading::is_nothing_there(&error) => None,
            Err(error) => return Err(error),
        };
        let report = look(&from, to.as_ref()).await?;
        print(global, args, &report)?;
        return Ok(Exit::Done);
    }
    let order = Order {
        to_url: args.to.to_string(),
        identities: reading::identities(&global.identity)?,
        by: format!("binlogfs {} on {}", env!("CARGO_PKG_VERSION"), host_name()),
        clock: system_clock(),
        stop: Arc::new(AtomicBool::new(false)),
    };
    let store = store::open(&args.to, OpenMode::Create).await?;
    let (index, _) = Index::open(&reading::index_path_of_many(global, &args.to)?)?;
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
    error.chain().any(|cause| match of_store(cause) {
        Some(error) => error.is_transient(),
        None => {
            let read = cause.downcast_ref::<ReadError>();
            read.is_some_and(|read| matches!(read.cause, Cause::Timeout(_)))
        }
    })
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
    let of_read = || match &cause.downcast_ref::<ReadError>()?.cause {
        Cause::Store(error) => Some(&**error),
        _ => None,
    };
    let own = cause.downcast_ref::<store::Error>();
    own.or_else(of_stream).or_else(of_registry).or_else(of_read)
}

fn print(global: &Global, args: &MigrateArgs, report: &Report) -> Result<()> {
    if global.json {
        let mut json = serde_json::to_value(report)?;
        json["from"] = args.from.to_string().into();
        json["to"] = args.to.to_string().into();
        json["dry_run"] = args.dry_run.into();
        return output::print_json(&json);
    }
    let mut text = match args.dry_run {
        true => "would carry over ".to_owned(),
        false => "carried over ".to_owned(),
    };
    text += &format!(
        "{} of {}, with {} ({})\n",
        output::count(report.carried, "record"),
        report.records,
        output::count(report.objects_copied, "object"),
        output::size(report.bytes_copied)
    );
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
        text += &format!("{gone} of pruned or replaced segments not in the old place any more\n");
    }
    if report.read_back > 0 {
        text += &format!(
            "{} read back: SHA-256 as recorded\n",
            copies(report.read_back)
        );
    }
    if report.checksums_only > 0 {
        text += &format!(
            "{} held against checksums only: no --identity opens what is in there\n",
            copies(report.checksums_only)
        );
    }
    if report.backups > 0 {
        text += &format!("{}\n", output::count(report.backups, "registered backup"));
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

fn copies(count: u64) -> String {
    match count {
        1 => "1 copy".to_owned(),
        n => format!("{n} copies"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

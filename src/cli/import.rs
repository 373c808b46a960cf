//! `binlogfs import`: a pile of binlogs that is there already, into a stream.

mod report;

use super::exit::Exit;
use super::output::{self, ArchivedBar};
use super::storing::{ConsentArgs, StoringArgs};
use super::{Global, agent, reading};
use crate::config::StreamConfig;
use crate::model::StoreUrl;
use crate::model::url::Location;
use crate::source;
use crate::store::{self, OpenMode};
use crate::sync::import::{
    self, Compared, Findings, Job, Order, Pile, Wanted, Watch, is_beginning, may_be_beginnings,
};
use anyhow::{Context as _, Result, bail};
use report::Report;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Handle;

#[derive(clap::Args, Debug)]
pub struct ImportArgs {
    /// Where the binlogs lie, at any depth: a directory, or a store such as s3://bucket/old-binlogs.
    #[arg(value_name = "FROM")]
    from: String,
    /// The stream to import into, such as file:///srv/binlogs/orders; made if it does not exist.
    #[arg(long, value_name = "URL")]
    to: StoreUrl,
    /// Tell the order, what is missing and what is left out, and write nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    storing: StoringArgs,
    /// Leave out what lies at this path below FROM; may be repeated.
    #[arg(long, value_name = "PATH")]
    exclude: Vec<String>,
    /// Import only the binlogs of the server with this server_id.
    #[arg(long, value_name = "ID")]
    server_id: Option<u32>,
    /// The server_uuid of the server that the newest binlogs are from [default: that in FROM/auto.cnf, if there is one].
    #[arg(long, value_name = "UUID")]
    server_uuid: Option<uuid::Uuid>,
    /// Import the newest binlog too if it ends in neither ROTATE nor STOP: its server is gone and writes no more.
    #[arg(long = "final")]
    last: bool,
    #[command(flatten)]
    consent: ConsentArgs,
}

/// A pile is compared with the stream that it goes into and with nothing else, and archived there alone.
fn check_replicas(global: &Global, args: &ImportArgs) -> Result<()> {
    if global.replica.is_empty() {
        return Ok(());
    }
    bail!(
        "'import' writes to {} alone, so that --replica has no effect: run it without, and fill each replica afterwards: 'binlogfs replicate {} --to \
         REPLICA' (an archiver with --replica does it by itself)",
        args.to,
        args.to
    )
}

pub async fn run(global: &Global, args: &ImportArgs) -> Result<Exit> {
    check_replicas(global, args)?;
    let pile = Arc::new(open_pile(args).await?);
    let bar = output::byte_bar(0);
    bar.set_message("read");
    let watch = ArchivedBar(bar.clone());
    let surveyed =
        import::survey(&pile, &args.exclude, args.storing.transfers.into(), &watch).await;
    bar.finish_and_clear();
    let findings = surveyed?;
    let order = put_in_order(&pile, &findings, args).await?;
    let mut report = Report::new(&pile, &args.to, &findings, &order);
    if args.dry_run {
        let compared = compare(global, args, &pile, &order).await?;
        return report.print_plan(global, &compared);
    }
    if report.is_empty() {
        bail!(
            "{} holds no binlog that can be imported ({}); --dry-run names each with the reason",
            pile.describe(),
            report.what_else()
        );
    }
    let stream = stream_of(args);
    let bar = output::byte_bar(0);
    let mut settings = agent::settings(global, &stream, &args.consent.consent())?;
    settings.progress = Arc::new(ArchivedBar(bar.clone()));
    let store = agent::open_store(&stream, &settings).await?;
    let job = Job {
        pile: &pile,
        order: &order,
        refused: &findings.refused,
        server_uuid: args.server_uuid.or_else(|| uuid_beside(&pile)),
    };
    let imported = import::run(&job, store, &settings).await;
    bar.finish_and_clear();
    report.imported = Some(imported?);
    report.print(global, settings.recipients.is_empty())
}

async fn open_pile(args: &ImportArgs) -> Result<Pile> {
    let from = &args.from;
    if !from.contains("://") {
        let path = std::fs::canonicalize(from)
            .with_context(|| format!("cannot look at {from}; check the path"))?;
        check_apart(&path, &args.to)?;
        return Ok(Pile::Directory(path));
    }
    let url: StoreUrl = from.parse()?;
    if let Location::File { dir } = &url.location {
        let path = std::fs::canonicalize(dir)
            .with_context(|| format!("cannot look at {}; check the path", dir.display()))?;
        check_apart(&path, &args.to)?;
        return Ok(Pile::Directory(path));
    }
    if import::overlap(&url, &args.to) {
        return Err(one_in_the_other(from, &args.to));
    }
    Ok(Pile::Store(store::open(&url, OpenMode::Existing).await?))
}

fn check_apart(from: &Path, to: &StoreUrl) -> Result<()> {
    let Location::File { dir } = &to.location else {
        return Ok(());
    };
    // What does not exist yet is nowhere else.
    let to_dir = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.clone());
    match to_dir.starts_with(from) || from.starts_with(&to_dir) {
        true => Err(one_in_the_other(&from.display().to_string(), to)),
        false => Ok(()),
    }
}

fn one_in_the_other(from: &str, to: &StoreUrl) -> anyhow::Error {
    anyhow::anyhow!(
        "{from} and {to} lie one in the other: an import would read what it writes. Name a stream outside"
    )
}

/// The UUID of the server whose data directory, or a copy of it, the pile is.
fn uuid_beside(pile: &Pile) -> Option<uuid::Uuid> {
    match pile {
        Pile::Directory(dir) => source::file::server_uuid(dir),
        Pile::Store(_) => None,
    }
}

async fn put_in_order(pile: &Arc<Pile>, findings: &Findings, args: &ImportArgs) -> Result<Order> {
    let mut beginnings = HashSet::new();
    for (longer, shorter) in may_be_beginnings(&findings.binlogs) {
        let pair = (
            Arc::clone(&findings.binlogs[longer]),
            Arc::clone(&findings.binlogs[shorter]),
        );
        let (pile, runtime) = (Arc::clone(pile), Handle::current());
        let told =
            tokio::task::spawn_blocking(move || is_beginning(&pile, &pair.0, &pair.1, &runtime));
        if told.await?? {
            beginnings.insert((longer, shorter));
        }
    }
    let wanted = Wanted {
        server_id: args.server_id,
        last: args.last,
    };
    Ok(import::order(&findings.binlogs, &beginnings, wanted)?)
}

/// What the stream has, if there is one.
async fn compare(
    global: &Global,
    args: &ImportArgs,
    pile: &Pile,
    order: &Order,
) -> Result<Compared> {
    let reading = match reading::open(global, &args.to).await {
        Ok(reading) => Some(reading),
        Err(error) if reading::is_nothing_there(&error) => None,
        Err(error) => return Err(error),
    };
    let stream = reading
        .as_ref()
        .map(|reading| (&*reading.index, reading.state()));
    import::compare(pile, order, stream)
}

fn stream_of(args: &ImportArgs) -> StreamConfig {
    StreamConfig {
        name: args.to.to_string(),
        source: PathBuf::from(&args.from),
        to: Some(args.to.clone()),
        ..args.storing.stream()
    }
}

/// The first pass counts bytes as they are stored; the second, as every archiver does, those that their server wrote.
impl Watch for ArchivedBar {
    fn begin(&self, _items: usize, stored_bytes: u64) {
        self.0.set_length(stored_bytes);
    }
    fn read(&self, stored_bytes: u64) {
        self.0.inc(stored_bytes);
    }
}

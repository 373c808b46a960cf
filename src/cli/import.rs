//! `binlogfs import`: a pile of binlogs that is there already, into a stream.

mod report;

use super::exit::Exit;
use super::{Global, agent, output, reading};
use crate::config::{LEVEL_MAX, PARALLEL_MAX, StreamConfig};
use crate::model::StoreUrl;
use crate::model::url::Location;
use crate::segment::Recipients;
use crate::source;
use crate::store::{self, ErrorKind, OpenMode};
use crate::stream::StreamError;
use crate::sync::archive::{LEVEL_DEFAULT, Progress};
use crate::sync::import::{
    self, Compared, Findings, Job, Order, Pile, Wanted, Watch, is_beginning, may_be_beginnings,
};
use crate::sync::place::Consent;
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
    /// Public key (age1...) to encrypt to; may be repeated. Without one, segments are stored unencrypted.
    #[arg(long, value_name = "age1...", value_parser = recipient)]
    recipient: Vec<String>,
    /// zstd level, 1 to 19.
    #[arg(long, default_value_t = LEVEL_DEFAULT, value_parser = clap::value_parser!(i32).range(1..=i64::from(LEVEL_MAX)))]
    level: i32,
    /// Compression threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(PARALLEL_MAX)))]
    threads: u16,
    /// Files in flight at a time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=i64::from(PARALLEL_MAX)))]
    transfers: u16,
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
    /// Record any number of binlogs that are missing as holes.
    #[arg(long)]
    accept_holes: bool,
    /// Accept binlogs that share no history with the stream: those of this server_uuid ('none' if it is not known).
    #[arg(long, value_name = "UUID")]
    accept_server: Option<String>,
    /// Import into a store that ignores conditional creates and would overwrite: you promise that nobody else writes here.
    #[arg(long)]
    single_writer: bool,
    /// Store segments unencrypted in a stream whose newest segment is encrypted.
    #[arg(long)]
    allow_unencrypted: bool,
}

fn recipient(text: &str) -> Result<String, String> {
    Recipients::parse([text])
        .map(|_| text.to_owned())
        .map_err(|e| e.to_string())
}

pub async fn run(global: &Global, args: &ImportArgs) -> Result<Exit> {
    let pile = Arc::new(open_pile(args).await?);
    let bar = output::byte_bar(0);
    bar.set_message("read");
    let watch = Bar(bar.clone());
    let surveyed = import::survey(&pile, &args.exclude, args.transfers.into(), &watch).await;
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
    let mut settings = agent::settings(global, &stream, &consent(args))?;
    settings.progress = Arc::new(Bar(bar.clone()));
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
        Err(error) if is_absence(&error) => None,
        Err(error) => return Err(error),
    };
    let stream = reading
        .as_ref()
        .map(|reading| (&*reading.index, reading.state()));
    import::compare(pile, order, stream)
}

fn is_absence(error: &anyhow::Error) -> bool {
    let no_place = error
        .downcast_ref::<store::Error>()
        .is_some_and(|error| error.kind == ErrorKind::NoSuchBucket);
    let no_stream = matches!(
        error.downcast_ref::<StreamError>(),
        Some(StreamError::NoStream { .. })
    );
    no_place || no_stream
}

fn consent(args: &ImportArgs) -> Consent {
    Consent {
        holes: args.accept_holes,
        unencrypted: args.allow_unencrypted,
        single_writer: args.single_writer,
        server: args.accept_server.clone(),
    }
}

fn stream_of(args: &ImportArgs) -> StreamConfig {
    StreamConfig {
        name: args.to.to_string(),
        source: PathBuf::from(&args.from),
        to: Some(args.to.clone()),
        recipients: args.recipient.clone(),
        level: args.level,
        threads: args.threads,
        transfers: args.transfers,
        ..StreamConfig::default()
    }
}

/// Both passes count bytes: the first as they are stored, the second as their server wrote them.
struct Bar(indicatif::ProgressBar);

impl Watch for Bar {
    fn begin(&self, _items: usize, stored_bytes: u64) {
        self.0.set_length(stored_bytes);
    }
    fn read(&self, stored_bytes: u64) {
        self.0.inc(stored_bytes);
    }
}

impl Progress for Bar {
    fn planned(&self, _files: usize, bytes: u64) {
        self.0.inc_length(bytes);
    }
    fn read(&self, bytes: u64) {
        self.0.inc(bytes);
    }
    fn archived(&self, name: &str) {
        self.0.set_message(name.to_owned());
    }
}

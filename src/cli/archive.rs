//! `binlogfs archive`: a server's closed binlogs into a stream, once or for as long as the process lives.

mod told;

use super::agent::{self, Orders};
use super::exit::Exit;
use super::output::{self, ArchivedBar};
use super::replicate::{self, Filled};
use super::storing::{ConsentArgs, StoringArgs};
use super::{Global, fleet};
use crate::agent::alarm::Alarm;
use crate::agent::replicas::ArchivedWhen;
use crate::agent::schedule::Policy;
use crate::config::{self, AgentConfig, MysqlAccess, StreamConfig};
use crate::model::{Seq, StoreUrl};
use crate::source::Source;
use crate::store::{LockMode, Protection, SharedStore};
use crate::sync::dead_letter::DeadLetter;
use crate::sync::journal::{JOURNAL_NAME, Journal, Uninterrupted};
use crate::sync::{Batch, Heads, Outcome, Settings, archive_once, read_batch_with};
use crate::telemetry;
use anyhow::{Result, anyhow, bail};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[derive(clap::Args, Debug)]
pub struct ArchiveArgs {
    /// The server's data directory, or its binlog index file (BASENAME.index).
    #[arg(
        long,
        value_name = "DATADIR|BASENAME.index",
        required_unless_present = "config",
        requires = "to"
    )]
    source: Option<PathBuf>,
    /// The stream to archive to, such as file:///srv/binlogs/orders; made if it does not exist.
    #[arg(
        long,
        value_name = "URL",
        required_unless_present = "config",
        requires = "source"
    )]
    to: Option<StoreUrl>,
    /// Archive the streams of this configuration file instead ('binlogfs config example' prints one).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["source", "to"])]
    config: Option<PathBuf>,
    /// Archive what is closed now, and end, with exit code 3 if a hole, a gap, damage or a new timeline was recorded, or an alarm is told.
    /// Without it, go on until SIGTERM.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    storing: StoringArgs,
    /// Bytes per second sent to the store at most, such as 20MB.
    #[arg(long, value_name = "RATE", value_parser = config::rate)]
    send_limit: Option<u64>,
    /// Bytes per second read from the binlogs' disk at most, such as 100MB.
    #[arg(long, value_name = "RATE", value_parser = config::rate)]
    read_limit: Option<u64>,
    /// Percent of a processor for each compression thread at most.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    cpu_limit: Option<u8>,
    /// Ask the server of its settings: mysql://user@host:port or mysql://user@localhost?socket=PATH.
    #[arg(long, value_name = "DSN", conflicts_with = "defaults_file")]
    mysql: Option<String>,
    /// Ask the server of its settings, with the login in this option file of MySQL's programs.
    #[arg(long, value_name = "FILE")]
    defaults_file: Option<PathBuf>,
    /// How often the binlog index file is looked at, whether or not the kernel tells of a change.
    #[arg(long, value_name = "TIME", value_parser = config::duration, conflicts_with = "once")]
    poll: Option<Duration>,
    /// FLUSH BINARY LOGS when the active file has transactions and is so old. Needs --mysql or --defaults-file.
    #[arg(long, value_name = "TIME", value_parser = config::duration, conflicts_with = "once")]
    rotate_after: Option<Duration>,
    /// What binlog_expire_logs_seconds is, where the server is not asked, such as 30d.
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    expire_after: Option<Duration>,
    /// Where metrics and health are served, on this host only.
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["once", "config"], value_parser = config::listen)]
    listen: Option<SocketAddr>,
    /// Lock what is archived, for as long as --retain says: governance, whoever has the right may end it; compliance, nobody may.
    #[arg(
        long,
        value_name = "MODE",
        requires = "retain",
        conflicts_with = "config"
    )]
    object_lock: Option<LockMode>,
    /// For how long what is archived is locked, such as 35d.
    #[arg(long, value_name = "TIME", value_parser = config::duration, requires = "object_lock")]
    retain: Option<Duration>,
    /// Put what is archived on legal hold.
    #[arg(long, conflicts_with = "config")]
    legal_hold: bool,
    /// When a segment counts as archived: in the store of --to, or in every --replica too.
    #[arg(long, value_name = "primary|all", default_value = "primary", value_parser = archived_when, conflicts_with = "config")]
    archived_when: ArchivedWhen,
    /// With --archived-when all: what the first store cannot give to the replicas of the records up to this one holds nothing back.
    #[arg(long, value_name = "RECORD", conflicts_with = "config")]
    give_up_through: Option<u64>,
    #[command(flatten)]
    consent: ConsentArgs,
}

fn archived_when(text: &str) -> Result<ArchivedWhen, String> {
    text.parse()
}

impl ArchiveArgs {
    /// What is to be done, from the configuration or from these arguments. Whether it is to be done once.
    pub fn orders(self, replicas: &[StoreUrl]) -> Result<(Orders, bool)> {
        let consent = self.consent.consent();
        if let Some(path) = &self.config {
            if !replicas.is_empty() {
                bail!("with --config the replicas of a stream are in the file: replicas = [...]");
            }
            let mut orders = Orders::load(path)?;
            orders.consent = consent;
            return Ok((orders, self.once));
        }
        let source = self.source.unwrap_or_default();
        let policy = Policy::default();
        let stream = StreamConfig {
            name: self
                .to
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            source: std::path::absolute(&source).unwrap_or(source),
            to: self.to,
            replicas: replicas.iter().cloned().map(Into::into).collect(),
            archived_when: self.archived_when,
            give_up_through: self.give_up_through.map(Seq),
            mysql: MysqlAccess {
                dsn: self.mysql,
                defaults_file: self.defaults_file,
            },
            send_limit: self.send_limit,
            read_limit: self.read_limit,
            cpu_limit: self.cpu_limit,
            expire_after: self.expire_after,
            protection: Protection {
                lock: self.object_lock.zip(self.retain),
                legal_hold: self.legal_hold,
            },
            policy: Policy {
                poll: self.poll.unwrap_or(policy.poll),
                rotate_after: self.rotate_after,
                ..policy
            },
            ..self.storing.stream()
        };
        stream
            .check_places()
            .map_err(|why| anyhow!("--replica: {why}"))?;
        let agent = AgentConfig {
            listen: self.listen,
            ..AgentConfig::default()
        };
        let orders = Orders {
            agent,
            tenants: Vec::new(),
            streams: vec![stream],
            consent,
            file: None,
        };
        Ok((orders, self.once))
    }
}

/// Runs what was ordered.
pub async fn run(global: &Global, orders: Orders, once: bool) -> Result<Exit> {
    match (once, orders.file.is_some()) {
        (false, _) => fleet::run(global, orders).await,
        (true, true) => agent::run_once(global, &orders).await,
        (true, false) => archive(global, &orders).await,
    }
}

/// One run by hand, with a progress bar and everything told.
async fn archive(global: &Global, orders: &Orders) -> Result<Exit> {
    let [stream] = orders.streams.as_slice() else {
        unreachable!("the command line names one stream");
    };
    let source = Source::open(&stream.source)?;
    let bar = output::byte_bar(0);
    let mut settings = agent::settings(global, stream, &orders.consent)?;
    settings.progress = Arc::new(ArchivedBar(bar.clone()));
    let mut heads = Heads::default();
    let batch = read_batch_with(&source, &mut heads, &dead_letters(&settings)?)?;
    let sight = told::ask(stream, &batch).await?;
    if stream.archived_when == ArchivedWhen::All && !stream.replicas.is_empty() {
        settings.archived_through.store(0, Ordering::Relaxed);
    }
    let done = archive_to(&source, batch, stream, &settings).await;
    bar.finish_and_clear();
    let error = match &done {
        Ok((_, outcome)) => outcome.blocked.clone(),
        Err(error) => Some(telemetry::message(error)),
    };
    let alarms = told::alarming(sight, &source, &mut heads, stream, &settings, error);
    if !global.json {
        for alarm in &alarms {
            let (severity, kind) = (alarm.severity.name(), alarm.kind.name());
            eprintln!("binlogfs: {severity} ({kind}): {}", alarm.text);
        }
    }
    let (store, outcome) = done?;
    let filled = replicate::fill_all(&store, stream, &settings).await;
    let unencrypted = settings.recipients.is_empty();
    let exit = print(global, &outcome, &filled, &alarms, unencrypted)?;
    if let Some(why) = &outcome.blocked {
        bail!("{why}; nothing was archived from there on");
    }
    let is_well = alarms.is_empty() && filled.iter().all(Filled::is_whole);
    Ok(match exit {
        Exit::Done if !is_well => Exit::Findings,
        exit => exit,
    })
}

async fn archive_to(
    source: &Source,
    batch: Batch,
    stream: &StreamConfig,
    settings: &Settings,
) -> Result<(SharedStore, Outcome)> {
    // Before anything is made in the store's place.
    let batch = batch.unless_all_is_blocked()?;
    let store = agent::open_store(stream, settings).await?;
    let outcome = archive_once(source, batch, Arc::clone(&store), settings).await?;
    Ok((store, outcome))
}

/// What the daemon put aside stays aside.
fn dead_letters(settings: &Settings) -> Result<Vec<DeadLetter>> {
    if !settings.state_dir.join(JOURNAL_NAME).exists() {
        return Ok(Vec::new());
    }
    let journal = Journal::open(&settings.state_dir, Arc::new(Uninterrupted))?;
    Ok(journal.dead_letters()?)
}

fn print(
    global: &Global,
    outcome: &Outcome,
    filled: &[Filled],
    alarms: &[Alarm],
    unencrypted: bool,
) -> Result<Exit> {
    let exit = if !outcome.orphans_left.is_empty() {
        Exit::Failed
    } else if !(outcome.damaged.is_empty()
        && outcome.missing.is_empty()
        && outcome.branches.is_empty())
    {
        Exit::Findings
    } else {
        Exit::Done
    };
    if let [first, ..] = outcome.orphans_left.as_slice() {
        eprintln!(
            "binlogfs: {} of interrupted uploads cannot be removed ({first}): this account may not delete. Grant s3:DeleteObject \
             below segments/ (on other stores its like) and run again, or let somebody remove what 'binlogfs verify --orphans' lists",
            output::count(outcome.orphans_left.len() as u64, "object")
        );
    }
    if global.json {
        output::print_json(&serde_json::json!({
            "archived": outcome.archived.iter().map(|(file, seq)| serde_json::json!({ "file": file, "seq": seq })).collect::<Vec<_>>(),
            "archived_by_another": outcome.by_another,
            "bytes": outcome.bytes,
            "stored_bytes": outcome.stored_bytes,
            "orphans_removed": outcome.orphans_removed,
            "orphans_left": outcome.orphans_left,
            "damaged": outcome.damaged,
            "missing": outcome.missing,
            "new_timelines": outcome.branches,
            "blocked": outcome.blocked,
            "alarms": alarms,
            "notices": outcome.notices,
            "replicas": filled,
        }))?;
    } else {
        for notice in &outcome.notices {
            eprintln!("binlogfs: note: {notice}");
        }
        if let [first, others @ ..] = outcome.missing.as_slice() {
            let more = match others.len() {
                0 => String::new(),
                n => format!(" and {n} more"),
            };
            eprintln!(
                "binlogfs: history is missing before what was archived ({first}{more}): no recovery goes past that; 'binlogfs status' names it, \
                 and a base backup made now can be recovered from"
            );
        }
        for branch in &outcome.branches {
            eprintln!("binlogfs: {branch}");
        }
        if unencrypted && !outcome.archived.is_empty() {
            eprintln!(
                "binlogfs: note: stored without encryption; 'binlogfs keygen' makes a key for --recipient"
            );
        }
        let names = match outcome.archived.as_slice() {
            [] => String::new(),
            [(only, _)] => only.clone(),
            [(first, _), .., (last, _)] => format!("{first} to {last}"),
        };
        output::print(&match (names.is_empty(), outcome.blocked.is_some()) {
            (true, false) => "archived 0 segments: nothing new\n".to_owned(),
            (true, true) => "archived 0 segments\n".to_owned(),
            (false, _) => format!(
                "archived {} ({names}): {} as {}\n",
                output::count(outcome.archived.len() as u64, "segment"),
                output::size(outcome.bytes),
                output::size(outcome.stored_bytes)
            ),
        })?;
        for filled in filled {
            output::print(&filled.lines())?;
        }
    }
    Ok(exit)
}

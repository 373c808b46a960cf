//! `binlogfs archive` as a daemon: the streams of a configuration, or the one that the command line names.

use super::config_check;
use super::exit::Exit;
use super::signals::Signals;
use super::{Global, output, reading};
use crate::agent::endpoint::{self, Board};
use crate::agent::health::Health;
use crate::agent::hooks::{Message, Ways};
use crate::agent::mysql::MySqlServer;
use crate::agent::sight::Ask;
use crate::agent::stream::{OpenStore, StreamAgent, Tending};
use crate::agent::{nice, service, system_clock};
use crate::config::{AgentConfig, Config, StreamConfig};
use crate::model::StoreUrl;
use crate::segment::Recipients;
use crate::source::Source;
use crate::source::server::ServerOptions;
use crate::store::{self, Breaker, BreakerPolicy, BreakerStore, OpenMode, SharedStore, Writers};
use crate::sync::place::Consent;
use crate::sync::{Pace, Settings};
use anyhow::{Context as _, Result};
use futures::FutureExt as _;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// What an agent is to do: from a file, or from the command line.
pub struct Orders {
    pub agent: AgentConfig,
    pub streams: Vec<StreamConfig>,
    /// What a person allowed on the command line.
    pub consent: Consent,
    /// They come from a configuration file.
    pub from_file: bool,
}

impl Orders {
    /// Those of a configuration file.
    pub fn load(path: &Path) -> Result<Orders> {
        let Config { agent, streams } = config_check::load(path)?;
        Ok(Orders {
            agent,
            streams,
            consent: Consent::default(),
            from_file: true,
        })
    }

    /// Takes the process's priority down. Before any thread is begun.
    pub fn be_nice(&self) {
        nice::apply(self.agent.nice, self.agent.io_idle);
    }
}

/// How the stream is archived.
pub fn settings(global: &Global, stream: &StreamConfig, consent: &Consent) -> Result<Settings> {
    let url = stream.to.as_ref().context("a stream has a URL")?;
    let state_dir = stream
        .state_dir
        .clone()
        .unwrap_or_else(|| reading::state_dir(global, url));
    let mut settings = Settings::new(state_dir);
    settings.recipients = Recipients::parse(&stream.recipients)?;
    settings.level = stream.level;
    settings.threads = stream.threads.into();
    settings.transfers = stream.transfers.into();
    settings.pace = Arc::new(Pace::new(
        stream.read_limit,
        stream.send_limit,
        stream.cpu_limit,
    ));
    settings.consent = Consent {
        single_writer: consent.single_writer || stream.single_writer,
        unencrypted: consent.unencrypted || stream.allow_unencrypted,
        ..consent.clone()
    };
    settings.archiver = format!("binlogfs {} on {}", env!("CARGO_PKG_VERSION"), host_name());
    Ok(settings)
}

/// Opens the store of a stream, without a breaker.
pub async fn open_store(url: &StoreUrl, settings: &Settings) -> Result<SharedStore> {
    let writers = match settings.consent.single_writer {
        true => Writers::One,
        false => Writers::Many,
    };
    Ok(store::open_for(url, OpenMode::Create, writers).await?)
}

pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Who asks the stream's server, if it may be asked.
fn ask(stream: &StreamConfig) -> Result<Option<Arc<dyn Ask>>> {
    let access = &stream.mysql;
    if access.dsn.is_none() && access.defaults_file.is_none() {
        return Ok(None);
    }
    let options =
        ServerOptions::from_command_line(access.dsn.as_deref(), access.defaults_file.as_deref())
            .with_context(|| format!("stream {}", stream.name))?;
    let server = MySqlServer::new(options, stream.source.clone());
    Ok(Some(Arc::new(server)))
}

fn stream_agent(
    global: &Global,
    orders: &Orders,
    stream: &StreamConfig,
    notices: Option<mpsc::Sender<Message>>,
) -> Result<StreamAgent> {
    let url = stream.to.clone().context("a stream has a URL")?;
    let settings = settings(global, stream, &orders.consent)?;
    let breaker = Arc::new(Breaker::new(BreakerPolicy::default()));
    let open: OpenStore = {
        let (url, settings, breaker) = (url.clone(), settings.clone(), Arc::clone(&breaker));
        Box::new(move || {
            let (url, settings, breaker) = (url.clone(), settings.clone(), Arc::clone(&breaker));
            async move {
                let store = open_store(&url, &settings).await?;
                Ok(Arc::new(BreakerStore::new(store, breaker)) as SharedStore)
            }
            .boxed()
        })
    };
    Ok(StreamAgent {
        name: stream.name.clone(),
        url: url.to_string(),
        source: stream.source.clone(),
        open,
        breaker,
        settings,
        policy: stream.policy.clone(),
        thresholds: stream.thresholds,
        expire_after: stream.expire_after,
        ask: ask(stream)?,
        repeat: orders.agent.repeat,
        notices,
        host: host_name(),
    })
}

type Hooks = (Option<mpsc::Sender<Message>>, Option<JoinHandle<()>>);

fn start_hooks(agent: &AgentConfig) -> Result<Hooks> {
    let ways = Ways::new(agent.webhook_file.as_ref(), agent.command.clone())?;
    if ways.is_empty() {
        return Ok((None, None));
    }
    let (notices, telling) = ways.start()?;
    Ok((Some(notices), Some(telling)))
}

/// Archives what each stream has now, tells the alarms, and ends: for a timer.
pub async fn run_once(global: &Global, orders: &Orders) -> Result<Exit> {
    let (notices, telling) = start_hooks(&orders.agent)?;
    let (mut exit, mut told) = (Exit::Done, Vec::new());
    for stream in &orders.streams {
        let agent = stream_agent(global, orders, stream, notices.clone())?;
        let (mut tending, health) = Tending::new(agent);
        tending.cycle().await;
        let health = health.borrow().clone();
        exit = match (&health.last_error, health.alarms.is_empty(), exit) {
            (Some(_), _, _) | (None, _, Exit::Failed) => Exit::Failed,
            (None, false, _) => Exit::Findings,
            (None, true, exit) => exit,
        };
        if global.json {
            told.push(health);
        } else {
            output::print(&summary(&health))?;
        }
    }
    drop(notices);
    if let Some(telling) = telling {
        telling.await?;
    }
    if global.json {
        output::print_json(&told)?;
    }
    Ok(exit)
}

fn summary(health: &Health) -> String {
    let mut text = match (&health.last_error, &health.paused) {
        (Some(error), _) => format!("{}  failed: {error}\n", health.stream),
        (None, Some(why)) => format!("{}  waits: {why}\n", health.stream),
        (None, None) => format!(
            "{}  archived {}: {} as {}\n",
            health.stream,
            output::count(health.totals.segments, "segment"),
            output::size(health.totals.bytes),
            output::size(health.totals.stored_bytes),
        ),
    };
    for raised in &health.alarms {
        let alarm = &raised.alarm;
        text += &format!(
            "{}  {} ({}): {}\n",
            health.stream,
            alarm.severity.name(),
            alarm.kind.name(),
            alarm.text
        );
    }
    text
}

/// Archives until it is asked to stop.
pub async fn run(global: &Global, orders: Orders) -> Result<Exit> {
    let mut signals = Signals::listen().context("cannot wait for the signals that end it")?;
    // What is wrong from the start is told at once, not in a log: a path, a hook, an address that is taken.
    for stream in &orders.streams {
        match Source::open(&stream.source) {
            Ok(_) => {}
            Err(error) if error.is_absence() => {
                tracing::warn!(stream = stream.name, %error, "no binlogs yet: they are waited for");
            }
            Err(error) => return Err(error).with_context(|| format!("stream {}", stream.name)),
        }
    }
    let (notices, _telling) = start_hooks(&orders.agent)?;
    let (mut healths, mut tended) = (Vec::new(), Vec::new());
    for stream in &orders.streams {
        let agent = stream_agent(global, &orders, stream, notices.clone())?;
        let (tending, health) = Tending::new(agent);
        healths.push(health);
        tended.push((stream.name.clone(), tending));
    }
    if let Some(address) = orders.agent.listen {
        let board = Board {
            healths: healths.clone(),
            clock: system_clock(),
        };
        let address = endpoint::serve(address, board).await.with_context(|| {
            format!("cannot listen on {address} for metrics; choose another address with listen (or --listen)")
        })?;
        tracing::info!(%address, "metrics are at /metrics");
    }
    let running = Running::begin(healths.clone(), tended);
    service::ready();
    let tending = tokio::spawn(service::tend(healths));
    signals.any().await;
    service::stopping();
    let exit = running.end().await;
    tending.abort();
    Ok(exit)
}

/// Archivers at work, each of a stream.
pub struct Running {
    stop: watch::Sender<bool>,
    healths: Vec<watch::Receiver<Health>>,
    tasks: Vec<(String, JoinHandle<()>)>,
}

impl Running {
    fn begin(healths: Vec<watch::Receiver<Health>>, tended: Vec<(String, Tending)>) -> Running {
        let (stop, stopped) = watch::channel(false);
        let tasks = tended
            .into_iter()
            .map(|(name, tending)| (name, tokio::spawn(tending.run(stopped.clone()))))
            .collect();
        Running {
            stop,
            healths,
            tasks,
        }
    }

    /// Why the last run of one of them failed, if it did.
    pub fn failure(&self) -> Option<String> {
        self.healths
            .iter()
            .find_map(|health| health.borrow().last_error.clone())
    }

    /// Ends them: files in flight get a moment.
    pub async fn end(self) -> Exit {
        self.stop.send_replace(true);
        let mut exit = Exit::Done;
        for (name, task) in self.tasks {
            if let Err(error) = task.await {
                tracing::error!(stream = name, %error, "its archiver had ended before");
                exit = Exit::Failed;
            }
        }
        exit
    }
}

/// Begins to archive what `orders` name, beside what else the process does: without hooks, endpoint and notifications.
///
/// # Errors
/// When what is ordered cannot be used.
pub fn begin(global: &Global, orders: &Orders) -> Result<Running> {
    let (mut healths, mut tended) = (Vec::new(), Vec::new());
    for stream in &orders.streams {
        let agent = stream_agent(global, orders, stream, None)?;
        let (tending, health) = Tending::new(agent);
        healths.push(health);
        tended.push((stream.name.clone(), tending));
    }
    Ok(Running::begin(healths, tended))
}

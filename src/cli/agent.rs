//! `binlogfs archive` as a daemon: the streams of a configuration, or the one that the command line names.

use super::exit::Exit;
use super::{Global, config_check, output, reading};
use crate::agent::health::Health;
use crate::agent::hooks::{Message, Ways};
use crate::agent::mysql::MySqlServer;
use crate::agent::nice;
use crate::agent::replicas::{ReplicaOrder, Replicas};
use crate::agent::sight::Ask;
use crate::agent::stream::{OpenStore, Stop, StreamAgent, Tending};
use crate::config::{AgentConfig, Config, ReplicaConfig, StreamConfig, TenantConfig};
use crate::segment::Recipients;
use crate::source::Source;
use crate::source::server::ServerOptions;
use crate::store::{
    self, Breaker, BreakerPolicy, BreakerStore, OpenMode, Protection, SharedStore, Writers,
};
use crate::sync::place::Consent;
use crate::sync::{Commons, Pace, Settings, Share, Totals};
use crate::telemetry;
use anyhow::{Context as _, Result, anyhow};
use futures::FutureExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// What an agent is to do: from a file, or from the command line.
pub struct Orders {
    pub agent: AgentConfig,
    pub tenants: Vec<TenantConfig>,
    pub streams: Vec<StreamConfig>,
    /// What a person allowed on the command line.
    pub consent: Consent,
    /// The configuration file that they come from.
    pub file: Option<PathBuf>,
}

impl Orders {
    /// Those of a configuration file.
    pub fn load(path: &Path) -> Result<Orders> {
        let Config {
            agent,
            tenants,
            streams,
        } = config_check::load(path)?;
        Ok(Orders {
            agent,
            tenants,
            streams,
            consent: Consent::default(),
            file: Some(path.to_owned()),
        })
    }

    /// What all streams have together.
    pub fn totals(&self) -> Totals {
        let most = |of: fn(&StreamConfig) -> u16| self.streams.iter().map(of).max().unwrap_or(1);
        let threads = self
            .agent
            .threads
            .unwrap_or_else(|| most(|stream| stream.threads));
        let transfers = || most(|stream| stream.transfers).max(TRANSFERS_DEFAULT);
        Totals {
            threads: threads.into(),
            transfers: self.agent.transfers.unwrap_or_else(transfers).into(),
            send: self.agent.send_limit,
            read: self.agent.read_limit,
            shares: self
                .tenants
                .iter()
                .map(|tenant| (tenant.name.clone(), tenant.share))
                .collect(),
        }
    }

    /// Takes the process's priority down. Before any thread is begun.
    pub fn be_nice(&self) {
        nice::apply(self.agent.nice, self.agent.io_idle);
    }
}

/// Files in flight of all streams together, unless somebody says otherwise: some 100 MiB, if all are large.
const TRANSFERS_DEFAULT: u16 = 4;

/// The stream with the URL that its server's UUID gives it, if its configuration has one in its place.
///
/// # Errors
/// When that is not known.
pub fn resolved(stream: &StreamConfig) -> Result<StreamConfig> {
    let mut stream = stream.clone();
    if stream.needs_server() {
        let listing = Source::open(&stream.source).and_then(|source| source.list());
        let server_uuid = listing
            .with_context(|| format!("stream {}", stream.name))?
            .server_uuid;
        let url = stream.route_to(server_uuid);
        stream.to = Some(url.map_err(|error| anyhow!("stream {}: to {error}", stream.name))?);
    }
    Ok(stream)
}

/// Where the state of a stream of a configuration file is: each has its own, below a directory that is given for all.
pub fn state_dir(global: &Global, stream: &StreamConfig) -> Result<PathBuf> {
    let url = stream.to.as_ref().context("a stream has a URL")?;
    let own = stream.state_dir.clone();
    Ok(own.unwrap_or_else(|| reading::state_dir_of_many(global, url)))
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
    settings.pace = Arc::new(pace(stream));
    settings.consent = Consent {
        single_writer: consent.single_writer || stream.single_writer,
        unencrypted: consent.unencrypted || stream.allow_unencrypted,
        ..consent.clone()
    };
    settings.archiver = format!("binlogfs {} on {}", env!("CARGO_PKG_VERSION"), host_name());
    Ok(settings)
}

fn pace(stream: &StreamConfig) -> Pace {
    Pace::new(stream.read_limit, stream.send_limit, stream.cpu_limit)
}

/// Opens the store of a stream, without a breaker.
pub async fn open_store(stream: &StreamConfig, settings: &Settings) -> Result<SharedStore> {
    let url = stream.to.as_ref().context("a stream has a URL")?;
    let writers = match settings.consent.single_writer {
        true => Writers::One,
        false => Writers::Many,
    };
    let credentials = stream.credentials_file.as_deref();
    let protection = stream.protection;
    Ok(store::open_for(url, OpenMode::Create, writers, credentials, protection).await?)
}

pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// Who asks the stream's server, if it may be asked.
pub fn ask(stream: &StreamConfig) -> Result<Option<Arc<dyn Ask>>> {
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

/// What the archiver of a stream needs.
pub fn stream_agent(
    global: &Global,
    orders: &Orders,
    stream: &StreamConfig,
    commons: &Arc<Commons>,
    notices: Option<mpsc::Sender<Message>>,
) -> Result<StreamAgent> {
    let url = stream.to.clone().context("a stream has a URL")?;
    let mut settings = settings(global, stream, &orders.consent)?;
    if orders.file.is_some() {
        settings.state_dir = state_dir(global, stream)?;
    }
    // Who names no tenant is one.
    let alone = || format!("stream {}", stream.name);
    let tenant = stream.tenant.clone().unwrap_or_else(alone);
    let share = Share::new(Arc::clone(commons), &tenant);
    settings.pace = Arc::new(pace(stream).within(share));
    let breaker = Arc::new(Breaker::new(BreakerPolicy::default()));
    let replicas = replicas(stream, &settings);
    let open: OpenStore = {
        let (stream, settings) = (stream.clone(), settings.clone());
        let breaker = Arc::clone(&breaker);
        Box::new(move || {
            let (stream, settings) = (stream.clone(), settings.clone());
            let breaker = Arc::clone(&breaker);
            async move {
                let store = open_store(&stream, &settings).await?;
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
        replicas,
    })
}

/// Opens the store of a replica.
pub async fn open_replica(replica: &ReplicaConfig) -> Result<SharedStore> {
    let credentials = replica.credentials_file.as_deref();
    let (mode, none) = (OpenMode::Create, Protection::default());
    Ok(store::open_for(&replica.url, mode, Writers::Many, credentials, none).await?)
}

/// The replicas of a stream, and how they are opened.
fn replicas(stream: &StreamConfig, settings: &Settings) -> Replicas {
    let order = |replica: &ReplicaConfig| {
        let (stream, settings, to) = (stream.clone(), settings.clone(), replica.clone());
        ReplicaOrder {
            url: replica.url.to_string(),
            from: Box::new(move || {
                let (stream, settings) = (stream.clone(), settings.clone());
                async move { open_store(&stream, &settings).await }.boxed()
            }),
            to: Box::new(move || {
                let to = to.clone();
                async move { open_replica(&to).await }.boxed()
            }),
        }
    };
    Replicas {
        orders: stream.replicas.iter().map(order).collect(),
        archived_when: stream.archived_when,
        give_up_through: stream.give_up_through,
    }
}

/// Where notices go, and who tells them.
type Hooks = (Option<mpsc::Sender<Message>>, Option<JoinHandle<()>>);

/// Begins to tell alarms as configured.
pub fn start_hooks(agent: &AgentConfig) -> Result<Hooks> {
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
    let commons = Commons::new(orders.totals());
    for stream in &orders.streams {
        let health = match resolved(stream) {
            Ok(stream) => {
                let notices = notices.clone();
                let agent = stream_agent(global, orders, &stream, &commons, notices)?;
                let (mut tending, health) = Tending::new(agent);
                tending.cycle().await;
                tending.replicate_once().await;
                health.borrow().clone()
            }
            Err(error) => unresolved(stream, &error),
        };
        let filled = { health.replicas.iter() }.all(|replica| replica.last_error.is_none());
        exit = match (&health.last_error, health.alarms.is_empty() && filled, exit) {
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

/// What is known of a stream that cannot even begin.
pub fn unresolved(stream: &StreamConfig, error: &anyhow::Error) -> Health {
    Health {
        stream: stream.name.clone(),
        last_error: Some(telemetry::message(error)),
        ..Health::default()
    }
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
    for replica in &health.replicas {
        // An alarm comes when it lags; whoever looks at what this run did sees it now.
        if let Some(error) = &replica.last_error {
            let url = &replica.url;
            text += &format!("{}  {url}: not filled: {error}\n", health.stream);
        }
    }
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

/// Archivers at work, each of a stream.
pub struct Running {
    stop: watch::Sender<Stop>,
    healths: Vec<watch::Receiver<Health>>,
    tasks: Vec<(String, JoinHandle<()>)>,
}

impl Running {
    fn begin(healths: Vec<watch::Receiver<Health>>, tended: Vec<(String, Tending)>) -> Running {
        let (stop, stopped) = watch::channel(Stop::No);
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
        self.stop.send_replace(Stop::Now);
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
    let commons = Commons::new(orders.totals());
    for stream in &orders.streams {
        let agent = stream_agent(global, orders, stream, &commons, None)?;
        let (tending, health) = Tending::new(agent);
        healths.push(health);
        tended.push((stream.name.clone(), tending));
    }
    Ok(Running::begin(healths, tended))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::replicas::ReplicaHealth;

    #[test]
    fn a_replica_that_was_not_filled_is_told_of_before_it_lags_enough_for_an_alarm() {
        let replica = |url: &str, error: Option<&str>| ReplicaHealth {
            url: url.to_owned(),
            last_error: error.map(str::to_owned),
            ..ReplicaHealth::default()
        };
        let health = Health {
            stream: "orders".to_owned(),
            replicas: vec![
                replica("s3://copies/a", None),
                replica("s3://copies/b", Some("denied")),
            ],
            ..Health::default()
        };
        let text = summary(&health);
        assert!(
            text.contains("orders  s3://copies/b: not filled: denied\n"),
            "{text}"
        );
        assert!(!text.contains("s3://copies/a"), "{text}");
    }
}

//! `binlogfs archive` as a daemon: its streams at work, and how a configuration that has changed is taken up.
//!
//! At SIGHUP the file is read again. With a mistake in it, all goes on as before. Streams that stay as they are go on
//! undisturbed; those that are gone or have changed end when their files in flight are archived, and what takes their place begins
//! then. A stream whose URL only its server can tell is begun when that is known.

use super::agent::{Orders, ask, resolved, start_hooks, state_dir, stream_agent, unresolved};
use super::exit::Exit;
use super::signals::{Asked, Signals};
use super::{Global, reading};
use crate::agent::endpoint::{self, Board};
use crate::agent::health::Health;
use crate::agent::hooks::Message;
use crate::agent::roster::Roster;
use crate::agent::stream::{Stop, Tending};
use crate::agent::wake::Watches;
use crate::agent::{service, system_clock};
use crate::config::change::{self, AtWork, steps};
use crate::config::{AgentConfig, StreamConfig};
use crate::source::Source;
use crate::sync::Commons;
use crate::telemetry;
use anyhow::{Context as _, Result, anyhow, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::{Id, JoinHandle, JoinSet};

/// How long notices that were given before the end may take to be told. What is not told then is in the log alone: the next process
/// takes it for told.
const LAST_WORDS: Duration = Duration::from_secs(15);
/// How often it is looked whether what a stream waits for, to begin, is there.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Archives until it is asked to stop.
pub async fn run(global: &Global, orders: Orders) -> Result<Exit> {
    let mut signals = Signals::listen().context("cannot wait for the signals that end it")?;
    // What is wrong from the start is told at once, not in a log: a path, a hook, an address that is taken.
    check(&orders)?;
    let listen = orders.agent.listen;
    let mut fleet = Fleet::new(global, orders)?;
    fleet.settle()?;
    if let Some(address) = listen {
        let board = Board {
            roster: fleet.roster.clone(),
            clock: system_clock(),
        };
        let address = endpoint::serve(address, board).await.with_context(|| {
            format!("cannot listen on {address} for metrics; choose another address with listen (or --listen)")
        })?;
        tracing::info!(%address, "metrics are at /metrics");
    }
    service::ready();
    let tending = tokio::spawn(service::tend(fleet.roster.clone()));
    loop {
        tokio::select! {
            asked = signals.next() => match (asked, fleet.orders.file.clone()) {
                (Asked::Reload, Some(path)) => fleet.reload(&path),
                (Asked::End, _) | (Asked::Reload, None) => break,
            },
            Some(()) = fleet.one_ended() => fleet.settle_or_log(),
            () = tokio::time::sleep(LOOK_AGAIN), if fleet.waits => fleet.settle_or_log(),
        }
    }
    service::stopping();
    let exit = fleet.end().await;
    tending.abort();
    Ok(exit)
}

/// What only the host can tell of a configuration: binlogs or options that cannot be read. Binlogs that are not there yet are
/// waited for.
fn check(orders: &Orders) -> Result<()> {
    let mut wrong = Vec::new();
    for stream in &orders.streams {
        match Source::open(&stream.source) {
            Ok(_) => {}
            Err(error) if error.is_absence() => {
                tracing::warn!(stream = stream.name, %error, "no binlogs yet: they are waited for");
            }
            Err(error) => {
                let error = anyhow!(error).context(format!("stream {}", stream.name));
                wrong.push(telemetry::message(&error));
            }
        }
        if let Err(error) = ask(stream) {
            wrong.push(telemetry::message(&error));
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => bail!("{}", wrong.join("\n")),
    }
}

/// A stream at work.
struct Member {
    /// As it was begun.
    stream: StreamConfig,
    state_dir: PathBuf,
    stop: watch::Sender<Stop>,
    leaves: bool,
    task: Id,
}

/// All of them.
struct Fleet {
    global: Global,
    orders: Orders,
    commons: Arc<Commons>,
    notices: Option<mpsc::Sender<Message>>,
    telling: Option<JoinHandle<()>>,
    roster: Roster,
    members: BTreeMap<String, Member>,
    tasks: JoinSet<()>,
    watches: Watches,
    /// Streams that cannot begin yet, each with the last word on it.
    unresolved: BTreeMap<String, watch::Sender<Health>>,
    /// Whether any is not at work yet.
    waits: bool,
    /// One of them has ended by a panic.
    failed: bool,
}

impl Fleet {
    fn new(global: &Global, orders: Orders) -> Result<Fleet> {
        let (notices, telling) = start_hooks(&orders.agent)?;
        Ok(Fleet {
            global: global.clone(),
            commons: Commons::new(orders.totals()),
            orders,
            notices,
            telling,
            roster: Roster::default(),
            members: BTreeMap::new(),
            tasks: JoinSet::new(),
            watches: Watches::default(),
            unresolved: BTreeMap::new(),
            waits: false,
            failed: false,
        })
    }

    /// Reads the configuration again, and goes on with it if it is right.
    fn reload(&mut self, path: &Path) {
        service::reloading();
        match self.take_up(path) {
            Ok(()) => tracing::info!(file = %path.display(), "the configuration was read again"),
            Err(error) => {
                let error = telemetry::message(&error);
                tracing::error!(error, "the configuration stays as it was");
            }
        }
        service::ready();
    }

    /// Takes a configuration up that is right. From then on it holds, whatever a stream of it does.
    fn take_up(&mut self, path: &Path) -> Result<()> {
        let mut orders = Orders::load(path)?;
        orders.consent = self.orders.consent.clone();
        check(&orders)?;
        self.commons.set(orders.totals());
        let new = orders.agent;
        orders.agent = AgentConfig {
            threads: new.threads,
            transfers: new.transfers,
            send_limit: new.send_limit,
            read_limit: new.read_limit,
            ..self.orders.agent.clone()
        };
        if orders.agent != new {
            tracing::warn!(
                "of [agent], only threads, transfers, send_limit and read_limit change while the agent runs: restart it for the rest"
            );
        }
        self.orders = orders;
        self.settle_or_log();
        Ok(())
    }

    fn settle_or_log(&mut self) {
        if let Err(error) = self.settle() {
            tracing::error!(error = telemetry::message(&error), "a stream cannot begin");
        }
    }

    /// Ends what is not wanted any more, and begins what is wanted and can begin. A stream that cannot is tried again.
    ///
    /// # Errors
    /// The first of them; the others have begun.
    fn settle(&mut self) -> Result<()> {
        let wanted = self.wanted()?;
        let at_work: Vec<_> = self
            .members
            .values()
            .map(|member| AtWork {
                stream: &member.stream,
                state_dir: &member.state_dir,
                leaves: member.leaves,
            })
            .collect();
        let with_dirs: Vec<_> = wanted
            .iter()
            .map(|(stream, dir)| (stream, dir.clone()))
            .collect();
        let steps = steps(&at_work, &with_dirs);
        for name in &steps.end {
            if let Some(member) = self.members.get_mut(name) {
                member.leaves = true;
                member.stop.send_replace(Stop::AfterFiles);
                tracing::info!(stream = name, "ends when its files in flight are archived");
            }
        }
        // What waits for another to end begins when that has.
        self.waits = !self.unresolved.is_empty();
        let mut failed = Ok(());
        for n in steps.begin {
            let (stream, dir) = &wanted[n];
            let begun = self.begin(stream, dir);
            if let Err(error) = begun.with_context(|| format!("stream {}", stream.name)) {
                self.waits = true;
                failed = failed.and(Err(error));
            }
        }
        failed
    }

    /// The streams of the configuration that are known well enough to begin, with their state directories.
    fn wanted(&mut self) -> Result<Vec<(StreamConfig, PathBuf)>> {
        let mut found: Vec<Result<StreamConfig>> = self
            .orders
            .streams
            .iter()
            .map(|stream| resolved(stream).or_else(|error| self.as_begun(stream).ok_or(error)))
            .collect();
        keep_apart(&mut found);
        let (mut wanted, mut unresolved) = (Vec::new(), BTreeMap::new());
        for (stream, found) in self.orders.streams.iter().zip(found) {
            match found {
                Ok(found) => {
                    let dir = match self.orders.file {
                        Some(_) => state_dir(&self.global, &found)?,
                        None => alone(&self.global, &found)?,
                    };
                    wanted.push((found, dir));
                }
                Err(error) => {
                    let health = unresolved_health(&mut self.unresolved, stream, &error);
                    self.roster.add(&stream.name, health.subscribe());
                    unresolved.insert(stream.name.clone(), health);
                }
            }
        }
        for name in std::mem::replace(&mut self.unresolved, unresolved).into_keys() {
            self.roster.remove(&name);
        }
        Ok(wanted)
    }

    /// The stream as it is at work, if its configuration is the same but for what its server told then.
    fn as_begun(&self, stream: &StreamConfig) -> Option<StreamConfig> {
        let mut known = self.members.get(&stream.name)?.stream.clone();
        let to = known.to.take();
        (known == *stream).then_some(StreamConfig { to, ..known })
    }

    fn begin(&mut self, stream: &StreamConfig, state_dir: &Path) -> Result<()> {
        let notices = self.notices.clone();
        let agent = stream_agent(&self.global, &self.orders, stream, &self.commons, notices)?;
        let (tending, health) = Tending::new(agent);
        let (stop, stopped) = watch::channel(Stop::No);
        let tending = tending.watching(&self.watches);
        let task = self.tasks.spawn(tending.run(stopped));
        self.roster.add(&stream.name, health);
        let member = Member {
            stream: stream.clone(),
            state_dir: state_dir.to_owned(),
            stop,
            leaves: false,
            task: task.id(),
        };
        self.members.insert(stream.name.clone(), member);
        Ok(())
    }

    /// Waits until one of the streams has ended. `None` if there is none.
    async fn one_ended(&mut self) -> Option<()> {
        let (id, error) = match self.tasks.join_next_with_id().await? {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let named = |(name, member): (&String, &Member)| {
            (member.task == id).then(|| (name.clone(), member.leaves))
        };
        let (name, leaves) = self.members.iter().find_map(named)?;
        if let Some(error) = error {
            tracing::error!(stream = name, %error, "its archiver had ended before");
            self.failed = true;
            if !leaves {
                // It stays in the roster, deserted: the watchdog ends the process.
                return Some(());
            }
        }
        self.members.remove(&name);
        self.roster.remove(&name);
        Some(())
    }

    /// Ends all of them: files in flight get a moment, and so do notices.
    async fn end(mut self) -> Exit {
        for member in self.members.values() {
            member.stop.send_replace(Stop::Now);
        }
        while self.one_ended().await.is_some() {}
        // Nobody gives any more.
        drop(self.notices.take());
        if let Some(telling) = self.telling.take()
            && tokio::time::timeout(LAST_WORDS, telling).await.is_err()
        {
            tracing::error!("alarms that were to be told are only in the log: the agent ends");
        }
        match self.failed {
            true => Exit::Failed,
            false => Exit::Done,
        }
    }
}

/// Of streams that write to one place, the first alone does.
fn keep_apart(found: &mut [Result<StreamConfig>]) {
    let known: Vec<_> = found.iter().map(|found| found.as_ref().ok()).collect();
    for (n, why) in change::refused(&known) {
        if let Ok(stream) = &found[n] {
            found[n] = Err(anyhow!("stream {}: {why}", stream.name));
        }
    }
}

/// The state directory of the one stream of the command line.
fn alone(global: &Global, stream: &StreamConfig) -> Result<PathBuf> {
    let url = stream.to.as_ref().context("a stream has a URL")?;
    let own = stream.state_dir.clone();
    Ok(own.unwrap_or_else(|| reading::state_dir(global, url)))
}

/// Says why a stream cannot begin, once.
fn unresolved_health(
    known: &mut BTreeMap<String, watch::Sender<Health>>,
    stream: &StreamConfig,
    error: &anyhow::Error,
) -> watch::Sender<Health> {
    let health = unresolved(stream, error);
    if let Some(sender) = known.remove(&stream.name) {
        sender.send_if_modified(|before| {
            let changed = before.last_error != health.last_error;
            *before = health;
            changed
        });
        return sender;
    }
    let error = health.last_error.as_deref().unwrap_or_default();
    tracing::error!(stream = stream.name, error, "cannot begin yet");
    watch::channel(health).0
}

//! `binlogfs recover`: a server brought to the target.

mod begun;
mod left_out;
mod mounting;
mod report;
mod restarts;

use super::exit::Exit;
use super::plan;
use super::reading::{self, Reading};
use super::route::{RouteArgs, TARGETS};
use super::signals::Signals;
use super::{Global, output};
use crate::cache::Cause;
use crate::locate::{FilePosition, LocateError};
use crate::model::{GtidSet, StoreUrl, Timeline};
use crate::recover::{self, FirstDdl, PlanError, Planner, Start};
use crate::replay::notes::{self, About};
use crate::replay::relay::{Failed, Mounting, RelayError};
use crate::replay::{
    self, Base, Clients, Engine, EngineChoice, NotReady, Ready, Request, TablePattern, Target,
    Unfit, UnfitKind,
};
use crate::source::server::ServerOptions;
use anyhow::{Context as _, Result, bail};
pub use mounting::mount_command;
pub use report::Bar;
use restarts::Restarts;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("target").required(true).args(TARGETS)))]
pub struct RecoverArgs {
    /// The stream, such as file:///srv/binlogs/orders.
    url: StoreUrl,
    #[command(flatten)]
    route: RouteArgs,
    /// The server to recover: mysql://USER@HOST:PORT/ or mysql://USER@localhost/?socket=/PATH, never with a password.
    #[arg(id = "server", long = "target", value_name = "DSN", required_unless_present = "defaults_file", value_parser = super::purge_safe::dsn)]
    server: Option<String>,
    /// MySQL option file whose groups [client] and [binlogfs] name the server to recover, the account and its password.
    #[arg(long, value_name = "FILE")]
    defaults_file: Option<PathBuf>,
    /// Leave out this transaction, or this set of them, for good: the target gets an empty one in its place; may be repeated.
    #[arg(long, value_name = "GTID")]
    skip_gtid: Vec<GtidSet>,
    /// Only this database; may be repeated.
    #[arg(long, value_name = "DB")]
    only_database: Vec<String>,
    /// Only this table; may be repeated.
    #[arg(long, value_name = "DB.TABLE")]
    only_table: Vec<TablePattern>,
    /// End before the first schema change that would be replayed, if one comes before the target.
    #[arg(long)]
    stop_before_ddl: bool,
    /// Another timeline than the newest.
    #[arg(long, value_name = "N")]
    timeline: Option<u32>,
    /// What applies the transactions.
    #[arg(long, value_enum, default_value_t)]
    engine: EngineChoice,
    /// Where the parallel engine mounts the archive for the server [default: below /run/binlogfs].
    #[arg(long, value_name = "DIR")]
    mount_dir: Option<PathBuf>,
    /// The mysqlbinlog (or mariadb-binlog) to use [default: the one in PATH].
    #[arg(long, value_name = "PATH")]
    mysqlbinlog: Option<PathBuf>,
    /// The mysql (or mariadb) client to use [default: the one in PATH].
    #[arg(long, value_name = "PATH")]
    mysql: Option<PathBuf>,
    /// Shell command that ends the target and starts it again, with the options in MYSQLD_OPTS. Where the parallel engine needs other start
    /// options it is run before, and without options at the end.
    #[arg(long, value_name = "COMMAND")]
    restart: Option<String>,
    /// The server was restored again since a replay without GTIDs was begun there.
    #[arg(long)]
    restored: bool,
    /// Do it. Without this everything is looked at, and nothing is changed.
    #[arg(long)]
    execute: bool,
}

impl RecoverArgs {
    fn only(&self) -> Vec<TablePattern> {
        let databases = self
            .only_database
            .iter()
            .map(|name| TablePattern::database(name));
        databases.chain(self.only_table.iter().cloned()).collect()
    }
}

/// A recovery that is under way.
struct Recovery<'a> {
    global: &'a Global,
    args: &'a RecoverArgs,
    planner: Planner,
    target: Target,
    request: Request,
    ready: Ready,
    /// Where the note of a replay without GTIDs is.
    note: PathBuf,
    /// Whether the target runs with options of ours, and must be restarted at the end.
    restarts: Restarts,
}

pub async fn run(global: &Global, args: &RecoverArgs) -> Result<Exit> {
    let mut stopped = Signals::stop().context("cannot wait for the signals that end it")?;
    // Until something is written, whatever hangs is not waited for.
    let prepared = tokio::select! {
        prepared = prepare(global, args) => prepared?,
        Ok(_) = stopped.wait_for(|stop| *stop) => bail!("it was asked to stop; nothing was applied"),
    };
    match prepared {
        Prepared::Told(exit) => Ok(exit),
        Prepared::ToDo(mut recovery, exit) => match recovery.execute(stopped).await {
            Ok(()) => Ok(exit),
            // A server that was restarted is looked at again.
            Err(error) => match error.downcast::<NotReady>() {
                Ok(not_ready) => refused(global, &recovery.request, not_ready),
                Err(error) => Err(error),
            },
        },
    }
}

/// What comes after everything was looked at.
enum Prepared<'a> {
    /// Nothing.
    Told(Exit),
    /// This, and how the command ends then.
    ToDo(Box<Recovery<'a>>, Exit),
}

async fn prepare<'a>(global: &'a Global, args: &'a RecoverArgs) -> Result<Prepared<'a>> {
    let options =
        ServerOptions::from_command_line(args.server.as_deref(), args.defaults_file.as_deref())?;
    let reading = reading::open(global, &args.url).await?;
    let timeline = reading.timeline(args.timeline)?;
    let planner = Planner::new(
        Arc::clone(&reading.index),
        Arc::new(reading.reader(global)?),
    );
    let mut request = match request(args, &reading, timeline).await? {
        Ok(request) => request,
        Err(refusal) => {
            plan::refuse(global, &args.route.goal(), &refusal)?;
            return Ok(Prepared::Told(Exit::NotRecoverable));
        }
    };
    if let (recover::Target::End, Some(alarm)) = (&request.target, &reading.alarm) {
        bail!(
            "where the history ends is not known ({alarm}); say where to stop; nothing was changed"
        );
    }
    let mut target = Target::open(options).await?;
    let state_dir = reading::state_dir(global, &args.url);
    let left_out = left_out::before(&state_dir, &mut target, &mut request).await?;
    let mut ready = match replay::prepare(&planner, &mut target, &request).await {
        Ok(ready) => ready,
        Err(error) => return refused(global, &request, error).map(Prepared::Told),
    };
    if args.stop_before_ddl {
        match planner.first_ddl(&ready.plan).await? {
            FirstDdl::None => {}
            FirstDdl::Unknown(file) => bail!(
                "{file} has more schema changes than its index keeps: name the place with --to-position; nothing was changed"
            ),
            FirstDdl::At(place, ddl) => {
                request.target = recover::Target::Position(place);
                ready = match replay::prepare(&planner, &mut target, &request).await {
                    Ok(ready) => ready,
                    Err(error) => return refused(global, &request, error).map(Prepared::Told),
                };
                ready.notes.push(format!(
                    "it ends before a schema change of {}: {}",
                    ddl.time,
                    output::short(&ddl.sql, report::SQL_CHARS)
                ));
            }
        }
    }
    ready.notes.extend(args.route.notes(&reading, timeline)?);
    ready.notes.extend(left_out);
    let identity = &ready.facts.identity;
    let note = notes::path(&state_dir, About::Recovery, identity);
    let restarts = Restarts::find(&state_dir, identity, &mut target).await?;
    let recovery = Recovery {
        global,
        args,
        planner,
        target,
        request,
        ready,
        note,
        restarts,
    };
    if let Err(unfit) = recovery.check().await? {
        return refused(global, &recovery.request, unfit.into()).map(Prepared::Told);
    }
    if !args.execute {
        report::dry_run(&recovery)?;
        return Ok(Prepared::Told(reading.exit()));
    }
    Ok(Prepared::ToDo(Box::new(recovery), reading.exit()))
}

/// What is asked for; or why it cannot be had from the backup that was named.
async fn request(
    args: &RecoverArgs,
    reading: &Reading,
    timeline: Timeline,
) -> Result<Result<Request, Box<recover::Refusal>>> {
    let mut question = match args.route.question(reading, timeline).await? {
        Ok(question) => question,
        Err(refusal) => return Ok(Err(refusal)),
    };
    for set in &args.skip_gtid {
        question.skip.union_with(set);
    }
    let (gtids, position): (Option<GtidSet>, Option<FilePosition>) = match question.start {
        Start::Beginning => (None, None),
        Start::Gtids(gtids) => (Some(gtids), None),
        Start::Position(position) => (None, Some(position)),
    };
    Ok(Ok(Request {
        timeline,
        flavour: reading.stream.file().flavour,
        target: question.target,
        skip: question.skip,
        base: Base { gtids, position },
        only: args.only(),
        engine: args.engine,
        mount_dir: args.mount_dir.clone(),
        may_clean: args.execute,
        may_restart: args.restart.is_some(),
    }))
}

fn refused(global: &Global, request: &Request, error: NotReady) -> Result<Exit> {
    match error {
        NotReady::Plan(PlanError::Refused(refusal)) => {
            plan::refuse(global, &request.target, &refusal)?;
        }
        NotReady::Unfit(unfit) => report::unfit(global, &unfit)?,
        NotReady::Plan(PlanError::Failed(LocateError::Read(error)))
            if matches!(error.cause, Cause::NoKey(_)) =>
        {
            report::unfit(
                global,
                &Unfit::new(UnfitKind::NoKey, error.to_string(), &[]),
            )?;
        }
        NotReady::Plan(error) => return Err(error.into()),
        NotReady::Server(error) => return Err(error.into()),
    }
    Ok(Exit::NotRecoverable)
}

impl Recovery<'_> {
    /// What is left to look at once it is known what will be done.
    async fn check(&self) -> Result<Result<(), Unfit>> {
        let plan = &self.ready.plan;
        if plan.segments.is_empty() {
            return Ok(Ok(()));
        }
        let identities = reading::identities(&self.global.identity)?;
        if let Some((file, keys)) = self.planner.without_key(plan, &identities).await? {
            let reason = format!("{file} is encrypted for {}", keys.join(", "));
            let instead = ["give the private key of one of them with --identity FILE"];
            return Ok(Err(Unfit::new(UnfitKind::NoKey, reason, &instead)));
        }
        if self.ready.engine == Engine::Pipe {
            self.clients().check(plan.flavour)?;
        }
        self.check_note()
    }

    fn clients(&self) -> Clients {
        let (reader, client) = (self.args.mysqlbinlog.clone(), self.args.mysql.clone());
        Clients::of(self.ready.plan.flavour, reader, client)
    }

    async fn execute(&mut self, stopped: watch::Receiver<bool>) -> Result<()> {
        let begun = Instant::now();
        let is_done = self.ready.plan.segments.is_empty();
        let brought = match is_done {
            true => Ok(Vec::new()),
            false => self.bring(stopped).await,
        };
        let took = begun.elapsed();
        let given_back = self.restart_as_configured().await;
        let disabled_events = match (brought, given_back) {
            (Ok(disabled_events), Ok(())) => disabled_events,
            (Ok(_), Err(error)) => return Err(error.context(report::recovered_but(&self.ready))),
            (Err(error), Ok(())) => return Err(error),
            (Err(error), Err(besides)) => {
                eprintln!("binlogfs: {besides:#}");
                return Err(error);
            }
        };
        report::done(self, (!is_done).then_some(took), &disabled_events)
    }

    /// Returns the events that were created and are disabled.
    async fn bring(&mut self, stopped: watch::Receiver<bool>) -> Result<Vec<String>> {
        if *stopped.borrow() {
            bail!("it was asked to stop; nothing was applied");
        }
        if let Some(restart) = self.ready.restart.clone() {
            self.restart_for(&restart, &stopped).await?;
        }
        report::begins(self.global, &self.ready, &self.target);
        self.leave_out().await.context("nothing was applied")?;
        self.note(false)?;
        let disabled_events = match self.apply(stopped).await {
            Ok(disabled_events) => disabled_events,
            Err(error) => {
                let executed = self.target.last_look().await;
                // What was passed over cannot be applied any more.
                if let Some(RelayError::Short { .. }) = error.downcast_ref() {
                    return Err(error);
                }
                return Err(error.context(report::left_in_the_middle(&self.ready, executed)));
            }
        };
        if self.ready.plan.by_gtid {
            let executed = self.target.executed().await?;
            let compared = replay::compare(&self.ready.plan, &executed);
            if !compared.is_same() {
                bail!("{}", report::differs(&compared));
            }
        }
        self.note(true)?;
        Ok(disabled_events)
    }

    /// Returns the events that were created and are disabled.
    async fn apply(&mut self, stopped: watch::Receiver<bool>) -> Result<Vec<String>> {
        if self.ready.engine == Engine::Parallel {
            let failed = match self.parallel(stopped.clone()).await {
                Ok(disabled_events) => return Ok(disabled_events),
                Err(failed) => failed,
            };
            // What was asked for by name, or has begun, is not done in another way.
            let is_only_way =
                self.args.engine != EngineChoice::Auto || !self.args.only().is_empty();
            if failed.started || is_only_way || *stopped.borrow() {
                return Err(failed.error.into());
            }
            eprintln!("binlogfs: {}; going on with the pipe", failed.error);
            self.ready.engine = Engine::Pipe;
            if let Some(note) = replay::check_pipe(&self.ready.facts)? {
                eprintln!("binlogfs: note: {note}");
            }
            self.clients().check(self.ready.plan.flavour)?;
        }
        let bar = Bar::bytes(self.ready.plan.segments.bytes());
        let (plan, clients) = (&self.ready.plan, self.clients());
        replay::pipe::run(&self.planner, plan, &clients, &self.target, &bar, stopped).await?;
        Ok(Vec::new())
    }

    async fn parallel(&mut self, stopped: watch::Receiver<bool>) -> Result<Vec<String>, Failed> {
        let (global, url) = (self.global, &self.args.url);
        let mount = |dir: &Path, owner| mount_command(global, url, dir, owner);
        let mounting = Mounting {
            base: self.args.mount_dir.as_deref(),
            command: &mount,
        };
        let bar = Bar::transactions(self.ready.plan.adds.count());
        replay::relay::run(
            &self.planner,
            &self.ready.plan,
            &mut self.target,
            &self.ready.facts,
            (mounting, &self.args.only()),
            &bar,
            stopped,
        )
        .await
    }
}

/// How long a second took, for people.
pub fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 10.0).round() / 10.0
}

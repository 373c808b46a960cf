//! `binlogfs drill`: proof that a backup and the archive make a server.

mod draw;
mod report;

use super::exit::Exit;
use super::recover::Bar;
use super::route::{RouteArgs, TARGETS};
use super::signals::Signals;
use super::{Global, plan, reading};
use crate::backup::{self, Backup, Tool};
use crate::binlog::Flavour;
use crate::model::{GtidSet, StoreUrl};
use crate::recover::{self, Plan, PlanError, Planner, Question, Start};
use crate::replay::relay::Mounting;
use crate::replay::restore::{self, Restore};
use crate::replay::scratch::{Scratch, ScratchOptions};
use crate::replay::{self, Base, Clients, Engine, EngineChoice, NotReady, Ready, Request, Target};
use anyhow::{Context as _, Result, bail};
use report::Report;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// Where scratch servers are made: a restored server is too large for a memory file system.
const SCRATCH_DIR: &str = "/var/tmp";
/// What `--backup` is here: no base stands in for it.
const BACKUP_HELP: &str = "The registered backup to restore, as 'binlogfs backup list' shows it";

#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("target").args(TARGETS)))]
#[command(mut_arg("backup", |arg| arg.required(true).help(BACKUP_HELP)))]
#[command(mut_arg("from_gtid_set", |arg| arg.hide(true)))]
#[command(mut_arg("from_position", |arg| arg.hide(true)))]
pub struct DrillArgs {
    /// The stream, such as file:///srv/binlogs/orders.
    url: StoreUrl,
    /// Where to recover to [default: a moment drawn at random, of those that the backup can reach].
    #[command(flatten)]
    route: RouteArgs,
    /// Where the backup's files are [default: where they were when it was registered].
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Restore with this shell command beside an empty server: BINLOGFS_BACKUP and BINLOGFS_SOCKET are in its environment.
    #[arg(long, value_name = "COMMAND", conflicts_with = "restore_files")]
    restore: Option<String>,
    /// Restore with this shell command, which makes a data directory in BINLOGFS_DATADIR out of BINLOGFS_BACKUP.
    #[arg(long, value_name = "COMMAND")]
    restore_files: Option<String>,
    /// Another timeline than the newest.
    #[arg(long, value_name = "N")]
    timeline: Option<u32>,
    /// What applies the transactions.
    #[arg(long, value_enum, default_value_t)]
    engine: EngineChoice,
    /// Where the scratch server's directory is made, and removed.
    #[arg(long, value_name = "DIR", default_value = SCRATCH_DIR)]
    scratch_dir: PathBuf,
    /// Where the parallel engine mounts the archive for the server [default: below /run/binlogfs].
    #[arg(long, value_name = "DIR")]
    mount_dir: Option<PathBuf>,
    /// The server program.
    #[arg(long, value_name = "PATH", default_value = "mysqld")]
    mysqld: PathBuf,
    /// An option of the scratch server, such as --lower-case-table-names=1; may be repeated.
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    mysqld_option: Vec<String>,
    /// The mysqlbinlog to use [default: the one in PATH].
    #[arg(long, value_name = "PATH")]
    mysqlbinlog: Option<PathBuf>,
    /// The mysql client to use [default: the one in PATH].
    #[arg(long, value_name = "PATH")]
    mysql: Option<PathBuf>,
    /// The report (--json) of an earlier drill of the same backup to the same place: the tables must be the same.
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Write metrics in Prometheus' text format, for node_exporter's textfile collector.
    #[arg(long, value_name = "FILE")]
    metrics: Option<PathBuf>,
}

pub async fn run(global: &Global, args: &DrillArgs) -> Result<Exit> {
    let begun = Instant::now();
    let outcome = drill(global, args).await;
    if let Some(path) = &args.metrics {
        let report = outcome
            .as_ref()
            .ok()
            .and_then(|outcome| outcome.as_ref().ok());
        let id = args.route.backup().map(ToString::to_string);
        let text = report::metrics(
            &args.url,
            id.as_deref().unwrap_or_default(),
            report,
            begun.elapsed(),
        );
        match (report::write_metrics(path, &text), &outcome) {
            // What the drill itself has to say is said.
            (Err(error), Err(_)) => eprintln!("binlogfs: {error:#}"),
            (written, _) => written?,
        }
    }
    let report = match outcome? {
        Ok(report) => report,
        Err(exit) => return Ok(exit),
    };
    report::print(global, &report)?;
    Ok(match report.differing.is_empty() {
        true => Exit::Done,
        false => Exit::Findings,
    })
}

/// A report, or how a command ends that has told why there is none.
type Outcome = Result<Report, Exit>;

async fn drill(global: &Global, args: &DrillArgs) -> Result<Outcome> {
    let stopped = Signals::stop().context("cannot wait for the signals that end it")?;
    let reading = reading::open(global, &args.url).await?;
    if reading.stream.file().flavour == Flavour::MariaDb {
        bail!(
            "a drill starts a MySQL server, and this stream is MariaDB's: restore a backup by hand, and use 'binlogfs recover'"
        );
    }
    if let Some(alarm) = &reading.alarm {
        bail!("where the history ends is not known ({alarm}): nothing can be proven of it");
    }
    let timeline = reading.timeline(args.timeline)?;
    let stream_id = reading.stream.file().stream_id;
    let Some(id) = args.route.backup() else {
        bail!(
            "a drill restores a registered backup: name it with --backup ('binlogfs backup list' shows them)"
        );
    };
    let registered = backup::backups(&reading.store, stream_id).await?;
    let backup = registered.get(id).with_context(|| {
        format!("no backup {id} can be read; 'binlogfs backup list' shows those that can")
    })?;
    let Some(base) = backup.coordinates.gtids.clone() else {
        bail!(
            "backup {id} tells no GTIDs: without them nobody could compare what a drill made; recover by hand from its position"
        );
    };
    let planner = Planner::new(
        Arc::clone(&reading.index),
        Arc::new(reading.reader(global)?),
    );
    let reference = args
        .reference
        .as_deref()
        .map(report::reference)
        .transpose()?;
    let target = match args.route.target() {
        Some(target) => Ok(target),
        None => draw::draw(&planner, timeline, &base).await,
    };
    let target = match target {
        Ok(target) => target,
        Err(error) => return refused(global, &recover::Target::End, error.into()).map(Err),
    };
    // What cannot be recovered is found out before anything is restored.
    let question = Question {
        timeline,
        start: Start::Gtids(base.clone()),
        target: target.clone(),
        skip: GtidSet::new(),
    };
    if let Err(error) = planner.plan(&question).await {
        return refused(global, &target, error.into()).map(Err);
    }
    let clients = Clients::of(Flavour::MySql, args.mysqlbinlog.clone(), args.mysql.clone());
    clients.check(Flavour::MySql)?;

    let work = Work {
        global,
        args,
        planner,
        clients,
        backup,
        base: base.clone(),
        request: Request {
            timeline,
            flavour: Flavour::MySql,
            target,
            skip: GtidSet::new(),
            base: Base {
                gtids: Some(base.clone()),
                position: None,
            },
            only: Vec::new(),
            engine: args.engine,
            mount_dir: args.mount_dir.clone(),
            may_clean: true,
            may_restart: false,
        },
    };
    let report = work.run(reference.as_ref(), stopped).await?;
    Ok(report)
}

fn refused(global: &Global, target: &recover::Target, error: NotReady) -> Result<Exit> {
    match error {
        NotReady::Plan(PlanError::Refused(refusal)) => plan::refuse(global, target, &refusal)?,
        NotReady::Unfit(unfit) => bail!("the restored server cannot be recovered: {unfit}"),
        NotReady::Plan(error) => return Err(error.into()),
        NotReady::Server(error) => return Err(error.into()),
    }
    Ok(Exit::NotRecoverable)
}

/// A drill that is under way.
struct Work<'a> {
    global: &'a Global,
    args: &'a DrillArgs,
    planner: Planner,
    clients: Clients,
    backup: &'a Backup,
    base: GtidSet,
    request: Request,
}

impl Work<'_> {
    async fn run(
        &self,
        reference: Option<&report::Reference>,
        stopped: watch::Receiver<bool>,
    ) -> Result<Outcome> {
        let mut scratch = Scratch::new(ScratchOptions {
            program: self.args.mysqld.clone(),
            parent: self.args.scratch_dir.clone(),
            extra: self.args.mysqld_option.clone(),
        })?;
        let begun = Instant::now();
        tokio::task::block_in_place(|| self.restore(&mut scratch, &stopped))?;
        let restored = begun.elapsed();
        let mut target = Target::open(scratch.server_options()).await?;
        self.tell_gtids(&mut target).await?;

        let begun = Instant::now();
        let ready = replay::prepare(&self.planner, &mut target, &self.request).await;
        let ready = match ready {
            Ok(ready) => ready,
            Err(error) => return refused(self.global, &self.request.target, error).map(Err),
        };
        go_on(&stopped)?;
        if !ready.plan.segments.is_empty() {
            self.replay(&ready, &mut target, stopped.clone()).await?;
        }
        let replayed = begun.elapsed();
        let compared = replay::compare(&ready.plan, &target.executed().await?);
        if !compared.is_same() {
            bail!(
                "the replay ended, and the server is not what was planned: it lacks '{}', and has '{}' besides",
                compared.missing,
                compared.extra
            );
        }
        let tables = replay::checksums(&mut target, &stopped).await?;
        Ok(Ok(self.report(
            &ready.plan,
            ready.engine,
            tables,
            reference,
            [restored, replayed],
        )?))
    }

    fn restore(&self, scratch: &mut Scratch, stopped: &watch::Receiver<bool>) -> Result<()> {
        let from = self
            .args
            .from
            .clone()
            .unwrap_or_else(|| PathBuf::from(&self.backup.place));
        let how = match (&self.args.restore, &self.args.restore_files) {
            (Some(command), _) => Restore::Command(command.clone()),
            (None, Some(command)) => Restore::Files(command.clone()),
            (None, None) => Restore::ByTool,
        };
        let tool = self.backup.coordinates.tool;
        restore::restore(scratch, tool, &from, &how, &self.clients.client, stopped)
            .with_context(|| format!("backup {} was not restored", self.backup.id))
    }

    /// Copied files, and dumps without GTID_PURGED, may not say what they hold; the backup's coordinates do. A dump that says it is
    /// believed: if it lacks something, the preparation refuses it.
    async fn tell_gtids(&self, target: &mut Target) -> Result<()> {
        let by_files = matches!(self.backup.coordinates.tool, Tool::Xtrabackup | Tool::Clone)
            || self.args.restore_files.is_some();
        if !by_files && !target.executed().await?.is_empty() {
            return Ok(());
        }
        let missing = self.base.minus(&target.executed().await?);
        if missing.is_empty() {
            return Ok(());
        }
        let statement = format!("SET GLOBAL gtid_purged = '+{missing}'");
        Ok(target.connection().run(&statement).await?)
    }

    async fn replay(
        &self,
        ready: &Ready,
        target: &mut Target,
        stopped: watch::Receiver<bool>,
    ) -> Result<()> {
        let plan = &ready.plan;
        if ready.engine == Engine::Parallel {
            let bar = Bar::transactions(plan.adds.count());
            let mount = |dir: &std::path::Path, owner| {
                super::recover::mount_command(self.global, &self.args.url, dir, owner)
            };
            let place = Mounting {
                base: self.args.mount_dir.as_deref(),
                command: &mount,
            };
            let done = replay::relay::run(
                &self.planner,
                plan,
                target,
                &ready.facts,
                (place, &[]),
                &bar,
                stopped,
            )
            .await;
            return done.map(drop).map_err(|failed| failed.error.into());
        }
        let bar = Bar::bytes(plan.segments.bytes());
        replay::pipe::run(&self.planner, plan, &self.clients, target, &bar, stopped).await?;
        Ok(())
    }

    fn report(
        &self,
        plan: &Plan,
        engine: Engine,
        tables: BTreeMap<String, u64>,
        reference: Option<&report::Reference>,
        [restored, replayed]: [std::time::Duration; 2],
    ) -> Result<Report> {
        let stop = format!("{}:{}", plan.stop.place.file, plan.stop.place.position);
        let differing = match reference {
            None => Vec::new(),
            Some(reference) => reference.differing(&self.backup.id, &stop, &tables)?,
        };
        Ok(Report {
            backup: self.backup.id.to_string(),
            target: plan.question.target.to_string(),
            stop,
            engine: engine.name(),
            transactions: plan.adds.count(),
            restored,
            replayed,
            gtid_executed: plan.executed().to_string(),
            tables,
            is_compared: reference.is_some(),
            differing,
        })
    }
}

/// Ends it if somebody asked for that.
fn go_on(stopped: &watch::Receiver<bool>) -> Result<()> {
    match *stopped.borrow() {
        true => bail!("it was asked to stop"),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Args as _;
    use clap::error::ErrorKind;

    #[test]
    fn the_help_says_that_a_backup_is_to_be_named_and_without_one_the_usage_is_wrong() {
        let mut command = DrillArgs::augment_args(clap::Command::new("drill").term_width(0));
        let help = command.render_help().to_string();
        assert!(help.contains(BACKUP_HELP), "{help}");
        for other in ["beginning of the history", "--from-"] {
            assert!(!help.contains(other), "{help}");
        }
        let without = command.try_get_matches_from(["drill", "file:///srv/binlogs/orders"]);
        let error = without.expect_err("no backup is named");
        assert_eq!(error.kind(), ErrorKind::MissingRequiredArgument);
        assert!(error.to_string().contains("--backup <ID>"), "{error}");
    }
}

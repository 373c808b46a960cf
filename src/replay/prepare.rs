//! Everything that is looked at before anything is written.

use super::choice::choose;
use super::engine::{self, Engine, EngineChoice};
use super::only::TablePattern;
use super::relay;
use super::start_options::Restart;
use super::target::{Target, TargetFacts};
use super::unfit::{Unfit, UnfitKind};
use crate::binlog::Flavour;
use crate::locate::FilePosition;
use crate::model::{GtidSet, Timeline};
use crate::recover::{self, Origin, Plan, PlanError, Planner, Question, RefusalKind, Start};
use crate::source::server::ServerError;
use std::path::PathBuf;

/// What the target was restored from, as far as somebody says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// What it must have at least.
    pub gtids: Option<GtidSet>,
    /// Where it stands, for binlogs without GTIDs.
    pub position: Option<FilePosition>,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The timeline.
    pub timeline: Timeline,
    /// Whose binlogs they are.
    pub flavour: Flavour,
    /// Where to end.
    pub target: recover::Target,
    /// What to leave out.
    pub skip: GtidSet,
    /// What the target was restored from.
    pub base: Base,
    /// Only what touches these tables, if there are any.
    pub only: Vec<TablePattern>,
    /// The engine.
    pub engine: EngineChoice,
    /// Where to mount, if that was said.
    pub mount_dir: Option<PathBuf>,
    /// What is left of a run that was killed is taken away; otherwise it is only mentioned.
    pub may_clean: bool,
    /// The target may be restarted, if that is what the server's own applier needs.
    pub may_restart: bool,
}

/// All is well: what will be done.
#[derive(Debug)]
pub struct Ready {
    /// The plan, from what the target has.
    pub plan: Plan,
    /// The target.
    pub facts: TargetFacts,
    /// The engine.
    pub engine: Engine,
    /// Why that one.
    pub why: String,
    /// The start that the engine needs first.
    pub restart: Option<Restart>,
    /// What is worth knowing.
    pub notes: Vec<String>,
}

/// Why nothing will be done.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// There is no such plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Not to this server.
    #[error(transparent)]
    Unfit(Box<Unfit>),
    /// The server cannot be asked.
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl From<Unfit> for NotReady {
    fn from(unfit: Unfit) -> NotReady {
        NotReady::Unfit(Box::new(unfit))
    }
}

/// Looks at target and history, and plans.
///
/// # Errors
/// [`NotReady`].
pub async fn prepare(
    planner: &Planner,
    target: &mut Target,
    request: &Request,
) -> Result<Ready, NotReady> {
    if request.may_clean && !target.claim().await? {
        return Err(Unfit::new(
            UnfitKind::Busy,
            "another recovery of this server is under way",
            &["wait until it ends"],
        )
        .into());
    }
    let mut facts = target.facts().await?;
    let mut notes = Vec::new();
    if facts.flavour == Flavour::MySql && relay::is_left_behind(&facts) {
        check_left_behind(target, &facts).await?;
        match request.may_clean {
            true => {
                relay::clean(target, &facts).await?;
                facts = target.facts().await?;
                notes.push("what an earlier run had left on the target was taken away".to_owned());
            }
            false => notes.push(format!(
                "an earlier run was killed and left its channel {} there: it is taken away first",
                relay::CHANNEL
            )),
        }
    }
    check_server(&facts, request)?;
    let start = start(&facts, request)?;
    let question = Question {
        timeline: request.timeline,
        start,
        target: request.target.clone(),
        skip: request.skip.clone(),
    };
    let plan = planner.plan(&question).await.map_err(told_of_target)?;
    if !plan.segments.is_empty() {
        check_mode(&facts, &plan)?;
    }
    let written = planner.written(&plan).await?;
    check_source(&facts, &plan, &written.origins)?;
    let (engine, why, restart) = choose(&plan, &facts, &written, request)?;
    if engine == Engine::Pipe && !plan.segments.is_empty() {
        notes.extend(check_pipe(&facts)?);
    } else if facts.event_scheduler && facts.has_events {
        return Err(runs_events().into());
    }
    if !request.only.is_empty() {
        notes.push(
            "gtid_executed will have all transactions, and the tables only theirs: copy them from there, and let nothing replicate from it"
                .to_owned(),
        );
    }
    if plan.by_gtid && request.base.position.is_some() {
        notes.push("the target says itself what it has; the position is not used".to_owned());
    }
    if engine == Engine::Parallel {
        notes.extend(engine::notes(&facts));
    }
    Ok(Ready {
        plan,
        facts,
        engine,
        why,
        restart,
        notes,
    })
}

/// A server that was started again while our channel was there has its own filters in it, and they leave out without a word.
async fn check_left_behind(target: &mut Target, facts: &TargetFacts) -> Result<(), NotReady> {
    let filters = relay::filters_since(target, facts).await?;
    if filters.is_empty() {
        return Ok(());
    }
    let reason = format!(
        "the target was started again in the middle of an earlier run, with replication filters ({filters}): its applier may have left \
         transactions out, and has their GTIDs"
    );
    let instead = format!(
        "RESET REPLICA ALL FOR CHANNEL '{}' on it, restore the base to it again, and run the same command",
        relay::CHANNEL
    );
    Err(Unfit::new(UnfitKind::Unfinished, reason, &[&instead]).into())
}

fn check_server(facts: &TargetFacts, request: &Request) -> Result<(), Unfit> {
    if facts.flavour != request.flavour {
        let name = |flavour| match flavour {
            Flavour::MySql => "MySQL",
            Flavour::MariaDb => "MariaDB",
        };
        return Err(Unfit::new(
            UnfitKind::Flavour,
            format!(
                "the binlogs are {}'s, and the target is {} {}",
                name(request.flavour),
                name(facts.flavour),
                facts.version
            ),
            &["restore the backup to a server of the kind that wrote them"],
        ));
    }
    if let Some(channel) = facts.channels.iter().find(|channel| {
        !relay::is_ours(channel) && (channel.runs || channel.name == relay::CHANNEL)
    }) {
        return Err(Unfit::new(
            UnfitKind::IsReplica,
            format!(
                "the target replicates from a server (channel '{}'): both would write to it",
                channel.name
            ),
            &[
                "STOP REPLICA (and RESET REPLICA ALL, if the channel is named binlogfs) on it first, if it is the right server",
            ],
        ));
    }
    Ok(())
}

/// What is in the way of writing to it as a client; or what is worth knowing of that.
///
/// # Errors
/// [`Unfit`].
pub fn check_pipe(facts: &TargetFacts) -> Result<Option<String>, Unfit> {
    if facts.super_read_only {
        return Err(Unfit::new(
            UnfitKind::ReadOnly,
            "super_read_only is on: the target takes no writes",
            &[
                "SET GLOBAL super_read_only = OFF, and SET GLOBAL read_only = OFF, if it is the right server",
            ],
        ));
    }
    if !facts.event_scheduler {
        return Ok(None);
    }
    if facts.has_events {
        return Err(runs_events());
    }
    // Those that an applier creates are disabled, and those that a client creates are not.
    Ok(Some(
        "the target's event scheduler runs: events that the history creates could run before the end. SET GLOBAL event_scheduler = OFF \
         until it is recovered, if there are any"
            .to_owned(),
    ))
}

/// Events that run write transactions of their own between those of the history.
fn runs_events() -> Unfit {
    Unfit::new(
        UnfitKind::RunsEvents,
        "the target has events, and its event scheduler runs: they would write to it while it is recovered",
        &["SET GLOBAL event_scheduler = OFF until it is recovered"],
    )
}

/// Without GTIDs nothing would keep a server from applying its own history once more.
fn check_source(facts: &TargetFacts, plan: &Plan, origins: &[Origin]) -> Result<(), Unfit> {
    let is_source = facts.uuid.is_some_and(|uuid| {
        let mut wrote = origins.iter().filter_map(|origin| origin.server_uuid);
        wrote.any(|wrote| wrote == uuid)
    });
    if plan.by_gtid || !is_source {
        return Ok(());
    }
    Err(Unfit::new(
        UnfitKind::IsSource,
        "the target is the server that wrote these binlogs: without GTIDs it would apply its own history once more",
        &[
            "if it is a copy of that server, remove its auto.cnf and restart it: it gets a UUID of its own",
        ],
    ))
}

/// What the target has: with GTIDs it knows itself.
fn start(facts: &TargetFacts, request: &Request) -> Result<Start, Unfit> {
    let base = &request.base;
    let by_gtid = facts.flavour == Flavour::MySql && facts.takes_gtids();
    if by_gtid {
        if let Some(needed) = &base.gtids
            && !needed.is_subset(&facts.executed)
        {
            return Err(Unfit::new(
                UnfitKind::LacksBackup,
                format!(
                    "the target lacks {} of the backup that it is said to be restored from",
                    needed.minus(&facts.executed)
                ),
                &[
                    "restore the backup to it first; if that was done with --set-gtid-purged=OFF or by copying files without \
                     their coordinates, tell the server what it has: SET GLOBAL gtid_purged = '...' ('binlogfs backup show' prints it)",
                ],
            ));
        }
        if facts.executed.is_empty() && facts.has_tables {
            return Err(not_empty(
                "the target has tables, but its gtid_executed is empty: what is in them is not known",
                &[
                    "if it was restored from a backup, SET GLOBAL gtid_purged to what the backup holds ('binlogfs backup show' prints it)",
                ],
            ));
        }
        return Ok(Start::Gtids(facts.executed.clone()));
    }
    let told = match (&base.position, &base.gtids) {
        (Some(position), _) => Some(Start::Position(position.clone())),
        (None, Some(gtids)) if !gtids.is_empty() => Some(Start::Gtids(gtids.clone())),
        _ => None,
    };
    match told {
        Some(start) => Ok(start),
        None if facts.flavour == Flavour::MariaDb && !facts.executed.is_empty() => {
            Ok(Start::Gtids(facts.executed.clone()))
        }
        None if facts.has_tables => Err(not_empty(
            "the target has tables, and without GTIDs it cannot tell where it stands",
            &[
                "name what it was restored from with --backup, or where it stands with --from-position FILE:POS",
            ],
        )),
        None => Ok(Start::Gtids(GtidSet::new())),
    }
}

fn not_empty(reason: &str, instead: &[&str]) -> Unfit {
    Unfit::new(UnfitKind::NotEmpty, reason, instead)
}

/// `gtid_mode` must fit what is replayed: the server refuses each transaction otherwise (errors 1781 and 1782).
fn check_mode(facts: &TargetFacts, plan: &Plan) -> Result<(), Unfit> {
    if facts.flavour == Flavour::MariaDb {
        return Ok(());
    }
    let mode = facts.gtid_mode.as_deref().unwrap_or("OFF");
    if plan.by_gtid && !facts.takes_gtids() {
        return Err(Unfit::new(
            UnfitKind::GtidMode,
            format!("the transactions have GTIDs, and the target's gtid_mode is {mode}"),
            &["start the target with gtid_mode=ON and enforce_gtid_consistency=ON"],
        ));
    }
    if !plan.by_gtid && !facts.takes_anonymous() {
        return Err(Unfit::new(
            UnfitKind::GtidMode,
            "there are transactions without GTIDs, and the target's gtid_mode is ON",
            &[
                "SET GLOBAL gtid_mode = ON_PERMISSIVE and then OFF_PERMISSIVE, or start the target with gtid_mode=OFF",
            ],
        ));
    }
    Ok(())
}

/// The base is the target: what is wrong with it is told as that.
fn told_of_target(error: PlanError) -> NotReady {
    let PlanError::Refused(mut refusal) = error else {
        return error.into();
    };
    if refusal.kind == RefusalKind::NoGtids {
        refusal.instead.push(
            "a target that goes by GTIDs is not asked for a place: SET GLOBAL gtid_mode = OFF_PERMISSIVE on it first, if it is known where it \
             stands, or restore a base from behind those transactions to it"
                .to_owned(),
        );
    }
    if !matches!(
        refusal.kind,
        RefusalKind::BaseForeign | RefusalKind::BaseTooNew
    ) {
        return PlanError::Refused(refusal).into();
    }
    let mut instead: Vec<&str> =
        vec!["restore a backup to an empty server and recover that one; this one is left as it is"];
    if refusal.kind == RefusalKind::BaseForeign {
        instead.push(
            "if the transactions that are too many are only those of the restore itself (under the target's own UUID), start over \
             with RESET BINARY LOGS AND GTIDS before the restore, or set sql_log_bin=0 while restoring",
        );
    }
    let reason = format!("the target has diverged: {}", refusal.reason);
    Unfit::new(UnfitKind::Diverged, reason, &instead).into()
}

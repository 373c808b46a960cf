//! Which engine applies a plan to a server.

use super::engine::{self, Engine, EngineChoice, Obstacle};
use super::prepare::Request;
use super::relay;
use super::start_options::{Restart, command_line};
use super::target::TargetFacts;
use super::unfit::{Unfit, UnfitKind};
use crate::recover::{Plan, Written};

/// The engine, why that one, and the start that it needs first.
pub(super) type Choice = (Engine, String, Option<Restart>);

/// Chooses.
///
/// # Errors
/// [`Unfit`] where what was asked for cannot be done.
pub(super) fn choose(
    plan: &Plan,
    facts: &TargetFacts,
    written: &Written,
    request: &Request,
) -> Result<Choice, Unfit> {
    if plan.segments.is_empty() {
        let why = "there is nothing to replay".to_owned();
        return Ok((Engine::Pipe, why, None));
    }
    let parallel = || match engine::obstacle(plan, facts, written, request.mount_dir.as_deref()) {
        None => Ok(None),
        Some(Obstacle::Fixed(why)) => Err(why),
        Some(Obstacle::Start(restart)) => may_restart(restart, facts, request).map(Some),
    };
    if !request.only.is_empty() {
        let restart = match request.engine {
            EngineChoice::Pipe => {
                Err("mysqlbinlog would go by the default database of each session".to_owned())
            }
            EngineChoice::Auto | EngineChoice::Parallel => parallel(),
        };
        let why = "some tables are what only a server's applier can tell".to_owned();
        return restart
            .map(|restart| (Engine::Parallel, why, restart))
            .map_err(|why| {
                let reason = format!("some tables cannot be recovered alone here: {why}");
                let instead =
                    ["recover all of it to a server of its own, and copy the tables from there"];
                Unfit::new(UnfitKind::Engine, reason, &instead)
            });
    }
    let asked = "it was asked for".to_owned();
    match (request.engine, parallel()) {
        (EngineChoice::Pipe, _) => Ok((Engine::Pipe, asked, None)),
        (EngineChoice::Auto, Ok(restart)) => {
            let why = "the target is on this host and has GTIDs".to_owned();
            Ok((Engine::Parallel, why, restart))
        }
        (EngineChoice::Auto, Err(why)) => Ok((Engine::Pipe, why, None)),
        (EngineChoice::Parallel, Ok(restart)) => Ok((Engine::Parallel, asked, restart)),
        (EngineChoice::Parallel, Err(why)) => {
            let instead = ["--engine pipe works, one transaction at a time"];
            let reason = format!("the parallel engine cannot be used: {why}");
            Err(Unfit::new(UnfitKind::Engine, reason, &instead))
        }
    }
}

/// What has to be done for a restart is said where it may not be done, or would do more than it should.
fn may_restart(
    restart: Restart,
    facts: &TargetFacts,
    request: &Request,
) -> Result<Restart, String> {
    let why = &restart.why;
    if !request.may_restart {
        return Err(format!(
            "{why}. Another start takes that away: --restart COMMAND, which gets MYSQLD_OPTS='{}'",
            command_line(&restart.options)
        ));
    }
    match facts
        .channels
        .iter()
        .find(|channel| !relay::is_ours(channel))
    {
        None => Ok(restart),
        Some(channel) => Err(format!(
            "{why}. It has the replication channel '{}', which the restart at the end would start: RESET REPLICA ALL FOR CHANNEL '{}' \
             first, if it is not needed any more",
            channel.name, channel.name
        )),
    }
}

//! Which engine a plan is applied with.

use super::relay::host;
use super::start_options::{self, Restart};
use super::target::TargetFacts;
use crate::binlog::Flavour;
use crate::model::GtidSource;
use crate::recover::{Origin, Plan, Written};
use std::path::Path;
use uuid::Uuid;

/// Transactions that are left out around which relay logs are cut; of more, mysqlbinlog filters.
const LEFT_OUT_MAX: u64 = 1000;
/// Below this InnoDB's redo log throttles several workers; it can be changed while the server runs.
const REDO_LOG_BYTES_MIN: u64 = 1 << 30;

/// What applies the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// mysqlbinlog and mysql.
    Pipe,
    /// The server's own applier.
    Parallel,
}

impl Engine {
    /// As it is written in options and results.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Pipe => "pipe",
            Engine::Parallel => "parallel",
        }
    }
}

/// What was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum EngineChoice {
    /// The faster one that can be used.
    #[default]
    Auto,
    /// mysqlbinlog and mysql: any server, one transaction at a time.
    Pipe,
    /// The server's own applier, with as many workers as it has: MySQL on this host, with GTIDs.
    Parallel,
}

/// What is in the way of the server's own applier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// This.
    Fixed(String),
    /// What another start of the server would take away.
    Start(Restart),
}

/// What is in the way of the server's own applier; `None` if it can be used.
pub fn obstacle(
    plan: &Plan,
    facts: &TargetFacts,
    written: &Written,
    mount_dir: Option<&Path>,
) -> Option<Obstacle> {
    if let Some(why) = fixed(plan, facts, written).or_else(|| host::obstacle(facts, mount_dir)) {
        return Some(Obstacle::Fixed(why));
    }
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let restart = start_options::needed(facts, workers)?;
    Some(match start_options::are_known(&facts.version) {
        true => Obstacle::Start(restart),
        false => Obstacle::Fixed(restart.why),
    })
}

/// What no start of the server changes, and nothing on this host.
fn fixed(plan: &Plan, facts: &TargetFacts, written: &Written) -> Option<String> {
    let origins = written.origins.as_slice();
    if facts.flavour == Flavour::MariaDb {
        return Some("MariaDB's applier does not take files that are somewhere else".to_owned());
    }
    if !plan.by_gtid || !facts.takes_gtids() {
        return Some("without GTIDs nobody could tell where the server's applier is".to_owned());
    }
    let is_sources = |id: &u32| origins.iter().any(|origin| origin.server_id == *id);
    if let Some(id) = facts.server_id.filter(is_sources) {
        return Some(format!(
            "the target's server_id, {id}, is that of a server that wrote these binlogs: its applier would skip all that is of \
             that server. SET GLOBAL server_id to another number to use it"
        ));
    }
    if let Some(uuid) = foreign(plan, origins) {
        return Some(format!(
            "there are transactions of {uuid}, of which no file is archived: whether the target has that server's server_id, and would \
             pass over them, is not known"
        ));
    }
    if let Some(file) = &written.torn {
        return Some(format!(
            "a crash tore {file} in the middle of a transaction, and more files come behind it: an applier would stop there"
        ));
    }
    if !is_recent(&facts.version) {
        return Some(format!(
            "it takes MySQL 8.0.23 or later, and the target is {}",
            facts.version
        ));
    }
    if plan.question.skip.count() > LEFT_OUT_MAX {
        return Some(format!(
            "more than {LEFT_OUT_MAX} transactions are left out, which mysqlbinlog does better"
        ));
    }
    None
}

/// A server whose transactions are replayed out of another one's files, if there is one. A file whose server is not known may be its.
fn foreign(plan: &Plan, origins: &[Origin]) -> Option<Uuid> {
    let known = |uuid| {
        origins
            .iter()
            .any(|origin| origin.server_uuid == Some(uuid))
    };
    let mut foreign: Vec<Uuid> = plan
        .adds
        .iter()
        .filter_map(|(source, _)| match source {
            GtidSource::MySql { uuid, .. } if !known(*uuid) => Some(*uuid),
            _ => None,
        })
        .collect();
    foreign.dedup();
    let nameless = origins.iter().any(|origin| origin.server_uuid.is_none());
    foreign.into_iter().nth(usize::from(nameless))
}

/// CHANGE REPLICATION SOURCE came with 8.0.23.
fn is_recent(version: &str) -> bool {
    start_options::numbers(version) >= (8, 0, 23)
}

/// What makes the parallel engine slower than it could be.
pub fn notes(facts: &TargetFacts) -> Vec<String> {
    let mut notes = Vec::new();
    if facts.workers.is_some_and(|workers| workers < 2) {
        notes.push(
            "the target applies with one worker: SET GLOBAL replica_parallel_workers = 4 (or the number of its cores)".to_owned(),
        );
    }
    if let Some(bytes) = facts
        .redo_log_bytes
        .filter(|&bytes| bytes < REDO_LOG_BYTES_MIN)
    {
        notes.push(format!(
            "the target's redo log of {} MiB throttles its applier: SET GLOBAL innodb_redo_log_capacity = {REDO_LOG_BYTES_MIN}",
            bytes >> 20
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        for (version, recent) in [
            ("9.7.4-2", true),
            ("8.0.23", true),
            ("8.0.22-commercial", false),
            ("8.4.0", true),
            ("5.7.44-log", false),
        ] {
            assert_eq!(is_recent(version), recent, "{version}");
        }
    }
}

//! Which engine a plan is applied with.

use super::relay::host;
use super::target::TargetFacts;
use crate::binlog::Flavour;
use crate::recover::{Origin, Plan};
use std::path::Path;

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

/// Why the server's own applier cannot be used; `None` if it can.
pub fn obstacle(
    plan: &Plan,
    facts: &TargetFacts,
    origins: &[Origin],
    mount_dir: Option<&Path>,
) -> Option<String> {
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
    if plan.question.skip.count() > LEFT_OUT_MAX {
        return Some(format!(
            "more than {LEFT_OUT_MAX} transactions are left out, which mysqlbinlog does better"
        ));
    }
    host::obstacle(facts, mount_dir)
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

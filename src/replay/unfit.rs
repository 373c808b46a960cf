//! Why a plan is not applied to a server.

use std::fmt;

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnfitKind {
    /// It has transactions that the history up to the stop does not have.
    Diverged,
    /// It lacks what the backup holds that it is said to be restored from.
    LacksBackup,
    /// It has tables, and nothing says what they are.
    NotEmpty,
    /// It replicates from a server.
    IsReplica,
    /// It is the server that the binlogs are of.
    IsSource,
    /// It takes no writes.
    ReadOnly,
    /// Another recovery writes to it.
    Busy,
    /// Its events would write to it meanwhile.
    RunsEvents,
    /// Its `gtid_mode` is not that of the binlogs.
    GtidMode,
    /// MySQL's binlogs for a MariaDB server, or the reverse.
    Flavour,
    /// A replay without GTIDs was begun there before.
    Unfinished,
    /// The engine that was asked for cannot be used.
    Engine,
    /// A segment is encrypted for other keys than those at hand.
    NoKey,
}

impl UnfitKind {
    /// As `--json` tells it.
    pub fn name(self) -> &'static str {
        match self {
            UnfitKind::Diverged => "target_diverged",
            UnfitKind::LacksBackup => "target_lacks_backup",
            UnfitKind::NotEmpty => "target_not_empty",
            UnfitKind::IsReplica => "target_is_replica",
            UnfitKind::IsSource => "target_is_source",
            UnfitKind::ReadOnly => "target_read_only",
            UnfitKind::Busy => "target_busy",
            UnfitKind::RunsEvents => "target_runs_events",
            UnfitKind::GtidMode => "target_gtid_mode",
            UnfitKind::Flavour => "target_flavour",
            UnfitKind::Unfinished => "unfinished",
            UnfitKind::Engine => "engine",
            UnfitKind::NoKey => "no_key",
        }
    }
}

/// Why a plan is not applied, and what can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfit {
    /// Why.
    pub kind: UnfitKind,
    /// Why, for people.
    pub reason: String,
    /// What to do, one sentence each.
    pub instead: Vec<String>,
}

impl Unfit {
    /// One with its advice.
    pub fn new(kind: UnfitKind, reason: impl Into<String>, instead: &[&str]) -> Unfit {
        Unfit {
            kind,
            reason: reason.into(),
            instead: instead
                .iter()
                .map(|&sentence| sentence.to_owned())
                .collect(),
        }
    }
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        self.instead
            .iter()
            .try_for_each(|sentence| write!(f, "; {sentence}"))
    }
}

impl std::error::Error for Unfit {}

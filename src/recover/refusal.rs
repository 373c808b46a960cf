//! Why a target cannot be recovered, and what can.

use crate::model::{Gtid, Micros, MountName};
use std::fmt;

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The target lies before the history begins.
    TooEarly,
    /// The target lies after the last commit that is archived.
    TooLate,
    /// The target, or the way to it, lies in or behind a hole, a gap, a lost record, a damaged segment, or GTIDs that no
    /// segment holds.
    Missing,
    /// The target is on another timeline, or behind this one's end.
    Timeline,
    /// No archived file holds the target.
    Unknown,
    /// The target lies inside a transaction.
    Inside,
    /// What the base needs next is not archived (any more): it is older than the history.
    BaseTooOld,
    /// The base holds what was committed after the target.
    BaseTooNew,
    /// The base holds what this timeline never had: it is of another cluster, or has diverged.
    BaseForeign,
    /// The binlogs have transactions without GTIDs: a set does not tell what the base has.
    NoGtids,
    /// A transaction that is to be left out is not among those that would be replayed.
    Skip,
}

/// A point that can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reachable {
    /// The file, by its name in the mount.
    pub file: MountName,
    /// The offset in it.
    pub position: u64,
    /// The moment to ask for to get there.
    pub time: Option<Micros>,
    /// The transaction right before it, where that is known.
    pub gtid: Option<Gtid>,
}

/// Why there is no plan, and what can be had instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub kind: RefusalKind,
    /// Why, for people.
    pub reason: String,
    /// The last point before the target that can be reached from the same base.
    pub before: Option<Reachable>,
    /// The first point after the target that can be reached; where something is missing in between
    /// ([`RefusalKind::Missing`]), only from a backup that was made behind that.
    pub after: Option<Reachable>,
    /// What to do instead, one sentence each.
    pub instead: Vec<String>,
}

impl Refusal {
    /// A refusal that knows no way out yet.
    pub fn new(kind: RefusalKind, reason: String) -> Refusal {
        Refusal {
            kind,
            reason,
            before: None,
            after: None,
            instead: Vec::new(),
        }
    }
}

impl fmt::Display for Reachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.position)?;
        if let Some(time) = self.time {
            write!(f, ", {time}")?;
        }
        match &self.gtid {
            Some(gtid) => write!(f, ", after {gtid}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if let Some(before) = &self.before {
            write!(f, "; the last point before that can be reached: {before}")?;
        }
        if let Some(after) = &self.after {
            write!(
                f,
                "; the first point after, from a backup made behind it: {after}"
            )?;
        }
        self.instead
            .iter()
            .try_for_each(|sentence| write!(f, "; {sentence}"))
    }
}

impl std::error::Error for Refusal {}

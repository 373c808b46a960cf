//! From a moment, a GTID or a position to the exact transaction.
//!
//! # What a target is
//! A target names a *boundary* of a timeline: a place between two transactions. What stands before it, in replay order, is the
//! history up to the target.
//!
//! | target | boundary |
//! |---|---|
//! | a moment | before the first transaction that was **committed after it** |
//! | a GTID | before that transaction |
//! | a position | that place, if it is one; inside a transaction, before it |
//!
//! The commit time is the server's commit timestamp in microseconds (MySQL 8.0 and later), else the header time of the event
//! that commits, in whole seconds. "First" is meant in replay order: where times run backwards, because a clock was set back or
//! statements were given a time by `SET TIMESTAMP`, a later transaction with an earlier time stands behind the boundary,
//! as it does behind the transaction it may depend on.
//!
//! # What is refused
//! A moment is only a place where the history around it is known ([`Refusal`]):
//! * **after the last archived commit** nobody knows what else had been committed; that commit's own time is the last that
//!   can be reached;
//! * **in a hole, a gap or behind damage**, which is: after the last commit before it and before the first one behind it. What
//!   is missing there may have been committed before or after that moment;
//! * **before the history begins**: before the first segment was created.
//!
//! # How it is found, and what that costs
//! The index tells the segment ([`Index::moment`](crate::index::Index::moment), one step down a B-tree), the segment's tail tells the megabyte ([`search`]),
//! and a frame or two are read. The tail is kept in the index after its first use.

mod chronicle;
mod course;
mod executed;
mod headers;
mod locator;
mod named;
pub mod search;
mod target;
mod within;

pub use chronicle::{Chapter, Extent, read_tails};
pub use headers::EventAt;
pub use locator::{LocateError, Locator};
pub use target::{FilePosition, ParseTargetError, Target};

use crate::binlog::Transaction;
use crate::model::{Gtid, Micros, MountName, Seq, Timeline};
use std::fmt;

/// A transaction, and where it stands in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Offset of its first event.
    pub start: u64,
    /// Offset after its last event.
    pub end: u64,
    /// Its GTID, if it has one.
    pub gtid: Option<Gtid>,
    /// When it was committed.
    pub commit_time: Micros,
}

impl From<&Transaction> for Found {
    fn from(transaction: &Transaction) -> Found {
        Found {
            start: transaction.start,
            end: transaction.end,
            gtid: transaction.gtid.clone(),
            commit_time: transaction.commit_time,
        }
    }
}

/// A place between two transactions of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// The timeline.
    pub timeline: Timeline,
    /// The entry it stands in, by the record that introduced it.
    pub seq: Seq,
    /// The same by name.
    pub mount_name: MountName,
    /// Offset in the file: what is before it belongs to the history up to here.
    pub position: u64,
    /// Latest commit time of what stands before it in this file; `None` if no transaction does.
    pub latest: Option<Micros>,
}

/// What a target is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// The place.
    pub boundary: Boundary,
    /// The transaction behind the boundary: for a moment the first that was committed after it, for a GTID or a position
    /// the one it names. `None`: the boundary is the end of all transactions that are known there.
    pub transaction: Option<Found>,
    /// The transaction before the boundary, if it stands in the same file and a look at it came by.
    pub previous: Option<Found>,
}

/// Why a target is no place that can be recovered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// It lies before the history begins.
    TooEarly,
    /// It lies after the last commit that is archived.
    TooLate,
    /// It lies where history is missing.
    Missing,
    /// No archived file holds it.
    Unknown,
    /// It lies inside a transaction.
    Inside,
}

/// A target that cannot be recovered, and what can instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub kind: RefusalKind,
    /// Why, for people.
    pub reason: String,
    /// The last moment before it that can be reached.
    pub last_before: Option<Micros>,
    /// The first moment after it that can be reached; across a hole only from a backup made behind that.
    pub first_after: Option<Micros>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if let Some(time) = self.last_before {
            write!(
                f,
                "; the last moment before it that can be reached is {time}"
            )?;
        }
        match (self.first_after, self.kind) {
            (Some(time), RefusalKind::Missing) => write!(
                f,
                "; the first after it is {time}, from a backup that was made behind what is missing"
            ),
            (Some(time), _) => write!(f, "; the first after it is {time}"),
            (None, _) => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

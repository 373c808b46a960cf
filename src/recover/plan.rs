//! What a plan says.

use super::clock::StopDatetime;
use super::pieces::Pieces;
use super::target::{Start, Target};
use crate::binlog::Flavour;
use crate::locate::Found;
use crate::model::{FileName, GtidSet, Micros, MountName, Seq, Timeline};
use uuid::Uuid;

/// What is asked of a planner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The timeline to recover.
    pub timeline: Timeline,
    /// What the server to recover has.
    pub start: Start,
    /// What it shall have.
    pub target: Target,
    /// Transactions to leave out on the way.
    pub skip: GtidSet,
}

/// A place in a file of the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The entry, by the record that introduced it.
    pub seq: Seq,
    /// Its name in the mount.
    pub file: MountName,
    /// The server's own name for it.
    pub server_file: FileName,
    /// Offset in it, between two transactions.
    pub position: u64,
}

/// Where a replay begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// The place: no transaction before it is needed.
    pub place: Place,
    /// No transaction stands before the place in its file: it is replayed whole.
    pub at_first: bool,
    /// The first transaction to replay; `None` if its file has none from there on.
    pub first: Option<Found>,
}

/// Where a replay ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The place: no transaction at or after it is replayed. As `--stop-position` in the last file.
    pub place: Place,
    /// The last transaction that is replayed; `None` if none is before the place in its file.
    pub last: Option<Found>,
    /// The latest commit time of what stands before the place in its file; not that of `last` where times run backwards.
    pub latest: Option<Micros>,
    /// The first transaction that is left out; `None` if the history ends there.
    pub next: Option<Found>,
}

/// What is archived of the timeline behind the stop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// GTIDs of it, as far as they are known.
    pub gtids: GtidSet,
    /// The last commit of the timeline that is archived.
    pub last_commit: Option<Micros>,
}

/// What to replay.
///
/// Everything in it is of one timeline, without a hole. A replay of [`Plan::segments`] to a server that has [`Plan::has`] leaves
/// one that has [`Plan::executed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The stream's id, as in its `stream.json`.
    pub stream_id: Uuid,
    /// Whose format the binlogs have: which client replays them.
    pub flavour: Flavour,
    /// `server_version` of the last file.
    pub server_version: String,
    /// The timeline is the one that a mount shows in its root; others are in `.timeline/<n>/`.
    pub is_root: bool,
    /// What was asked.
    pub question: Question,
    /// Where it begins.
    pub begin: Begin,
    /// Where it ends.
    pub stop: Stop,
    /// The files, in replay order; none if the server has all of it.
    pub segments: Pieces,
    /// What the server has before the replay, as far as GTIDs tell.
    pub has: GtidSet,
    /// What the replay adds: without what is skipped, and without what the server has. Transactions without a GTID are in
    /// no set.
    pub adds: GtidSet,
    /// Every transaction of its files has a GTID: what was applied can be told by `gtid_executed`, and
    /// a transaction that is replayed twice is skipped.
    pub by_gtid: bool,
    /// What `mysqlbinlog --stop-datetime` would have done: of a target that is a moment, if there is something to replay.
    pub stop_datetime: Option<StopDatetime>,
    /// What is archived, and not replayed.
    pub left_out: LeftOut,
    /// Bytes to fetch from the store, to about a frame (1 MiB) at each end.
    pub fetch_bytes: u64,
}

impl Plan {
    /// What the server has after the replay, as far as GTIDs tell. What is skipped it has as empty transactions: it would lack that
    /// otherwise, and whatever is replayed to it later would bring that.
    pub fn executed(&self) -> GtidSet {
        let mut executed = self.has.clone();
        executed.union_with(&self.adds);
        executed.union_with(&self.question.skip);
        executed
    }
}

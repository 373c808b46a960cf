//! What one pass over a binlog file tells.

use super::FormatEvent;
use crate::model::{Gtid, GtidSet, Micros, Sha256};
use serde::{Deserialize, Serialize};

/// Whose format it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// MySQL and Percona Server.
    MySql,
    /// MariaDB.
    MariaDb,
}

/// `binlog_checksum`, as the format description says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumAlgorithm {
    /// Events carry no checksum.
    None,
    /// Each event ends in its CRC-32.
    Crc32,
}

/// How the file ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A ROTATE event: the server went on in `next_file`.
    Rotate {
        /// The successor's file name, as written.
        next_file: String,
        /// The event's header timestamp.
        time: Micros,
    },
    /// A STOP event: the server shut down.
    Stop,
    /// Neither: the server crashed, or still writes the file.
    Open,
}

/// The first thing in the file that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Offset of the first event that is not whole and right; all before it is.
    pub first_bad_position: u64,
    /// What is wrong there.
    pub reason: String,
}

/// A transaction, or a group of events that commits as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Offset of its first event (the GTID event where there is one).
    pub start: u64,
    /// Offset after its last event.
    pub end: u64,
    /// Its GTID, if it has one.
    pub gtid: Option<Gtid>,
    /// `immediate_commit_timestamp` where the GTID event carries it (MySQL 8.0.1 and later), else the header time of
    /// the event that commits. The flag [`Transaction::commit_time_exact`] tells which.
    pub commit_time: Micros,
    /// `commit_time` is the server's commit timestamp in microseconds.
    pub commit_time_exact: bool,
}

/// A transaction from which reading can start, and what is known of those around it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// Offset of its first event.
    pub position: u64,
    /// Offset after its last event.
    pub end: u64,
    /// Its commit time.
    pub time: Micros,
    /// The latest commit time of all transactions before it: times may run backwards, this does not. Absent if it is the
    /// first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest: Option<Micros>,
    /// Its GTID, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtid: Option<Gtid>,
    /// For each source, the numbers from the smallest to the largest that stand from here to the next point: a GTID that
    /// is not in it is not there. Absent if there are more than [`crate::binlog::POINT_SOURCES_MAX`] sources: any may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtids: Option<GtidSet>,
}

/// A statement that changes a schema, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DdlStatement {
    /// Offset of its transaction's first event.
    pub position: u64,
    /// Commit time of its transaction.
    pub time: Micros,
    /// GTID of its transaction, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtid: Option<Gtid>,
    /// The session's default database.
    pub database: String,
    /// The statement's text, cut at [`crate::binlog::SQL_MAX_BYTES`].
    pub sql: String,
    /// The text was cut.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// What is kept of a segment so that questions about it need not read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentIndex {
    /// The format description: who reads on from a point needs no other byte of the file's beginning. Absent if the file has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<FormatEvent>,
    /// Sparse transactions, ascending by position: the first always, and every one as long as
    /// [`crate::binlog::POINT_SPACING_BYTES`] (of a very long file: as the wider spacing there).
    pub points: Vec<Point>,
    /// DDL statements in file order.
    pub ddl: Vec<DdlStatement>,
    /// `db.table` of every Table_map event, sorted.
    pub tables: Vec<String>,
    /// `ddl` is cut short: there were more than the cap.
    #[serde(default)]
    pub ddl_incomplete: bool,
    /// `tables` may lack some: statement-format changes, a cap, or a payload that could not be read.
    #[serde(default)]
    pub tables_incomplete: bool,
}

/// What the events up to somewhere tell of a file that may go on. The fields are those of [`Summary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// PREVIOUS_GTIDS or GTID_LIST.
    pub previous_gtids: Option<GtidSet>,
    /// GTIDs of the whole transactions.
    pub gtids: GtidSet,
    /// Time of the first transaction's commit; while there is none, of the format description.
    pub first_time: Option<Micros>,
}

/// All that one pass over a binlog file tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Length of the file in bytes.
    pub size: u64,
    /// Whose format; `None` if the file ends before its format description does, or that is damaged.
    pub flavour: Option<Flavour>,
    /// `server_version` of the format description, such as `9.7.4` or `10.11.14-MariaDB-log`. Empty if there is none.
    pub server_version: String,
    /// `server_id` of the format description's header.
    pub server_id: u32,
    /// The checksum algorithm.
    pub checksum: ChecksumAlgorithm,
    /// SHA-256 of the format description, its IN_USE flag cleared, and the first event after it.
    pub head: Sha256,
    /// `LOG_EVENT_BINLOG_IN_USE_F`: set, it proves nothing, since many closed files have it; clear, the file was closed.
    pub in_use: bool,
    /// Header timestamp of the format description.
    pub created: Micros,
    /// GTIDs of the whole transactions in the file.
    pub gtids: GtidSet,
    /// PREVIOUS_GTIDS, or MariaDB's GTID_LIST as `domain-server-1..n`; `None` if the file has neither.
    pub previous_gtids: Option<GtidSet>,
    /// Time of the first transaction's commit (format description's header time if there is none).
    pub first_time: Option<Micros>,
    /// Time of the last event: its commit time if exact, else its header time.
    pub last_time: Option<Micros>,
    /// Smallest time of any event, header or commit, artificial zeroes aside.
    pub min_time: Option<Micros>,
    /// Largest time of any event, header or commit.
    pub max_time: Option<Micros>,
    /// Largest commit time of the whole transactions.
    pub latest_commit: Option<Micros>,
    /// Number of whole transactions.
    pub transactions: u64,
    /// Number of whole events, those inside payloads not counted.
    pub events: u64,
    /// How the file ends.
    pub ending: Ending,
    /// Offset after the last whole event.
    pub last_whole_event_end: u64,
    /// Offset after the last whole transaction (or after the header events, if there is none).
    pub last_transaction_end: u64,
    /// What is wrong, if anything is. A torn last event of a file without ROTATE or STOP, its IN_USE flag set, is no
    /// damage: a crash leaves that; `last_whole_event_end` tells.
    pub damage: Option<Damage>,
    /// What goes into the segment object's tail.
    pub index: SegmentIndex,
}

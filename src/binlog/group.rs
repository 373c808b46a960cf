//! Where transactions begin and end.
//!
//! MySQL: a GTID event begins a group; without one (5.5, 5.6) BEGIN, a statement's prelude or the statement does. It
//! ends with XID, COMMIT, ROLLBACK, XA_PREPARE, or, where no BEGIN was seen, with the first statement. A compressed
//! payload is a whole group. MariaDB: every group begins with a GTID event that says whether BEGIN is implied.
//! A group whose end was not recognised ends where the next begins: the server that wrote on had finished it. A group
//! still open at the end of the file is no transaction.

use super::gtid_event::Begin;
use super::query::Statement;
use super::summary::Transaction;
use crate::model::{Gtid, Micros};

/// What an event is to its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A GTID event.
    Begin(Begin),
    /// A statement.
    Statement(Statement),
    /// XID, XA_PREPARE, a payload, an incident: ends a group, or is one.
    End,
    /// Row events, variables of a statement: belongs to a group.
    Part,
    /// ROTATE, STOP: no group spans files.
    Close,
    /// Nothing to transactions: belongs to a group if one is open.
    Other,
}

/// An unfinished group.
#[derive(Debug)]
struct Group {
    start: u64,
    /// Offset after its last event so far.
    end: u64,
    gtid: Option<Gtid>,
    commit: Option<Micros>,
    /// It began with a GTID event.
    announced: bool,
    /// Only a commit ends it.
    in_transaction: bool,
    /// Something followed the GTID event.
    has_content: bool,
    /// Header time of its last event.
    time: Micros,
}

/// Follows groups through a file.
#[derive(Debug, Default)]
pub(super) struct Grouper {
    open: Option<Group>,
}

impl Grouper {
    /// Whether a group is open.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// The group that ends before an event of this role, because that event cannot be in it.
    pub(super) fn close_before(&mut self, role: &Role) -> Option<Transaction> {
        let open = self.open.as_ref()?;
        let closes = match role {
            Role::Begin(_) => true,
            Role::Close => open.has_content,
            Role::Statement(Statement::Begin) => open.in_transaction && !open.announced,
            Role::Statement(_) | Role::End | Role::Part | Role::Other => false,
        };
        if closes {
            self.open.take().map(Group::finish)
        } else {
            None
        }
    }

    /// Takes the event from `start` to `end`; the group that it ends.
    pub(super) fn step(
        &mut self,
        role: Role,
        start: u64,
        end: u64,
        time: Micros,
    ) -> Option<Transaction> {
        let ends = match role {
            Role::Begin(begin) => {
                self.open = Some(Group {
                    start,
                    end,
                    gtid: begin.gtid,
                    commit: begin.commit,
                    announced: true,
                    in_transaction: begin.implies_begin,
                    has_content: false,
                    time,
                });
                return None;
            }
            Role::Close => {
                self.open = None;
                return None;
            }
            Role::Other if self.open.is_none() => return None,
            Role::Other | Role::Part => false,
            Role::End | Role::Statement(Statement::End) => true,
            Role::Statement(Statement::Begin) => {
                self.join(start, end, time).in_transaction = true;
                return None;
            }
            Role::Statement(Statement::Ddl | Statement::Neutral | Statement::Dml) => {
                !self.join(start, end, time).in_transaction
            }
        };
        self.join(start, end, time);
        if ends {
            self.open.take().map(Group::finish)
        } else {
            None
        }
    }

    /// The open group, the event now in it; a new one if there is none.
    fn join(&mut self, start: u64, end: u64, time: Micros) -> &mut Group {
        let group = self.open.get_or_insert(Group {
            start,
            end,
            gtid: None,
            commit: None,
            announced: false,
            in_transaction: false,
            has_content: true,
            time,
        });
        group.end = end;
        group.time = time;
        group.has_content = true;
        group
    }
}

impl Group {
    fn finish(self) -> Transaction {
        Transaction {
            start: self.start,
            end: self.end,
            gtid: self.gtid,
            commit_time: self.commit.unwrap_or(self.time),
            commit_time_exact: self.commit.is_some(),
        }
    }
}

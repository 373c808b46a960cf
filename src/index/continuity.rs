//! Where a timeline's history is not whole.

use super::error::Fault;
use super::rows;
use super::{Index, IndexError, bounds};
use crate::ledger::EntryState;
use crate::model::{GtidSet, MountName, Seq, Timeline};
use rusqlite::params;

/// Something of a timeline that a replay cannot cross, or crosses with a loss.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// An entry that cannot be read, or not to its end.
    Unreadable {
        /// The record that introduced it.
        seq: Seq,
        /// Its name.
        mount_name: MountName,
        /// Hole, gap, lost or damaged.
        state: EntryState,
        /// Why.
        reason: String,
    },
    /// What a segment says was executed before it is not what the segments before it executed.
    GtidBreak {
        /// The record of the segment after the break.
        seq: Seq,
        /// Its name.
        mount_name: MountName,
        /// Executed before it, and in no segment before it (`SET gtid_purged`, a clone, transactions that were lost).
        appeared: GtidSet,
        /// Executed by the segments before it, and unknown to it (a RESET, a restore).
        vanished: GtidSet,
    },
}

impl Finding {
    /// The entry it is about.
    pub fn mount_name(&self) -> &MountName {
        match self {
            Finding::Unreadable { mount_name, .. } | Finding::GtidBreak { mount_name, .. } => {
                mount_name
            }
        }
    }
}

impl Index {
    /// Everything in a timeline's visible history that is not whole, in replay order. Empty: it is.
    ///
    /// That numbers follow each other is a rule of the ledger, and needs no finding: where one is missing, there is a
    /// hole, or a lost record.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn continuity(&self, timeline: Timeline) -> Result<Vec<Finding>, IndexError> {
        self.with(|inner| {
            let conn = &inner.conn;
            let bounds = bounds::of(conn, timeline)?;
            let bad = rows::all(
                conn,
                "WHERE timeline = ?1 AND state <> 0 AND mount_name > ?2 ORDER BY mount_name",
                params![timeline.0, bounds.after],
            )?;
            let mut found: Vec<Finding> = bad
                .into_iter()
                .map(|row| Finding::Unreadable {
                    seq: row.seq,
                    mount_name: row.mount_name,
                    state: row.state,
                    reason: row.reason,
                })
                .collect();
            // From the few breaks to their entries: left to itself, SQLite goes through all entries of the timeline.
            let mut query = conn.prepare_cached(
                "SELECT b.entry, b.appeared, b.vanished FROM breaks b CROSS JOIN entries e ON e.seq = b.entry
                 WHERE e.timeline = ?1",
            )?;
            let breaks = query.query_map([timeline.0], |row| {
                Ok((rows::unsigned(row, 0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
            })?;
            for row in breaks {
                let (seq, appeared, vanished) = row?;
                let set = |text: String| {
                    text.parse::<GtidSet>()
                        .map_err(|e| Fault::Corrupt(format!("the GTIDs of a break: {e}")))
                };
                let entry = rows::introduced_by(conn, Seq(seq))?;
                // The first visible entry begins what is there: that pruned GTIDs precede it is no break.
                if let Some(entry) = entry.filter(|e| bounds.show(&e.mount_name)) {
                    found.push(Finding::GtidBreak {
                        seq: entry.seq,
                        mount_name: entry.mount_name,
                        appeared: set(appeared)?,
                        vanished: set(vanished)?,
                    });
                }
            }
            found.sort_by(|a, b| a.mount_name().cmp(b.mount_name()));
            Ok(found)
        })
    }
}

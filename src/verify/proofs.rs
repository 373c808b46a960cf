//! `verified.db`: which objects were read to their end and were right, and when. Local, and disposable: without it everything is as if
//! it had never been read.

use super::segment::Segment;
use crate::model::{Micros, ObjectKey};
use anyhow::{Context as _, Result};
use rusqlite::Connection;
use std::collections::HashMap;
use std::path::Path;
use uuid::Uuid;

/// Its name in the cache directory.
pub const PROOFS_NAME: &str = "verified.db";
/// Written to `user_version`; another one is begun anew.
const SCHEMA_VERSION: i64 = 1;

const TABLES: &str = "
DROP TABLE IF EXISTS proven;
DROP TABLE IF EXISTS stream;
CREATE TABLE stream (id TEXT NOT NULL);
CREATE TABLE proven (key TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
";

/// When objects were proven.
pub struct Proofs {
    connection: Connection,
    times: HashMap<String, Micros>,
}

impl Proofs {
    /// Opens those of the stream `id`; those of another stream, or that cannot be read, are begun anew.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn open(path: &Path, id: Uuid) -> Result<Proofs> {
        let opened = Proofs::try_open(path, id);
        if opened.is_err() && path.exists() {
            std::fs::remove_file(path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
            return Proofs::try_open(path, id);
        }
        opened
    }

    fn try_open(path: &Path, id: Uuid) -> Result<Proofs> {
        let what = || format!("cannot use {}", path.display());
        let connection = Connection::open(path).with_context(what)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let known = match version {
            SCHEMA_VERSION => connection
                .query_row("SELECT id FROM stream", [], |row| row.get::<_, String>(0))
                .ok(),
            _ => None,
        };
        if known != Some(id.to_string()) {
            connection.execute_batch(TABLES).with_context(what)?;
            connection.execute("INSERT INTO stream (id) VALUES (?1)", [id.to_string()])?;
            connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        let mut query = connection.prepare("SELECT key, at FROM proven")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, Micros(row.get(1)?))))?;
        let times = rows.collect::<rusqlite::Result<_>>().with_context(what)?;
        drop(query);
        Ok(Proofs { connection, times })
    }

    /// When the object was last proven.
    pub fn at(&self, key: &ObjectKey) -> Option<Micros> {
        self.times.get(key.as_str()).copied()
    }

    /// Notes that the object was right `at` that time, or that it was not.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn note(&mut self, key: &ObjectKey, at: Option<Micros>) -> Result<()> {
        match at {
            Some(at) => {
                let sql = "INSERT OR REPLACE INTO proven (key, at) VALUES (?1, ?2)";
                self.connection
                    .execute(sql, rusqlite::params![key.as_str(), at.0])?;
                self.times.insert(key.to_string(), at);
            }
            None => {
                self.connection
                    .execute("DELETE FROM proven WHERE key = ?1", [key.as_str()])?;
                self.times.remove(key.as_str());
            }
        }
        Ok(())
    }
}

/// Of `segments`, in their order, those that are to be read now: at most `budget_bytes` of stored bytes, or one segment; what was never
/// proven first, then what was proven longest ago. With `only_new`, nothing that was proven before.
pub fn due(
    segments: &[Segment],
    at: impl Fn(&ObjectKey) -> Option<Micros>,
    budget_bytes: Option<u64>,
    only_new: bool,
) -> Vec<&Segment> {
    let mut order: Vec<(Option<Micros>, usize, u64)> = Vec::new();
    for (n, segment) in segments.iter().enumerate() {
        let at = at(&segment.key);
        if at.is_none() || !only_new {
            order.push((at, n, segment.stored.size));
        }
    }
    order.sort_unstable();
    let mut left = budget_bytes.unwrap_or(u64::MAX);
    let mut chosen = Vec::new();
    for (_, n, bytes) in order {
        if bytes > left && !chosen.is_empty() {
            break;
        }
        left = left.saturating_sub(bytes);
        chosen.push(n);
    }
    chosen.sort_unstable();
    chosen.into_iter().filter_map(|n| segments.get(n)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Body, testing};

    fn segments(count: u64) -> Vec<Segment> {
        testing::chain(count)
            .filter_map(|line| match &line.record().body {
                Body::Segment(segment) => Segment::of(&segment.entry(line.seq(), None)),
                _ => None,
            })
            .collect()
    }

    fn seqs(segments: &[&Segment]) -> Vec<u64> {
        segments.iter().map(|segment| segment.seq.0).collect()
    }

    #[test]
    fn what_was_never_proven_comes_first_and_then_what_was_longest_ago() {
        let segments = segments(6);
        let size = |n: usize| segments[n].stored.size;
        let times = [Some(30), None, Some(10), Some(20), None, Some(40)];
        let at = |wanted: &ObjectKey| {
            let n = segments.iter().position(|segment| segment.key == *wanted);
            times[n.expect("one of them")].map(Micros)
        };
        let all: Vec<u64> = segments.iter().map(|segment| segment.seq.0).collect();
        assert_eq!(seqs(&due(&segments, at, None, false)), all);
        let some = due(&segments, at, Some(size(1) + size(4) + size(2)), false);
        assert_eq!(seqs(&some), [all[1], all[2], all[4]]);
        assert_eq!(seqs(&due(&segments, at, Some(1), false)), [all[1]]);
        assert_eq!(seqs(&due(&segments, at, None, true)), [all[1], all[4]]);
    }

    #[test]
    fn what_was_proven_is_remembered_for_its_own_stream_only() {
        let temp = tempfile::tempdir().expect("a directory");
        let path = temp.path().join(PROOFS_NAME);
        let key: ObjectKey = "segments/x".parse().expect("a key");
        let (own, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let mut proofs = Proofs::open(&path, own).expect("opens");
        proofs.note(&key, Some(Micros(5))).expect("noted");
        drop(proofs);
        let mut proofs = Proofs::open(&path, own).expect("opens");
        assert_eq!(proofs.at(&key), Some(Micros(5)));
        proofs.note(&key, None).expect("noted");
        assert_eq!(proofs.at(&key), None);
        proofs.note(&key, Some(Micros(6))).expect("noted");
        drop(proofs);
        let proofs = Proofs::open(&path, other).expect("opens");
        assert_eq!(proofs.at(&key), None);
        drop(proofs);
        std::fs::write(
            &path,
            b"no database at all, and long enough to be read as one",
        )
        .expect("writable");
        assert_eq!(Proofs::open(&path, own).expect("begun anew").at(&key), None);
    }
}

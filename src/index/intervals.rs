//! Which intervals hold a number: in a B-tree, whatever overlaps what.
//!
//! A B-tree on (first, last) cannot tell which intervals hold `n`: any that begins before `n` might. So intervals are
//! filed by *level*, the logarithm of their length: one of level `l` has `2^l` to `2^(l+1) - 1` numbers, and holds `n`
//! only if it begins among the `2^(l+1) - 1` numbers up to `n`. Each level is one short range of the tree. GTID numbers
//! and microseconds are both filed so.

use super::error::Fault;
use super::many;
use crate::model::{Gtid, GtidSet, GtidSource, Micros, Seq, Timeline};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;

/// Levels there are: lengths 1 to 2^64.
const LEVELS: u32 = 65;

/// SQLite's integers are signed; flipping the top bit keeps the order.
fn to_sql(number: u64) -> i64 {
    (number ^ (1 << 63)) as i64
}

fn time_number(time: Micros) -> u64 {
    (time.0 as u64) ^ (1 << 63)
}

/// The level of the interval `first..=last`.
fn level(first: u64, last: u64) -> u32 {
    (u128::from(last.saturating_sub(first)) + 1).ilog2()
}

/// Where intervals of `level` begin that hold a number of `from..=to`.
fn beginnings(level: u32, from: u64, to: u64) -> (u64, u64) {
    let longest_less_one = ((1u128 << (level + 1)) - 2).min(u128::from(u64::MAX));
    (from.saturating_sub(longest_less_one as u64), to)
}

/// A GTID source as `sources` names it.
fn gtid_source(source: &GtidSource) -> String {
    match source {
        GtidSource::MySql { uuid, tag } => format!("{uuid}:{}", tag.as_str()),
        GtidSource::MariaDb { domain, server } => format!("{domain}-{server}"),
    }
}

fn time_source(timeline: Timeline) -> String {
    format!("time of {timeline}")
}

fn source_id(conn: &Connection, name: &str) -> Result<Option<i64>, Fault> {
    let id = conn
        .prepare_cached("SELECT id FROM sources WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    Ok(id)
}

fn new_source_id(conn: &Connection, name: &str) -> Result<i64, Fault> {
    if let Some(id) = source_id(conn, name)? {
        return Ok(id);
    }
    conn.prepare_cached("INSERT INTO sources (name) VALUES (?1)")?
        .execute([name])?;
    Ok(conn.last_insert_rowid())
}

fn remove(conn: &Connection, source: i64, first: u64, last: u64, entry: Seq) -> Result<(), Fault> {
    conn.prepare_cached(
        "DELETE FROM runs WHERE source = ?1 AND level = ?2 AND first = ?3 AND entry = ?4",
    )?
    .execute(params![
        source,
        level(first, last),
        to_sql(first),
        entry.0 as i64
    ])?;
    Ok(())
}

struct Run {
    source: i64,
    first: u64,
    last: u64,
    entry: Seq,
}

/// What a batch files.
#[derive(Default)]
pub(super) struct NewRuns {
    /// Not written yet.
    waiting: Vec<Run>,
    /// Ids that the batch has met: a million entries have a handful of sources.
    gtids: BTreeMap<GtidSource, i64>,
    times: BTreeMap<Timeline, i64>,
}

impl NewRuns {
    /// Files the GTIDs of an entry.
    pub(super) fn add_gtids(
        &mut self,
        conn: &Connection,
        gtids: &GtidSet,
        entry: Seq,
    ) -> Result<(), Fault> {
        for (source, intervals) in gtids.iter() {
            let source = match self.gtids.get(source) {
                Some(id) => *id,
                None => {
                    let id = new_source_id(conn, &gtid_source(source))?;
                    self.gtids.insert(source.clone(), id);
                    id
                }
            };
            let run = |&(first, last): &(u64, u64)| Run {
                source,
                first,
                last,
                entry,
            };
            self.waiting.extend(intervals.runs().iter().map(run));
        }
        Ok(())
    }

    /// Files the times of an entry, `from..=to`.
    pub(super) fn add_time(
        &mut self,
        conn: &Connection,
        timeline: Timeline,
        (from, to): (Micros, Micros),
        entry: Seq,
    ) -> Result<(), Fault> {
        let source = match self.times.get(&timeline) {
            Some(id) => *id,
            None => {
                let id = new_source_id(conn, &time_source(timeline))?;
                self.times.insert(timeline, id);
                id
            }
        };
        self.waiting.push(Run {
            source,
            first: time_number(from),
            last: time_number(to),
            entry,
        });
        Ok(())
    }

    /// Writes what waits.
    pub(super) fn write_out(&mut self, conn: &Connection) -> Result<(), Fault> {
        // No run of an entry is there twice, and of one that were, either would do. With REPLACE, which can fail half-way, SQLite would
        // keep all pages that a statement of several rows changes.
        const INTO: &str = "OR IGNORE INTO runs (source, level, first, last, entry)";
        // Neighbours in the tree one after the other: it is gone down once for many.
        self.waiting.sort_unstable_by_key(|run| {
            (run.source, level(run.first, run.last), run.first, run.entry)
        });
        many::insert(conn, INTO, &self.waiting, |run| {
            [
                run.source,
                level(run.first, run.last).into(),
                to_sql(run.first),
                to_sql(run.last),
                run.entry.0 as i64,
            ]
            .map(ValueRef::Integer)
        })?;
        self.waiting.clear();
        Ok(())
    }
}

/// Takes out what [`NewRuns::add_gtids`] filed.
pub(super) fn remove_gtids(conn: &Connection, gtids: &GtidSet, entry: Seq) -> Result<(), Fault> {
    for (source, intervals) in gtids.iter() {
        if let Some(source) = source_id(conn, &gtid_source(source))? {
            for &(first, last) in intervals.runs() {
                remove(conn, source, first, last, entry)?;
            }
        }
    }
    Ok(())
}

/// Takes out what [`NewRuns::add_time`] filed.
pub(super) fn remove_time(
    conn: &Connection,
    timeline: Timeline,
    (from, to): (Micros, Micros),
    entry: Seq,
) -> Result<(), Fault> {
    match source_id(conn, &time_source(timeline))? {
        Some(source) => remove(conn, source, time_number(from), time_number(to), entry),
        None => Ok(()),
    }
}

/// Entries that hold `gtid`, by seq.
pub(super) fn holding(conn: &Connection, gtid: &Gtid) -> Result<Vec<Seq>, Fault> {
    meeting(conn, &gtid_source(&gtid.source), gtid.number, gtid.number)
}

/// Entries of `timeline` with a time of `from..=to`, by seq.
pub(super) fn overlapping(
    conn: &Connection,
    timeline: Timeline,
    from: Micros,
    to: Micros,
) -> Result<Vec<Seq>, Fault> {
    meeting(
        conn,
        &time_source(timeline),
        time_number(from),
        time_number(to),
    )
}

fn meeting(conn: &Connection, source: &str, from: u64, to: u64) -> Result<Vec<Seq>, Fault> {
    let Some(source) = source_id(conn, source)? else {
        return Ok(Vec::new());
    };
    let mut query = conn.prepare_cached(
        "SELECT entry FROM runs WHERE source = ?1 AND level = ?2 AND first BETWEEN ?3 AND ?4 AND last >= ?5",
    )?;
    let mut found = Vec::new();
    for level in 0..LEVELS {
        let (first, last) = beginnings(level, from, to);
        let rows = query.query_map(
            params![source, level, to_sql(first), to_sql(last), to_sql(from)],
            |row| row.get::<_, i64>(0),
        )?;
        for seq in rows {
            found.push(Seq(seq?.unsigned_abs()));
        }
    }
    found.sort_unstable();
    // Two runs of one entry can both meet a range.
    found.dedup();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_interval_begins_where_its_level_is_looked_for() {
        for (first, last) in [
            (0, 0),
            (5, 5),
            (1, 2),
            (7, 1000),
            (0, u64::MAX),
            (u64::MAX, u64::MAX),
        ] {
            let level = level(first, last);
            for n in [first, first / 2 + last / 2, last] {
                let (from, to) = beginnings(level, n, n);
                if (first..=last).contains(&n) {
                    assert!((from..=to).contains(&first), "{first}..={last} holds {n}");
                }
            }
        }
        assert!(level(0, u64::MAX) < LEVELS);
    }

    proptest! {
        #[test]
        fn order_is_kept_in_signed_integers(a: u64, b: u64) {
            prop_assert_eq!(a.cmp(&b), to_sql(a).cmp(&to_sql(b)));
        }

        #[test]
        fn times_keep_their_order(a: i64, b: i64) {
            prop_assert_eq!(a.cmp(&b), to_sql(time_number(Micros(a))).cmp(&to_sql(time_number(Micros(b)))));
        }
    }
}

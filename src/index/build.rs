//! Full entries, put together from their rows and their records.

use super::error::Fault;
use super::rows::{EntryRow, before};
use crate::ledger::{Body, Entry, EntryState, Line, SegmentRecord};
use crate::model::{GtidSet, Seq, Sha256};
use rusqlite::{Connection, OptionalExtension};
use serde::Deserialize;

/// How many segments back a set of previous GTIDs is looked for. Every page of 1000 records begins with one in full; a
/// second page, because the first may begin with another incarnation's.
const WALK_MAX_SEGMENTS: usize = 2000;

/// The text of record `seq`, if it can be read.
pub(super) fn line_text(conn: &Connection, seq: Seq) -> Result<Option<String>, Fault> {
    let text = conn
        .prepare_cached("SELECT text FROM lines WHERE seq = ?1")?
        .query_row([seq.0 as i64], |row| row.get(0))
        .optional()?;
    Ok(text)
}

/// The record `seq`, its own hash checked again.
pub(super) fn line(conn: &Connection, seq: Seq) -> Result<Line, Fault> {
    let corrupt = |why: String| Fault::Corrupt(format!("its copy of ledger record {seq}: {why}"));
    let text = line_text(conn, seq)?.ok_or_else(|| corrupt("it is not there".to_owned()))?;
    Line::read(text.as_bytes()).map_err(|e| corrupt(e.to_string()))
}

/// The segment that a row stands for, or `None` if it stands for none.
pub(super) fn segment(
    conn: &Connection,
    row: &EntryRow,
) -> Result<Option<Box<SegmentRecord>>, Fault> {
    let seq = match (row.state, row.line) {
        (EntryState::Archived | EntryState::Damaged, Some(seq)) => seq,
        (EntryState::Archived | EntryState::Damaged, None) => {
            return Err(Fault::Corrupt(format!(
                "entry {} has no record",
                row.mount_name
            )));
        }
        (EntryState::Hole | EntryState::Gap | EntryState::Lost, _) => return Ok(None),
    };
    let segment = match &line(conn, seq)?.record().body {
        Body::Segment(segment) => segment.clone(),
        Body::Supersede(supersede) => Box::new(supersede.segment.clone()),
        _ => return Err(Fault::Corrupt(format!("record {seq} describes no segment"))),
    };
    let same = segment.mount_name == row.mount_name
        && segment.timeline == row.timeline
        && segment.incarnation == row.incarnation
        && segment.number == row.number
        && segment.size == row.size
        && segment.entry_state() == row.state;
    if same {
        Ok(Some(segment))
    } else {
        Err(Fault::Corrupt(format!(
            "entry {} differs from record {seq}",
            row.mount_name
        )))
    }
}

/// Makes entries of rows. Kept for rows in order, it need not look back for each one's previous GTIDs.
#[derive(Default)]
pub(super) struct Builder {
    /// What was executed after the last entry built.
    executed: Option<GtidSet>,
}

impl Builder {
    pub(super) fn entry(&mut self, conn: &Connection, row: EntryRow) -> Result<Entry, Fault> {
        let segment = segment(conn, &row)?;
        let carried = self.executed.take();
        let previous_gtids = match &segment {
            Some(segment) => previous_gtids(conn, &row, segment, carried)?,
            None => None,
        };
        if let (Some(previous), Some(segment)) = (&previous_gtids, &segment) {
            self.executed = Some(executed_after(previous.clone(), &segment.gtids));
        }
        Ok(Entry {
            seq: row.seq,
            timeline: row.timeline,
            incarnation: row.incarnation,
            number: row.number,
            mount_name: row.mount_name,
            state: row.state,
            reason: row.reason,
            previous_gtids,
            segment,
        })
    }
}

/// What a position says after a segment.
fn executed_after(mut previous: GtidSet, gtids: &GtidSet) -> GtidSet {
    previous.union_with(gtids);
    previous.into_position_form()
}

/// The previous GTIDs of a segment: as its record says them, or the set that has the hash its record says.
fn previous_gtids(
    conn: &Connection,
    row: &EntryRow,
    segment: &SegmentRecord,
    carried: Option<GtidSet>,
) -> Result<Option<GtidSet>, Fault> {
    if segment.previous_gtids.is_some() {
        return Ok(segment.previous_gtids.clone());
    }
    let Some(said) = segment.previous_gtids_sha256 else {
        return Ok(None);
    };
    let matches = |set: &GtidSet| Sha256::of(set.to_string().as_bytes()) == said;
    if let Some(set) = carried.filter(&matches) {
        return Ok(Some(set));
    }
    Ok(walk_back(conn, row)?.filter(matches))
}

/// The two fields of a segment record that the walk needs.
#[derive(Deserialize)]
struct GtidsOnly {
    #[serde(default)]
    previous_gtids: Option<GtidSet>,
    gtids: Option<GtidSet>,
}

/// What was executed before `row`, from the segments before it.
fn walk_back(conn: &Connection, row: &EntryRow) -> Result<Option<GtidSet>, Fault> {
    let mut newer: Vec<GtidSet> = Vec::new();
    let mut at = row.clone();
    for _ in 0..WALK_MAX_SEGMENTS {
        let Some(earlier) = before(conn, at.timeline, &at.mount_name)? else {
            return Ok(None);
        };
        if earlier.incarnation != row.incarnation {
            return Ok(None);
        }
        // The record that introduced the entry is the one that later hashes were made from.
        let Some(text) = line_text(conn, earlier.seq)? else {
            return Ok(None);
        };
        let fields: Option<GtidsOnly> = serde_json::from_str(&text).ok();
        let Some(GtidsOnly {
            previous_gtids,
            gtids: Some(gtids),
        }) = fields
        else {
            return Ok(None);
        };
        if let Some(full) = previous_gtids {
            let mut set = executed_after(full, &gtids);
            for gtids in newer.iter().rev() {
                set = executed_after(set, gtids);
            }
            return Ok(Some(set));
        }
        newer.push(gtids);
        at = earlier;
    }
    Ok(None)
}

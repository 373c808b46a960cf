//! Full entries, put together from their rows and their records.

use super::error::Fault;
use super::fences::cut_of;
use super::rows::{EntryRow, unsigned};
use super::texts::Texts;
use crate::ledger::{Body, Entry, EntryState, SegmentRecord};
use crate::model::{GtidSet, Seq, Sha256};
use rusqlite::{Connection, params};
use serde::Deserialize;

/// How many segments back a set of previous GTIDs is looked for. Every page of 1000 records begins with one in full; a
/// second page, because the first may begin with another incarnation's.
const WALK_MAX_SEGMENTS: usize = 2000;

/// One in so many entries has its previous GTIDs kept: looking back passes few records.
const POSITION_EVERY: u64 = 16;
/// Longer sets are not kept, in bytes: they would outgrow the records.
const POSITION_MAX_BYTES: usize = 4 << 10;

/// The segment that a row stands for, or `None` if it stands for none.
pub(super) fn segment(
    texts: Texts<'_>,
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
    let segment = match &texts.line(seq)?.record().body {
        Body::Segment(segment) => segment.clone(),
        Body::Supersede(supersede) => Box::new(supersede.segment.clone()),
        _ => return Err(Fault::Corrupt(format!("record {seq} describes no segment"))),
    };
    let same = segment.mount_name == row.mount_name
        && segment.timeline == row.timeline
        && segment.incarnation == row.incarnation
        && segment.number == row.number
        && (segment.size == row.size || row.fence.is_some() && row.size < segment.size)
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
    pub(super) fn entry(&mut self, texts: Texts<'_>, row: EntryRow) -> Result<Entry, Fault> {
        let segment = segment(texts, &row)?;
        let cut = cut_of(texts, &row)?;
        let carried = self.executed.take();
        let previous_gtids = match &segment {
            Some(segment) => previous_gtids(texts, &row, segment, carried)?,
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
            cut,
        })
    }
}

/// The entry of one row.
pub(super) fn one(texts: Texts<'_>, row: EntryRow) -> Result<Entry, Fault> {
    Builder::default().entry(texts, row)
}

/// What a position says after a segment.
fn executed_after(mut previous: GtidSet, gtids: &GtidSet) -> GtidSet {
    previous.union_with(gtids);
    previous.into_position_form()
}

/// The previous GTIDs of a segment: as its record says them, or the set that has the hash its record says.
fn previous_gtids(
    texts: Texts<'_>,
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
    Ok(walk_back(texts, row)?.filter(matches))
}

/// The two fields of a segment record that the walk needs.
#[derive(Deserialize)]
struct GtidsOnly {
    #[serde(default)]
    previous_gtids: Option<GtidSet>,
    gtids: Option<GtidSet>,
}

/// What was executed before `row`, from the segments before it.
fn walk_back(texts: Texts<'_>, row: &EntryRow) -> Result<Option<GtidSet>, Fault> {
    // The row itself first: it may be one whose set is kept.
    let mut query = texts.conn.prepare_cached(
        "SELECT e.seq, e.incarnation, p.previous_gtids FROM entries e LEFT JOIN positions p ON p.entry = e.seq
         WHERE e.timeline = ?1 AND e.mount_name <= ?2 ORDER BY e.mount_name DESC",
    )?;
    let mut rows = query.query(params![row.timeline.0, row.mount_name.as_str()])?;
    let mut newer: Vec<GtidSet> = Vec::new();
    for _ in 0..=WALK_MAX_SEGMENTS {
        let Some(earlier) = rows.next()? else {
            break;
        };
        if earlier.get::<_, u32>(1)? != row.incarnation.0 {
            break;
        }
        let kept = earlier
            .get_ref(2)?
            .as_str_or_null()
            .map_err(rusqlite::Error::from)?;
        let kept: Option<GtidSet> = kept.and_then(|text| text.parse().ok());
        let seq = unsigned(earlier, 0)?;
        let full = if seq == row.seq.0 {
            kept
        } else {
            // The record that introduced the entry is the one that later hashes were made from.
            let text = texts.text(Seq(seq))?;
            let fields = text.and_then(|text| serde_json::from_str(&text).ok());
            let Some(GtidsOnly {
                previous_gtids,
                gtids: Some(gtids),
            }) = fields
            else {
                break;
            };
            newer.push(gtids);
            kept.or(previous_gtids)
        };
        if let Some(full) = full {
            let executed = newer.iter().rev().fold(full, executed_after);
            return Ok(Some(executed));
        }
    }
    Ok(None)
}

/// What was executed before an entry, as it is kept now and then.
pub(super) fn position_to_keep(
    seq: Seq,
    segment: &SegmentRecord,
    previous: Option<&GtidSet>,
) -> Option<String> {
    if segment.previous_gtids.is_some() || !seq.0.is_multiple_of(POSITION_EVERY) {
        return None;
    }
    let text = previous?.to_string();
    (text.len() <= POSITION_MAX_BYTES).then_some(text)
}

/// Keeps it.
pub(super) fn keep_position(conn: &Connection, seq: Seq, text: &str) -> Result<(), Fault> {
    conn.prepare_cached("INSERT INTO positions (entry, previous_gtids) VALUES (?1, ?2)")?
        .execute(params![seq.0 as i64, text])?;
    Ok(())
}

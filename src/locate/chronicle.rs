//! What happened, out of the tails: statements that changed a schema, tables, long transactions. No frame is read.

use super::Boundary;
use crate::binlog::{DdlStatement, Point, SegmentIndex};
use crate::cache::{ArchivedSegment, ReadError, SegmentReader};
use crate::ledger::Entry;
use crate::model::Micros;
use futures::StreamExt as _;

/// Tails asked for at once: each is two small requests, unless the index has kept it.
const TAILS_AT_ONCE: usize = 8;

/// A segment of the history, and what its tail tells.
#[derive(Clone, Debug)]
pub struct Chapter {
    /// The segment.
    pub entry: Entry,
    /// What its tail tells.
    pub index: SegmentIndex,
}

/// What part of a history is asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// From this place on.
    pub from: Option<Boundary>,
    /// Up to this place.
    pub to: Option<Boundary>,
    /// Not what was committed before.
    pub since: Option<Micros>,
    /// Not what was committed after.
    pub until: Option<Micros>,
}

impl Extent {
    /// Whether a transaction that begins at `position` of `entry` and was committed at `time` belongs to it.
    pub fn holds(&self, entry: &Entry, position: u64, time: Micros) -> bool {
        let place = (entry.seq, position);
        if position >= entry.end() {
            // Behind a fence.
            return false;
        }
        let from = self.from.as_ref().map(|from| (from.seq, from.position));
        let to = self.to.as_ref().map(|to| (to.seq, to.position));
        from.is_none_or(|from| place >= from)
            && to.is_none_or(|to| place < to)
            && self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time <= until)
    }

    /// Whether a transaction of `entry` may belong to it.
    pub fn touches(&self, entry: &Entry) -> bool {
        let placed = self.from.as_ref().is_none_or(|from| entry.seq >= from.seq)
            && self.to.as_ref().is_none_or(|to| entry.seq <= to.seq);
        let Some(segment) = &entry.segment else {
            return placed;
        };
        let after = self.since.zip(segment.latest_commit.or(segment.max_time));
        let before = self.until.zip(segment.min_time);
        placed
            && after.is_none_or(|(since, latest)| latest >= since)
            && before.is_none_or(|(until, earliest)| earliest <= until)
    }
}

impl Chapter {
    /// The statements of `extent` that changed a schema.
    pub fn ddl<'a>(&'a self, extent: &'a Extent) -> impl Iterator<Item = &'a DdlStatement> + 'a {
        let holds = move |ddl: &&DdlStatement| extent.holds(&self.entry, ddl.position, ddl.time);
        self.index.ddl.iter().filter(holds)
    }

    /// The transactions of `extent` with at least `bytes` bytes. All that are as long as the distance between points are
    /// known; of shorter ones only some are.
    pub fn long<'a>(
        &'a self,
        extent: &'a Extent,
        bytes: u64,
    ) -> impl Iterator<Item = &'a Point> + 'a {
        let holds = move |point: &&Point| {
            point.end - point.position >= bytes
                && extent.holds(&self.entry, point.position, point.time)
        };
        self.index.points.iter().filter(holds)
    }

    /// Whether `table` was changed in it: `None` if that cannot be told.
    pub fn touched(&self, table: &str) -> Option<bool> {
        let known = self.index.tables.iter().any(|known| known == table);
        match (known, self.index.tables_incomplete) {
            (true, _) => Some(true),
            (false, true) => None,
            (false, false) => Some(false),
        }
    }
}

/// Reads the tails of `entries`, which have segments, and gives them to `each` in their order.
///
/// # Errors
/// The first that a tail, or `each`, failed with.
pub async fn read_tails<E: From<ReadError>>(
    reader: &SegmentReader,
    entries: Vec<Entry>,
    mut each: impl FnMut(Chapter) -> Result<(), E>,
) -> Result<(), E> {
    let tails = entries.into_iter().map(|entry| async move {
        let segment = ArchivedSegment::of_entry(&entry)?;
        let index = reader.index(&segment).await?;
        Ok::<_, ReadError>(Chapter { entry, index })
    });
    let mut tails = futures::stream::iter(tails).buffered(TAILS_AT_ONCE);
    while let Some(chapter) = tails.next().await {
        each(chapter?)?;
    }
    Ok(())
}

//! Asks the index and reads what a search wants.

use super::course::{Course, IfFirst, course, too_late};
use super::search::{Search, Sighting, Step, Wanted};
use super::{Boundary, FilePosition, Located, Refusal, RefusalKind, Target};
use crate::binlog::{EventHeader, SegmentIndex};
use crate::cache::{ArchivedSegment, ReadError, SegmentReader};
use crate::index::asking::ask;
use crate::index::{EntryRow, Index, IndexError};
use crate::model::{Gtid, Micros, MountName, ObjectKey, Seq, Timeline};
use std::sync::Arc;

/// A file is created within the second that its format description names.
const CREATED_WITHIN: i64 = 1_000_000;

/// Why a target was not found.
#[derive(Debug, thiserror::Error)]
pub enum LocateError {
    /// It is no place that can be recovered.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The index cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A segment cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A bug.
    #[error("locating failed inside binlogfs: {0}; please report it")]
    Internal(String),
}

/// Finds targets in a stream.
#[derive(Clone)]
pub struct Locator {
    index: Arc<Index>,
    pub(super) reader: Arc<SegmentReader>,
    /// Where the stream is in the store that `reader` reads.
    dir: Option<ObjectKey>,
}

/// A segment to look into.
pub(super) struct Place {
    timeline: Timeline,
    seq: Seq,
    mount_name: MountName,
    pub(super) segment: ArchivedSegment,
    /// Where what can be read, and belongs to the timeline, ends.
    pub(super) end: u64,
}

impl Locator {
    /// A locator in the stream that `index` knows and `reader` reads.
    pub fn new(index: Arc<Index>, reader: Arc<SegmentReader>) -> Locator {
        Locator {
            index,
            reader,
            dir: None,
        }
    }

    /// The same where `reader` reads a larger store, in which the stream is at `dir`.
    #[must_use]
    pub fn below(self, dir: ObjectKey) -> Locator {
        Locator {
            dir: Some(dir),
            ..self
        }
    }

    /// Finds `target` in `timeline`.
    ///
    /// # Errors
    /// [`LocateError`].
    pub async fn find(&self, timeline: Timeline, target: &Target) -> Result<Located, LocateError> {
        match target {
            Target::Time(time) => self.time(timeline, *time).await,
            Target::Gtid(gtid) => self.gtid(timeline, gtid).await,
            Target::Position(position) => self.position(timeline, position).await,
        }
    }

    /// The boundary that `target` names. Unlike [`Locator::find`] this refuses a position inside a transaction.
    ///
    /// # Errors
    /// [`LocateError`].
    pub async fn boundary(
        &self,
        timeline: Timeline,
        target: &Target,
    ) -> Result<Boundary, LocateError> {
        let located = self.find(timeline, target).await?;
        match (target, &located.transaction) {
            (Target::Position(position), Some(holds)) if holds.start < position.offset => {
                let reason = format!(
                    "{position} lies inside the transaction from {} to {}",
                    holds.start, holds.end
                );
                Err(refusal(RefusalKind::Inside, reason).into())
            }
            _ => Ok(located.boundary),
        }
    }

    async fn time(&self, timeline: Timeline, time: Micros) -> Result<Located, LocateError> {
        let moment = self.ask(move |index| index.moment(timeline, time)).await?;
        match course(moment, time) {
            Course::Refuse(refusal) => Err(self.unless_pruned(timeline, refusal).await?.into()),
            Course::AtEndOf(row) => self.end_of(row.seq).await,
            Course::Inside { entry, if_first } => self.inside(&entry, if_first, time).await,
        }
    }

    /// The first transaction after `time`, which should stand in `row`.
    async fn inside(
        &self,
        row: &EntryRow,
        if_first: IfFirst,
        time: Micros,
    ) -> Result<Located, LocateError> {
        let place = self.place(row.seq).await?;
        let index = self.reader.index(&place.segment).await?;
        let created = created(&index);
        let Some(sighting) = self.search(&place, index, Wanted::After(time)).await? else {
            return self.at_fence(&place, time).await;
        };
        if sighting.latest_before.is_some() {
            return Ok(place.before(sighting));
        }
        match if_first {
            IfFirst::Fine => Ok(place.before(sighting)),
            IfFirst::AtEndOf(row) => self.end_of(row.seq).await,
            IfFirst::Refuse(refusal) => Err(Refusal {
                first_after: Some(sighting.found.commit_time),
                ..refusal
            }
            .into()),
            IfFirst::Begins => {
                let begun = self.begun(&place, created).await?;
                match begun.min(sighting.found.commit_time) {
                    begun if time >= begun => Ok(place.before(sighting)),
                    begun => Err(Refusal {
                        first_after: Some(begun),
                        ..self.before_all(place.timeline).await?
                    }
                    .into()),
                }
            }
        }
    }

    /// From when on it is known that nothing was committed before the first transaction of the history, which stands in
    /// `place`.
    async fn begun(&self, place: &Place, created_of_place: Micros) -> Result<Micros, LocateError> {
        let timeline = place.timeline;
        let first = self.ask(move |index| index.rows(timeline, None, 1)).await?;
        let created = match first.first() {
            Some(first) if first.seq != place.seq => {
                let first = self.place(first.seq).await?;
                created(&self.reader.index(&first.segment).await?)
            }
            _ => created_of_place,
        };
        Ok(Micros(created.0.saturating_add(CREATED_WITHIN)))
    }

    /// A moment after every commit of `place` that still belongs to the timeline, which ends there.
    async fn at_fence(&self, place: &Place, time: Micros) -> Result<Located, LocateError> {
        let (timeline, name) = (place.timeline, place.mount_name.clone());
        let before = self
            .ask(move |index| index.neighbours(timeline, &name))
            .await?
            .0;
        let earlier = before.and_then(|row| row.latest_through);
        let located = self.last_of(place).await?;
        let here = located.as_ref().and_then(|located| located.boundary.latest);
        match located {
            Some(located) if earlier.max(here) == Some(time) => Ok(located),
            _ => Err(too_late(earlier.max(here)).into()),
        }
    }

    /// The end of the last transaction of an entry that has some.
    async fn end_of(&self, seq: Seq) -> Result<Located, LocateError> {
        let place = self.place(seq).await?;
        let last = self.last_of(&place).await?;
        last.ok_or_else(|| {
            LocateError::Internal(format!("{} has no transaction", place.mount_name))
        })
    }

    pub(super) async fn last_of(&self, place: &Place) -> Result<Option<Located>, LocateError> {
        let index = self.reader.index(&place.segment).await?;
        let last = self.search(place, index, Wanted::Last).await?;
        Ok(last.map(|last| place.behind(last)))
    }

    async fn gtid(&self, timeline: Timeline, gtid: &Gtid) -> Result<Located, LocateError> {
        let wanted = gtid.clone();
        let holding = self.ask(move |index| index.holding(&wanted)).await?;
        let Some(entry) = holding.iter().find(|entry| entry.timeline == timeline) else {
            let elsewhere = holding.first().map(|entry| entry.timeline);
            return Err(self.unknown_gtid(timeline, gtid, elsewhere).await?.into());
        };
        let place = self.place(entry.seq).await?;
        let index = self.reader.index(&place.segment).await?;
        let found = self
            .search(&place, index, Wanted::Gtid(gtid.clone()))
            .await?;
        match found {
            Some(sighting) => Ok(place.before(sighting)),
            None => {
                let name = &place.mount_name;
                let reason = format!(
                    "{gtid} stands in {name} behind byte {}, where this timeline ends",
                    place.end
                );
                Err(refusal(RefusalKind::Unknown, reason).into())
            }
        }
    }

    async fn position(
        &self,
        timeline: Timeline,
        position: &FilePosition,
    ) -> Result<Located, LocateError> {
        let entry = self.entry_of_file(timeline, &position.file).await?;
        if entry.segment.is_none() {
            let reason = format!("{} cannot be read: {}", entry.mount_name, entry.reason);
            return Err(refusal(RefusalKind::Missing, reason).into());
        }
        let place = self.place(entry.seq).await?;
        if position.offset > place.end {
            let reason = format!(
                "{} can be read up to byte {}, and {} lies behind that",
                place.mount_name, place.end, position.offset
            );
            return Err(refusal(RefusalKind::Unknown, reason).into());
        }
        let index = self.reader.index(&place.segment).await?;
        let wanted = Wanted::At(position.offset);
        if let Some(sighting) = self.search(&place, index, wanted).await? {
            return Ok(place.before(sighting));
        }
        let last = self.last_of(&place).await?;
        Ok(last.unwrap_or_else(|| place.empty(position.offset)))
    }

    pub(super) async fn place(&self, seq: Seq) -> Result<Place, LocateError> {
        let entry = self.ask(move |index| index.entry_by_seq(seq)).await?;
        let entry = entry.ok_or_else(|| LocateError::Internal(format!("no entry {seq}")))?;
        let mut segment = ArchivedSegment::of_entry(&entry)?;
        if let Some(dir) = &self.dir {
            let placed = segment.below(dir);
            segment = placed.map_err(|error| LocateError::Internal(error.to_string()))?;
        }
        Ok(Place {
            timeline: entry.timeline,
            seq: entry.seq,
            end: segment.readable(),
            mount_name: entry.mount_name,
            segment,
        })
    }

    pub(super) async fn search(
        &self,
        place: &Place,
        index: SegmentIndex,
        wanted: Wanted,
    ) -> Result<Option<Sighting>, LocateError> {
        let frame_size = place.segment.layout().recorded().frame_size;
        let mut search = Search::new(index, wanted, place.end, frame_size);
        loop {
            match search.step() {
                Step::Done(found) => return Ok(found),
                Step::Need(range) => {
                    let len = range.end - range.start;
                    let bytes = self.reader.read(&place.segment, range.start, len).await?;
                    search.give(&bytes);
                }
            }
        }
    }

    /// Asks the index, off the async threads.
    ///
    /// # Errors
    /// [`LocateError`].
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Index) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, LocateError> {
        let index = Arc::clone(&self.index);
        let answer = ask(move || question(&index)).await;
        let answer = answer.map_err(|died| LocateError::Internal(died.to_string()))?;
        Ok(answer?)
    }
}

impl Place {
    fn boundary(&self, position: u64, latest: Option<Micros>) -> Boundary {
        Boundary {
            timeline: self.timeline,
            seq: self.seq,
            mount_name: self.mount_name.clone(),
            position,
            latest,
        }
    }

    /// The boundary before a transaction.
    pub(super) fn before(&self, sighting: Sighting) -> Located {
        Located {
            boundary: self.boundary(sighting.found.start, sighting.latest_before),
            transaction: Some(sighting.found),
            previous: sighting.previous,
        }
    }

    /// The boundary behind the last transaction.
    pub(super) fn behind(&self, sighting: Sighting) -> Located {
        let latest = sighting.latest_before.max(Some(sighting.found.commit_time));
        Located {
            boundary: self.boundary(sighting.found.end, latest),
            transaction: None,
            previous: Some(sighting.found),
        }
    }

    /// A boundary in a file without transactions.
    pub(super) fn empty(&self, position: u64) -> Located {
        Located {
            boundary: self.boundary(position, None),
            transaction: None,
            previous: None,
        }
    }
}

/// When the file of an index was created, in whole seconds: the header time of its format description.
fn created(index: &SegmentIndex) -> Micros {
    let header = index
        .format
        .as_ref()
        .and_then(|format| EventHeader::parse(format.as_bytes()));
    header.map_or(Micros(i64::MAX), |header| {
        Micros::from_seconds(header.timestamp)
    })
}

pub(super) fn refusal(kind: RefusalKind, reason: String) -> Refusal {
    Refusal {
        kind,
        reason,
        last_before: None,
        first_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::CacheOptions;
    use crate::index::asking::leaves_threads_to_others;
    use crate::segment::Identities;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn however_many_look_into_an_index_that_is_silent_there_are_threads_for_others() {
        let index = Arc::new(Index::in_memory().expect("opens"));
        let store = Arc::new(MemoryStore::new());
        let options = CacheOptions::default();
        let reader = SegmentReader::new(store, Identities::none(), None, options);
        let locator = Locator::new(index, Arc::new(reader));
        leaves_threads_to_others(|question| {
            let locator = locator.clone();
            async move {
                let answer = locator.ask(move |_| Ok(question())).await;
                answer.expect("works")
            }
        })
        .await;
    }
}

//! Makes plans.

use super::begin;
use super::clock;
use super::gtids::Known;
use super::obstacle::{self, Way};
use super::pieces::Pieces;
use super::plan::{Begin, LeftOut, Plan, Question, Stop};
use super::reach::Reach;
use super::refusal::{Refusal, RefusalKind};
use super::stop::{self, Ending};
use super::target::Target;
use crate::binlog::Flavour;
use crate::cache::{ArchivedSegment, ReadError, SegmentReader};
use crate::index::{Index, IndexError};
use crate::ledger::{Entry, SegmentRecord, StreamFile};
use crate::locate::{LocateError, Locator};
use crate::model::{GtidSet, Seq, Timeline};
use std::sync::Arc;

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The target cannot be recovered: what can, and what to do instead.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// The index or a segment cannot be read.
    #[error(transparent)]
    Failed(LocateError),
}

impl From<LocateError> for PlanError {
    fn from(error: LocateError) -> PlanError {
        PlanError::Failed(error)
    }
}

impl From<ReadError> for PlanError {
    fn from(error: ReadError) -> PlanError {
        PlanError::Failed(error.into())
    }
}

impl From<Refusal> for PlanError {
    fn from(refusal: Refusal) -> PlanError {
        PlanError::Refused(Box::new(refusal))
    }
}

/// Makes plans for one stream. It reads the index, segment indexes and a few frames, and changes nothing.
pub struct Planner {
    pub(super) reader: Arc<SegmentReader>,
    pub(super) locator: Locator,
}

/// What is known before anything is planned.
pub(super) struct Ground {
    pub(super) timeline: Timeline,
    pub(super) flavour: Flavour,
    pub(super) stream_id: uuid::Uuid,
    /// It is the newest: what a mount shows in its root.
    pub(super) is_root: bool,
    /// Every GTID known to be before or in the segments of the timeline.
    pub(super) executed: GtidSet,
    /// The same of the other timelines.
    pub(super) others: Vec<(Timeline, GtidSet)>,
}

impl Planner {
    /// A planner for the stream that `index` knows and `reader` reads.
    pub fn new(index: Arc<Index>, reader: Arc<SegmentReader>) -> Planner {
        let locator = Locator::new(index, Arc::clone(&reader));
        Planner { reader, locator }
    }

    /// The plan for `question`.
    ///
    /// # Errors
    /// [`PlanError`].
    pub async fn plan(&self, question: &Question) -> Result<Plan, PlanError> {
        let ground = self.ground(question.timeline).await?;
        let ending = stop::find(self, &ground, &question.target).await?;
        let place = ending.stop.place.clone();
        let refused = match self.plan_to(&ground, question, ending).await {
            Err(PlanError::Refused(refused)) if refused.kind == RefusalKind::Missing => refused,
            planned => return planned,
        };
        // A server that took over may say the target again, with nothing missing before that: if it leads to the same.
        let again = stop::again(self, &ground, &question.target).await?;
        if !again.is_empty() {
            let entry = self.entry(place.seq).await?;
            let mut wanted = self.executed_at(&entry, &place).await?;
            wanted.union_with(&question.skip);
            for ending in again {
                match self.plan_to(&ground, question, ending).await {
                    Ok(plan) if plan.executed() == wanted => return Ok(plan),
                    Ok(_) | Err(PlanError::Refused(_)) => {}
                    Err(failed) => return Err(failed),
                }
            }
        }
        Err(PlanError::Refused(refused))
    }

    /// The plan for `question` that stops at `ending`.
    async fn plan_to(
        &self,
        ground: &Ground,
        question: &Question,
        ending: Ending,
    ) -> Result<Plan, PlanError> {
        let stop = &ending.stop.place;
        let mut begin = begin::find(self, ground, &question.start, stop).await?;
        let mut known = Known::gather(self, ground, question, &begin, &ending).await?;
        known.check(self, ground, question, &ending).await?;
        let way = obstacle::check(self, ground, (&begin, &ending), &known.has).await?;
        let stop_datetime = match (&way, &question.target) {
            (Way::Whole, Target::Time(time)) => {
                clock::stop_datetime(self, ground, (&begin, &ending), *time).await?
            }
            _ => None,
        };
        let stop = ending.stop;
        let segments = match way {
            Way::Whole => self.segments(ground, &begin, &stop).await?,
            Way::Nothing => {
                begin.place = stop.place.clone();
                begin.first = stop.next.clone();
                Pieces::default()
            }
        };
        let fetch_bytes = self.fetch_bytes(&segments).await?;
        let left_out = self.left_out(ground, &known).await?;
        let last = self.segment(stop.place.seq).await?;
        Ok(Plan {
            stream_id: ground.stream_id,
            flavour: ground.flavour,
            server_version: last.server_version.clone(),
            is_root: ground.is_root,
            question: question.clone(),
            has: std::mem::take(&mut known.has),
            adds: std::mem::take(&mut known.adds),
            by_gtid: known.by_gtid,
            stop_datetime,
            begin,
            stop,
            segments,
            left_out,
            fetch_bytes,
        })
    }

    async fn ground(&self, timeline: Timeline) -> Result<Ground, PlanError> {
        let (stream, state) = self
            .ask(|index| Ok((index.stream_bytes()?, index.state()?)))
            .await?;
        let missing = || LocateError::Internal("an index that knows no stream".to_owned());
        let stream = stream.ok_or_else(missing)?;
        let stream = StreamFile::read(&stream).map_err(|e| LocateError::Internal(e.to_string()))?;
        let state = state.ok_or_else(missing)?;
        let Some(known) = state.timeline(timeline) else {
            let reason = format!("there is no timeline {timeline} in this stream");
            return Err(Refusal::new(RefusalKind::Unknown, reason).into());
        };
        let others = state.timelines().filter(|(id, _)| *id != timeline);
        Ok(Ground {
            others: others
                .map(|(id, other)| (id, other.executed.clone()))
                .collect(),
            timeline,
            flavour: stream.flavour,
            stream_id: stream.stream_id,
            is_root: state
                .newest_timeline()
                .is_some_and(|(id, _)| id == timeline),
            executed: known.executed.clone(),
        })
    }

    /// Asks the index, off the async threads.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Index) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, PlanError> {
        Ok(self.locator.ask(question).await?)
    }

    /// The entry of a record.
    pub(super) async fn entry(&self, seq: Seq) -> Result<Entry, PlanError> {
        let entry = self.ask(move |index| index.entry_by_seq(seq)).await?;
        let gone = || LocateError::Internal(format!("no entry {seq}"));
        Ok(entry.ok_or_else(gone)?)
    }

    /// What can be read of an entry that has a segment.
    pub(super) async fn archived(&self, seq: Seq) -> Result<ArchivedSegment, PlanError> {
        Ok(ArchivedSegment::of_entry(&self.entry(seq).await?)?)
    }

    /// The segment of an entry that has one.
    pub(super) async fn segment(&self, seq: Seq) -> Result<Box<SegmentRecord>, PlanError> {
        let entry = self.entry(seq).await?;
        let none = || LocateError::Internal(format!("{} has no segment", entry.mount_name));
        Ok(entry.segment.clone().ok_or_else(none)?)
    }

    /// The files of the plan.
    async fn segments(
        &self,
        ground: &Ground,
        begin: &Begin,
        stop: &Stop,
    ) -> Result<Pieces, PlanError> {
        // From the first transaction of a file on it is replayed whole.
        let from = match begin.at_first {
            true => 0,
            false => begin.place.position,
        };
        let mut pieces = Pieces::between(from, stop.place.position);
        let (timeline, range) = (
            ground.timeline,
            (begin.place.file.clone(), stop.place.file.clone()),
        );
        self.ask(move |index| {
            index.between(timeline, (&range.0, &range.1), |row| pieces.push(row))?;
            Ok(pieces)
        })
        .await
    }

    async fn fetch_bytes(&self, segments: &Pieces) -> Result<u64, PlanError> {
        let mut bytes = 0;
        for piece in segments.iter() {
            if piece.is_whole() {
                bytes += piece.stored_size;
                continue;
            }
            let segment = self.archived(piece.seq).await?;
            // What is cut at its beginning cannot be read without its head, in the first frame.
            let head = 0..piece.range.start.min(1);
            bytes += self
                .reader
                .stored_bytes(&segment, &[head, piece.range])
                .await?;
        }
        Ok(bytes)
    }

    async fn left_out(&self, ground: &Ground, known: &Known) -> Result<LeftOut, PlanError> {
        let timeline = ground.timeline;
        let last = self.ask(move |index| Ok(index.extent(timeline)?.1)).await?;
        Ok(LeftOut {
            gtids: ground.executed.minus(&known.executed),
            last_commit: last.and_then(|row| row.latest_through),
        })
    }

    /// Points that can be reached.
    pub(super) fn reach<'a>(&'a self, ground: &'a Ground) -> Reach<'a> {
        Reach {
            planner: self,
            timeline: ground.timeline,
        }
    }
}

//! The bytes of a plan, one file after the other, as mysqlbinlog reads them from standard input.

use super::plan::Plan;
use super::planner::{PlanError, Planner};
use crate::binlog::{Flavour, Head, HeadProbe, probe_head};
use crate::cache::{ArchivedSegment, SegmentStream};
use crate::locate::LocateError;
use bytes::Bytes;
use std::collections::VecDeque;
use std::ops::Range;

/// Bytes of a part that are asked for at once: some frames, so that several are on their way.
const STEP_BYTES: u64 = 4 << 20;
/// First bytes of a file read for its head; most heads are shorter.
const HEAD_GUESS_BYTES: u64 = 4096;
/// The longest head that is read: a format description and a set of executed GTIDs.
const HEAD_MAX_BYTES: u64 = 64 << 20;

/// The magic number that each file begins with.
const MAGIC_BYTES: usize = 4;

/// The bytes of a plan: its files in replay order, the first from where it begins (behind its head, without which it could not be
/// read), the last up to where it ends.
///
/// They go to standard input, as `mysqlbinlog -`: of one file with several binlogs in it mysqlbinlog reads only the first.
/// MariaDB's does not expect a file's magic number in the middle of that, MySQL's does; each gets what it reads.
/// Every byte is proven; what is skipped is in the stream still.
pub struct PlanStream<'a> {
    planner: &'a Planner,
    plan: &'a Plan,
    place: usize,
    /// Bytes were given.
    begun: bool,
    /// Bytes of the open file that are not given.
    skip: usize,
    open: Open,
}

/// A server that wrote binlogs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Its `server_id`. A replica that has the same one does not apply what it wrote.
    pub server_id: u32,
    /// Its `server_uuid`, where it is known.
    pub server_uuid: Option<uuid::Uuid>,
}

/// Who wrote the files of a plan, and what they left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// The servers.
    pub origins: Vec<Origin>,
    /// A file with part of a transaction behind its last one, and more files after it.
    pub torn: Option<String>,
}

enum Open {
    Nothing,
    Whole(Box<SegmentStream>),
    Part(Box<ArchivedSegment>, VecDeque<Range<u64>>),
}

impl Planner {
    /// The bytes of a plan that this planner made.
    pub fn stream<'a>(&'a self, plan: &'a Plan) -> PlanStream<'a> {
        PlanStream {
            planner: self,
            plan,
            place: 0,
            begun: false,
            skip: 0,
            open: Open::Nothing,
        }
    }

    /// The head of a file: its format description, and what was executed before it.
    pub(super) async fn head(&self, segment: &ArchivedSegment) -> Result<Box<Head>, PlanError> {
        let mut wanted = HEAD_GUESS_BYTES;
        loop {
            let first = self.reader.read(segment, 0, wanted).await?;
            let is_all = wanted >= segment.readable();
            match probe_head(&first, is_all) {
                Ok(HeadProbe::Head(head)) => return Ok(head),
                Ok(HeadProbe::NeedMore(more)) if more <= HEAD_MAX_BYTES && more > wanted => {
                    wanted = more;
                }
                Ok(HeadProbe::NeedMore(_)) | Err(_) => {
                    let reason = format!("the beginning of {} cannot be read", segment.name());
                    return Err(LocateError::Internal(reason).into());
                }
            }
        }
    }

    /// Who wrote the files of a plan, and what they left.
    ///
    /// # Errors
    /// [`PlanError::Failed`].
    pub async fn written(&self, plan: &Plan) -> Result<Written, PlanError> {
        let mut written = Written::default();
        let last = plan.segments.len().saturating_sub(1);
        for (place, piece) in plan.segments.iter().enumerate() {
            let entry = self.entry(piece.seq).await?;
            // The last file is cut where the plan ends.
            if place != last && written.torn.is_none() && self.is_torn(&entry).await? {
                written.torn = Some(piece.file.to_owned());
            }
            let server_uuid = entry.segment.as_ref().and_then(|s| s.server_uuid);
            let is_known = |origin: &Origin| origin.server_uuid == server_uuid;
            // Of one server the first file is looked into, and the last: somebody may have changed its server_id.
            if place != last && written.origins.iter().any(is_known) {
                continue;
            }
            let segment = ArchivedSegment::of_entry(&entry)?;
            let origin = Origin {
                server_id: self.head(&segment).await?.server_id,
                server_uuid,
            };
            if !written.origins.contains(&origin) {
                written.origins.push(origin);
            }
        }
        Ok(written)
    }
}

impl PlanStream<'_> {
    /// The next bytes; `None` when all were given.
    ///
    /// # Errors
    /// [`PlanError::Failed`]. Nothing comes after it.
    pub async fn next(&mut self) -> Option<Result<Bytes, PlanError>> {
        match self.advance().await {
            Ok(bytes) => bytes.map(Ok),
            Err(error) => {
                self.place = self.plan.segments.len();
                self.open = Open::Nothing;
                Some(Err(error))
            }
        }
    }

    async fn advance(&mut self) -> Result<Option<Bytes>, PlanError> {
        loop {
            let Some(mut bytes) = self.read().await? else {
                return Ok(None);
            };
            let skipped = bytes.split_to(self.skip.min(bytes.len()));
            self.skip -= skipped.len();
            if !bytes.is_empty() {
                self.begun = true;
                return Ok(Some(bytes));
            }
        }
    }

    async fn read(&mut self) -> Result<Option<Bytes>, PlanError> {
        loop {
            match &mut self.open {
                Open::Whole(stream) => match stream.next().await {
                    Some(bytes) => return Ok(Some(bytes?)),
                    None => self.open = Open::Nothing,
                },
                Open::Part(segment, ranges) => match ranges.front_mut() {
                    Some(range) if range.is_empty() => drop(ranges.pop_front()),
                    Some(range) => {
                        let len = STEP_BYTES.min(range.end - range.start);
                        let bytes = self.planner.reader.read(segment, range.start, len).await?;
                        range.start += len;
                        return Ok(Some(bytes));
                    }
                    None => self.open = Open::Nothing,
                },
                Open::Nothing => match self.next_piece().await? {
                    Some(open) => self.open = open,
                    None => return Ok(None),
                },
            }
        }
    }

    async fn next_piece(&mut self) -> Result<Option<Open>, PlanError> {
        let Some(piece) = self.plan.segments.get(self.place) else {
            return Ok(None);
        };
        self.place += 1;
        self.skip = match (self.begun, self.plan.flavour) {
            (false, _) | (_, Flavour::MySql) => 0,
            (true, Flavour::MariaDb) => MAGIC_BYTES,
        };
        let mut range = piece.range.clone();
        let entry = self.planner.entry(piece.seq).await?;
        let segment = ArchivedSegment::of_entry(&entry)?;
        if range.end == piece.size
            && let Some(end) = self.planner.crashed_at(&entry).await?
        {
            range.end = end.clamp(range.start, range.end);
        }
        if range == (0..piece.size) {
            let stream = self.planner.reader.stream(&segment).await?;
            return Ok(Some(Open::Whole(Box::new(stream))));
        }
        let head = match range.start {
            0 => 0,
            from => self.planner.head(&segment).await?.end.min(from),
        };
        Ok(Some(Open::Part(Box::new(segment), [0..head, range].into())))
    }
}

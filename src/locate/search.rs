//! Finds a transaction inside one segment. Pure: it asks for ranges of the file and is given bytes.
//!
//! The segment index says between which two of its points the transaction stands: a megabyte at most, unless it is a point
//! itself, and then no byte is needed. What is asked for is a frame at a time, because a frame is what a store is asked for.

use super::Found;
use crate::binlog::{EventRef, FormatEvent, Point, Scanner, SegmentIndex, Sink, Transaction};
use crate::model::{Gtid, GtidSet, Micros};
use std::collections::VecDeque;
use std::ops::Range;

/// Which transaction of a segment is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The first in the file that was committed after a moment.
    After(Micros),
    /// The one with this GTID.
    Gtid(Gtid),
    /// The first in the file with one of these GTIDs.
    OneOf(GtidSet),
    /// The one that holds the byte at an offset; between two, the one behind it.
    At(u64),
    /// The last.
    Last,
}

/// A transaction that was found, and what stands before it in its file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// The transaction.
    pub found: Found,
    /// The one right before it, if a look at the file passed it.
    pub previous: Option<Found>,
    /// The latest commit time of all before it in the file; `None` if it is the first.
    pub latest_before: Option<Micros>,
}

/// What a search needs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These bytes of the file, all within one frame.
    Need(Range<u64>),
    /// Nothing: this is what was found.
    Done(Option<Sighting>),
}

/// A search in one segment.
pub struct Search {
    wanted: Wanted,
    format: Option<FormatEvent>,
    /// Where what can be read, and belongs to the history, ends.
    end: u64,
    frame_size: u64,
    stretches: VecDeque<Stretch>,
    scan: Option<Scan>,
    outcome: Option<Option<Sighting>>,
}

/// A part of the file that has to be looked through.
struct Stretch {
    /// Where a transaction begins.
    from: u64,
    /// No transaction that begins here or later is of interest.
    until: u64,
    /// What stands before it.
    before: Passed,
}

/// What a look has passed so far.
#[derive(Clone, Default)]
struct Passed {
    last: Option<Sighting>,
    latest: Option<Micros>,
}

/// A look through a stretch.
struct Scan {
    scanner: Scanner<Watch>,
    at: u64,
    until: u64,
}

/// Waits for the transaction.
struct Watch {
    wanted: Wanted,
    end: u64,
    passed: Passed,
    found: Option<Sighting>,
    event_at: u64,
}

impl Search {
    /// A search in the segment that `index` tells of, which can be read up to `end`.
    pub fn new(index: SegmentIndex, wanted: Wanted, end: u64, frame_size: u32) -> Search {
        let mut search = Search {
            wanted,
            format: index.format,
            end,
            frame_size: u64::from(frame_size.max(1)),
            stretches: VecDeque::new(),
            scan: None,
            outcome: None,
        };
        let mut points = index.points;
        points.retain(|point| point.end <= end);
        search.begin(&points);
        search
    }

    fn begin(&mut self, points: &[Point]) {
        let (Some(first), Some(_)) = (points.first(), &self.format) else {
            // No index: the whole file is looked through.
            self.stretches.push_back(Stretch {
                from: 0,
                until: self.end,
                before: Passed::default(),
            });
            return;
        };
        let before = |known: usize| points.get(known.saturating_sub(1)).unwrap_or(first);
        match &self.wanted {
            Wanted::After(time) => {
                let not_later = |p: &Point| p.latest.is_none_or(|latest| latest <= *time);
                let point = before(points.partition_point(not_later));
                match point.time > *time {
                    true => self.outcome = Some(Some(sighting(point))),
                    false => self.look_behind(point, self.end),
                }
            }
            Wanted::At(offset) => {
                let point = before(points.partition_point(|p| p.position <= *offset));
                match point.end > *offset {
                    true => self.outcome = Some(Some(sighting(point))),
                    false => self.look_behind(point, self.end),
                }
            }
            Wanted::Last => self.look_behind(points.last().unwrap_or(first), self.end),
            Wanted::Gtid(gtid) => {
                let gtid = gtid.clone();
                if let Some(point) = points.iter().find(|p| p.gtid.as_ref() == Some(&gtid)) {
                    self.outcome = Some(Some(sighting(point)));
                    return;
                }
                let ends = points.iter().skip(1).map(|p| p.position);
                for (point, until) in points.iter().zip(ends.chain([self.end])) {
                    if point.gtids.as_ref().is_none_or(|set| set.contains(&gtid)) {
                        self.look_behind(point, until);
                    }
                }
            }
            Wanted::OneOf(set) => {
                let set = set.clone();
                self.begin_one_of(points, &set);
            }
        }
    }

    fn begin_one_of(&mut self, points: &[Point], set: &GtidSet) {
        let ends = points.iter().skip(1).map(|p| p.position);
        for (point, until) in points.iter().zip(ends.chain([self.end])) {
            if point
                .gtids
                .as_ref()
                .is_some_and(|hull| !hull.intersects(set))
            {
                continue;
            }
            let is_one = point.gtid.as_ref().is_some_and(|gtid| set.contains(gtid));
            match (is_one, self.stretches.is_empty()) {
                (true, true) => {
                    self.outcome = Some(Some(sighting(point)));
                    return;
                }
                // One before it may be found: it is looked at in its turn, and nothing behind it.
                (true, false) => {
                    self.stretches.push_back(Stretch {
                        from: point.position,
                        until,
                        before: Passed {
                            latest: point.latest,
                            last: None,
                        },
                    });
                    return;
                }
                (false, _) => self.look_behind(point, until),
            }
        }
    }

    fn look_behind(&mut self, point: &Point, until: u64) {
        self.stretches.push_back(Stretch {
            from: point.end,
            until,
            before: Passed {
                latest: point.latest.max(Some(point.time)),
                last: Some(sighting(point)),
            },
        });
    }

    /// What is needed next. Asked again without having been given that, it says the same.
    pub fn step(&mut self) -> Step {
        loop {
            if let Some(outcome) = &self.outcome {
                return Step::Done(outcome.clone());
            }
            match self.scan.take() {
                Some(scan) => {
                    let watch = scan.scanner.sink();
                    if watch.found.is_some() {
                        self.outcome = Some(watch.found.clone());
                    } else if scan.at < self.end && watch.event_at < scan.until {
                        let need = scan.at..border(scan.at, self.frame_size).min(self.end);
                        self.scan = Some(scan);
                        return Step::Need(need);
                    } else if self.wanted == Wanted::Last {
                        self.outcome = Some(watch.passed.last.clone());
                    }
                }
                None => match self.stretches.pop_front() {
                    Some(stretch) => self.scan = self.scan_of(stretch),
                    None => self.outcome = Some(None),
                },
            }
        }
    }

    fn scan_of(&self, stretch: Stretch) -> Option<Scan> {
        let watch = Watch {
            wanted: self.wanted.clone(),
            end: self.end,
            passed: stretch.before,
            found: None,
            event_at: 0,
        };
        let scanner = match (stretch.from, &self.format) {
            (0, _) | (_, None) => Some(Scanner::new(watch)),
            (from, Some(format)) => Scanner::resume(watch, format, from),
        };
        Some(Scan {
            scanner: scanner?,
            at: stretch.from,
            until: stretch.until,
        })
    }

    /// Takes the bytes that were asked for; fewer of them are the file's end.
    pub fn give(&mut self, bytes: &[u8]) {
        let Some(scan) = &mut self.scan else { return };
        scan.at += bytes.len() as u64;
        let refused = scan.scanner.push(bytes).is_err() || scan.scanner.damage().is_some();
        if refused || bytes.is_empty() {
            scan.at = self.end;
        }
    }
}

impl Sink for Watch {
    fn transaction(&mut self, transaction: &Transaction) {
        if self.found.is_some() || transaction.end > self.end {
            return;
        }
        let sighting = Sighting {
            found: Found::from(transaction),
            previous: self.passed.last.take().map(|last| last.found),
            latest_before: self.passed.latest,
        };
        self.passed.latest = self.passed.latest.max(Some(transaction.commit_time));
        if self.wanted.is(&sighting.found) {
            self.found = Some(sighting);
        } else {
            self.passed.last = Some(sighting);
        }
    }

    fn event(&mut self, event: &EventRef) {
        self.event_at = event.position;
    }
}

impl Wanted {
    /// Whether `found` is it, all before it in the stretch not being it.
    fn is(&self, found: &Found) -> bool {
        match self {
            Wanted::After(time) => found.commit_time > *time,
            Wanted::Gtid(gtid) => found.gtid.as_ref() == Some(gtid),
            Wanted::OneOf(set) => found.gtid.as_ref().is_some_and(|gtid| set.contains(gtid)),
            Wanted::At(offset) => found.end > *offset,
            Wanted::Last => false,
        }
    }
}

/// Where the frame that holds the byte at `offset` ends.
pub(super) fn border(offset: u64, frame_size: u64) -> u64 {
    (offset / frame_size + 1) * frame_size
}

fn sighting(point: &Point) -> Sighting {
    Sighting {
        found: Found {
            start: point.position,
            end: point.end,
            gtid: point.gtid.clone(),
            commit_time: point.time,
        },
        previous: None,
        latest_before: point.latest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::testing::{BinlogBuilder, mysql_gtid};
    use crate::binlog::{POINT_SPACING_BYTES, Summary};
    use proptest::prelude::*;

    const FRAME: u32 = 1 << 20;

    #[derive(Default)]
    struct All(Vec<Found>);

    impl Sink for All {
        fn transaction(&mut self, transaction: &Transaction) {
            self.0.push(Found::from(transaction));
        }
    }

    /// A file of transactions with these row bytes, numbers and commit times (µs).
    fn file(transactions: &[(usize, u64, i64)]) -> (Vec<u8>, Summary, Vec<Found>) {
        let mut builder = BinlogBuilder::mysql();
        for (bytes, number, time) in transactions {
            let commit = Some(Micros(1_700_000_000_000_000 + time));
            builder.transaction(&mysql_gtid(1, *number), commit, *bytes);
        }
        builder.rotate("binlog.000002");
        let bytes = builder.finish();
        let mut scanner = Scanner::new(All::default());
        scanner.push(&bytes).expect("a binlog");
        let (summary, all) = scanner.finish();
        (bytes, summary.expect("a binlog"), all.0)
    }

    /// Runs a search; what it found, and how many frames it asked for.
    fn run(bytes: &[u8], index: &SegmentIndex, wanted: Wanted) -> (Option<Sighting>, usize) {
        let mut search = Search::new(index.clone(), wanted, bytes.len() as u64, FRAME);
        let mut asked = std::collections::BTreeSet::new();
        loop {
            match search.step() {
                Step::Done(found) => return (found, asked.len()),
                Step::Need(range) => {
                    let frame = range.start / u64::from(FRAME);
                    assert_eq!(frame, (range.end - 1) / u64::from(FRAME), "one frame");
                    asked.insert(frame);
                    search.give(&bytes[range.start as usize..range.end as usize]);
                }
            }
        }
    }

    fn after(all: &[Found], time: Micros) -> Option<&Found> {
        all.iter().find(|found| found.commit_time > time)
    }

    #[test]
    fn a_search_reads_a_frame_or_two_of_a_large_file_and_none_for_a_long_transaction() {
        let mut shape: Vec<(usize, u64, i64)> = Vec::new();
        for n in 0..100_i64 {
            let bytes = if n == 50 { 9 << 20 } else { 100_000 };
            shape.push((bytes, n as u64 + 1, n * 10));
        }
        let (bytes, summary, all) = file(&shape);
        let index = &summary.index;
        for (n, found) in all.iter().enumerate() {
            let time = Micros(found.commit_time.0 - 1);
            for wanted in [
                Wanted::After(time),
                Wanted::Gtid(mysql_gtid(1, n as u64 + 1)),
                Wanted::At(found.start),
                Wanted::At(found.end - 1),
            ] {
                let (sighting, frames) = run(&bytes, index, wanted.clone());
                let sighting = sighting.expect("it is there");
                assert_eq!(sighting.found, *found, "{wanted:?}");
                assert!(frames <= 2, "{wanted:?}: {frames} frames");
                let latest = all[..n].iter().map(|f| f.commit_time).max();
                assert_eq!(sighting.latest_before, latest);
                if let Some(previous) = sighting.previous {
                    assert_eq!(previous, all[n - 1]);
                }
            }
        }
        let (last, frames) = run(&bytes, index, Wanted::Last);
        assert_eq!(last.map(|s| s.found).as_ref(), all.last());
        assert!(frames <= 2);
        let (long, frames) = run(&bytes, index, Wanted::Gtid(mysql_gtid(1, 51)));
        let long = long.expect("there").found;
        assert!(long.end - long.start > 8 * POINT_SPACING_BYTES && frames == 0);
        for wanted in [
            Wanted::After(Micros(i64::MAX)),
            Wanted::Gtid(mysql_gtid(1, 101)),
            Wanted::Gtid(mysql_gtid(2, 1)),
            Wanted::At(bytes.len() as u64),
        ] {
            assert_eq!(run(&bytes, index, wanted).0, None);
        }
    }

    #[test]
    fn without_an_index_the_file_is_looked_through() {
        let (bytes, summary, all) = file(&[(100, 1, 10), (2 << 20, 2, 20), (100, 3, 15)]);
        for index in [
            SegmentIndex::default(),
            SegmentIndex {
                format: None,
                ..summary.index.clone()
            },
        ] {
            let (found, frames) = run(&bytes, &index, Wanted::Gtid(mysql_gtid(1, 3)));
            assert_eq!(found.map(|s| s.found).as_ref(), all.last());
            assert_eq!(frames, 3);
            let (found, _) = run(&bytes, &index, Wanted::Last);
            assert_eq!(found.map(|s| s.found).as_ref(), all.last());
        }
    }

    #[test]
    fn what_lies_behind_the_end_is_not_there() {
        let (bytes, summary, all) = file(&[(100, 1, 10), (100, 2, 20), (100, 3, 30)]);
        let mut search = Search::new(summary.index, Wanted::Last, all[2].end - 1, FRAME);
        let found = loop {
            match search.step() {
                Step::Done(found) => break found,
                Step::Need(range) => {
                    search.give(&bytes[range.start as usize..range.end as usize]);
                }
            }
        };
        assert_eq!(found.map(|s| s.found).as_ref(), all.get(1));
    }

    #[test]
    fn a_file_that_is_shorter_than_its_record_ends_the_search() {
        let (_, summary, _) = file(&[(100, 1, 10), (100, 2, 20)]);
        let mut search = Search::new(summary.index, Wanted::Last, 1 << 30, FRAME);
        let mut steps = 0;
        while let Step::Need(_) = search.step() {
            search.give(&[]);
            steps += 1;
        }
        assert_eq!(steps, 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn times_and_numbers_in_any_order_are_found_as_by_looking_at_each(
            shape in proptest::collection::vec(
                (prop_oneof![0usize..1000, 200_000usize..400_000, Just(2 << 20)], 0i64..12), 1..14),
            swaps in proptest::collection::vec(0usize..14, 14),
        ) {
            let mut numbers: Vec<u64> = (1..=shape.len() as u64).collect();
            for (n, other) in swaps.iter().enumerate().take(shape.len()) {
                numbers.swap(n, other % shape.len());
            }
            let shape: Vec<_> = shape.iter().zip(&numbers).map(|((b, t), n)| (*b, *n, *t)).collect();
            let (bytes, summary, all) = file(&shape);
            for time in -1..13 {
                let time = Micros(1_700_000_000_000_000 + time);
                let found = run(&bytes, &summary.index, Wanted::After(time)).0.map(|s| s.found);
                prop_assert_eq!(found.as_ref(), after(&all, time));
            }
            for number in 0..=shape.len() as u64 + 1 {
                let gtid = mysql_gtid(1, number);
                let expected = all.iter().find(|f| f.gtid.as_ref() == Some(&gtid));
                let found = run(&bytes, &summary.index, Wanted::Gtid(gtid.clone())).0.map(|s| s.found);
                prop_assert_eq!(found.as_ref(), expected);
            }
            for first in 0..=shape.len() as u64 + 1 {
                let mut set = GtidSet::new();
                set.extend((first..first + 3).step_by(2).filter(|n| *n > 0).map(|n| mysql_gtid(1, n)));
                let expected = all.iter().find(|f| f.gtid.as_ref().is_some_and(|gtid| set.contains(gtid)));
                let found = run(&bytes, &summary.index, Wanted::OneOf(set.clone())).0.map(|s| s.found);
                prop_assert_eq!(found.as_ref(), expected);
            }
            for offset in all.iter().flat_map(|f| [f.start - 1, f.start, f.end - 1, f.end]) {
                let expected = all.iter().find(|f| f.end > offset);
                let found = run(&bytes, &summary.index, Wanted::At(offset)).0.map(|s| s.found);
                prop_assert_eq!(found.as_ref(), expected);
            }
        }
    }
}

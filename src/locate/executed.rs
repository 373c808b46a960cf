//! The GTIDs that stand before a place in one segment. Pure: it asks for ranges of the file and is given bytes.
//!
//! The record has the GTIDs of the whole segment, the segment index the smallest and the largest of each stretch. Where those
//! before the place and those behind it do not overlap, as where one server counted, only the stretch that the place stands in
//! is looked through.

use super::search::border;
use crate::binlog::{EventRef, FormatEvent, Point, Scanner, SegmentIndex, Sink, Transaction};
use crate::model::{GtidSet, GtidSetBuilder};
use std::collections::VecDeque;
use std::ops::Range;

/// A stretch: where a transaction begins, and where the next stretch does.
type Stretch = Range<u64>;

/// A gathering of GTIDs in one segment.
pub(super) struct Executed {
    format: Option<FormatEvent>,
    /// No byte from here on is needed.
    end: u64,
    frame_size: u64,
    stretches: VecDeque<Stretch>,
    scan: Option<(Scanner<Gather>, Stretch)>,
    /// What is known without a look.
    known: GtidSet,
    found: GtidSetBuilder,
}

/// What a gathering needs next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// These bytes of the file, all within one frame.
    Need(Range<u64>),
    /// Nothing: this is what stands before the place.
    Done(GtidSet),
}

/// Takes the GTIDs of transactions that begin before the end of a stretch.
#[derive(Default)]
struct Gather {
    found: Vec<crate::model::Gtid>,
    until: u64,
    event_at: u64,
}

impl Executed {
    /// What of `gtids`, all that the segment has, stands before `position`. The segment can be read up to `end`.
    pub(super) fn new(
        index: SegmentIndex,
        gtids: &GtidSet,
        position: u64,
        end: u64,
        frame_size: u32,
    ) -> Executed {
        let mut executed = Executed {
            format: index.format,
            end,
            frame_size: u64::from(frame_size.max(1)),
            stretches: VecDeque::new(),
            scan: None,
            known: GtidSet::new(),
            found: GtidSetBuilder::default(),
        };
        match (&executed.format, index.points.as_slice()) {
            (Some(_), [first, ..]) if position <= first.position => {}
            (Some(_), points @ [_, ..]) => executed.begin(points, gtids, position),
            _ => executed.stretches.push_back(0..position),
        }
        executed
    }

    fn begin(&mut self, points: &[Point], gtids: &GtidSet, position: u64) {
        let before = points.partition_point(|point| point.position < position);
        let (inside, rest) = points.split_at(before);
        let Some((last, whole)) = inside.split_last() else {
            return;
        };
        // Of these some may stand behind the place.
        let mut later = GtidSet::new();
        let mut any = false;
        for point in rest.iter().chain([last]) {
            match &point.gtids {
                Some(hull) => later.union_with(hull),
                None => any = true,
            }
        }
        let ends = inside.iter().skip(1).map(|next| next.position);
        for (point, end) in whole.iter().zip(ends) {
            match &point.gtids {
                Some(hull) if !any && !hull.common(gtids).intersects(&later) => {
                    self.known.union_with(&hull.common(gtids));
                }
                _ => self.stretches.push_back(point.position..end),
            }
        }
        self.stretches.push_back(last.position..position);
    }

    /// What is needed next. Asked again without having been given that, it says the same.
    pub(super) fn step(&mut self) -> Step {
        loop {
            if let Some((scanner, stretch)) = self.scan.take() {
                let at = scanner.size();
                if at < self.end && scanner.sink().event_at < stretch.end {
                    let need = at..border(at, self.frame_size).min(self.end);
                    self.scan = Some((scanner, stretch));
                    return Step::Need(need);
                }
                for gtid in &scanner.sink().found {
                    self.found.insert(gtid);
                }
            }
            match self.stretches.pop_front() {
                Some(stretch) => self.scan = self.scan_of(stretch),
                None => {
                    let mut all = std::mem::take(&mut self.found).finish();
                    all.union_with(&self.known);
                    self.known = all.clone();
                    return Step::Done(all);
                }
            }
        }
    }

    fn scan_of(&self, stretch: Stretch) -> Option<(Scanner<Gather>, Stretch)> {
        let gather = Gather {
            until: stretch.end,
            ..Gather::default()
        };
        let scanner = match (stretch.start, &self.format) {
            (0, _) | (_, None) => Some(Scanner::new(gather)),
            (from, Some(format)) => Scanner::resume(gather, format, from),
        };
        Some((scanner?, stretch))
    }

    /// Takes the bytes that were asked for; fewer of them are the file's end.
    pub(super) fn give(&mut self, bytes: &[u8]) {
        let Some((scanner, _)) = &mut self.scan else {
            return;
        };
        let refused = scanner.push(bytes).is_err() || scanner.damage().is_some();
        if refused || bytes.is_empty() {
            self.end = 0;
        }
    }
}

impl Sink for Gather {
    fn transaction(&mut self, transaction: &Transaction) {
        if transaction.start < self.until {
            self.found.extend(transaction.gtid.clone());
        }
    }

    fn event(&mut self, event: &EventRef) {
        self.event_at = event.position;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::testing::{BinlogBuilder, mysql_gtid};
    use crate::model::Micros;
    use proptest::prelude::*;

    const FRAME: u32 = 1 << 20;

    /// A file of transactions with these servers, numbers and row bytes; where each begins.
    fn file(shape: &[(u8, u64, usize)]) -> (Vec<u8>, SegmentIndex, GtidSet, Vec<u64>) {
        #[derive(Default)]
        struct All(Vec<Transaction>);
        impl Sink for All {
            fn transaction(&mut self, transaction: &Transaction) {
                self.0.push(transaction.clone());
            }
        }
        let mut builder = BinlogBuilder::mysql();
        for (server, number, bytes) in shape {
            let time = Some(Micros(1_700_000_000_000_000));
            builder.transaction(&mysql_gtid(*server, *number), time, *bytes);
        }
        builder.rotate("binlog.000002");
        let bytes = builder.finish();
        let mut scanner = Scanner::new(All::default());
        scanner.push(&bytes).expect("a binlog");
        let (summary, all) = scanner.finish();
        let summary = summary.expect("a binlog");
        let starts = all.0.iter().map(|t| t.start).collect();
        (bytes, summary.index, summary.gtids, starts)
    }

    /// What stands before `position`, and how many frames were looked at.
    fn before(
        (bytes, index, gtids, _): &(Vec<u8>, SegmentIndex, GtidSet, Vec<u64>),
        position: u64,
    ) -> (GtidSet, usize) {
        let mut executed = Executed::new(index.clone(), gtids, position, bytes.len() as u64, FRAME);
        let mut asked = std::collections::BTreeSet::new();
        loop {
            match executed.step() {
                Step::Done(found) => return (found, asked.len()),
                Step::Need(range) => {
                    asked.insert(range.start / u64::from(FRAME));
                    executed.give(&bytes[range.start as usize..range.end as usize]);
                }
            }
        }
    }

    fn expected(shape: &[(u8, u64, usize)], count: usize) -> GtidSet {
        let mut set = GtidSet::new();
        set.extend(shape[..count].iter().map(|(s, n, _)| mysql_gtid(*s, *n)));
        set
    }

    #[test]
    fn of_one_server_a_stretch_is_looked_through() {
        let shape: Vec<_> = (1..=200).map(|n| (1, n, 100_000)).collect();
        let file = file(&shape);
        for (n, start) in file.3.iter().enumerate() {
            let (found, frames) = before(&file, *start);
            assert_eq!(found, expected(&shape, n));
            assert!(frames <= 3, "{frames} frames");
        }
        let (all, _) = before(&file, file.0.len() as u64);
        assert_eq!(all, expected(&shape, 200));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn in_any_order_it_is_what_stands_before(
            sizes in proptest::collection::vec(
                (1u8..3, prop_oneof![0usize..1000, 300_000usize..700_000, Just(2 << 20)]), 1..14),
            swaps in proptest::collection::vec(0usize..14, 14),
        ) {
            let mut numbers: Vec<u64> = (1..=sizes.len() as u64).collect();
            for (n, other) in swaps.iter().enumerate().take(sizes.len()) {
                numbers.swap(n, other % sizes.len());
            }
            let shape: Vec<_> = sizes.iter().zip(&numbers).map(|((s, b), n)| (*s, *n, *b)).collect();
            let with_index = file(&shape);
            let without = (
                with_index.0.clone(), SegmentIndex::default(), with_index.2.clone(), with_index.3.clone());
            for (n, start) in with_index.3.iter().enumerate() {
                prop_assert_eq!(before(&with_index, *start).0, expected(&shape, n));
                prop_assert_eq!(before(&without, *start).0, expected(&shape, n));
            }
            let size = with_index.0.len() as u64;
            prop_assert_eq!(before(&with_index, size).0, expected(&shape, shape.len()));
        }
    }
}

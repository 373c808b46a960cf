//! Builds a segment's index from its transactions and findings.

use super::FormatEvent;
use super::findings::Findings;
use super::summary::{DdlStatement, Point, SegmentIndex, Transaction};
use crate::model::{Gtid, GtidSet, GtidSource, Micros};

/// Distance between points: one read of a frame or two finds any transaction.
pub const POINT_SPACING_BYTES: u64 = 1024 * 1024;
/// Most points of one segment. A larger segment gets a larger spacing, so that its index stays a few MiB.
pub const POINTS_MAX: usize = 65_536;
/// Most GTID sources that a point tells of: a stretch of more, such as one of a hundred tags, is looked through for any.
pub const POINT_SOURCES_MAX: usize = 16;

/// Points and statements of whole transactions so far.
#[derive(Debug)]
pub(super) struct IndexBuilder {
    points: Vec<Point>,
    spacing_bytes: u64,
    /// The latest commit time so far.
    latest: Option<Micros>,
    /// What stands from the last point on.
    stretch: Stretch,
    ddl: Vec<DdlStatement>,
    /// What is found as events come.
    pub findings: Findings,
    /// The format description.
    pub format: Option<FormatEvent>,
}

impl Default for IndexBuilder {
    fn default() -> IndexBuilder {
        IndexBuilder {
            points: Vec::new(),
            spacing_bytes: POINT_SPACING_BYTES,
            latest: None,
            stretch: Stretch::default(),
            ddl: Vec::new(),
            findings: Findings::default(),
            format: None,
        }
    }
}

impl IndexBuilder {
    /// A transaction is over.
    pub(super) fn transaction(&mut self, transaction: &Transaction) {
        // A long one is a point of its own: no search ever has to read through it.
        let long = transaction.end - transaction.start >= self.spacing_bytes;
        let due = self
            .points
            .last()
            .is_none_or(|last| transaction.start - last.position >= self.spacing_bytes);
        if due || long {
            self.close_stretch();
            self.points.push(Point {
                position: transaction.start,
                end: transaction.end,
                time: transaction.commit_time,
                latest: self.latest,
                gtid: transaction.gtid.clone(),
                gtids: None,
            });
            if self.points.len() > POINTS_MAX {
                self.thin();
            }
        }
        self.latest = self.latest.max(Some(transaction.commit_time));
        if let Some(gtid) = &transaction.gtid {
            self.stretch.note(gtid);
        }
        for statement in self.findings.take_ddl() {
            self.ddl.push(DdlStatement {
                position: transaction.start,
                time: transaction.commit_time,
                gtid: transaction.gtid.clone(),
                database: statement.database,
                sql: statement.sql,
                cut: statement.cut,
            });
        }
    }

    /// The latest commit time so far.
    pub(super) fn latest(&self) -> Option<Micros> {
        self.latest
    }

    fn close_stretch(&mut self) {
        let gtids = std::mem::take(&mut self.stretch).finish();
        if let Some(point) = self.points.last_mut() {
            point.gtids = gtids;
        }
    }

    /// Doubles the spacing and drops what is too close then. The last point stays: it is open.
    fn thin(&mut self) {
        self.spacing_bytes = self.spacing_bytes.saturating_mul(2);
        let spacing = self.spacing_bytes;
        let open = self.points.pop();
        let mut last: Option<u64> = None;
        merge_points(&mut self.points, |point| {
            let far = last.is_none_or(|last| point.position - last >= spacing);
            let keep = far || point.end - point.position >= spacing;
            if keep {
                last = Some(point.position);
            }
            keep
        });
        self.points.extend(open);
    }

    /// The index.
    pub(super) fn finish(mut self) -> SegmentIndex {
        self.close_stretch();
        SegmentIndex {
            format: self.format,
            tables: self.findings.table_names(),
            points: self.points,
            ddl: self.ddl,
            ddl_incomplete: self.findings.ddl_incomplete,
            tables_incomplete: self.findings.tables_incomplete,
        }
    }
}

impl SegmentIndex {
    /// Drops every second point; the first stays. What a dropped one told of the transactions behind it, the one before
    /// it tells.
    pub fn halve_points(&mut self) {
        let mut place = 0_usize;
        merge_points(&mut self.points, |_| {
            place += 1;
            !place.is_multiple_of(2)
        });
    }
}

/// Keeps the points that `keep` says, and the first.
fn merge_points(points: &mut Vec<Point>, mut keep: impl FnMut(&Point) -> bool) {
    let mut kept: Vec<Point> = Vec::with_capacity(points.len() / 2 + 1);
    for point in points.drain(..) {
        let keep = keep(&point);
        match kept.last_mut() {
            Some(last) if !keep => last.gtids = together(last.gtids.take(), point.gtids),
            _ => kept.push(point),
        }
    }
    *points = kept;
}

/// What two stretches, one behind the other, hold.
fn together(first: Option<GtidSet>, second: Option<GtidSet>) -> Option<GtidSet> {
    let mut all = first?;
    all.union_with(&second?);
    let all = all.into_hull();
    (all.iter().count() <= POINT_SOURCES_MAX).then_some(all)
}

/// For each source the smallest and largest number seen.
#[derive(Debug, Default)]
struct Stretch {
    ranges: Vec<(GtidSource, u64, u64)>,
    too_many: bool,
}

impl Stretch {
    fn note(&mut self, gtid: &Gtid) {
        let mut known = self.ranges.iter_mut();
        if let Some((_, first, last)) = known.find(|(source, ..)| *source == gtid.source) {
            *first = gtid.number.min(*first);
            *last = gtid.number.max(*last);
        } else if self.ranges.len() < POINT_SOURCES_MAX {
            let range = (gtid.source.clone(), gtid.number, gtid.number);
            self.ranges.push(range);
        } else {
            self.too_many = true;
        }
    }

    fn finish(self) -> Option<GtidSet> {
        let mut set = GtidSet::new();
        for (source, first, last) in self.ranges {
            set.insert_run(source, first, last);
        }
        (!self.too_many).then_some(set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transaction(start: u64, length: u64, number: u64, time: i64) -> Transaction {
        Transaction {
            start,
            end: start + length,
            gtid: Some(crate::binlog::testing::mysql_gtid(1, number)),
            commit_time: Micros(time),
            commit_time_exact: true,
        }
    }

    #[test]
    fn points_stay_within_their_bound_and_keep_the_first() {
        let mut builder = IndexBuilder::default();
        let all = 3 * POINTS_MAX as u64;
        for n in 0..all {
            builder.transaction(&transaction(4 + n * POINT_SPACING_BYTES, 100, n + 1, 1));
        }
        let index = builder.finish();
        assert!(index.points.len() <= POINTS_MAX && index.points.len() > POINTS_MAX / 4);
        assert_eq!(index.points[0].position, 4);
        let spacing = index.points[1].position - index.points[0].position;
        assert!(
            index
                .points
                .windows(2)
                .all(|two| two[1].position - two[0].position >= spacing)
        );
        // Whatever was dropped, each GTID is where a point says.
        let told: u64 = index
            .points
            .iter()
            .map(|p| p.gtids.as_ref().expect("one source").count())
            .sum();
        assert_eq!(told, all);
    }

    #[test]
    fn a_point_tells_the_latest_commit_before_it_and_the_numbers_behind_it() {
        let mut builder = IndexBuilder::default();
        let apart = POINT_SPACING_BYTES;
        for (n, (number, time)) in (0..).zip([(5, 70), (3, 50), (9, 90), (4, 60)]) {
            builder.transaction(&transaction(4 + n * apart / 2, 100, number, time));
        }
        assert_eq!(builder.latest(), Some(Micros(90)));
        let points = builder.finish().points;
        let told: Vec<_> = points
            .iter()
            .map(|p| (p.position, p.time.0, p.latest.map(|t| t.0)))
            .collect();
        assert_eq!(told, [(4, 70, None), (4 + apart, 90, Some(70))]);
        let gtids = |n: usize| points[n].gtids.as_ref().expect("few").to_string();
        assert!(gtids(0).ends_with(":3-5") && gtids(1).ends_with(":4-9"));
    }

    #[test]
    fn a_long_transaction_and_what_follows_it_are_points() {
        let mut builder = IndexBuilder::default();
        builder.transaction(&transaction(4, 100, 1, 1));
        builder.transaction(&transaction(104, 5 * POINT_SPACING_BYTES, 2, 2));
        let behind = 104 + 5 * POINT_SPACING_BYTES;
        builder.transaction(&transaction(behind, 100, 3, 3));
        let points = builder.finish().points;
        let places: Vec<_> = points.iter().map(|p| (p.position, p.end)).collect();
        assert_eq!(places, [(4, 104), (104, behind), (behind, behind + 100)]);
    }

    #[test]
    fn a_stretch_of_too_many_sources_may_hold_any() {
        let mut builder = IndexBuilder::default();
        for n in 0..=POINT_SOURCES_MAX as u64 {
            let mut one = transaction(4 + n * 100, 100, 1, 1);
            one.gtid = Some(crate::binlog::testing::mysql_gtid(n as u8, 1));
            builder.transaction(&one);
        }
        assert_eq!(builder.finish().points[0].gtids, None);
    }

    #[test]
    fn halving_keeps_the_first_point_and_what_the_others_told() {
        let mut builder = IndexBuilder::default();
        for n in 0..5 {
            builder.transaction(&transaction(4 + n * POINT_SPACING_BYTES, 100, n + 1, 1));
        }
        let mut index = builder.finish();
        index.halve_points();
        let told: Vec<_> = index
            .points
            .iter()
            .map(|p| p.gtids.as_ref().expect("one source").count())
            .collect();
        assert_eq!(told, [2, 2, 1]);
    }
}

//! Builds a segment's index from its transactions and findings.

use super::findings::Findings;
use super::summary::{DdlStatement, Point, SegmentIndex, Transaction};

/// Distance between points: one read of a frame finds any transaction.
pub const POINT_SPACING_BYTES: u64 = 1024 * 1024;
/// Most points of one segment. A larger segment gets a larger spacing, so that its index stays a few MiB.
pub const POINTS_MAX: usize = 65_536;

/// Points and statements of whole transactions so far.
#[derive(Debug)]
pub(super) struct IndexBuilder {
    points: Vec<Point>,
    spacing_bytes: u64,
    ddl: Vec<DdlStatement>,
    /// What is found as events come.
    pub findings: Findings,
}

impl Default for IndexBuilder {
    fn default() -> IndexBuilder {
        IndexBuilder {
            points: Vec::new(),
            spacing_bytes: POINT_SPACING_BYTES,
            ddl: Vec::new(),
            findings: Findings::default(),
        }
    }
}

impl IndexBuilder {
    /// A transaction is over.
    pub(super) fn transaction(&mut self, transaction: &Transaction) {
        let due = self
            .points
            .last()
            .is_none_or(|last| transaction.start - last.position >= self.spacing_bytes);
        if due {
            self.points.push(Point {
                position: transaction.start,
                time: transaction.commit_time,
                gtid: transaction.gtid.clone(),
            });
            if self.points.len() > POINTS_MAX {
                self.thin();
            }
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

    /// Doubles the spacing and drops what is too close then.
    fn thin(&mut self) {
        self.spacing_bytes = self.spacing_bytes.saturating_mul(2);
        let mut last: Option<u64> = None;
        self.points.retain(|point| {
            let keep = last.is_none_or(|last| point.position - last >= self.spacing_bytes);
            if keep {
                last = Some(point.position);
            }
            keep
        });
    }

    /// The index.
    pub(super) fn finish(self) -> SegmentIndex {
        SegmentIndex {
            tables: self.findings.table_names(),
            points: self.points,
            ddl: self.ddl,
            ddl_incomplete: self.findings.ddl_incomplete,
            tables_incomplete: self.findings.tables_incomplete,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Micros;

    #[test]
    fn points_stay_within_their_bound_and_keep_the_first() {
        let mut builder = IndexBuilder::default();
        for n in 0..3 * POINTS_MAX as u64 {
            let start = 4 + n * POINT_SPACING_BYTES;
            builder.transaction(&Transaction {
                start,
                end: start + 100,
                gtid: None,
                commit_time: Micros(1),
                commit_time_exact: false,
            });
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
    }
}

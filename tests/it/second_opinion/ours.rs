//! What our scanner says of a binlog, in the terms of the other readers.

use super::{Event, Opinion, TransactionStart, mysql_common};
use ::mysql_common::binlog::consts::EventType;
use binlogfs::binlog::{EventRef, Scanner, Sink, Summary, Transaction};
use std::path::Path;

/// Pushed at a time: small and odd, so that events lie across the pieces' borders.
const PIECE_BYTES: usize = 4099;

/// Reads `file`, which must be a binlog.
pub fn opinion(file: &Path) -> (Opinion, Summary) {
    let bytes = std::fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let mut scanner = Scanner::new(Collector::default());
    for piece in bytes.chunks(PIECE_BYTES) {
        let pushed = scanner.push(piece);
        pushed.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
    let (summary, Collector(mut opinion)) = scanner.finish();
    let summary = summary.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    opinion.previous_gtids = summary.previous_gtids.clone();
    opinion.tables = summary.index.tables.iter().cloned().collect();
    opinion.times = summary
        .min_time
        .zip(summary.max_time)
        .map(|(min, max)| (min.0, max.0));
    (opinion, summary)
}

#[derive(Default)]
struct Collector(Opinion);

impl Sink for Collector {
    fn event(&mut self, event: &EventRef) {
        let kind = EventType::try_from(event.type_code).expect("MySQL's own event types");
        self.0.events.push(Event {
            position: event.position,
            end: event.position + u64::from(event.size),
            kind: mysql_common::kind(kind),
            timestamp: event.timestamp,
            server_id: event.server_id,
        });
    }

    fn transaction(&mut self, transaction: &Transaction) {
        self.0.transactions.push(TransactionStart {
            position: transaction.start,
            gtid: transaction.gtid.as_ref().map(ToString::to_string),
            commit_micros: transaction
                .commit_time_exact
                .then_some(transaction.commit_time.0),
        });
    }
}

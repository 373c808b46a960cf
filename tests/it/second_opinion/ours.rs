//! What our scanner says of a binlog, in the terms of the other readers.

use super::{Event, Opinion, TransactionStart, mysql_common, scanned};
use ::mysql_common::binlog::consts::EventType;
use binlogfs::binlog::{EventRef, Sink, Summary, Transaction};
use std::path::Path;

/// Reads `file`, which must be a binlog.
pub fn opinion(file: &Path) -> (Opinion, Summary) {
    let (summary, Collector(mut opinion)) = scanned(file, Collector::default());
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

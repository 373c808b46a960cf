//! What of a segment stands before a fence in it.

use crate::binlog::{Scanner, Sink, Transaction};
use crate::cache::{ArchivedSegment, SegmentReader};
use crate::ledger::Entry;
use crate::model::{GtidSet, GtidSetBuilder, Micros};
use anyhow::{Context as _, Result};

/// Transactions of a segment before a position.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// Their GTIDs.
    pub gtids: GtidSet,
    /// How many there are.
    pub transactions: u64,
    /// The latest of their commit times.
    pub latest_commit: Option<Micros>,
}

/// Takes in the transactions before a position.
struct Before {
    position: u64,
    kept: Kept,
    found: GtidSetBuilder,
}

impl Sink for Before {
    fn transaction(&mut self, transaction: &Transaction) {
        if transaction.start < self.position {
            self.kept.transactions += 1;
            self.kept.latest_commit = self.kept.latest_commit.max(Some(transaction.commit_time));
            if let Some(gtid) = &transaction.gtid {
                self.found.insert(gtid);
            }
        }
    }
}

/// What of a segment stands before `position`. Read out of its bytes, unless all of it does.
pub(super) async fn kept(reader: &SegmentReader, entry: &Entry, position: u64) -> Result<Kept> {
    let segment = entry
        .segment
        .as_ref()
        .context("a fence stands in a segment")?;
    if position >= entry.end() {
        return Ok(Kept {
            gtids: entry.gtids().cloned().unwrap_or_default(),
            transactions: entry.transactions(),
            latest_commit: segment.latest_commit,
        });
    }
    let mut stream = reader.stream(&ArchivedSegment::of_entry(entry)?).await?;
    let mut scanner = Scanner::new(Before {
        position,
        kept: Kept::default(),
        found: GtidSetBuilder::default(),
    });
    while stream.position() < position
        && let Some(bytes) = stream.next().await
    {
        scanner.push(&bytes?)?;
    }
    let (_, before) = scanner.finish();
    Ok(Kept {
        gtids: before.found.finish(),
        ..before.kept
    })
}

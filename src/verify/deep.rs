//! Every byte of segments: read to the end, where the SHA-256 is compared, and scanned again, so that the record says what they say.
//!
//! Several segments are read at a time, so that a processor that waits for one works at another: within one segment, hashing and
//! scanning come one after the other. What is found is told in the order of the segments all the same.

use super::finding::{Finding, FindingKind};
use super::segment::Segment;
use crate::binlog::{Scanner, Summary};
use crate::cache::{ArchivedSegment, Cause, ReadError, SegmentReader};
use crate::index::Index;
use crate::ledger::{Entry, SegmentRecord};
use crate::store::SharedStore;
use crate::sync::Pace;
use crate::telemetry;
use anyhow::Result;
use futures::StreamExt as _;
use std::sync::Arc;

/// Segments read at a time, at most: each holds some 40 MiB of what was read ahead.
const AT_ONCE_MAX: usize = 4;

/// Who wants to know how far it is: called with the bytes read and the segment's name.
pub type OnRead = Arc<dyn Fn(u64, &str) + Send + Sync>;

/// How segments are read.
#[derive(Clone)]
pub struct Reading {
    /// The reader of the store that is looked over.
    pub reader: Arc<SegmentReader>,
    /// Makes a reader of another store with the same keys.
    pub reader_of: Arc<dyn Fn(SharedStore) -> SegmentReader + Send + Sync>,
    /// Limits what is asked of the store.
    pub pace: Arc<Pace>,
    /// Who wants to know how far it is.
    pub on_read: OnRead,
}

/// Reads `segments`, of which `index` knows the records, and calls `each` with each and what is wrong with it, in their order.
pub async fn read_all<'a>(
    reading: &Reading,
    index: &Index,
    segments: Vec<&'a Segment>,
    mut each: impl FnMut(&'a Segment, Option<Finding>),
) {
    let at_once = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, AT_ONCE_MAX));
    let mut reads = futures::stream::iter(segments)
        .map(|segment| {
            let entry = index.entry_by_seq(segment.seq);
            let reading = reading.clone();
            let read = tokio::spawn(async move {
                match entry {
                    Ok(Some(entry)) => Ok(read(&reading, &entry).await),
                    Ok(None) => Err("the index has lost its record".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            });
            async move {
                let read = read.await.unwrap_or_else(|died| {
                    Err(format!(
                        "a task of binlogfs died ({died}): this is a bug, please report it"
                    ))
                });
                let finding = read.unwrap_or_else(|why| {
                    let detail = format!("{}: {why}", segment.name);
                    Some(Finding::of_segment(
                        FindingKind::ObjectUnknown,
                        segment,
                        detail,
                    ))
                });
                (segment, finding)
            }
        })
        .buffered(at_once);
    while let Some((segment, finding)) = reads.next().await {
        each(segment, finding);
    }
}

/// Reads one segment, and says what is wrong with it.
pub async fn read(reading: &Reading, entry: &Entry) -> Option<Finding> {
    match difference_of(reading, entry).await {
        Ok(None) => None,
        Ok(Some(difference)) => Some(Finding::of_entry(
            FindingKind::RecordDiffers,
            entry,
            format!("{}: {difference}", entry.mount_name),
        )),
        Err(error) => {
            let (kind, detail) = match error.downcast_ref::<ReadError>() {
                // Errors of reading name the segment themselves.
                Some(read) => (kind_of(&read.cause), telemetry::message(&error)),
                None => (
                    FindingKind::RecordDiffers,
                    format!("{}: {}", entry.mount_name, telemetry::message(&error)),
                ),
            };
            Some(Finding::of_entry(kind, entry, detail))
        }
    }
}

/// What a read that failed says of the object.
fn kind_of(cause: &Cause) -> FindingKind {
    match cause {
        Cause::Store(error) if error.is_not_found() => FindingKind::ObjectMissing,
        Cause::Store(error) if error.kind == crate::store::ErrorKind::Truncated => {
            FindingKind::ObjectDamaged
        }
        // Nothing is known of what is encrypted for other keys: a damaged header of one of ours is told apart.
        Cause::Store(_)
        | Cause::Timeout(_)
        | Cause::Closing
        | Cause::Internal(_)
        | Cause::NoKey(_) => FindingKind::ObjectUnknown,
        // A flipped bit makes an age header one of a newer version.
        Cause::Corrupt(_) | Cause::Newer(_) => FindingKind::ObjectDamaged,
        Cause::Damaged { .. } | Cause::Hole { .. } => FindingKind::RecordDiffers,
    }
}

async fn difference_of(reading: &Reading, entry: &Entry) -> Result<Option<String>> {
    let segment = ArchivedSegment::of_entry(entry)?.raw();
    let Some(record) = entry.segment.as_deref() else {
        return Ok(None);
    };
    let mut stream = reading.reader.stream(&segment).await?;
    let mut scanner = Scanner::new(());
    let stored_over_plain = record.object.size as f64 / record.size.max(1) as f64;
    while let Some(bytes) = stream.next().await {
        let bytes = bytes?;
        scanner.push(&bytes)?;
        (reading.on_read)(bytes.len() as u64, entry.mount_name.as_str());
        let stored = bytes.len() as f64 * stored_over_plain;
        reading.pace.before_sending(stored as u64).await;
    }
    let (summary, ()) = scanner.finish();
    Ok(difference(record, &summary?))
}

/// What a record says otherwise than the bytes.
fn difference(segment: &SegmentRecord, summary: &Summary) -> Option<String> {
    let differs = |what: &str, recorded: &dyn std::fmt::Debug, found: &dyn std::fmt::Debug| {
        Some(format!(
            "its record says {what} {recorded:?}, and its bytes say {found:?}"
        ))
    };
    if segment.head != summary.head {
        return differs("head", &segment.head, &summary.head);
    }
    if segment.gtids != summary.gtids {
        return differs("GTIDs", &segment.gtids, &summary.gtids);
    }
    if segment.transactions != summary.transactions {
        return differs("transactions", &segment.transactions, &summary.transactions);
    }
    let recorded = [
        segment.first_time,
        segment.last_time,
        segment.min_time,
        segment.max_time,
        segment.latest_commit,
    ];
    let found = [
        summary.first_time,
        summary.last_time,
        summary.min_time,
        summary.max_time,
        summary.latest_commit,
    ];
    if recorded != found {
        return differs("times", &recorded, &found);
    }
    let recorded = segment
        .damaged
        .as_ref()
        .map(|damaged| damaged.first_bad_position);
    let found = summary
        .damage
        .as_ref()
        .map(|damage| damage.first_bad_position);
    if recorded != found {
        return differs("first bad position", &recorded, &found);
    }
    None
}

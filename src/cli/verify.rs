//! `binlogfs verify`: the chain, the objects, and with `--deep` every byte.

use super::exit::Exit;
use super::reading::Reading;
use super::status_locks::LockCounts;
use super::{Global, output, reading, status_locks, verify_pages};
use crate::binlog::{Scanner, Summary};
use crate::cache::{ReadError, SegmentReader};
use crate::index::Index;
use crate::ledger::{Entry, SEGMENTS_PREFIX, SegmentRecord};
use crate::model::{Micros, ObjectKey, Sha256, StoreUrl};
use crate::segment::check_carried_header;
use crate::store::{self, OpenMode};
use crate::stream::Stream;
use crate::telemetry;
use anyhow::{Result, bail};
use futures::StreamExt as _;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;

/// HEAD requests in flight at a time.
const HEADS_IN_FLIGHT: usize = 16;
/// Public keys named when none of the private keys is there.
const RECIPIENTS_TOLD: usize = 8;

#[derive(clap::Args, Debug)]
pub struct VerifyArgs {
    /// The stream, such as file:///srv/binlogs/orders.
    url: StoreUrl,
    /// Read every segment: decrypt, decompress, hash, and scan it again. Needs --identity where segments are encrypted.
    #[arg(long)]
    deep: bool,
    /// List objects that no record names.
    #[arg(long)]
    orphans: bool,
    /// Ask of every segment whether and until when its object is locked.
    #[arg(long)]
    locks: bool,
}

#[derive(Serialize, Default)]
pub(super) struct Report {
    records: u64,
    pub(super) pages: u64,
    segments: u64,
    /// Entries that were pruned: that they have no object is no finding.
    pruned: u64,
    segments_read: u64,
    bytes_read: u64,
    pub(super) findings: Vec<String>,
    orphans: Vec<String>,
    locks: Option<LockCounts>,
}

pub async fn run(global: &Global, args: &VerifyArgs) -> Result<Exit> {
    // An index of its own, in memory: nothing that an earlier run believed is taken for granted.
    let store = store::open(&args.url, OpenMode::Existing).await?;
    let stream = Stream::open(store, Arc::new(Index::in_memory()?)).await?;
    let reading = reading::follow(stream.without_pages()).await?;
    let mut report = Report {
        records: reading.state().last_seq.0,
        ..Report::default()
    };
    report.findings.extend(reading.alarm.clone());
    check_rollback(global, args, &reading, &mut report);
    verify_pages::check(&reading, &mut report).await?;
    let timelines: Vec<_> = reading.state().timelines().map(|(id, _)| id).collect();
    let mut entries = Vec::new();
    for timeline in timelines {
        report.pruned += reading.index.pruned_count(timeline)?;
        reading.each_entry(timeline, |entry| {
            entries.push(entry);
            Ok(())
        })?;
    }
    for entry in entries.iter().filter(|entry| !entry.reason.is_empty()) {
        report
            .findings
            .push(format!("{}: {}", entry.mount_name, entry.reason));
    }
    for (timeline, _) in reading.state().timelines() {
        entries.extend(reading.index.behind_fences(timeline)?);
    }
    entries.retain(|entry| entry.segment.is_some());
    report.segments = entries.len() as u64;
    check_headers(&entries, &mut report);
    check_objects(&reading, &entries, &mut report).await;
    if args.deep {
        check_keys(global, &entries)?;
        read_all(&reading.reader(global)?, &entries, &mut report).await;
    }
    if args.locks {
        let now = Micros::now();
        report.locks = Some(status_locks::count(&reading, &entries, now).await?);
    }
    if args.orphans {
        report.orphans = orphans(&reading).await?;
    }
    print(global, args, &report)?;
    Ok(if report.findings.is_empty() {
        Exit::Done
    } else {
        Exit::Findings
    })
}

/// Without a key nothing is wrong with the archive, only with the call.
fn check_keys(global: &Global, entries: &[Entry]) -> Result<()> {
    let segments = entries.iter().filter_map(|entry| entry.segment.as_deref());
    let encrypted = segments.filter(|segment| !segment.object.recipients.is_empty());
    let (mut count, mut recipients) = (0, BTreeSet::new());
    for segment in encrypted {
        count += 1;
        if recipients.len() < RECIPIENTS_TOLD {
            recipients.extend(segment.object.recipients.iter().map(String::as_str));
        }
    }
    if count > 0 && global.identity.is_empty() {
        let for_whom: Vec<_> = recipients.into_iter().collect();
        bail!(
            "{} encrypted for {}: --deep needs the private key of one of them, --identity FILE",
            if count == 1 {
                "1 segment is".to_owned()
            } else {
                format!("{count} segments are")
            },
            for_whom.join(", ")
        );
    }
    Ok(())
}

/// A host that once saw a longer ledger knows that this one lost records; a fresh host cannot.
fn check_rollback(global: &Global, args: &VerifyArgs, reading: &Reading, report: &mut Report) {
    let seen = reading::index_path(global, &args.url)
        .ok()
        .filter(|path| path.exists());
    let seen = seen
        .and_then(|path| Index::open(&path).ok())
        // An index of another stream tells nothing of this one.
        .filter(|(index, _)| {
            let bytes = index.stream_bytes().ok().flatten();
            bytes.is_some_and(|bytes| bytes == **reading.stream.file_bytes())
        })
        .and_then(|(index, _)| index.state().ok().flatten());
    if let Some(seen) = &seen
        && seen.last_seq <= reading.state().last_seq
        && let Some(hash) = seen.last_hash
        && let Ok(Some(line)) = reading.index.line(seen.last_seq)
        && Sha256::of(line.as_bytes()) != hash
    {
        report.findings.push(format!(
            "ledger record {} is another than the one that this host has seen: records were removed from the bucket, and others made in \
             their place",
            seen.last_seq
        ));
    }
    if let Some(seen) = seen.filter(|seen| seen.last_seq > reading.state().last_seq) {
        report.findings.push(format!(
            "the ledger ends at record {} and this host has seen record {}: records were removed from the bucket; restore them from a copy",
            reading.state().last_seq,
            seen.last_seq
        ));
    }
}

/// What the records carry in place of stored age headers looks like such, without a key.
fn check_headers(entries: &[Entry], report: &mut Report) {
    for entry in entries {
        let Some(object) = entry.segment.as_ref().map(|segment| &segment.object) else {
            continue;
        };
        let Some(header) = &object.header else {
            continue;
        };
        if let Err(error) = check_carried_header(header.bytes(), object.recipients.len()) {
            report
                .findings
                .push(format!("{}: {error}", entry.mount_name));
        }
    }
}

/// Every object is there and has its recorded size and, where the store keeps them, checksums.
async fn check_objects(reading: &Reading, entries: &[Entry], report: &mut Report) {
    let check = |entry: &Entry| {
        let store = Arc::clone(&reading.store);
        let (name, segment) = (entry.mount_name.clone(), entry.segment.clone());
        async move {
            let object = &segment?.object;
            let wrong = match store.head(&object.key).await {
                Err(e) => e.to_string(),
                Ok(meta) if meta.size != object.size => {
                    format!("has {} bytes and {} were recorded", meta.size, object.size)
                }
                Ok(meta) if meta.crc32c.is_some_and(|crc| crc != object.crc32c) => {
                    "has another CRC-32C than recorded".to_owned()
                }
                Ok(meta) if meta.crc64nvme.is_some_and(|crc| crc != object.crc64nvme) => {
                    "has another CRC-64/NVME than recorded".to_owned()
                }
                Ok(_) => return None,
            };
            Some(format!("{name}: object {} {wrong}", object.key))
        }
    };
    let found: Vec<_> = futures::stream::iter(entries)
        .map(check)
        .buffered(HEADS_IN_FLIGHT)
        .collect()
        .await;
    report.findings.extend(found.into_iter().flatten());
}

async fn read_all(reader: &SegmentReader, entries: &[Entry], report: &mut Report) {
    let bar = output::byte_bar(
        entries
            .iter()
            .filter_map(|entry| entry.segment.as_ref())
            .map(|segment| segment.size)
            .fold(0, u64::saturating_add),
    );
    for entry in entries {
        bar.set_message(entry.mount_name.to_string());
        match read_one(reader, entry, &bar).await {
            Ok(None) => {}
            Ok(Some(difference)) => report
                .findings
                .push(format!("{}: {difference}", entry.mount_name)),
            // Errors of reading name the segment themselves.
            Err(e) if e.is::<ReadError>() => report.findings.push(telemetry::message(&e)),
            Err(e) => {
                report
                    .findings
                    .push(format!("{}: {}", entry.mount_name, telemetry::message(&e)))
            }
        }
        report.segments_read += 1;
    }
    report.bytes_read = bar.position();
    bar.finish_and_clear();
}

/// Reads a segment to its end (its SHA-256 is compared there), and scans it again: the record must say what it says.
async fn read_one(
    reader: &SegmentReader,
    entry: &Entry,
    bar: &indicatif::ProgressBar,
) -> Result<Option<String>> {
    let mut stream = reader.stream(&reading::raw(entry)?).await?;
    let mut scanner = Scanner::new(());
    while let Some(bytes) = stream.next().await {
        let bytes = bytes?;
        scanner.push(&bytes)?;
        bar.inc(bytes.len() as u64);
    }
    let (summary, ()) = scanner.finish();
    let summary = summary?;
    Ok(entry
        .segment
        .as_deref()
        .and_then(|segment| difference(segment, &summary)))
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

async fn orphans(reading: &Reading) -> Result<Vec<String>> {
    let (mut found, mut after): (Vec<String>, Option<ObjectKey>) = (Vec::new(), None);
    loop {
        let page = reading.store.list(SEGMENTS_PREFIX, after.as_ref()).await?;
        for (key, _) in &page.objects {
            if !reading.index.names_object(key)? {
                found.push(key.to_string());
            }
        }
        after = page
            .objects
            .into_iter()
            .next_back()
            .map(|(key, _)| key)
            .or(after);
        if !page.more {
            return Ok(found);
        }
    }
}

fn print(global: &Global, args: &VerifyArgs, report: &Report) -> Result<()> {
    if global.json {
        return output::print_json(report);
    }
    let mut text: String = report
        .findings
        .iter()
        .map(|finding| format!("{finding}\n"))
        .collect();
    text.extend(report.orphans.iter().map(|key| format!("orphan: {key}\n")));
    if let Some(locks) = &report.locks {
        text += &locks.to_string();
    }
    let (records, segments) = (report.records, report.segments);
    text += &output::count(records, "record");
    if report.pages > 0 {
        text += &format!(", {}", output::count(report.pages, "page"));
    }
    text += &format!(", {}", output::count(segments, "segment"));
    if report.pruned > 0 {
        text += &format!(", {} pruned", report.pruned);
    }
    if args.deep {
        text += &format!(
            ", {} read ({})",
            report.segments_read,
            output::size(report.bytes_read)
        );
    }
    if args.orphans {
        text += &format!(", {}", output::count(report.orphans.len() as u64, "orphan"));
    }
    text += &match report.findings.len() {
        0 => ": all as recorded\n".to_owned(),
        n => format!(": {}\n", output::count(n as u64, "finding")),
    };
    output::print(&text)
}

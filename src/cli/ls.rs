//! `binlogfs ls`: the archived history as a table.

use super::exit::Exit;
use super::long_table::LongTable;
use super::reading::{self, Reading};
use super::{Global, output};
use crate::ledger::Entry;
use crate::model::{StoreUrl, Timeline};
use anyhow::Result;

/// Characters of a GTID set that a table shows; `--json` has all.
const GTID_COLUMN_CHARS: usize = 60;
/// The state of what retention took away.
const PRUNED: &str = "pruned";

#[derive(clap::Args, Debug)]
pub struct LsArgs {
    /// The stream, such as file:///srv/binlogs/orders.
    url: StoreUrl,
    /// Another timeline than the newest.
    #[arg(long, value_name = "N")]
    timeline: Option<u32>,
    /// What fences took out of the timeline, instead of what belongs to it.
    #[arg(long)]
    fenced: bool,
    /// List what was pruned, too.
    #[arg(long)]
    pruned: bool,
}

pub async fn run(global: &Global, args: &LsArgs) -> Result<Exit> {
    let reading = reading::open(global, &args.url).await?;
    let timeline = reading.timeline(args.timeline)?;
    if global.json {
        output::print_json_list(|add| {
            each_listed(&reading, args, timeline, |entry, state| {
                add(&json(entry, state))
            })
        })?;
        return Ok(reading.exit());
    }
    let header = ["NAME", "SIZE", "STORED", "FIRST", "LAST", "STATE", "GTIDS"];
    let mut table = LongTable::new(&header, &[1, 2]);
    each_listed(&reading, args, timeline, |entry, state| {
        table.add(&row(entry, state));
        Ok(())
    })?;
    table.print()?;
    Ok(reading.exit())
}

/// Calls `take` with everything that is listed, and its state. Of a timeline a page is held at a time: each entry has the GTIDs of its
/// segment, and there may be a million.
fn each_listed(
    reading: &Reading,
    args: &LsArgs,
    timeline: Timeline,
    mut take: impl FnMut(&Entry, &str) -> Result<()>,
) -> Result<()> {
    if args.pruned {
        reading.each_pruned(timeline, |entry| take(&entry, PRUNED))?;
    }
    if !args.fenced {
        return reading.each_entry(timeline, |entry| take(&entry, &state(&entry)));
    }
    for entry in reading.fenced(timeline)? {
        // 'prune --fenced' may have deleted its object.
        match reading.index.is_pruned(timeline, &entry.mount_name)? {
            true => take(&entry, PRUNED)?,
            false => take(&entry, &state(&entry))?,
        }
    }
    Ok(())
}

fn row(entry: &Entry, state: &str) -> Vec<String> {
    let segment = entry.segment.as_deref();
    let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let gtids = segment
        .and_then(|_| entry.gtids())
        .map(ToString::to_string)
        .filter(|text| !text.is_empty());
    vec![
        entry.mount_name.to_string(),
        number(segment.map(|_| entry.end())),
        number(segment.map(|s| s.object.size)),
        output::time(segment.and_then(|s| s.first_time)),
        output::time(entry.last_time()),
        state.to_owned(),
        output::short(gtids.as_deref().unwrap_or("-"), GTID_COLUMN_CHARS),
    ]
}

/// The state as `ls` and the mount's xattr say it.
pub fn state(entry: &Entry) -> String {
    serde_json::to_value(entry.state)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn json(entry: &Entry, state: &str) -> serde_json::Value {
    let segment = entry.segment.as_deref();
    let time = |time: Option<crate::model::Micros>| time.map(|time| time.to_string());
    serde_json::json!({
        "name": entry.mount_name,
        "file": segment.map(|s| s.file.to_string()),
        "state": state,
        "reason": entry.reason,
        "timeline": entry.timeline,
        "incarnation": entry.incarnation,
        "seq": entry.seq,
        "size": segment.map(|s| s.size),
        "fenced_at": entry.cut.as_ref().map(|cut| cut.position),
        "stored_size": segment.map(|s| s.object.size),
        "sha256": segment.map(|s| s.sha256.to_string()),
        "first_time": time(segment.and_then(|s| s.first_time)),
        "last_time": time(entry.last_time()),
        "min_time": time(segment.and_then(|s| s.min_time)),
        "max_time": time(segment.and_then(|s| s.max_time)),
        "latest_commit": time(segment.and_then(|s| s.latest_commit)),
        "transactions": segment.map(|_| entry.transactions()),
        "gtids": entry.gtids().map(ToString::to_string),
        "previous_gtids": entry.previous_gtids.as_ref().map(ToString::to_string),
        "server_uuid": segment.and_then(|s| s.server_uuid),
        "server_version": segment.map(|s| s.server_version.clone()),
        "closed_by": segment.map(|s| s.closed_by),
        "object": segment.map(|s| s.object.key.to_string()),
        "recipients": segment.map(|s| s.object.recipients.clone()),
        "header_size": segment.map(|s| s.object.header_size),
        "header": segment.and_then(|s| s.object.header.as_ref()),
    })
}

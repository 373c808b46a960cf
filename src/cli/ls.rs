//! `binlogfs ls`: the archived history as a table.

use super::exit::Exit;
use super::{Global, output, reading};
use crate::ledger::Entry;
use crate::model::StoreUrl;
use anyhow::Result;

/// Characters of a GTID set that a table shows; `--json` has all.
const GTID_COLUMN_CHARS: usize = 60;

#[derive(clap::Args, Debug)]
pub struct LsArgs {
    /// The stream, such as file:///srv/binlogs/orders.
    url: StoreUrl,
    /// Another timeline than the newest.
    #[arg(long, value_name = "N")]
    timeline: Option<u32>,
}

pub async fn run(global: &Global, args: &LsArgs) -> Result<Exit> {
    let reading = reading::open(global, &args.url).await?;
    let entries = reading.entries(reading.timeline(args.timeline)?)?;
    if global.json {
        output::print_json(&entries.iter().map(json).collect::<Vec<_>>())?;
        return Ok(reading.exit());
    }
    let header = ["NAME", "SIZE", "STORED", "FIRST", "LAST", "STATE", "GTIDS"];
    output::print(&output::table(&header, &[1, 2], entries.iter().map(row)))?;
    Ok(reading.exit())
}

fn row(entry: &Entry) -> Vec<String> {
    let segment = entry.segment.as_deref();
    let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let gtids = segment
        .map(|s| s.gtids.to_string())
        .filter(|text| !text.is_empty());
    vec![
        entry.mount_name.to_string(),
        number(segment.map(|s| s.size)),
        number(segment.map(|s| s.object.size)),
        output::time(segment.and_then(|s| s.first_time)),
        output::time(segment.and_then(|s| s.last_time)),
        state(entry),
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

fn json(entry: &Entry) -> serde_json::Value {
    let segment = entry.segment.as_deref();
    let time = |time: Option<crate::model::Micros>| time.map(|time| time.to_string());
    serde_json::json!({
        "name": entry.mount_name,
        "file": segment.map(|s| s.file.to_string()),
        "state": state(entry),
        "reason": entry.reason,
        "timeline": entry.timeline,
        "incarnation": entry.incarnation,
        "seq": entry.seq,
        "size": segment.map(|s| s.size),
        "stored_size": segment.map(|s| s.object.size),
        "sha256": segment.map(|s| s.sha256.to_string()),
        "first_time": time(segment.and_then(|s| s.first_time)),
        "last_time": time(segment.and_then(|s| s.last_time)),
        "min_time": time(segment.and_then(|s| s.min_time)),
        "max_time": time(segment.and_then(|s| s.max_time)),
        "latest_commit": time(segment.and_then(|s| s.latest_commit)),
        "transactions": segment.map(|s| s.transactions),
        "gtids": segment.map(|s| s.gtids.to_string()),
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

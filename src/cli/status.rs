//! `binlogfs status`: what a stream holds, and what is wrong with it; without a stream, how those of the configuration are.

mod timeline;

use super::config_check::CONFIG_PATH;
use super::exit::Exit;
use super::reading::Reading;
use super::{Global, fleet_status, ls, output, reading, recoverable, status_locks};
use crate::agent::alarm::span;
use crate::agent::health::{self, Health};
use crate::agent::replicas::ReplicaHealth;
use crate::ledger::Entry;
use crate::model::{GtidSet, Micros, StoreUrl, Timeline};
use anyhow::{Result, anyhow};
use serde::Serialize;
use std::path::{Path, PathBuf};
use timeline::TimelineStatus;

/// Findings printed; `--json` has all.
const FINDINGS_SHOWN: usize = 20;

#[derive(clap::Args, Debug)]
pub struct StatusArgs {
    /// The stream, such as file:///srv/binlogs/orders. Without it, one line for each stream of the configuration.
    #[arg(conflicts_with = "config")]
    url: Option<StoreUrl>,
    /// The configuration whose streams are shown [default: /etc/binlogfs.toml].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask the store until when the oldest and the newest segment of each timeline are locked.
    #[arg(long, requires = "url")]
    locks: bool,
}

#[derive(Serialize)]
struct Finding {
    timeline: Timeline,
    name: String,
    state: String,
    reason: String,
}

pub async fn run(global: &Global, args: &StatusArgs) -> Result<Exit> {
    match (&args.url, &args.config) {
        (Some(url), _) => one(global, url, args.locks).await,
        (None, Some(config)) => fleet_status::run(global, config),
        (None, None) if Path::new(CONFIG_PATH).exists() => {
            fleet_status::run(global, Path::new(CONFIG_PATH))
        }
        (None, None) => {
            let error = anyhow!(
                "of which stream? There is no {CONFIG_PATH}; name a stream's URL, or a configuration with --config"
            );
            output::print_error(&error, global.json);
            Ok(Exit::Usage)
        }
    }
}

/// All about one stream.
async fn one(global: &Global, url: &StoreUrl, locks: bool) -> Result<Exit> {
    let reading = reading::open(global, url).await?;
    let (mut timelines, mut findings, newest) = history(&reading)?;
    if locks {
        for status in &mut timelines {
            status.locks = status_locks::of(&reading, Timeline(status.timeline)).await?;
        }
    }
    findings.extend(reading.alarm.iter().map(|reason| Finding {
        timeline: Timeline(0),
        name: "ledger".to_owned(),
        state: "alarm".to_owned(),
        reason: reason.clone(),
    }));
    // Only the host that archives knows how its archiver is.
    let health = health::read(&reading::state_dir(global, url));
    let now = Micros::now();
    findings.extend(health.iter().flat_map(|health| alarms(health, now)));
    let recovery = recoverable::recovery(global, &reading).await?;
    findings.extend(recovery.unusable.iter().map(|bad| Finding {
        timeline: Timeline(0),
        name: format!("backup {}", bad.id),
        state: "unusable".to_owned(),
        reason: bad.reason.clone(),
    }));
    let exit = if findings.is_empty() {
        Exit::Done
    } else {
        Exit::Findings
    };
    let file = reading.stream.file();
    if global.json {
        output::print_json(&serde_json::json!({
            "url": url.to_string(),
            "stream_id": file.stream_id,
            "flavour": file.flavour,
            "records": reading.state().last_seq,
            "moved_to": reading.state().moved.as_ref().map(|moved| &moved.to),
            "last_archived": newest.as_ref().map(|entry| entry.mount_name.to_string()),
            "last_archived_at": archived_at(newest.as_ref()).map(|time| time.to_string()),
            "timelines": timelines,
            "recovery": recovery,
            "archiver": health,
            "findings": findings,
        }))?;
        return Ok(exit);
    }
    let mut text = head(&reading, url, newest.as_ref());
    for status in &timelines {
        text += &status.print();
    }
    text += &recovery.print();
    if let Some(health) = &health {
        text += &print_health(health, now);
    }
    text += &print_findings(&findings);
    output::print(&text)?;
    Ok(exit)
}

/// What there is of each timeline, what is wrong with it, and the newest segment of all.
fn history(reading: &Reading) -> Result<(Vec<TimelineStatus>, Vec<Finding>, Option<Entry>)> {
    let (mut timelines, mut findings) = (Vec::new(), Vec::new());
    let mut newest: Option<Entry> = None;
    let fences = reading.index.fences()?;
    for (id, known) in reading.state().timelines() {
        let pruned = reading.index.pruned(id)?;
        let mut status = TimelineStatus::new(id, &known.archived, &fences, pruned);
        if known.late {
            findings.extend(late_tail(id, &reading.state().only_in(id)));
        }
        reading.each_entry(id, |entry| {
            status.add(&entry);
            findings.extend(finding(&entry));
            if entry.segment.is_some() && newest.as_ref().is_none_or(|known| known.seq < entry.seq)
            {
                newest = Some(entry);
            }
            Ok(())
        })?;
        timelines.push(status);
    }
    Ok((timelines, findings, newest))
}

fn archived_at(newest: Option<&Entry>) -> Option<Micros> {
    Some(newest?.segment.as_ref()?.archived_at)
}

fn head(reading: &Reading, url: &StoreUrl, newest: Option<&Entry>) -> String {
    let mut text = format!(
        "stream   {url}\nid       {}\nrecords  {}\n",
        reading.stream.file().stream_id,
        reading.state().last_seq
    );
    if let Some(moved) = &reading.state().moved {
        let at = output::time(Some(moved.archived_at));
        text += &format!("moved    to {}, {at}\n", moved.to);
    }
    if let (Some(entry), Some(at)) = (newest, archived_at(newest)) {
        let ago = Micros::now().0.saturating_sub(at.0).max(0) / 1_000_000;
        text += &format!(
            "newest   {}, archived {} ({ago} s ago)\n",
            entry.mount_name,
            output::time(Some(at))
        );
    }
    text
}

/// An archiver that runs writes its health at least once in its poll interval; this is longer than any sensible one, and than
/// most runs.
const SILENT_SECONDS: u64 = 3600;

/// The alarms that the archiver of this host has raised; one more if it has gone silent.
fn alarms(health: &Health, now: Micros) -> Vec<Finding> {
    let finding = |name: &str, state: &str, reason: String| Finding {
        timeline: Timeline(0),
        name: name.to_owned(),
        state: state.to_owned(),
        reason,
    };
    let mut found: Vec<_> = health
        .alarms
        .iter()
        .map(|raised| {
            let alarm = &raised.alarm;
            finding(alarm.kind.name(), alarm.severity.name(), alarm.text.clone())
        })
        .collect();
    let silent = seconds_since(health.updated_at, now);
    if silent > SILENT_SECONDS {
        let reason = format!(
            "nothing was heard of this host's archiver for {}: is it running?",
            span(silent)
        );
        found.push(finding("archiver", "silent", reason));
    }
    found
}

fn seconds_since(then: Micros, now: Micros) -> u64 {
    u64::try_from(now.0.saturating_sub(then.0) / 1_000_000).unwrap_or(0)
}

fn print_health(health: &Health, now: Micros) -> String {
    let ago = |time: Option<Micros>| {
        time.map_or("-".to_owned(), |time| {
            format!("{} ago", span(seconds_since(time, now)))
        })
    };
    let left = |seconds: Option<i64>| match seconds {
        None => "-".to_owned(),
        Some(left) if left < 0 => format!("over for {}", span(left.unsigned_abs())),
        Some(left) => span(left.unsigned_abs()),
    };
    let lag = health.lag_seconds(now);
    let mut text = format!(
        "\narchiver of this host ({} ago)\n  lag           {} ({}, {})\n  expires in    {}\n  all archived  {}\n  breaker       {}\n  dead letters  {}\n",
        span(seconds_since(health.updated_at, now)),
        lag.map_or("none".to_owned(), span),
        output::count(health.backlog.segments, "segment"),
        output::size(health.backlog.bytes),
        left(health.time_to_expiry_seconds),
        ago(health.last_success_at),
        health.breaker.name(),
        health.dead_letters,
    );
    if let Some(error) = &health.last_error {
        text += &format!("  last error    {error}\n");
    }
    if let Some(why) = &health.paused {
        text += &format!("  waits         {why}\n");
    }
    for replica in &health.replicas {
        text += &format!("  replica       {}\n", print_replica(replica, now));
    }
    text
}

fn print_replica(replica: &ReplicaHealth, now: Micros) -> String {
    let url = &replica.url;
    // Of one that holds something back, it is the age of that.
    let oldest = replica
        .lag_seconds(now)
        .filter(|_| replica.held.is_none())
        .map_or(String::new(), |lag| {
            format!(", the oldest for {}", span(lag))
        });
    let mut text = match replica.lag_records {
        0 => format!("{url} has all records"),
        lacks => format!("{url} lacks {}{oldest}", output::count(lacks, "record")),
    };
    if replica.lacks > 0 {
        let things = output::count(replica.lacks, "thing");
        text += &format!("; the first store could not give it {things}");
    }
    if let Some(held) = &replica.held {
        let (record, why) = (held.record, &held.why);
        text +=
            &format!("; neither record {record} nor anything after it counts as archived: {why}");
    }
    if let Some(error) = &replica.last_error {
        text += &format!("; not filled: {error}");
    }
    text
}

/// Transactions that only an old primary has are for a person to look at.
fn late_tail(timeline: Timeline, only: &GtidSet) -> Option<Finding> {
    (!only.is_empty()).then(|| Finding {
        timeline,
        name: only.to_string(),
        state: "late tail".to_owned(),
        reason: format!("in no other timeline; what wrote it is under .timeline/{timeline}/"),
    })
}

/// What is wrong with an entry, if anything is.
fn finding(entry: &Entry) -> Option<Finding> {
    let wrong = entry.segment.is_none() || entry.state != crate::ledger::EntryState::Archived;
    wrong.then(|| Finding {
        timeline: entry.timeline,
        name: entry.mount_name.to_string(),
        state: ls::state(entry),
        reason: entry.reason.clone(),
    })
}

fn print_findings(findings: &[Finding]) -> String {
    if findings.is_empty() {
        return "\nno holes, gaps or damage\n".to_owned();
    }
    let mut text = format!("\n{}\n", output::count(findings.len() as u64, "finding"));
    for finding in findings.iter().take(FINDINGS_SHOWN) {
        let place = match finding.timeline {
            Timeline(0) => String::new(),
            timeline => format!(", timeline {timeline}"),
        };
        text += &format!(
            "  {} ({}{place}): {}\n",
            finding.name, finding.state, finding.reason
        );
    }
    if findings.len() > FINDINGS_SHOWN {
        text += &format!(
            "  and {} more: --json shows all\n",
            findings.len() - FINDINGS_SHOWN
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::replica::Held;

    #[test]
    fn a_replica_is_told_with_what_it_lacks_and_what_does_not_count_because_of_it() {
        let now = Micros(1_700_000_000_000_000);
        let mut replica = ReplicaHealth {
            url: "s3://copies/a".to_owned(),
            ..ReplicaHealth::default()
        };
        let told = |replica: &ReplicaHealth| print_replica(replica, now);
        assert_eq!(told(&replica), "s3://copies/a has all records");
        replica.lag_records = 2;
        replica.oldest_closed_at = Some(Micros(now.0 - 60_000_000));
        replica.last_error = Some("denied".to_owned());
        let lacks = format!(
            "s3://copies/a lacks 2 records, the oldest for {}; not filled: denied",
            span(60)
        );
        assert_eq!(told(&replica), lacks);
        // What is held back is older than what is still to be copied.
        let copied = ReplicaHealth {
            lacks: 1,
            last_error: None,
            held: Some(Held {
                record: 7,
                file: None,
                why: "it is gone".to_owned(),
            }),
            ..replica
        };
        assert_eq!(
            told(&copied),
            "s3://copies/a lacks 2 records; the first store could not give it 1 thing; neither record 7 nor anything after it counts as \
             archived: it is gone"
        );
    }
}

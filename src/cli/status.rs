//! `binlogfs status`: what a stream holds, and what is wrong with it.

use super::exit::Exit;
use super::{Global, ls, output, reading};
use crate::ledger::Entry;
use crate::model::{Micros, StoreUrl, Timeline};
use anyhow::Result;
use serde::Serialize;

/// Findings printed; `--json` has all.
const FINDINGS_SHOWN: usize = 20;

#[derive(clap::Args, Debug)]
pub struct StatusArgs {
    /// The stream, such as file:///srv/binlogs/orders.
    url: StoreUrl,
}

#[derive(Serialize, Default)]
struct TimelineStatus {
    timeline: u32,
    segments: u64,
    bytes: u64,
    stored_bytes: u64,
    transactions: u64,
    first: Option<String>,
    last: Option<String>,
    first_time: Option<String>,
    last_time: Option<String>,
    gtids: String,
    unencrypted: u64,
    single_writer: u64,
}

#[derive(Serialize)]
struct Finding {
    timeline: Timeline,
    name: String,
    state: String,
    reason: String,
}

pub async fn run(global: &Global, args: &StatusArgs) -> Result<Exit> {
    let reading = reading::open(global, &args.url).await?;
    let (mut timelines, mut findings) = (Vec::new(), Vec::new());
    let mut newest: Option<Entry> = None;
    for (id, known) in reading.state().timelines() {
        let mut status = TimelineStatus {
            timeline: id.0,
            gtids: known.archived.to_string(),
            ..TimelineStatus::default()
        };
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
    findings.extend(reading.alarm.iter().map(|reason| Finding {
        timeline: Timeline(0),
        name: "ledger".to_owned(),
        state: "alarm".to_owned(),
        reason: reason.clone(),
    }));
    let exit = if findings.is_empty() {
        Exit::Done
    } else {
        Exit::Findings
    };
    let file = reading.stream.file();
    let archived_at = newest
        .as_ref()
        .and_then(|entry| Some(entry.segment.as_ref()?.archived_at));
    if global.json {
        output::print_json(&serde_json::json!({
            "url": args.url.to_string(),
            "stream_id": file.stream_id,
            "flavour": file.flavour,
            "records": reading.state().last_seq,
            "last_archived": newest.as_ref().map(|entry| entry.mount_name.to_string()),
            "last_archived_at": archived_at.map(|time| time.to_string()),
            "timelines": timelines,
            "findings": findings,
        }))?;
        return Ok(exit);
    }
    let mut text = format!(
        "stream   {}\nid       {}\nrecords  {}\n",
        args.url,
        file.stream_id,
        reading.state().last_seq
    );
    if let (Some(entry), Some(at)) = (&newest, archived_at) {
        let ago = Micros::now().0.saturating_sub(at.0).max(0) / 1_000_000;
        text += &format!(
            "newest   {}, archived {} ({ago} s ago)\n",
            entry.mount_name,
            output::time(Some(at))
        );
    }
    for status in &timelines {
        text += &status.print();
    }
    text += &print_findings(&findings);
    output::print(&text)?;
    Ok(exit)
}

impl TimelineStatus {
    fn add(&mut self, entry: &Entry) {
        let Some(segment) = &entry.segment else {
            return;
        };
        self.segments += 1;
        // Saturating: these are a record's numbers, and whoever can write to the bucket can make them up.
        self.bytes = self.bytes.saturating_add(segment.size);
        self.stored_bytes = self.stored_bytes.saturating_add(segment.object.size);
        self.transactions = self.transactions.saturating_add(segment.transactions);
        self.unencrypted += u64::from(segment.object.recipients.is_empty());
        self.single_writer += u64::from(segment.single_writer);
        let name = entry.mount_name.to_string();
        self.first.get_or_insert_with(|| name.clone());
        self.last = Some(name);
        if self.first_time.is_none() {
            self.first_time = segment.first_time.map(|time| time.to_string());
        }
        self.last_time = segment
            .last_time
            .map(|time| time.to_string())
            .or(self.last_time.take());
    }

    fn print(&self) -> String {
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let encrypted = match self.unencrypted {
            0 => "all encrypted".to_owned(),
            n if n == self.segments => "not encrypted".to_owned(),
            n => format!("{n} not encrypted"),
        };
        let single_writer = match self.single_writer {
            0 => String::new(),
            n => format!(
                "  single writer {n} archived where the store does not refuse to overwrite (--single-writer)\n"
            ),
        };
        format!(
            "\ntimeline {}\n  segments      {} ({} to {}), {encrypted}\n{single_writer}  size          {} stored as {}\n  transactions  {}\n  from          {}\n  to            {}\n  gtids         {}\n",
            self.timeline,
            self.segments,
            dash(&self.first),
            dash(&self.last),
            output::size(self.bytes),
            output::size(self.stored_bytes),
            self.transactions,
            dash(&self.first_time),
            dash(&self.last_time),
            if self.gtids.is_empty() {
                "-"
            } else {
                &self.gtids
            },
        )
    }
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

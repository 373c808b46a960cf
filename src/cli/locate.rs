//! `binlogfs locate`: the exact transaction that a moment, a GTID or a position means.

use super::exit::Exit;
use super::reading::{self, Reading};
use super::{Global, namesakes, output};
use crate::locate::{FilePosition, Found, LocateError, Located, Locator, Refusal, Target};
use crate::model::{Gtid, Micros, StoreUrl};
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("target").required(true).args(["time", "gtid", "position"])))]
pub struct LocateArgs {
    /// The stream, such as file:///srv/binlogs/orders.
    url: StoreUrl,
    /// The first transaction committed after this moment: 2026-11-22T18:30:00Z, or -15m. Without a zone it is UTC.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    time: Option<String>,
    /// The transaction with this GTID.
    #[arg(long, value_name = "GTID")]
    gtid: Option<Gtid>,
    /// The transaction at this place, such as binlog.000042:1234.
    #[arg(long, value_name = "FILE:POS")]
    position: Option<FilePosition>,
    /// Another timeline than the newest.
    #[arg(long, value_name = "N")]
    timeline: Option<u32>,
}

/// What was asked for.
struct Question {
    target: Target,
    zone_assumed: bool,
    /// Which file a position is taken to mean, where others have its name.
    note: Option<String>,
}

impl LocateArgs {
    fn question(&self) -> Result<Question> {
        let (target, zone_assumed) = match (&self.time, &self.gtid, &self.position) {
            (Some(text), ..) => {
                let parsed = Micros::parse(text, Micros::now())?;
                (Target::Time(parsed.time), parsed.zone_assumed)
            }
            (None, Some(gtid), _) => (Target::Gtid(gtid.clone()), false),
            (None, None, position) => {
                let position = position.clone().context("nothing is asked for")?;
                (Target::Position(position), false)
            }
        };
        Ok(Question {
            target,
            zone_assumed,
            note: None,
        })
    }
}

pub async fn run(global: &Global, args: &LocateArgs) -> Result<Exit> {
    let mut question = args.question()?;
    let reading = reading::open(global, &args.url).await?;
    let timeline = reading.timeline(args.timeline)?;
    if let Target::Position(position) = &question.target {
        question.note = namesakes::note(&reading, timeline, position)?;
    }
    let locator = Locator::new(
        Arc::clone(&reading.index),
        Arc::new(reading.reader(global)?),
    );
    match locator.find(timeline, &question.target).await {
        Ok(located) => {
            tell(global, &reading, &question, &located)?;
            Ok(reading.exit())
        }
        Err(LocateError::Refused(refusal)) => {
            refuse(global, &question, &refusal)?;
            Ok(Exit::NotRecoverable)
        }
        Err(error) => Err(error.into()),
    }
}

fn tell(global: &Global, reading: &Reading, asked: &Question, located: &Located) -> Result<()> {
    let boundary = &located.boundary;
    let entry = reading.index.entry_by_seq(boundary.seq)?;
    let server_file = entry
        .and_then(|entry| entry.segment)
        .map(|segment| segment.file.to_string());
    if global.json {
        return output::print_json(&json!({
            "target": asked.target.to_string(),
            "zone_assumed": asked.zone_assumed,
            "recoverable": true,
            "timeline": boundary.timeline,
            "seq": boundary.seq,
            "file": boundary.mount_name,
            "server_file": server_file,
            "position": boundary.position,
            "latest_commit_before": boundary.latest.map(|time| time.to_string()),
            "transaction": located.transaction.as_ref().map(transaction_json),
            "previous": located.previous.as_ref().map(transaction_json),
            "note": asked.note,
        }));
    }
    let mut lines = vec![("target", asked.in_words())];
    let name = boundary.mount_name.to_string();
    let file = match server_file {
        Some(file) if file != name => format!("{name}, which the server called {file}"),
        _ => name,
    };
    lines.push(("file", file));
    match &located.transaction {
        Some(found) => {
            let span = format!("{} to {}", found.start, found.end);
            lines.push(("transaction", span));
            lines.push(("gtid", gtid_text(found)));
            lines.push(("committed at", found.commit_time.to_string()));
        }
        None => lines.push((
            "transaction",
            "none: this is the end of what is known".to_owned(),
        )),
    }
    let position = boundary.position;
    lines.push((
        "history before",
        format!("ends with --stop-position={position} in this file"),
    ));
    lines.extend(asked.note.clone().map(|note| ("note", note)));
    let text: String = lines
        .iter()
        .map(|(name, value)| format!("{name:<16}{value}\n"))
        .collect();
    output::print(&text)
}

fn refuse(global: &Global, asked: &Question, refusal: &Refusal) -> Result<()> {
    if global.json {
        let time = |time: Option<Micros>| time.map(|time| time.to_string());
        return output::print_json(&json!({
            "target": asked.target.to_string(),
            "zone_assumed": asked.zone_assumed,
            "recoverable": false,
            "reason": refusal.reason,
            "last_before": time(refusal.last_before),
            "first_after": time(refusal.first_after),
            "note": asked.note,
        }));
    }
    if let Some(note) = &asked.note {
        eprintln!("binlogfs: note: {note}");
    }
    eprintln!(
        "binlogfs: {} cannot be recovered: {refusal}",
        asked.in_words()
    );
    Ok(())
}

impl Question {
    fn in_words(&self) -> String {
        match (&self.target, self.zone_assumed) {
            (target @ Target::Time(_), true) => {
                format!("{target} (no zone was written: it is read as UTC)")
            }
            (target, _) => target.to_string(),
        }
    }
}

fn gtid_text(found: &Found) -> String {
    found
        .gtid
        .as_ref()
        .map_or_else(|| "none".to_owned(), ToString::to_string)
}

fn transaction_json(found: &Found) -> Value {
    json!({
        "start": found.start,
        "end": found.end,
        "gtid": found.gtid.as_ref().map(ToString::to_string),
        "committed_at": found.commit_time.to_string(),
    })
}

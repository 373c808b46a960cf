//! How backups are shown.

use super::super::recoverable::Checked;
use super::super::{Global, output};
use crate::backup::{Unreadable, Verdict};
use crate::model::Micros;
use anyhow::Result;
use serde_json::{Value, json};

/// Characters of a place that a table shows; `--json` has all.
const PLACE_COLUMN_CHARS: usize = 60;

/// What became of `add`.
pub(super) fn added(
    global: &Global,
    checked: &Checked,
    registered: bool,
    zone_assumed: bool,
) -> Result<()> {
    if global.json {
        let mut value = value(checked);
        value["registered"] = json!(registered);
        value["zone_assumed"] = json!(zone_assumed);
        return output::print_json(&value);
    }
    if let (false, Verdict::Unusable(why)) = (registered, &checked.verdict) {
        eprintln!(
            "binlogfs: the backup in {} is not registered: {why}",
            checked.backup.place
        );
        return Ok(());
    }
    let mut text = format!("{:<12}{}\n", "registered", checked.backup.id);
    if zone_assumed {
        text += &format!("{:<12}no zone was written: the time is read as UTC\n", "");
    }
    output::print(&(text + &lines(checked)))
}

/// All that is known of one.
pub(super) fn one(global: &Global, checked: &Checked) -> Result<()> {
    match global.json {
        true => output::print_json(&value(checked)),
        false => output::print(&format!(
            "{:<12}{}\n{}",
            "id",
            checked.backup.id,
            lines(checked)
        )),
    }
}

/// A table of them.
pub(super) fn list(global: &Global, all: &[Checked], unreadable: &[Unreadable]) -> Result<()> {
    if global.json {
        return output::print_json(&document(all, unreadable));
    }
    if all.is_empty() && unreadable.is_empty() {
        return output::print("no backup is registered\n");
    }
    let rows = all.iter().map(|checked| {
        let window = checked.verdict.window();
        vec![
            checked.backup.id.to_string(),
            checked.backup.coordinates.made_with(),
            checked.verdict.name().to_owned(),
            time(window.and_then(|window| window.earliest)),
            time(window.and_then(|window| window.latest)),
            output::short(&checked.backup.place, PLACE_COLUMN_CHARS),
        ]
    });
    let header = [
        "ID",
        "MADE WITH",
        "STATE",
        "RECOVERS FROM",
        "UP TO",
        "PLACE",
    ];
    output::print(&(output::table(&header, &[], rows) + &bad(unreadable)))
}

/// One line each, and what is wrong.
pub(super) fn checks(global: &Global, all: &[Checked], unreadable: &[Unreadable]) -> Result<()> {
    if global.json {
        return output::print_json(&document(all, unreadable));
    }
    if all.is_empty() && unreadable.is_empty() {
        return output::print("no backup is registered\n");
    }
    let mut text = String::new();
    for checked in all {
        text += &format!("{}\n", checked.backup.id);
        for (name, value) in verdict_lines(&checked.verdict) {
            text += &format!("  {name:<10}{value}\n");
        }
    }
    output::print(&(text + &bad(unreadable)))
}

fn bad(unreadable: &[Unreadable]) -> String {
    let lines = unreadable
        .iter()
        .map(|bad| format!("{}: its record {}\n", bad.id, bad.reason));
    lines.collect()
}

fn document(all: &[Checked], unreadable: &[Unreadable]) -> Value {
    let bad = |bad: &Unreadable| json!({"id": bad.id, "reason": bad.reason.to_string()});
    json!({
        "backups": all.iter().map(value).collect::<Vec<_>>(),
        "unreadable": unreadable.iter().map(bad).collect::<Vec<_>>(),
    })
}

fn value(checked: &Checked) -> Value {
    let (backup, coordinates) = (&checked.backup, &checked.backup.coordinates);
    json!({
        "id": backup.id,
        "tool": coordinates.tool,
        "tool_version": coordinates.tool_version,
        "gtids": coordinates.gtids,
        "position": coordinates.position.as_ref().map(ToString::to_string),
        "server_uuid": coordinates.server_uuid,
        "taken_at": coordinates.taken_at.map(|time| time.to_string()),
        "local_time": coordinates.local_time,
        "place": backup.place,
        "note": backup.note,
        "added_at": backup.added_at.to_string(),
        "added_by": backup.added_by,
        "warnings": coordinates.warnings,
        "verdict": checked.verdict,
    })
}

fn lines(checked: &Checked) -> String {
    let (backup, coordinates) = (&checked.backup, &checked.backup.coordinates);
    let mut lines = vec![("place", backup.place.clone())];
    let made = match &coordinates.local_time {
        Some(time) => format!(
            "{}, {time} in the zone of the host where it was made",
            coordinates.made_with()
        ),
        None => coordinates.made_with(),
    };
    lines.push(("made with", made));
    let gtids = coordinates.gtids.as_ref();
    lines.extend(gtids.map(|gtids| ("gtids", gtids.to_string())));
    let position = coordinates.position.as_ref();
    lines.extend(position.map(|position| ("position", position.to_string())));
    lines.extend(coordinates.taken_at.map(|time| ("taken", time.to_string())));
    lines.extend(verdict_lines(&checked.verdict));
    if !backup.note.is_empty() {
        lines.push(("note", backup.note.clone()));
    }
    let warnings = coordinates.warnings.iter();
    lines.extend(warnings.map(|warning| ("warning", warning.clone())));
    lines
        .iter()
        .map(|(name, value)| format!("{name:<12}{value}\n"))
        .collect()
}

fn time(time: Option<Micros>) -> String {
    time.map_or("-".to_owned(), |time| time.to_string())
}

fn verdict_lines(verdict: &Verdict) -> Vec<(&'static str, String)> {
    match verdict {
        Verdict::Unusable(why) => vec![("state", format!("unusable: {why}"))],
        Verdict::Ahead { reason, .. } => vec![(
            "state",
            format!("ahead of the archive: {reason}; check again later"),
        )],
        Verdict::Usable(window) => {
            let mut lines = vec![("state", "usable".to_owned())];
            let from = match (&window.start, window.earliest, window.earliest_is_exact) {
                (None, ..) => format!("{}, all that is archived", time(window.earliest)),
                (Some(_), None, _) => "the beginning of the history".to_owned(),
                (Some(_), Some(from), true) => from.to_string(),
                (Some(start), Some(from), false) => {
                    format!("{from} at the latest (its moment lies in {})", start.file)
                }
            };
            lines.push(("from", from));
            let to = match &window.ends_at {
                None => format!("{}, the newest that is archived", time(window.latest)),
                Some(end) => format!(
                    "{}: then comes {}, {}",
                    time(window.latest),
                    end.file,
                    end.reason
                ),
            };
            lines.push(("up to", to));
            if let Some(start) = &window.start {
                lines.push((
                    "replay",
                    format!("from {} of timeline {} on", start.file, window.timeline),
                ));
            }
            lines
        }
    }
}

//! A file name that several files of a stream have: which of them a position is taken to mean, and how to name the others.

use super::reading::Reading;
use crate::index::EntryRow;
use crate::locate::FilePosition;
use crate::model::Timeline;
use anyhow::Result;

/// Other files that are named in a note; 'binlogfs ls' has them all.
const NAMED_MAX: usize = 8;

/// Which file `position` is taken to mean in `timeline`, if others have its name as well: names of files come again after a
/// failover or a RESET, in the same timeline and in others.
pub fn note(
    reading: &Reading,
    timeline: Timeline,
    position: &FilePosition,
) -> Result<Option<String>> {
    let file = &position.file;
    let rows = reading.index.namesakes(file)?;
    let Some(taken) = taken(file, timeline, &rows) else {
        return Ok(None);
    };
    let others = rows.iter().filter(|row| row.seq != taken.seq);
    let mut named: Vec<String> = others.map(|row| in_words(row, timeline)).collect();
    if named.is_empty() {
        return Ok(None);
    }
    if named.len() > NAMED_MAX {
        named.truncate(NAMED_MAX);
        named.push("another one, as 'binlogfs ls' shows it".to_owned());
    }
    Ok(Some(format!(
        "{file} is taken to mean {} of timeline {timeline}; to mean another file of that name, write {}",
        taken.mount_name,
        named.join(", or ")
    )))
}

/// The file of `timeline` that a locator takes: the one that has the name in the mount, else the only one that its server called
/// so.
fn taken<'r>(file: &str, timeline: Timeline, rows: &'r [EntryRow]) -> Option<&'r EntryRow> {
    let mut its = rows.iter().filter(|row| row.timeline == timeline);
    let by_name = its.clone().find(|row| row.mount_name.as_str() == file);
    by_name.or_else(|| {
        let first = its.next();
        first.filter(|_| its.next().is_none())
    })
}

/// What names a file without doubt.
fn in_words(row: &EntryRow, timeline: Timeline) -> String {
    let name = &row.mount_name;
    match row.timeline == timeline {
        true => name.to_string(),
        false => format!("{name} with --timeline {}", row.timeline),
    }
}

//! What is wrong with a backup's metadata, and what to do.

use super::super::Coordinates;
use crate::locate::FilePosition;
use crate::model::{FileName, GtidSet};
use std::path::{Path, PathBuf};

/// Coordinates that cannot be read from a backup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}: {reason}; {next}", .path.display(), .line.map(|n| format!(", line {n}")).unwrap_or_default())]
pub struct MetadataError {
    /// The file, or the directory that should have it.
    pub path: PathBuf,
    /// Which line of it, from 1.
    pub line: Option<u64>,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub next: String,
}

/// The same, before it is known which file it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) line: Option<u64>,
    pub(super) reason: String,
    pub(super) next: String,
}

impl Problem {
    pub(super) fn new(reason: impl Into<String>, next: impl Into<String>) -> Problem {
        Problem {
            line: None,
            reason: reason.into(),
            next: next.into(),
        }
    }

    /// The same, in a line.
    #[must_use]
    pub(super) fn at(mut self, line: u64) -> Problem {
        self.line = Some(line);
        self
    }

    /// The same, in a file.
    pub(super) fn of(self, path: &Path) -> MetadataError {
        MetadataError {
            path: path.to_owned(),
            line: self.line,
            reason: self.reason,
            next: self.next,
        }
    }
}

/// What to do where a tool's own words cannot be read.
pub(super) const BY_HAND: &str =
    "if you know the coordinates, give them by --gtid-set or --position";

/// A GTID set as a tool wrote it: with newlines, and in quotes.
pub(super) fn gtid_set(text: &str) -> Result<GtidSet, Problem> {
    let bare: String = text
        .chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '\'' | '"'))
        .collect();
    let parsed = bare.strip_prefix('+').unwrap_or(&bare).parse();
    parsed.map_err(|e| {
        Problem::new(
            format!("its GTID set cannot be read ({e})"),
            format!("is the file damaged? {BY_HAND}"),
        )
    })
}

/// A place in a binlog as a tool wrote it. A clone writes the file with its directory.
pub(super) fn position(file: &str, offset: &str) -> Result<FilePosition, Problem> {
    let name = file.rsplit('/').next().unwrap_or(file);
    let damaged = |reason: String| Problem::new(reason, format!("is the file damaged? {BY_HAND}"));
    let name = name
        .parse::<FileName>()
        .map_err(|e| damaged(e.to_string()))?;
    // Smaller ones than 4 stand inside the magic number.
    let offset = offset.trim().parse::<u64>().ok().filter(|n| *n >= 4);
    let offset = offset.ok_or_else(|| damaged(format!("it has no offset in {name}")))?;
    Ok(FilePosition {
        file: name.to_string(),
        offset,
    })
}

/// The coordinates, unless they name no place.
pub(super) fn placed(coordinates: Coordinates, next: &str) -> Result<Coordinates, Problem> {
    match coordinates.is_place() {
        true => Ok(coordinates),
        false => Err(Problem::new(
            "it names neither a GTID set nor a binlog position: nobody can tell which binlogs follow it",
            next,
        )),
    }
}

//! What base backups can recover: each of them, and for `status` all together.

use super::Global;
use super::reading::Reading;
use crate::backup::{self, Backup, Recoverable, Verdict, exact, recoverable};
use crate::locate::Locator;
use crate::model::{Micros, Seq};
use anyhow::Result;
use serde::Serialize;
use std::sync::Arc;

/// A backup, and what it can recover.
pub(super) struct Checked {
    pub(super) backup: Backup,
    pub(super) verdict: Verdict,
}

/// What the index says of a backup, and its moment as exactly as the key at hand allows.
pub(super) async fn checked(global: &Global, reading: &Reading, backup: Backup) -> Result<Checked> {
    let flavour = reading.stream.file().flavour;
    let mut verdict = backup::check(&reading.index, flavour, &backup.coordinates)?;
    if let Verdict::Usable(window) = &mut verdict {
        window.was_there(backup.added_at);
        let start = window.start.as_ref().map(|start| start.seq);
        if !window.earliest_is_exact && can_be_read(global, reading, start)? {
            let reader = Arc::new(reading.reader(global)?);
            let locator = Locator::new(Arc::clone(&reading.index), reader);
            if let Err(error) = exact(&reading.index, &locator, &backup.coordinates, window).await {
                tracing::info!(
                    "the moment of backup {} is not known exactly: {error}",
                    backup.id
                );
            }
        }
    }
    Ok(Checked { backup, verdict })
}

/// Whether there is a segment, and a key for it where it needs one.
fn can_be_read(global: &Global, reading: &Reading, seq: Option<Seq>) -> Result<bool> {
    let entry = match seq {
        Some(seq) => reading.index.entry_by_seq(seq)?,
        None => None,
    };
    let segment = entry.and_then(|entry| entry.segment);
    Ok(segment
        .is_some_and(|segment| segment.object.recipients.is_empty() || !global.identity.is_empty()))
}

/// Base backups, and what they recover together.
#[derive(Serialize, Default)]
pub(super) struct Recovery {
    backups: usize,
    usable: usize,
    /// Newer than all that is archived.
    ahead: usize,
    pub(super) unusable: Vec<Bad>,
    /// Oldest first: what lies between two of them cannot be recovered.
    windows: Vec<Recoverable>,
}

/// A backup, or its record, that is of no use.
#[derive(Serialize)]
pub(super) struct Bad {
    pub(super) id: String,
    pub(super) reason: String,
}

/// Asks the registry and the index; with a key, the segments in which backups end.
pub(super) async fn recovery(global: &Global, reading: &Reading) -> Result<Recovery> {
    let registered = backup::backups(&reading.store, reading.stream.file().stream_id).await?;
    let mut found = Recovery {
        backups: registered.backups.len(),
        ..Recovery::default()
    };
    found.unusable = registered
        .unreadable
        .iter()
        .map(|bad| Bad {
            id: bad.id.to_string(),
            reason: format!("its record {}", bad.reason),
        })
        .collect();
    let mut windows = Vec::new();
    for backup in registered.backups {
        let Checked { backup, verdict } = checked(global, reading, backup).await?;
        match verdict {
            Verdict::Usable(window) => windows.push((backup.id, window)),
            Verdict::Ahead { .. } => found.ahead += 1,
            Verdict::Unusable(why) => found.unusable.push(Bad {
                id: backup.id.to_string(),
                reason: why.to_string(),
            }),
        }
    }
    found.usable = windows.len();
    found.windows = recoverable(windows.iter().map(|one| (&one.0, &one.1)));
    Ok(found)
}

impl Recovery {
    /// As `status` prints it.
    pub(super) fn print(&self) -> String {
        if self.backups == 0 && self.unusable.is_empty() {
            return "\nno base backup is registered ('binlogfs backup add'): nothing can be recovered without one\n".to_owned();
        }
        let mut text = format!(
            "\nbase backups\n  registered    {} ({} usable, {} newer than the archive)\n",
            self.backups, self.usable, self.ahead
        );
        let time =
            |time: Option<Micros>| time.map_or("the beginning".to_owned(), |t| t.to_string());
        for window in &self.windows {
            text += &format!(
                "  recoverable   {} to {} (timeline {}, from backup {})\n",
                time(window.earliest),
                time(window.latest),
                window.timeline,
                window.backup
            );
            if let Some(end) = &window.ends_at {
                text += &format!("  not beyond    {}, {}\n", end.file, end.reason);
            }
        }
        text
    }
}

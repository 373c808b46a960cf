//! `.status.json`: how the mount is doing, and what is too long for an extended attribute.

use super::history::{History, TimelineEntries};
use super::refresh::MountStatus;
use super::view::{Errno, View};
use crate::cache::ReaderFigures;
use crate::index::asking::ask;
use crate::index::{Index, IndexError};
use crate::ledger::{Entry, EntryState};
use crate::model::{Micros, Seq, Timeline};
use bytes::Bytes;
use serde_json::{Value, json};

/// Entries that cannot be read, as many as are named one by one: the newest. All are counted.
const UNSOUND_SHOWN: usize = 100;
/// Segments whose GTID set is too long for an attribute, as many as are shown: the newest.
const LONG_SETS_SHOWN: usize = 16;

/// What a status tells of, at one moment.
pub(super) struct Status<'a> {
    /// When.
    pub now: Micros,
    /// How the refreshes went.
    pub mount: Option<&'a MountStatus>,
    /// The timeline in the root.
    pub root: Option<Timeline>,
    /// What is shown.
    pub history: &'a History,
    /// Where more is known.
    pub index: Option<&'a Index>,
    /// How what reads it is doing.
    pub reader: &'a ReaderFigures,
    /// Directories made on demand that are remembered.
    pub made_directories: usize,
}

impl Status<'_> {
    /// As JSON.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub(super) fn json(&self) -> Result<Value, IndexError> {
        let timelines: Vec<Value> = self
            .history
            .timelines()
            .filter_map(|timeline| Some((timeline, self.history.timeline(timeline)?)))
            .map(|(timeline, entries)| timeline_json(timeline, entries))
            .collect();
        let age = |status: &MountStatus| self.now.0.saturating_sub(status.refreshed_at.0) as f64;
        let mut all = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "now": self.now.to_string(),
            "refreshed_at": self.mount.map(|status| status.refreshed_at.to_string()),
            "age_seconds": self.mount.map(|status| age(status) / 1e6),
            "last_error": self.mount.and_then(|status| status.last_error.clone()),
            "root_timeline": self.root,
            "timelines": timelines,
            "memory": self.reader.memory,
            "read_ahead": self.reader.read_ahead,
            "disk_cache": self.reader.disk_cache,
            "replica_reads": self.reader.replica_reads,
            "made_directories": self.made_directories,
        });
        if let (Some(index), Some(members)) = (self.index, all.as_object_mut()) {
            members.insert("unsound".to_owned(), unsound(index)?);
            members.insert("last_archived".to_owned(), last_archived(index)?);
            members.insert("executed".to_owned(), self.executed(index)?);
            let long = index.long_sets(LONG_SETS_SHOWN)?;
            let long: Vec<Value> = long.iter().map(entry_json).collect();
            members.insert("long_gtid_sets".to_owned(), long.into());
        }
        Ok(all)
    }

    /// What a server has executed that was replayed to the end of the root.
    fn executed(&self, index: &Index) -> Result<Value, IndexError> {
        let state = index.state()?;
        let known = self
            .root
            .zip(state.as_ref())
            .and_then(|(root, state)| state.timeline(root));
        Ok(json!(known.map(|known| known.executed.to_string())))
    }
}

impl View {
    /// What `.status.json` says now.
    ///
    /// # Errors
    /// EIO if the index cannot be read.
    pub(super) async fn status_text(&self) -> Result<Bytes, Errno> {
        let (index, mount) = self.behind();
        let (history, root) = (self.history(), self.root());
        let reader = self.reader().figures();
        let made_directories = self.made_directories();
        let rendered = ask(move || {
            let status = Status {
                now: Micros::now(),
                mount: mount.as_ref(),
                root,
                history: &history,
                index: index.as_deref(),
                reader: &reader,
                made_directories,
            };
            status.json()
        });
        match rendered.await {
            Ok(Ok(json)) => Ok(format!("{json:#}\n").into()),
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot read the index for .status.json");
                Err(libc::EIO)
            }
            Err(died) => {
                tracing::error!(%died, "cannot make .status.json");
                Err(libc::EIO)
            }
        }
    }
}

fn timeline_json(timeline: Timeline, entries: &TimelineEntries) -> Value {
    let (first, last) = (entries.after(Seq(0)).next(), entries.last());
    json!({
        "timeline": timeline,
        "entries": entries.len(),
        "first": first.map(|entry| entry.name),
        "last": last.map(|entry| entry.name),
        "last_time": last.map(|entry| entry.mtime.to_string()),
    })
}

/// What cannot be read in full: counted, and the newest by name.
fn unsound(index: &Index) -> Result<Value, IndexError> {
    let rows = index.unsound()?;
    let count = |state: EntryState| rows.iter().filter(|row| row.state == state).count();
    let newest: Vec<Value> = rows
        .iter()
        .take(UNSOUND_SHOWN)
        .map(|row| json!({ "name": row.mount_name, "timeline": row.timeline, "state": row.state, "reason": row.reason() }))
        .collect();
    Ok(json!({
        "damaged": count(EntryState::Damaged),
        "holes": count(EntryState::Hole),
        "gaps": count(EntryState::Gap),
        "lost": count(EntryState::Lost),
        "newest": newest,
    }))
}

fn last_archived(index: &Index) -> Result<Value, IndexError> {
    let newest = index.state()?.and_then(|state| state.newest_segment());
    let entry = match newest {
        Some(seq) => index.entry_by_seq(seq)?,
        None => None,
    };
    Ok(entry.as_ref().map_or(Value::Null, entry_json))
}

fn entry_json(entry: &Entry) -> Value {
    let segment = entry.segment.as_deref();
    json!({
        "name": entry.mount_name,
        "timeline": entry.timeline,
        "seq": entry.seq,
        "last_time": entry.last_time().map(|time| time.to_string()),
        "archived_at": segment.map(|s| s.archived_at.to_string()),
        "gtid_set": entry.gtids().map(ToString::to_string),
        "previous_gtids": entry.previous_gtids.as_ref().map(ToString::to_string),
    })
}

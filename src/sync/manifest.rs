//! `state.json`: the archiver's local summary, for people and monitoring; rebuilt from the ledger when lost or stale.

use super::archive::Settings;
use super::journal::around;
use crate::index::Index;
use crate::ledger::LedgerState;
use crate::model::{FileName, GtidSet, Incarnation, Micros, Seq, Sha256};
use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Its name in the state directory.
pub const MANIFEST_NAME: &str = "state.json";

/// What `state.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The newest segment of the ledger.
    pub last_archived: Option<LastArchived>,
    /// When this was written.
    pub updated_at: Micros,
}

/// The newest segment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastArchived {
    /// Its name on the server.
    pub file: FileName,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Everything executed at its end, where known.
    pub gtid_set: Option<GtidSet>,
    /// SHA-256 of its bytes.
    pub sha256: Sha256,
    /// Its record.
    pub seq: Seq,
}

/// The path in a state directory.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(MANIFEST_NAME)
}

/// Reads it. `None` when there is none, or what is there is no manifest: it is derived, and written anew.
pub fn read(state_dir: &Path) -> Option<Manifest> {
    serde_json::from_slice(&std::fs::read(path(state_dir)).ok()?).ok()
}

/// The newest segment's record that it names; 0 without one. All up to there counts as archived, for ever.
pub fn counted(state_dir: &Path) -> Seq {
    let last = read(state_dir).and_then(|manifest| manifest.last_archived);
    last.map_or(Seq(0), |last| last.seq)
}

/// Writes it: beside, durable, renamed into place.
///
/// # Errors
/// As the file system tells; the old one is then still there.
pub fn write(state_dir: &Path, manifest: &Manifest) -> std::io::Result<()> {
    let beside = state_dir.join(format!("{MANIFEST_NAME}.new"));
    let mut file = std::fs::File::create(&beside)?;
    serde_json::to_writer_pretty(&mut file, manifest)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&beside, path(state_dir))?;
    std::fs::File::open(state_dir)?.sync_all()
}

/// Writes `state.json` from the index: the newest segment that counts as archived, whoever archived it.
///
/// # Errors
/// When it, or the index, cannot be used.
pub fn write_manifest(index: &Index, settings: &Settings) -> Result<()> {
    let through = settings.archived_through.load(Ordering::Relaxed);
    // What counted once counts for ever: a process that has just begun does not know yet how far its replicas are.
    let through = match through {
        u64::MAX => Seq(through),
        _ => Seq(through).max(counted(&settings.state_dir)),
    };
    let manifest = Manifest {
        last_archived: last_archived(index, through)?,
        updated_at: (settings.clock)(),
    };
    around(&*settings.interrupt, "manifest.write", || {
        write(&settings.state_dir, &manifest)
    })
    .with_context(|| format!("cannot write {}", path(&settings.state_dir).display()))
}

/// The newest segment up to record `through`.
fn last_archived(index: &Index, through: Seq) -> Result<Option<LastArchived>> {
    let state = index.state()?;
    let Some(mut seq) = state.as_deref().and_then(LedgerState::newest_segment) else {
        return Ok(None);
    };
    let newest = seq <= through;
    seq = seq.min(through);
    let entry = loop {
        match index.entry_by_seq(seq)? {
            Some(entry) if entry.segment.is_some() => break entry,
            _ if newest || seq.0 <= 1 => return Ok(None),
            _ => seq = Seq(seq.0 - 1),
        }
    };
    let known = state.as_deref();
    let known = known.and_then(|state| state.incarnation(entry.incarnation));
    Ok(entry.segment.and_then(|segment| {
        let gtid_set = match newest {
            true => known?.executed.clone(),
            false => entry.previous_gtids.map(|mut set| {
                set.union_with(&segment.gtids);
                set
            }),
        };
        Some(LastArchived {
            file: segment.file.clone(),
            incarnation: entry.incarnation,
            gtid_set,
            sha256: segment.sha256,
            seq: entry.seq,
        })
    }))
}

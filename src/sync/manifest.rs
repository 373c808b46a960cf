//! `state.json`: the archiver's local summary, for people and monitoring; rebuilt from the ledger when lost or stale.

use crate::model::{FileName, GtidSet, Incarnation, Micros, Seq, Sha256};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::{Path, PathBuf};

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

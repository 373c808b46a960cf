//! Notes of what nobody else knows: that a replay without GTIDs was begun, that a server was restarted for one, what was left out of it.

use crate::model::{GtidSet, Sha256};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// What is known of a replay without GTIDs to a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The server.
    pub target: String,
    /// Where the replay began: file and position.
    pub begin: String,
    /// Where it was to end.
    pub stop: String,
    /// It got there.
    pub done: bool,
}

/// What was left out of a server, which has empty transactions instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The server.
    pub target: String,
    /// The GTIDs.
    pub gtids: GtidSet,
}

/// What a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// A replay without GTIDs: [`Note`].
    Recovery,
    /// A restart: [`super::restart::RestartNote`].
    Restart,
    /// Transactions that were left out: [`LeftOut`].
    LeftOut,
}

/// Where the note of a server is, in a directory that outlives this run.
pub fn path(dir: &Path, about: About, target: &str) -> PathBuf {
    let digest = Sha256::of(target.as_bytes()).to_string();
    let about = match about {
        About::Recovery => "recovery",
        About::Restart => "restart",
        About::LeftOut => "left-out",
    };
    dir.join(format!("{about}-{}.json", &digest[..16]))
}

/// Reads a note, if there is one.
///
/// # Errors
/// Also when it is none of ours: whoever damaged it may have removed the only trace.
pub fn read<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let note = serde_json::from_slice(&text);
    note.map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes it, so that it is there after a crash.
///
/// # Errors
/// As the system calls have them.
pub fn write<T: Serialize>(path: &Path, note: &T) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir)?;
    let new = path.with_extension("json.new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(&serde_json::to_vec_pretty(note)?)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    std::fs::File::open(dir)?.sync_all()
}

/// Removes it, so that it is gone after a crash.
///
/// # Errors
/// As the system calls have them.
pub fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_damage_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = path(&dir.path().join("state"), About::Recovery, "a server");
        assert_eq!(read::<Note>(&path).expect("none"), None);
        let note = Note {
            target: "a server".into(),
            begin: "binlog.000001:4".into(),
            stop: "binlog.000003:157".into(),
            done: false,
        };
        write(&path, &note).expect("writable");
        assert_eq!(read(&path).expect("readable"), Some(note));
        std::fs::write(&path, "{").expect("writable");
        assert!(read::<Note>(&path).is_err());
        remove(&path).expect("removable");
        remove(&path).expect("it is gone already");
        assert_eq!(read::<Note>(&path).expect("none"), None);
    }
}

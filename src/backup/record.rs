//! `backups/<id>.json`: one registered backup.

use super::Coordinates;
use crate::model::{Micros, ObjectKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// Version of the record that this build writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// Largest record accepted: as of the ledger, a GTID set makes it large.
pub const BACKUP_MAX_BYTES: u64 = 32 << 20;
/// The prefix of all keys of backups.
pub const BACKUPS_PREFIX: &str = "backups/";
/// What ends the key of a record.
const RECORD: &str = ".json";
/// What ends the key of a tombstone.
const TOMBSTONE: &str = ".removed";
/// Longest id: it is typed.
const ID_MAX_BYTES: usize = 64;

/// A registered base backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// [`FORMAT`] of its writer.
    pub format: u32,
    /// What it is called.
    pub id: BackupId,
    /// The stream it was registered in: a copy in another one is none.
    pub stream_id: Uuid,
    /// Where in the history it stands.
    pub coordinates: Coordinates,
    /// Where it is, a path or URL: text for people and their scripts.
    pub place: String,
    /// What the person who registered it said of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// When it was registered.
    pub added_at: Micros,
    /// Who registered it: host name and version.
    pub added_by: String,
}

/// Bytes that are no record of a backup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// No record looks like this.
    #[error("is damaged: {0}")]
    Malformed(String),
    /// It comes from the future.
    #[error("has format {0}, and this build reads up to {FORMAT}: upgrade binlogfs")]
    NewerFormat(u64),
    /// It was copied from elsewhere.
    #[error("is of another stream ({0})")]
    OtherStream(Uuid),
    /// It was renamed.
    #[error("is the record of backup {0}")]
    OtherId(BackupId),
}

impl Backup {
    /// Its bytes.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("plain values serialise");
        bytes.push(b'\n');
        bytes
    }

    /// Reads the record that was found under the key of `id`. Members that are not known are passed over.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn read(bytes: &[u8], id: &BackupId, stream_id: Uuid) -> Result<Backup, RecordError> {
        #[derive(Deserialize)]
        struct Opening {
            format: u64,
        }
        let malformed = |e: serde_json::Error| RecordError::Malformed(e.to_string());
        let opening: Opening = serde_json::from_slice(bytes).map_err(malformed)?;
        if opening.format != u64::from(FORMAT) {
            return Err(RecordError::NewerFormat(opening.format));
        }
        let backup: Backup = serde_json::from_slice(bytes).map_err(malformed)?;
        if backup.stream_id != stream_id {
            return Err(RecordError::OtherStream(backup.stream_id));
        }
        if backup.id != *id {
            return Err(RecordError::OtherId(backup.id));
        }
        if !backup.coordinates.is_place() {
            return Err(RecordError::Malformed("it names no place".to_owned()));
        }
        Ok(backup)
    }
}

/// The name of a backup: letters, digits, `.`, `_` and `-`, and a letter or digit first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackupId(String);

/// A text that is no id of a backup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no id of a backup: up to {ID_MAX_BYTES} letters, digits, '.', '_' and '-', the first a letter or digit"
)]
pub struct ParseIdError(String);

impl FromStr for BackupId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<BackupId, ParseIdError> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if text.len() > ID_MAX_BYTES || !begins || !text.chars().all(legal) {
            return Err(ParseIdError(text.chars().take(100).collect()));
        }
        Ok(BackupId(text.to_owned()))
    }
}

/// What a key below [`BACKUPS_PREFIX`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Record(BackupId),
    Tombstone(BackupId),
}

impl BackupId {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key of its record.
    pub fn key(&self) -> ObjectKey {
        self.key_with(RECORD)
    }

    /// The key of the object that says that it was removed.
    pub fn tombstone_key(&self) -> ObjectKey {
        self.key_with(TOMBSTONE)
    }

    fn key_with(&self, end: &str) -> ObjectKey {
        let key = format!("{BACKUPS_PREFIX}{self}{end}").parse();
        key.expect("an id makes a valid key")
    }

    /// What `key` is, if it is anything of a backup's.
    pub(super) fn of_key(key: &ObjectKey) -> Option<Kept> {
        let name = key.as_str().strip_prefix(BACKUPS_PREFIX)?;
        if let Some(id) = name.strip_suffix(RECORD) {
            return id.parse().ok().map(Kept::Record);
        }
        let id = name.strip_suffix(TOMBSTONE)?;
        id.parse().ok().map(Kept::Tombstone)
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for BackupId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BackupId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::model::text::deserialize(deserializer)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::Tool;
    use super::*;

    pub(in crate::backup) fn backup(id: &str) -> Backup {
        Backup {
            format: FORMAT,
            id: id.parse().expect("an id"),
            stream_id: Uuid::from_u128(7),
            coordinates: Coordinates {
                gtids: "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5".parse().ok(),
                position: "binlog.000002:157".parse().ok(),
                ..Coordinates::of(Tool::Mysqldump)
            },
            place: "/srv/dumps/full.sql".to_owned(),
            note: String::new(),
            added_at: Micros(1_000_000),
            added_by: "db1, binlogfs 0".to_owned(),
        }
    }

    #[test]
    fn a_record_round_trips_and_tolerates_what_a_newer_build_adds() {
        let backup = backup("nightly-1");
        let text = String::from_utf8(backup.write()).expect("text");
        let read = |text: &str| Backup::read(text.as_bytes(), &backup.id, backup.stream_id);
        assert_eq!(read(&text), Ok(backup.clone()));
        assert!(text.contains(r#""position":"binlog.000002:157""#), "{text}");
        let more = text.replacen('{', r#"{"checksum":"later","#, 1);
        assert_eq!(read(&more), Ok(backup.clone()));
        let tool = text.replace(r#""tool":"mysqldump""#, r#""tool":"snapshots""#);
        assert_eq!(read(&tool).expect("reads").coordinates.tool, Tool::Other);
    }

    #[test]
    fn what_is_no_record_of_this_backup_is_refused_with_the_reason() {
        let backup = backup("nightly-1");
        let text = String::from_utf8(backup.write()).expect("text");
        let read = |text: &str| Backup::read(text.as_bytes(), &backup.id, backup.stream_id);
        assert_eq!(
            read(&text.replace(r#""format":1"#, r#""format":2,"x":{}"#)),
            Err(RecordError::NewerFormat(2))
        );
        let other = Backup::read(text.as_bytes(), &backup.id, Uuid::from_u128(8));
        assert_eq!(other, Err(RecordError::OtherStream(Uuid::from_u128(7))));
        let renamed = "nightly-2".parse().expect("an id");
        let renamed = Backup::read(text.as_bytes(), &renamed, backup.stream_id);
        assert_eq!(renamed, Err(RecordError::OtherId(backup.id.clone())));
        let nowhere = text
            .replace(r#""position":"binlog.000002:157","#, "")
            .replace(r#""gtids":"3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5","#, "");
        for bad in ["", "{}", &text[..text.len() / 2], &nowhere] {
            assert!(
                matches!(read(bad), Err(RecordError::Malformed(_))),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn ids_are_what_a_key_and_a_command_line_can_carry() {
        for good in ["a", "20261126T123241Z-mysqldump", "x.removed", "A_b.c-9"] {
            let id: BackupId = good.parse().expect(good);
            assert_eq!(BackupId::of_key(&id.key()), Some(Kept::Record(id.clone())));
            assert_eq!(
                BackupId::of_key(&id.tombstone_key()),
                Some(Kept::Tombstone(id))
            );
        }
        for bad in ["", ".a", "-a", "a b", "a/b", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<BackupId>().is_err(), "{bad:?}");
        }
    }
}

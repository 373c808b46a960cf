//! `stream.json`: what a stream is, written once when it begins.

use super::FORMAT;
use crate::binlog::Flavour;
use crate::model::{Basename, Micros, ObjectKey, Sha256};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Largest `stream.json` accepted: ten times what one holds.
pub const STREAM_FILE_MAX_BYTES: u64 = 64 << 10;

/// What a stream is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamFile {
    /// [`FORMAT`] of its writer.
    pub format: u32,
    /// Random, so that two streams are never taken for one.
    pub stream_id: Uuid,
    /// MySQL or MariaDB: the two never share a stream.
    pub flavour: Flavour,
    /// Basename of the first file archived: every mount name begins with it.
    pub basename: Basename,
    /// When the stream began.
    pub created_at: Micros,
}

/// Bytes that are no `stream.json`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamFileError {
    /// No `stream.json` looks like this.
    #[error("stream.json is damaged: {0}; restore it from a copy of the bucket")]
    Malformed(String),
    /// It comes from the future.
    #[error("stream.json has format {0}, and this build reads up to {FORMAT}: upgrade binlogfs")]
    NewerFormat(u32),
}

impl StreamFile {
    /// Its key.
    pub fn key() -> ObjectKey {
        "stream.json".parse().expect("a valid key")
    }

    /// Its bytes.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("plain values serialise");
        bytes.push(b'\n');
        bytes
    }

    /// Reads it.
    ///
    /// # Errors
    /// See [`StreamFileError`].
    pub fn read(bytes: &[u8]) -> Result<StreamFile, StreamFileError> {
        let file: StreamFile =
            serde_json::from_slice(bytes).map_err(|e| StreamFileError::Malformed(e.to_string()))?;
        if file.format != FORMAT {
            return Err(StreamFileError::NewerFormat(file.format));
        }
        Ok(file)
    }

    /// What the first record's `prev` says: SHA-256 of the file's bytes as stored. It ties the ledger to the stream.
    pub fn hash(bytes: &[u8]) -> Sha256 {
        Sha256::of(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[test]
    fn it_round_trips_and_tolerates_unknown_fields() {
        let file = testing::stream_file();
        let bytes = file.write();
        assert!((bytes.len() as u64) < STREAM_FILE_MAX_BYTES);
        assert_eq!(StreamFile::read(&bytes).expect("reads"), file);
        let text = String::from_utf8(bytes).expect("text");
        let more = text.replacen('{', r#"{"note":"kept for later","#, 1);
        assert_eq!(StreamFile::read(more.as_bytes()).expect("reads"), file);
        assert_ne!(
            StreamFile::hash(more.as_bytes()),
            StreamFile::hash(text.as_bytes())
        );
    }

    #[test]
    fn what_is_no_stream_file_is_refused_with_the_reason() {
        let text = String::from_utf8(testing::stream_file().write()).expect("text");
        let newer = text.replace(r#""format":1"#, r#""format":2"#);
        assert_eq!(
            StreamFile::read(newer.as_bytes()),
            Err(StreamFileError::NewerFormat(2))
        );
        for bad in [
            String::new(),
            "<Error>NoSuchKey</Error>".to_owned(),
            text[..text.len() / 2].to_owned(),
            text.replace(r#""basename":"binlog""#, r#""basename":"../x""#),
            text.replace(r#""basename":"binlog""#, r#""basename":"""#),
        ] {
            let read = StreamFile::read(bad.as_bytes());
            assert!(matches!(read, Err(StreamFileError::Malformed(_))), "{bad}");
        }
    }
}

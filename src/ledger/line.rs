//! A record as the line of bytes that is stored, with the hash that protects it.

use super::record::Record;
use super::{FORMAT, RECORD_MAX_BYTES};
use crate::model::{Seq, Sha256};

/// What stands before the 64 digits of `self`, and after them.
const SELF_OPEN: &[u8] = br#","self":""#;
const SELF_CLOSE: &[u8] = br#""}"#;
const SELF_BYTES: usize = SELF_OPEN.len() + 64 + SELF_CLOSE.len();

/// A line whose `self` hash matches its bytes, and the record it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    text: String,
    hash: Sha256,
    record: Record,
}

/// Bytes that are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// The bytes are not those that were written.
    #[error("its bytes do not match its own hash: it was changed after it was written")]
    SelfMismatch,
    /// No record looks like this.
    #[error("it is not a ledger record: {0}")]
    Malformed(String),
    /// It comes from the future.
    #[error("it has format {0}, and this build reads up to {FORMAT}: upgrade binlogfs")]
    NewerFormat(u64),
}

impl Line {
    /// Writes `record` as its line.
    ///
    /// # Errors
    /// [`LineError::Malformed`] when the line would be longer than [`RECORD_MAX_BYTES`].
    pub fn write(record: Record) -> Result<Line, LineError> {
        let mut text =
            serde_json::to_string(&record).map_err(|e| LineError::Malformed(e.to_string()))?;
        if text.len() as u64 > RECORD_MAX_BYTES - SELF_BYTES as u64 {
            return Err(LineError::Malformed(format!(
                "{} bytes, over the limit of {RECORD_MAX_BYTES}; its GTID sets are too fragmented",
                text.len()
            )));
        }
        let digest = Sha256::of(text.as_bytes());
        let closing = text.pop();
        assert_eq!(closing, Some('}'), "a record is a JSON object");
        text.push_str(&format!(r#","self":"{digest}"}}"#));
        let hash = Sha256::of(text.as_bytes());
        Ok(Line { text, hash, record })
    }

    /// Reads a line, with or without its newline.
    ///
    /// # Errors
    /// See [`LineError`].
    pub fn read(bytes: &[u8]) -> Result<Line, LineError> {
        let malformed = |why: &str| LineError::Malformed(why.to_owned());
        let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        if bytes.len() as u64 > RECORD_MAX_BYTES {
            return Err(malformed("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| LineError::SelfMismatch)?;
        check_self(bytes)?;
        // The format number first: a newer record may have a shape that this build cannot read.
        #[derive(serde::Deserialize)]
        struct Versioned {
            format: u64,
        }
        let versioned: Versioned =
            serde_json::from_str(text).map_err(|e| LineError::Malformed(e.to_string()))?;
        if versioned.format != u64::from(FORMAT) {
            return Err(LineError::NewerFormat(versioned.format));
        }
        let record = serde_json::from_str(text).map_err(|e| LineError::Malformed(e.to_string()))?;
        Ok(Line {
            text: text.to_owned(),
            hash: Sha256::of(bytes),
            record,
        })
    }

    /// The record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The record's place.
    pub fn seq(&self) -> Seq {
        self.record.seq
    }

    /// SHA-256 of the whole line: what the next record's `prev` says.
    pub fn hash(&self) -> Sha256 {
        self.hash
    }

    /// The line without a newline.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Checks that the line ends in `self`, and that it is the SHA-256 of the line without it.
fn check_self(bytes: &[u8]) -> Result<(), LineError> {
    let body_len = bytes
        .len()
        .checked_sub(SELF_BYTES)
        .ok_or(LineError::SelfMismatch)?;
    let (body, tail) = bytes.split_at(body_len);
    let digits = tail
        .strip_prefix(SELF_OPEN)
        .and_then(|t| t.strip_suffix(SELF_CLOSE));
    let said: Option<Sha256> = digits
        .and_then(|d| std::str::from_utf8(d).ok())
        .and_then(|d| d.parse().ok());
    let mut hasher = crate::model::digest::Hasher::default();
    hasher.update(body);
    hasher.update(b"}");
    if said == Some(hasher.finish()) {
        Ok(())
    } else {
        Err(LineError::SelfMismatch)
    }
}

//! The tag of a GTID.

use super::gtid_text::ParseGtidError;
use compact_str::CompactString;
use std::str::FromStr;

/// A GTID tag (MySQL 8.3 and later): up to 32 of `[a-z0-9_]`, not beginning with a digit; empty for an untagged GTID.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Tag(pub(super) CompactString);

/// Longest tag MySQL accepts.
const TAG_MAX_BYTES: usize = 32;

impl Tag {
    /// The tag of an untagged GTID.
    pub fn none() -> Tag {
        Tag::default()
    }

    /// The text, empty for an untagged GTID.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tag {
    type Err = ParseGtidError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // MySQL folds tags to lower case on input ("GTID Format", 19.1.3.1).
        let text = text.to_ascii_lowercase();
        let legal = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if text.len() > TAG_MAX_BYTES || !legal || text.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(ParseGtidError::new(&text, "is not a GTID tag"));
        }
        Ok(Tag(text.into()))
    }
}

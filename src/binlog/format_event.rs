//! The format description event as it stands in its file: with it, reading can begin in the middle.

use super::format::MAX_BYTES;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::borrow::Cow;
use std::fmt;

/// A format description event, whole: header, body and checksum. In JSON hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct FormatEvent(Vec<u8>);

impl FormatEvent {
    /// The event that `bytes` are. Whether they are one is told by whoever reads on with it.
    pub(super) fn new(bytes: &[u8]) -> FormatEvent {
        FormatEvent(bytes.to_vec())
    }

    /// The event.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for FormatEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl Serialize for FormatEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for FormatEvent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        if text.len() > 2 * MAX_BYTES {
            return Err(D::Error::custom("no format description is so long"));
        }
        let bytes = hex::decode(text.as_bytes()).map_err(D::Error::custom)?;
        Ok(FormatEvent(bytes))
    }
}

//! The age header that a re-keyed segment's record carries, written as base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// Longest carried header in bytes: what an object's own may be, with its nonce.
const HEADER_MAX_BYTES: usize = 8 << 10;

/// An age header with its payload nonce, that readers use in place of the first `header_size` bytes of the object.
#[derive(Clone, PartialEq, Eq)]
pub struct CarriedHeader(Arc<[u8]>);

/// Bytes that are too many to be an age header, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a carried age header has 1 to {HEADER_MAX_BYTES} bytes, and this one has {0}")]
pub struct CarriedHeaderError(usize);

impl CarriedHeader {
    /// The header with these bytes. Whether they are one is known when it is opened.
    ///
    /// # Errors
    /// [`CarriedHeaderError`].
    pub fn new(bytes: Vec<u8>) -> Result<CarriedHeader, CarriedHeaderError> {
        if bytes.is_empty() || bytes.len() > HEADER_MAX_BYTES {
            return Err(CarriedHeaderError(bytes.len()));
        }
        Ok(CarriedHeader(bytes.into()))
    }

    /// Its bytes.
    pub fn bytes(&self) -> &Arc<[u8]> {
        &self.0
    }
}

impl fmt::Display for CarriedHeader {
    /// As base64, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(&self.0))
    }
}

impl fmt::Debug for CarriedHeader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CarriedHeader({} bytes)", self.0.len())
    }
}

impl Serialize for CarriedHeader {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CarriedHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<CarriedHeader, D::Error> {
        use serde::de::Error;
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        // Before anything is decoded: four digits for three bytes.
        if text.len() > HEADER_MAX_BYTES * 4 / 3 + 4 {
            return Err(D::Error::custom(CarriedHeaderError(text.len() / 4 * 3)));
        }
        let bytes = STANDARD.decode(&*text).map_err(D::Error::custom)?;
        CarriedHeader::new(bytes).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back_from_base64_and_nothing_else_is() {
        let header = CarriedHeader::new(vec![0, 1, 254, 255]).expect("short enough");
        let json = serde_json::to_string(&header).expect("text");
        assert_eq!(json, "\"AAH+/w==\"");
        assert_eq!(
            serde_json::from_str::<CarriedHeader>(&json).ok(),
            Some(header)
        );
        let long = format!("\"{}\"", STANDARD.encode(vec![7; HEADER_MAX_BYTES + 1]));
        for bad in [
            "\"\"",
            "\"AAH+\\n/w==\"",
            "\"AAH+_w==\"",
            "\"AAH\"",
            "1",
            &long,
        ] {
            assert!(
                serde_json::from_str::<CarriedHeader>(bad).is_err(),
                "{bad:.40}"
            );
        }
        assert!(CarriedHeader::new(Vec::new()).is_err());
    }
}

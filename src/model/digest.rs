//! A SHA-256 value, written as 64 lower-case hexadecimal digits.

use ring::digest::{Context, SHA256, digest};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A SHA-256 value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

/// Text that is not 64 hexadecimal digits.
#[derive(Debug, thiserror::Error)]
#[error("not a SHA-256 (64 hexadecimal digits): {0:?}")]
pub struct ParseSha256Error(String);

impl Sha256 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Sha256 {
        from_ring(digest(&SHA256, bytes))
    }
}

fn from_ring(digest: ring::digest::Digest) -> Sha256 {
    let bytes = digest.as_ref().try_into();
    Sha256(bytes.expect("a SHA-256 has 32 bytes"))
}

/// Computes a [`Sha256`] over bytes that arrive in pieces.
#[derive(Clone)]
pub struct Hasher(Context);

impl Default for Hasher {
    fn default() -> Hasher {
        Hasher(Context::new(&SHA256))
    }
}

impl Hasher {
    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes added.
    pub fn finish(self) -> Sha256 {
        from_ring(self.0.finish())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256 {
    type Err = ParseSha256Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        decoded(text.as_bytes())
            .map(Sha256)
            .ok_or_else(|| ParseSha256Error(text.chars().take(80).collect()))
    }
}

/// A record has five digests: the `hex` crate, byte by byte, took a tenth of reading a million records.
fn decoded(digits: &[u8]) -> Option<[u8; 32]> {
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let pairs: &[[u8; 2]; 32] = pairs.try_into().ok()?;
    let mut bytes = [0; 32];
    let mut wrong = 0;
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        let (high, low) = (VALUES[usize::from(*high)], VALUES[usize::from(*low)]);
        wrong |= high | low;
        *byte = high << 4 | low;
    }
    (wrong & NO_DIGIT == 0).then_some(bytes)
}

const NO_DIGIT: u8 = 0x80;

/// The value of each hexadecimal digit. Upper case has none: it would give one digest two texts, and records are compared as
/// text.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    values
};

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::model::text::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_upper_case_is_refused() {
        let digest = Sha256::of(b"binlog");
        assert_eq!(
            digest.to_string().parse::<Sha256>().expect("parses"),
            digest
        );
        assert!(digest.to_string().to_uppercase().parse::<Sha256>().is_err());
        assert!("ab".parse::<Sha256>().is_err());
        let text = digest.to_string();
        for at in 0..64 {
            for wrong in ["g", "/", ":", "`", "G", "\u{e9}"] {
                let mut changed = text.clone();
                changed.replace_range(at..=at, wrong);
                assert!(changed.parse::<Sha256>().is_err(), "{changed}");
            }
        }
        assert!(format!("{text}0").parse::<Sha256>().is_err());
        assert!(text[1..].parse::<Sha256>().is_err());
        assert_eq!(hex::decode(&text).expect("hexadecimal"), digest.0);
    }
}

//! The checksums of an object, computed while its bytes pass.

use super::{Checksums, ObjectMeta};
use crate::model::counted::{count, of_number};
use crc_fast::{CrcAlgorithm, Digest};

impl Checksums {
    /// The checksums of `bytes`.
    pub fn of(bytes: &[u8]) -> Checksums {
        let mut hasher = ChecksumHasher::default();
        hasher.update(bytes);
        hasher.finish()
    }
}

impl ObjectMeta {
    /// Whether size and those checksums that the store keeps are `expected`'s.
    pub fn agrees_with(&self, expected: &Checksums) -> bool {
        self.difference(expected).is_none()
    }

    /// How an object is not as recorded, as far as its size and those checksums tell that the store keeps.
    pub fn difference(&self, recorded: &Checksums) -> Option<String> {
        let differs = |sum: Option<u64>, recorded: u64| sum.is_some_and(|sum| sum != recorded);
        if self.size != recorded.size {
            let (has, had) = (count(self.size, "byte"), recorded.size);
            let were = of_number(had, "was", "were");
            Some(format!("has {has} and {had} {were} recorded"))
        } else if differs(self.crc32c.map(u64::from), u64::from(recorded.crc32c)) {
            Some("has another CRC-32C than recorded".to_owned())
        } else if differs(self.crc64nvme, recorded.crc64nvme) {
            Some("has another CRC-64/NVME than recorded".to_owned())
        } else {
            None
        }
    }
}

/// Computes [`Checksums`] over bytes that arrive in pieces.
pub struct ChecksumHasher {
    size: u64,
    crc32c: Digest,
    crc64nvme: Digest,
}

impl Default for ChecksumHasher {
    fn default() -> ChecksumHasher {
        ChecksumHasher {
            size: 0,
            // CRC-32C goes by "iSCSI" in the catalogue of CRC algorithms.
            crc32c: Digest::new(CrcAlgorithm::Crc32Iscsi),
            crc64nvme: Digest::new(CrcAlgorithm::Crc64Nvme),
        }
    }
}

impl ChecksumHasher {
    /// Adds `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        self.size += bytes.len() as u64;
        self.crc32c.update(bytes);
        self.crc64nvme.update(bytes);
    }

    /// The checksums of all bytes added.
    pub fn finish(&self) -> Checksums {
        Checksums {
            size: self.size,
            crc32c: self.crc32c.finalize() as u32,
            crc64nvme: self.crc64nvme.finalize(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogued_check_values_come_out_whatever_the_pieces() {
        // "123456789" is the check input of the catalogue of parametrised CRC algorithms.
        let whole = Checksums::of(b"123456789");
        assert_eq!(whole.size, 9);
        assert_eq!(whole.crc32c, 0xE306_9283);
        assert_eq!(whole.crc64nvme, 0xAE8B_1486_0A79_9888);
        let mut pieces = ChecksumHasher::default();
        pieces.update(b"1234");
        pieces.update(b"");
        pieces.update(b"56789");
        assert_eq!(pieces.finish(), whole);
    }

    #[test]
    fn an_object_differs_in_its_size_and_in_those_checksums_that_the_store_keeps() {
        let recorded = Checksums::of(b"123456789");
        let meta = |size, crc32c, crc64nvme| ObjectMeta {
            size,
            crc32c,
            crc64nvme,
        };
        let (crc32c, crc64nvme) = (recorded.crc32c, recorded.crc64nvme);
        for (meta, part) in [
            (meta(9, Some(crc32c), Some(crc64nvme)), None),
            (meta(9, None, None), None),
            (meta(8, None, None), Some("8 bytes and 9 were recorded")),
            (meta(1, None, None), Some("1 byte and 9 were recorded")),
            (meta(9, Some(1), Some(crc64nvme)), Some("CRC-32C")),
            (meta(9, None, Some(1)), Some("CRC-64/NVME")),
        ] {
            let told = meta.difference(&recorded);
            assert_eq!(told.is_some(), part.is_some(), "{told:?}");
            assert_eq!(meta.agrees_with(&recorded), told.is_none());
            assert!(told.unwrap_or_default().contains(part.unwrap_or("")));
        }
    }
}

//! What the file of a frame is called, and what it costs. Pure.

use crate::model::{ObjectKey, Sha256};
use std::fmt;
use std::path::{Path, PathBuf};

/// Digits of the hash of an object's key in the name of a file. Two keys with the same would only cost misses: what is read
/// is proven.
const TAG_DIGITS: usize = 24;
/// How temporary names begin.
pub(super) const TEMP_PREFIX: &str = ".tmp-";
/// What a file costs at least: ext4 makes an inode for so many bytes, and there must be enough of them for others.
pub(super) const ENTRY_MIN_BYTES: u64 = 16 << 10;
/// What file systems round up to.
const BLOCK_BYTES: u64 = 4 << 10;

/// An object, by the hash of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ObjectTag {
    digits: String,
    first_shard: u8,
}

/// What a name in a shard stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Name {
    /// A frame.
    Entry,
    /// A file that is being written, or was when its writer was killed.
    Temp,
    /// Nothing of ours: left alone.
    Other,
}

impl ObjectTag {
    /// That of `key`.
    pub(super) fn of(key: &ObjectKey) -> ObjectTag {
        let hash = Sha256::of(key.as_str().as_bytes());
        let mut digits = hash.to_string();
        digits.truncate(TAG_DIGITS);
        ObjectTag {
            digits,
            first_shard: hash.0[0],
        }
    }

    /// The directory of `frame` below that of its stream. One object's frames are spread: no directory grows with it.
    pub(super) fn shard(&self, stream_dir: &Path, frame: u32) -> PathBuf {
        let shard = self.first_shard.wrapping_add(frame.to_le_bytes()[0]);
        stream_dir.join(shard_name(shard))
    }

    /// The file of `frame`.
    pub(super) fn path(&self, stream_dir: &Path, frame: u32) -> PathBuf {
        self.shard(stream_dir, frame)
            .join(format!("{self}-{frame}"))
    }
}

impl fmt::Display for ObjectTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.digits)
    }
}

/// The directory of a shard.
pub(super) fn shard_name(shard: u8) -> String {
    format!("{shard:02x}")
}

impl Name {
    /// What `name` is.
    pub(super) fn of(name: &str) -> Name {
        if name.starts_with(TEMP_PREFIX) {
            return Name::Temp;
        }
        match name.split_once('-') {
            Some((tag, frame))
                if tag.len() == TAG_DIGITS
                    && tag.bytes().all(|b| b.is_ascii_hexdigit())
                    && frame.parse::<u32>().is_ok() =>
            {
                Name::Entry
            }
            _ => Name::Other,
        }
    }
}

/// What a file of `len` bytes counts.
pub(super) fn cost(len: u64) -> u64 {
    blocks(len.max(ENTRY_MIN_BYTES))
}

/// What its file system gets back when it goes.
pub(super) fn blocks(len: u64) -> u64 {
    len.checked_next_multiple_of(BLOCK_BYTES)
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_one_place_and_it_is_recognised() {
        let key: ObjectKey = "segments/binlog.000001-00.zst".parse().expect("a key");
        let tag = ObjectTag::of(&key);
        let paths: Vec<_> = (0..300).map(|n| tag.path(Path::new("/c"), n)).collect();
        for path in &paths {
            let name = path.file_name().and_then(|name| name.to_str());
            assert_eq!(Name::of(name.expect("text")), Name::Entry);
        }
        let mut shards: Vec<_> = paths.iter().filter_map(|path| path.parent()).collect();
        shards.sort();
        shards.dedup();
        assert_eq!(shards.len(), 256);
    }

    #[test]
    fn what_is_not_ours_is_nothing_of_ours() {
        for name in ["index.db", "a-1", "0123456789abcdef01234567", ""] {
            assert_eq!(Name::of(name), Name::Other, "{name}");
        }
        assert_eq!(Name::of(".tmp-00ff-3"), Name::Temp);
        assert_eq!(Name::of("0123456789abcdef01234567-4294967296"), Name::Other);
    }

    #[test]
    fn a_file_costs_whole_blocks_and_an_inode() {
        assert_eq!(cost(0), ENTRY_MIN_BYTES);
        assert_eq!(cost(350_001), 352_256);
        assert_eq!(cost(u64::MAX), u64::MAX);
    }
}

//! How much may be on disk, and how much must go. Pure.

use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// Most bytes of frames, unless set otherwise: some 30 GiB of binlogs.
pub const DEFAULT_SIZE_BYTES: u64 = 10 << 30;
/// Left free, unless set otherwise: a cache is never why a disk is fuller than nine tenths.
pub const DEFAULT_FREE: KeepFree = KeepFree::Percent(10);
/// This part of the limit is freed beyond what must be, so that not every frame needs a walk.
pub(super) const SLACK_SHARE: u64 = 16;
/// After having written this part of the limit a process walks again, to learn what others wrote.
pub(super) const WALK_SHARE: u64 = 32;
/// A frame that is larger than this part of the limit is not kept: it would push out too much.
const ENTRY_SHARE: u64 = 4;

/// How much may be on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DiskLimits {
    /// Most bytes of frames, of all streams together.
    pub size_bytes: u64,
    /// What stays free of the file system.
    pub keep_free: KeepFree,
}

/// What stays free of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepFree {
    /// So many bytes.
    Bytes(u64),
    /// So many hundredths of it.
    Percent(u8),
}

/// A file system, as statvfs(3) tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Space {
    /// Its size.
    pub(super) total_bytes: u64,
    /// What whoever is no administrator may still write.
    pub(super) free_bytes: u64,
}

impl Space {
    /// The same with at least so many bytes free.
    pub(super) fn with_free(self, free_bytes: u64) -> Space {
        Space {
            free_bytes: self.free_bytes.max(free_bytes),
            ..self
        }
    }
}

/// What must go before more may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct MustGo {
    /// As the limit counts files.
    pub(super) cost: u64,
    /// As the file system does.
    pub(super) blocks: u64,
}

impl MustGo {
    /// Whether nothing must.
    pub(super) fn is_nothing(self) -> bool {
        self == MustGo::default()
    }

    /// What must still go when a file of so much has gone.
    pub(super) fn without(self, cost: u64, blocks: u64) -> MustGo {
        MustGo {
            cost: self.cost.saturating_sub(cost),
            blocks: self.blocks.saturating_sub(blocks),
        }
    }
}

impl Default for DiskLimits {
    fn default() -> DiskLimits {
        DiskLimits {
            size_bytes: DEFAULT_SIZE_BYTES,
            keep_free: DEFAULT_FREE,
        }
    }
}

impl DiskLimits {
    /// Whether a file that costs so much may be kept at all.
    pub(super) fn takes(&self, cost: u64) -> bool {
        cost <= self.size_bytes / ENTRY_SHARE
    }

    /// What must go of files that cost `used` before `incoming` more bytes may be written.
    pub(super) fn must_go(&self, used: u64, incoming: u64, space: Space) -> MustGo {
        let slack = used.min(self.size_bytes) / SLACK_SHARE;
        let more_than = |have: u64, limit: u64| match have.saturating_sub(limit) {
            0 => 0,
            over => over.saturating_add(slack),
        };
        let floor = self.keep_free.of(space.total_bytes);
        MustGo {
            cost: more_than(used.saturating_add(incoming), self.size_bytes),
            blocks: more_than(floor.saturating_add(incoming), space.free_bytes),
        }
    }
}

impl KeepFree {
    /// In bytes, of a file system of so many.
    pub fn of(self, total_bytes: u64) -> u64 {
        match self {
            KeepFree::Bytes(bytes) => bytes,
            KeepFree::Percent(percent) => total_bytes / 100 * u64::from(percent),
        }
    }
}

impl fmt::Display for KeepFree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeepFree::Bytes(bytes) => write!(f, "{bytes}B"),
            KeepFree::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl FromStr for KeepFree {
    type Err = String;

    /// Reads `10%`, or bytes as [`KeepFree`]'s Display writes them.
    fn from_str(text: &str) -> Result<KeepFree, String> {
        let bad =
            || format!("{text:?} is neither a percentage from 0% to 99% nor a number of bytes");
        if let Some(percent) = text.strip_suffix('%') {
            let percent = percent.trim().parse().map_err(|_| bad())?;
            return match percent {
                0..=99 => Ok(KeepFree::Percent(percent)),
                _ => Err(bad()),
            };
        }
        let bytes = text.strip_suffix('B').unwrap_or(text);
        bytes.parse().map(KeepFree::Bytes).map_err(|_| bad())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOMY: Space = Space {
        total_bytes: 1 << 40,
        free_bytes: 1 << 39,
    };

    fn limits(size_bytes: u64) -> DiskLimits {
        DiskLimits {
            size_bytes,
            keep_free: KeepFree::Percent(10),
        }
    }

    #[test]
    fn nothing_goes_while_there_is_room() {
        assert!(limits(1000).must_go(900, 100, ROOMY).is_nothing());
    }

    #[test]
    fn what_is_too_much_goes_and_a_little_more() {
        let must_go = limits(1600).must_go(1600, 10, ROOMY);
        assert_eq!((must_go.cost, must_go.blocks), (110, 0));
        assert!(must_go.without(110, 1).is_nothing());
    }

    #[test]
    fn what_others_write_makes_the_cache_give_way() {
        let tight = Space {
            total_bytes: 1000,
            free_bytes: 90,
        };
        let must_go = limits(1 << 30).must_go(320, 5, tight);
        assert_eq!((must_go.cost, must_go.blocks), (0, 15 + 20));
        assert_eq!(limits(1 << 30).must_go(0, 5, tight).blocks, 15);
    }

    #[test]
    fn no_number_overflows() {
        let full = Space {
            total_bytes: u64::MAX,
            free_bytes: 0,
        };
        let must_go = limits(u64::MAX).must_go(u64::MAX, u64::MAX, full);
        assert!(!must_go.is_nothing());
        let all = DiskLimits {
            size_bytes: 0,
            keep_free: KeepFree::Bytes(u64::MAX),
        };
        let must_go = all.must_go(u64::MAX, u64::MAX, full);
        assert_eq!((must_go.cost, must_go.blocks), (u64::MAX, u64::MAX));
    }

    #[test]
    fn what_is_kept_free_is_written_as_it_is_read() {
        for keep in [
            KeepFree::Percent(0),
            KeepFree::Percent(99),
            KeepFree::Bytes(7),
        ] {
            assert_eq!(keep.to_string().parse(), Ok(keep));
        }
        for text in ["100%", "-1%", "x", "", "%"] {
            assert!(text.parse::<KeepFree>().is_err(), "{text}");
        }
    }
}

//! What became of the frames that were looked for: of this process, and of all that ever used the cache.

use super::evict;
use crate::model::Micros;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// The file beside a stream's shards that has the sums of all processes.
pub(super) const COUNTS_NAME: &str = "counts.json";
/// What it is called while it is written.
const COUNTS_NEW: &str = "counts.json.new";
/// It has some numbers and a URL.
const COUNTS_MAX_BYTES: u64 = 16 << 10;

/// Counts of frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DiskCounts {
    /// Found, and proven.
    pub hits: u64,
    /// Their bytes, as stored.
    pub hit_bytes: u64,
    /// Not found, or found and not proven: had from the store.
    pub misses: u64,
    /// Found, and not what was archived, or not readable.
    pub faults: u64,
    /// Written.
    pub kept: u64,
    /// Their bytes, as stored.
    pub kept_bytes: u64,
    /// Not written, because too much waited to be written, or the disk did not take them.
    pub skipped: u64,
}

/// Counts that several threads add to.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) hits: AtomicU64,
    pub(super) hit_bytes: AtomicU64,
    pub(super) misses: AtomicU64,
    pub(super) faults: AtomicU64,
    pub(super) kept: AtomicU64,
    pub(super) kept_bytes: AtomicU64,
    pub(super) skipped: AtomicU64,
}

/// The sums of all processes that used a stream's part of a cache.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Sums {
    /// The stream, as people know it.
    pub(super) url: String,
    /// When they were begun.
    pub(super) since: Micros,
    #[serde(flatten)]
    pub(super) counts: DiskCounts,
}

impl Counts {
    pub(super) fn now(&self) -> DiskCounts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        DiskCounts {
            hits: get(&self.hits),
            hit_bytes: get(&self.hit_bytes),
            misses: get(&self.misses),
            faults: get(&self.faults),
            kept: get(&self.kept),
            kept_bytes: get(&self.kept_bytes),
            skipped: get(&self.skipped),
        }
    }

    pub(super) fn hit(&self, count: u64, bytes: u64) {
        self.hits.fetch_add(count, Ordering::Relaxed);
        self.hit_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn missed(&self, count: u64) {
        self.misses.fetch_add(count, Ordering::Relaxed);
    }
}

impl DiskCounts {
    /// What was counted after `before`.
    #[must_use]
    pub fn since(&self, before: &DiskCounts) -> DiskCounts {
        self.with(before, u64::saturating_sub)
    }

    fn plus(&self, more: &DiskCounts) -> DiskCounts {
        self.with(more, u64::saturating_add)
    }

    fn with(&self, other: &DiskCounts, of: fn(u64, u64) -> u64) -> DiskCounts {
        DiskCounts {
            hits: of(self.hits, other.hits),
            hit_bytes: of(self.hit_bytes, other.hit_bytes),
            misses: of(self.misses, other.misses),
            faults: of(self.faults, other.faults),
            kept: of(self.kept, other.kept),
            kept_bytes: of(self.kept_bytes, other.kept_bytes),
            skipped: of(self.skipped, other.skipped),
        }
    }
}

/// The sums in a stream's directory, if there are such.
pub(super) fn read(stream_dir: &Path) -> Option<Sums> {
    let mut text = Vec::new();
    File::open(stream_dir.join(COUNTS_NAME))
        .ok()?
        .take(COUNTS_MAX_BYTES)
        .read_to_end(&mut text)
        .ok()?;
    serde_json::from_slice(&text).ok()
}

/// Adds `more` to the sums in a stream's directory. Whoever calls it holds the cache's lock.
pub(super) fn add(stream_dir: &Path, url: &str, more: &DiskCounts) -> io::Result<()> {
    // Sums that cannot be read begin anew: nothing depends on them.
    let mut sums = read(stream_dir).unwrap_or_else(|| Sums {
        since: Micros::now(),
        ..Sums::default()
    });
    url.clone_into(&mut sums.url);
    sums.counts = sums.counts.plus(more);
    let text = serde_json::to_vec(&sums)?;
    let temp = stream_dir.join(COUNTS_NEW);
    std::fs::write(&temp, text)?;
    std::fs::rename(&temp, stream_dir.join(COUNTS_NAME))
}

/// Removes the sums from a stream's directory, as well as those that a process was writing when it was killed.
pub(super) fn remove(stream_dir: &Path) {
    for name in [COUNTS_NAME, COUNTS_NEW] {
        // What stays is a few numbers.
        let _ = evict::remove(&stream_dir.join(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_go_on_over_processes_and_begin_anew_when_they_cannot_be_read() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(read(dir.path()).is_none());
        let counts = Counts::default();
        counts.hit(3, 300);
        counts.missed(1);
        let first = counts.now();
        add(dir.path(), "file:///s", &first).expect("writable");
        counts.hit(1, 100);
        add(dir.path(), "file:///s", &counts.now().since(&first)).expect("writable");
        let sums = read(dir.path()).expect("there");
        assert_eq!(
            (sums.counts, sums.url.as_str()),
            (counts.now(), "file:///s")
        );
        assert!(sums.since.0 > 0);
        std::fs::write(dir.path().join(COUNTS_NAME), b"{\"hits\": 1").expect("writable");
        assert!(read(dir.path()).is_none());
        add(dir.path(), "file:///s", &first).expect("writable");
        assert_eq!(read(dir.path()).expect("there").counts, first);
    }
}

//! What is in a cache's directory, and its removal; for people.

use super::counts::{self, DiskCounts};
use super::entry::{self, Name, shard_name};
use super::evict;
use super::walk::{self, Met};
use super::{VERSION, counts::Sums};
use crate::model::Micros;
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use uuid::Uuid;

/// What is in a cache's directory.
#[derive(Clone, Debug, Serialize)]
pub struct Usage {
    /// Where it is.
    pub dir: PathBuf,
    /// What the files of all streams take, as the limit counts them.
    pub bytes: u64,
    /// Free bytes of the file system.
    pub free_bytes: u64,
    /// Size of the file system.
    pub total_bytes: u64,
    /// What there is of each stream.
    pub streams: Vec<StreamUsage>,
}

/// What there is of one stream.
#[derive(Clone, Debug, Serialize)]
pub struct StreamUsage {
    /// The stream's id.
    pub id: Uuid,
    /// The URL by which it was read last; empty if that is not known.
    pub url: String,
    /// Frames.
    pub frames: u64,
    /// What their files take, as the limit counts them.
    pub bytes: u64,
    /// When the longest unused frame was used.
    pub oldest_use: Option<Micros>,
    /// When a frame was used last.
    pub newest_use: Option<Micros>,
    /// Since when hits and misses are counted.
    pub since: Option<Micros>,
    /// What all processes counted, up to some seconds ago.
    #[serde(flatten)]
    pub counts: DiskCounts,
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cleared {
    /// Frames.
    pub frames: u64,
    /// What their files took.
    pub bytes: u64,
}

/// What is in the cache `dir`; nothing if there is no such directory. Blocks.
///
/// # Errors
/// When it cannot be read.
pub fn usage(dir: &Path) -> io::Result<Usage> {
    let root = dir.join(VERSION);
    let space = evict::space(&root)?;
    let mut streams = Vec::new();
    for (id, stream_dir) in walk::streams(&root)? {
        streams.push(stream_usage(id, &stream_dir)?);
    }
    streams.sort_by(|a, b| (&a.url, a.id).cmp(&(&b.url, b.id)));
    Ok(Usage {
        bytes: streams.iter().map(|stream| stream.bytes).sum(),
        dir: root,
        free_bytes: space.free_bytes,
        total_bytes: space.total_bytes,
        streams,
    })
}

fn stream_usage(id: Uuid, stream_dir: &Path) -> io::Result<StreamUsage> {
    let sums = counts::read(stream_dir);
    let since = sums.as_ref().map(|sums| sums.since);
    let Sums { url, counts, .. } = sums.unwrap_or_default();
    let mut found = StreamUsage {
        id,
        url,
        frames: 0,
        bytes: 0,
        oldest_use: None,
        newest_use: None,
        since,
        counts,
    };
    walk::walk(stream_dir, |met: Met| {
        found.bytes += entry::cost(met.len);
        if met.name == Name::Entry {
            let used = Some(micros(met.used));
            found.frames += 1;
            found.newest_use = found.newest_use.max(used);
            found.oldest_use = match found.oldest_use {
                Some(oldest) => Some(oldest).min(used),
                None => used,
            };
        }
    })?;
    Ok(found)
}

fn micros(time: SystemTime) -> Micros {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    let micros = since.map_or(0, |since| since.as_micros());
    Micros(i64::try_from(micros).unwrap_or(i64::MAX))
}

/// Removes the frames of `streams` from the cache `dir`, or all of them, and nothing else. Safe while mounts use it: what they
/// look for then is a miss, and what they keep then stays. Blocks.
///
/// # Errors
/// When something cannot be removed; what could be, is.
pub fn clear(dir: &Path, streams: Option<&[Uuid]>) -> io::Result<Cleared> {
    let root = dir.join(VERSION);
    let mut cleared = Cleared::default();
    let mut failed = None;
    for (id, stream_dir) in walk::streams(&root)? {
        if streams.is_some_and(|wanted| !wanted.contains(&id)) {
            continue;
        }
        walk::walk(&stream_dir, |met| match evict::remove(&met.path) {
            Ok(removed) => {
                cleared.frames += u64::from(removed && met.name == Name::Entry);
                cleared.bytes += if removed { entry::cost(met.len) } else { 0 };
            }
            Err(error) => failed = Some(error),
        })?;
        // Directories only if they are empty: what is not ours, or was kept meanwhile, stays with them.
        for shard in 0..=u8::MAX {
            let _ = std::fs::remove_dir(stream_dir.join(shard_name(shard)));
        }
        counts::remove(&stream_dir);
        let _ = std::fs::remove_dir(&stream_dir);
    }
    failed.map_or(Ok(cleared), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_is_cleared_is_not_listed_although_a_writer_of_its_counts_was_killed() {
        let dir = tempfile::tempdir().expect("a directory");
        let stream_dir = dir
            .path()
            .join(VERSION)
            .join(Uuid::from_u128(1).to_string());
        std::fs::create_dir_all(&stream_dir).expect("writable");
        counts::add(&stream_dir, "file:///s", &DiskCounts::default()).expect("writable");
        // Killed between the two steps: the new sums are written, and not renamed.
        let sums = stream_dir.join("counts.json");
        std::fs::copy(&sums, stream_dir.join("counts.json.new")).expect("writable");
        let listed = || usage(dir.path()).expect("readable").streams.len();
        assert_eq!(listed(), 1);
        clear(dir.path(), None).expect("removable");
        assert_eq!(listed(), 0);
    }
}

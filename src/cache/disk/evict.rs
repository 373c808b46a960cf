//! Makes room: removes what was not used for longest.

use super::entry::{self, Name};
use super::limits::{DiskLimits, MustGo, Space};
use super::walk::{self, Met};
use std::collections::BinaryHeap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// The file that whoever evicts, or adds to the counts, has locked.
pub(super) const LOCK: &str = "lock";
/// Files remembered as the longest unused in one walk: some megabytes of paths. If they do not suffice, another walk follows.
const OLDEST_MAX: usize = 20_000;
/// A temporary file that was not written to for so long is nobody's.
const TEMP_AGE: Duration = Duration::from_secs(600);

/// What an eviction came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Evicted {
    /// Files that went.
    pub(super) files: u64,
    /// What they cost.
    pub(super) bytes: u64,
    /// What all that stay cost.
    pub(super) used_bytes: u64,
    /// What the file system gets back of them.
    pub(super) blocks: u64,
    /// Free bytes of the file system, with those of what went, whether it tells them already or not.
    pub(super) free_bytes: u64,
    /// Whether there is room now.
    pub(super) is_room: bool,
}

/// A file, since when it is unused, and its length.
type Unused = (SystemTime, PathBuf, u64);

/// The files that were not used for longest, out of any number.
struct Oldest {
    max: usize,
    newest_first: BinaryHeap<Unused>,
}

impl Oldest {
    fn new(max: usize) -> Oldest {
        Oldest {
            max,
            newest_first: BinaryHeap::new(),
        }
    }

    fn offer(&mut self, unused: Unused) {
        self.newest_first.push(unused);
        if self.newest_first.len() > self.max {
            self.newest_first.pop();
        }
    }

    /// From the longest unused on.
    fn into_sorted(self) -> Vec<Unused> {
        self.newest_first.into_sorted_vec()
    }
}

/// The space of the file system that `dir`, or the nearest directory above it that exists, is on.
pub(super) fn space(dir: &Path) -> io::Result<Space> {
    // What is above the first name of a relative path.
    let here = Path::new(".");
    let mut dir = dir;
    loop {
        match (rustix::fs::statvfs(dir), dir.parent()) {
            (Ok(stat), _) => {
                return Ok(Space {
                    total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
                    free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
                });
            }
            (Err(rustix::io::Errno::NOENT), Some(above)) if dir != here => {
                dir = match above.as_os_str().is_empty() {
                    true => here,
                    false => above,
                };
            }
            (Err(errno), _) => return Err(errno.into()),
        }
    }
}

/// The right to evict from `root`, until it is dropped. `None` if another process has it.
///
/// # Errors
/// When the lock's file cannot be made.
pub(super) fn lock(root: &Path) -> io::Result<Option<File>> {
    let path = root.join(LOCK);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        // A file system without locks. Two that evict at once remove the same files, and perhaps a few too many.
        Err(std::fs::TryLockError::Error(_)) => Ok(Some(file)),
    }
}

/// Removes the longest unused files below `root` until `incoming` more bytes keep to `limits`, at least so many bytes of them,
/// and temporary files that are nobody's. The file system has `promised` bytes free, even if it tells less: it is late to tell
/// what was removed before.
///
/// # Errors
/// When the files cannot be listed, or none can be removed.
pub(super) fn evict(
    root: &Path,
    limits: &DiskLimits,
    incoming: u64,
    at_least: u64,
    promised: u64,
) -> io::Result<Evicted> {
    let mut evicted = Evicted {
        free_bytes: promised,
        ..Evicted::default()
    };
    loop {
        let (used, oldest) = survey(root, OLDEST_MAX)?;
        let space = space(root)?.with_free(evicted.free_bytes);
        evicted.free_bytes = space.free_bytes;
        let mut must_go = limits.must_go(used, incoming, space);
        must_go.blocks = must_go.blocks.max(at_least.saturating_sub(evicted.bytes));
        evicted.used_bytes = used;
        if must_go.is_nothing() || oldest.is_empty() {
            evicted.is_room = must_go.is_nothing();
            return Ok(evicted);
        }
        must_go = remove_oldest(oldest, must_go, &mut evicted)?;
        if must_go.is_nothing() {
            evicted.is_room = true;
            return Ok(evicted);
        }
        // All that were remembered are gone and it is not enough: there are more, or nothing is left to give.
    }
}

/// Removes files until nothing more must go, and tells what still must. Passes by those that cannot be removed, unless that is
/// all of them.
fn remove_oldest(
    oldest: Vec<Unused>,
    mut must_go: MustGo,
    evicted: &mut Evicted,
) -> io::Result<MustGo> {
    let mut failed = None;
    let mut gone = 0;
    for (_, path, len) in oldest {
        if must_go.is_nothing() {
            break;
        }
        match remove(&path) {
            Ok(by_us) => {
                gone += 1;
                evicted.files += u64::from(by_us);
                evicted.bytes += if by_us { entry::cost(len) } else { 0 };
                evicted.used_bytes = evicted.used_bytes.saturating_sub(entry::cost(len));
                evicted.blocks = evicted.blocks.saturating_add(entry::blocks(len));
                evicted.free_bytes = evicted.free_bytes.saturating_add(entry::blocks(len));
                must_go = must_go.without(entry::cost(len), entry::blocks(len));
            }
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if gone == 0 => Err(error),
        _ => Ok(must_go),
    }
}

/// What all files below `root` cost, and the longest unused of them.
fn survey(root: &Path, oldest_max: usize) -> io::Result<(u64, Vec<Unused>)> {
    let mut used = 0_u64;
    let mut oldest = Oldest::new(oldest_max);
    let now = SystemTime::now();
    for (_, stream_dir) in walk::streams(root)? {
        walk::walk(&stream_dir, |met: Met| {
            let old = now.duration_since(met.used).is_ok_and(|age| age > TEMP_AGE);
            if met.name == Name::Temp && old && remove(&met.path).unwrap_or(false) {
                return;
            }
            let cost = entry::cost(met.len);
            used = used.saturating_add(cost);
            if met.name == Name::Entry {
                oldest.offer((met.used, met.path, met.len));
            }
        })?;
    }
    Ok((used, oldest.into_sorted()))
}

/// Removes a file; `false` if somebody else did.
pub(super) fn remove(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        // Something else stands in the place of a frame: it is moved out of the way, never entered.
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            std::fs::remove_dir(path).map(|()| true)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::disk::limits::KeepFree;
    use uuid::Uuid;

    const FILE: u64 = entry::ENTRY_MIN_BYTES;

    fn limits(files: u64) -> DiskLimits {
        DiskLimits {
            size_bytes: files * FILE,
            keep_free: KeepFree::Bytes(0),
        }
    }

    /// A cache of `count` files; the first is the longest unused.
    fn filled(count: u64) -> (tempfile::TempDir, Vec<PathBuf>) {
        let dir = tempfile::tempdir().expect("a directory");
        let stream = dir.path().join(Uuid::from_u128(1).to_string());
        let mut paths = Vec::new();
        for n in 0..count {
            let shard = stream.join(entry::shard_name(n as u8));
            std::fs::create_dir_all(&shard).expect("writable");
            let path = shard.join(format!("{n:024x}-0"));
            std::fs::write(&path, b"x").expect("writable");
            let file = File::options().write(true).open(&path).expect("there");
            let used = SystemTime::now() - Duration::from_secs(1000 - n);
            file.set_modified(used).expect("ours");
            paths.push(path);
        }
        (dir, paths)
    }

    #[test]
    fn the_longest_unused_go_until_there_is_room() {
        let (dir, paths) = filled(20);
        let evicted = evict(dir.path(), &limits(16), 0, 0, 0).expect("evicts");
        // Four too many, and a sixteenth of the limit more.
        assert_eq!((evicted.files, evicted.used_bytes), (5, 15 * FILE));
        assert!(evicted.is_room);
        let there: Vec<_> = paths.iter().map(|path| path.exists()).collect();
        assert_eq!(there, [vec![false; 5], vec![true; 15]].concat());
        let again = evict(dir.path(), &limits(16), 0, 0, 0).expect("evicts");
        assert_eq!((again.files, again.is_room), (0, true));
    }

    #[test]
    fn what_was_used_meanwhile_stays() {
        let (dir, paths) = filled(4);
        let file = File::open(&paths[0]).expect("there");
        file.set_modified(SystemTime::now()).expect("ours");
        evict(dir.path(), &limits(3), 0, 0, 0).expect("evicts");
        assert!(paths[0].exists() && !paths[1].exists());
    }

    #[test]
    fn more_than_is_remembered_goes_in_several_walks_and_what_is_not_ours_stays() {
        let (dir, paths) = filled(30);
        let (used, oldest) = survey(dir.path(), 7).expect("walks");
        assert_eq!((used, oldest.len()), (30 * FILE, 7));
        assert_eq!(oldest[0].1, paths[0]);
        let foreign = paths[0].with_file_name("README");
        std::fs::write(&foreign, b"x").expect("writable");
        let none = DiskLimits {
            size_bytes: 0,
            keep_free: KeepFree::Bytes(0),
        };
        let evicted = evict(dir.path(), &none, 0, 0, 0).expect("evicts");
        assert_eq!((evicted.files, evicted.used_bytes), (30, 0));
        assert!(foreign.exists());
        let hopeless = DiskLimits {
            size_bytes: 0,
            keep_free: KeepFree::Bytes(u64::MAX),
        };
        assert!(
            !evict(dir.path(), &hopeless, 1, 0, 0)
                .expect("evicts")
                .is_room
        );
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_and_what_a_living_one_writes_is_not() {
        let (dir, paths) = filled(2);
        let temp = |n: u32| paths[0].with_file_name(format!("{}{n}", entry::TEMP_PREFIX));
        for n in [1, 2] {
            std::fs::write(temp(n), b"x").expect("writable");
        }
        let dead = File::options().write(true).open(temp(1)).expect("there");
        let long_ago = SystemTime::now() - TEMP_AGE * 2;
        dead.set_modified(long_ago).expect("ours");
        let evicted = evict(dir.path(), &limits(3), 0, 0, 0).expect("evicts");
        assert!(!temp(1).exists() && temp(2).exists());
        assert_eq!((evicted.files, evicted.used_bytes), (0, 3 * FILE));
    }

    #[test]
    fn what_a_file_system_has_not_given_back_yet_is_not_taken_again() {
        let (dir, _) = filled(20);
        // So far above what there is that this file system never tells of what was removed.
        let floor = u64::MAX / 2;
        let limits = DiskLimits {
            size_bytes: 320 * FILE,
            keep_free: KeepFree::Bytes(floor),
        };
        let block = entry::blocks(1);
        // Two blocks are missing, and a sixteenth of what is used comes on top.
        let evicted = evict(dir.path(), &limits, 0, 0, floor - 2 * block).expect("evicts");
        assert_eq!((evicted.files, evicted.is_room), (7, true));
        assert_eq!(evicted.free_bytes, floor + 5 * block);
        let again = evict(dir.path(), &limits, 0, 0, evicted.free_bytes).expect("evicts");
        assert_eq!((again.files, again.is_room), (0, true));
    }

    #[test]
    fn the_space_of_a_directory_that_is_not_there_is_that_of_the_one_above() {
        let here = space(Path::new(".")).expect("there").total_bytes;
        for dir in [
            "not-there-yet",
            "not-there-yet/frames/v1",
            "./not-there-yet",
        ] {
            let space = space(Path::new(dir)).expect("what is above is there");
            assert_eq!(space.total_bytes, here, "{dir}");
        }
        assert!(space(Path::new("/not-there-yet/frames")).is_ok());
        assert!(space(Path::new("")).is_err());
    }

    #[test]
    fn one_at_a_time_may_evict() {
        let dir = tempfile::tempdir().expect("a directory");
        let held = lock(dir.path()).expect("writable");
        assert!(held.is_some());
        assert!(lock(dir.path()).expect("writable").is_none());
        drop(held);
        assert!(lock(dir.path()).expect("writable").is_some());
    }
}

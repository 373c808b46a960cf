//! Directories that binlogfs writes to.

use super::{Check, Level, mib};
use crate::cache::disk::{self, DEFAULT_FREE, Usage};
use std::path::Path;

/// Less room than this and an index of a large history does not fit: a million segments take about half of it.
const FREE_MIN_BYTES: u64 = 4 << 30;
/// What the check of the disk cache is called.
const CACHE: &str = "cache";

/// Looks at the directory `dir`, which is for `name`: whether it can be written, and how much room it has.
pub fn place(name: &'static str, dir: &Path) -> Check {
    let dir = &std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    // The directory itself may not be there yet; what counts is the nearest one above it that is.
    let there = dir.ancestors().find(|dir| dir.exists());
    let Some(there) = there else {
        let found = format!("{}: no part of this path exists", dir.display());
        return Check::bad(Level::Failure, name, found, "name another directory");
    };
    if let Err(error) = rustix::fs::access(there, rustix::fs::Access::WRITE_OK) {
        let found = format!("{} cannot be written: {error}", there.display());
        let advice = "name a directory of your own, with --cache-dir DIR";
        return Check::bad(Level::Failure, name, found, advice);
    }
    match rustix::fs::statvfs(there) {
        Ok(stat) => room(name, dir, stat.f_bavail.saturating_mul(stat.f_frsize)),
        Err(error) => {
            let found = format!("{}: its free space cannot be told: {error}", dir.display());
            Check::bad(Level::Note, name, found, "")
        }
    }
}

/// Looks at the disk cache in `dir`. Without one everything is read, and fetched each time.
pub fn cache(dir: &Path) -> Check {
    let there = place(CACHE, dir);
    if there.level == Level::Failure {
        return Check {
            level: Level::Note,
            ..there
        };
    }
    match disk::usage(dir) {
        Ok(usage) => kept(&usage),
        Err(error) => {
            let found = format!("{} cannot be read: {error}", dir.display());
            Check::bad(
                Level::Note,
                CACHE,
                found,
                "'binlogfs cache clear' removes it",
            )
        }
    }
}

fn kept(usage: &Usage) -> Check {
    let (dir, kept, free) = (usage.dir.display(), mib(usage.bytes), mib(usage.free_bytes));
    let found = format!("{dir}, {kept} kept, {free} free");
    let floor = DEFAULT_FREE.of(usage.total_bytes);
    if usage.free_bytes >= floor {
        return Check::ok(CACHE, found);
    }
    // A mount gives back of its frames what is missing, and goes on with the others.
    let missing = floor - usage.free_bytes;
    let then = match usage.bytes > missing {
        true => format!(
            "so that mounts remove {} of what is kept, and keep new frames only in the place of old ones",
            mib(missing)
        ),
        false => "so that nothing is kept".to_owned(),
    };
    let found = format!("{found}: less than cache_free={DEFAULT_FREE}, {then}");
    let advice =
        "free some space, name a directory on another file system, or mount with less cache_free";
    Check::bad(Level::Note, CACHE, found, advice)
}

fn room(name: &'static str, dir: &Path, free_bytes: u64) -> Check {
    let found = format!("{}, {} free", dir.display(), mib(free_bytes));
    if free_bytes >= FREE_MIN_BYTES {
        return Check::ok(name, found);
    }
    let advice =
        "free some space, or name a directory on a larger file system with --cache-dir DIR";
    let level = if free_bytes < FREE_MIN_BYTES / 16 {
        Level::Warning
    } else {
        Level::Note
    };
    Check::bad(level, name, found, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_with_less_free_than_the_cache_leaves_is_noted_with_what_the_cache_does_then() {
        let usage = |mib_kept: u64, mib_free: u64| Usage {
            dir: "/c/frames/v1".into(),
            bytes: mib_kept << 20,
            free_bytes: mib_free << 20,
            total_bytes: 1000 << 20,
            streams: Vec::new(),
        };
        let good = kept(&usage(3, 100));
        assert_eq!(good.level, Level::Ok);
        assert!(good.found.contains("3.0 MiB kept"), "{good:?}");
        // What is kept makes up for what is missing, or it does not.
        for (mib_kept, mib_free, then) in [
            (3, 98, "mounts remove 2.0 MiB of what is kept"),
            (2, 98, "nothing is kept"),
            (0, 99, "nothing is kept"),
        ] {
            let full = kept(&usage(mib_kept, mib_free));
            assert_eq!(full.level, Level::Note);
            assert!(full.found.contains("cache_free=10%"), "{full:?}");
            assert!(full.found.contains(then), "{full:?}");
        }
        let dir = tempfile::tempdir().expect("a directory");
        let absent = cache(&dir.path().join("frames"));
        assert!(absent.level < Level::Warning, "{absent:?}");
        let file = dir.path().join("file");
        std::fs::write(&file, "x").expect("writes");
        assert_eq!(cache(&file.join("frames")).level, Level::Note);
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_judged_by_the_one_above() {
        let dir = tempfile::tempdir().expect("a directory");
        let check = place("cache", &dir.path().join("a/b/c"));
        assert!(check.level < Level::Failure, "{check:?}");
        assert!(check.found.contains("a/b/c"), "{check:?}");
    }

    #[test]
    fn a_relative_directory_is_judged_from_where_we_are() {
        let check = place("cache", Path::new("not-there-yet"));
        assert!(check.found.starts_with('/'), "{check:?}");
    }

    #[test]
    fn little_room_is_told_with_what_to_do() {
        let level = |free| room("cache", Path::new("/c"), free).level;
        assert_eq!(level(FREE_MIN_BYTES), Level::Ok);
        assert_eq!(level(FREE_MIN_BYTES - 1), Level::Note);
        assert_eq!(level(1 << 20), Level::Warning);
        assert!(!room("cache", Path::new("/c"), 0).advice.is_empty());
    }

    #[test]
    fn a_directory_on_a_read_only_file_system_fails() {
        // proc refuses access(2) for writing even to root.
        let check = place("cache", Path::new("/proc/self/binlogfs"));
        assert!(check.level >= Level::Note, "{check:?}");
    }
}

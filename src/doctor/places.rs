//! Directories that binlogfs writes to.

use super::{Check, Level, mib};
use std::path::Path;

/// Less room than this and an index of a large history does not fit: a million segments take about half of it.
const FREE_MIN_BYTES: u64 = 4 << 30;

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

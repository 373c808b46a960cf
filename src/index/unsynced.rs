//! The mark beside an index that is written to without waiting for the disk.
//!
//! A first mount writes a gigabyte, and to wait for the disk meanwhile took a sixth of its time. What a process has written stays
//! when the process is killed: the kernel has it. Only where the machine stops, or the disk goes away, is some of it lost, any of it,
//! and SQLite would not notice. So the first write that is not waited for comes after a file that names this boot of the machine and
//! this mount of the file system; the file goes when all was waited for. An index beside the mark of another boot or mount is built
//! anew.
//!
//! That is so only while a history is taken in from its beginning, or by whoever finds the mark: an index also remembers the newest
//! record that this host has seen, and so that a ledger went backwards. What it knew before is not put at risk.

use crate::mount_id::MountId;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long another process is given to let go of the mark, or to delete the index and the mark: half a minute, for a file of
/// gigabytes on a slow disk.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
#[cfg(not(test))]
const LOOKS_MAX: u32 = 1500;
#[cfg(test)]
const LOOKS_MAX: u32 = 50;
/// After so many, a mark of this boot is one that its process keeps.
const LOOKS: u32 = 20;

/// Why an index beside a stale mark is not used.
pub(super) const WHY_STALE: &str = "the disk did not have all of it when the machine stopped, or its mount of the file system went";

/// What stands beside an index.
#[derive(Debug)]
pub(super) enum Found {
    /// No mark: all of it is on the disk.
    Nothing,
    /// The mark of this boot and mount: all of it is in the kernel's memory, at least.
    Ours,
    /// Another one: anything may be missing. Locked: of several that start at once, one deletes the index, and the others find what
    /// it has begun anew.
    Stale(File),
}

/// The mark of an index, held by one that writes.
#[derive(Debug)]
pub(super) struct Mark {
    /// Locked, shared with other processes that write to the same index.
    file: File,
    path: PathBuf,
}

/// Where the mark of an index is.
pub(super) fn path_of(index: &Path) -> PathBuf {
    super::schema::beside(index, "-unsynced")
}

/// This boot of the machine, as a line.
fn boot() -> io::Result<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(format!("boot {}\n", id.trim_end()))
}

/// This boot of the machine, and the mount of the file system that a file is in.
fn here(file: &File) -> io::Result<String> {
    let mount = MountId::of_file(file)?.number;
    Ok(format!("{}mount {mount}\n", boot()?))
}

/// Whether `file` is what stands at `path` still.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let opened = file.metadata()?;
    match std::fs::metadata(path) {
        Ok(there) => Ok((there.dev(), there.ino()) == (opened.dev(), opened.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Looks for the mark of an index.
pub(super) fn look(index: &Path) -> io::Result<Found> {
    let path = path_of(index);
    let mut of_this_boot = false;
    for looks in 1..=LOOKS_MAX {
        let mut file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            other => other?,
        };
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        if text.is_empty() {
            // Somebody is about to set it. Nobody has written without waiting before it says something, on the disk.
            return Ok(Found::Nothing);
        }
        if here(&file).is_ok_and(|here| here == text) {
            return Ok(Found::Ours);
        }
        of_this_boot = boot().is_ok_and(|boot| text.starts_with(&boot));
        match file.try_lock() {
            Ok(()) if is_at(&file, &path)? => return Ok(Found::Stale(file)),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                // A process that writes shares it, and sees the file system by another mount, from another container perhaps. Who
                // deletes the index, or waits for the disk at the end, does not share it.
                if of_this_boot && looks >= LOOKS && file.try_lock_shared().is_ok() {
                    return Ok(Found::Ours);
                }
            }
            Err(TryLockError::Error(e)) => return Err(e),
        }
        drop(file);
        std::thread::sleep(LOOK_AGAIN);
    }
    match of_this_boot {
        true => Ok(Found::Ours),
        false => Err(io::Error::other(
            "it is of another boot of the machine, and held: end what else uses this directory, on another machine perhaps",
        )),
    }
}

impl Mark {
    /// Sets the mark. When this returns, it is on the disk.
    pub(super) fn set(index: &Path) -> io::Result<Mark> {
        let path = path_of(index);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        file.try_lock_shared()?;
        if !is_at(&file, &path)? {
            return Err(io::Error::other("it was removed meanwhile"));
        }
        let here = here(&file)?;
        file.write_all_at(here.as_bytes(), 0)?;
        file.set_len(here.len() as u64)?;
        file.sync_all()?;
        if let Some(dir) = path.parent() {
            File::open(dir)?.sync_all()?;
        }
        Ok(Mark { file, path })
    }

    /// Whether no other process writes without waiting. From then on none begins to, while this mark is held.
    pub(super) fn is_alone(&self) -> bool {
        self.file.try_lock().is_ok()
    }

    /// Takes the mark away, after all was waited for.
    pub(super) fn remove(self) -> io::Result<()> {
        // Who deletes an index deletes its mark: what stands there then is that of the next index.
        match is_at(&self.file, &self.path)? {
            true => std::fs::remove_file(&self.path),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("index.db");
        (dir, path)
    }

    fn looked(index: &Path) -> Found {
        look(index).expect("looks")
    }

    #[test]
    fn a_mark_is_ours_until_it_is_removed() {
        let (_dir, index) = index();
        assert!(matches!(looked(&index), Found::Nothing));
        let mark = Mark::set(&index).expect("sets");
        assert!(matches!(looked(&index), Found::Ours));
        // As after a kill.
        drop(mark);
        assert!(matches!(looked(&index), Found::Ours));
        let again = Mark::set(&index).expect("sets");
        assert!(again.is_alone());
        again.remove().expect("removes");
        assert!(matches!(looked(&index), Found::Nothing));
    }

    #[test]
    fn of_an_index_that_was_deleted_meanwhile_no_mark_of_the_next_one_is_taken_away() {
        let (_dir, index) = index();
        let mark = Mark::set(&index).expect("sets");
        std::fs::remove_file(path_of(&index)).expect("removes");
        let next = Mark::set(&index).expect("sets");
        mark.remove().expect("leaves it");
        assert!(is_at(&next.file, &next.path).expect("looks"));
    }

    #[test]
    fn the_mark_of_another_mount_is_stale_unless_it_is_held() {
        let (_dir, index) = index();
        let mark = Mark::set(&index).expect("sets");
        let other = format!("{}mount 1\n", boot().expect("reads"));
        std::fs::write(path_of(&index), other).expect("writes");
        assert!(matches!(looked(&index), Found::Ours));
        drop(mark);
        assert!(matches!(looked(&index), Found::Stale(_)));
    }

    #[test]
    fn the_mark_of_another_boot_is_stale_and_held_it_is_waited_for() {
        let (_dir, index) = index();
        let other = "boot 00000000-0000-0000-0000-000000000000\nmount 1\n";
        std::fs::write(path_of(&index), other).expect("writes");
        let Found::Stale(held) = looked(&index) else {
            panic!("it is not of this boot");
        };
        // Who holds it deletes the index: it is not to be used, nor to be deleted twice.
        look(&index).expect_err("is waited for");
        std::thread::scope(|threads| {
            let waiting = threads.spawn(|| looked(&index));
            std::fs::remove_file(path_of(&index)).expect("removes");
            drop(held);
            let found = waiting.join().expect("no panic");
            assert!(matches!(found, Found::Nothing), "{found:?}");
        });
    }

    #[test]
    fn a_mark_that_says_nothing_yet_has_no_index_deleted() {
        let (_dir, index) = index();
        std::fs::write(path_of(&index), "").expect("writes");
        assert!(matches!(looked(&index), Found::Nothing));
        drop(Mark::set(&index).expect("sets"));
        assert!(matches!(looked(&index), Found::Ours));
    }

    #[test]
    fn of_two_that_write_the_last_takes_the_mark_away() {
        let (_dir, index) = index();
        let (first, second) = (Mark::set(&index), Mark::set(&index));
        let (first, second) = (first.expect("sets"), second.expect("sets"));
        assert!(!first.is_alone());
        drop(first);
        assert!(second.is_alone());
        let refused = Mark::set(&index).expect_err("somebody waits for the disk");
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    }
}

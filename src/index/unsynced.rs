//! The mark beside an index that is written to without waiting for the disk.
//!
//! A first mount writes a gigabyte, and to wait for the disk meanwhile took a sixth of its time. What a process has written stays
//! when the process is killed: the kernel has it. Only where the machine stops, or the disk goes away, is some of it lost, any of it,
//! and SQLite would not notice. So the first write that is not waited for comes after a file that names this boot of the machine and
//! this mount of the file system; the file goes when all was waited for. An index beside the mark of another boot or mount is built
//! anew.

use crate::mount_id::MountId;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often, and how long after each other, another process is given time to let go of the mark.
const LOOKS: u32 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What stands beside an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// No mark: all of it is on the disk.
    Nothing,
    /// The mark of this boot and mount: all of it is in the kernel's memory, at least.
    Ours,
    /// Another one: anything may be missing.
    Stale,
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

/// This boot of the machine, and the mount of the file system that a file is in.
fn here(file: &File) -> io::Result<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let mount = MountId::of_file(file)?.number;
    Ok(format!("boot {}\nmount {mount}\n", boot.trim_end()))
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
    for _ in 0..LOOKS {
        let mut file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            other => other?,
        };
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        if here(&file).is_ok_and(|here| here == text) {
            return Ok(Found::Ours);
        }
        match file.try_lock() {
            Ok(()) if is_at(&file, &path)? => return Ok(Found::Stale),
            Ok(()) | Err(TryLockError::WouldBlock) => std::thread::sleep(LOOK_AGAIN),
            Err(TryLockError::Error(e)) => return Err(e),
        }
    }
    // A process that lives holds it, and sees the file system by another mount, from another container perhaps.
    Ok(Found::Ours)
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
        std::fs::remove_file(&self.path)
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
        assert_eq!(looked(&index), Found::Nothing);
        let mark = Mark::set(&index).expect("sets");
        assert_eq!(looked(&index), Found::Ours);
        // As after a kill.
        drop(mark);
        assert_eq!(looked(&index), Found::Ours);
        let again = Mark::set(&index).expect("sets");
        assert!(again.is_alone());
        again.remove().expect("removes");
        assert_eq!(looked(&index), Found::Nothing);
    }

    #[test]
    fn the_mark_of_another_boot_or_mount_is_stale_unless_it_is_held() {
        let (_dir, index) = index();
        let mark = Mark::set(&index).expect("sets");
        let text = std::fs::read_to_string(path_of(&index)).expect("reads");
        let (boot, mount) = text.split_once('\n').expect("two lines");
        for other in [
            format!("boot 00000000-0000-0000-0000-000000000000\n{mount}"),
            format!("{boot}\nmount 1\n"),
            String::new(),
        ] {
            std::fs::write(path_of(&index), &other).expect("writes");
            assert_eq!(looked(&index), Found::Ours, "{other:?} is held");
        }
        drop(mark);
        assert_eq!(looked(&index), Found::Stale);
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

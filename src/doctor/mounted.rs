//! A mount that exists: whether its process answers, and how far the kernel reads ahead.
//!
//! A FUSE mount whose process hangs keeps whoever touches it for ever. So it is touched by a thread of its own, which is left
//! behind if it does not come back.

use super::{Check, Level, duration};
use crate::fs::mountinfo::{self, Mount};
use crate::fs::mounting::FS_TYPE;
use crate::fs::read_ahead::{WANTED_KIB, effective_kib};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What a mount is given to answer. Listing needs nothing of the store.
const PATIENCE: Duration = Duration::from_secs(5);
/// A mount of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub dir: PathBuf,
    /// What: the URL.
    pub source: String,
    minor: u32,
    covered_by: Option<String>,
}

/// The mount of ours at `dir`, if there is one. Nothing is touched.
///
/// # Errors
/// When the table of mounts cannot be read.
pub fn find(dir: &Path) -> std::io::Result<Option<Found>> {
    let dir = std::path::absolute(dir)?;
    // Links are followed in what is above the mount point: that is no mount of ours, most of the time.
    let dir = match (dir.parent().map(Path::canonicalize), dir.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => dir,
    };
    let table = std::fs::read(mountinfo::PATH)?;
    Ok(of_table(&mountinfo::parse(&table), &dir))
}

fn of_table(mounts: &[Mount], dir: &Path) -> Option<Found> {
    let at: Vec<_> = mounts.iter().filter(|m| m.mount_point == dir).collect();
    let ours = at.iter().rposition(|mount| mount.fs_type == FS_TYPE)?;
    Some(Found {
        dir: dir.to_owned(),
        source: at[ours].source.to_string_lossy().into_owned(),
        minor: at[ours].minor,
        covered_by: at.get(ours + 1).map(|mount| mount.fs_type.clone()),
    })
}

/// Looks at a mount.
pub fn mounted(found: &Found) -> Vec<Check> {
    if let Some(other) = &found.covered_by {
        let text = format!("a {other} is mounted over it");
        let advice = format!("umount {}", found.dir.display());
        return vec![Check::bad(Level::Failure, "mount", text, advice)];
    }
    let dir = found.dir.clone();
    let (told, answer) = mpsc::channel();
    let begun = Instant::now();
    std::thread::spawn(move || {
        let listed = std::fs::read_dir(&dir).and_then(|mut list| list.next().transpose());
        // Nobody listens any more after the timeout.
        let _ = told.send(listed.map(|_| ()));
    });
    let answered = answer.recv_timeout(PATIENCE);
    let mut checks = vec![judge(found, answered.ok(), begun.elapsed())];
    let kib = effective_kib(found.minor).ok();
    checks.extend(kib.map(read_ahead));
    checks
}

fn judge(found: &Found, answered: Option<std::io::Result<()>>, took: Duration) -> Check {
    let dir = found.dir.display();
    match answered {
        Some(Ok(())) => Check::ok("mount", format!("answers in {}", duration(took))),
        Some(Err(error)) if error.kind() == std::io::ErrorKind::NotConnected => Check::bad(
            Level::Failure,
            "mount",
            "its process is dead",
            format!("umount -l {dir}, then mount again"),
        ),
        Some(Err(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => Check::bad(
            Level::Note,
            "mount",
            format!("cannot be looked into: {error}"),
            "run this as the user who mounted it, or mount with allow_other",
        ),
        Some(Err(error)) => Check::bad(
            Level::Failure,
            "mount",
            format!("cannot be listed: {error}"),
            "the mount's log says why",
        ),
        None => Check::bad(
            Level::Failure,
            "mount",
            format!("does not answer within {} s", PATIENCE.as_secs()),
            format!("umount -l {dir}, then mount again; please report it, with the mount's log"),
        ),
    }
}

fn read_ahead(kib: u32) -> Check {
    let found = format!("the kernel reads {kib} KiB ahead");
    if kib >= WANTED_KIB {
        return Check::ok("read-ahead", found);
    }
    let advice = format!(
        "mounted by root it is raised to {WANTED_KIB} KiB, and cold reads are up to twice as fast"
    );
    Check::bad(Level::Note, "read-ahead", found, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        90 22 0:57 / /mnt/a ro - fuse.binlogfs s3://b/p ro\n\
        91 90 0:58 / /mnt/a rw - tmpfs none rw\n\
        92 22 0:59 / /mnt/b ro - fuse.binlogfs file:///x ro\n\
        93 22 0:60 / /mnt/c ro - ext4 /dev/sdb ro\n";

    #[test]
    fn our_mounts_are_told_from_others_and_one_that_is_covered_says_by_what() {
        let mounts = mountinfo::parse(TABLE);
        let covered = of_table(&mounts, Path::new("/mnt/a")).expect("ours");
        assert_eq!(covered.source, "s3://b/p");
        assert_eq!(covered.covered_by.as_deref(), Some("tmpfs"));
        assert_eq!(mounted(&covered)[0].level, Level::Failure);
        let free = of_table(&mounts, Path::new("/mnt/b")).expect("ours");
        assert_eq!((free.covered_by, free.minor), (None, 59));
        assert_eq!(of_table(&mounts, Path::new("/mnt/c")), None);
        assert_eq!(of_table(&mounts, Path::new("/mnt")), None);
    }

    #[test]
    fn a_dead_or_silent_mount_says_how_to_take_it_away() {
        let mounts = mountinfo::parse(TABLE);
        let found = of_table(&mounts, Path::new("/mnt/b")).expect("ours");
        let dead = std::io::Error::from(std::io::ErrorKind::NotConnected);
        for answer in [Some(Err(dead)), None] {
            let check = judge(&found, answer, PATIENCE);
            assert_eq!(check.level, Level::Failure);
            assert!(check.advice.contains("umount -l /mnt/b"), "{check:?}");
        }
        assert_eq!(judge(&found, Some(Ok(())), PATIENCE).level, Level::Ok);
    }

    #[test]
    fn a_short_read_ahead_is_noted() {
        assert_eq!(read_ahead(128).level, Level::Note);
        assert_eq!(read_ahead(1024).level, Level::Ok);
    }
}

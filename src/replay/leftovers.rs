//! That a killed drill leaves nothing for long.

use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What directories of drills are called.
pub(super) const PREFIX: &str = "binlogfs-drill-";
/// The file in one that is locked as long as its drill lives.
const LOCK: &str = "lock";
/// A directory without that file has lost it if it is older: a new one has it at once.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Becomes the program it is given; the process id stays.
const LEASH: &str = "setpriv";

/// Locks the directory of a drill, until the process ends.
pub(super) fn lock(dir: &Path) -> Option<File> {
    let file = File::create(dir.join(LOCK)).ok()?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(file)
}

/// Removes what drills have left that were killed: nobody holds their locks. Their servers ended with them. Somebody who was killed while
/// he removed one may have left the rest of it without its lock.
pub(super) fn sweep(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let path = entry.path();
        let lock = File::open(path.join(LOCK));
        let is_left = match &lock {
            Ok(file) => rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).is_ok(),
            Err(error) => error.kind() == io::ErrorKind::NotFound && is_forgotten(&path),
        };
        if is_left {
            let removed = fs::remove_dir_all(&path);
            tracing::info!(dir = %path.display(), ?removed, "what a killed drill had left");
        }
    }
}

/// Whether nothing was made in a directory, or taken out of it, for long.
fn is_forgotten(dir: &Path) -> bool {
    let changed = fs::symlink_metadata(dir).and_then(|metadata| metadata.modified());
    let age = changed.ok().and_then(|changed| changed.elapsed().ok());
    age.is_some_and(|age| age > FORGOTTEN_AFTER)
}

/// A command whose process is killed when this one ends, however it ends; where setpriv(1) cannot do that, one that is not.
pub(super) fn leashed(program: &Path) -> Command {
    let leash = ["--pdeathsig", "KILL", "--"];
    let probe = Command::new(LEASH)
        .args(leash)
        .arg("true")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        return Command::new(program);
    }
    let mut command = Command::new(LEASH);
    command.args(leash).arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn what_nobody_holds_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().expect("a directory");
        let dir = |name: &str| {
            let dir = parent.path().join(name);
            fs::create_dir(&dir).expect("writable");
            dir
        };
        let (dead, alive) = (dir("binlogfs-drill-1"), dir("binlogfs-drill-2"));
        let (new, other) = (dir("binlogfs-drill-3"), dir("somebody's"));
        drop(lock(&dead).expect("a lock"));
        drop(lock(&other).expect("a lock"));
        let held = lock(&alive).expect("a lock");
        let forgotten = dir("binlogfs-drill-4");
        fs::write(forgotten.join("init.sql"), "").expect("writable");
        let long_ago = SystemTime::now() - 2 * FORGOTTEN_AFTER;
        let opened = File::open(&forgotten).expect("a directory");
        opened.set_modified(long_ago).expect("ours");
        sweep(parent.path());
        assert!(!dead.exists() && !forgotten.exists());
        assert!(alive.exists() && new.exists() && other.exists());
        drop(held);
    }
}

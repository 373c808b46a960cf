//! That a killed drill leaves nothing for long.

use rustix::fs::FlockOperation;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

/// What directories of drills are called.
pub(super) const PREFIX: &str = "binlogfs-drill-";
/// The file in one that is locked as long as its drill lives.
const LOCK: &str = "lock";
/// Becomes the program it is given; the process id stays.
const LEASH: &str = "setpriv";

/// Locks the directory of a drill, until the process ends.
pub(super) fn lock(dir: &Path) -> Option<File> {
    let file = File::create(dir.join(LOCK)).ok()?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
    Some(file)
}

/// Removes what drills have left that were killed: nobody holds their locks. Their servers ended with them.
pub(super) fn sweep(parent: &Path) {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let path = entry.path();
        let Ok(file) = File::open(path.join(LOCK)) else {
            continue;
        };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let removed = fs::remove_dir_all(&path);
            tracing::info!(dir = %path.display(), ?removed, "what a killed drill had left");
        }
    }
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
        sweep(parent.path());
        assert!(!dead.exists());
        assert!(alive.exists() && new.exists() && other.exists());
        drop(held);
    }
}

//! The lock of a directory that one process at a time works with.

use anyhow::{Context as _, Result, bail};
use std::fs::{File, TryLockError};
use std::path::Path;

/// Its name in the directory.
const LOCK_NAME: &str = "lock";

/// Takes the lock of `dir`; it is released when the file is closed, whatever ends the process. `busy` is what to say where another
/// process has it.
pub(super) fn lock(dir: &Path, busy: impl FnOnce() -> String) -> Result<File> {
    let path = dir.join(LOCK_NAME);
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(busy()),
        Err(TryLockError::Error(e)) => {
            Err(e).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_second_is_told_why_it_waits_and_the_lock_ends_with_its_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let take = || lock(dir.path(), || "somebody is there".to_owned());
        let held = take().expect("nobody is there");
        let refused = take().expect_err("it is taken").to_string();
        assert_eq!(refused, "somebody is there");
        drop(held);
        take().expect("it is free");
    }
}

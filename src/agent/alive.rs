//! Whether somebody looks after a stream: the lock in its state directory, held for as long as its archiver's process lives.
//!
//! Not the lock of a run ([`crate::sync::archive`]), which comes and goes. Nothing depends on this one but what `binlogfs status`
//! says.

use std::fs::{File, TryLockError};
use std::path::Path;

/// Its name in the state directory.
const ALIVE_NAME: &str = "alive.lock";

/// Holds the lock until what is given is dropped. `None` while somebody else holds it, be it to look.
///
/// # Errors
/// As the file system tells.
pub fn hold(state_dir: &Path) -> std::io::Result<Option<File>> {
    let file = File::create(state_dir.join(ALIVE_NAME))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Whether somebody holds it.
///
/// # Errors
/// As the file system tells.
pub fn is_held(state_dir: &Path) -> std::io::Result<bool> {
    let file = match File::open(state_dir.join(ALIVE_NAME)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match file.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_held_as_long_as_its_holder_lives_and_looking_takes_it_from_nobody() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(!is_held(dir.path()).expect("readable"));
        let held = hold(dir.path()).expect("writable").expect("free");
        assert!(is_held(dir.path()).expect("readable"));
        assert!(hold(dir.path()).expect("writable").is_none());
        drop(held);
        assert!(!is_held(dir.path()).expect("readable"));
        assert!(hold(dir.path()).expect("writable").is_some());
    }
}

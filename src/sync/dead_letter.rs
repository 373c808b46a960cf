//! Files that cannot be handled and were put aside, so that what comes after them is archived: the dead letters.
//!
//! A file is put aside only if it is itself at fault (it cannot be read, or is no binlog), and has been for a while, and its
//! place in the history is known: right after what is archived. Then the file after it is archived, and the place of the one put
//! aside is a hole, with the reason, which a `supersede` record fills when the file can be read after all
//! (`binlogfs dlq retry`). Faults of the store, of the account, of the host (no file descriptors, a file system that does not answer),
//! or of what the server is (encryption) put nothing aside.

use super::journal::{Journal, JournalError};
use super::pipeline::PipelineError;
use crate::index::Index;
use crate::model::{FileName, Micros};
use crate::source::{Listed, SourceError, SourceFile};
use rustix::io::Errno;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file that failed, and perhaps was put aside.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct DeadLetter {
    /// Its name.
    pub file: String,
    /// Where it is.
    pub path: PathBuf,
    /// Its inode number: another file of the same name mostly has another.
    #[serde(skip)]
    pub inode: u64,
    /// What is wrong with it.
    pub reason: String,
    /// Runs that failed because of it.
    pub failed_runs: u32,
    /// When the first of them failed.
    pub first_failed_at: Micros,
    /// When it was put aside, if it was.
    pub put_aside_at: Option<Micros>,
}

impl DeadLetter {
    /// Whether it is this file.
    pub fn is(&self, listed: &Listed) -> bool {
        self.is_at(&listed.path)
    }

    /// Whether it is the file that is at `path` now. File systems give out inode numbers again: after a RESET a file of the same
    /// name may have the same one. What its server began after this one was put aside is not this one.
    fn is_at(&self, path: &Path) -> bool {
        self.path == path
            && inode(path).is_none_or(|inode| inode == self.inode)
            && !self.put_aside_at.is_some_and(|at| is_begun_after(path, at))
    }
}

/// Whether the file at `path` says that its server began it after `at`.
fn is_begun_after(path: &Path, at: Micros) -> bool {
    // The head only of what was written since: a bad disk is not asked again and again.
    let is_written = SourceFile::modified_at(path).is_some_and(|written| written > at);
    let begun = || SourceFile::open(path).and_then(|file| file.head());
    is_written && begun().is_ok_and(|head| head.created > at)
}

fn inode(path: &Path) -> Option<u64> {
    Some(std::fs::metadata(path).ok()?.ino())
}

/// The file that is at fault in a failed run, and what is wrong with it. `None` if something else is.
pub fn fault_of_file(error: &anyhow::Error) -> Option<(&Path, String)> {
    let source = error.chain().find_map(|cause| {
        let in_pipeline = match cause.downcast_ref::<PipelineError>() {
            Some(PipelineError::Source(source)) => Some(source),
            Some(
                PipelineError::Store(_)
                | PipelineError::Segment(_)
                | PipelineError::Thread(_)
                | PipelineError::GivenUp(_)
                | PipelineError::UploadEnded,
            )
            | None => None,
        };
        in_pipeline.or_else(|| cause.downcast_ref::<SourceError>())
    })?;
    let at_fault = match source {
        SourceError::Io { source, .. } => !is_fault_of_host(source),
        SourceError::Refused { source, .. } => !source.is_encryption(),
        SourceError::NoIndex(_)
        | SourceError::ManyIndexes { .. }
        | SourceError::NotAnIndex { .. }
        | SourceError::BadLine { .. }
        | SourceError::ListedButMissing { .. }
        | SourceError::Changed { .. } => false,
    };
    let path = match source {
        SourceError::Io { path, .. } | SourceError::Refused { path, .. } => path,
        _ => return None,
    };
    at_fault.then(|| (path.as_path(), source.to_string()))
}

/// Whether an error says nothing of the file: it is not there or not allowed, too many files are open, memory is short, or the
/// file system does not answer.
fn is_fault_of_host(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    let lacks = matches!(
        Errno::from_io_error(error),
        Some(
            Errno::MFILE
                | Errno::NFILE
                | Errno::NOMEM
                | Errno::STALE
                | Errno::TIMEDOUT
                | Errno::NOTCONN
        )
    );
    lacks || matches!(error.kind(), NotFound | PermissionDenied)
}

/// When a file is put aside.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// After so many failed runs,
    pub runs: u32,
    /// and not before it has been failing for so long.
    pub time: Duration,
}

/// Notes that a run failed because of the file at `path`, and puts it aside if `patience` is over and its place in the
/// history is known.
///
/// # Errors
/// When the journal or the index cannot be used.
pub fn blame(
    journal: &Journal,
    index: &Index,
    (path, reason): (&Path, &str),
    patience: Patience,
    now: Micros,
) -> Result<Option<DeadLetter>, anyhow::Error> {
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let Ok(file) = name.parse::<FileName>() else {
        return Ok(None);
    };
    let inode = inode(path).unwrap_or(0);
    let mut letter = journal
        .failures()?
        .into_iter()
        .find(|known| known.is_at(path))
        .unwrap_or(DeadLetter {
            file: name,
            path: path.to_owned(),
            inode,
            reason: String::new(),
            failed_runs: 0,
            first_failed_at: now,
            put_aside_at: None,
        });
    letter.failed_runs = letter.failed_runs.saturating_add(1);
    letter.reason = reason.to_owned();
    let failing_micros =
        u128::try_from(now.0.saturating_sub(letter.first_failed_at.0)).unwrap_or(0);
    let over = letter.failed_runs >= patience.runs && failing_micros >= patience.time.as_micros();
    if over && has_place(index, &file)? {
        letter.put_aside_at.get_or_insert(now);
    }
    journal.note_failure(&letter)?;
    Ok(letter.put_aside_at.is_some().then_some(letter))
}

/// Whether the history goes on after something with this file's basename and a lower number: else a hole could not say where it
/// is.
fn has_place(index: &Index, file: &FileName) -> Result<bool, anyhow::Error> {
    let Some(state) = index.state()? else {
        return Ok(false);
    };
    let newest = state.incarnations().next_back();
    Ok(newest.is_some_and(|(_, known)| {
        known.basename == *file.basename() && known.last_number < file.number()
    }))
}

impl Journal {
    /// Remembers a file that failed, or what became of it.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn note_failure(&self, letter: &DeadLetter) -> Result<(), JournalError> {
        self.lock().execute(
            "INSERT OR REPLACE INTO failure (path, file, inode, reason, failed_runs, first_failed_at, put_aside_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            rusqlite::params![
                letter.path.to_string_lossy(),
                letter.file,
                letter.inode.cast_signed(),
                letter.reason,
                letter.failed_runs,
                letter.first_failed_at.0,
                letter.put_aside_at.map(|at| at.0),
            ],
        )?;
        Ok(())
    }

    /// Forgets a file that failed.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn forget_failure(&self, letter: &DeadLetter) -> Result<(), JournalError> {
        self.lock().execute(
            "DELETE FROM failure WHERE path = ?1",
            [letter.path.to_string_lossy()],
        )?;
        Ok(())
    }

    /// All files that failed, oldest first.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn failures(&self) -> Result<Vec<DeadLetter>, JournalError> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "SELECT path, file, inode, reason, failed_runs, first_failed_at, put_aside_at FROM failure ORDER BY first_failed_at, path",
        )?;
        let rows = statement.query_map([], |row| {
            Ok(DeadLetter {
                path: row.get::<_, String>(0)?.into(),
                file: row.get(1)?,
                inode: row.get::<_, i64>(2)?.cast_unsigned(),
                reason: row.get(3)?,
                failed_runs: row.get(4)?,
                first_failed_at: Micros(row.get(5)?),
                put_aside_at: row.get::<_, Option<i64>>(6)?.map(Micros),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The files that were put aside.
    ///
    /// # Errors
    /// See [`JournalError`].
    pub fn dead_letters(&self) -> Result<Vec<DeadLetter>, JournalError> {
        let mut letters = self.failures()?;
        letters.retain(|letter| letter.put_aside_at.is_some());
        Ok(letters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::testing::BinlogBuilder;
    use crate::binlog::{ChecksumAlgorithm, Flavour, Refusal};
    use crate::model::GtidSet;

    #[test]
    fn what_the_host_lacks_is_no_fault_of_a_file() {
        let is_at_fault = |errno: Errno| {
            let path = Path::new("/var/lib/mysql/binlog.000007");
            let error = anyhow::Error::from(SourceError::io("open", path, errno.into()));
            fault_of_file(&error).is_some()
        };
        assert!(is_at_fault(Errno::IO));
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::STALE,
            Errno::TIMEDOUT,
            Errno::NOTCONN,
            Errno::NOENT,
            Errno::ACCESS,
        ] {
            assert!(!is_at_fault(errno), "{errno:?}");
        }
    }

    #[test]
    fn what_the_server_encrypts_is_no_fault_of_a_file() {
        let is_at_fault = |source: Refusal| {
            let path = PathBuf::from("/var/lib/mysql/binlog.000007");
            let error = anyhow::Error::from(SourceError::Refused { path, source });
            fault_of_file(&error).is_some()
        };
        assert!(!is_at_fault(Refusal::Encrypted));
        assert!(!is_at_fault(Refusal::StartEncryption));
        assert!(is_at_fault(Refusal::NotABinlog));
    }

    #[test]
    fn what_was_begun_after_a_file_was_put_aside_is_not_that_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("binlog.000007");
        // Written in place: the inode stays.
        let write = |begun_at: u32| {
            let checksum = ChecksumAlgorithm::Crc32;
            let mut builder = BinlogBuilder::new(Flavour::MySql, "9.7.4", checksum, begun_at);
            builder.previous_gtids(&GtidSet::new());
            std::fs::write(&path, builder.finish()).expect("writable");
        };
        std::fs::write(&path, [0; 1000]).expect("writable");
        const PUT_ASIDE: u32 = 1_700_000_000;
        let letter = DeadLetter {
            file: "binlog.000007".to_owned(),
            inode: inode(&path).expect("there"),
            path: path.clone(),
            reason: "it is a test".to_owned(),
            failed_runs: 3,
            first_failed_at: Micros::from_seconds(PUT_ASIDE - 60),
            put_aside_at: Some(Micros::from_seconds(PUT_ASIDE)),
        };
        assert!(letter.is_at(&path), "unreadable as it was");
        write(PUT_ASIDE - 3600);
        assert_eq!(inode(&path), Some(letter.inode));
        assert!(letter.is_at(&path), "repaired where it is");
        write(PUT_ASIDE + 3600);
        assert_eq!(inode(&path), Some(letter.inode));
        assert!(!letter.is_at(&path), "of the life after a RESET");
        assert!(!letter.is_at(&dir.path().join("binlog.000008")));
    }
}

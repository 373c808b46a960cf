//! A server's binlogs on its own disk: which files there are, in which order, and which of them are final.
//!
//! # What is closed
//! A file is closed when the binlog index file lists another one after it. Nothing else decides: IN_USE flags stay set
//! in files that were closed properly, ROTATE and STOP are missing after a crash, and a server that starts may still cut
//! the newest file in crash recovery. The newest file is therefore never taken.
//!
//! # The index file
//! The server rewrites it by unlink, then rename, so for an instant it is not there: reading it is tried again for
//! [`index_file::MISSING_PATIENCE`]. Its lines are relative to the data directory, or absolute, or absolute where the
//! directory was before somebody moved it; the last are looked for beside the index file.
//!
//! # What may change meanwhile
//! A PURGE may remove a listed file at any moment: the descriptor is held while a file is read, and a file that is gone
//! is looked up in the index again by the caller. [`file::SourceFile::unchanged`] tells whether inode, size and
//! modification time stayed the same between open and end of read.

pub mod file;
pub mod index_file;
pub mod listing;
pub mod live;
pub mod origin;
pub mod page_cache;
pub mod server;

pub use file::SourceFile;
pub use listing::{Listed, Listing, Source};
pub use origin::{Content, Origin, Pieces};

use std::path::PathBuf;

/// A server's binlogs that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The operating system refused.
    #[error("cannot {verb} {path}: {source}{hint}", path = .path.display())]
    Io {
        /// What was tried, such as `read`.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
        /// What to do, with its separator; may be empty.
        hint: &'static str,
    },
    /// No binlog index file was found.
    #[error("{dir} has no binlog index file (such as binlog.index); name it: --source {dir}/BASENAME.index", dir = .0.display())]
    NoIndex(PathBuf),
    /// More than one was found.
    #[error("{dir} has more than one binlog index file ({found}); name one: --source {dir}/BASENAME.index", dir = .dir.display())]
    ManyIndexes {
        /// The directory.
        dir: PathBuf,
        /// Their names.
        found: String,
    },
    /// The file is no binlog index file.
    #[error("{path}: {reason}", path = .path.display())]
    NotAnIndex {
        /// The file.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// A line of the index file names something that is no binlog.
    #[error("{path}, line {line}: {reason}", path = .path.display())]
    BadLine {
        /// The index file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why not.
        reason: String,
    },
    /// A file listed by the index is not where the index says.
    #[error(
        "{path} is listed in {index} and does not exist: if its directory was moved or is not mounted, make it visible again; \
         nothing was archived past it", path = .path.display(), index = .index.display()
    )]
    ListedButMissing {
        /// Where it should be.
        path: PathBuf,
        /// Who says so.
        index: PathBuf,
    },
    /// The file changed while it was read.
    #[error("{path} changed while it was read, though the server has closed it: {what}; find out what writes to it", path = .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What changed.
        what: String,
    },
    /// It is no binlog that can be archived.
    #[error("{path}: {source}", path = .path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// Why.
        source: crate::binlog::Refusal,
    },
}

impl SourceError {
    /// Whether there is nothing yet where a server's binlogs should be: one that begins makes it.
    pub fn is_absence(&self) -> bool {
        match self {
            SourceError::NoIndex(_) => true,
            SourceError::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            SourceError::ManyIndexes { .. }
            | SourceError::NotAnIndex { .. }
            | SourceError::BadLine { .. }
            | SourceError::ListedButMissing { .. }
            | SourceError::Changed { .. }
            | SourceError::Refused { .. } => false,
        }
    }

    /// An [`SourceError::Io`] with the advice that fits its kind.
    pub fn io(verb: &'static str, path: impl Into<PathBuf>, source: std::io::Error) -> SourceError {
        let hint = match source.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "; run as a user that may read the server's files (root, or the group mysql)"
            }
            std::io::ErrorKind::NotFound => "; check the path",
            _ => "",
        };
        SourceError::Io {
            verb,
            path: path.into(),
            source,
            hint,
        }
    }
}

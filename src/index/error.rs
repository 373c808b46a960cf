//! What can go wrong with an index.

use crate::ledger::ChainError;
use rusqlite::ErrorCode;
use std::path::Path;

/// A failed operation on an index.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// SQLite or the file system refused.
    #[error("index {path}: {reason}")]
    Database {
        /// The database file, or `(temporary)`.
        path: String,
        /// As SQLite told it.
        reason: String,
    },
    /// The file is damaged. The next [`super::Index::open`] begins it anew.
    #[error(
        "index {path} is damaged: {reason}; it is derived from the ledger and will be rebuilt when it is opened again"
    )]
    Corrupt {
        /// The database file, or `(temporary)`.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// It belongs to another stream than the bucket now has.
    #[error("index {path}: {reason}")]
    OtherStream {
        /// The database file, or `(temporary)`.
        path: String,
        /// What differs, and what to do.
        reason: String,
    },
    /// [`super::Index::begin`] was not called.
    #[error("index {path} belongs to no stream yet")]
    NotBegun {
        /// The database file, or `(temporary)`.
        path: String,
    },
    /// It was begun anew since an earlier look, and what that look told is not in it any more, or not yet again.
    #[error(
        "index {path} is built anew at the moment: what it had before cannot be read out of it; look again when it is done"
    )]
    MadeAnew {
        /// The database file, or `(temporary)`.
        path: String,
    },
    /// A record breaks a rule; all before it are applied.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// An error before it is known which index it was.
#[derive(Debug)]
pub(super) enum Fault {
    Sql(rusqlite::Error),
    Corrupt(String),
    OtherStream(String),
    NotBegun,
    MadeAnew,
    Chain(ChainError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Fault {
        Fault::Sql(error)
    }
}

impl From<ChainError> for Fault {
    fn from(error: ChainError) -> Fault {
        Fault::Chain(error)
    }
}

/// Whether SQLite says that the file's content is wrong, as opposed to its surroundings.
pub(super) fn is_corruption(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    match error {
        E::SqliteFailure(failure, _) => matches!(
            failure.code,
            // A constraint is ours to keep: what we write breaks one only if what is there is wrong.
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation
        ),
        // Our statements are right for our tables: these are others.
        E::SqlInputError { .. } => true,
        // A value of another type or range than was written.
        E::FromSqlConversionFailure(..)
        | E::IntegralValueOutOfRange(..)
        | E::Utf8Error(..)
        | E::InvalidColumnType(..) => true,
        _ => false,
    }
}

impl Fault {
    pub(super) fn at(self, path: Option<&Path>) -> IndexError {
        let is_temporary = path.is_none();
        let path = path.map_or_else(|| "(temporary)".to_owned(), |p| p.display().to_string());
        match self {
            Fault::Sql(error) if is_temporary && is_for_want_of_space(&error) => {
                let reason = format!(
                    "{error}; it is kept in a temporary file: TMPDIR names the directory, /var/tmp if it is not set"
                );
                IndexError::Database { path, reason }
            }
            Fault::Sql(error) if is_corruption(&error) => IndexError::Corrupt {
                path,
                reason: error.to_string(),
            },
            Fault::Sql(error) => IndexError::Database {
                path,
                reason: error.to_string(),
            },
            Fault::Corrupt(reason) => IndexError::Corrupt { path, reason },
            Fault::OtherStream(reason) => IndexError::OtherStream { path, reason },
            Fault::NotBegun => IndexError::NotBegun { path },
            Fault::MadeAnew => IndexError::MadeAnew { path },
            Fault::Chain(error) => IndexError::Chain(error),
        }
    }
}

/// Whether a file could not be made, or did not become as large as it was to be.
fn is_for_want_of_space(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DiskFull | ErrorCode::CannotOpen)
    )
}

//! What can go wrong with a stream.

use crate::index::IndexError;
use crate::ledger::stream_file::StreamFileError;
use crate::model::Seq;
use crate::store;

/// A failed operation on a stream.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// There is no `stream.json`.
    #[error(
        "no stream in {store}: it has no stream.json; check the URL, or begin the stream with 'binlogfs archive --to URL'"
    )]
    NoStream {
        /// The store.
        store: String,
    },
    /// There is one already.
    #[error("there is a stream in {store} already")]
    Exists {
        /// The store.
        store: String,
    },
    /// `stream.json` cannot be read.
    #[error("stream in {store}: {reason}")]
    StreamFile {
        /// The store.
        store: String,
        /// Why.
        reason: StreamFileError,
    },
    /// The store overwrites what it was told to create.
    #[error(
        "{store} ignores the condition of a create: it overwrites objects that exist, so two archivers could destroy each \
         other's records; use a store that honours If-None-Match, or give --single-writer if no other archiver can ever \
         write here"
    )]
    StoreIgnoresCondition {
        /// The store.
        store: String,
    },
    /// Whether the store honours the condition cannot be found out.
    #[error(
        "whether this store refuses to overwrite cannot be found out, and without that nothing is archived: {error}. It was asked to \
         create stream.json again under the condition that it does not exist (If-None-Match), which changes nothing; a policy \
         that denies overwriting answers before the condition does. Grant s3:PutObject (roles/storage.objectCreator and objectViewer on GCS) \
         for the whole prefix"
    )]
    ProbeDenied {
        /// What the store answered.
        error: store::Error,
    },
    /// The ledger lost records that were there.
    #[error(
        "the ledger in {store} went backwards: {what}; nothing was taken in from it. Someone deleted or replaced objects \
         under ledger/, or the bucket was restored from an older copy: find out who and why, compare with another copy or \
         with object versions, and only if the bucket is right as it is, run 'binlogfs index rebuild'"
    )]
    Rollback {
        /// The store.
        store: String,
        /// The newest record that was known.
        seq: Seq,
        /// How it differs now.
        what: String,
    },
    /// Too many records are missing at once.
    #[error(
        "the ledger in {store} has no records between {newest} and {beyond}: someone deleted them, or put an object under \
         ledger/ that does not belong there; restore the records or remove the object, all up to {newest} stays readable"
    )]
    Scattered {
        /// The store.
        store: String,
        /// The last record before the void.
        newest: Seq,
        /// The first after it.
        beyond: Seq,
    },
    /// A record comes from a newer build.
    #[error(
        "ledger record {seq} in {store} cannot be understood: {reason}; all before it stays readable"
    )]
    NewerFormat {
        /// The store.
        store: String,
        /// The record.
        seq: Seq,
        /// What is new in it.
        reason: String,
    },
    /// The index failed, or a record broke a rule.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl StreamError {
    /// Whether what is known of the history can be read all the same. An archiver stops at every error; a reader who needs
    /// an old segment goes on, and says what is wrong.
    pub fn leaves_history(&self) -> bool {
        match self {
            StreamError::Rollback { .. }
            | StreamError::Scattered { .. }
            | StreamError::NewerFormat { .. }
            | StreamError::Index(IndexError::Chain(_)) => true,
            StreamError::NoStream { .. }
            | StreamError::Exists { .. }
            | StreamError::StreamFile { .. }
            | StreamError::StoreIgnoresCondition { .. }
            | StreamError::ProbeDenied { .. }
            | StreamError::Index(_)
            | StreamError::Store(_) => false,
        }
    }
}

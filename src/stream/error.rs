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
        "ledger record {seq} in {store} has format {format}, newer than this build reads: upgrade binlogfs; all before it \
         stays readable"
    )]
    NewerFormat {
        /// The store.
        store: String,
        /// The record.
        seq: Seq,
        /// Its format.
        format: u64,
    },
    /// The index failed, or a record broke a rule.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

//! Where a stream's objects live: verbs with contracts, which every implementation keeps and one suite proves.
//!
//! Keys are create-only. Nothing in a stream is ever overwritten, so no verb can. Decorators (retry, fault, recording)
//! take a store and are one; they are composed by whoever builds the store ([`open`], or a test), never switched on by a
//! flag. What the contracts below say is proved by `conformance`, which every store and every decorator passes.

mod below;
mod body;
pub mod breaker;
mod causes;
mod checksum;
#[doc(hidden)]
pub mod conformance;
pub mod copies;
mod copying;
mod date;
mod dirs;
mod error;
pub mod fault;
pub mod file;
mod gathered;
mod gcs;
mod lock;
mod memory;
mod open;
pub mod recording;
pub mod retry;
mod roots;
mod s3;
mod single_writer;

pub use below::BelowStore;
pub use breaker::{Breaker, BreakerPolicy, BreakerState, BreakerStore};
pub use checksum::ChecksumHasher;
pub use copies::{Copies, CopiesStore, CopyFigures, CopyReason};
pub use copying::{CopyError, OnBytes, Source, copy_object, prove_object};
pub use date::server_time;
pub use error::{Error, ErrorKind, Outcome};
pub use file::{FileStore, TempFiles};
pub use gcs::GcsStore;
pub use lock::{Keeping, Lock, LockMode, Protection, Removed, Retain};
pub use memory::MemoryStore;
pub use open::{OpenMode, Writers, open, open_for, open_with_copies};
pub use recording::{Call, RecordingStore};
pub use retry::{RetryPolicy, RetryStore};
pub use s3::S3Store;
pub use single_writer::SingleWriterStore;

use crate::model::ObjectKey;
use crate::model::counted::count;
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A store shared by the tasks that use it.
pub type SharedStore = Arc<dyn Store>;

/// What `result` of a verb is.
pub type Result<T> = std::result::Result<T, Error>;

/// What a store knows of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Length in bytes.
    pub size: u64,
    /// CRC-32C (Castagnoli) of the whole object, where the store keeps one.
    pub crc32c: Option<u32>,
    /// CRC-64/NVME of the whole object, where the store keeps one.
    pub crc64nvme: Option<u64>,
}

/// The checksums of a whole object, computed by the writer over the bytes it handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksums {
    /// Length in bytes.
    pub size: u64,
    /// CRC-32C (Castagnoli).
    pub crc32c: u32,
    /// CRC-64/NVME.
    pub crc64nvme: u64,
}

impl fmt::Display for Checksums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (size, crc32c, crc64nvme) = (count(self.size, "byte"), self.crc32c, self.crc64nvme);
        write!(
            f,
            "{size}, CRC-32C {crc32c:08x}, CRC-64/NVME {crc64nvme:016x}"
        )
    }
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Keys with their sizes, in ascending byte order.
    pub objects: Vec<(ObjectKey, u64)>,
    /// Whether keys after the last of `objects` may exist.
    pub more: bool,
}

/// Takes the pieces of a get, in order. It is not to block: the connection waits for it.
pub type OnPiece<'a> = &'a mut (dyn FnMut(Bytes) + Send);

/// An object store, or a directory that behaves like one.
///
/// Every verb is safe to call from many tasks at once. A verb returns [`ErrorKind`] as the table in `error.rs` says; an
/// error whose [`Outcome`] is unknown may have taken effect, and the caller finds out by `head` or `get`.
#[async_trait]
pub trait Store: Send + Sync {
    /// Creates `key` with exactly `body`, durable when this returns, **iff no object has that key**.
    ///
    /// Of any number of concurrent creates of one key exactly one returns `Ok`; a reader sees all of the body or no
    /// object, never a part.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`] when the key is taken; then nothing was changed.
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<()>;

    /// Begins an object whose bytes come in pieces. Nothing is visible under `key` before [`Upload::commit`].
    ///
    /// `size_hint` is the expected size in bytes: it chooses part sizes, and may be wrong.
    async fn upload(&self, key: &ObjectKey, size_hint: u64) -> Result<Box<dyn Upload>>;

    /// The bytes `range` of `key`: exactly `range.end - range.start` of them.
    ///
    /// An empty range is empty; whether the object exists or is long enough need not be asked for that.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::Truncated`] when the object ends before `range.end`.
    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes>;

    /// [`Store::get`] for who can use a part before the rest is there: gives the bytes of `range` to `on_piece` as they come. What was
    /// given before an error stays given.
    ///
    /// A store that has them all at once gives them all at once.
    ///
    /// # Errors
    /// As [`Store::get`].
    async fn get_in_pieces(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        on_piece: OnPiece<'_>,
    ) -> Result<()> {
        on_piece(self.get(key, range).await?);
        Ok(())
    }

    /// The whole of a small object, at most `max_bytes` long.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]; [`ErrorKind::TooLarge`] before anything beyond `max_bytes` is held in memory.
    async fn get_all(&self, key: &ObjectKey, max_bytes: u64) -> Result<Bytes>;

    /// What the store knows of `key`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta>;

    /// Keys that begin with `prefix` (such as `ledger/`) and sort after `after`, in ascending byte order, one page.
    ///
    /// A page may be shorter than the store's maximum. `more` may be true although nothing follows, but an empty page
    /// never has it: there would be no key to go on from. An object created before the call began is in it (S3, GCS and
    /// directories all promise this since 2020).
    ///
    /// The price of a page differs: one request on S3 and GCS, one reading of the whole directory in a [`FileStore`].
    /// Whoever follows a ledger asks for the next record by name, which costs the same everywhere.
    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Listing>;

    /// The names right below `prefix` (empty, or with a slash at its end) that have keys below them: `orders` for `prod/`
    /// if there is a key `prod/orders/x`. In the order of those keys, the first `max` of them.
    ///
    /// A directory without any object is one of them in a [`FileStore`]. Meant for places with few keys beside the names:
    /// S3 and GCS pass a thousand keys per request.
    async fn list_dirs(&self, prefix: &str, max: usize) -> Result<Vec<String>> {
        dirs::by_listing(self, prefix, max).await
    }

    /// Removes `key`, durably, and what unfinished uploads to it left. Removing what is not there is `Ok`.
    ///
    /// An upload to it that is still going on may be removed too: then its commit fails.
    async fn delete(&self, key: &ObjectKey) -> Result<()>;

    /// How long the store has had `key`, and until when it keeps it. A store without locks keeps nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`].
    async fn keeping(&self, key: &ObjectKey) -> Result<Keeping> {
        self.head(key).await?;
        Ok(Keeping::default())
    }

    /// Removes `key` for good, where retention says so: unlike [`Store::delete`], in a bucket that keeps versions the version
    /// itself, so that nothing is left to be paid for. What is locked stays, and [`Removed::Kept`] tells until when; then
    /// nothing was changed. Removing what is not there is `Ok`.
    async fn remove(&self, key: &ObjectKey) -> Result<Removed> {
        self.delete(key).await?;
        Ok(Removed::Gone)
    }

    /// Changes how `key` is protected. Whether a lock may become shorter is the store's to say: compliance never.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when the store has no locks; then nothing was changed.
    async fn retain(&self, key: &ObjectKey, _change: &Retain) -> Result<()> {
        Err(Error::no_locks(key, self.describe()))
    }

    /// What messages call this store: its URL, without secrets.
    fn describe(&self) -> String;

    /// The other copies of what is here, where there are any: for whoever finds that the bytes this store gave are wrong.
    fn copies(&self) -> Option<&Copies> {
        None
    }
}

/// An object being written. Dropped without `commit`, it leaves nothing visible under its key.
#[async_trait]
pub trait Upload: Send {
    /// Appends `bytes`. May return before they are sent: an error can surface in a later call, and every call after it
    /// fails alike.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;

    /// Makes the object visible and durable under its key, iff no object has that key and its bytes have `expected`.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyExists`]; [`ErrorKind::BadDigest`] when what the store holds differs from `expected`: then
    /// nothing is visible under the key.
    async fn commit(self: Box<Self>, expected: Checksums) -> Result<()>;

    /// Gives up, and removes what was sent.
    async fn abort(self: Box<Self>) -> Result<()>;
}

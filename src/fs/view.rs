//! What the mount shows: answers each question of the kernel, in our words.

use super::chunk::Slot;
use super::errno;
use super::failures::Failures;
use super::history::History;
use super::order::ReplayOrder;
use super::source::{HistorySource, SourceError};
use super::tree::{Attr, Listed, Node, Ownership, Tree};
use super::xattr::{self, Answer};
use crate::cache::{ArchivedSegment, Cause, Place, ReadError, SegmentReader};
use crate::ledger::Entry;
use crate::model::{Seq, Timeline};
use bytes::Bytes;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;
use tokio::sync::watch;

/// An errno, as `libc` numbers them.
pub type Errno = i32;

/// How the kernel may treat an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// Its bytes never change: what is in the page cache is right.
    Keep,
    /// They may be another's at the next open: a better copy of a damaged segment.
    UntilClosed,
    /// The page cache is passed by. It knows pages, not bytes: it would hide the last bytes before the first bad event, and
    /// take a short answer there for the file's end.
    Never,
}

/// A file that was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenedFile {
    /// What names it in reads.
    pub handle: u64,
    /// How the kernel may treat it.
    pub caching: Caching,
}

/// A question that is answered out of the history.
#[derive(Clone, Copy, Debug)]
pub enum Question<'a> {
    /// [`View::lookup`].
    Lookup(u64, &'a OsStr),
    /// [`View::attr`].
    Attr(u64),
    /// [`View::list`].
    List(u64, u64),
}

/// A part of the history that is not in memory.
pub struct Unloaded(Vec<Arc<Slot>>);

impl Unloaded {
    /// Reads it. Blocks.
    ///
    /// # Errors
    /// EIO if the index cannot be read.
    pub fn load(&self) -> Result<(), Errno> {
        for slot in &self.0 {
            slot.load().map_err(|error| {
                tracing::error!(%error, "cannot read the index");
                libc::EIO
            })?;
        }
        Ok(())
    }
}

/// What a handle stands for.
struct OpenFile {
    segment: ArchivedSegment,
    /// Where it stands in a replay, if it is one's.
    place: Option<Place>,
}

/// Answers the kernel's questions about a history.
pub struct View {
    source: Arc<dyn HistorySource>,
    reader: Arc<SegmentReader>,
    ownership: Ownership,
    history: RwLock<Arc<History>>,
    /// The timeline in the root. It stays: whoever replays opens one name after the other, and all must be of one history.
    root: OnceLock<Timeline>,
    handles: Mutex<HashMap<u64, Arc<OpenFile>>>,
    next_handle: AtomicU64,
    failures: Mutex<Failures>,
    closing: watch::Sender<bool>,
}

impl View {
    /// A view of `history`, which `source` knows in full and `reader` reads.
    pub fn new(
        source: Arc<dyn HistorySource>,
        reader: Arc<SegmentReader>,
        history: History,
        ownership: Ownership,
    ) -> View {
        let root = history.newest().map_or_else(OnceLock::new, OnceLock::from);
        View {
            source,
            reader,
            ownership,
            root,
            history: RwLock::new(Arc::new(history)),
            handles: Mutex::default(),
            next_handle: AtomicU64::new(1),
            failures: Mutex::new(Failures::new(Instant::now())),
            closing: watch::channel(false).0,
        }
    }

    /// The history as it is now.
    pub fn history(&self) -> Arc<History> {
        let history = self.history.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&history)
    }

    /// The timeline that the root shows: the newest when there was one for the first time.
    pub fn root(&self) -> Option<Timeline> {
        self.root.get().copied()
    }

    fn tree<'h>(&self, history: &'h History) -> Tree<'h> {
        Tree::new(history, self.root(), self.ownership)
    }

    /// Shows another history from now on.
    pub fn show(&self, history: History) {
        if let Some(newest) = history.newest() {
            self.root.get_or_init(|| newest);
        }
        let mut current = self.history.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(history);
    }

    /// Fails all reads that are on their way, and all to come, with EIO.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// The attributes of `name` in the directory `parent`.
    ///
    /// # Errors
    /// ENOENT.
    pub fn lookup(&self, parent: u64, name: &OsStr) -> Result<Attr, Errno> {
        let history = self.history();
        let tree = self.tree(&history);
        let found = Node::of_ino(parent)
            .zip(name.to_str())
            .and_then(|(parent, name)| tree.lookup(parent, name))
            .and_then(|node| tree.attr(node));
        found.ok_or(libc::ENOENT)
    }

    /// The attributes of an inode.
    ///
    /// # Errors
    /// ESTALE if it is not there any more.
    pub fn attr(&self, ino: u64) -> Result<Attr, Errno> {
        let history = self.history();
        let tree = self.tree(&history);
        let found = Node::of_ino(ino).and_then(|node| tree.attr(node));
        found.ok_or(libc::ESTALE)
    }

    /// Lists a directory after `cookie`, with attributes, until `take` returns false.
    ///
    /// # Errors
    /// ENOTDIR.
    pub fn list(
        &self,
        ino: u64,
        cookie: u64,
        mut take: impl FnMut(&Listed, &Attr) -> bool,
    ) -> Result<(), Errno> {
        let directory = Node::of_ino(ino).filter(|node| node.is_directory());
        let directory = directory.ok_or(libc::ENOTDIR)?;
        let history = self.history();
        let tree = self.tree(&history);
        tree.list(directory, cookie, |listed, attr| take(&listed, &attr));
        Ok(())
    }

    /// The part of the history that the answer to a question is in, if it has to be read first. Whoever must not wait has it
    /// loaded by somebody else.
    pub fn unloaded(&self, question: &Question<'_>) -> Option<Unloaded> {
        let history = self.history();
        let tree = self.tree(&history);
        let one = |slot: Option<&Arc<Slot>>| slot.cloned().into_iter().collect();
        let slots: Vec<_> = match *question {
            Question::Lookup(parent, name) => {
                one(tree.unloaded_of_name(Node::of_ino(parent)?, name.to_str()?))
            }
            Question::Attr(ino) => one(tree.unloaded_of(Node::of_ino(ino)?)),
            Question::List(ino, cookie) => tree.unloaded_of_list(Node::of_ino(ino)?, cookie),
        };
        (!slots.is_empty()).then_some(Unloaded(slots))
    }

    /// Number of entries in the root: for statfs(2).
    pub fn files(&self) -> u64 {
        let history = self.history();
        history
            .newest()
            .and_then(|newest| history.timeline(newest))
            .map_or(0, |entries| entries.len() as u64)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// EIO for a hole, a gap or a lost record; ENOKEY for an encrypted segment without any key; EISDIR; ESTALE.
    pub async fn open(self: Arc<Self>, ino: u64) -> Result<OpenedFile, Errno> {
        let (seq, raw) = match Node::of_ino(ino) {
            Some(Node::File(seq)) => (seq, false),
            Some(Node::RawFile(seq)) => (seq, true),
            Some(_) => return Err(libc::EISDIR),
            None => return Err(libc::ESTALE),
        };
        let entry = self.entry(seq).await?;
        let segment =
            ArchivedSegment::of_entry(&entry).map_err(|error| self.failed(&error, None))?;
        self.reader
            .check_key(&segment)
            .map_err(|error| self.failed(&error, None))?;
        let (segment, caching) = match (segment.is_damaged(), raw) {
            (false, _) => (segment, Caching::Keep),
            (true, true) => (segment.raw(), Caching::UntilClosed),
            (true, false) => (segment, Caching::Never),
        };
        let place = (!raw).then(|| Place {
            seq,
            order: Arc::new(ReplayOrder(Arc::downgrade(&self))),
        });
        let handle = self.next_handle.fetch_add(1, Ordering::Relaxed);
        let file = OpenFile { segment, place };
        self.handles().insert(handle, Arc::new(file));
        Ok(OpenedFile { handle, caching })
    }

    /// Forgets an open file.
    pub fn release(&self, handle: u64) {
        self.handles().remove(&handle);
    }

    /// Reads from an open file: `len` bytes, fewer only where the readable part ends.
    ///
    /// # Errors
    /// The table in `errno.rs`; EBADF for a handle that is not open.
    pub async fn read(self: Arc<Self>, handle: u64, offset: u64, len: u32) -> Result<Bytes, Errno> {
        let file = self.handles().get(&handle).cloned().ok_or(libc::EBADF)?;
        let (segment, place) = (&file.segment, file.place.as_ref());
        let mut closing = self.closing.subscribe();
        let outcome = tokio::select! {
            // A closed channel cannot be: the view holds its sender.
            _ = closing.wait_for(|closing| *closing) => Err(ReadError {
                segment: segment.name().clone(),
                object: segment.id().clone(),
                cause: Cause::Closing,
            }),
            outcome = self.reader.read_at(segment, place, offset, u64::from(len)) => outcome,
        };
        outcome.map_err(|error| self.failed(&error, Some(offset)))
    }

    /// getxattr(2).
    ///
    /// # Errors
    /// As `View::entry`; directories have none.
    pub async fn xattr(
        self: Arc<Self>,
        ino: u64,
        name: &OsStr,
        size: u32,
    ) -> Result<Answer, Errno> {
        let name = name.to_str().filter(|name| xattr::is_ours(name));
        let seq = Node::of_ino(ino).and_then(record_of);
        match name.zip(seq) {
            Some((name, seq)) => Ok(xattr::get(&self.entry(seq).await?, name, size)),
            None => Ok(Answer::Absent),
        }
    }

    /// listxattr(2).
    ///
    /// # Errors
    /// As `View::entry`; directories have none.
    pub async fn xattrs(self: Arc<Self>, ino: u64, size: u32) -> Result<Answer, Errno> {
        match Node::of_ino(ino).and_then(record_of) {
            Some(seq) => Ok(xattr::list(&self.entry(seq).await?, size)),
            None if size == 0 => Ok(Answer::Size(0)),
            None => Ok(Answer::Data(Vec::new())),
        }
    }

    /// An entry in full.
    ///
    /// # Errors
    /// ESTALE if it is gone; EIO if the index cannot be read.
    pub(super) async fn entry(&self, seq: Seq) -> Result<Entry, Errno> {
        let source = Arc::clone(&self.source);
        let found = tokio::task::spawn_blocking(move || source.entry(seq)).await;
        let failed = |error: SourceError| {
            log(
                errno::INDEX.level,
                &format!("record {seq}: cannot read the index: {error}"),
            );
            errno::INDEX.errno
        };
        match found {
            Ok(Ok(entry)) => entry.ok_or(libc::ESTALE),
            Ok(Err(error)) => Err(failed(error)),
            Err(died) => Err(failed(died.into())),
        }
    }

    /// Logs a failure, unless there are too many, and tells its errno.
    fn failed(&self, error: &ReadError, offset: Option<u64>) -> Errno {
        let verdict = errno::of_cause(&error.cause);
        let noted = self
            .failures()
            .note(&error.segment, verdict.errno, Instant::now());
        if let Some(left_out) = noted {
            let what = match offset {
                Some(offset) => format!("reading at offset {offset} of {error}"),
                None => format!("opening {error}"),
            };
            let more = match left_out {
                0 => String::new(),
                n => format!(" ({n} more failures before this one were not logged)"),
            };
            log(verdict.level, &format!("{what}{more}"));
        }
        verdict.errno
    }

    /// Tells of failures that were not logged, once it is quiet again.
    pub fn tell_left_out(&self) {
        if let Some(left_out) = self.failures().overdue(Instant::now()) {
            tracing::warn!("{left_out} more failures were not logged");
        }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn handles(&self) -> MutexGuard<'_, HashMap<u64, Arc<OpenFile>>> {
        // Inserted and removed by single calls: sound after a panic elsewhere.
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log(level: tracing::Level, text: &str) {
    match level {
        tracing::Level::ERROR => tracing::error!("{text}"),
        tracing::Level::WARN => tracing::warn!("{text}"),
        tracing::Level::INFO => tracing::info!("{text}"),
        _ => tracing::debug!("{text}"),
    }
}

/// The record of what has one.
fn record_of(node: Node) -> Option<Seq> {
    match node {
        Node::File(seq) | Node::RawFile(seq) => Some(seq),
        Node::Root | Node::RootRaw | Node::Timelines | Node::Timeline(_) | Node::Raw(_) => None,
    }
}

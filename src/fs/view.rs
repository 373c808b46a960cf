//! What the mount shows: answers each question of the kernel, in our words.

use super::errno;
use super::failures::{self, Failures};
use super::history::History;
use super::located::Located;
use super::open_files::{Caching, Content, OpenFiles, OpenSegment, OpenedFile};
use super::order::ReplayOrder;
use super::recall::Told;
use super::refresh::MountStatus;
use super::source::{HistorySource, SourceError};
use super::tree::{Attr, Listed, Node, Ownership, Tree};
use super::views::Views;
use crate::cache::{ArchivedSegment, Cause, Place, ReadError, SegmentReader};
use crate::index::Index;
use crate::index::asking::ask;
use crate::ledger::Entry;
use crate::locate::Locator;
use crate::model::{Seq, Timeline};
use bytes::Bytes;
use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Instant;
use tokio::sync::watch;

/// An errno, as `libc` numbers them.
pub type Errno = i32;

/// Answers the kernel's questions about a history.
pub struct View {
    source: Arc<dyn HistorySource>,
    reader: Arc<SegmentReader>,
    ownership: Ownership,
    history: RwLock<Arc<History>>,
    /// The timeline in the root. It stays: whoever replays opens one name after the other, and all must be of one history.
    root: OnceLock<Timeline>,
    pub(super) files: OpenFiles,
    failures: Mutex<Failures>,
    closing: watch::Sender<bool>,
    locator: Option<Locator>,
    pub(super) views: Mutex<Views>,
    pub(super) located: Mutex<Located>,
    pub(super) told: Told,
    status: OnceLock<Arc<Mutex<MountStatus>>>,
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
        let locator = source.index().map(|index| {
            let locator = Locator::new(index, Arc::clone(&reader));
            match source.dir() {
                Some(dir) => locator.below(dir.clone()),
                None => locator,
            }
        });
        View {
            locator,
            views: Mutex::default(),
            located: Mutex::default(),
            status: OnceLock::new(),
            source,
            reader,
            ownership,
            root,
            history: RwLock::new(Arc::new(history)),
            files: OpenFiles::new(),
            told: Told::default(),
            failures: Mutex::new(Failures::new(Instant::now())),
            closing: watch::channel(false).0,
        }
    }

    /// The same with `root` in its root, whatever is newest.
    pub(super) fn showing(mut self, root: Timeline) -> View {
        self.root = OnceLock::from(root);
        self
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

    /// Has `.status.json` tell this, as it is whenever somebody reads it.
    pub fn report(&self, status: Arc<Mutex<MountStatus>>) {
        let _ = self.status.set(status);
    }

    pub(super) fn reader(&self) -> &SegmentReader {
        &self.reader
    }

    /// The index of the source, and how the refreshes went.
    pub(super) fn behind(&self) -> (Option<Arc<Index>>, Option<MountStatus>) {
        let status = self.status.get().map(|status| {
            let status = status.lock().unwrap_or_else(PoisonError::into_inner);
            status.clone()
        });
        (self.source.index(), status)
    }

    pub(super) fn locator(&self) -> Option<&Locator> {
        self.locator.as_ref()
    }

    pub(super) fn tree<'h>(&self, history: &'h History) -> Tree<'h> {
        Tree::new(history, self.root(), self.ownership)
    }

    /// Shows another history from now on. Returns the one before it, of which what has changed is to be taken back.
    pub fn show(&self, history: History) -> Arc<History> {
        let _replacing = self.recall().replacing();
        if let Some(newest) = history.newest() {
            self.root.get_or_init(|| newest);
        }
        let mut current = self.history.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, Arc::new(history))
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
            .and_then(|(parent, name)| tree.lookup(parent, name));
        match found {
            Some(Node::Made(made)) => self.made_attr(made),
            Some(node) => tree.attr(node).ok_or(libc::ENOENT),
            None => Err(libc::ENOENT),
        }
    }

    /// The attributes of an inode; of a file that is open and gone those that it had.
    ///
    /// # Errors
    /// ESTALE if it is not there any more.
    pub fn attr(&self, ino: u64) -> Result<Attr, Errno> {
        let history = self.history();
        let tree = self.tree(&history);
        let found = match Node::of_ino(ino) {
            Some(Node::Made(made)) => self.made_attr(made),
            Some(node) => tree.attr(node).ok_or(libc::ESTALE),
            None => Err(libc::ESTALE),
        };
        found.or_else(|errno| self.files.attr_when_opened(ino).ok_or(errno))
    }

    /// Lists a directory after `cookie`, with attributes, until `take` returns false.
    ///
    /// # Errors
    /// ENOTDIR.
    pub fn list(
        &self,
        ino: u64,
        cookie: u64,
        take: impl FnMut(&Listed, &Attr) -> bool,
    ) -> Result<(), Errno> {
        self.list_of(&self.history(), ino, cookie, take)
    }

    /// The same of a history that was shown before.
    pub(super) fn list_of(
        &self,
        history: &History,
        ino: u64,
        cookie: u64,
        mut take: impl FnMut(&Listed, &Attr) -> bool,
    ) -> Result<(), Errno> {
        let directory = Node::of_ino(ino).filter(|node| node.is_directory());
        let directory = directory.ok_or(libc::ENOTDIR)?;
        if let Node::Made(made) = directory {
            return self.list_made(made, cookie, take);
        }
        let tree = self.tree(history);
        tree.list(directory, cookie, |listed, attr| take(&listed, &attr));
        Ok(())
    }

    /// Number of entries in the root: for statfs(2).
    pub fn files(&self) -> u64 {
        let history = self.history();
        self.root()
            .and_then(|root| history.timeline(root))
            .map_or(0, |entries| entries.len() as u64)
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// EIO for a hole, a gap or a lost record; ENOKEY for an encrypted segment without any key; EISDIR; ESTALE; ETIMEDOUT.
    pub async fn open(self: Arc<Self>, ino: u64) -> Result<OpenedFile, Errno> {
        self.open_as(ino, ino).await
    }

    /// The same of a file that the kernel knows by another number.
    ///
    /// # Errors
    /// As [`View::open`].
    pub(super) async fn open_as(
        self: Arc<Self>,
        ino: u64,
        known_as: u64,
    ) -> Result<OpenedFile, Errno> {
        let opening = Arc::clone(&self).open_in_full(ino, known_as);
        self.in_time("cannot open a file", opening).await
    }

    async fn open_in_full(self: Arc<Self>, ino: u64, known_as: u64) -> Result<OpenedFile, Errno> {
        let node = Node::of_ino(ino).ok_or(libc::ESTALE)?;
        let (seq, raw) = match node {
            Node::File(seq) => (seq, false),
            Node::RawFile(seq) => (seq, true),
            Node::Made(made) => return self.open_made(made).await,
            _ => return Err(libc::EISDIR),
        };
        // The index knows entries that the history has no more: behind a fence, or pruned.
        let history = self.history();
        self.have_loaded(history.unloaded_of_seq(seq)).await?;
        let attr = self.tree(&history).attr(node).ok_or(libc::ESTALE)?;
        let attr = Attr {
            ino: known_as,
            ..attr
        };
        let segment = self.segment(&self.entry(seq).await?)?;
        let (segment, caching) = match (segment.is_damaged(), raw) {
            (false, _) => (segment, Caching::Keep),
            (true, false) => (segment, Caching::Never),
            (true, true) => (segment.with_damage(), Caching::Never),
        };
        let place = (!raw).then(|| Place {
            seq,
            order: Arc::new(ReplayOrder(Arc::downgrade(&self))),
        });
        let file = Content::Segment(Arc::new(OpenSegment { segment, place }));
        let caching = self.recall().pages.opened(self.outside(known_as), caching);
        Ok(self.files.add(file, caching, attr))
    }

    /// Forgets an open file.
    pub fn release(&self, handle: u64) {
        if let Some((ino, caching)) = self.files.remove(handle) {
            self.recall().pages.closed(self.outside(ino), caching);
        }
    }

    /// Reads from an open file: `len` bytes, fewer only where the readable part ends.
    ///
    /// # Errors
    /// The table in `errno.rs`; EBADF for a handle that is not open.
    pub async fn read(self: Arc<Self>, handle: u64, offset: u64, len: u32) -> Result<Bytes, Errno> {
        let content = self.files.content(handle).ok_or(libc::EBADF)?;
        let len = u64::from(len);
        match content {
            Content::Segment(file) => {
                self.read_segment(&file.segment, file.place.as_ref(), offset, len)
                    .await
            }
            Content::Part(segment, part) => self.read_part(&segment, part, offset, len).await,
            Content::Text(text) => {
                let at = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).min(text.len());
                Ok(text.slice(at(offset)..at(offset.saturating_add(len))))
            }
        }
    }

    pub(super) async fn read_segment(
        &self,
        segment: &ArchivedSegment,
        place: Option<&Place>,
        offset: u64,
        len: u64,
    ) -> Result<Bytes, Errno> {
        let outcome = match self
            .while_open(self.reader.read_at(segment, place, offset, len))
            .await
        {
            Some(outcome) => outcome,
            None => Err(ReadError {
                segment: segment.name().clone(),
                object: segment.key().as_str().into(),
                cause: Cause::Closing,
            }),
        };
        outcome.map_err(|error| self.failed(&error, Some(offset)))
    }

    /// What `work` comes to, or `None` if the mount is closed before that.
    pub(super) async fn while_open<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let mut closing = self.closing.subscribe();
        tokio::select! {
            // A closed channel cannot be: the view holds its sender.
            _ = closing.wait_for(|closing| *closing) => None,
            outcome = work => Some(outcome),
        }
    }

    /// An entry in full.
    ///
    /// # Errors
    /// ESTALE if it is gone; EIO if the index cannot be read.
    pub(super) async fn entry(&self, seq: Seq) -> Result<Entry, Errno> {
        let source = Arc::clone(&self.source);
        let found = ask(move || source.entry(seq)).await;
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
    pub(super) fn failed(&self, error: &ReadError, offset: Option<u64>) -> Errno {
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
                n => format!(" ({})", failures::told(n, " before this one")),
            };
            log(verdict.level, &format!("{what}{more}"));
        }
        verdict.errno
    }

    /// Tells of failures that were not logged, once it is quiet again.
    pub fn tell_left_out(&self) {
        if let Some(left_out) = self.failures().overdue(Instant::now()) {
            tracing::warn!("{}", failures::told(left_out, ""));
        }
    }

    fn failures(&self) -> MutexGuard<'_, Failures> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn log(level: tracing::Level, text: &str) {
    match level {
        tracing::Level::ERROR => tracing::error!("{text}"),
        tracing::Level::WARN => tracing::warn!("{text}"),
        tracing::Level::INFO => tracing::info!("{text}"),
        _ => tracing::debug!("{text}"),
    }
}

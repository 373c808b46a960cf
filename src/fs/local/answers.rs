//! Answers the kernel's questions about a union: those about local files here, the others by the view.

use super::disk::blocking;
use super::file::{LocalFile, OpenLocal, Opening};
use super::place::{State, is_local, local_handle};
use super::{Union, lock};
use crate::fs::deadline::Left;
use crate::fs::history::{History, TimelineEntries};
use crate::fs::open_files::{Caching, OpenedFile};
use crate::fs::tree::{Attr, BLOCK_BYTES, COOKIE_BASE, Listed, Node};
use crate::fs::view::Errno;
use crate::model::Seq;
use bytes::Bytes;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Open local files.
#[derive(Default)]
pub(super) struct Handles {
    open: Mutex<HashMap<u64, Handle>>,
    next: AtomicU64,
    closed: AtomicBool,
}

/// A local file that is open, by the inode and in the way that the kernel knows it.
struct Handle {
    file: Arc<OpenLocal>,
    ino: u64,
    caching: Caching,
}

/// The local files that come after the archived ones: all of them, unless some have been archived since they were placed.
fn after<'s>(state: &'s State, last: Option<&str>) -> &'s [Arc<LocalFile>] {
    let from = state
        .files
        .partition_point(|file| last.is_some_and(|last| file.name.as_str() <= last));
    state.files.get(from..).unwrap_or_default()
}

impl Union {
    pub(super) fn last_archived<'h>(&self, history: &'h History) -> Option<&'h str> {
        let root = self.view.root()?;
        Some(history.timeline(root)?.last()?.name)
    }

    /// The local file called `name`, if it is not archived yet.
    pub(super) fn local(&self, name: &str) -> Option<Arc<LocalFile>> {
        let (state, history) = (self.state(), self.view.history());
        let last = self.last_archived(&history);
        let file = state.file(name)?;
        last.is_none_or(|last| name > last)
            .then(|| Arc::clone(file))
    }

    fn attr_of(&self, file: &LocalFile) -> Option<Attr> {
        let look = file.look();
        Some(Attr {
            ino: lock(&self.numbers).ino_of(file.name.as_str())?,
            directory: false,
            size: look.size,
            blocks: look.size.div_ceil(BLOCK_BYTES),
            mtime: look.mtime,
            mode: self.ownership.mode,
            nlink: 1,
            uid: self.ownership.uid,
            gid: self.ownership.gid,
            settled: false,
        })
    }

    /// An archived file's attributes, with the inode number that it had as a local one.
    fn renumbered(&self, name: &str, attr: Attr) -> Attr {
        let ino = lock(&self.numbers).ino_of(name).unwrap_or(attr.ino);
        Attr { ino, ..attr }
    }

    /// The attributes of `name` in the directory `parent`.
    ///
    /// # Errors
    /// ENOENT.
    pub fn lookup(&self, parent: u64, name: &OsStr) -> Result<Attr, Errno> {
        let text = match name.to_str() {
            Some(text) if parent == Node::Root.ino() => text,
            Some(_) | None => return self.view.lookup(parent, name),
        };
        match self.local(text).and_then(|file| self.attr_of(&file)) {
            Some(attr) => Ok(attr),
            None => Ok(self.renumbered(text, self.view.lookup(parent, name)?)),
        }
    }

    /// The attributes of an inode.
    ///
    /// # Errors
    /// ESTALE if it is not there any more.
    pub fn attr(&self, ino: u64) -> Result<Attr, Errno> {
        if !is_local(ino) {
            return self.view.attr(ino);
        }
        let name = lock(&self.numbers).name_of_ino(ino).ok_or(libc::ESTALE)?;
        let found = self.lookup(Node::Root.ino(), OsStr::new(&*name));
        found.or_else(|_| {
            let open = self.view.files.attr_when_opened(ino);
            open.or_else(|| self.attr_while_open(ino))
                .ok_or(libc::ESTALE)
        })
    }

    /// The attributes of a local file that is open and not shown any more.
    fn attr_while_open(&self, ino: u64) -> Option<Attr> {
        let of_ino = |handle: &&Handle| handle.ino == ino;
        let open = lock(&self.handles.open)
            .values()
            .find(of_ino)
            .map(|handle| Arc::clone(&handle.file));
        self.attr_of(&open?.file)
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
        if ino != Node::Root.ino() {
            return self.view.list(ino, cookie, take);
        }
        // One snapshot for both halves: nothing is in neither or in both.
        let (state, history) = (self.state(), self.view.history());
        let last = self.last_archived(&history);
        let local_name = lock(&self.numbers).name_of_cookie(cookie);
        let archived_cookie = match &local_name {
            None => Some(cookie),
            // It may have been archived meanwhile, and others after it.
            Some(name) => self.archived_cookie(&history, name),
        };
        let renumbers = !lock(&self.numbers).is_empty();
        if let Some(cookie) = archived_cookie {
            let (mut went_on, mut reached) = (true, cookie);
            self.view.list_of(&history, ino, cookie, |listed, attr| {
                went_on = match renumbers && !attr.directory {
                    true => take(listed, &self.renumbered(&listed.name, *attr)),
                    false => take(listed, attr),
                };
                reached = listed.cookie;
                went_on
            })?;
            // It ends early where entries are not in memory: the next call has them loaded.
            let entries = self.view.root().and_then(|root| history.timeline(root));
            let end = entries.and_then(TimelineEntries::last);
            let is_all = end.is_none_or(|end| reached >= end.seq.0 + COOKIE_BASE);
            if !went_on || !is_all {
                return Ok(());
            }
        }
        let begin = local_name.as_deref().max(last);
        for file in after(&state, begin) {
            let number = lock(&self.numbers).cookie_of(file.name.as_str());
            let (Some(cookie), Some(attr)) = (number, self.attr_of(file)) else {
                continue;
            };
            let listed = Listed {
                name: file.name.to_string(),
                node: Node::Root,
                cookie,
            };
            if !take(&listed, &attr) {
                break;
            }
        }
        Ok(())
    }

    /// Where a listing goes on in `history` after the name of a local file, if that is archived there.
    pub(super) fn archived_cookie(&self, history: &History, name: &str) -> Option<u64> {
        let entries = history.timeline(self.view.root()?)?;
        let Seq(seq) = entries.by_name(name)?.seq;
        Some(seq + COOKIE_BASE)
    }

    /// Number of entries in the root: for statfs(2).
    pub fn files(&self) -> u64 {
        let (state, history) = (self.state(), self.view.history());
        let local = after(&state, self.last_archived(&history)).len();
        self.view.files() + local as u64
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// As of a view; EIO for one that is missing.
    pub async fn open(self: Arc<Self>, ino: u64) -> Result<OpenedFile, Errno> {
        if !is_local(ino) {
            return Arc::clone(&self.view).open(ino).await;
        }
        let left = Left::of(self.patience);
        if let Some(before) = self.before_attr(ino) {
            before.await?;
        }
        left.bound("cannot open a local binlog", self.open_known(ino))
            .await
    }

    /// Opens what is or was a local file, as far as is known.
    async fn open_known(&self, ino: u64) -> Result<OpenedFile, Errno> {
        let name = lock(&self.numbers).name_of_ino(ino).ok_or(libc::ESTALE)?;
        if let Some(file) = self.local(&name) {
            if let Some(opened) = self.open_local(file, ino).await? {
                return Ok(opened);
            }
            // Purged a moment ago: then it is archived, and its record may not have been seen yet.
            self.look_again(self.patience).await?;
            if self.local(&name).is_some() {
                tracing::warn!(
                    "{name}: the server has it no more, and it was not archived: it cannot be read"
                );
                return Err(libc::EIO);
            }
        }
        let archived = self.archived(&name).await?;
        Arc::clone(&self.view).open_as(archived.ino, ino).await
    }

    /// Looks for new records; that goes on if it takes longer than whoever asks waits.
    pub(super) async fn look_again(&self, patience: Duration) -> Result<(), Errno> {
        let refresher = Arc::clone(&self.refresher);
        let looking = tokio::spawn(async move { refresher.once().await });
        let looked = tokio::time::timeout(patience, looking).await;
        looked.map(|_| ()).map_err(|_| libc::ETIMEDOUT)
    }

    /// Opens a local file, which the kernel knows as `ino`; `None` if the server has it no more.
    async fn open_local(
        &self,
        file: Arc<LocalFile>,
        ino: u64,
    ) -> Result<Option<OpenedFile>, Errno> {
        let name = file.name.clone();
        let opening = blocking(move || Ok(file.open()?));
        let opened = match tokio::time::timeout(self.patience, opening).await {
            Err(_) => return Err(libc::ETIMEDOUT),
            Ok(Ok(Opening::Gone)) => return Ok(None),
            Ok(Ok(Opening::Opened(opened))) => opened,
            Ok(Err(error)) => {
                tracing::error!(%name, %error, "a local binlog cannot be opened");
                return Err(libc::EIO);
            }
        };
        let caching = match opened.is_settled() {
            true => Caching::Keep,
            // It grows, or ends early: the page cache would show a reader what was there before.
            false => Caching::Never,
        };
        let caching = self.view.recall().pages.opened(ino, caching);
        let handle = local_handle(self.handles.next.fetch_add(1, Ordering::Relaxed) + 1);
        let file = Handle {
            file: Arc::new(opened),
            ino,
            caching,
        };
        lock(&self.handles.open).insert(handle, file);
        Ok(Some(OpenedFile { handle, caching }))
    }

    /// Forgets an open file.
    pub fn release(&self, handle: u64) {
        if is_local(handle) {
            let closed = lock(&self.handles.open).remove(&handle);
            if let Some(Handle { ino, caching, .. }) = closed {
                self.view.recall().pages.closed(ino, caching);
            }
        } else {
            self.view.release(handle);
        }
    }

    /// Reads from an open file: `len` bytes, fewer only where it ends by now.
    ///
    /// # Errors
    /// As of a view; EIO where a local file is damaged.
    pub async fn read(self: Arc<Self>, handle: u64, offset: u64, len: u32) -> Result<Bytes, Errno> {
        if !is_local(handle) {
            return Arc::clone(&self.view).read(handle, offset, len).await;
        }
        if self.handles.closed.load(Ordering::Relaxed) {
            return Err(libc::EIO);
        }
        let open = lock(&self.handles.open)
            .get(&handle)
            .map(|open| Arc::clone(&open.file));
        let open = open.ok_or(libc::EBADF)?;
        let left = Left::of(self.patience);
        if offset + u64::from(len) > open.file.size() {
            // Whether it has been closed, and so has bytes after its last transaction, the list tells.
            self.before(Some(&open.file)).await?;
        }
        let name = open.file.name.clone();
        let reading = async {
            let read = blocking(move || Ok(open.read(offset, len.into())?)).await;
            read.map(Bytes::from).map_err(|error| {
                tracing::error!(%name, %error, "a local binlog cannot be read");
                libc::EIO
            })
        };
        left.bound("cannot read a local binlog", reading).await
    }

    /// Fails all reads that are on their way, and all to come, with EIO.
    pub fn close(&self) {
        self.handles.closed.store(true, Ordering::Relaxed);
        self.view.close();
    }
}

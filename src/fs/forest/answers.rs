//! Answers the kernel's questions about a forest: those about a stream by its view, the others from what is known of directories.

use super::dirs::{Child, Place, ROOT, StreamNo};
use super::{Forest, lock};
use crate::fs::open_files::OpenedFile;
use crate::fs::tree::{Attr, Listed, Node};
use crate::fs::view::{Errno, View};
use crate::fs::xattr::{self, Answer};
use crate::model::Micros;
use bytes::Bytes;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What the log says of attributes that do not come.
const ATTRIBUTES: &str = "cannot tell extended attributes";

impl Forest {
    /// The attributes of `name` in the directory `parent`.
    ///
    /// # Errors
    /// ENOENT; why the stream cannot be opened.
    pub fn lookup(&self, parent: u64, name: &OsStr) -> Result<Attr, Errno> {
        match Place::of(parent) {
            Place::Dir(dir) => {
                let name = name.to_str().ok_or(libc::ENOENT)?;
                let child = lock(&self.dirs).child(dir, name);
                self.attr(child.ok_or(libc::ENOENT)?.ino())
            }
            Place::Stream(stream, inner) => {
                outside(stream, self.view(stream)?.lookup(inner, name)?)
            }
        }
    }

    /// Whether looking up a name in this directory may have to ask the store for more than its stream.
    pub fn lookup_waits(parent: u64) -> bool {
        match Place::of(parent) {
            Place::Stream(_, inner) => View::lookup_waits(inner),
            Place::Dir(_) => false,
        }
    }

    /// The attributes of a name that is made on demand.
    ///
    /// # Errors
    /// As of a view; why the stream cannot be opened.
    pub async fn lookup_made(self: Arc<Self>, parent: u64, name: &OsStr) -> Result<Attr, Errno> {
        match Place::of(parent) {
            Place::Stream(stream, inner) => {
                let left = self.opened(stream).await;
                // What is made now must not be closed and forgotten at once.
                let slot = self.slot(stream);
                let view = slot.pin(self.now())?;
                let making = view.lookup_made(inner, name);
                let made = left.bound("cannot find what a name asks for", making).await;
                slot.unpin();
                outside(stream, made?)
            }
            Place::Dir(_) => Err(libc::ENOENT),
        }
    }

    /// The kernel has forgotten so many lookups of an inode.
    pub fn forget(&self, ino: u64, lookups: u64) {
        if let Place::Stream(stream, inner) = Place::of(ino)
            && let Some(view) = self.slot(stream).peek()
        {
            view.forget(inner, lookups);
        }
    }

    /// The attributes of an inode.
    ///
    /// # Errors
    /// ESTALE; why the stream cannot be opened.
    pub fn attr(&self, ino: u64) -> Result<Attr, Errno> {
        match Place::of(ino) {
            Place::Dir(dir) => {
                lock(&self.dirs).path(dir).ok_or(libc::ESTALE)?;
                Ok(self.directory(ino))
            }
            Place::Stream(stream, inner) => match self.view(stream) {
                Ok(view) => outside(stream, view.attr(inner)?),
                Err(_) if inner == Node::Root.ino() => Ok(self.directory(ino)),
                Err(errno) => Err(errno),
            },
        }
    }

    /// A directory of which nothing else is known.
    fn directory(&self, ino: u64) -> Attr {
        self.ownership.directory(ino, Micros(0))
    }

    /// Lists a directory after `cookie`, with attributes, until `take` returns false.
    ///
    /// # Errors
    /// ENOTDIR; why the stream cannot be opened.
    pub fn list(
        &self,
        ino: u64,
        cookie: u64,
        mut take: impl FnMut(&Listed, &Attr) -> bool,
    ) -> Result<(), Errno> {
        let dir = match Place::of(ino) {
            Place::Dir(dir) => dir,
            Place::Stream(stream, inner) => {
                let above = lock(&self.dirs).parent_of_stream(stream);
                let above = above.unwrap_or(ROOT);
                return self.view(stream)?.list(inner, cookie, |listed, attr| {
                    let is_above = inner == Node::Root.ino() && listed.name == "..";
                    let attr = match is_above {
                        true => Some(self.directory(Child::Dir(above).ino())),
                        false => outside(stream, *attr).ok(),
                    };
                    attr.is_none_or(|attr| take(listed, &attr))
                });
            }
        };
        let (above, children) = {
            let dirs = lock(&self.dirs);
            let children: Vec<(String, Child)> = dirs
                .children(dir, cookie)
                .map(|(name, child)| (name.to_owned(), child))
                .collect();
            (dirs.parent(dir).ok_or(libc::ENOTDIR)?, children)
        };
        let dots = [(1, ".", dir), (2, "..", above)];
        let dots = dots
            .into_iter()
            .filter(|(cookie_of, ..)| cookie < *cookie_of)
            .map(|(cookie, name, dir)| (cookie, name.to_owned(), Child::Dir(dir)));
        let named = children
            .into_iter()
            .map(|(name, child)| (child.cookie(), name, child));
        for (cookie, name, child) in dots.chain(named) {
            let listed = Listed {
                name,
                node: Node::Root,
                cookie,
            };
            let attr = self.attr(child.ino());
            if attr.is_ok_and(|attr| !take(&listed, &attr)) {
                break;
            }
        }
        Ok(())
    }

    /// Number of entries in the roots of the streams that are open: for statfs(2).
    pub fn files(&self) -> u64 {
        let slots: Vec<_> = lock(&self.slots).values().map(Arc::clone).collect();
        let views = slots.iter().filter_map(|slot| slot.peek());
        views.map(|view| view.files()).sum()
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// As [`View::open`](crate::fs::view::View::open); why the stream cannot be opened; EISDIR.
    pub async fn open(self: Arc<Self>, ino: u64) -> Result<OpenedFile, Errno> {
        let Place::Stream(stream, inner) = Place::of(ino) else {
            return Err(libc::EISDIR);
        };
        let left = self.opened(stream).await;
        let slot = self.slot(stream);
        let opening = slot.pin(self.now())?.open(inner);
        let opened = left.bound("cannot open a file", opening).await;
        let opened = opened.and_then(|opened| {
            let handle = stream.outer(opened.handle).ok_or(libc::ENFILE)?;
            Ok(OpenedFile { handle, ..opened })
        });
        if opened.is_err() {
            slot.unpin();
        }
        opened
    }

    /// Forgets an open file.
    pub fn release(&self, handle: u64) {
        if let Place::Stream(stream, inner) = Place::of(handle) {
            let slot = self.slot(stream);
            if let Some(view) = slot.peek() {
                view.release(inner);
            }
            slot.unpin();
        }
    }

    /// Reads from an open file.
    ///
    /// # Errors
    /// As [`View::read`](crate::fs::view::View::read).
    pub async fn read(self: Arc<Self>, handle: u64, offset: u64, len: u32) -> Result<Bytes, Errno> {
        match Place::of(handle) {
            Place::Stream(stream, inner) => self.view(stream)?.read(inner, offset, len).await,
            Place::Dir(_) => Err(libc::EBADF),
        }
    }

    /// getxattr(2).
    ///
    /// # Errors
    /// As [`View::xattr`](crate::fs::view::View::xattr); why the stream cannot be opened.
    pub async fn xattr(
        self: Arc<Self>,
        ino: u64,
        name: &OsStr,
        size: u32,
    ) -> Result<Answer, Errno> {
        match Place::of(ino) {
            Place::Stream(stream, inner) if inner != Node::Root.ino() => {
                let left = self.opened(stream).await;
                let asked = self.view(stream)?.xattr(inner, name, size);
                left.bound(ATTRIBUTES, asked).await
            }
            Place::Stream(..) | Place::Dir(_) => Ok(Answer::Absent),
        }
    }

    /// listxattr(2).
    ///
    /// # Errors
    /// As [`View::xattrs`](crate::fs::view::View::xattrs); why the stream cannot be opened.
    pub async fn xattrs(self: Arc<Self>, ino: u64, size: u32) -> Result<Answer, Errno> {
        match Place::of(ino) {
            Place::Stream(stream, inner) if inner != Node::Root.ino() => {
                let left = self.opened(stream).await;
                let asked = self.view(stream)?.xattrs(inner, size);
                left.bound(ATTRIBUTES, asked).await
            }
            Place::Stream(..) | Place::Dir(_) => Ok(xattr::nothing(size)),
        }
    }

    /// Fails all reads that are on their way, and all to come, with EIO.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        let slots: Vec<_> = lock(&self.slots).values().map(Arc::clone).collect();
        for view in slots.iter().filter_map(|slot| slot.peek()) {
            view.close();
        }
    }
}

/// What a stream calls `attr`, as it is called outside.
fn outside(stream: StreamNo, attr: Attr) -> Result<Attr, Errno> {
    let ino = stream.outer(attr.ino).ok_or(libc::EOVERFLOW)?;
    Ok(Attr { ino, ..attr })
}

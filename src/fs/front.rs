//! What is behind the kernel's questions: the view of one stream, with or without local files, or a forest of streams.

use super::deadline::Left;
use super::forest::Forest;
use super::local::Union;
use super::open_files::OpenedFile;
use super::recall::Recall;
use super::tree::{Attr, Listed};
use super::unloaded::{LOADING, Question, Unloaded};
use super::view::{Errno, View};
use super::xattr::Answer;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::Duration;

/// What has to be done, and may take long, before a question is answered at once. It must run inside the runtime.
///
/// # Errors
/// Why there is no answer.
pub type Before = BoxFuture<'static, Result<(), Errno>>;
/// Work without an outcome of its own: what comes of it is seen in the answer.
pub(super) type Work = BoxFuture<'static, ()>;

/// What a mount shows.
#[derive(Clone)]
pub enum Front {
    /// One stream.
    One(Arc<View>),
    /// Several streams, in directories.
    Many(Arc<Forest>),
    /// One stream, and the files of its server that come after it.
    Union(Arc<Union>),
}

impl Front {
    /// What comes before the answer to `question`.
    pub(super) fn before(&self, question: &Question<'_>) -> Option<Before> {
        let before: Option<Before> = match self {
            Front::One(_) => None,
            Front::Many(forest) => forest.before(question).map(|work| work.map(Ok).boxed()),
            Front::Union(union) => union.before_answer(question),
        };
        let unloaded = self.unloaded(question);
        if before.is_none() && unloaded.is_none() {
            return None;
        }
        let deadline = self.deadline();
        let both = async move {
            let left = match before {
                Some(before) => {
                    let left = Left::of(deadline);
                    before.await?;
                    left
                }
                None => Left::all(),
            };
            match unloaded {
                Some(unloaded) => left.bound(LOADING, unloaded.load()).await,
                None => Ok(()),
            }
        };
        Some(both.boxed())
    }

    /// How long a call may take.
    pub(super) fn deadline(&self) -> Duration {
        match self {
            Front::One(view) => view.reader().options().deadline,
            Front::Many(forest) => forest.deadline(),
            Front::Union(union) => union.view().reader().options().deadline,
        }
    }

    /// What has to be read first of what is shown now.
    pub(super) fn unloaded(&self, question: &Question<'_>) -> Option<Unloaded> {
        match self {
            Front::One(view) => view.unloaded(question),
            Front::Many(forest) => forest.unloaded(question),
            Front::Union(union) => union.unloaded(question),
        }
    }

    /// What takes back what was told.
    pub(super) fn recall(&self) -> &Arc<Recall> {
        match self {
            Front::One(view) => view.recall(),
            Front::Many(forest) => forest.recall(),
            Front::Union(union) => union.view().recall(),
        }
    }

    /// See [`View::lookup_waits`].
    pub fn lookup_waits(&self, parent: u64) -> bool {
        match self {
            Front::One(_) | Front::Union(_) => View::lookup_waits(parent),
            Front::Many(_) => Forest::lookup_waits(parent),
        }
    }

    /// See [`View::lookup_made`].
    ///
    /// # Errors
    /// As there.
    pub async fn lookup_made(self, parent: u64, name: &OsStr) -> Result<Attr, Errno> {
        match self {
            Front::One(view) => view.lookup_made(parent, name).await,
            Front::Many(forest) => forest.lookup_made(parent, name).await,
            Front::Union(union) => union.view().lookup_made(parent, name).await,
        }
    }

    /// See [`View::forget`].
    pub fn forget(&self, ino: u64, lookups: u64) {
        match self {
            Front::One(view) => view.forget(ino, lookups),
            Front::Many(forest) => forest.forget(ino, lookups),
            Front::Union(union) => union.view().forget(ino, lookups),
        }
    }

    /// See [`View::lookup`].
    ///
    /// # Errors
    /// As there, and why a stream cannot be opened.
    pub fn lookup(&self, parent: u64, name: &OsStr) -> Result<Attr, Errno> {
        match self {
            Front::One(view) => view.lookup(parent, name),
            Front::Many(forest) => forest.lookup(parent, name),
            Front::Union(union) => union.lookup(parent, name),
        }
    }

    /// See [`View::attr`].
    ///
    /// # Errors
    /// As there, and why a stream cannot be opened.
    pub fn attr(&self, ino: u64) -> Result<Attr, Errno> {
        match self {
            Front::One(view) => view.attr(ino),
            Front::Many(forest) => forest.attr(ino),
            Front::Union(union) => union.attr(ino),
        }
    }

    /// See [`View::list`].
    ///
    /// # Errors
    /// As there, and why a stream cannot be opened.
    pub fn list(
        &self,
        ino: u64,
        cookie: u64,
        take: impl FnMut(&Listed, &Attr) -> bool,
    ) -> Result<(), Errno> {
        match self {
            Front::One(view) => view.list(ino, cookie, take),
            Front::Many(forest) => forest.list(ino, cookie, take),
            Front::Union(union) => union.list(ino, cookie, take),
        }
    }

    /// See [`View::files`].
    pub fn files(&self) -> u64 {
        match self {
            Front::One(view) => view.files(),
            Front::Many(forest) => forest.files(),
            Front::Union(union) => union.files(),
        }
    }

    /// See [`View::open`].
    ///
    /// # Errors
    /// As there, and why a stream cannot be opened.
    pub async fn open(self, ino: u64) -> Result<OpenedFile, Errno> {
        match self {
            Front::One(view) => view.open(ino).await,
            Front::Many(forest) => forest.open(ino).await,
            Front::Union(union) => union.open(ino).await,
        }
    }

    /// See [`View::read`].
    ///
    /// # Errors
    /// As there.
    pub async fn read(self, handle: u64, offset: u64, len: u32) -> Result<Bytes, Errno> {
        match self {
            Front::One(view) => view.read(handle, offset, len).await,
            Front::Many(forest) => forest.read(handle, offset, len).await,
            Front::Union(union) => union.read(handle, offset, len).await,
        }
    }

    /// See [`View::release`].
    pub fn release(&self, handle: u64) {
        match self {
            Front::One(view) => view.release(handle),
            Front::Many(forest) => forest.release(handle),
            Front::Union(union) => union.release(handle),
        }
    }

    /// See [`View::xattr`].
    ///
    /// # Errors
    /// As there, and why a stream cannot be opened.
    pub async fn xattr(self, ino: u64, name: &OsStr, size: u32) -> Result<Answer, Errno> {
        match self {
            Front::One(view) => view.xattr(ino, name, size).await,
            Front::Many(forest) => forest.xattr(ino, name, size).await,
            Front::Union(union) => union.xattr(ino, name, size).await,
        }
    }

    /// See [`View::xattrs`].
    ///
    /// # Errors
    /// As there, and why a stream cannot be opened.
    pub async fn xattrs(self, ino: u64, size: u32) -> Result<Answer, Errno> {
        match self {
            Front::One(view) => view.xattrs(ino, size).await,
            Front::Many(forest) => forest.xattrs(ino, size).await,
            Front::Union(union) => union.xattrs(ino, size).await,
        }
    }

    /// See [`View::close`].
    pub fn close(&self) {
        match self {
            Front::One(view) => view.close(),
            Front::Many(forest) => forest.close(),
            Front::Union(union) => union.close(),
        }
    }
}

//! The files that are open, by the numbers that reads name them with.

use super::part::Part;
use super::tree::Attr;
use crate::cache::{ArchivedSegment, Place};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How the kernel may treat an open file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caching {
    /// Its bytes never change: what is in the page cache is right.
    Keep,
    /// The same, but for what is in the page cache now, which is dropped (`pages.rs`).
    Anew,
    /// The page cache is passed by. It knows pages, not bytes: of a damaged segment it would hide the last bytes before the first bad
    /// event, and take a short answer there for the file's end. And it would keep them when a better copy comes.
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

/// What is behind an open file.
#[derive(Clone)]
pub(super) enum Content {
    /// A segment.
    Segment(Arc<OpenSegment>),
    /// A part of one.
    Part(Arc<ArchivedSegment>, Part),
    /// A text, as it was when the file was opened.
    Text(Bytes),
}

/// A segment that is open.
pub(super) struct OpenSegment {
    pub(super) segment: ArchivedSegment,
    /// Where it stands in a replay, if it is one's.
    pub(super) place: Option<Place>,
}

/// The table.
pub(super) struct OpenFiles {
    open: Mutex<HashMap<u64, OpenFile>>,
    next: AtomicU64,
}

/// A file that is open, and what it was opened as.
struct OpenFile {
    attr: Attr,
    caching: Caching,
    content: Content,
}

impl OpenFiles {
    /// None is open.
    pub(super) fn new() -> OpenFiles {
        OpenFiles {
            open: Mutex::default(),
            next: AtomicU64::new(1),
        }
    }

    /// Opens one that has these attributes now.
    pub(super) fn add(&self, content: Content, caching: Caching, attr: Attr) -> OpenedFile {
        let handle = self.next.fetch_add(1, Ordering::Relaxed);
        let file = OpenFile {
            attr,
            caching,
            content,
        };
        self.lock().insert(handle, file);
        OpenedFile { handle, caching }
    }

    /// What is behind an open file.
    pub(super) fn content(&self, handle: u64) -> Option<Content> {
        let open = self.lock();
        open.get(&handle).map(|file| file.content.clone())
    }

    /// Forgets an open file. Tells its inode and how the kernel treated it.
    pub(super) fn remove(&self, handle: u64) -> Option<(u64, Caching)> {
        let closed = self.lock().remove(&handle)?;
        Some((closed.attr.ino, closed.caching))
    }

    /// The attributes that a file had when it was opened, if it is open: the kernel asks for them when a reader comes to its end, also
    /// when its name is gone. They are not kept.
    pub(super) fn attr_when_opened(&self, ino: u64) -> Option<Attr> {
        let open = self.lock();
        let attr = open.values().map(|file| file.attr);
        let mut of_ino = attr.filter(|attr| attr.ino == ino);
        of_ino.next().map(|attr| Attr {
            settled: false,
            ..attr
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, OpenFile>> {
        // Inserted and removed by single calls: sound after a panic elsewhere.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

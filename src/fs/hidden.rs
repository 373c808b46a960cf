//! The view's answers about what is made on demand: parts of the history, and the status.

use super::history::History;
use super::made::{Hidden, Made, MadeId};
use super::open_files::{Caching, Content, OpenedFile};
use super::part::Part;
use super::tree::{Attr, BLOCK_BYTES, COOKIE_BASE, Listed, Node};
use super::view::{Errno, View};
use super::views::{Edge, MadeNumbers, Role, Shown, Views, part, role};
use crate::binlog::{HeadProbe, probe_head};
use crate::cache::ArchivedSegment;
use crate::ledger::Entry;
use crate::locate::{Boundary, LocateError, Target};
use crate::model::{Micros, Seq, Timeline};
use bytes::Bytes;
use std::ffi::OsStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// First bytes of a file read for its head; most heads are shorter.
const HEAD_GUESS_BYTES: u64 = 4096;
/// The longest head that is read: a format description and a set of executed GTIDs.
const HEAD_MAX_BYTES: u64 = 64 << 20;

impl View {
    /// The same with numbers for what is made on demand that go on from those of an earlier view: the kernel may still use them.
    pub(super) fn numbering(mut self, numbers: MadeNumbers) -> View {
        self.views = Mutex::new(Views::numbered(numbers));
        self
    }

    /// Whether looking up a name in this directory, of whatever view, may have to ask the store.
    pub fn lookup_waits(parent: u64) -> bool {
        matches!(
            Node::of_ino(parent),
            Some(Node::Made(Made::Hidden(..) | Made::Directory(_)))
        )
    }

    /// The attributes of `name` in a directory that [`View::lookup_waits`] for.
    ///
    /// # Errors
    /// ENOENT where nothing of that name can be shown, the reason in the log; ESTALE; as [`View::read`], whose deadline holds
    /// for all that is read on the way.
    pub async fn lookup_made(&self, parent: u64, name: &OsStr) -> Result<Attr, Errno> {
        let deadline = self.reader().options().deadline;
        let found = tokio::time::timeout(deadline, self.find_made(parent, name));
        found.await.unwrap_or(Err(libc::ETIMEDOUT))
    }

    async fn find_made(&self, parent: u64, name: &OsStr) -> Result<Attr, Errno> {
        let parent = Node::of_ino(parent);
        let name = name.to_str().ok_or(libc::ENOENT)?;
        let shown = match parent {
            Some(Node::Made(Made::Hidden(scope, hidden))) => {
                let target = hidden.target(name).ok_or(libc::ENOENT)?;
                let timeline = scope.or(self.root()).ok_or(libc::ENOENT)?;
                let edge = self.edge(timeline, &target, hidden == Hidden::Range);
                let edge = edge.await?;
                match hidden {
                    Hidden::Range => Shown::From(timeline, edge),
                    Hidden::At | Hidden::Before | Hidden::Status => {
                        Shown::Part(timeline, None, edge)
                    }
                }
            }
            Some(Node::Made(Made::Directory(id))) => match self.shown(id)? {
                Shown::From(timeline, from) => {
                    let target = Hidden::Range.target(name).ok_or(libc::ENOENT)?;
                    let to = self.edge(timeline, &target, false).await?;
                    if (to.seq, to.position) < (from.seq, from.position) {
                        tracing::info!("a range that ends at {target} ends before it begins");
                        return Err(libc::ENOENT);
                    }
                    Shown::Part(timeline, Some(from), to)
                }
                Shown::Part(timeline, from, to) => {
                    let history = self.history();
                    let entries = history.timeline(timeline);
                    let slot = entries.and_then(|entries| entries.slot_of_name(name));
                    self.have_loaded(slot.cloned()).await?;
                    return self.named_in_part(id, (timeline, from, to), name);
                }
            },
            _ => return Err(libc::ENOENT),
        };
        let id = self.views().enter(shown).ok_or(libc::ENOSPC)?;
        self.made_attr(Made::Directory(id))
    }

    fn named_in_part(
        &self,
        id: MadeId,
        (timeline, from, to): (Timeline, Option<Edge>, Edge),
        name: &str,
    ) -> Result<Attr, Errno> {
        let history = self.history();
        let entries = history.timeline(timeline).ok_or(libc::ESTALE)?;
        let entry = entries.by_name(name).ok_or(libc::ENOENT)?;
        match node_of(id, role(from.as_ref(), &to, entry.seq), entry.seq) {
            Some(Node::Made(made)) => self.made_attr(made),
            Some(node) => self.tree(&history).attr(node).ok_or(libc::ENOENT),
            None => Err(libc::ENOENT),
        }
    }

    /// The attributes of what was made on demand.
    ///
    /// # Errors
    /// ESTALE if it was forgotten.
    pub(super) fn made_attr(&self, made: Made) -> Result<Attr, Errno> {
        let history = self.history();
        let tree = self.tree(&history);
        let root = tree.attr(Node::Root).ok_or(libc::ESTALE)?;
        let ino = Node::Made(made).ino();
        Ok(match made {
            // Like the files of /proc: how long it is turns out when it is read.
            Made::Hidden(_, Hidden::Status) => Attr {
                ino,
                directory: false,
                mode: root.mode & !0o111,
                nlink: 1,
                mtime: Micros::now(),
                ..root
            },
            Made::Hidden(..) => Attr { ino, ..root },
            Made::Directory(id) => {
                let (Shown::From(_, edge) | Shown::Part(_, _, edge)) = self.shown(id)?;
                Attr {
                    ino,
                    mtime: edge.time,
                    ..root
                }
            }
            Made::First(id) | Made::Last(id) => {
                let Shown::Part(_, from, to) = self.shown(id)? else {
                    return Err(libc::ESTALE);
                };
                let last = made == Made::Last(id);
                let seq = edge_seq(from.as_ref(), &to, last).ok_or(libc::ESTALE)?;
                let whole = tree.attr(Node::File(seq)).ok_or(libc::ESTALE)?;
                let size = part(from.as_ref(), &to, last, whole.size).len();
                Attr {
                    ino,
                    size,
                    blocks: whole.blocks.min(size.div_ceil(BLOCK_BYTES)).max(1),
                    mtime: if last { to.time } else { whole.mtime },
                    ..whole
                }
            }
        })
    }

    /// Lists a directory that was made on demand; those whose names mean something in themselves list nothing.
    pub(super) fn list_made(
        &self,
        made: Made,
        cookie: u64,
        mut take: impl FnMut(&Listed, &Attr) -> bool,
    ) -> Result<(), Errno> {
        if !made.is_directory() {
            return Err(libc::ENOTDIR);
        }
        let own = self.made_attr(made)?;
        for (cookie_of, name, node) in [(1, ".", Node::Made(made)), (2, "..", made.parent())] {
            let listed = Listed {
                name: name.to_owned(),
                node,
                cookie: cookie_of,
            };
            let attr = Attr {
                ino: node.ino(),
                ..own
            };
            if cookie < cookie_of && !take(&listed, &attr) {
                return Ok(());
            }
        }
        let Made::Directory(id) = made else {
            return Ok(());
        };
        let Shown::Part(timeline, from, to) = self.shown(id)? else {
            return Ok(());
        };
        let history = self.history();
        let tree = self.tree(&history);
        let Some(entries) = history.timeline(timeline) else {
            return Ok(());
        };
        let after = listed_after(from.as_ref(), cookie);
        for entry in entries.listed_after(after) {
            let Some(node) = node_of(id, role(from.as_ref(), &to, entry.seq), entry.seq) else {
                break;
            };
            let attr = match node {
                Node::Made(made) => self.made_attr(made)?,
                node => match tree.attr(node) {
                    Some(attr) => attr,
                    None => continue,
                },
            };
            let listed = Listed {
                name: entry.name.to_owned(),
                node,
                cookie: entry.seq.0 + COOKIE_BASE,
            };
            if !take(&listed, &attr) {
                break;
            }
        }
        Ok(())
    }

    /// Opens what was made on demand.
    pub(super) async fn open_made(&self, made: Made) -> Result<OpenedFile, Errno> {
        let (id, last) = match made {
            Made::Hidden(_, Hidden::Status) => {
                // Read past the page cache: its length is not that of a moment ago.
                let content = Content::Text(self.status_text().await?);
                let attr = self.made_attr(made)?;
                return Ok(self.files.add(content, Caching::Never, attr));
            }
            Made::Hidden(..) | Made::Directory(_) => return Err(libc::EISDIR),
            Made::First(id) => (id, false),
            Made::Last(id) => (id, true),
        };
        let Shown::Part(_, from, to) = self.shown(id)? else {
            return Err(libc::ESTALE);
        };
        let seq = edge_seq(from.as_ref(), &to, last).ok_or(libc::ESTALE)?;
        self.have_loaded(self.unloaded_of_made(made, 0)).await?;
        let attr = self.made_attr(made)?;
        let segment = self.segment(&self.entry(seq).await?)?;
        let part = part(from.as_ref(), &to, last, segment.end());
        // Of a damaged one a better copy may come, whose bytes may be others.
        let caching = match segment.is_damaged() {
            true => Caching::Never,
            false => Caching::Keep,
        };
        let content = Content::Part(Arc::new(segment), part);
        let caching = self.recall().pages.opened(self.outside(attr.ino), caching);
        Ok(self.files.add(content, caching, attr))
    }

    /// Reads from a part of a segment.
    pub(super) async fn read_part(
        &self,
        segment: &ArchivedSegment,
        part: Part,
        offset: u64,
        len: u64,
    ) -> Result<Bytes, Errno> {
        let places = part.places(offset, len);
        let is_one = places.iter().any(|place| place.is_empty());
        // Both at once: they have one deadline. Copied, because what one of them got must not keep the other from its memory.
        let places = places.map(|place| async move {
            let wanted = place.end.saturating_sub(place.start);
            if wanted == 0 {
                return Ok::<_, Errno>((true, Bytes::new()));
            }
            let read = self.read_segment(segment, None, place.start, wanted);
            let bytes = read.await?;
            let is_whole = bytes.len() as u64 == wanted;
            let copy = || Bytes::copy_from_slice(&bytes);
            Ok((is_whole, if is_one { bytes.clone() } else { copy() }))
        });
        let [head, behind] = places;
        let ((is_whole, head), (_, behind)) = futures::future::try_join(head, behind).await?;
        Ok(match (head.is_empty(), is_whole && !behind.is_empty()) {
            (true, _) => behind,
            (false, false) => head,
            (false, true) => [head, behind].concat().into(),
        })
    }

    /// The kernel has forgotten so many lookups of an inode.
    pub fn forget(&self, ino: u64, lookups: u64) {
        if let Some(Node::Made(Made::Directory(id))) = Node::of_ino(ino) {
            self.views().forget(id, lookups);
        }
    }

    /// How many directories that were made on demand are remembered.
    pub fn made_directories(&self) -> usize {
        self.views().len()
    }

    pub(super) fn shown(&self, id: MadeId) -> Result<Shown, Errno> {
        self.views().get(id).ok_or(libc::ESTALE)
    }

    pub(super) fn views(&self) -> MutexGuard<'_, Views> {
        // Every change under the lock is complete or not begun: a panic elsewhere leaves it sound.
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where `target` is, by the index and what segments have.
    pub(super) async fn locate(&self, timeline: Timeline, target: &Target) -> Result<Edge, Errno> {
        let locator = self.locator().ok_or(libc::ENOENT)?;
        let search = locator.boundary(timeline, target);
        match self.while_open(search).await.ok_or(libc::EIO)? {
            Ok(boundary) => {
                let history = self.history();
                let slots = history.unloaded_of_seq(boundary.seq);
                self.have_loaded(slots).await?;
                edge_at(&history, target, &boundary).ok_or_else(|| {
                    // The index is ahead of what is shown, for the moment that a refresh takes.
                    let name = &boundary.mount_name;
                    tracing::info!("{target} cannot be shown yet: {name} is new");
                    libc::ENOENT
                })
            }
            Err(LocateError::Refused(refusal)) => {
                tracing::info!("{target} cannot be shown: {refusal}");
                Err(libc::ENOENT)
            }
            Err(LocateError::Read(error)) => Err(self.failed(&error, None)),
            Err(error @ (LocateError::Index(_) | LocateError::Internal(_))) => {
                tracing::error!("cannot look for {target}: {error}");
                Err(libc::EIO)
            }
        }
    }

    /// The same edge, and where the head of its file ends.
    pub(super) async fn with_head(&self, edge: Edge) -> Result<Edge, Errno> {
        let segment = self.segment(&self.entry(edge.seq).await?)?;
        let mut wanted = HEAD_GUESS_BYTES;
        loop {
            let wanted_now = wanted.min(segment.readable());
            let first = self.read_segment(&segment, None, 0, wanted_now).await?;
            let is_all = wanted_now == segment.readable();
            match probe_head(&first, is_all) {
                Ok(HeadProbe::Head(head)) => {
                    return Ok(Edge {
                        head: head.end.min(edge.position),
                        ..edge
                    });
                }
                Ok(HeadProbe::NeedMore(more)) if more <= HEAD_MAX_BYTES && more > wanted => {
                    wanted = more;
                }
                Ok(HeadProbe::NeedMore(_)) | Err(_) => {
                    tracing::error!("the beginning of {} cannot be read", segment.name());
                    return Err(libc::EIO);
                }
            }
        }
    }

    /// The segment of an entry, if there is a key for it.
    pub(super) fn segment(&self, entry: &Entry) -> Result<ArchivedSegment, Errno> {
        let segment =
            ArchivedSegment::of_entry(entry).map_err(|error| self.failed(&error, None))?;
        self.reader()
            .check_key(&segment)
            .map_err(|error| self.failed(&error, None))?;
        Ok(segment)
    }
}

fn edge_at(history: &History, target: &Target, boundary: &Boundary) -> Option<Edge> {
    let (_, entry) = history.by_seq(boundary.seq)?;
    let otherwise = match target {
        Target::Time(time) => *time,
        Target::Gtid(_) | Target::Position(_) => entry.mtime,
    };
    Some(Edge {
        seq: boundary.seq,
        position: boundary.position,
        head: 0,
        time: boundary.latest.unwrap_or(otherwise),
    })
}

/// The node of an entry in a part of the history.
fn node_of(id: MadeId, role: Role, seq: Seq) -> Option<Node> {
    match role {
        Role::Outside => None,
        Role::Whole => Some(Node::File(seq)),
        Role::First => Some(Node::Made(Made::First(id))),
        Role::Last => Some(Node::Made(Made::Last(id))),
    }
}

/// The record after which a listing of what begins with `from` goes on.
pub(super) fn listed_after(from: Option<&Edge>, cookie: u64) -> Seq {
    let first = from.map_or(0, |from| from.seq.0.saturating_sub(1));
    Seq(cookie.saturating_sub(COOKIE_BASE).max(first))
}

/// The entry of the first file or of the last.
pub(super) fn edge_seq(from: Option<&Edge>, to: &Edge, last: bool) -> Option<Seq> {
    match last {
        true => Some(to.seq),
        false => from.map(|from| from.seq),
    }
}

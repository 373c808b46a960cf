//! Names, inodes and attributes, out of a snapshot of the history. Pure.
//!
//! ```text
//! /<mount name>                     one timeline: the newest when the mount was made
//! /.raw/<mount name>                the same, damaged segments with all their bytes (reachable by name only)
//! /.timeline/<n>/<mount name>       any timeline (`.timeline` is reachable by name only)
//! /.timeline/<n>/.raw/<mount name>
//! /.at, /.before, /.range, /.status.json        made on demand: see made.rs
//! ```
//! Inode numbers follow from record numbers, so they are the same in every mount of a stream, and for ever. Cookies of
//! directory listings are record numbers too: a listing resumes at the right place whatever was added meanwhile.

use super::chunk::Slot;
use super::history::{History, HistoryEntry, TimelineEntries};
use super::made::Made;
use crate::ledger::EntryState;
use crate::model::{Micros, Seq, Timeline};
use std::sync::Arc;

/// The hidden directory of timelines.
pub const TIMELINES_NAME: &str = ".timeline";
/// The hidden directory of raw segments.
pub const RAW_NAME: &str = ".raw";
/// The root's inode number, as FUSE has it.
pub const ROOT_INO: u64 = 1;

/// Cookies 1 and 2 are `.` and `..`.
pub(super) const COOKIE_BASE: u64 = 2;
/// Unit of `st_blocks`.
pub(super) const BLOCK_BYTES: u64 = 512;
/// Low bits of an inode number tell its kind.
const KIND_BITS: u32 = 3;

/// A thing in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Node {
    /// The root: one timeline.
    Root,
    /// `.raw` in the root.
    RootRaw,
    /// `.timeline`.
    Timelines,
    /// `.timeline/<n>`.
    Timeline(Timeline),
    /// `.timeline/<n>/.raw`.
    Raw(Timeline),
    /// An entry, by its record.
    File(Seq),
    /// An entry in a `.raw`.
    RawFile(Seq),
    /// What is made on demand: the tree knows no more of it than its name and its number.
    Made(Made),
}

/// Who owns what is seen, and who may read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// Owner of everything.
    pub uid: u32,
    /// Group of everything.
    pub gid: u32,
    /// Permissions of files; directories can be searched by whoever may read them.
    pub mode: u16,
}

impl Ownership {
    /// The attributes of a directory.
    pub(super) fn directory(self, ino: u64, mtime: Micros) -> Attr {
        Attr {
            ino,
            directory: true,
            size: 0,
            blocks: 0,
            mtime,
            // Whoever may read the files may search the directories.
            mode: self.mode | (self.mode & 0o444) >> 2,
            nlink: 2,
            uid: self.uid,
            gid: self.gid,
            settled: false,
        }
    }
}

/// Attributes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: u64,
    /// Whether it is a directory.
    pub directory: bool,
    /// Length in bytes, as the server wrote it.
    pub size: u64,
    /// What it takes in the store, in units of 512 bytes.
    pub blocks: u64,
    /// Time of the last event.
    pub mtime: Micros,
    /// Permissions.
    pub mode: u16,
    /// Links.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Whether any of this can change: size and time of an archived segment cannot.
    pub settled: bool,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// What it is.
    pub node: Node,
    /// Resuming with this cookie goes on after it.
    pub cookie: u64,
}

/// The tree over a snapshot.
#[derive(Clone, Copy)]
pub struct Tree<'a> {
    history: &'a History,
    root: Option<Timeline>,
    ownership: Ownership,
}

impl Node {
    /// Its inode number.
    pub fn ino(self) -> u64 {
        let (number, kind) = match self {
            Node::Root => (0, 1),
            Node::Timelines => (1, 1),
            Node::RootRaw => (2, 1),
            Node::File(seq) => (seq.0, 2),
            Node::RawFile(seq) => (seq.0, 3),
            Node::Timeline(timeline) => (u64::from(timeline.0), 4),
            Node::Raw(timeline) => (u64::from(timeline.0), 5),
            Node::Made(made) => made.number_and_kind(),
        };
        number << KIND_BITS | kind
    }

    /// The node with that inode number.
    pub fn of_ino(ino: u64) -> Option<Node> {
        let number = ino >> KIND_BITS;
        let timeline = || u32::try_from(number).ok().map(Timeline);
        match (ino & ((1 << KIND_BITS) - 1), number) {
            (1, 0) => Some(Node::Root),
            (1, 1) => Some(Node::Timelines),
            (1, 2) => Some(Node::RootRaw),
            (2, seq) => Some(Node::File(Seq(seq))),
            (3, seq) => Some(Node::RawFile(Seq(seq))),
            (4, _) => timeline().map(Node::Timeline),
            (5, _) => timeline().map(Node::Raw),
            (6 | 7, number) => Made::of_number_and_kind(number, ino & 7).map(Node::Made),
            _ => None,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(self) -> bool {
        match self {
            Node::Root | Node::RootRaw | Node::Timelines | Node::Timeline(_) | Node::Raw(_) => true,
            Node::File(_) | Node::RawFile(_) => false,
            Node::Made(made) => made.is_directory(),
        }
    }
}

impl<'a> Tree<'a> {
    /// The tree of `history` with timeline `root` in its root.
    pub fn new(history: &'a History, root: Option<Timeline>, ownership: Ownership) -> Tree<'a> {
        Tree {
            history,
            root,
            ownership,
        }
    }

    /// What `name` in `directory` is.
    pub fn lookup(&self, directory: Node, name: &str) -> Option<Node> {
        match directory {
            Node::File(_) | Node::RawFile(_) | Node::Made(_) => None,
            Node::Timelines => {
                let timeline = Timeline(name.parse().ok()?);
                // "01" and "+1" are no names of timeline 1.
                (timeline.to_string() == name && self.history.timeline(timeline).is_some())
                    .then_some(Node::Timeline(timeline))
            }
            Node::Root => match name {
                TIMELINES_NAME => Some(Node::Timelines),
                RAW_NAME => Some(Node::RootRaw),
                _ => self.shown_or_made(directory, None, name),
            },
            Node::Timeline(timeline) => match name {
                RAW_NAME => self.entries(directory).map(|_| Node::Raw(timeline)),
                _ => self.shown_or_made(directory, Some(timeline), name),
            },
            Node::RootRaw | Node::Raw(_) => self
                .named(directory, name)
                .filter(has_bytes)
                .map(|e| Node::RawFile(e.seq)),
        }
    }

    /// The attributes of `node`; `None` if it is not there (any more).
    pub fn attr(&self, node: Node) -> Option<Attr> {
        let entry = match node {
            Node::File(seq) => self.history.by_seq(seq)?.1,
            Node::RawFile(seq) => Some(self.history.by_seq(seq)?.1).filter(has_bytes)?,
            Node::Root | Node::RootRaw | Node::Timelines => return Some(self.directory(node)),
            Node::Timeline(_) | Node::Raw(_) => {
                self.entries(node)?;
                return Some(self.directory(node));
            }
            Node::Made(_) => return None,
        };
        Some(self.file(node, &entry))
    }

    fn file(&self, node: Node, entry: &HistoryEntry<'_>) -> Attr {
        // Never 0 for a file with content: some tools take such a file for one big hole and do not read it.
        let least = u64::from(entry.size > 0);
        Attr {
            ino: node.ino(),
            directory: false,
            size: entry.size,
            blocks: entry.stored_size.div_ceil(BLOCK_BYTES).max(least),
            mtime: entry.mtime,
            mode: self.ownership.mode,
            nlink: 1,
            uid: self.ownership.uid,
            gid: self.ownership.gid,
            settled: entry.state == EntryState::Archived,
        }
    }

    /// What `name` in `directory` needs of the history that is not in memory.
    pub fn unloaded_of_name(&self, directory: Node, name: &str) -> Option<&'a Arc<Slot>> {
        let slot = self.entries(directory)?.slot_of_name(name)?;
        Some(slot).filter(|slot| !slot.is_loaded())
    }

    /// What the attributes of `node` need of it.
    pub fn unloaded_of(&self, node: Node) -> Vec<Arc<Slot>> {
        match node {
            Node::File(seq) | Node::RawFile(seq) => self.history.unloaded_of_seq(seq),
            Node::Root
            | Node::RootRaw
            | Node::Timelines
            | Node::Timeline(_)
            | Node::Raw(_)
            | Node::Made(_) => Vec::new(),
        }
    }

    /// What the next entry of a listing needs of it.
    pub fn unloaded_of_list(&self, directory: Node, cookie: u64) -> Vec<Arc<Slot>> {
        let after = Seq(cookie.saturating_sub(COOKIE_BASE));
        // In a raw directory the next one may be far off.
        let slots = match is_raw(directory) {
            true => usize::MAX,
            false => 1,
        };
        self.entries(directory)
            .into_iter()
            .flat_map(|entries| entries.slots_after(after).take(slots))
            .filter(|slot| !slot.is_loaded())
            .cloned()
            .collect()
    }

    /// Lists `directory` after `cookie` (0 from the start), `.` and `..` first, then names in replay order, with their
    /// attributes.
    ///
    /// Ends early when `take` returns false; the entry it refused is the first of the next call. Ends early as well where
    /// entries are not in memory, after at least one: the next call has them loaded.
    pub fn list(&self, directory: Node, cookie: u64, mut take: impl FnMut(Listed, Attr) -> bool) {
        for (cookie_of, name, node) in [(1, ".", directory), (2, "..", parent(directory))] {
            let listed = Listed {
                name: name.to_owned(),
                node,
                cookie: cookie_of,
            };
            if cookie < cookie_of && !take(listed, self.directory(node)) {
                return;
            }
        }
        let after = cookie.saturating_sub(COOKIE_BASE);
        if directory == Node::Timelines {
            let numbers = self.history.timelines().map(|timeline| Listed {
                name: timeline.to_string(),
                node: Node::Timeline(timeline),
                cookie: u64::from(timeline.0) + COOKIE_BASE,
            });
            let _ = numbers
                .filter(|listed| listed.cookie > after + COOKIE_BASE)
                .all(|listed| {
                    let attr = self.directory(listed.node);
                    take(listed, attr)
                });
            return;
        }
        let Some(entries) = self.entries(directory) else {
            return;
        };
        let mut take = |entry: HistoryEntry<'_>, node: Node| {
            let listed = Listed {
                name: entry.name.to_owned(),
                node,
                cookie: entry.seq.0 + COOKIE_BASE,
            };
            take(listed, self.file(node, &entry))
        };
        if is_raw(directory) {
            // What differs from its neighbour of the same name.
            let mut damaged = entries
                .after(Seq(after))
                .filter(|entry| entry.state == EntryState::Damaged);
            let _ = damaged.all(|entry| take(entry, Node::RawFile(entry.seq)));
            return;
        }
        let mut listed = entries.listed_after(Seq(after));
        let _ = listed.all(|entry| take(entry, Node::File(entry.seq)));
    }

    fn directory(&self, node: Node) -> Attr {
        let last = self.entries(node).and_then(TimelineEntries::last);
        let mtime = last.map_or(Micros(0), |last| last.mtime);
        self.ownership.directory(node.ino(), mtime)
    }

    /// The entries that `directory` shows.
    fn entries(&self, directory: Node) -> Option<&'a TimelineEntries> {
        let timeline = match directory {
            Node::Root | Node::RootRaw | Node::Timelines => self.root?,
            Node::Timeline(timeline) | Node::Raw(timeline) => timeline,
            Node::File(_) | Node::RawFile(_) | Node::Made(_) => return None,
        };
        self.history.timeline(timeline)
    }

    /// An entry, or what is made on demand in the root or the directory of a timeline.
    fn shown_or_made(&self, directory: Node, scope: Option<Timeline>, name: &str) -> Option<Node> {
        let entry = self.named(directory, name).map(|e| Node::File(e.seq));
        entry.or_else(|| Made::named(scope, name).map(Node::Made))
    }

    fn named(&self, directory: Node, name: &str) -> Option<HistoryEntry<'a>> {
        self.entries(directory)?.by_name(name)
    }
}

fn is_raw(directory: Node) -> bool {
    matches!(directory, Node::RootRaw | Node::Raw(_))
}

fn has_bytes(entry: &HistoryEntry<'_>) -> bool {
    match entry.state {
        EntryState::Archived | EntryState::Damaged => true,
        EntryState::Hole | EntryState::Gap | EntryState::Lost => false,
    }
}

fn parent(directory: Node) -> Node {
    match directory {
        Node::Root | Node::RootRaw | Node::Timelines | Node::File(_) | Node::RawFile(_) => {
            Node::Root
        }
        Node::Timeline(_) => Node::Timelines,
        Node::Raw(timeline) => Node::Timeline(timeline),
        Node::Made(made) => made.parent(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::history::row;

    const OWNER: Ownership = Ownership {
        uid: 7,
        gid: 8,
        mode: 0o440,
    };

    fn history() -> History {
        let mut history = History::default();
        for (timeline, seq, state) in [
            (1, 1, EntryState::Archived),
            (1, 2, EntryState::Damaged),
            (2, 3, EntryState::Archived),
            (2, 4, EntryState::Hole),
            (2, 5, EntryState::Damaged),
        ] {
            history.push(&row(timeline, seq, state)).expect("in order");
        }
        history
    }

    fn names(tree: &Tree<'_>, node: Node, cookie: u64) -> Vec<String> {
        let mut names = Vec::new();
        tree.list(node, cookie, |listed, attr| {
            assert_eq!(
                tree.attr(listed.node),
                Some(attr),
                "a listing tells what a lookup tells"
            );
            names.push(listed.name);
            true
        });
        names
    }

    #[test]
    fn the_root_is_the_newest_timeline_and_hidden_names_are_not_listed() {
        let history = history();
        let tree = Tree::new(&history, history.newest(), OWNER);
        assert_eq!(
            names(&tree, Node::Root, 0),
            [".", "..", "binlog.000003", "binlog.000004", "binlog.000005"]
        );
        assert_eq!(tree.lookup(Node::Root, "binlog.000001"), None);
        let timelines = tree.lookup(Node::Root, TIMELINES_NAME).expect("hidden");
        assert_eq!(names(&tree, timelines, 0), [".", "..", "1", "2"]);
        let first = tree.lookup(timelines, "1").expect("there");
        assert_eq!(names(&tree, first, 2), ["binlog.000001", "binlog.000002"]);
        assert_eq!(
            tree.lookup(first, "binlog.000001"),
            Some(Node::File(Seq(1)))
        );
        for bad in ["0", "01", "+1", "3", "-1", "1 ", ""] {
            assert_eq!(tree.lookup(timelines, bad), None, "{bad:?}");
        }
    }

    #[test]
    fn raw_lists_damaged_segments_and_serves_any_that_has_bytes() {
        let history = history();
        let tree = Tree::new(&history, history.newest(), OWNER);
        let raw = tree.lookup(Node::Root, RAW_NAME).expect("hidden");
        assert_eq!(names(&tree, raw, 2), ["binlog.000005"]);
        assert_eq!(
            tree.lookup(raw, "binlog.000003"),
            Some(Node::RawFile(Seq(3)))
        );
        assert_eq!(tree.lookup(raw, "binlog.000004"), None);
        assert_eq!(tree.attr(Node::RawFile(Seq(4))), None);
    }

    #[test]
    fn inode_numbers_are_unique_and_lead_back() {
        let mut nodes = vec![Node::Root, Node::RootRaw, Node::Timelines];
        for n in 1..100 {
            nodes.push(Node::File(Seq(n)));
            nodes.push(Node::RawFile(Seq(n)));
            nodes.push(Node::Timeline(Timeline(n as u32)));
            nodes.push(Node::Raw(Timeline(n as u32)));
        }
        let inos: std::collections::BTreeSet<u64> = nodes.iter().map(|n| n.ino()).collect();
        assert_eq!(inos.len(), nodes.len());
        assert_eq!(Node::Root.ino(), ROOT_INO);
        for node in nodes {
            assert_eq!(Node::of_ino(node.ino()), Some(node));
        }
        for ino in [0, 3 << 3 | 1, 7 << 3 | 6, 3 << 3 | 7, u64::MAX] {
            assert_eq!(Node::of_ino(ino), None, "{ino}");
        }
    }

    #[test]
    fn attributes_are_those_of_the_original_and_a_hole_is_empty() {
        let history = history();
        let tree = Tree::new(&history, history.newest(), OWNER);
        let file = tree.attr(Node::File(Seq(3))).expect("there");
        assert_eq!((file.size, file.blocks, file.mode), (1003, 1, 0o440));
        assert_eq!((file.uid, file.gid, file.settled), (7, 8, true));
        assert_eq!(file.mtime, Micros(3_000_000));
        let hole = tree.attr(Node::File(Seq(4))).expect("there");
        assert_eq!((hole.size, hole.blocks, hole.settled), (0, 0, false));
        assert_eq!(hole.mtime, Micros(3_000_000));
        let root = tree.attr(Node::Root).expect("there");
        assert_eq!((root.mode, root.mtime), (0o550, Micros(5_000_000)));
        assert_eq!(tree.attr(Node::File(Seq(9))), None);
        assert_eq!(tree.attr(Node::Timeline(Timeline(9))), None);
    }

    #[test]
    fn a_listing_in_steps_of_one_sees_everything_once_even_while_it_grows() {
        let mut history = history();
        let mut seen = Vec::new();
        let mut cookie = 0;
        loop {
            let tree = Tree::new(&history, history.newest(), OWNER);
            let mut next = None;
            tree.list(Node::Root, cookie, |listed, _| {
                let first = next.is_none();
                next.get_or_insert(listed);
                first
            });
            let Some(listed) = next else { break };
            cookie = listed.cookie;
            seen.push(listed.name);
            if seen.len() == 4 {
                history
                    .push(&row(2, 9, EntryState::Archived))
                    .expect("in order");
            }
        }
        assert_eq!(seen.len(), 6);
        assert_eq!(seen.last().map(String::as_str), Some("binlog.000009"));
    }

    #[test]
    fn an_empty_history_has_an_empty_root() {
        let history = History::default();
        let tree = Tree::new(&history, history.newest(), OWNER);
        assert_eq!(names(&tree, Node::Root, 0), [".", ".."]);
        assert_eq!(names(&tree, Node::Timelines, 0), [".", ".."]);
        assert!(tree.attr(Node::Root).is_some());
    }
}

//! The directories above the streams, and the numbers of both. Pure.
//!
//! An inode number has the number of its stream in the upper 16 bits and what the stream calls it in the lower 48; without a
//! stream it is a directory's. The numbers are made from paths, so that they are the same in every mount but for collisions,
//! and a path keeps its number for as long as the mount lives.

use crate::fs::tree::ROOT_INO;
use crate::model::{ObjectKey, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::time::Instant;

/// Where the number of a stream is in an inode number or a handle.
const STREAM_SHIFT: u32 = 48;
/// Numbers that streams can have: 0 is no stream, and the last is kept for other use.
const STREAM_NUMBERS: std::ops::Range<u16> = 1..u16::MAX;
/// Bits of a directory's number: its cookie has one more, and a cookie is a positive number in every client.
const DIR_BITS: u32 = 46;

/// The number of a stream in this mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct StreamNo(u16);

/// The inode number of a directory above streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct DirIno(u64);

/// What an inode number names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A directory above streams.
    Dir(DirIno),
    /// Something in a stream, by the stream's own number for it.
    Stream(StreamNo, u64),
}

/// What is in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Child {
    /// A directory.
    Dir(DirIno),
    /// A stream.
    Stream(StreamNo),
}

struct Dir {
    /// `None`: the root.
    path: Option<ObjectKey>,
    parent: DirIno,
    children: BTreeMap<String, Child>,
    listed_at: Option<Instant>,
}

struct StreamPlace {
    path: ObjectKey,
    parent: DirIno,
}

/// What is known of the directories.
pub(super) struct Dirs {
    dirs: HashMap<DirIno, Dir>,
    streams: HashMap<StreamNo, StreamPlace>,
    /// The numbers of `streams` by path: when nearly all are taken, a search from the hash on would be long.
    numbers: HashMap<ObjectKey, StreamNo>,
}

/// The directory that is mounted.
pub(super) const ROOT: DirIno = DirIno(ROOT_INO);

impl StreamNo {
    /// The number outside of its stream of what the stream calls `inner`. `None` for numbers that no stream gives.
    pub(super) fn outer(self, inner: u64) -> Option<u64> {
        (inner >> STREAM_SHIFT == 0).then_some(self.above() | inner)
    }

    /// The upper bits of all its inode numbers.
    pub(super) fn above(self) -> u64 {
        u64::from(self.0) << STREAM_SHIFT
    }

    /// The inode number of the stream's root.
    pub(super) fn root(self) -> u64 {
        self.above() | ROOT_INO
    }
}

impl Place {
    /// What `ino` names, or in which stream a handle is.
    pub(super) fn of(ino: u64) -> Place {
        match (ino >> STREAM_SHIFT) as u16 {
            0 => Place::Dir(DirIno(ino)),
            number => Place::Stream(StreamNo(number), ino & ((1 << STREAM_SHIFT) - 1)),
        }
    }
}

impl Child {
    /// Its inode number.
    pub(super) fn ino(self) -> u64 {
        match self {
            Child::Dir(dir) => dir.0,
            Child::Stream(stream) => stream.root(),
        }
    }

    /// Where a listing goes on after it: beyond 2, which is `..`.
    pub(super) fn cookie(self) -> u64 {
        match self {
            Child::Dir(dir) => dir.0 << 1,
            Child::Stream(stream) => u64::from(stream.0) << 1 | 1,
        }
    }

    fn of_cookie(cookie: u64) -> Child {
        match (cookie & 1, cookie >> 1) {
            (0, ino) => Child::Dir(DirIno(ino)),
            (_, number) => Child::Stream(StreamNo(number as u16)),
        }
    }
}

impl Dirs {
    /// Only the root, of which nothing is known yet.
    pub(super) fn new() -> Dirs {
        let root = Dir {
            path: None,
            parent: ROOT,
            children: BTreeMap::new(),
            listed_at: None,
        };
        Dirs {
            dirs: HashMap::from([(ROOT, root)]),
            streams: HashMap::new(),
            numbers: HashMap::new(),
        }
    }

    /// The path of a directory (`None`: the root), if there is such a one.
    pub(super) fn path(&self, dir: DirIno) -> Option<Option<&ObjectKey>> {
        self.dirs.get(&dir).map(|dir| dir.path.as_ref())
    }

    /// The path of a stream.
    pub(super) fn stream_path(&self, stream: StreamNo) -> Option<&ObjectKey> {
        self.streams.get(&stream).map(|place| &place.path)
    }

    /// The directory that a stream is in.
    pub(super) fn parent_of_stream(&self, stream: StreamNo) -> Option<DirIno> {
        self.streams.get(&stream).map(|place| place.parent)
    }

    /// The directory that a directory is in; the root is in itself.
    pub(super) fn parent(&self, dir: DirIno) -> Option<DirIno> {
        self.dirs.get(&dir).map(|dir| dir.parent)
    }

    /// When the directory was last listed.
    pub(super) fn listed_at(&self, dir: DirIno) -> Option<Instant> {
        self.dirs.get(&dir)?.listed_at
    }

    /// What `name` in `dir` is.
    pub(super) fn child(&self, dir: DirIno, name: &str) -> Option<Child> {
        self.dirs.get(&dir)?.children.get(name).copied()
    }

    /// What is in `dir`, by name, after the one that has this cookie.
    pub(super) fn children(&self, dir: DirIno, cookie: u64) -> impl Iterator<Item = (&str, Child)> {
        let after = match cookie {
            0..=2 => None,
            cookie => self.name_of(Child::of_cookie(cookie)),
        };
        let dir = self.dirs.get(&dir);
        let all = dir.into_iter().flat_map(|dir| &dir.children);
        all.filter(move |(name, _)| after.is_none_or(|after| name.as_str() > after))
            .map(|(name, child)| (name.as_str(), *child))
    }

    fn name_of(&self, child: Child) -> Option<&str> {
        let path = match child {
            Child::Dir(dir) => self.path(dir)??,
            Child::Stream(stream) => self.stream_path(stream)?,
        };
        path.as_str().rsplit('/').next()
    }

    /// Number of streams seen.
    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Notes what is in `dir` now: names that can be parts of keys, and whether each is a stream. Returns how many found no
    /// number.
    pub(super) fn set(
        &mut self,
        dir: DirIno,
        found: impl IntoIterator<Item = (String, bool)>,
        now: Instant,
    ) -> usize {
        let Some(above) = self.path(dir).map(|path| path.cloned()) else {
            return 0;
        };
        let mut children = BTreeMap::new();
        let mut without = 0;
        for (name, is_stream) in found {
            let path = match &above {
                None => name.parse(),
                Some(above) => format!("{above}/{name}").parse(),
            };
            // Too long, or no name of ours: it cannot be asked for either.
            let Ok(path) = path else { continue };
            let child = match is_stream {
                true => self.stream_no(path, dir).map(Child::Stream),
                false => Some(Child::Dir(self.dir_ino(path, dir))),
            };
            match child {
                Some(child) => {
                    children.insert(name, child);
                }
                None => without += 1,
            }
        }
        if let Some(dir) = self.dirs.get_mut(&dir) {
            dir.children = children;
            dir.listed_at = Some(now);
        }
        without
    }

    /// The number of the stream at `path`; a new one if it has none yet and there is one left.
    fn stream_no(&mut self, path: ObjectKey, parent: DirIno) -> Option<StreamNo> {
        if let Some(number) = self.numbers.get(&path) {
            return Some(*number);
        }
        let count = u64::from(STREAM_NUMBERS.end - STREAM_NUMBERS.start);
        if self.streams.len() as u64 == count {
            return None;
        }
        let first = hash(&path) % count;
        let number = (0..count)
            .map(|at| StreamNo(STREAM_NUMBERS.start + ((first + at) % count) as u16))
            .find(|number| !self.streams.contains_key(number))?;
        self.numbers.insert(path.clone(), number);
        self.streams.insert(number, StreamPlace { path, parent });
        Some(number)
    }

    fn dir_ino(&mut self, path: ObjectKey, parent: DirIno) -> DirIno {
        let mut number = hash(&path) >> (64 - DIR_BITS);
        loop {
            let ino = DirIno(number.max(ROOT_INO + 1));
            match self.dirs.get(&ino) {
                Some(dir) if dir.path.as_ref() == Some(&path) => return ino,
                Some(_) => number = (ino.0 + 1) % (1 << DIR_BITS),
                None => {
                    let dir = Dir {
                        path: Some(path),
                        parent,
                        children: BTreeMap::new(),
                        listed_at: None,
                    };
                    self.dirs.insert(ino, dir);
                    return ino;
                }
            }
        }
    }
}

fn hash(path: &ObjectKey) -> u64 {
    let digest = Sha256::of(path.as_str().as_bytes()).0;
    digest[..8]
        .iter()
        .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(dirs: &mut Dirs, dir: DirIno, found: &[(&str, bool)]) {
        let found = found.iter().map(|(name, is)| ((*name).to_owned(), *is));
        assert_eq!(dirs.set(dir, found, Instant::now()), 0);
    }

    #[test]
    fn numbers_follow_from_paths_and_stay() {
        let (mut one, mut two) = (Dirs::new(), Dirs::new());
        set(&mut one, ROOT, &[("a", true), ("b", true), ("t", false)]);
        set(&mut two, ROOT, &[("t", false), ("b", true)]);
        let t = one.child(ROOT, "t").expect("there");
        assert_eq!(two.child(ROOT, "t"), Some(t));
        assert_eq!(one.child(ROOT, "b"), two.child(ROOT, "b"));
        let Child::Dir(t) = t else {
            panic!("a directory")
        };
        set(&mut one, t, &[("a", true)]);
        assert_ne!(one.child(t, "a"), one.child(ROOT, "a"), "another path");
        let before = one.child(t, "a");
        set(&mut one, t, &[]);
        assert_eq!(one.child(t, "a"), None);
        set(&mut one, t, &[("a", true)]);
        assert_eq!(one.child(t, "a"), before);
    }

    #[test]
    fn inode_numbers_lead_back() {
        let mut dirs = Dirs::new();
        set(&mut dirs, ROOT, &[("a", true), ("t", false)]);
        let stream = dirs.child(ROOT, "a").expect("there");
        let Child::Stream(number) = stream else {
            panic!("a stream")
        };
        assert_eq!(Place::of(stream.ino()), Place::Stream(number, ROOT_INO));
        let file = number.outer(77).expect("small enough");
        assert_eq!(Place::of(file), Place::Stream(number, 77));
        assert_eq!(number.outer(1 << 48), None);
        let dir = dirs.child(ROOT, "t").expect("there");
        let Child::Dir(ino) = dir else {
            panic!("a directory")
        };
        assert_eq!(Place::of(dir.ino()), Place::Dir(ino));
    }

    #[test]
    fn a_listing_goes_on_at_its_place_whatever_comes_and_goes() {
        let mut dirs = Dirs::new();
        set(&mut dirs, ROOT, &[("b", true), ("d", false), ("f", true)]);
        let d = dirs.child(ROOT, "d").expect("there");
        set(&mut dirs, ROOT, &[("a", true), ("e", true), ("f", true)]);
        let names: Vec<_> = dirs.children(ROOT, d.cookie()).map(|c| c.0).collect();
        assert_eq!(names, ["e", "f"]);
        let names: Vec<_> = dirs.children(ROOT, 2).map(|c| c.0).collect();
        assert_eq!(names, ["a", "e", "f"]);
    }

    #[test]
    fn there_is_a_number_for_every_stream_until_all_are_taken() {
        let mut dirs = Dirs::new();
        let found = (0..70_000).map(|n| (format!("s{n}"), true));
        let without = dirs.set(ROOT, found, Instant::now());
        assert_eq!(without, 70_000 - 65_534);
        assert_eq!(dirs.streams(), 65_534);
    }
}

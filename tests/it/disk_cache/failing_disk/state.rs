//! What the failing disk holds, and what it is told.

use super::BLOCK_BYTES;
use fuser::{Errno, FileAttr, FileType, INodeNo, TimeOrNow};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::time::SystemTime;

/// What fails, and with which errno.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    Nothing,
    /// The content of files cannot be read.
    Reads(i32),
    /// Nothing can be made, written or renamed; of a full disk something can still be removed.
    Writes(i32),
    /// Everything.
    All(i32),
}

/// What the kernel asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Look,
    Read,
    Write,
    Remove,
}

pub enum Body {
    Dir(BTreeMap<OsString, u64>),
    File(Vec<u8>),
}

pub struct Node {
    pub body: Body,
    pub modified: SystemTime,
}

pub struct State {
    pub nodes: HashMap<u64, Node>,
    pub failing: Failing,
    /// Blocks that it tells to be free, whatever is written or removed.
    pub free_blocks: u64,
}

impl Failing {
    pub fn of(self, asked: Asked) -> Result<(), Errno> {
        let errno = match (self, asked) {
            (Failing::All(errno), _)
            | (Failing::Reads(errno), Asked::Read)
            | (Failing::Writes(errno), Asked::Write) => errno,
            (Failing::Writes(errno), Asked::Remove) if errno != libc::ENOSPC => errno,
            (Failing::Nothing | Failing::Reads(_) | Failing::Writes(_), _) => return Ok(()),
        };
        Err(Errno::from_i32(errno))
    }
}

impl State {
    pub fn asked(&self, asked: Asked) -> Result<(), Errno> {
        self.failing.of(asked)
    }

    pub fn node(&mut self, ino: INodeNo) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&ino.0).ok_or(Errno::ENOENT)
    }

    pub fn names(&mut self, dir: INodeNo) -> Result<&mut BTreeMap<OsString, u64>, Errno> {
        match &mut self.node(dir)?.body {
            Body::Dir(names) => Ok(names),
            Body::File(_) => Err(Errno::ENOTDIR),
        }
    }

    pub fn named(&mut self, dir: INodeNo, name: &OsStr) -> Result<INodeNo, Errno> {
        let ino = self.names(dir)?.get(name).copied();
        ino.map(INodeNo).ok_or(Errno::ENOENT)
    }

    pub fn make(&mut self, dir: INodeNo, name: &OsStr, body: Body) -> Result<FileAttr, Errno> {
        self.asked(Asked::Write)?;
        let ino = self.nodes.len() as u64 + 1;
        if self.names(dir)?.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.names(dir)?.insert(name.to_owned(), ino);
        let modified = SystemTime::now();
        self.nodes.insert(ino, Node { body, modified });
        self.attr(INodeNo(ino))
    }

    /// What is removed keeps its number, and its bytes for who has it open.
    pub fn remove(&mut self, dir: INodeNo, name: &OsStr) -> Result<(), Errno> {
        self.asked(Asked::Remove)?;
        let ino = self.named(dir, name)?;
        if let Body::Dir(names) = &self.node(ino)?.body
            && !names.is_empty()
        {
            return Err(Errno::ENOTEMPTY);
        }
        self.names(dir)?.remove(name);
        Ok(())
    }

    pub fn rename(&mut self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr)) -> Result<(), Errno> {
        self.asked(Asked::Write)?;
        let ino = self.named(from.0, from.1)?;
        self.names(from.0)?.remove(from.1);
        self.names(to.0)?.insert(to.1.to_owned(), ino.0);
        Ok(())
    }

    pub fn write(&mut self, ino: INodeNo, offset: u64, data: &[u8]) -> Result<u32, Errno> {
        self.asked(Asked::Write)?;
        let node = self.node(ino)?;
        let Body::File(bytes) = &mut node.body else {
            return Err(Errno::EISDIR);
        };
        let (from, to) = (offset as usize, offset as usize + data.len());
        bytes.resize(bytes.len().max(to), 0);
        bytes[from..to].copy_from_slice(data);
        node.modified = SystemTime::now();
        Ok(data.len() as u32)
    }

    pub fn read(&mut self, ino: INodeNo, offset: u64, size: u32) -> Result<&[u8], Errno> {
        self.asked(Asked::Read)?;
        let Body::File(bytes) = &self.node(ino)?.body else {
            return Err(Errno::EISDIR);
        };
        let at = |n: u64| usize::try_from(n).expect("small").min(bytes.len());
        Ok(&bytes[at(offset)..at(offset + u64::from(size))])
    }

    pub fn change(
        &mut self,
        ino: INodeNo,
        size: Option<u64>,
        modified: Option<TimeOrNow>,
    ) -> Result<FileAttr, Errno> {
        self.asked(Asked::Write)?;
        let node = self.node(ino)?;
        if let (Some(size), Body::File(bytes)) = (size, &mut node.body) {
            bytes.resize(usize::try_from(size).expect("small"), 0);
        }
        match modified {
            Some(TimeOrNow::SpecificTime(time)) => node.modified = time,
            Some(TimeOrNow::Now) => node.modified = SystemTime::now(),
            None => {}
        }
        self.attr(ino)
    }

    pub fn attr(&mut self, ino: INodeNo) -> Result<FileAttr, Errno> {
        let node = self.node(ino)?;
        let (kind, size) = match &node.body {
            Body::Dir(_) => (FileType::Directory, 0),
            Body::File(bytes) => (FileType::RegularFile, bytes.len() as u64),
        };
        let time = node.modified;
        Ok(FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK_BYTES,
            flags: 0,
        })
    }
}

//! A file system in memory, served by the test itself through the kernel, that fails when it is told to: as a device does that
//! has bad sectors, is full, or is gone. Needs root and `/dev/fuse`.

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

/// Nothing is kept by the kernel: each question arrives, and can fail.
const TTL: Duration = Duration::ZERO;
/// Of 4 KiB: a gigabyte, always free. That it takes no more is only found out by writing.
const BLOCKS: u64 = 1 << 18;
const BLOCK_BYTES: u32 = 4096;

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
enum Asked {
    Look,
    Read,
    Write,
    Remove,
}

enum Body {
    Dir(BTreeMap<OsString, u64>),
    File(Vec<u8>),
}

struct Node {
    body: Body,
    modified: SystemTime,
}

struct State {
    nodes: HashMap<u64, Node>,
    failing: Failing,
}

impl Failing {
    fn of(self, asked: Asked) -> Result<(), Errno> {
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
    fn asked(&self, asked: Asked) -> Result<(), Errno> {
        self.failing.of(asked)
    }

    fn node(&mut self, ino: INodeNo) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&ino.0).ok_or(Errno::ENOENT)
    }

    fn names(&mut self, dir: INodeNo) -> Result<&mut BTreeMap<OsString, u64>, Errno> {
        match &mut self.node(dir)?.body {
            Body::Dir(names) => Ok(names),
            Body::File(_) => Err(Errno::ENOTDIR),
        }
    }

    fn named(&mut self, dir: INodeNo, name: &OsStr) -> Result<INodeNo, Errno> {
        let ino = self.names(dir)?.get(name).copied();
        ino.map(INodeNo).ok_or(Errno::ENOENT)
    }

    fn make(&mut self, dir: INodeNo, name: &OsStr, body: Body) -> Result<FileAttr, Errno> {
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
    fn remove(&mut self, dir: INodeNo, name: &OsStr) -> Result<(), Errno> {
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

    fn rename(&mut self, from: (INodeNo, &OsStr), to: (INodeNo, &OsStr)) -> Result<(), Errno> {
        self.asked(Asked::Write)?;
        let ino = self.named(from.0, from.1)?;
        self.names(from.0)?.remove(from.1);
        self.names(to.0)?.insert(to.1.to_owned(), ino.0);
        Ok(())
    }

    fn write(&mut self, ino: INodeNo, offset: u64, data: &[u8]) -> Result<u32, Errno> {
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

    fn read(&mut self, ino: INodeNo, offset: u64, size: u32) -> Result<&[u8], Errno> {
        self.asked(Asked::Read)?;
        let Body::File(bytes) = &self.node(ino)?.body else {
            return Err(Errno::EISDIR);
        };
        let at = |n: u64| usize::try_from(n).expect("small").min(bytes.len());
        Ok(&bytes[at(offset)..at(offset + u64::from(size))])
    }

    fn change(
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

    fn attr(&mut self, ino: INodeNo) -> Result<FileAttr, Errno> {
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

struct Device(Arc<Mutex<State>>);

impl Device {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no handler panics")
    }
}

impl Filesystem for Device {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.state();
        let looked = state.asked(Asked::Look);
        let found = looked.and_then(|()| state.named(parent, name));
        match found.and_then(|ino| state.attr(ino)) {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let mut state = self.state();
        let looked = state.asked(Asked::Look);
        match looked.and_then(|()| state.attr(ino)) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        modified: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        match self.state().change(ino, size, modified) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, dir: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        match self.state().make(dir, name, Body::Dir(BTreeMap::new())) {
            Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn create(
        &self,
        _: &Request,
        dir: INodeNo,
        name: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self.state().make(dir, name, Body::File(Vec::new())) {
            Ok(attr) => {
                let flags = FopenFlags::FOPEN_DIRECT_IO;
                reply.created(&TTL, &attr, Generation(0), FileHandle(0), flags);
            }
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.state().asked(Asked::Look) {
            // Past the page cache: a read asks the device.
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.state().remove(dir, name), reply);
    }

    fn rmdir(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.state().remove(dir, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        dir: INodeNo,
        name: &OsStr,
        to_dir: INodeNo,
        to_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.state().rename((dir, name), (to_dir, to_name));
        done(renamed, reply);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.state().read(ino, offset, size) {
            Ok(bytes) => reply.data(bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.state().write(ino, offset, data) {
            Ok(written) => reply.written(written),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let mut state = self.state();
        let looked = state.asked(Asked::Look);
        let names = match looked.and_then(|()| state.names(ino)) {
            Ok(names) => names.clone(),
            Err(error) => return reply.error(error),
        };
        for (at, (name, ino)) in (1..).zip(names).skip(offset as usize) {
            // What it is, whoever lists asks.
            let kind = match state.attr(INodeNo(ino)) {
                Ok(attr) => attr.kind,
                Err(error) => return reply.error(error),
            };
            if reply.add(INodeNo(ino), at, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.state().asked(Asked::Look) {
            Ok(()) => {
                reply.statfs(
                    BLOCKS,
                    BLOCKS,
                    BLOCKS,
                    1 << 20,
                    1 << 20,
                    BLOCK_BYTES,
                    255,
                    BLOCK_BYTES,
                );
            }
            Err(error) => reply.error(error),
        }
    }
}

fn done(outcome: Result<(), Errno>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

/// A mounted one; dropped, it is unmounted.
pub struct FailingDisk {
    state: Arc<Mutex<State>>,
    dir: PathBuf,
}

impl FailingDisk {
    /// An empty one on `dir`.
    pub fn mount(dir: &Path) -> FailingDisk {
        let root = Node {
            body: Body::Dir(BTreeMap::new()),
            modified: SystemTime::now(),
        };
        let state = Arc::new(Mutex::new(State {
            nodes: HashMap::from([(INodeNo::ROOT.0, root)]),
            failing: Failing::Nothing,
        }));
        let device = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        let device = device.expect("these tests need root and /dev/fuse");
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            device.as_raw_fd()
        );
        let options = CString::new(options).expect("digits and words");
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount("failing", dir, "fuse", flags, options.as_c_str()).expect("mounts");
        let served = Device(Arc::clone(&state));
        let config = fuser::Config::default();
        let session = fuser::Session::from_fd(served, device, fuser::SessionACL::All, config);
        let session = session.expect("shakes hands");
        // Ends with the mount.
        std::thread::spawn(move || session.run());
        FailingDisk {
            state,
            dir: dir.to_owned(),
        }
    }

    /// Fails so from now on.
    pub fn fail(&self, failing: Failing) {
        self.state.lock().expect("no handler panics").failing = failing;
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}

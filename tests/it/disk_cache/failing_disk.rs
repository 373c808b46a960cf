//! A file system in memory, served by the test itself through the kernel, that fails when it is told to: as a device does that
//! has bad sectors, is full, or is gone. Needs root and `/dev/fuse`.

mod state;

use fuser::{
    BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;
pub use state::Failing;
use state::{Asked, Body, Node, State};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, OsStr};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

/// Nothing is kept by the kernel: each question arrives, and can fail.
const TTL: Duration = Duration::ZERO;
/// Of 4 KiB: a gigabyte, all of it free unless something else is to be told. That it takes no more is only found out by writing.
const BLOCKS: u64 = 1 << 18;
const BLOCK_BYTES: u32 = 4096;

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
        let state = self.state();
        match state.asked(Asked::Look) {
            Ok(()) => {
                reply.statfs(
                    BLOCKS,
                    state.free_blocks,
                    state.free_blocks,
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
            free_blocks: BLOCKS,
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

    /// Tells from now on that so many bytes are free, whatever is written or removed.
    pub fn tell_free(&self, bytes: u64) {
        let blocks = bytes / u64::from(BLOCK_BYTES);
        self.state.lock().expect("no handler panics").free_blocks = blocks;
    }

    /// Answers nothing until what this gives is dropped.
    pub fn hang(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no handler panics")
    }
}

impl Drop for FailingDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}

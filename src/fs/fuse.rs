//! The kernel's side of the mount: every handler calls the [`Front`] and replies. Nothing else knows fuser.
//!
//! No handler blocks its loop thread: what may wait is done in a tokio task, which has the reply. A reply that is dropped,
//! by a panic too, is an EIO.

mod frontend;
mod kernel;
mod reply;

use super::front::Front;
use super::recall::Recall;
use super::tree::{Attr, Listed};
use super::unloaded::Question;
use frontend::Frontend;
use fuser::{
    BsdFileFlags, Errno, FileHandle, Filesystem, Generation, INodeNo, KernelConfig, LockOwner,
    OpenAccMode, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};
use kernel::ToKernel;
use reply::{
    attr_ttl, errno, file_attr, guarded, kind, longest_ttl, reply_lookup, reply_open, reply_statfs,
    reply_xattr,
};
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::runtime::Handle;

/// Threads that take requests: each only starts tasks and looks into memory.
const LOOP_THREADS: usize = 2;

/// Shakes hands with the kernel over `device`, on which a mount was made. Blocks until the mount works.
///
/// The session ends when the file system is unmounted by whoever; call the result on a thread of its own.
///
/// # Errors
/// When the kernel does not shake hands.
pub fn serve(
    front: Front,
    runtime: Handle,
    device: OwnedFd,
) -> io::Result<impl FnOnce() -> io::Result<()> + Send + 'static> {
    let mut config = fuser::Config::default();
    config.n_threads = Some(LOOP_THREADS);
    // The kernel enforces who may come in (allow_other, default_permissions).
    let acl = fuser::SessionACL::All;
    let recall = Arc::clone(front.recall());
    let session = fuser::Session::from_fd(Frontend { front, runtime }, device, acl, config)?;
    recall.connect(Arc::new(ToKernel(session.notifier())));
    let connected = Connected(recall);
    Ok(move || {
        let outcome = session.run();
        drop(connected);
        outcome
    })
}

/// A session that may be told of. Its device must be closed when it ends, however it does: requests would wait for ever.
struct Connected(Arc<Recall>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.disconnect();
    }
}

impl Filesystem for Frontend {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        kernel::ask(config);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if self.front.lookup_waits(parent.0) {
            let (front, name) = (self.front.clone(), name.to_owned());
            self.spawn(async move {
                let found = front.lookup_made(parent.0, &name).await;
                reply_lookup(reply, found, longest_ttl(true));
            });
            return;
        }
        let owned = name.to_owned();
        let answer = move |front: &Front, loaded: Result<(), i32>| {
            let found = loaded.and_then(|()| front.lookup(parent.0, &owned));
            reply_lookup(reply, found, longest_ttl(false));
        };
        self.answer(&Question::Lookup(parent.0, name), answer);
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        guarded(|| self.front.forget(ino.0, nlookup));
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        let answer = move |front: &Front, loaded: Result<(), i32>| match loaded
            .and_then(|()| front.attr(ino.0))
        {
            Ok(attr) => reply.attr(&attr_ttl(&attr), &file_attr(&attr)),
            Err(error) => reply.error(errno(error)),
        };
        self.answer(&Question::Attr(ino.0), answer);
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if flags.acc_mode() != OpenAccMode::O_RDONLY {
            return reply.error(Errno::EROFS);
        }
        let front = self.front.clone();
        self.spawn(async move { reply_open(reply, front.open(ino.0).await) });
    }

    fn read(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let front = self.front.clone();
        self.spawn(async move {
            match front.read(fh.0, offset, size).await {
                Ok(bytes) => reply.data(&bytes),
                Err(error) => reply.error(errno(error)),
            }
        });
    }

    fn release(
        &self,
        _req: &Request,
        _ino: INodeNo,
        fh: FileHandle,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        guarded(|| {
            self.front.release(fh.0);
            reply.ok();
        });
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn fsync(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let answer = move |front: &Front, loaded: Result<(), i32>| {
            let add = |listed: &Listed, attr: &Attr| {
                let kind = kind(attr.directory);
                !reply.add(INodeNo(attr.ino), listed.cookie, kind, &listed.name)
            };
            match loaded.and_then(|()| front.list(ino.0, offset, add)) {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(errno(error)),
            }
        };
        self.answer(&Question::List(ino.0, offset), answer);
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let made = self.front.lookup_waits(ino.0);
        let answer = move |front: &Front, loaded: Result<(), i32>| {
            let add = |listed: &Listed, attr: &Attr| {
                let ttl = attr_ttl(attr).min(longest_ttl(made));
                let file = file_attr(attr);
                let (ino, name) = (INodeNo(attr.ino), &listed.name);
                !reply.add(ino, listed.cookie, name, &ttl, &file, Generation(0))
            };
            match loaded.and_then(|()| front.list(ino.0, offset, add)) {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(errno(error)),
            }
        };
        self.answer(&Question::List(ino.0, offset), answer);
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        guarded(|| reply_statfs(reply, self.front.files()));
    }

    fn getxattr(&self, _req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let (front, name) = (self.front.clone(), name.to_owned());
        self.spawn(async move { reply_xattr(reply, front.xattr(ino.0, &name, size).await) });
    }

    fn listxattr(&self, _req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let front = self.front.clone();
        self.spawn(async move { reply_xattr(reply, front.xattrs(ino.0, size).await) });
    }

    // Everything below changes something, and nothing here can be changed.

    fn setattr(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        _size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mknod(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EROFS);
    }

    fn mkdir(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EROFS);
    }

    fn unlink(&self, _req: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn rmdir(&self, _req: &Request, _parent: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }

    fn symlink(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _link_name: &OsStr,
        _target: &Path,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EROFS);
    }

    fn rename(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _newparent: INodeNo,
        _newname: &OsStr,
        _flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn link(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _newparent: INodeNo,
        _newname: &OsStr,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::EROFS);
    }

    fn write(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: u64,
        _data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::EROFS);
    }

    fn create(
        &self,
        _req: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        reply.error(Errno::EROFS);
    }

    fn fallocate(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _offset: u64,
        _length: u64,
        _mode: i32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn setxattr(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::EROFS);
    }

    fn removexattr(&self, _req: &Request, _ino: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::EROFS);
    }
}

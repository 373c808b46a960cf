//! Answers of ours in fuser's types.

use super::super::local::is_local;
use super::super::open_files::{Caching, OpenedFile};
use super::super::tree::Attr;
use super::super::view::Errno as RawErrno;
use super::super::xattr::Answer;
use crate::model::Micros;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyXattr,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, SystemTime};

/// How long the kernel may keep name and attributes of an archived segment: they hardly ever change, and then they are taken back
/// (`recall.rs`).
const SETTLED_TTL: Duration = Duration::from_secs(3600);
/// How long it may keep those of directories, holes and damaged segments: a new segment or a better copy may come.
const UNSETTLED_TTL: Duration = Duration::from_secs(1);
/// `st_blksize`: tools copy in units of this.
const IO_BYTES: u32 = 1 << 20;

/// Block size of statfs(2).
const STATFS_BLOCK_BYTES: u32 = 4096;
/// NAME_MAX.
const NAME_MAX_BYTES: u32 = 255;

/// Runs a handler; one that panics drops its reply (EIO) and leaves its loop thread alive.
pub(super) fn guarded(handler: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(handler)).is_err() {
        tracing::error!("a FUSE handler panicked: this is a bug, please report it");
    }
}

/// Tells how many files there are.
pub(super) fn reply_statfs(reply: ReplyStatfs, files: u64) {
    let block = STATFS_BLOCK_BYTES;
    // How large the bucket is nobody knows; full, so that nothing tries to write.
    reply.statfs(0, 0, 0, files, 0, block, NAME_MAX_BYTES, block);
}

/// An errno of ours in fuser's type.
pub(super) fn errno(errno: RawErrno) -> Errno {
    Errno::from_i32(errno)
}

fn system_time(time: Micros) -> SystemTime {
    let micros = Duration::from_micros(time.0.unsigned_abs());
    let found = match time.0 >= 0 {
        true => SystemTime::UNIX_EPOCH.checked_add(micros),
        false => SystemTime::UNIX_EPOCH.checked_sub(micros),
    };
    found.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Attributes of ours in fuser's type.
pub(super) fn file_attr(attr: &Attr) -> FileAttr {
    let time = system_time(attr.mtime);
    FileAttr {
        ino: INodeNo(attr.ino),
        size: attr.size,
        blocks: attr.blocks,
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: kind(attr.directory),
        perm: attr.mode,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: IO_BYTES,
        flags: 0,
    }
}

/// The kind of a node, as directories list it.
pub(super) fn kind(directory: bool) -> FileType {
    match directory {
        true => FileType::Directory,
        false => FileType::RegularFile,
    }
}

/// How long the kernel may keep these attributes, and the name they were found by.
pub(super) fn attr_ttl(attr: &Attr) -> Duration {
    match attr.settled {
        true => SETTLED_TTL,
        // A size that is out of date would end a reader in the middle: for such a file the kernel asks before it believes in an end.
        false if is_local(attr.ino) => Duration::ZERO,
        false => UNSETTLED_TTL,
    }
}

/// How long anything may be kept of what a directory has, whatever it is. Names in one that was `made` on demand are not taken
/// back.
pub(super) fn longest_ttl(made: bool) -> Duration {
    match made {
        true => UNSETTLED_TTL,
        false => SETTLED_TTL,
    }
}

/// Sends the answer to a lookup, of which nothing may be kept for longer than `longest`.
pub(super) fn reply_lookup(reply: ReplyEntry, found: Result<Attr, RawErrno>, longest: Duration) {
    match found {
        Ok(attr) => {
            // A name stays the same file's: the root keeps its timeline, and a timeline its names.
            let ttl = attr_ttl(&attr).min(longest);
            reply.entry_with_ttls(&ttl, &ttl, &file_attr(&attr), Generation(0));
        }
        // An error is not kept by the kernel: a name that comes later is found at once.
        Err(error) => reply.error(errno(error)),
    }
}

/// Sends the answer to a question about extended attributes.
pub(super) fn reply_xattr(reply: ReplyXattr, answer: Result<Answer, RawErrno>) {
    match answer {
        Ok(Answer::Size(size)) => reply.size(size),
        Ok(Answer::Data(data)) => reply.data(&data),
        Ok(Answer::Absent) => reply.error(Errno::NO_XATTR),
        Ok(Answer::BufferTooSmall) => reply.error(Errno::ERANGE),
        Ok(Answer::TooLong) => reply.error(Errno::E2BIG),
        Err(error) => reply.error(errno(error)),
    }
}

/// Sends the answer to an open.
pub(super) fn reply_open(reply: ReplyOpen, opened: Result<OpenedFile, RawErrno>) {
    match opened {
        Ok(OpenedFile { handle, caching }) => {
            let caching = match caching {
                Caching::Keep => FopenFlags::FOPEN_KEEP_CACHE,
                Caching::Anew => FopenFlags::empty(),
                Caching::Never => FopenFlags::FOPEN_DIRECT_IO,
            };
            reply.opened(FileHandle(handle), caching | FopenFlags::FOPEN_NOFLUSH);
        }
        Err(error) => reply.error(errno(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_attributes_of_archived_segments_are_kept_for_an_hour() {
        let attr = |settled| Attr {
            ino: 10,
            directory: false,
            size: 1,
            blocks: 1,
            mtime: Micros(0),
            mode: 0o440,
            nlink: 1,
            uid: 0,
            gid: 0,
            settled,
        };
        assert_eq!(attr_ttl(&attr(true)), Duration::from_secs(3600));
        assert_eq!(attr_ttl(&attr(false)), Duration::from_secs(1));
    }
}

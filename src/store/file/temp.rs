//! An object that is not complete yet: a file without a name, or with one nobody reads.

use super::root::Root;
use crate::model::{ObjectKey, Sha256};
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Where named temporary files are. The dot keeps it out of every listing: no key component begins with one.
pub(super) const TEMP_DIR: &str = ".tmp";

/// Objects are never written again, which the mode says too; others see nothing of a database's log.
const OBJECT_MODE: Mode = Mode::from_raw_mode(0o440);

/// Digits of the key's hash in the name of a temporary file: the file is found by its key, and its length is fixed.
const KEY_TAG_DIGITS: usize = 32;

/// Digits of the random number after it.
const RANDOM_DIGITS: usize = 16;

/// New names tried when one is taken or swept away under our hands: either is rare, twice in a row is a fault.
const NAME_TRIES_MAX: u32 = 8;

/// How objects that are not complete are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TempFiles {
    /// Without a name (`O_TMPFILE`): a crash leaves nothing.
    Anonymous,
    /// As `.tmp/<hash of the key>-<random>`, for file systems without `O_TMPFILE` (NFS, FUSE). A crash leaves the file;
    /// it goes with the next [`crate::store::Store::delete`] of its key, or the next first write of any process.
    Named,
}

impl TempFiles {
    /// What the file system of `dir` can do, found by trying. Leaves nothing.
    pub(super) fn probe(dir: &OwnedFd) -> TempFiles {
        match anonymous_file(dir) {
            // Without /proc an anonymous file cannot be given its name.
            Ok(file) if rustix::fs::stat(proc_path(&file)).is_ok() => TempFiles::Anonymous,
            Ok(_) => TempFiles::Named,
            // What open(2) says when the file system or the kernel lacks it.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => TempFiles::Named,
            // A fault of the moment, which the write itself will meet and report.
            Err(_) => TempFiles::Anonymous,
        }
    }
}

fn anonymous_file(dir: &OwnedFd) -> Result<File, Errno> {
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    rustix::fs::openat(dir, ".", flags, OBJECT_MODE).map(File::from)
}

fn proc_path(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// A file that becomes an object by [`TempFile::link`] and vanishes when dropped.
pub(super) struct TempFile {
    pub(super) file: File,
    name: Option<TempName>,
}

/// The place of a named temporary file.
struct TempName {
    dir: OwnedFd,
    name: String,
}

impl TempFile {
    /// An empty file on the file system of `target`, the directory its object will be in.
    pub(super) fn create(root: &Root, target: &OwnedFd, key: &ObjectKey) -> io::Result<TempFile> {
        if let Some(TempFiles::Anonymous) = root.temp_files.get() {
            return Ok(TempFile {
                file: anonymous_file(target)?,
                name: None,
            });
        }
        let dir = root.make_dir(TEMP_DIR)?;
        for _ in 0..NAME_TRIES_MAX {
            if let Some(temp) = TempFile::create_named(&dir, key)? {
                return Ok(temp);
            }
        }
        Err(io::Error::other(
            "no temporary file could be made: each name was taken or removed at once",
        ))
    }

    fn create_named(dir: &OwnedFd, key: &ObjectKey) -> io::Result<Option<TempFile>> {
        let random = getrandom::u64().map_err(io::Error::other)?;
        let name = format!("{}-{random:0width$x}", key_tag(key), width = RANDOM_DIGITS);
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(dir, &name, flags, OBJECT_MODE) {
            Ok(fd) => File::from(fd),
            Err(Errno::EXIST) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let temp = TempFile {
            file,
            name: Some(TempName {
                dir: dir.try_clone()?,
                name,
            }),
        };
        // The lock says that the owner lives. A sweeper that got in between has it, or has removed the file already.
        // A file system without locks says so in another way: there nobody can sweep either.
        let locked = rustix::fs::flock(&temp.file, FlockOperation::NonBlockingLockExclusive);
        if locked == Err(Errno::WOULDBLOCK) {
            return Ok(None);
        }
        let removed = rustix::fs::fstat(&temp.file)?.st_nlink == 0;
        Ok((!removed).then_some(temp))
    }

    /// Whether the file has a name besides its temporary one.
    fn is_linked(&self) -> io::Result<bool> {
        let links = rustix::fs::fstat(&self.file)?.st_nlink;
        Ok(match self.name {
            None => links > 0,
            Some(_) => links > 1,
        })
    }

    /// Makes the contents durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::io::retry_on_intr(|| {
            rustix::fs::fdatasync(&self.file)
        })?)
    }

    /// Gives the file the name `leaf` in `target`, iff that name is free. The new entry is not durable yet.
    pub(super) fn link(&self, target: &OwnedFd, leaf: &str) -> io::Result<()> {
        let linked = match &self.name {
            None => {
                let from = proc_path(&self.file);
                rustix::fs::linkat(CWD, from, target, leaf, AtFlags::SYMLINK_FOLLOW)
            }
            Some(temp) => rustix::fs::linkat(&temp.dir, &temp.name, target, leaf, AtFlags::empty()),
        };
        match linked {
            // NFS sends a request again when the reply was lost, and then finds its own link. Only we link this file,
            // so a link it has is ours.
            Err(Errno::EXIST) if self.is_linked()? => Ok(()),
            other => Ok(other?),
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Some(temp) = &self.name {
            // A file that stays is swept later.
            let _ = rustix::fs::unlinkat(&temp.dir, &temp.name, AtFlags::empty());
        }
    }
}

fn key_tag(key: &ObjectKey) -> String {
    let mut digits = Sha256::of(key.as_str().as_bytes()).to_string();
    digits.truncate(KEY_TAG_DIGITS);
    digits
}

fn is_temp_name(name: &str) -> bool {
    let well_formed = name.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    well_formed && name.len() == KEY_TAG_DIGITS + 1 + RANDOM_DIGITS
}

/// Removes what unfinished writes of `key` left, whoever made them.
pub(super) fn remove_of_key(root: &Root, key: &ObjectKey) -> io::Result<()> {
    let tag = key_tag(key);
    for_each(root, |dir, name| {
        if name.starts_with(&tag) {
            match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    })
}

/// Removes the temporary files whose owners are dead: those that nobody has locked.
pub(super) fn sweep(root: &Root) -> io::Result<()> {
    for_each(root, |dir, name| {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::openat(dir, name, flags, Mode::empty()) else {
            return Ok(());
        };
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // Best effort: another sweeper may be faster.
            let _ = rustix::fs::unlinkat(dir, name, AtFlags::empty());
        }
        Ok(())
    })
}

fn for_each(
    root: &Root,
    mut visit: impl FnMut(&OwnedFd, &str) -> io::Result<()>,
) -> io::Result<()> {
    let dir = match root.open_dir(TEMP_DIR) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in rustix::fs::Dir::read_from(&dir)? {
        let entry = entry?;
        if let Ok(name) = entry.file_name().to_str()
            && is_temp_name(name)
        {
            visit(&dir, name)?;
        }
    }
    Ok(())
}

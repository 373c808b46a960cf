//! The directory that holds a file store: how a key becomes a place in it, and nowhere else.

use super::errno::kind_of;
use super::temp::TempFiles;
use crate::model::ObjectKey;
use crate::store::{Error, ErrorKind, Result};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, OnceLock, PoisonError};

/// Directories hold what a database wrote: nothing for others.
const DIR_MODE: Mode = Mode::from_raw_mode(0o750);

/// A stream has four directories. Beyond this many the set starts anew, which costs an fsync each.
const DURABLE_DIRS_MAX: usize = 4096;

/// An open root directory.
pub(super) struct Root {
    path: PathBuf,
    /// Held open: if the file system is unmounted under us, calls fail instead of writing into the bare mount point.
    fd: OwnedFd,
    /// How unfinished objects are kept, found out at the first write: a reader may not write.
    pub(super) temp_files: OnceLock<TempFiles>,
    /// Whether this process has looked for temporary files of dead ones.
    pub(super) swept: Once,
    /// Directories whose entry in their parent this process has made durable.
    durable_dirs: Mutex<HashSet<String>>,
}

/// Directories of `key` without a slash at the end (empty at the root), and its last component.
pub(super) fn split(key: &ObjectKey) -> (&str, &str) {
    key.as_str().rsplit_once('/').unwrap_or(("", key.as_str()))
}

pub(super) fn open_child(dir: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(dir, name, flags, Mode::empty())?)
}

/// Makes the entries of `dir` durable.
pub(super) fn sync_dir(dir: &OwnedFd) -> io::Result<()> {
    Ok(rustix::io::retry_on_intr(|| rustix::fs::fsync(dir))?)
}

impl Root {
    pub(super) fn open(path: PathBuf) -> Result<Root> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, &path, flags, Mode::empty()) {
            Ok(fd) => Ok(Root {
                path,
                fd,
                temp_files: OnceLock::new(),
                swept: Once::new(),
                durable_dirs: Mutex::default(),
            }),
            Err(errno) => {
                let kind = match errno {
                    Errno::NOENT | Errno::NOTDIR => ErrorKind::NoSuchBucket,
                    other => kind_of(&other.into()),
                };
                Err(Error::new(kind, "open", "the root", url_of(&path))
                    .because(io::Error::from(errno)))
            }
        }
    }

    pub(super) fn url(&self) -> String {
        url_of(&self.path)
    }

    /// The error of a failed system call.
    pub(super) fn error(
        &self,
        verb: &'static str,
        key: impl fmt::Display,
        cause: io::Error,
    ) -> Error {
        // What a removed directory answers depends on the file system: ENOENT, EPERM, ESTALE.
        let kind = if self.is_gone() {
            ErrorKind::NoSuchBucket
        } else {
            kind_of(&cause)
        };
        self.error_of(kind, verb, key).because(cause)
    }

    /// An error of a kind we know better than the system does.
    pub(super) fn error_of(
        &self,
        kind: ErrorKind,
        verb: &'static str,
        key: impl fmt::Display,
    ) -> Error {
        Error::new(kind, verb, key, self.url())
    }

    /// Whether the directory was removed while it was held open.
    pub(super) fn is_gone(&self) -> bool {
        rustix::fs::fstat(&self.fd).is_ok_and(|stat| stat.st_nlink == 0)
    }

    /// Opens the directory `path` (relative, without dots; empty is the root). No symbolic link is followed.
    pub(super) fn open_dir(&self, path: &str) -> io::Result<OwnedFd> {
        let mut dir = open_child(&self.fd, ".")?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            dir = open_child(&dir, part)?;
        }
        Ok(dir)
    }

    /// Opens the directory `path`, made with its ancestors if need be. Its place is durable when this returns.
    pub(super) fn make_dir(&self, path: &str) -> io::Result<OwnedFd> {
        let mut dir = open_child(&self.fd, ".")?;
        let mut so_far = String::with_capacity(path.len() + 1);
        for part in path.split('/').filter(|part| !part.is_empty()) {
            so_far.push_str(part);
            let (child, made) = match open_child(&dir, part) {
                Ok(child) => (child, false),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match rustix::fs::mkdirat(&dir, part, DIR_MODE) {
                        Ok(()) | Err(Errno::EXIST) => (open_child(&dir, part)?, true),
                        Err(errno) => return Err(errno.into()),
                    }
                }
                Err(error) => return Err(error),
            };
            // A directory that another process has just made may not be durable either.
            if made || !self.is_durable(&so_far) {
                sync_dir(&dir)?;
                self.mark_durable(&so_far);
            }
            dir = child;
            so_far.push('/');
        }
        Ok(dir)
    }

    fn is_durable(&self, path: &str) -> bool {
        let dirs = self.durable_dirs.lock();
        dirs.unwrap_or_else(PoisonError::into_inner).contains(path)
    }

    fn mark_durable(&self, path: &str) {
        let dirs = self.durable_dirs.lock();
        let mut dirs = dirs.unwrap_or_else(PoisonError::into_inner);
        if dirs.len() >= DURABLE_DIRS_MAX {
            dirs.clear();
        }
        dirs.insert(path.to_owned());
    }

    /// Opens the object `key` for reading, with its size in bytes.
    pub(super) fn open_object(&self, verb: &'static str, key: &ObjectKey) -> Result<(File, u64)> {
        let (dir, leaf) = split(key);
        // O_NONBLOCK: a FIFO that someone put here must not hold us.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = self.open_dir(dir).and_then(|dir| {
            let fd = rustix::fs::openat(&dir, leaf, flags, Mode::empty())?;
            let stat = rustix::fs::fstat(&fd)?;
            Ok((fd, stat))
        });
        match opened {
            Ok((fd, stat)) if FileType::from_raw_mode(stat.st_mode).is_file() => {
                Ok((File::from(fd), u64::try_from(stat.st_size).unwrap_or(0)))
            }
            Ok(_) => Err(self.error_of(ErrorKind::NotFound, verb, key)),
            Err(error) => Err(self.absent(verb, key, error)),
        }
    }

    /// Like [`Root::error`], for a verb to which a component that is no directory means that no such object exists.
    pub(super) fn absent(&self, verb: &'static str, key: &ObjectKey, cause: io::Error) -> Error {
        if cause.kind() != io::ErrorKind::NotADirectory {
            return self.error(verb, key, cause);
        }
        // With O_DIRECTORY a symbolic link is "not a directory" too. That one must be heard of: its objects may exist.
        if self.has_symlink(split(key).0) {
            return self.symlink_error(verb, key);
        }
        self.error_of(ErrorKind::NotFound, verb, key)
    }

    pub(super) fn symlink_error(&self, verb: &'static str, key: impl fmt::Display) -> Error {
        self.error_of(ErrorKind::Denied, verb, key)
            .because("a directory on its way is a symbolic link, and those are not followed; mount or bind it there")
    }

    /// Whether a component of the directory `path` is a symbolic link.
    pub(super) fn has_symlink(&self, path: &str) -> bool {
        let ends = path.match_indices('/').map(|(at, _)| at);
        ends.chain([path.len()]).any(|end| {
            let part = self.path.join(&path[..end]);
            end > 0 && part.symlink_metadata().is_ok_and(|meta| meta.is_symlink())
        })
    }
}

fn url_of(path: &Path) -> String {
    format!("file://{}", path.display())
}

/// Makes `path` and its missing ancestors, each durable in its parent.
pub(super) fn create_dir_all(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut missing: Vec<&Path> = path
        .ancestors()
        .take_while(|part| !part.as_os_str().is_empty() && !part.exists())
        .collect();
    missing.reverse();
    for part in missing {
        match std::fs::DirBuilder::new()
            .mode(DIR_MODE.bits())
            .create(part)
        {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        if let Some(parent) = part.parent() {
            let parent = if parent.as_os_str().is_empty() {
                Path::new(".")
            } else {
                parent
            };
            File::open(parent)?.sync_all()?;
        }
    }
    Ok(())
}

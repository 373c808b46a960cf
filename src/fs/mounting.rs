//! The mount itself: made, found again and taken away by our own system calls.
//!
//! fuser's own way unmounts by path when a session ends, and so takes away whatever is mounted there by then. Here nothing is
//! unmounted but a mount whose id is ours and on which nothing else is mounted.

use super::fusermount;
use super::mountinfo::{self, Mount};
use crate::mount_id::MountId;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How mountinfo and mount(8) know our file systems.
pub const FS_TYPE: &str = "fuse.binlogfs";
/// Largest read that one request asks for: the kernel's own limit (`fs.fuse.max_pages_limit`, 256 pages).
pub(super) const MAX_READ_BYTES: u32 = 1 << 20;
/// Where the control file system is mounted, if it is.
const CONTROL: &str = "/sys/fs/fuse/connections";

/// What mounting needs to know.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// The directory.
    pub target: PathBuf,
    /// What df(1) and mountinfo call it: the stream's URL.
    pub source: String,
    /// Whether other users may come in, as far as modes allow.
    pub allow_other: bool,
    /// Whether the kernel executes no file of it, whatever modes say.
    pub noexec: bool,
}

/// A mount that cannot be made or taken away.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The directory cannot be used.
    #[error("cannot mount on {}: {reason}", target.display())]
    Target {
        /// The directory.
        target: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// This user, or this container, may not.
    #[error("not permitted to mount on {}: {reason}", target.display())]
    NotPermitted {
        /// The directory.
        target: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// A system call failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// How it failed.
        source: io::Error,
    },
    /// Something else is mounted over ours.
    #[error(
        "something else is mounted on {}: it was left alone, and so was the binlogfs mount under it, whose reads fail from now \
         on; unmount both with umount(8), the upper one first", target.display()
    )]
    Covered {
        /// The directory.
        target: PathBuf,
    },
    /// The stream cannot be shown.
    #[error("cannot mount {url}: {reason}")]
    Stream {
        /// The stream.
        url: String,
        /// Why not.
        reason: String,
    },
}

impl MountError {
    pub(super) fn system(what: impl Into<String>, source: impl Into<io::Error>) -> MountError {
        MountError::System {
            what: what.into(),
            source: source.into(),
        }
    }
}

/// A mount of ours.
#[derive(Clone, Debug)]
pub struct MountPoint {
    target: PathBuf,
    id: u64,
    minor: u32,
    /// What tells it from a later mount with the same two numbers, which the kernel gives to the next mount of anybody.
    known_as: Option<MountId>,
    /// The kernel's file that cuts the connection, open since the connection was made. By its name it is found by the minor
    /// number, which the kernel gives to the next mount of anybody as soon as ours is gone; what is open stays ours.
    abort: Result<Arc<OwnedFd>, Errno>,
}

/// How [`MountPoint::detach`] found the mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detached {
    /// It was there and is not any more.
    Now,
    /// Somebody else had unmounted it.
    Before,
}

/// Checks that `target` can be mounted on, and gives it as an absolute path without links.
///
/// # Errors
/// [`MountError::Target`].
pub fn check_target(target: &Path) -> Result<PathBuf, MountError> {
    let refuse = |reason: String| MountError::Target {
        target: target.to_owned(),
        reason,
    };
    // The table first: a dead mount must not be touched, stat(2) on it hangs or fails.
    let absolute = std::path::absolute(target).map_err(|e| refuse(e.to_string()))?;
    let resolved = match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) => parent
            .canonicalize()
            .map_err(|e| refuse(format!("{e}; create the directory first")))?
            .join(name),
        _ => absolute,
    };
    refuse_if_mounted(target, &resolved)?;
    let resolved = resolved.canonicalize().map_err(|e| match e.kind() {
        io::ErrorKind::NotConnected => refuse(format!(
            "the mount that is there is dead; run 'umount -l {}' first",
            resolved.display()
        )),
        _ => refuse(format!("{e}; create the directory first")),
    })?;
    refuse_if_mounted(target, &resolved)?;
    match resolved.metadata() {
        Ok(meta) if meta.is_dir() => Ok(resolved),
        Ok(_) => Err(refuse("it is not a directory".to_owned())),
        Err(error) => Err(refuse(error.to_string())),
    }
}

fn refuse_if_mounted(target: &Path, resolved: &Path) -> Result<(), MountError> {
    match mountinfo::at(&mounts()?, resolved) {
        Some(mount) if mount.fs_type == FS_TYPE => Err(MountError::Target {
            target: target.to_owned(),
            reason: format!(
                "{} is mounted there already; run 'umount {1}' first, or 'umount -l {1}' if its process is dead",
                mount.source.to_string_lossy(),
                resolved.display()
            ),
        }),
        _ => Ok(()),
    }
}

/// The ids of our mounts at `target`, and of no others: an id that is free is given to the next mount of anybody.
fn ids_at(mounts: &[Mount], target: &Path) -> Vec<u64> {
    ours_at(mounts, target).map(|mount| mount.id).collect()
}

/// Our mount at `target` that was not there `before`.
fn new_at(mounts: &[Mount], target: &Path, before: &[u64]) -> Option<Mount> {
    let mut new = ours_at(mounts, target).filter(|mount| !before.contains(&mount.id));
    new.next_back().cloned()
}

fn ours_at<'a>(
    mounts: &'a [Mount],
    target: &'a Path,
) -> impl DoubleEndedIterator<Item = &'a Mount> {
    let is_ours = move |mount: &&Mount| mount.mount_point == target && mount.fs_type == FS_TYPE;
    mounts.iter().filter(is_ours)
}

fn mounts() -> Result<Vec<Mount>, MountError> {
    let table = std::fs::read(mountinfo::PATH)
        .map_err(|e| MountError::system(format!("cannot read {}", mountinfo::PATH), e))?;
    Ok(mountinfo::parse(&table))
}

impl MountPoint {
    /// Mounts on `options.target`, which [`check_target`] gave, and returns the FUSE device to serve it from.
    ///
    /// # Errors
    /// [`MountError::NotPermitted`]; [`MountError::System`].
    pub fn mount(options: &MountOptions) -> Result<(MountPoint, OwnedFd), MountError> {
        let before = ids_at(&mounts()?, &options.target);
        let device = match rustix::process::geteuid().is_root() {
            true => mount_as_root(options)?,
            false => fusermount::mount(options)?,
        };
        let vanished = || {
            MountError::system(
                format!("cannot mount on {}", options.target.display()),
                io::Error::other("it vanished at once: see whether another process unmounts it"),
            )
        };
        let mount = new_at(&mounts()?, &options.target, &before).ok_or_else(vanished)?;
        let known_as = MountId::at(&options.target).ok();
        let mut point = MountPoint {
            target: options.target.clone(),
            id: mount.id,
            minor: mount.minor,
            known_as: None,
            abort: open_abort(mount.minor).map(Arc::new),
        };
        // Still there, so what was opened by its number is its own; and uppermost, so is the id of what was found at its path.
        let after = mounts()?;
        if !point.is_there(&after) {
            return Err(vanished());
        }
        point.known_as = known_as.filter(|_| point.is_uppermost(&after));
        Ok((point, device))
    }

    fn is_there(&self, mounts: &[Mount]) -> bool {
        let is_listed = mounts
            .iter()
            .any(|mount| mount.id == self.id && mount.minor == self.minor);
        // What may cover it is not touched: a file system that hangs, perhaps.
        is_listed && (!self.is_uppermost(mounts) || self.is_known())
    }

    fn is_uppermost(&self, mounts: &[Mount]) -> bool {
        mountinfo::at(mounts, &self.target).is_some_and(|top| top.id == self.id)
    }

    /// Whether what is mounted at its path is this mount, as far as the kernel tells.
    fn is_known(&self) -> bool {
        match (self.known_as, MountId::at(&self.target)) {
            (Some(known), Ok(found)) => found == known,
            _ => true,
        }
    }

    /// Where it is.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// Minor number of its device; the major is 0.
    pub fn minor(&self) -> u32 {
        self.minor
    }

    /// Takes the mount away from the tree, also while files are open in it; they stay open until [`MountPoint::abort`].
    ///
    /// Between the look into the table and the system call another process could mount over ours: a moment nobody can close.
    ///
    /// # Errors
    /// [`MountError::Covered`], and nothing is unmounted; [`MountError::System`].
    pub fn detach(&self) -> Result<Detached, MountError> {
        let mounts = mounts()?;
        if !self.is_there(&mounts) {
            return Ok(Detached::Before);
        }
        if !self.is_uppermost(&mounts) || mountinfo::is_covered(&mounts, self.id) {
            return Err(MountError::Covered {
                target: self.target.clone(),
            });
        }
        if !rustix::process::geteuid().is_root() {
            return fusermount::unmount(&self.target).map(|()| Detached::Now);
        }
        let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        match rustix::mount::unmount(&self.target, flags) {
            Ok(()) => Ok(Detached::Now),
            // Somebody else was faster.
            Err(Errno::INVAL | Errno::NOENT) => Ok(Detached::Before),
            Err(error) => Err(MountError::system(
                format!("cannot unmount {}", self.target.display()),
                error,
            )),
        }
    }

    /// Whether the mount is there and its connection is cut. Looks at it, which asks nobody then.
    ///
    /// # Errors
    /// [`MountError::System`] when the table of mounts cannot be read.
    pub fn is_dead(&self) -> Result<bool, MountError> {
        if !self.is_there(&mounts()?) {
            return Ok(false);
        }
        let looked = rustix::fs::statvfs(&self.target);
        Ok(matches!(looked, Err(Errno::NOTCONN | Errno::CONNABORTED)))
    }

    /// Cuts the kernel's connection: whatever is still open in it fails with ENOTCONN, and the session ends. Nothing happens
    /// if the connection is gone already.
    ///
    /// # Errors
    /// As the system calls have them that open and write the kernel's control file; NotFound where its file system (fusectl)
    /// is mounted nowhere and this user may not mount it.
    pub fn abort(&self) -> io::Result<()> {
        let abort = self.abort.as_ref().map_err(|error| *error)?;
        rustix::io::write(abort, b"1")?;
        Ok(())
    }
}

/// The file of the kernel's control file system that cuts the connection of `minor`. For root it need not be mounted anywhere.
fn open_abort(minor: u32) -> Result<OwnedFd, Errno> {
    let control = match rustix::process::geteuid().is_root() {
        true => private_control()?,
        // Where it is mounted it lets the owner of a connection do this.
        false => rustix::fs::open(CONTROL, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?,
    };
    rustix::fs::openat(
        &control,
        format!("{minor}/abort"),
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn private_control() -> Result<OwnedFd, Errno> {
    let context = rustix::mount::fsopen("fusectl", FsOpenFlags::FSOPEN_CLOEXEC)?;
    rustix::mount::fsconfig_create(&context)?;
    let control = rustix::mount::fsmount(
        &context,
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )?;
    Ok(control)
}

fn mount_as_root(options: &MountOptions) -> Result<OwnedFd, MountError> {
    let device = rustix::fs::open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| match error {
            Errno::PERM | Errno::ACCESS => not_permitted(options),
            _ => MountError::system(
                "cannot open /dev/fuse (on a host: modprobe fuse; in a container: --device /dev/fuse)",
                error,
            ),
        })?;
    let mut data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions,max_read={MAX_READ_BYTES}",
        device.as_raw_fd(),
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    if options.allow_other {
        data.push_str(",allow_other");
    }
    let data = CString::new(data).expect("digits and words have no NUL");
    let mut flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    flags.set(MountFlags::NOEXEC, options.noexec);
    rustix::mount::mount(
        options.source.as_str(),
        &options.target,
        FS_TYPE,
        flags,
        data.as_c_str(),
    )
    .map_err(|error| match error {
        Errno::PERM | Errno::ACCESS => not_permitted(options),
        _ => {
            let what = format!("cannot mount on {}", options.target.display());
            MountError::system(what, error)
        }
    })?;
    Ok(device)
}

/// Root of a container is root, and may mount nothing.
fn not_permitted(options: &MountOptions) -> MountError {
    MountError::NotPermitted {
        target: options.target.clone(),
        reason: "the kernel refuses it to this root; give the container --cap-add SYS_ADMIN and --device /dev/fuse (and, with \
                 AppArmor, --security-opt apparmor=unconfined)"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests;

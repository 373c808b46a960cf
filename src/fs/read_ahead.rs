//! The kernel's own read-ahead of a mount: raised where that is allowed, and told as it is.
//!
//! FUSE cannot ask for more than 128 KiB when it shakes hands; what is written to the mount's entry in sysfs counts.

use super::mountinfo;
use std::io;
use std::path::Path;

/// What we ask for. The default of 128 KiB halves the speed of cold reads, since one request then asks for an eighth of what it
/// could.
pub const WANTED_KIB: u32 = 1024;

fn setting(minor: u32) -> String {
    format!("/sys/class/bdi/0:{minor}/read_ahead_kb")
}

/// Raises the read-ahead of the mount on device 0:`minor` to [`WANTED_KIB`]. Tells what it is then.
///
/// # Errors
/// When it cannot be written: who is not root, or in a container whose sysfs is read-only. Nothing depends on it but speed.
pub fn raise(minor: u32) -> io::Result<u32> {
    std::fs::write(setting(minor), WANTED_KIB.to_string())?;
    effective_kib(minor)
}

/// The read-ahead of the mount on device 0:`minor`, in KiB.
///
/// # Errors
/// When sysfs does not know it.
pub fn effective_kib(minor: u32) -> io::Result<u32> {
    let text = std::fs::read_to_string(setting(minor))?;
    text.trim().parse().map_err(io::Error::other)
}

/// The read-ahead of the mount at `target`, in KiB. Does not touch the mount, which may be dead.
///
/// # Errors
/// NotFound when nothing is mounted there; as [`effective_kib`].
pub fn of_mount(target: &Path) -> io::Result<u32> {
    let mounts = mountinfo::parse(&std::fs::read(mountinfo::PATH)?);
    let mount = mountinfo::at(&mounts, target).ok_or(io::ErrorKind::NotFound)?;
    effective_kib(mount.minor)
}

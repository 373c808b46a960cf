//! Which mount a file is in, by a number that no later mount has, where the kernel can tell it (statx(2)).

use rustix::fs::{AtFlags, CWD, Statx, StatxFlags, statx};
use std::os::fd::AsFd;
use std::path::Path;

/// `STATX_MNT_ID_UNIQUE` of Linux 6.8. Older kernels ignore it.
const UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// The id of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MountId {
    /// Its number; 0 where the kernel tells none (before Linux 5.8).
    pub(crate) number: u64,
    /// Whether no later mount has it until the machine starts again. If not, it is the number that mountinfo has, which is given
    /// to another mount as soon as this one is gone.
    pub(crate) is_unique: bool,
}

impl MountId {
    /// Of the mount that an open file is in.
    ///
    /// # Errors
    /// As statx(2).
    pub(crate) fn of_file(file: impl AsFd) -> rustix::io::Result<MountId> {
        let found = statx(file, "", AtFlags::EMPTY_PATH, wanted())?;
        Ok(MountId::told(&found))
    }

    /// Of what is mounted at `path`, uppermost. A FUSE file system is not asked for it, so that whoever serves it may ask, too.
    ///
    /// # Errors
    /// As statx(2).
    pub(crate) fn at(path: &Path) -> rustix::io::Result<MountId> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
        let found = statx(CWD, path, flags, wanted())?;
        Ok(MountId::told(&found))
    }

    fn told(found: &Statx) -> MountId {
        MountId {
            number: found.stx_mnt_id,
            is_unique: found.stx_mask & UNIQUE.bits() != 0,
        }
    }
}

fn wanted() -> StatxFlags {
    StatxFlags::MNT_ID | UNIQUE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_in_the_mount_that_is_at_its_path() {
        let root = std::fs::File::open("/").expect("opens");
        let by_file = MountId::of_file(&root).expect("told");
        assert_eq!(MountId::at(Path::new("/")).expect("told"), by_file);
        let proc = MountId::at(Path::new("/proc")).expect("told");
        assert_ne!(proc, by_file);
    }
}

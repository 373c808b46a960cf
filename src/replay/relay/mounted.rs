//! The mount that the target reads from: a process of its own, so that a killed recovery does not cut the target off in the middle.

use super::{Mounting, RelayError, host};
use crate::fs::mountinfo;
use crate::model::counted::count;
use crate::recover::{Leg, Plan};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The file system's type in the table of mounts.
const FS_TYPE: &str = "fuse.binlogfs";

/// A mount, and the directory that was made for it.
pub(super) struct Mounted {
    dir: PathBuf,
}

impl Mounted {
    /// Mounts on a new directory.
    pub(super) fn mount(mounting: Mounting<'_>, owner: Option<u32>) -> Result<Mounted, RelayError> {
        let base = mounting.base.unwrap_or(host::mount_base());
        let failed = |reason: String| RelayError::Mount { reason };
        // As the kernel will tell it: links are followed here, or the mount would not be found again.
        let base = make(base)
            .and_then(|()| base.canonicalize())
            .map_err(|error| failed(format!("{}: {error}", base.display())))?;
        if is_odd(&base) {
            return Err(failed(format!(
                "{} cannot be written into a statement; choose another --mount-dir",
                base.display()
            )));
        }
        let dir = base.join(format!("recover-{}", uuid::Uuid::new_v4().simple()));
        std::fs::create_dir(&dir).map_err(|error| failed(format!("{}: {error}", dir.display())))?;
        let output = (mounting.command)(&dir, owner)
            .stdin(Stdio::null())
            .output();
        let mounted = Mounted { dir };
        let reason = match output {
            Ok(output) if output.status.success() => return Ok(mounted),
            Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        take_away(&mounted.dir);
        Err(failed(reason))
    }

    /// The files of `legs`, in replay order, as the server is to read them.
    pub(super) fn files(&self, plan: &Plan, legs: &[Leg]) -> Result<Vec<PathBuf>, RelayError> {
        let order: HashMap<&str, usize> = plan
            .segments
            .iter()
            .enumerate()
            .map(|(place, piece)| (piece.file, place))
            .collect();
        let root = match plan.is_root {
            true => self.dir.clone(),
            false => self
                .dir
                .join(format!(".timeline/{}", plan.question.timeline)),
        };
        let mut files = Vec::new();
        let mut shown = HashSet::new();
        for leg in legs {
            let dir = root.join(leg.directory());
            let failed = |error: std::io::Error| RelayError::Mount {
                reason: format!("{} cannot be listed: {error}", dir.display()),
            };
            let mut here = Vec::new();
            for entry in std::fs::read_dir(&dir).map_err(failed)? {
                let path = entry.map_err(failed)?.path();
                if is_odd(&path) {
                    let why =
                        "a name in it cannot be written into a statement; --engine pipe works";
                    return Err(failed(std::io::Error::other(why)));
                }
                let name = path.file_name().and_then(|name| name.to_str());
                let place = name.and_then(|name| order.get(name)).ok_or_else(|| {
                    failed(std::io::Error::other(
                        "it has a file that is not in the plan",
                    ))
                })?;
                here.push((*place, path));
            }
            here.sort();
            shown.extend(here.iter().map(|(place, _)| *place));
            files.extend(here.into_iter().map(|(_, path)| path));
        }
        // An applier would go on over what is missing.
        match legs.is_empty() || shown.len() == order.len() {
            true => Ok(files),
            false => Err(RelayError::Mount {
                reason: format!(
                    "it has {} of the plan's {}; what is archived has changed meanwhile: run the same command again",
                    shown.len(),
                    count(order.len() as u64, "file")
                ),
            }),
        }
    }

    /// Whether the process `pid` sees it: a service may have mounts of its own.
    pub(super) fn is_seen_by(&self, pid: u32) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        let theirs = Path::new("/proc")
            .join(pid.to_string())
            .join("root")
            .join(self.dir.strip_prefix("/").unwrap_or(&self.dir));
        match (std::fs::metadata(&self.dir), std::fs::metadata(theirs)) {
            (Ok(ours), Ok(theirs)) => ours.dev() == theirs.dev(),
            // Whoever may not look into another process learns it from the server.
            _ => true,
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        take_away(&self.dir);
    }
}

/// Whether it cannot be written between quotes.
fn is_odd(path: &Path) -> bool {
    let has_odd = |text: &str| text.contains(['\'', '\\', '\n']);
    path.to_str().is_none_or(has_odd)
}

/// Makes the directory that mounts are made in, if it is not there: mysqld must get through it, whatever our umask is.
fn make(base: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if base.exists() {
        return Ok(());
    }
    std::fs::create_dir_all(base)?;
    std::fs::set_permissions(base, std::fs::Permissions::from_mode(0o755))
}

/// Unmounts and removes a directory that a recovery had made. Nothing else is ever unmounted.
pub(super) fn take_away(dir: &Path) {
    let table = std::fs::read(mountinfo::PATH).unwrap_or_default();
    let mounts = mountinfo::parse(&table);
    if mountinfo::at(&mounts, dir).is_some_and(|mount| mount.fs_type == FS_TYPE) {
        let unmounted = match rustix::process::geteuid().is_root() {
            true => rustix::mount::unmount(
                dir,
                rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW,
            )
            .map_err(std::io::Error::from),
            false => Command::new("fusermount3")
                .args(["-u", "-z", "--"])
                .arg(dir)
                .status()
                .and_then(|status| match status.success() {
                    true => Ok(()),
                    false => Err(std::io::Error::other(format!(
                        "fusermount3 ended with {status}"
                    ))),
                }),
        };
        if let Err(error) = unmounted {
            tracing::warn!(dir = %dir.display(), %error, "the mount of the recovery is left: unmount it");
            return;
        }
    }
    // The base is removed too when it is empty and ours.
    let _ = std::fs::remove_dir(dir);
    if dir.parent() == Some(host::mount_base()) {
        let _ = std::fs::remove_dir(host::mount_base());
    }
}

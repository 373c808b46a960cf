//! What this host offers a mount: kernel, `/dev/fuse`, helpers, who may use them.

use super::{Check, Level};
use std::path::{Path, PathBuf};

/// First kernel that the mount's own system calls need: fsopen(2), fsmount(2), fsconfig(2).
const KERNEL_MIN: (u32, u32) = (5, 2);
/// Pages of one FUSE request by default; an administrator can lower it (Linux 6.13 and later).
const MAX_PAGES: u64 = 256;

/// What the checks look at.
struct Host {
    release: String,
    root: bool,
    fuse_device: std::io::Result<()>,
    fusermount: Option<PathBuf>,
    mount_helper: Option<PathBuf>,
    allow_other: bool,
    max_pages: Option<u64>,
}

/// Looks at this host.
pub fn host() -> Vec<Check> {
    Host::look().judge()
}

impl Host {
    fn look() -> Host {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        let device = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse");
        Host {
            release: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            root: rustix::process::geteuid().is_root(),
            fuse_device: device.map(|_| ()),
            fusermount: program("fusermount3"),
            // Where mount(8) looks for helpers, whatever PATH is.
            mount_helper: first(&["/sbin/mount.binlogfs", "/usr/sbin/mount.binlogfs"]),
            allow_other: read("/etc/fuse.conf")
                .is_some_and(|text| text.lines().any(|line| line.trim() == "user_allow_other")),
            max_pages: read("/proc/sys/fs/fuse/max_pages_limit")
                .and_then(|text| text.trim().parse().ok()),
        }
    }

    fn judge(&self) -> Vec<Check> {
        let mut checks = vec![self.kernel(), self.device()];
        checks.extend(self.max_pages.map(pages));
        checks.push(self.who());
        checks.push(match &self.mount_helper {
            Some(path) => Check::ok("mount helper", path.display().to_string()),
            None => Check::bad(
                Level::Note,
                "mount helper",
                "mount.binlogfs is not in /sbin: mount(8) and fstab do not know the type binlogfs",
                "ln -s \"$(command -v binlogfs)\" /sbin/mount.binlogfs",
            ),
        });
        checks
    }

    fn kernel(&self) -> Check {
        let release = &self.release;
        match version(release) {
            None => Check::bad(
                Level::Note,
                "kernel",
                format!("{release}: its version cannot be read"),
                "",
            ),
            Some(version) if version < KERNEL_MIN => Check::bad(
                Level::Failure,
                "kernel",
                format!("{release}: older than 5.2, whose mount calls binlogfs uses"),
                "mount on another host; 'binlogfs cat' needs no kernel support",
            ),
            Some(_) => Check::ok("kernel", format!("Linux {release}")),
        }
    }

    fn device(&self) -> Check {
        let name = "/dev/fuse";
        match &self.fuse_device {
            Ok(()) => Check::ok(name, "can be opened"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Check::bad(
                Level::Failure,
                name,
                "is not there",
                "modprobe fuse; in a container, give it the device: --device /dev/fuse --cap-add SYS_ADMIN",
            ),
            Err(error) => Check::bad(
                Level::Failure,
                name,
                format!("cannot be opened: {error}"),
                "chmod 0666 /dev/fuse, or mount as root; in a container, allow the device 10:229",
            ),
        }
    }

    /// Who mounts, and what that needs.
    fn who(&self) -> Check {
        let name = "user";
        match (self.root, &self.fusermount) {
            (true, _) => Check::ok(name, "root: mounts by itself, and raises the read-ahead"),
            (false, None) => Check::bad(
                Level::Failure,
                name,
                "not root, and fusermount3 is not installed",
                "install the package fuse3, or mount as root",
            ),
            (false, Some(path)) if !self.allow_other => Check::bad(
                Level::Note,
                name,
                format!(
                    "not root: mounts through {}; others cannot be let in (allow_other)",
                    path.display()
                ),
                "put user_allow_other into /etc/fuse.conf if other users must read the mount; as root cold reads are faster too, \
                 because the read-ahead can be raised",
            ),
            (false, Some(path)) => {
                Check::ok(name, format!("not root: mounts through {}", path.display()))
            }
        }
    }
}

fn pages(limit: u64) -> Check {
    let found = format!("one request reads up to {} KiB", limit * 4);
    if limit >= MAX_PAGES {
        return Check::ok("request size", found);
    }
    Check::bad(
        Level::Note,
        "request size",
        found,
        format!("sysctl fs.fuse.max_pages_limit={MAX_PAGES} makes cold reads faster"),
    )
}

/// `6.18` of `6.18.3-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

fn first(paths: &[&str]) -> Option<PathBuf> {
    let mut paths = paths.iter().map(Path::new);
    paths.find(|path| path.exists()).map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn good() -> Host {
        Host {
            release: "6.18.3-amd64".to_owned(),
            root: true,
            fuse_device: Ok(()),
            fusermount: None,
            mount_helper: Some("/sbin/mount.binlogfs".into()),
            allow_other: false,
            max_pages: Some(256),
        }
    }

    fn level(host: &Host, name: &str) -> Level {
        let checks = host.judge();
        let check = checks.iter().find(|check| check.name == name);
        check.expect("it is looked at").level
    }

    #[test]
    fn a_host_with_all_it_takes_has_no_advice() {
        let checks = good().judge();
        let quiet = |check: &Check| check.level == Level::Ok && check.advice.is_empty();
        assert!(checks.iter().all(quiet), "{checks:?}");
    }

    #[test]
    fn what_is_missing_is_named_and_how_to_get_it() {
        let old = Host {
            release: "4.19.0-26-amd64".to_owned(),
            ..good()
        };
        assert_eq!(level(&old, "kernel"), Level::Failure);
        let strange = Host {
            release: "unknown".to_owned(),
            ..good()
        };
        assert_eq!(level(&strange, "kernel"), Level::Note);
        for kind in [io::ErrorKind::NotFound, io::ErrorKind::PermissionDenied] {
            let host = Host {
                fuse_device: Err(kind.into()),
                ..good()
            };
            assert_eq!(level(&host, "/dev/fuse"), Level::Failure);
        }
        let user = Host {
            root: false,
            ..good()
        };
        assert_eq!(level(&user, "user"), Level::Failure);
        let helped = Host {
            root: false,
            fusermount: Some("/usr/bin/fusermount3".into()),
            ..good()
        };
        assert_eq!(level(&helped, "user"), Level::Note);
        let small = Host {
            max_pages: Some(32),
            mount_helper: None,
            ..good()
        };
        let checks = small.judge();
        let worse = checks.iter().filter(|check| check.level > Level::Ok);
        assert!(worse.clone().all(|check| !check.advice.is_empty()));
        assert_eq!(worse.count(), 2);
    }
}

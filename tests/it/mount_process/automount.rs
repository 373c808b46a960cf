//! A mount in the place that an automounter watches.

use super::foreground::mounts_at;
use super::{archived, truth};
use crate::tools;
use rustix::mount::{MountFlags, UnmountFlags};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What systemd is for `x-systemd.automount`: whoever enters the directory waits until it is mounted.
struct Automount {
    dir: PathBuf,
    root: OwnedFd,
    packets: File,
}

/// `AUTOFS_IOC_READY` of linux/auto_fs.h.
const AUTOFS_READY: libc::c_ulong = 0x9360;

impl Automount {
    fn on(dir: &Path) -> Automount {
        let (packets, kernels) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let group = rustix::process::getpgrp();
        let data = format!(
            "fd={},pgrp={group},minproto=5,maxproto=5,direct",
            kernels.as_raw_fd()
        );
        let data = std::ffi::CString::new(data).expect("no NUL");
        let flags = MountFlags::empty();
        rustix::mount::mount("test", dir, "autofs", flags, data.as_c_str()).expect("mounts autofs");
        Automount {
            dir: dir.to_owned(),
            root: File::open(dir).expect("the daemon may").into(),
            packets: packets.into(),
        }
    }

    /// Waits until somebody wants in; the token that lets them.
    fn wanted(&mut self) -> u32 {
        let mut packet = [0; 512];
        let len = self.packets.read(&mut packet).expect("a packet");
        assert!(len > 12, "{len} bytes");
        u32::from_ne_bytes(packet[8..12].try_into().expect("four bytes"))
    }

    #[expect(
        unsafe_code,
        reason = "no safe wrapper has this ioctl; its argument is a number"
    )]
    fn let_in(&self, token: u32) {
        let done = unsafe {
            libc::ioctl(
                self.root.as_raw_fd(),
                AUTOFS_READY,
                libc::c_ulong::from(token),
            )
        };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
    }
}

impl Drop for Automount {
    fn drop(&mut self) {
        for _ in mounts_at(&self.dir) {
            let _ = rustix::mount::unmount(&self.dir, UnmountFlags::DETACH);
        }
    }
}

#[test]
fn an_automount_is_mounted_over_for_whoever_enters_it() {
    let (archive, server) = archived();
    let dir = archive.path("mnt").canonicalize().expect("there");
    let mut automount = Automount::on(&dir);
    for _ in 0..2 {
        let mut visitor = Command::new("cat")
            .arg(dir.join("binlog.000001"))
            // Who is in the group of the automounter is let through.
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let token = automount.wanted();
        let output = archive.output(&["mount", &archive.url(), dir.to_str().expect("text")]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        automount.let_in(token);
        let mut read = Vec::new();
        let stdout = visitor.stdout.as_mut().expect("piped");
        stdout.read_to_end(&mut read).expect("reads");
        assert!(visitor.wait().expect("is our child").success());
        assert!(read == truth(&server));
        let types: Vec<_> = mounts_at(&dir).into_iter().map(|m| m.fs_type).collect();
        assert_eq!(types, ["autofs", "fuse.binlogfs"]);
        tools::run(Command::new("umount").arg(&dir));
    }
}

//! The process of a mount that stays in the foreground.

use crate::archive::Archive;
use crate::tools::eventually;
use binlogfs::fs::mountinfo::{self, Mount};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What is mounted on `path`, the uppermost last.
pub fn mounts_at(path: &Path) -> Vec<Mount> {
    let mut mounts = mountinfo::parse(&fs::read(mountinfo::PATH).expect("reads"));
    mounts.retain(|mount| mount.mount_point == path);
    mounts
}

/// A mount in the foreground; dropped, it is killed and unmounted.
pub struct Foreground {
    pub process: Child,
    pub dir: PathBuf,
}

impl Foreground {
    /// Mounts `url` on the archive's directory, and waits until it is there.
    pub fn start(archive: &Archive, url: &str, options: &[&str]) -> Foreground {
        Foreground::spawn(archive, url, options, |_| {})
    }

    /// The same with its command changed.
    pub fn spawn(
        archive: &Archive,
        url: &str,
        options: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Foreground {
        let dir = archive.path("mnt");
        let mount = dir.to_str().expect("text");
        let mut command = archive.command(&["mount", "--foreground", url, mount]);
        command.args(options).stderr(Stdio::piped());
        change(&mut command);
        let process = command.spawn().expect("starts");
        let mounted = Foreground { process, dir };
        eventually("it is mounted", || !mounts_at(&mounted.dir).is_empty());
        mounted
    }

    /// Its first file.
    pub fn file(&self) -> PathBuf {
        self.dir.join("binlog.000001")
    }

    /// Sends its process a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).expect("sends");
    }

    /// How it ended, and what it said.
    pub fn end(&mut self) -> (Option<i32>, String) {
        let status = self.process.wait().expect("is our child");
        let mut said = String::new();
        let stderr = self.process.stderr.as_mut().expect("piped");
        stderr.read_to_string(&mut said).expect("text");
        (status.code(), said)
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        for _ in mounts_at(&self.dir) {
            let _ = rustix::mount::unmount(&self.dir, UnmountFlags::DETACH);
        }
    }
}

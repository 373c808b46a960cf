//! A host whose /etc/fstab has a line for a mount.

use super::archived;
use crate::archive::Archive;
use crate::namespace::Namespace;
use crate::s3;
use crate::tools;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A namespace with an archive and a directory to mount on.
pub struct Host {
    pub namespace: Namespace,
    pub archive: Archive,
    pub truth: Vec<u8>,
}

/// Exit code and everything that was said.
#[derive(Debug, PartialEq, Eq)]
pub struct Ended(pub Option<i32>, pub String);

impl Ended {
    #[track_caller]
    pub fn is(&self, code: i32, part: &str) {
        assert_eq!(self.0, Some(code), "{}", self.1);
        assert!(self.1.contains(part), "{:?} lacks {part:?}", self.1);
    }
}

pub fn ended(command: &mut Command) -> Ended {
    let output = tools::output(command.stdin(Stdio::null()));
    let text = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    Ended(output.status.code(), text)
}

impl Host {
    pub fn new() -> Host {
        Host::with(Archive::encrypted())
    }

    pub fn with(archive: Archive) -> Host {
        let truth = archived(&archive);
        let host = Host {
            namespace: Namespace::new(),
            archive,
            truth,
        };
        fs::create_dir(host.dir()).expect("creates");
        host
    }

    pub fn dir(&self) -> PathBuf {
        self.namespace.path("mnt")
    }

    /// What every mount needs that is to work: the key, a cache directory, and credentials where the store is a server.
    pub fn options(&self) -> String {
        let environment = self.namespace.path("env");
        let mut text = String::new();
        for (name, value) in s3::credentials() {
            writeln!(text, "{name}={value}").expect("writes");
        }
        write_secret(&environment, &text);
        format!(
            "identity={},cache_dir={},env_file={}",
            self.archive.key().display(),
            self.archive.path("cache").display(),
            environment.display()
        )
    }

    /// Writes an fstab with one line.
    pub fn fstab(&self, spec: &str, options: &str) -> PathBuf {
        let path = self.namespace.path("fstab");
        let line = format!("{spec} {} binlogfs {options} 0 0\n", self.dir().display());
        fs::write(&path, line).expect("writes");
        path
    }

    /// `mount DIR` with this line in fstab.
    pub fn mount(&self, spec: &str, options: &str, flags: &[&str]) -> Ended {
        let fstab = self.fstab(spec, options);
        let mut command = self.namespace.command("mount");
        command
            .arg("--fstab")
            .arg(fstab)
            .args(flags)
            .arg(self.dir());
        ended(&mut command)
    }

    pub fn umount(&self) -> Ended {
        ended(self.namespace.command("umount").arg(self.dir()))
    }

    pub fn helper(&self, arguments: &[&str]) -> Command {
        let mut command = self
            .namespace
            .command(Path::new("/sbin").join("mount.binlogfs"));
        command.args(arguments);
        command
    }

    pub fn is_mounted(&self) -> bool {
        !self.namespace.mounts_at(&self.dir()).is_empty()
    }

    /// The process that serves the mount.
    pub fn process(&self) -> Option<u32> {
        let dir = self.dir().display().to_string();
        fs::read_dir("/proc")
            .expect("there")
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
            .find(|pid| {
                let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let mut arguments = arguments.split(|b| *b == 0);
                arguments.next().is_some_and(|name| name == b"binlogfs")
                    && arguments.any(|argument| argument == dir.as_bytes())
            })
    }

    #[track_caller]
    pub fn reads(&self) {
        let file = self.namespace.inside(&self.dir().join("binlog.000001"));
        assert!(fs::read(file).expect("readable") == self.truth);
    }
}

pub fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).expect("writes");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("is ours");
}

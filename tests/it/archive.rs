//! One stream of a test: its directories, its key, and the commands run on it.

use crate::tools;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory store with a key pair, a state directory and a cache directory, all below one temporary directory.
pub struct Archive {
    temp: tempfile::TempDir,
    recipient: Option<String>,
}

impl Archive {
    /// One whose segments are encrypted.
    pub fn encrypted() -> Archive {
        let mut archive = Archive::plain();
        let made = tools::run_text(tools::binlogfs().arg("keygen").arg("-o").arg(archive.key()));
        archive.recipient = Some(made.trim().to_owned());
        archive
    }

    /// One whose segments are not encrypted.
    pub fn plain() -> Archive {
        let temp = tempfile::tempdir().expect("a temporary directory");
        for name in ["state", "cache", "mnt", "data"] {
            fs::create_dir(temp.path().join(name)).expect("the temporary directory is writable");
        }
        Archive {
            temp,
            recipient: None,
        }
    }

    /// A path below its temporary directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// An empty directory for a server's files.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The private key.
    pub fn key(&self) -> PathBuf {
        self.path("key.txt")
    }

    /// The public key.
    pub fn recipient(&self) -> &str {
        self.recipient
            .as_deref()
            .expect("this archive is encrypted")
    }

    /// The directory that is the store.
    pub fn bucket(&self) -> PathBuf {
        self.path("bucket")
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("file://{}", self.bucket().display())
    }

    /// `binlogfs archive --once` from `source`, not run yet.
    pub fn archive_command(&self, source: &Path) -> Command {
        let mut command = tools::binlogfs();
        command
            .args(["archive", "--once", "--to", &self.url()])
            .arg("--source")
            .arg(source)
            .arg("--state-dir")
            .arg(self.path("state"));
        if let Some(recipient) = &self.recipient {
            command.args(["--recipient", recipient]);
        }
        command
    }

    /// Archives what is closed in `source`; it must work. Returns what it printed.
    pub fn archive(&self, source: &Path) -> String {
        tools::run_text(&mut self.archive_command(source))
    }

    /// A reading command on the stream, with the key if there is one.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = tools::binlogfs();
        command
            .args(arguments)
            .arg("--cache-dir")
            .arg(self.path("cache"));
        if self.recipient.is_some() {
            command.arg("--identity").arg(self.key());
        }
        command
    }

    /// Runs a reading command, whatever comes of it.
    pub fn output(&self, arguments: &[&str]) -> Output {
        tools::output(&mut self.command(arguments))
    }

    /// `binlogfs ls --json`.
    pub fn ls(&self, more: &[&str]) -> Vec<serde_json::Value> {
        let url = self.url();
        let arguments: Vec<&str> = ["ls", &url, "--json"]
            .into_iter()
            .chain(more.iter().copied())
            .collect();
        serde_json::from_slice(&tools::run(&mut self.command(&arguments))).expect("JSON")
    }

    /// `binlogfs verify --deep --orphans --json`, which must find nothing wrong.
    pub fn verify(&self) {
        let output = self.output(&["verify", &self.url(), "--deep", "--orphans", "--json"]);
        let report: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
                panic!("no report ({e}): {}", tools::excerpt(&output.stderr));
            });
        assert_eq!(output.status.code(), Some(0), "{report:#}");
        assert_eq!(report["orphans"], serde_json::json!([]), "{report:#}");
    }

    /// Mounts the stream.
    pub fn mount(&self) -> Mounted {
        self.mount_with(&[])
    }

    /// Mounts the stream with more options.
    pub fn mount_with(&self, options: &[&str]) -> Mounted {
        let dir = self.path("mnt");
        let url = self.url();
        let mount = dir.to_str().expect("a temporary path is text");
        let arguments: Vec<&str> = ["mount", &url, mount]
            .into_iter()
            .chain(options.iter().copied())
            .collect();
        tools::run(&mut self.command(&arguments));
        Mounted { dir }
    }

    /// The keys of all objects under a prefix of the bucket, sorted.
    pub fn keys(&self, prefix: &str) -> Vec<PathBuf> {
        let dir = self.bucket().join(prefix);
        let Ok(entries) = fs::read_dir(&dir) else {
            return Vec::new();
        };
        let mut keys: Vec<_> = entries
            .map(|entry| entry.expect("an entry").path())
            .collect();
        keys.sort();
        keys
    }
}

/// A mounted stream; dropped, it is unmounted.
pub struct Mounted {
    dir: PathBuf,
}

impl Mounted {
    /// Where.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a failed test may still have a file open.
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}

//! One stream of a test: its directories, its key, and the commands run on it.
//!
//! The stream is in a directory; with `BINLOGFS_TEST_STORE=s3` in a bucket of an S3 server within the test, with `gcs` in one of an
//! emulator of Cloud Storage, whose objects are files too. So everything shown on the one store is shown on the others
//! (`scripts/test` runs all three).

use crate::gcs::emulator::Emulator;
use crate::s3::server::S3Server;
use crate::{gcs, s3, tools};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory store with a key pair, a state directory and a cache directory, all below one temporary directory.
pub struct Archive {
    // Ends before its files are removed.
    server: Server,
    temp: tempfile::TempDir,
    recipient: Option<String>,
}

/// What the streams of a run are in.
enum Server {
    Directory,
    S3(S3Server),
    Gcs(Emulator),
}

impl Server {
    /// The one that this run is to be on, with its objects below `temp`.
    fn start(temp: &Path) -> Server {
        match wanted_store().as_str() {
            "s3" => Server::S3(S3Server::start(&temp.join("s3"))),
            "gcs" => Server::Gcs(Emulator::start(&temp.join("gcs"))),
            _ => Server::Directory,
        }
    }
}

fn wanted_store() -> String {
    let wanted = std::env::var("BINLOGFS_TEST_STORE").unwrap_or_else(|_| "file".to_owned());
    match wanted.as_str() {
        "file" | "s3" | "gcs" => wanted,
        other => panic!("BINLOGFS_TEST_STORE={other}: file, s3 or gcs"),
    }
}

/// Whether the streams of this run are in buckets.
pub fn on_a_server() -> bool {
    wanted_store() != "file"
}

/// The prefix in the bucket.
const PREFIX: &str = "prod/orders";

impl Archive {
    /// One whose segments are encrypted.
    pub fn encrypted() -> Archive {
        Archive::plain().with_keys()
    }

    fn with_keys(mut self) -> Archive {
        let made = tools::run_text(tools::binlogfs().arg("keygen").arg("-o").arg(self.key()));
        self.recipient = Some(made.trim().to_owned());
        self
    }

    /// One whose segments are not encrypted.
    pub fn plain() -> Archive {
        Archive::below(&std::env::temp_dir())
    }

    /// One in memory where there is such a place, for tests that wait for the disk more than for anything else.
    pub fn in_memory(encrypted: bool) -> Archive {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let archive = Archive::below(&dir);
        if encrypted {
            archive.with_keys()
        } else {
            archive
        }
    }

    fn below(dir: &Path) -> Archive {
        let temp = tempfile::tempdir_in(dir).expect("a temporary directory");
        for name in ["state", "cache", "mnt", "data"] {
            fs::create_dir(temp.path().join(name)).expect("the temporary directory is writable");
        }
        let server = Server::start(temp.path());
        Archive {
            server,
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

    /// The directory that the stream's objects are in.
    pub fn bucket(&self) -> PathBuf {
        match &self.server {
            Server::S3(_) => self.path("s3").join(s3::server::BUCKET).join(PREFIX),
            Server::Gcs(_) => self.path("gcs").join(gcs::emulator::BUCKET).join(PREFIX),
            Server::Directory => self.path("bucket"),
        }
    }

    /// The stream's URL.
    pub fn url(&self) -> String {
        match &self.server {
            Server::S3(server) => server.url(PREFIX),
            Server::Gcs(emulator) => emulator.url(PREFIX),
            Server::Directory => format!("file://{}", self.bucket().display()),
        }
    }

    /// Another with the same keys and nothing else, below a directory of its own.
    pub fn beside(&self) -> Archive {
        let mut archive = Archive::below(self.temp.path().parent().expect("it has one"));
        archive.recipient.clone_from(&self.recipient);
        if archive.recipient.is_some() {
            fs::copy(self.key(), archive.key()).expect("the temporary directory is writable");
        }
        archive
    }

    /// `binlogfs archive --once` from `source`, not run yet.
    pub fn archive_command(&self, source: &Path) -> Command {
        let mut command = self.archive_command_to(&self.url(), source);
        command.arg("--state-dir").arg(self.path("state"));
        command
    }

    /// `binlogfs archive --once` from `source` to another stream, without a state directory, not run yet.
    pub fn archive_command_to(&self, url: &str, source: &Path) -> Command {
        let mut command = tools::binlogfs();
        command
            .args(["archive", "--once", "--to", url])
            .arg("--source")
            .arg(source);
        if let Some(recipient) = &self.recipient {
            command.args(["--recipient", recipient]);
        }
        command
    }

    /// Archives what is closed in `source`; it must work and find no damage. A hole, a gap or a new timeline is for the test to look
    /// at. Returns what it printed.
    #[track_caller]
    pub fn archive(&self, source: &Path) -> String {
        let output = tools::output(&mut self.archive_command(source));
        let said = String::from_utf8_lossy(&output.stderr);
        let is_told = ["history is missing before", " begins timeline "]
            .iter()
            .any(|words| said.contains(words));
        let is_well = match output.status.code() {
            Some(0) => true,
            Some(3) => is_told && !said.contains(" is damaged at "),
            Some(_) | None => false,
        };
        assert!(
            is_well,
            "archive ended with {}: {}",
            output.status,
            tools::excerpt(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("text")
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

    /// `binlogfs WHAT URL --json`, which must end with `code`; what it printed.
    #[track_caller]
    pub fn json(&self, what: &str, more: &[&str], code: i32) -> serde_json::Value {
        let url = self.url();
        let output = self.output(&[&[what, &url, "--json"], more].concat());
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{what} {more:?}: {said}");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{what} {more:?}: no JSON ({e}): {said}"))
    }

    /// `binlogfs ls --json`.
    #[track_caller]
    pub fn ls(&self, more: &[&str]) -> Vec<serde_json::Value> {
        let listed = self.json("ls", more, 0);
        listed.as_array().expect("a list").clone()
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
        self.mount_at(&self.url(), self.path("mnt"), options)
    }

    /// Mounts what is at `url` on `dir`, which is made if it is not there.
    pub fn mount_at(&self, url: &str, dir: PathBuf, options: &[&str]) -> Mounted {
        fs::create_dir_all(&dir).expect("the temporary directory is writable");
        let mount = dir.to_str().expect("a temporary path is text");
        let arguments: Vec<&str> = ["mount", url, mount]
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

    /// The process that serves it.
    pub fn process(&self) -> rustix::process::Pid {
        let wanted = self.dir.as_os_str().as_encoded_bytes();
        let processes = fs::read_dir("/proc").expect("proc is mounted");
        let serving = processes.filter_map(Result::ok).find_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            let line = fs::read(process.path().join("cmdline")).ok()?;
            let mut arguments = line.split(|b| *b == 0).skip(1);
            (arguments.next()? == b"mount" && arguments.any(|argument| argument == wanted))
                .then(|| rustix::process::Pid::from_raw(pid))?
        });
        serving.expect("the mount has a process")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a failed test may still have a file open.
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}

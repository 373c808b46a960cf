//! A stream whose bucket an attacker may write to, and what becomes of each command on it.

use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use binlogfs::model::Sha256;
use serde_json::Value;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The most memory a command may hold. As a limit on its data segment it counts every private page that can be written,
/// which is more than what is resident.
pub const MEMORY_MAX_BYTES: u64 = 200 << 20;
/// The most a command may take.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// What a segment that is not what the record says may be read as: nothing beyond this is taken out of the mount.
pub const READ_MAX_BYTES: u64 = 4 << 20;

/// A stream of two honest segments, of which the second record is the attacker's.
pub struct Victim {
    pub archive: Archive,
    pub truth: Vec<Vec<u8>>,
    pub record: Value,
}

impl Victim {
    pub fn new() -> Victim {
        let archive = Archive::plain();
        let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
        (0..2).for_each(|_| server.rotate(5, 2000));
        archive.archive(server.dir());
        let truth = server.truth();
        let line = fs::read(archive.keys("ledger")[1].as_path()).expect("readable");
        let mut record: Value = serde_json::from_slice(&line).expect("JSON");
        record.as_object_mut().expect("an object").remove("self");
        Victim {
            archive,
            truth,
            record,
        }
    }

    /// Puts `record`, with a `self` that fits, in the place of the newest record.
    pub fn plant(&self, record: &Value) {
        let mut text = record.to_string();
        let digest = Sha256::of(text.as_bytes());
        assert_eq!(text.pop(), Some('}'));
        self.replace_newest(format!("{text},\"self\":\"{digest}\"}}\n").as_bytes());
    }

    pub fn replace_newest(&self, bytes: &[u8]) {
        let path = self.archive.bucket().join(format!("ledger/{:020}.json", 2));
        fs::remove_file(&path).expect("removable");
        fs::write(path, bytes).expect("writable");
        let _ = fs::remove_dir_all(self.archive.path("cache"));
    }

    /// A command in bounded memory, run to its end: it must end by itself, with an exit code of ours.
    pub fn run(&self, what: &str, arguments: &[&str]) -> Output {
        let output = tools::output(&mut self.bounded(arguments));
        let said = tools::excerpt(&output.stderr);
        let code = output.status.code();
        assert!(
            matches!(code, Some(0 | 1 | 3)),
            "{what}: {arguments:?} crashed: {}: {said}",
            output.status
        );
        assert!(!said.contains("panicked"), "{what}: {arguments:?}: {said}");
        output
    }

    pub fn bounded(&self, arguments: &[&str]) -> Command {
        let command = self.archive.command(arguments);
        let mut bounded = Command::new("timeout");
        bounded
            .arg(PATIENCE.as_secs().to_string())
            .args(["prlimit", &format!("--data={MEMORY_MAX_BYTES}")]);
        bounded.arg(command.get_program()).args(command.get_args());
        bounded.envs(crate::s3::credentials());
        bounded
    }

    /// Every reading command on the stream as it is now: it must end in an error, or tell the truth.
    pub fn check_reads(&self, what: &str) {
        let url = self.archive.url();
        let before = everything(&self.archive);
        self.run(what, &["ls", &url]);
        self.run(what, &["ls", &url, "--json"]);
        self.run(what, &["status", &url]);
        let cat = self.run(what, &["cat", &url]);
        let whole = self.truth.concat();
        let truth = if cat.status.code() == Some(0) {
            cat.stdout == whole
        } else {
            whole.starts_with(&cat.stdout)
        };
        assert!(
            truth,
            "{what}: cat gave {} bytes that nobody archived",
            cat.stdout.len()
        );
        self.check_mount(what);
        assert_eq!(
            everything(&self.archive),
            before,
            "{what}: something was made"
        );
    }

    /// The same; and `verify` must see through it.
    pub fn check(&self, what: &str) {
        self.check_reads(what);
        let url = self.archive.url();
        let verify = self.run(what, &["verify", &url, "--deep"]);
        assert_ne!(
            verify.status.code(),
            Some(0),
            "{what}: verify finds nothing"
        );
    }

    /// Mounts it, if it lets itself be mounted, and reads all there is.
    pub fn check_mount(&self, what: &str) {
        let (url, dir) = (self.archive.url(), self.archive.path("mnt"));
        let arguments = ["mount", &url, dir.to_str().expect("text"), "--foreground"];
        let mut child = self
            .bounded(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let begun = Instant::now();
        let mounted = loop {
            if let Some(status) = child.try_wait().expect("is our child") {
                assert_eq!(status.code(), Some(1), "{what}: mount crashed: {status}");
                break false;
            }
            if fs::read_dir(&dir).is_ok_and(|mut names| names.next().is_some()) {
                break true;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{what}: neither mounted nor refused"
            );
            std::thread::sleep(Duration::from_millis(10));
        };
        if mounted {
            let read = self.read_all(&dir);
            // `timeout` passes on to `prlimit`, which becomes the program: it is timeout's only child.
            let unmounted = Command::new("umount")
                .arg("-l")
                .arg(&dir)
                .status()
                .expect("umount runs");
            assert!(unmounted.success());
            let status = child.wait().expect("is our child");
            read.unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
            assert_eq!(
                status.code(),
                Some(0),
                "{what}: the mount ended with {status}"
            );
        }
    }

    pub fn read_all(&self, dir: &Path) -> Result<(), String> {
        for entry in fs::read_dir(dir).map_err(|error| error.to_string())? {
            let path = entry.map_err(|error| error.to_string())?.path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let mut bytes = Vec::new();
            let read = File::open(&path)
                .and_then(|file| file.take(READ_MAX_BYTES).read_to_end(&mut bytes));
            let truth = self.truth.iter().any(|truth| {
                if read.is_ok() {
                    *truth == bytes
                } else {
                    truth.starts_with(&bytes)
                }
            });
            if !truth {
                return Err(format!(
                    "{name} gave {} bytes that nobody archived ({read:?})",
                    bytes.len()
                ));
            }
        }
        Ok(())
    }
}

/// Every path below the archive's directory but those in its cache, and those beside it that a key could lead to.
pub fn everything(archive: &Archive) -> Vec<PathBuf> {
    let root = archive.path("");
    let (mut found, mut dirs) = (Vec::new(), vec![root.clone()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.is_symlink() && path != root.join("cache") {
                dirs.push(path.clone());
            }
            if path != root.join("cache") {
                found.push(path);
            }
        }
    }
    let escapes = ["passwd", "etc", "etc/passwd", "x"]
        .map(|name| root.parent().expect("a parent").join(name));
    found.extend(escapes.into_iter().filter(|path| path.exists()));
    found.sort();
    found
}

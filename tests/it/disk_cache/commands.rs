//! The commands: mounts that are killed and mounted again, several at once, and `binlogfs cache` beside them.

use super::{eventually, files};
use crate::s3::server::S3Server;
use crate::synthetic::SyntheticServer;
use crate::tools;
use binlogfs::fs::mountinfo;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Closed files of the stream.
const SEGMENTS: usize = 4;

/// A stream on an S3 server that counts, and a host that reads it.
struct Stream {
    s3: S3Server,
    temp: tempfile::TempDir,
    truth: Vec<Vec<u8>>,
}

/// A mount in a process of its own; dropped, it is killed and cleaned up.
struct Mount {
    process: Child,
    dir: PathBuf,
}

impl Stream {
    /// With frames of 1 MiB, several in each file.
    fn new() -> Stream {
        let temp = tempfile::tempdir().expect("a directory");
        let s3 = S3Server::start(&temp.path().join("s3"));
        std::fs::create_dir(temp.path().join("data")).expect("writable");
        let mut server = SyntheticServer::new(&temp.path().join("data"), 1, "binlog");
        (0..SEGMENTS).for_each(|_| server.rotate(60, 100_000));
        tools::run(
            tools::binlogfs()
                .arg("keygen")
                .arg("-o")
                .arg(temp.path().join("key")),
        );
        let key = std::fs::read_to_string(temp.path().join("key")).expect("made");
        let public = key.split_whitespace().find(|word| word.starts_with("age1"));
        let stream = Stream {
            truth: server.truth(),
            s3,
            temp,
        };
        let mut archive = tools::binlogfs();
        archive
            .args(["archive", "--once", "--to", &stream.url()])
            .args(["--recipient", public.expect("the file tells it")])
            .arg("--source")
            .arg(server.dir())
            .arg("--state-dir")
            .arg(stream.path("state"));
        tools::run(&mut archive);
        stream
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn url(&self) -> String {
        self.s3.url("prod/orders")
    }

    /// A command of a reader.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = tools::binlogfs();
        command
            .args(arguments)
            .arg("--cache-dir")
            .arg(self.path("cache"))
            .arg("--identity")
            .arg(self.path("key"));
        command
    }

    /// Where its frames are.
    fn frames(&self) -> PathBuf {
        self.path("cache").join("frames")
    }

    /// Mounts it, with its own process.
    async fn mount(&self, name: &str, options: &[&str]) -> Mount {
        let dir = self.path(name);
        std::fs::create_dir_all(&dir).expect("writable");
        let target = dir.to_str().expect("text");
        let mut command = self.command(&["mount", &self.url(), target, "--foreground"]);
        let process = command
            .args(["--cache-free", "0"])
            .args(options)
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mount = Mount { process, dir };
        eventually("it is mounted", || is_mounted(&mount.dir)).await;
        mount
    }

    fn read_all(&self, mount: &Mount) {
        for (n, truth) in self.truth.iter().enumerate() {
            let bytes = std::fs::read(mount.file(n)).expect("reads");
            assert!(bytes == *truth, "wrong bytes of file {n}");
        }
    }

    /// How often the server was asked for objects since the last time.
    fn gets(&self) -> u64 {
        self.s3
            .asked()
            .get("GetObject")
            .copied()
            .unwrap_or_default()
    }

    /// `binlogfs cache status --json`.
    fn status(&self) -> Value {
        let text = tools::run(&mut self.command(&["cache", "status", "--json"]));
        serde_json::from_slice(&text).expect("JSON")
    }
}

impl Mount {
    fn file(&self, n: usize) -> PathBuf {
        self.dir.join(format!("binlog.{:06}", n + 1))
    }

    /// SIGTERM; it must end well.
    fn end(mut self) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("ours");
        assert!(self.process.wait().expect("ours").success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        if is_mounted(&self.dir) {
            let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
        }
    }
}

fn is_mounted(dir: &Path) -> bool {
    let table = std::fs::read(mountinfo::PATH).expect("reads");
    let mut mounts = mountinfo::parse(&table).into_iter();
    mounts.any(|mount| mount.mount_point == dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_it_keeps_frames_a_mount_finds_those_again_and_asks_for_the_others() {
    let stream = Stream::new();
    let cold = stream.mount("mnt", &["--cache-size", "0"]).await;
    stream.read_all(&cold);
    assert!(files(&stream.frames()).is_empty());
    cold.end();

    let mut killed = stream.mount("mnt", &[]).await;
    let path = killed.file(0);
    let reading = std::thread::spawn(move || std::fs::read(path).map(drop));
    eventually("some frames are kept", || {
        files(&stream.frames()).len() >= 3
    })
    .await;
    killed.process.kill().expect("ours");
    // It may have been read whole before, or the read ends with the mount.
    let _ = reading.join().expect("ends");
    drop(killed);
    let kept = files(&stream.frames()).len() as u64;

    let second = stream.mount("mnt", &[]).await;
    stream.read_all(&second);
    second.end();
    let status = stream.status();
    let all = files(&stream.frames()).len() as u64;
    let counted = &status["streams"][0];
    assert_eq!(counted["frames"], all, "{status:#}");
    assert!(counted["hits"].as_u64() >= Some(kept), "{status:#}");
    assert_eq!(counted["faults"], 0, "{status:#}");
    assert_eq!(counted["url"], stream.url().as_str());

    let third = stream.mount("mnt", &[]).await;
    stream.gets();
    stream.read_all(&third);
    // Following the ledger asks too.
    assert!(stream.gets() <= 2, "nothing of a segment was asked for");
    third.end();
    let hits = |status: &Value| status["streams"][0]["hits"].as_u64().expect("a number");
    assert_eq!(hits(&stream.status()), hits(&status) + all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_mounts_share_what_they_keep_and_it_is_cleared_beside_them() {
    let stream = Stream::new();
    // Room for some of it: both evict.
    let (one, two) = (
        stream.mount("one", &["--cache-size", "4MiB"]).await,
        stream.mount("two", &["--cache-size", "4MiB"]).await,
    );
    std::thread::scope(|scope| {
        for mount in [&one, &two] {
            scope.spawn(|| {
                for _ in 0..2 {
                    stream.read_all(mount);
                }
            });
        }
    });
    let status = stream.status();
    let bytes = status["bytes"].as_u64().expect("a number");
    assert!(bytes > 0 && bytes <= 5 << 20, "{status:#}");
    let text = tools::run_text(&mut stream.command(&["cache", "status", &stream.url()]));
    assert!(
        text.contains(&stream.url()) && text.contains("HITS"),
        "{text}"
    );
    let other = "file:///nowhere";
    let none = tools::run_text(&mut stream.command(&["cache", "clear", other]));
    assert_eq!(none, "removed 0 frames (0 B)\n");
    let cleared = tools::run(&mut stream.command(&["cache", "clear", "--json"]));
    let cleared: Value = serde_json::from_slice(&cleared).expect("JSON");
    assert!(cleared["frames"].as_u64() > Some(0), "{cleared:#}");
    for mount in [&one, &two] {
        stream.read_all(mount);
    }
    one.end();
    two.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cat_uses_what_a_mount_kept_and_keeps_only_if_it_is_told_to() {
    let stream = Stream::new();
    let cat = |options: &[&str]| {
        let url = stream.url();
        let arguments: Vec<_> = ["cat", &url]
            .into_iter()
            .chain(options.iter().copied())
            .collect();
        let bytes = tools::run(&mut stream.command(&arguments));
        assert!(bytes == stream.truth.concat());
        stream.gets()
    };
    stream.gets();
    cat(&[]);
    assert!(files(&stream.frames()).is_empty());
    let fetched = cat(&["--cache-size", "1GiB", "--cache-free", "0"]);
    let kept = files(&stream.frames());
    assert!(kept.len() > SEGMENTS);
    let from_disk = cat(&[]);
    assert!(
        from_disk + SEGMENTS as u64 <= fetched,
        "{from_disk} of {fetched}"
    );
    // It proves what it finds, as a mount does.
    for path in &kept {
        std::fs::write(path, b"x").expect("writable");
    }
    cat(&[]);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (option, value) in [
        ("--cache-size", "10G"),
        ("--cache-size", "many"),
        ("--cache-free", "101%"),
        ("--cache-free", "-1"),
    ] {
        let arguments = ["mount", "file:///x", "/mnt", &format!("{option}={value}")];
        let output = tools::output(tools::binlogfs().args(arguments));
        assert_eq!(output.status.code(), Some(2), "{option} {value}");
    }
}

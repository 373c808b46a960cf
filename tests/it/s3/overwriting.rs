//! A server that ignores conditional creates: refused, unless a person promises to be the only writer.

use super::moto::{free_address, program, wait_for};
use super::server::{ACCESS_KEY, BUCKET, SECRET_KEY, url};
use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// `rclone serve s3` on a directory; dropped, it ends.
struct Rclone {
    child: Child,
    bucket: PathBuf,
    endpoint: String,
}

impl Rclone {
    fn start(archive: &Archive) -> Rclone {
        let root = archive.path("rclone");
        fs::create_dir_all(root.join(BUCKET)).expect("writable");
        let address = free_address();
        let child = Command::new(program("rclone"))
            .args(["serve", "s3", "--addr", &address.to_string()])
            .args(["--auth-key", &format!("{ACCESS_KEY},{SECRET_KEY}")])
            .args(["--config", "/dev/null"])
            .arg(&root)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        wait_for(address);
        Rclone {
            child,
            bucket: root.join(BUCKET),
            endpoint: format!("http://{address}"),
        }
    }

    fn url(&self) -> String {
        url(&self.endpoint, "prod")
    }

    /// Names of the files below `dir` of the stream.
    fn names(&self, dir: &str) -> Vec<String> {
        let entries = fs::read_dir(self.bucket.join("prod").join(dir));
        let mut names: Vec<String> = entries
            .into_iter()
            .flatten()
            .map(|entry| entry.expect("an entry").file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

impl Drop for Rclone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn archive_to(archive: &Archive, server: &SyntheticServer, url: &str, more: &[&str]) -> Output {
    let mut command = tools::binlogfs();
    command
        .args(["archive", "--once", "--to", url, "--recipient"])
        .arg(archive.recipient())
        .arg("--source")
        .arg(server.dir())
        .arg("--state-dir")
        .arg(archive.path("state"))
        .args(more);
    tools::output(&mut command)
}

#[test]
fn a_server_that_would_overwrite_is_refused_in_every_run_and_accepted_for_a_single_writer() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..3).for_each(|_| server.rotate(5, 20_000));
    let rclone = Rclone::start(&archive);

    // The second run finds a stream that is already there.
    for _ in 0..2 {
        let refused = archive_to(&archive, &server, &rclone.url(), &[]);
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(1), "{said}");
        assert!(
            said.contains("--single-writer") && said.contains("If-None-Match"),
            "{said}"
        );
        assert!(rclone.names("ledger").is_empty(), "something was recorded");
        assert!(
            rclone.names("segments").is_empty(),
            "something was uploaded"
        );
    }

    let accepted = archive_to(&archive, &server, &rclone.url(), &["--single-writer"]);
    let said = tools::excerpt(&accepted.stderr);
    assert_eq!(accepted.status.code(), Some(0), "{said}");
    assert_eq!(rclone.names("ledger").len(), 3);
    server.rotate(5, 20_000);
    let accepted = archive_to(&archive, &server, &rclone.url(), &["--single-writer"]);
    assert_eq!(accepted.status.code(), Some(0));

    let status = tools::run_text(&mut archive.command(&["status", &rclone.url()]));
    assert!(
        status.contains("4 archived where the store does not refuse to overwrite"),
        "{status}"
    );
    for path in server.closed() {
        let name = path.file_name().and_then(|name| name.to_str());
        let read = tools::run(&mut archive.command(&["cat", &rclone.url(), name.expect("text")]));
        assert!(read == fs::read(&path).expect("readable"), "{name:?}");
    }
}

#[test]
fn a_single_writer_still_never_overwrites_what_is_there() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(5, 20_000);
    let rclone = Rclone::start(&archive);
    let first = archive_to(&archive, &server, &rclone.url(), &["--single-writer"]);
    assert_eq!(first.status.code(), Some(0));
    // Somebody else's archiver with state of its own, one after the other: it finds what is there.
    server.rotate(5, 20_000);
    let mut other = tools::binlogfs();
    other
        .args([
            "archive",
            "--once",
            "--single-writer",
            "--to",
            &rclone.url(),
        ])
        .args(["--recipient", archive.recipient(), "--source"])
        .arg(server.dir())
        .arg("--state-dir")
        .arg(archive.path("state-2"));
    tools::run(&mut other);
    assert_eq!(rclone.names("ledger").len(), 2);
    assert_eq!(rclone.names("segments").len(), 2);
}

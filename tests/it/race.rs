//! Archivers that run at the same time on the same stream: each file is archived once, and nothing is left over.

use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use std::process::{Command, Stdio};

/// An archiver with a state directory of its own.
fn archiver(archive: &Archive, server: &SyntheticServer, n: usize) -> Command {
    let mut command = tools::binlogfs();
    command.args([
        "archive",
        "--once",
        "--json",
        "--to",
        &archive.url(),
        "--recipient",
        archive.recipient(),
    ]);
    command
        .arg("--source")
        .arg(server.dir())
        .arg("--state-dir")
        .arg(archive.path(&format!("state-{n}")));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `count` archivers at the same time; all must end well. Returns what each archived.
fn race(archive: &Archive, server: &SyntheticServer, count: usize) -> Vec<u64> {
    let running: Vec<_> = (0..count)
        .map(|n| archiver(archive, server, n).spawn().expect("starts"))
        .collect();
    let outputs: Vec<_> = running
        .into_iter()
        .map(|child| child.wait_with_output().expect("is our child"))
        .collect();
    outputs
        .iter()
        .map(|output| {
            assert_eq!(
                output.status.code(),
                Some(0),
                "{}",
                tools::excerpt(&output.stderr)
            );
            let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
            told["archived"].as_array().expect("a list").len() as u64
        })
        .collect()
}

fn check(archive: &Archive, server: &SyntheticServer, archived: &[u64]) {
    let files = server.closed();
    println!("archived by each: {archived:?}");
    assert_eq!(
        archived.iter().sum::<u64>(),
        files.len() as u64,
        "each file by one of them: {archived:?}"
    );
    assert_eq!(
        archive.keys("ledger").len(),
        files.len(),
        "as many records as files"
    );
    assert_eq!(
        archive.keys("segments").len(),
        files.len(),
        "as many objects as files"
    );
    let listed: Vec<_> = archive
        .ls(&[])
        .iter()
        .map(|entry| entry["name"].as_str().expect("a name").to_owned())
        .collect();
    let names: Vec<_> = files
        .iter()
        .map(|path| {
            path.file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(listed, names);
    archive.verify();
}

#[test]
fn two_archivers_on_one_stream_archive_each_file_once() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..50).for_each(|n| server.rotate(3 + n % 5, 20_000));
    let archived = race(&archive, &server, 2);
    check(&archive, &server, &archived);
    // Each knows what the other did.
    assert_eq!(race(&archive, &server, 2), [0, 0]);
}

#[test]
fn four_archivers_that_begin_a_stream_together_begin_one() {
    for _ in 0..5 {
        let archive = Archive::encrypted();
        let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
        (0..4).for_each(|_| server.rotate(2, 1000));
        let archived = race(&archive, &server, 4);
        check(&archive, &server, &archived);
    }
}

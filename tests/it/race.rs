//! Archivers that run at the same time on the same stream: each file is archived once, and nothing is left over.

use crate::archive::Archive;
use crate::s3::moto::Moto;
use crate::synthetic::SyntheticServer;
use crate::tools;
use std::process::{Command, Stdio};

/// An archiver to `url` with a state directory of its own.
fn archiver(archive: &Archive, url: &str, server: &SyntheticServer, n: usize) -> Command {
    let mut command = tools::binlogfs();
    command.args([
        "archive",
        "--once",
        "--json",
        "--to",
        url,
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
    race_to(archive, &archive.url(), server, count)
}

/// The same on the stream at `url`.
fn race_to(archive: &Archive, url: &str, server: &SyntheticServer, count: usize) -> Vec<u64> {
    let running: Vec<_> = (0..count)
        .map(|n| archiver(archive, url, server, n).spawn().expect("starts"))
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
    let files = server.closed_names();
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
    assert_eq!(listed, files);
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

#[test]
fn eight_archivers_of_two_hundred_segments_make_two_hundred_records() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..200).for_each(|n| server.rotate(1 + n % 3, 500));
    let archived = race(&archive, &server, 8);
    check(&archive, &server, &archived);
}

/// moto decides alone which of many creates wins; nothing here helps it. It is slow, and each archiver asks for each segment:
/// of two hundred it would only be longer.
#[test]
fn eight_archivers_of_fifty_segments_make_fifty_records_on_moto() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..50).for_each(|n| server.rotate(1 + n % 3, 500));
    let moto = Moto::start();
    let url = moto.url("prod/orders");
    let archived = race_to(&archive, &url, &server, 8);
    println!("archived by each: {archived:?}");
    assert_eq!(archived.iter().sum::<u64>(), 50, "{archived:?}");
    assert_eq!(moto.count("prod/orders/ledger/"), 50);
    assert_eq!(moto.count("prod/orders/segments/"), 50);
    let verify = ["verify", &url, "--deep", "--orphans", "--json"];
    let report: serde_json::Value =
        serde_json::from_slice(&tools::run(&mut archive.command(&verify))).expect("JSON");
    assert_eq!(report["orphans"], serde_json::json!([]), "{report:#}");
    let listed = tools::run(&mut archive.command(&["ls", &url, "--json"]));
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&listed).expect("JSON");
    let names: Vec<_> = listed.iter().map(|entry| entry["name"].as_str()).collect();
    let files = server.closed();
    let wanted = files.iter().map(|path| path.file_name()?.to_str());
    assert_eq!(names, wanted.collect::<Vec<_>>());
}

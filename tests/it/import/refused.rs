//! What is not imported, and what is said of it.

use super::pile::Pile;
use super::{listed, name_of};
use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use binlogfs::binlog::FLAG_ARTIFICIAL;
use binlogfs::binlog::testing::BinlogBuilder;
use std::fs;

/// ROTATE_EVENT in MySQL's `Log_event_type`.
const ROTATE_EVENT: u8 = 4;

/// A server with `count` closed files in the archive's data directory.
fn server(archive: &Archive, count: usize) -> SyntheticServer {
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..count).for_each(|_| server.rotate(2, 1000));
    server
}

fn pile_of(archive: &Archive, server: &SyntheticServer, which: std::ops::Range<usize>) -> Pile {
    let mut pile = Pile::new(archive.path(&format!("pile-{}", which.start)));
    for path in &server.closed()[which] {
        pile.add(&name_of(path), path, ".zst");
    }
    pile
}

#[test]
fn what_is_no_binlog_or_cannot_be_read_is_named_with_the_reason() {
    let archive = Archive::plain();
    let server = server(&archive, 5);
    let pile = pile_of(&archive, &server, 0..1);
    let bytes = |n: usize| fs::read(&server.closed()[n]).expect("readable");
    pile.write("encrypted/binlog.000002", b"\xfdbin and then ciphertext");
    let gz = super::pile::stored(&bytes(2), ".gz");
    pile.write("torn/binlog.000003.gz", &gz[..gz.len() / 2]);
    pile.write(
        "age/binlog.000004.zst.age",
        b"age-encryption.org/v1\n-> X25519 abc",
    );
    pile.write("text.log", b"no binlog at all");
    pile.write("empty", b"");
    pile.write("binlog.000005", &bytes(4));
    let told = pile.json(&archive, &["--dry-run"], 3);
    let reasons = |what: &str| -> Vec<(String, String)> {
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let all = told[what].as_array().expect("a list").iter();
        all.map(|left| (text(&left["path"]), text(&left["reason"])))
            .collect()
    };
    for (path, reason) in [
        ("encrypted/binlog.000002", "binlog_encryption"),
        ("torn/binlog.000003.gz", "cannot be decompressed"),
        ("age/binlog.000004.zst.age", "encrypted with age"),
    ] {
        let all = reasons("refused");
        let own = all.iter().find(|left| left.0 == path);
        assert!(
            own.is_some_and(|left| left.1.contains(reason)),
            "{path}: {all:?}"
        );
    }
    let foreign: Vec<_> = reasons("foreign").into_iter().map(|left| left.0).collect();
    assert_eq!(foreign, ["empty", "text.log"]);
    let said = pile.said(&archive, &[], 3);
    assert!(
        said.contains("torn/binlog.000003.gz was not imported"),
        "{said}"
    );
    let states: Vec<_> = listed(&archive).into_iter().map(|entry| entry.1).collect();
    assert_eq!(states, ["archived", "hole", "hole", "hole", "archived"]);
    let shown = tools::run_text(&mut archive.command(&["ls", &archive.url(), "--json"]));
    assert!(
        shown.contains("torn/binlog.000003.gz"),
        "the record says why: {shown}"
    );
}

#[test]
fn a_relay_log_is_refused_and_a_pile_of_nothing_else_is_an_error() {
    let archive = Archive::plain();
    let pile = Pile::new(archive.path("pile"));
    // It begins with the artificial ROTATE event that its source sent.
    let mut relay = BinlogBuilder::mysql();
    relay.time(0).event(
        ROTATE_EVENT,
        FLAG_ARTIFICIAL,
        b"\x04\0\0\0\0\0\0\0binlog.000001",
    );
    pile.write("relay-bin.000001", &relay.finish());
    let told = pile.json(&archive, &["--dry-run"], 3);
    assert!(
        told["refused"].to_string().contains("a relay log"),
        "{told}"
    );
    let said = pile.said(&archive, &[], 1);
    assert!(
        said.contains("holds no binlog") && said.contains("--dry-run"),
        "{said}"
    );
}

#[test]
fn what_is_older_than_the_stream_is_refused_and_nothing_is_written() {
    let archive = Archive::plain();
    let server = server(&archive, 8);
    pile_of(&archive, &server, 4..6).json(&archive, &[], 0);
    let records = archive.keys("ledger").len();
    let older = pile_of(&archive, &server, 0..3);
    let said = older.said(&archive, &[], 1);
    assert!(
        said.contains("binlog.000001") && said.contains("new stream"),
        "{said}"
    );
    let said = older.said(&archive, &["--dry-run"], 1);
    assert!(said.contains("new stream"), "{said}");
    // Also where a part of the pile is there.
    let around = pile_of(&archive, &server, 3..8);
    let said = around.said(&archive, &[], 1);
    assert!(
        said.contains("binlog.000004") && said.contains("--exclude"),
        "{said}"
    );
    assert_eq!(archive.keys("ledger").len(), records);
    assert_eq!(archive.keys("segments").len(), records);
    // Left out, it is no obstacle.
    let told = around.json(&archive, &["--exclude", "binlog.000004.zst"], 0);
    assert_eq!(told["archived"].as_array().map(Vec::len), Some(2));
    archive.verify();
}

#[test]
fn many_missing_files_are_a_persons_to_confirm() {
    let archive = Archive::plain();
    let server = server(&archive, 8);
    let mut pile = pile_of(&archive, &server, 0..2);
    let last = &server.closed()[7];
    pile.add(&name_of(last), last, ".xz");
    let said = pile.said(&archive, &[], 1);
    assert!(
        said.contains("5 files in a row") && said.contains("--accept-holes"),
        "{said}"
    );
    assert!(archive.keys("segments").is_empty());
    let told = pile.json(&archive, &["--accept-holes"], 3);
    assert_eq!(told["holes"].as_array().map(Vec::len), Some(5));
}

#[test]
fn two_servers_of_one_time_are_told_apart_only_by_a_person() {
    let archive = Archive::plain();
    let mut pile = Pile::new(archive.path("pile"));
    for id in [1, 2] {
        let dir = archive.path(&format!("server-{id}"));
        fs::create_dir(&dir).expect("writable");
        let mut server = SyntheticServer::new(&dir, id, "binlog");
        server.rotate(20, 100);
        server.rotate(20, 100);
        for path in server.closed() {
            pile.add(&format!("{id}/{}", name_of(&path)), &path, ".gz");
        }
    }
    let said = pile.said(&archive, &[], 1);
    assert!(
        said.contains("at the same time") && said.contains("--exclude"),
        "{said}"
    );
    pile.json(&archive, &["--exclude", "2"], 0);
    assert_eq!(listed(&archive).len(), 2);
    // The other one shares nothing with the stream.
    let said = pile.said(&archive, &["--exclude", "1"], 1);
    assert!(
        said.contains("new stream") || said.contains("no history"),
        "{said}"
    );
}

#[test]
fn a_pile_and_a_stream_that_lie_in_each_other_are_refused() {
    let archive = Archive::plain();
    let server = server(&archive, 2);
    let pile = pile_of(&archive, &server, 0..2);
    let inside = format!("file://{}", pile.dir().join("stream").display());
    let from = pile.dir().to_str().expect("text");
    let output = tools::output(tools::binlogfs().args(["import", from, "--to", &inside]));
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("one in the other"), "{said}");
    pile.json(&archive, &[], 0);
    let other = Archive::plain();
    let stream = super::pile::import(&other, &archive.url())
        .output()
        .expect("runs");
    let said = tools::excerpt(&stream.stderr);
    assert!(said.contains("a stream of binlogfs"), "{said}");
}

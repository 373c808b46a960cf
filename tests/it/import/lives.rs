//! Piles with more than one numbering, and servers whose files carry no GTIDs.

use super::pile::{Pile, STORED};
use super::{expected, listed, name_of, same_bytes};
use crate::archive::Archive;
use crate::mysql::{Options, Server};
use crate::random::Random;
use crate::synthetic::SyntheticServer;
use std::fs;
use std::path::{Path, PathBuf};

/// Closes `count` binlogs with a transaction each, and copies all that are closed into `dir`.
fn close(server: &Server, count: usize, dir: &Path) -> Vec<PathBuf> {
    server.sql("CREATE DATABASE IF NOT EXISTS d; CREATE TABLE IF NOT EXISTS d.t (x VARCHAR(100))");
    server.sql(&"INSERT INTO d.t VALUES (UUID()); FLUSH BINARY LOGS;\n".repeat(count));
    fs::create_dir_all(dir).expect("writable");
    let mut files = server.binlogs();
    files.pop();
    let copy = |path: &PathBuf| {
        let copy = dir.join(name_of(path));
        fs::copy(path, &copy).expect("copied");
        copy
    };
    files.iter().map(copy).collect()
}

fn shuffle_into(pile: &mut Pile, files: &[PathBuf], random: &mut Random) {
    for path in files {
        let name = format!("{:016x}/{}", random.next(), name_of(path));
        pile.add(
            &name,
            path,
            STORED[random.below(STORED.len() as u64) as usize],
        );
    }
}

#[test]
fn names_that_repeat_after_a_reset_become_two_timelines_and_the_archiver_goes_on_in_the_second() {
    let mut random = Random::seeded();
    let archive = Archive::plain();
    let server = Server::new();
    let before = close(&server, 12, &archive.path("before"));
    // Format descriptions carry whole seconds: the two lives are some apart, as those of people are.
    std::thread::sleep(std::time::Duration::from_secs(3));
    server.sql("DROP DATABASE d; RESET BINARY LOGS AND GTIDS");
    let after = close(&server, 8, &archive.path("after"));
    assert!(after.len() < before.len(), "the names repeat");
    let mut pile = Pile::new(archive.path("pile"));
    shuffle_into(&mut pile, &after, &mut random);
    shuffle_into(&mut pile, &before, &mut random);
    let uuid = server.uuid();
    let told = pile.json(&archive, &["--server-uuid", &uuid], 0);
    assert_eq!(
        told["archived"].as_array().map(Vec::len),
        Some(before.len() + after.len())
    );
    assert!(
        told["notices"].to_string().contains("timeline 2 begins"),
        "{told}"
    );
    assert_eq!(listed(&archive), expected(&after, &[]));
    archive.verify();
    let mounted = archive.mount();
    same_bytes(mounted.dir(), &after, &[]);
    same_bytes(&mounted.dir().join(".timeline/1"), &before, &[]);
    let all = close(&server, 2, &archive.path("after"));
    archive.archive(&server.datadir());
    assert_eq!(listed(&archive), expected(&all, &[]));
}

#[test]
fn a_pile_without_gtids_is_ordered_by_rotations_and_numbers_and_two_lives_by_their_times() {
    let mut random = Random::seeded();
    let archive = Archive::plain();
    let mut server = Options::new().no_gtids().start();
    let mut before = close(&server, 6, &archive.path("before"));
    // A shutdown ends a file without a ROTATE.
    server.restart();
    before = [before, close(&server, 4, &archive.path("before"))].concat();
    before.sort();
    before.dedup();
    std::thread::sleep(std::time::Duration::from_secs(3));
    server.sql("DROP DATABASE d; RESET BINARY LOGS AND GTIDS");
    let after = close(&server, 5, &archive.path("after"));
    let mut pile = Pile::new(archive.path("pile"));
    let missing = [after[2].clone()];
    let kept: Vec<_> = after
        .iter()
        .filter(|path| !missing.contains(path))
        .cloned()
        .collect();
    shuffle_into(&mut pile, &kept, &mut random);
    shuffle_into(&mut pile, &before, &mut random);
    let told = pile.json(&archive, &[], 3);
    assert_eq!(told["holes"], serde_json::json!([name_of(&missing[0])]));
    assert_eq!(listed(&archive), expected(&after, &missing));
    let mounted = archive.mount();
    same_bytes(mounted.dir(), &after, &missing);
    same_bytes(&mounted.dir().join(".timeline/1"), &before, &[]);
    // The archiver knows the newest files by their heads and numbers.
    let all = close(&server, 2, &archive.path("after"));
    archive.archive(&server.datadir());
    assert_eq!(listed(&archive), expected(&all, &missing));
}

#[test]
fn a_copied_data_directory_leaves_the_active_file_to_the_archiver() {
    let archive = Archive::plain();
    let server = Server::new();
    let files = close(&server, 3, &archive.path("closed"));
    server.sql("INSERT INTO d.t VALUES ('still open')");
    let pile = Pile::new(archive.path("pile"));
    server.snapshot(pile.dir());
    let active = name_of(server.binlogs().last().expect("an active file"));
    let told = pile.json(&archive, &[], 0);
    assert_eq!(told["unfinished"]["file"], serde_json::json!(active));
    assert_eq!(listed(&archive), expected(&files, &[]));
    // It has gone on since; what is archived is all of it.
    let all = close(&server, 2, &archive.path("closed"));
    archive.archive(&server.datadir());
    assert_eq!(listed(&archive), expected(&all, &[]));
    // The old copy of it is no other file, only less of it.
    let told = pile.json(&archive, &["--final"], 0);
    assert_eq!(told["surpassed"], serde_json::json!([active]));
    assert_eq!(listed(&archive), expected(&all, &[]));
    // auto.cnf lay beside the files, so that the stream knows the server.
    let entry = &archive.ls(&[])[0];
    assert_eq!(
        entry["server_uuid"],
        serde_json::json!(server.uuid()),
        "{entry}"
    );
}

#[test]
fn the_last_file_of_a_server_that_is_gone_is_imported_when_a_person_says_so() {
    let archive = Archive::plain();
    let mut server = Server::new();
    close(&server, 2, &archive.path("closed"));
    server.sql("INSERT INTO d.t VALUES ('the last')");
    server.kill9();
    let files = server.binlogs();
    let mut pile = Pile::new(archive.path("pile"));
    for path in &files {
        pile.add(&name_of(path), path, ".zst");
    }
    pile.json(&archive, &["--final"], 0);
    assert_eq!(listed(&archive), expected(&files, &[]));
    archive.verify();
}

#[test]
fn what_goes_on_behind_a_cut_copy_of_what_is_archived_is_of_its_numbering() {
    let archive = Archive::plain();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 1000);
    server.rename("other");
    server.rotate(2, 1000);
    let mut first = Pile::new(archive.path("first"));
    for path in server.closed() {
        first.add(&name_of(&path), &path, ".gz");
    }
    first.json(&archive, &[], 0);
    server.rotate(2, 1000);
    let mut second = Pile::new(archive.path("second"));
    for path in server.closed() {
        second.add(&name_of(&path), &path, "");
    }
    let cut = fs::read(archive.data().join("other.000001")).expect("readable");
    second.write("other.000001", &cut[..cut.len() * 2 / 3]);
    let told = second.json(&archive, &[], 0);
    assert_eq!(told["surpassed"], serde_json::json!(["other.000001"]));
    assert_eq!(told["already_archived"], 2);
    assert_eq!(told["archived"].as_array().map(Vec::len), Some(1));
    let incarnations: Vec<_> = archive
        .ls(&[])
        .iter()
        .map(|entry| entry["incarnation"].clone())
        .collect();
    assert_eq!(incarnations, [1, 1, 2, 2]);
    archive.verify();
}

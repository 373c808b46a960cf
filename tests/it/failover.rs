//! Hosts that change under a stream: promoted, copied, emptied, converted.

mod real;
mod restored;

use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use std::fs;

fn names(archive: &Archive) -> Vec<String> {
    let listed = archive.ls(&[]);
    let name = |entry: &serde_json::Value| entry["name"].as_str().expect("a name").to_owned();
    listed.iter().map(name).collect()
}

/// An archived history of four transactions of one server and three of its successor; the old one has two more since, which nobody
/// replicated.
pub fn with_a_late_tail(archive: &Archive) -> (SyntheticServer, SyntheticServer) {
    let mut first = SyntheticServer::new(&archive.data(), 1, "binlog");
    first.rotate(4, 100);
    archive.archive(first.dir());
    let dir = archive.path("second");
    fs::create_dir(&dir).expect("writable");
    let mut second = SyntheticServer::starting_at(&dir, 2, "binlog", 1, first.executed().clone());
    second.rotate(3, 100);
    archive.archive(second.dir());
    // Transactions of the old primary that nobody replicated.
    first.rotate(2, 100);
    (first, second)
}

#[test]
fn a_promoted_server_whose_active_file_has_the_rest_of_the_history_continues_it() {
    let archive = Archive::plain();
    let mut first = SyntheticServer::new(&archive.data(), 1, "binlog");
    first.rotate(4, 100);
    let before = first.executed().clone();
    first.rotate(4, 100);
    archive.archive(first.dir());
    let dir = archive.path("second");
    fs::create_dir(&dir).expect("writable");
    // What it replicated last is in the file that it still writes.
    let mut second = SyntheticServer::starting_at(&dir, 2, "binlog", 1, before);
    second.rotate(0, 100);
    second.replicate_into_active(first.executed());
    let said = archive.archive(second.dir());
    assert!(said.contains("1 segment"), "{said}");
    let status = tools::run_text(&mut archive.command(&["status", &archive.url()]));
    assert!(
        status.contains("timeline 1") && !status.contains("timeline 2"),
        "{status}"
    );
    assert_eq!(names(&archive).len(), 3);
}

#[test]
fn an_old_primarys_late_tail_does_not_take_the_place_of_the_history_that_goes_on() {
    let archive = Archive::plain();
    let (first, mut second) = with_a_late_tail(&archive);
    let output = tools::output(&mut archive.archive_command(first.dir()));
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("late tail"), "{said}");
    second.rotate(3, 100);
    archive.archive(second.dir());
    let names = names(&archive);
    assert_eq!(names.len(), 3, "{names:?}");
    let mounted = archive.mount();
    assert_eq!(
        fs::read_dir(mounted.dir()).expect("listed").count(),
        3,
        "the root is the history that goes on"
    );
    let late = mounted.dir().join(".timeline/2/binlog.000002");
    let truth = fs::read(&first.closed()[1]).expect("readable");
    assert!(
        fs::read(late).expect("readable") == truth,
        "and the tail is kept"
    );
}

#[test]
fn an_emptied_store_is_not_begun_anew() {
    let archive = Archive::plain();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(4, 100);
    archive.archive(server.dir());
    let kept = archive.path("kept");
    fs::rename(archive.bucket(), &kept).expect("moved");
    fs::create_dir(archive.bucket()).expect("an empty store");
    server.rotate(4, 100);
    let output = tools::output(&mut archive.archive_command(server.dir()));
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("archived to this stream before"), "{said}");
    assert_eq!(
        fs::read_dir(archive.bucket()).expect("listed").count(),
        0,
        "nothing stands in the way of what comes back"
    );
    fs::remove_dir(archive.bucket()).expect("empty");
    fs::rename(&kept, archive.bucket()).expect("moved back");
    archive.archive(server.dir());
    assert_eq!(names(&archive).len(), 2);
}

#[test]
fn records_made_in_the_place_of_removed_ones_are_noticed_without_an_index() {
    let archive = Archive::plain();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..3).for_each(|_| server.rotate(4, 100));
    archive.archive(server.dir());
    // Somebody removes the last record, and another host archives something else there.
    let last = archive.keys("ledger").pop().expect("a record");
    fs::remove_file(last).expect("removed");
    let dir = archive.path("second");
    fs::create_dir(&dir).expect("writable");
    let mut other = SyntheticServer::starting_at(&dir, 2, "binlog", 1, server.executed().clone());
    (0..2).for_each(|_| other.rotate(4, 100));
    // The other host is told that something is missing: what the removed record was of.
    let output = tools::output(&mut second_state(&archive, &other));
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for name in ["index.db", "index.db-wal", "index.db-shm"] {
        let _ = fs::remove_file(archive.path("state").join(name));
    }
    server.rotate(4, 100);
    let output = tools::output(&mut archive.archive_command(server.dir()));
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("holds something else"), "{said}");
}

/// An archiver of `server` with a state directory of its own.
fn second_state(archive: &Archive, server: &SyntheticServer) -> std::process::Command {
    let mut command = tools::binlogfs();
    command
        .args(["archive", "--once", "--to", &archive.url(), "--source"])
        .arg(server.dir())
        .arg("--state-dir")
        .arg(archive.path("state-2"));
    command
}

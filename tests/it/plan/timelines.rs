//! File names that come again, in one timeline and in others: which is meant is told; a backup of another timeline is refused.

use super::{files, planned, refused, text};
use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use serde_json::Value;
use std::fs;

/// What the second file of the second server is called in the mount.
const SECOND: &str = "binlog.999999.000002.0000000002";

/// Timeline 1 has a file of the first server and two of its successor, which has named its files alike. Timeline 2 has the second
/// file of the first server: transactions that nobody replicated. The backup `early` was registered when there was one server
/// only.
fn twice() -> Archive {
    let archive = Archive::plain();
    let mut first = SyntheticServer::new(&archive.data(), 1, "binlog");
    first.rotate(4, 100);
    archive.archive(first.dir());
    register(&archive, "early", &["--position", "binlog.000001:4"]);
    let dir = archive.path("second");
    fs::create_dir(&dir).expect("writable");
    let mut second = SyntheticServer::starting_at(&dir, 2, "binlog", 1, first.executed().clone());
    second.rotate(3, 100);
    second.rotate(3, 100);
    archive.archive(second.dir());
    first.rotate(2, 100);
    tools::output(&mut archive.archive_command(first.dir()));
    archive
}

fn register(archive: &Archive, id: &str, place: &[&str]) {
    let url = archive.url();
    let add = ["backup", "add", &url, "--id", id, "--place", "tape"];
    tools::run(&mut archive.command(&[&add[..], place].concat()));
}

#[test]
fn of_files_that_are_called_alike_the_one_that_is_meant_is_told_and_how_to_name_the_others() {
    let archive = twice();
    let note = |position: &str, more: &[&str]| {
        let all = [&["--position", position], more].concat();
        archive.json("locate", &all, 0)["note"].clone()
    };
    let both = "binlog.000001 is taken to mean binlog.000001 of timeline 1; to mean another file of that name, write \
                binlog.999999.000002.0000000001";
    assert_eq!(note("binlog.000001:4", &[]), both);
    let successor = format!(
        "binlog.000002 is taken to mean {SECOND} of timeline 1; to mean another file of that name, write binlog.000002 with --timeline 2"
    );
    assert_eq!(note("binlog.000002:4", &[]), successor.as_str());
    let tail = format!(
        "binlog.000002 is taken to mean binlog.000002 of timeline 2; to mean another file of that name, write {SECOND} with --timeline 1"
    );
    assert_eq!(note("binlog.000002:4", &["--timeline", "2"]), tail.as_str());
    // What is named without doubt needs no note.
    assert_eq!(note(&format!("{SECOND}:4"), &[]), Value::Null);

    let target = ["--to-position", "binlog.000002:4"];
    let plan = planned(&archive, &target);
    assert_eq!(plan["stop"]["file"], SECOND, "{plan:#}");
    assert_eq!(plan["notes"], serde_json::json!([successor]), "{plan:#}");
    let url = archive.url();
    let told = archive.output(&[&["plan", &url], &target[..]].concat());
    let printed = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        printed.contains(&format!("note      {successor}")),
        "{printed}"
    );
    // On standard output there are binlogs; and what is refused may be so because the other file was meant.
    let cat = archive.output(&[&["cat", &url], &target[..]].concat());
    let beyond = ["plan", &url, "--to-position", "binlog.000002:999999"];
    for (output, code) in [(cat, 0), (archive.output(&beyond), 4)] {
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(&format!("note: {successor}")), "{said}");
    }
}

#[test]
fn the_position_of_a_backup_of_another_timeline_is_refused_with_the_timeline_to_ask_for() {
    let archive = twice();
    // When the old primary wrote what nobody replicated.
    let taken = ["--taken", "2023-11-14T22:13:40Z"];
    let place = ["--position", "binlog.000002:4"];
    register(&archive, "tail", &[place, taken].concat());
    let refusal = refused(&archive, &["--to-end", "--backup", "tail"], "timeline");
    let reason = text(&refusal["reason"]);
    assert!(reason.contains("of timeline 2"), "{refusal:#}");
    assert!(refusal["instead"].to_string().contains("--timeline 2"));
    let url = archive.url();
    let mut cat = archive.command(&["cat", &url, "--backup", "tail"]);
    let says = ["not recoverable", "of timeline 2", "--timeline 2"];
    tools::refused(&mut cat, 4, &says);
    let there = ["--to-end", "--backup", "tail", "--timeline", "2"];
    assert_eq!(files(&planned(&archive, &there)), ["binlog.000002"]);
    // Without its time it is not known which of those called alike is meant.
    let refusal = refused(&archive, &["--to-end", "--backup", "early"], "unknown");
    assert!(refusal["instead"].to_string().contains("--taken"));
}

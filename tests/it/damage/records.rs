//! Records that are damaged, lost or cut off the end of the ledger.

use super::stream::{DAMAGES, SEGMENTS, Stream, flipped, name, put};
use crate::archive::Archive;
use crate::tools;
use std::fs::{self, File};

#[test]
fn a_damaged_record_hides_its_own_segment_only_and_is_named() {
    let stream = Stream::of(Archive::encrypted(), SEGMENTS, 3, 1000);
    let url = stream.archive.url();
    for n in [0, 2, SEGMENTS - 1] {
        let whole = fs::read(stream.record(n)).expect("readable");
        for (what, damage) in DAMAGES {
            let newest = n == SEGMENTS - 1;
            if newest && what == "deleted" {
                continue; // A shorter ledger is a valid one: see the test of the deleted tail.
            }
            let what = format!("record {}: {what}", n + 1);
            put(&stream.record(n), damage(&whole).as_deref());
            stream.forget();
            let ls = stream.archive.ls(&[]);
            let lost: Vec<_> = ls.iter().filter(|entry| entry["state"] == "lost").collect();
            assert_eq!((ls.len(), lost.len()), (SEGMENTS, 1), "{what}: {ls:?}");
            assert!(
                lost[0]["reason"]
                    .as_str()
                    .expect("text")
                    .contains(&format!("record {} ", n + 1)),
                "{what}: {lost:?}"
            );
            for other in (0..SEGMENTS).filter(|other| *other != n) {
                assert_eq!(stream.cat(other, &what), None);
            }
            let cat = stream.archive.output(&["cat", &url]);
            assert_eq!(
                (cat.status.code(), cat.stdout.len()),
                (Some(1), 0),
                "{what}: nothing is written over the loss"
            );
            let findings = stream.findings(&what);
            assert!(
                findings
                    .iter()
                    .any(|finding| finding.contains(&format!("record {} ", n + 1))),
                "{what}: {findings:?}"
            );
            assert!(
                stream
                    .ends(&["status", &url], 3, &what)
                    .contains(&format!("record {} ", n + 1))
            );
            put(&stream.record(n), Some(&whole));
            // The index that passed over it is healed, or built again when asked to.
            stream.ends(&["index", "rebuild", &url], 0, &what);
            assert!(
                stream
                    .archive
                    .ls(&[])
                    .iter()
                    .all(|entry| entry["state"] == "archived"),
                "{what}"
            );
        }
    }
    stream.archive.verify();
}

#[test]
fn a_mount_shows_a_lost_record_as_a_file_that_cannot_be_read() {
    let stream = Stream::of(Archive::encrypted(), SEGMENTS, 3, 1000);
    put(&stream.record(2), None);
    stream.forget();
    let mounted = stream.archive.mount();
    let mut names: Vec<_> = fs::read_dir(mounted.dir())
        .expect("lists")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "binlog.000001",
            "binlog.000002",
            "binlog.000002.0",
            "binlog.000004",
            "binlog.000005"
        ]
    );
    let error = File::open(mounted.dir().join("binlog.000002.0")).expect_err("lost");
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    for n in [0, 1, 3, 4] {
        assert!(fs::read(mounted.dir().join(name(n))).expect("readable") == stream.truth[n]);
    }
}

#[test]
fn nothing_is_appended_after_a_newest_record_that_cannot_be_read() {
    let mut stream = Stream::of(Archive::encrypted(), SEGMENTS, 3, 1000);
    stream.server.rotate(3, 1000);
    let whole = fs::read(stream.record(SEGMENTS - 1)).expect("readable");
    put(&stream.record(SEGMENTS - 1), Some(&flipped(&whole, 40)));
    let before = (
        stream.archive.keys("ledger"),
        stream.archive.keys("segments"),
    );
    for forgetful in [false, true] {
        if forgetful {
            fs::remove_dir_all(stream.archive.path("state")).expect("removable");
        }
        let output = tools::output(&mut stream.archive.archive_command(stream.server.dir()));
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("record 5") || said.contains("record, 5,"),
            "the record is named: {said}"
        );
        assert_eq!(
            (
                stream.archive.keys("ledger"),
                stream.archive.keys("segments")
            ),
            before,
            "nothing was written"
        );
    }
    put(&stream.record(SEGMENTS - 1), Some(&whole));
    stream.goes_on();
}

#[test]
fn archiving_goes_on_after_a_record_lost_in_the_middle() {
    for forgetful in [false, true] {
        let mut stream = Stream::of(Archive::encrypted(), SEGMENTS, 3, 1000);
        stream.server.rotate(3, 1000);
        put(&stream.record(2), Some(b"{}\n"));
        if forgetful {
            fs::remove_dir_all(stream.archive.path("state")).expect("removable");
        }
        let said = stream.archive.archive(stream.server.dir());
        assert!(said.contains("archived 1 segment "), "{said}");
        stream.forget();
        let ls = stream.archive.ls(&[]);
        let last = ls.last().expect("an entry");
        assert_eq!(
            (last["name"].as_str(), last["state"].as_str()),
            (Some("binlog.000006"), Some("archived")),
            "{ls:?}"
        );
    }
}

#[test]
fn a_deleted_tail_of_the_ledger_is_seen_by_whoever_saw_it() {
    let mut stream = Stream::of(Archive::encrypted(), SEGMENTS, 3, 1000);
    let url = stream.archive.url();
    stream.archive.ls(&[]);
    stream.server.rotate(3, 1000);
    let newest = [3, 4].map(|n| {
        (
            stream.record(n),
            fs::read(stream.record(n)).expect("readable"),
        )
    });
    newest.iter().for_each(|(path, _)| put(path, None));
    let before = (
        stream.archive.keys("ledger"),
        stream.archive.keys("segments"),
    );

    // A reader with its index, and the mount.
    for (arguments, code) in [
        (vec!["ls", &url], 3),
        (vec!["status", &url], 3),
        (vec!["cat", &url, "binlog.000005"], 3),
        // Where it ends is not known: all of it cannot be given.
        (vec!["cat", &url], 1),
    ] {
        let said = stream.ends(&arguments, code, "a tail is gone");
        assert!(
            said.contains("went backwards") && said.contains("record 5"),
            "{said}"
        );
    }
    let log = stream.archive.path("mount.log");
    let mounted = stream
        .archive
        .mount_with(&["--log-file", log.to_str().expect("text")]);
    let read = fs::read(mounted.dir().join("binlog.000005")).expect("readable");
    assert!(read == stream.truth[4]);
    drop(mounted);
    let said = fs::read_to_string(&log).expect("text");
    assert!(said.contains("went backwards"), "{said}");
    let findings = stream.findings("a tail is gone");
    assert!(
        findings
            .iter()
            .any(|finding| finding.contains("record 3") && finding.contains("record 5")),
        "{findings:?}"
    );

    // The archiver with its index; without it, by its manifest.
    for (left, says) in [
        ("index", "went backwards"),
        ("manifest", "records were removed"),
    ] {
        if left == "manifest" {
            for file in ["index.db", "index.db-wal", "index.db-shm"] {
                let _ = fs::remove_file(stream.archive.path("state").join(file));
            }
        }
        let output = tools::output(&mut stream.archive.archive_command(stream.server.dir()));
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{left}: {said}");
        assert!(said.contains(says) && said.contains('5'), "{left}: {said}");
        assert_eq!(
            (
                stream.archive.keys("ledger"),
                stream.archive.keys("segments")
            ),
            before,
            "{left}: nothing was written"
        );
    }

    // Whoever never saw it cannot know; that objects without a record lie there, it can.
    stream.forget();
    assert_eq!(stream.archive.ls(&[]).len(), 3);
    stream.forget();
    let said = stream.ends(&["verify", &url, "--orphans"], 0, "a shorter ledger");
    assert!(said.contains("2 orphans"), "{said}");

    // Put back, everything goes on.
    newest
        .iter()
        .for_each(|(path, bytes)| put(path, Some(bytes)));
    stream.goes_on();
}

//! Files that were purged before they were archived, and files that are damaged: recorded, shown, and never replayed over.

use crate::archive::Archive;
use crate::sweep::memory_dir;
use crate::synthetic::SyntheticServer;
use crate::{memory, mysql, tools};
use binlogfs::ledger::record_key;
use binlogfs::model::Seq;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{MemoryStore, SharedStore};
use binlogfs::sync::Settings;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A stream of two segments, whose server then closed `missing` files and one more, and purged all but the last.
fn purged(missing: usize) -> (Archive, SyntheticServer) {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 1000);
    server.rotate(2, 1000);
    archive.archive(server.dir());
    (0..=missing).for_each(|_| server.rotate(2, 1000));
    server.purge(2 + missing);
    (archive, server)
}

fn states(archive: &Archive) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    archive
        .ls(&[])
        .iter()
        .map(|entry| (text(&entry["name"]), text(&entry["state"])))
        .collect()
}

/// A command that must end with `code`; what it said on stderr and stdout together.
fn ends(archive: &Archive, arguments: &[&str], code: i32) -> String {
    let output = archive.output(arguments);
    let said = tools::excerpt(&output.stderr) + &tools::excerpt(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

/// Whether mysqlbinlog reads all of what the mount shows.
fn replays(dir: &Path) -> bool {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .expect("lists")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    tools::output(
        mysql::mysqlbinlog()
            .arg("--verify-binlog-checksum")
            .args(files),
    )
    .status
    .success()
}

/// What can be read of a file, and the error that ended it.
fn read_some(path: &Path) -> (Vec<u8>, Option<io::Error>) {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)) {
        Ok(_) => (bytes, None),
        Err(error) => (bytes, Some(error)),
    }
}

#[test]
fn two_files_purged_too_early_are_holes_that_nothing_reads_over() {
    let (archive, server) = purged(2);
    let output = tools::output(&mut archive.archive_command(server.dir()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    for words in [
        "binlog.000004 was gone from the server",
        "recorded as a hole",
        "history is missing before what was archived (binlog.000003 and 1 more)",
    ] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    // Whoever looks at exit codes alone was told.
    let again = tools::output(&mut archive.archive_command(server.dir()));
    assert_eq!(again.status.code(), Some(0));
    let want = [
        (1, "archived"),
        (2, "archived"),
        (3, "hole"),
        (4, "hole"),
        (5, "archived"),
    ];
    assert_eq!(
        states(&archive),
        want.map(|(number, state)| (format!("binlog.{number:06}"), state.to_owned()))
    );

    let cat = archive.output(&["cat", &archive.url()]);
    assert_eq!(cat.status.code(), Some(1));
    assert!(
        cat.stdout.is_empty(),
        "nothing is written before the hole is seen"
    );
    let said = String::from_utf8_lossy(&cat.stderr);
    assert!(
        said.contains("binlog.000003") && said.contains("nothing was written"),
        "{said}"
    );
    let status = ends(&archive, &["status", &archive.url()], 3);
    assert!(
        status.contains("binlog.000003") && status.contains("binlog.000004"),
        "{status}"
    );

    let mounted = archive.mount();
    let listed: Vec<_> = fs::read_dir(mounted.dir())
        .expect("lists")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(listed.len(), 5, "{listed:?}");
    for hole in ["binlog.000003", "binlog.000004"] {
        let error = File::open(mounted.dir().join(hole)).expect_err("a hole");
        assert_eq!(error.raw_os_error(), Some(libc::EIO), "{error}");
    }
    assert!(
        !replays(mounted.dir()),
        "mysqlbinlog does not replay over a hole"
    );
    let last = mounted.dir().join("binlog.000005");
    assert!(fs::read(last).expect("readable") == fs::read(&server.closed()[0]).expect("readable"));
}

/// Killed between the record of a hole and that of the segment behind it, a run has told nobody.
#[tokio::test]
async fn a_hole_that_a_killed_run_recorded_is_told_by_the_run_after_it() {
    let temp = memory_dir();
    let data = temp.path().join("data");
    fs::create_dir(&data).expect("writable");
    let settings = Settings::new(temp.path().join("state"));
    let mut server = SyntheticServer::new(&data, 1, "binlog");
    server.rotate(2, 100);
    let memory = MemoryStore::new();
    let store: SharedStore = Arc::new(memory.clone());
    let first = memory::archive(&server, Arc::clone(&store), &settings).await;
    assert!(first.expect("archives").missing.is_empty());
    (0..2).for_each(|_| server.rotate(2, 100));
    server.purge(2);
    let behind_the_hole = record_key(Seq(3));
    let clock = FaultClock::new(move |op| {
        let is_it = op.what == "create" && op.key == behind_the_hole.as_str();
        if is_it {
            Fault::CrashBefore
        } else {
            Fault::None
        }
    });
    let dying = Arc::new(FaultStore::new(Arc::clone(&store), clock));
    let killed = memory::archive(&server, dying, &settings).await;
    killed.expect_err("it is killed");
    assert!(memory.keys().contains(&record_key(Seq(2))));
    let after = memory::archive(&server, Arc::clone(&store), &settings).await;
    let after = after.expect("archives");
    assert_eq!(after.missing, ["binlog.000002"]);
    assert_eq!(after.archived, [("binlog.000003".to_owned(), 3)]);
    let later = memory::archive(&server, store, &settings).await;
    assert!(later.expect("runs").missing.is_empty());
}

#[test]
fn five_missing_files_are_recorded_only_if_a_person_says_so() {
    let (archive, server) = purged(5);
    let before = (archive.keys("ledger"), archive.keys("segments"));
    let output = tools::output(&mut archive.archive_command(server.dir()));
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in [
        "5 files",
        "binlog.000008",
        "binlog.000003",
        "--accept-holes",
    ] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    assert_eq!(
        (archive.keys("ledger"), archive.keys("segments")),
        before,
        "nothing was recorded, and nothing is left"
    );
    let mut accepting = archive.archive_command(server.dir());
    accepting.args(["--accept-holes", "--json"]);
    let output = tools::output(&mut accepting);
    assert_eq!(output.status.code(), Some(3));
    let outcome: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let holes: Vec<_> = (3..8).map(|n| format!("binlog.{n:06}")).collect();
    assert_eq!(outcome["missing"], serde_json::json!(holes));
    let states = states(&archive);
    assert_eq!(
        states.iter().filter(|(_, state)| state == "hole").count(),
        5,
        "{states:?}"
    );
    assert_eq!(
        states.last(),
        Some(&("binlog.000008".to_owned(), "archived".to_owned()))
    );
    let status = ends(&archive, &["status", &archive.url()], 3);
    assert!(
        (3..8).all(|number| status.contains(&format!("binlog.{number:06}"))),
        "{status}"
    );
}

#[test]
fn a_thousand_and_more_missing_files_are_recorded_too() {
    const MISSING: u64 = 1100;
    let archive = Archive::plain();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 100);
    archive.archive(server.dir());
    let executed = server.executed().clone();
    let mut later =
        SyntheticServer::starting_at(&archive.data(), 1, "binlog", 2 + MISSING, executed);
    later.rotate(2, 100);
    let output = tools::output(archive.archive_command(later.dir()).arg("--accept-holes"));
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(archive.keys("ledger").len() as u64, MISSING + 2);
    assert_eq!(states(&archive).len() as u64, MISSING + 2);
}

#[test]
fn a_damaged_source_file_is_archived_as_it_is_and_read_up_to_the_damage() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..3).for_each(|_| server.rotate(20, 3000));
    let damaged = &server.closed()[1];
    let mut bytes = fs::read(damaged).expect("readable");
    let flipped = bytes.len() / 2;
    bytes[flipped] ^= 0x10;
    fs::write(damaged, &bytes).expect("writable");

    let output = tools::output(&mut archive.archive_command(server.dir()));
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("binlog.000002") && said.contains("damaged"),
        "{said}"
    );
    let states = states(&archive);
    assert!(
        states.contains(&("binlog.000002".to_owned(), "damaged".to_owned())),
        "{states:?}"
    );
    assert_eq!(
        states.last(),
        Some(&("binlog.000003".to_owned(), "archived".to_owned())),
        "what comes after it is archived"
    );
    let closed_by: Vec<_> = archive
        .ls(&[])
        .iter()
        // Of the gap that the damage leaves there is nothing to say.
        .filter_map(|entry| entry["closed_by"].as_str().map(str::to_owned))
        .collect();
    assert_eq!(
        closed_by,
        ["rotate", "unknown", "rotate"],
        "its ROTATE lies behind the damage: nobody says that the server crashed"
    );
    assert!(!said.contains("crashed"), "{said}");
    assert!(ends(&archive, &["status", &archive.url()], 3).contains("binlog.000002"));

    let mounted = archive.mount();
    let (read, error) = read_some(&mounted.dir().join("binlog.000002"));
    assert_eq!(
        error.and_then(|error| error.raw_os_error()),
        Some(libc::EIO)
    );
    assert!(
        read.len() > flipped / 2 && read.len() <= flipped,
        "{} bytes of {flipped}",
        read.len()
    );
    assert!(
        bytes.starts_with(&read),
        "what is read is what the server has"
    );
    assert_eq!(
        fs::metadata(mounted.dir().join("binlog.000002"))
            .expect("there")
            .len(),
        bytes.len() as u64
    );
    assert!(fs::read(mounted.dir().join(".raw/binlog.000002")).expect("readable") == bytes);
    for (name, path) in [
        ("binlog.000001", &server.closed()[0]),
        ("binlog.000003", &server.closed()[2]),
    ] {
        assert!(
            fs::read(mounted.dir().join(name)).expect("readable")
                == fs::read(path).expect("readable"),
            "{name}"
        );
    }
    assert!(
        !replays(mounted.dir()),
        "mysqlbinlog does not replay over the damage"
    );

    let cat = archive.output(&["cat", &archive.url(), "binlog.000002"]);
    assert_eq!(cat.status.code(), Some(1));
    assert!(
        bytes.starts_with(&cat.stdout) && cat.stdout.len() <= read.len(),
        "{} bytes",
        cat.stdout.len()
    );
    assert!(String::from_utf8_lossy(&cat.stderr).contains("binlog.000002"));
    let raw = archive.output(&["cat", &archive.url(), "binlog.000002", "--raw"]);
    assert!(raw.status.success() && raw.stdout == bytes);
}

#[test]
fn a_file_cut_after_the_server_closed_it_is_damaged_and_one_torn_by_a_crash_is_not() {
    for (in_use, closed_by) in [(true, "crash"), (false, "unknown")] {
        let archive = Archive::plain();
        let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
        (0..2).for_each(|_| server.rotate(20, 3000));
        let cut = &server.closed()[0];
        let mut bytes = fs::read(cut).expect("readable");
        bytes.truncate(bytes.len() / 2);
        // IN_USE in the flags of the format description, behind the magic.
        bytes[4 + 17] |= u8::from(in_use);
        fs::write(cut, &bytes).expect("writable");

        let output = tools::output(&mut archive.archive_command(server.dir()));
        let said = tools::excerpt(&output.stderr);
        // Of the one that is torn the next file has executed more than it holds.
        assert_eq!(output.status.code(), Some(3), "{said}");
        assert!(!in_use || said.contains("recorded as a gap"), "{said}");
        assert_eq!(said.contains("cut short"), !in_use, "{said}");
        let entry = &archive.ls(&[])[0];
        assert_eq!(entry["closed_by"], closed_by);
    }
}

//! MariaDB, on a real server and its real mariadb-binlog: what is archived, read back, refused and said of its GTIDs.

mod corpus;
mod encryption;
mod flavours;
mod opinion;
mod second_opinion;
pub mod server;
mod template;

use crate::archive::Archive;
use crate::tools;
use binlogfs::model::GtidSet;
use server::{MariaDb, mariadb_binlog};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// mariadb-binlog's whole output over `files`, checksums verified, and its exit code.
fn replay(files: &[PathBuf], local_load: &Path) -> (Option<i32>, String) {
    // LOAD DATA files get names that no other run may have taken, and those names are in the output.
    let _ = fs::remove_dir_all(local_load);
    fs::create_dir(local_load).expect("the temporary directory is writable");
    let mut command = mariadb_binlog();
    command
        .args(["--verify-binlog-checksum", "-vv"])
        .arg(format!("--local-load={}", local_load.display()))
        .args(files);
    let output = tools::output(&mut command);
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
    )
}

fn names_of(archive: &Archive, more: &[&str]) -> Vec<String> {
    let name = |entry: &serde_json::Value| entry["name"].as_str().expect("a name").to_owned();
    archive.ls(more).iter().map(name).collect()
}

/// A field of `ls --json` that is a GTID set.
fn set(entry: &serde_json::Value, field: &str) -> GtidSet {
    let text = entry[field].as_str();
    let text = text.unwrap_or_else(|| panic!("no {field} in {entry:#}"));
    text.parse().expect("a GTID set")
}

/// MariaDB's list of the last GTID of each domain and server, as the set that it stands for.
fn position(list: &str) -> GtidSet {
    list.parse::<GtidSet>()
        .expect("a list of GTIDs")
        .into_position_form()
}

/// Files in `mount` under `names`, and the output of `cat`, against the server's: by byte, and by mariadb-binlog.
fn compare(archive: &Archive, closed: &[PathBuf], names: &[String], mount: &Path) {
    assert_eq!(closed.len(), names.len(), "every closed file, and no other");
    let replay = |files: &[PathBuf]| replay(files, &archive.path("load"));
    let mounted: Vec<PathBuf> = names.iter().map(|name| mount.join(name)).collect();
    for (server, mounted) in closed.iter().zip(&mounted) {
        let at = mounted.display();
        let want = fs::read(server).expect("readable");
        assert!(want == fs::read(mounted).expect("readable"), "{at} differs");
        let one = replay(std::slice::from_ref(server));
        assert_eq!(one, replay(std::slice::from_ref(mounted)), "{at}");
    }
    let (code, text) = replay(&mounted);
    assert_eq!(code, Some(0), "mariadb-binlog reads the whole history");
    assert!(text.contains("Gtid list ["), "it printed events");
    assert_eq!((code, text), replay(closed));
}

fn cat_is(archive: &Archive, closed: &[PathBuf], more: &[&str]) {
    let url = archive.url();
    let arguments: Vec<&str> = ["cat", &url]
        .into_iter()
        .chain(more.iter().copied())
        .collect();
    let printed = tools::run(&mut archive.command(&arguments));
    let whole: Vec<u8> = closed
        .iter()
        .flat_map(|path| fs::read(path).expect("readable"))
        .collect();
    assert!(printed == whole, "cat differs from the server's files");
}

fn round_trip(name: &str) {
    let snapshot = corpus::snapshot(name);
    let archive = Archive::encrypted();
    archive.archive(&snapshot.dir);
    let mounted = archive.mount();
    let closed = snapshot.closed();
    compare(&archive, &closed, &names_of(&archive, &[]), mounted.dir());
    cat_is(&archive, &closed, &[]);
    archive.verify();
    assert!(
        archive
            .archive(&snapshot.dir)
            .contains("archived 0 segments"),
        "a second run finds nothing to do"
    );
}

macro_rules! round_trips {
    ($($name:ident: $snapshot:literal,)*) => {
        $(#[test]
        fn $name() {
            round_trip($snapshot);
        })*
    };
}

round_trips! {
    row_events_come_back_byte_for_byte: "row",
    statements_come_back_byte_for_byte: "statement",
    the_mixed_format_comes_back_byte_for_byte: "mixed",
    files_without_checksums_come_back_byte_for_byte: "nochecksum",
    compressed_events_come_back_byte_for_byte: "compressed",
    several_gtid_domains_come_back_byte_for_byte: "domains",
    files_rotated_by_size_come_back_byte_for_byte: "sized",
    files_closed_by_a_crash_come_back_byte_for_byte: "crash",
    a_file_closed_by_a_shutdown_comes_back_byte_for_byte: "stopped",
}

#[test]
fn gtid_sets_are_those_that_the_server_lists_at_the_head_of_the_next_file() {
    for name in corpus::names() {
        let snapshot = corpus::snapshot(name);
        let archive = Archive::plain();
        archive.archive(&snapshot.dir);
        let (mut before, mut archived) = (GtidSet::new(), GtidSet::new());
        for (entry, file) in archive.ls(&[]).iter().zip(snapshot.files()) {
            let at = format!("{name}: {}", file.display());
            let theirs = opinion::theirs(&file);
            assert_eq!(position(&theirs.gtid_list.join(",")), before, "{at}");
            assert_eq!(set(entry, "previous_gtids"), before, "{at}");
            assert_eq!(set(entry, "gtids"), theirs.gtids(), "{at}");
            assert_eq!(entry["transactions"], theirs.transactions.len(), "{at}");
            archived.union_with(&theirs.gtids());
            before.union_with(&theirs.gtids());
            before = before.into_position_form();
        }
        let active = snapshot.files().pop().expect("a snapshot has files");
        let active = opinion::theirs(&active);
        assert_eq!(position(&active.gtid_list.join(",")), before, "{name}");
        before.union_with(&active.gtids());
        if let Some(state) = snapshot.state() {
            assert_eq!(position(&state), before.into_position_form(), "{name}");
        }
        let status = tools::run(&mut archive.command(&["status", &archive.url(), "--json"]));
        let status: serde_json::Value = serde_json::from_slice(&status).expect("JSON");
        assert_eq!(status["flavour"], "mariadb", "{name}");
        assert_eq!(status["findings"], serde_json::json!([]), "{name}");
        assert_eq!(set(&status["timelines"][0], "gtids"), archived, "{name}");
    }
}

#[test]
fn only_files_that_a_killed_server_left_are_closed_by_a_crash() {
    for name in corpus::names() {
        let archive = Archive::plain();
        let snapshot = corpus::snapshot(name);
        archive.archive(&snapshot.dir);
        let listed = archive.ls(&[]);
        let closed_by = |how: &str| {
            let by = |entry: &&serde_json::Value| entry["closed_by"] == how;
            listed.iter().filter(by).count()
        };
        let crashed = if name == "crash" { 2 } else { 0 };
        let stopped = usize::from(name == "stopped");
        assert_eq!(closed_by("crash"), crashed, "{name}");
        assert_eq!(closed_by("stop"), stopped, "{name}");
        let all = snapshot.closed().len();
        assert_eq!(closed_by("rotate"), all - crashed - stopped, "{name}");
    }
}

/// One transaction in each of so many files.
fn files(server: &MariaDb, count: usize) {
    let one = "INSERT INTO d.t (v) VALUES ('row'); FLUSH BINARY LOGS;\n";
    server.sql(&one.repeat(count));
}

/// A server with a table.
fn started() -> MariaDb {
    let server = MariaDb::start(&[]);
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, v TEXT)");
    server
}

/// Waits until the server's clock shows another second: files that begin in one second with the same list of GTIDs have
/// the same head.
fn next_second() {
    std::thread::sleep(Duration::from_millis(1100));
}

#[test]
fn reset_master_begins_a_timeline_and_the_old_one_stays_readable() {
    let (server, archive) = (started(), Archive::encrypted());
    files(&server, 3);
    let before = archive.path("before");
    fs::create_dir(&before).expect("writable");
    server.snapshot(&before);
    archive.archive(&server.datadir());
    let position_before = server.sql_value("SELECT @@gtid_binlog_pos");
    next_second();
    server.sql("RESET MASTER");
    files(&server, 2);
    let after = server.closed();
    archive.archive(&server.datadir());

    let old: Vec<PathBuf> = ["binlog.000001", "binlog.000002", "binlog.000003"]
        .map(|name| before.join(name))
        .into();
    let mounted = archive.mount();
    let names = names_of(&archive, &[]);
    assert_eq!(names, ["binlog.000001", "binlog.000002"], "the same names");
    compare(&archive, &after, &names, mounted.dir());
    cat_is(&archive, &after, &[]);
    let names = names_of(&archive, &["--timeline", "1"]);
    compare(&archive, &old, &names, &mounted.dir().join(".timeline/1"));
    cat_is(&archive, &old, &["--timeline", "1"]);
    archive.verify();
    let status = tools::run(&mut archive.command(&["status", &archive.url(), "--json"]));
    let status: serde_json::Value = serde_json::from_slice(&status).expect("JSON");
    for (timeline, pos) in [
        (0, position_before),
        (1, server.sql_value("SELECT @@gtid_binlog_pos")),
    ] {
        assert_eq!(set(&status["timelines"][timeline], "gtids"), position(&pos));
    }
}

#[test]
fn reset_master_to_the_next_number_does_not_continue_what_it_forgot() {
    let (server, archive) = (started(), Archive::plain());
    files(&server, 2);
    archive.archive(&server.datadir());
    next_second();
    server.sql("RESET MASTER TO 3");
    files(&server, 1);
    archive.archive(&server.datadir());
    assert_eq!(names_of(&archive, &[]), ["binlog.000003"]);
    assert_eq!(names_of(&archive, &["--timeline", "1"]).len(), 2);
}

#[test]
fn files_purged_too_early_are_holes_that_cannot_be_opened() {
    let (server, archive) = (started(), Archive::encrypted());
    files(&server, 2);
    archive.archive(&server.datadir());
    files(&server, 3);
    server.purge_to("binlog.000005");
    let output = tools::output(&mut archive.archive_command(&server.datadir()));
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(
        said.contains("binlog.000003") && said.contains("hole"),
        "{said}"
    );
    let states: Vec<_> = archive.ls(&[]).iter().map(|e| e["state"].clone()).collect();
    assert_eq!(states, ["archived", "archived", "hole", "hole", "archived"]);
    let status = archive.output(&["status", &archive.url()]);
    assert_eq!(status.status.code(), Some(3), "a hole is a finding");
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(
        said.contains("binlog.000003") && said.contains("binlog.000004"),
        "{said}"
    );

    let mounted = archive.mount();
    for (n, name) in names_of(&archive, &[]).iter().enumerate() {
        let path = mounted.dir().join(name);
        if states[n] == "hole" {
            let error = File::open(&path).expect_err("a hole");
            assert_eq!(error.raw_os_error(), Some(libc::EIO), "{name}: {error}");
        }
    }
    let last = mounted.dir().join("binlog.000005");
    let server_has = fs::read(&server.closed()[0]).expect("readable");
    assert!(fs::read(last).expect("readable") == server_has);
    let mut all: Vec<PathBuf> = names_of(&archive, &[])
        .iter()
        .map(|name| mounted.dir().join(name))
        .collect();
    all.sort();
    let (code, _) = replay(&all, &archive.path("load"));
    assert_eq!(code, Some(1), "mariadb-binlog does not replay over a hole");
}

#[test]
fn a_domain_that_is_deleted_from_the_list_begins_no_timeline() {
    let (server, archive) = (started(), Archive::plain());
    server.sql(
        "SET gtid_domain_id = 5; INSERT INTO d.t (v) VALUES ('of domain 5'); FLUSH BINARY LOGS",
    );
    files(&server, 1);
    archive.archive(&server.datadir());
    server.purge_to("binlog.000003");
    server.sql("FLUSH BINARY LOGS DELETE_DOMAIN_ID = (5)");
    files(&server, 2);
    let state = server.sql_value("SELECT @@gtid_binlog_state");
    assert!(!state.contains("5-1-1"), "{state}");
    archive.archive(&server.datadir());
    let listed = archive.ls(&[]);
    assert_eq!(
        listed.len(),
        5,
        "one timeline, no hole, no gap: {listed:#?}"
    );
    assert!(listed.iter().all(|entry| entry["state"] == "archived"));
    archive.verify();
}

#[test]
fn a_sequence_number_that_was_set_back_begins_no_timeline() {
    let (server, archive) = (started(), Archive::plain());
    let insert = "INSERT INTO d.t (v) VALUES ('row')";
    server.sql(&format!(
        "SET gtid_seq_no = 500; {insert}; FLUSH BINARY LOGS"
    ));
    files(&server, 1);
    archive.archive(&server.datadir());
    server.sql(&format!(
        "SET gtid_seq_no = 100; {insert}; FLUSH BINARY LOGS"
    ));
    files(&server, 2);
    archive.archive(&server.datadir());
    let listed = archive.ls(&[]);
    assert_eq!(
        listed.len(),
        5,
        "one timeline, no hole, no gap: {listed:#?}"
    );
    for (entry, file) in listed.iter().zip(server.binlogs()) {
        let theirs = opinion::theirs(&file);
        assert_eq!(set(entry, "gtids"), theirs.gtids());
        assert_eq!(
            set(entry, "previous_gtids"),
            position(&theirs.gtid_list.join(","))
        );
    }
    archive.verify();
}

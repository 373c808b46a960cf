//! The whole path on real files of every kind: what is mounted is what the server wrote, to the byte and to mysqlbinlog.

use crate::archive::Archive;
use crate::{corpus, mysql, tools};
use std::fs;
use std::path::{Path, PathBuf};

/// mysqlbinlog's whole output over `files`, checksums verified, and whether it ended well.
fn replay(files: &[PathBuf], local_load: &Path) -> (Option<i32>, String) {
    // LOAD DATA files get names that no other run may have taken, and those names are in the output.
    let _ = fs::remove_dir_all(local_load);
    fs::create_dir(local_load).expect("the temporary directory is writable");
    let mut command = mysql::mysqlbinlog();
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

/// Every closed file of a snapshot against its copy in `mount`.
fn compare(archive: &Archive, closed: &[PathBuf], names: &[String], mount: &Path) {
    let replay = |files: &[PathBuf]| replay(files, &archive.path("load"));
    assert_eq!(
        closed.len(),
        names.len(),
        "every closed file is archived, and no other"
    );
    let mounted: Vec<PathBuf> = names.iter().map(|name| mount.join(name)).collect();
    for (server, mounted) in closed.iter().zip(&mounted) {
        let (want, got) = (
            fs::read(server).expect("readable"),
            fs::read(mounted).expect("readable"),
        );
        assert_eq!(want.len(), got.len(), "{}", mounted.display());
        assert!(
            want == got,
            "{} differs from {}",
            mounted.display(),
            server.display()
        );
        assert_eq!(
            replay(std::slice::from_ref(server)),
            replay(std::slice::from_ref(mounted)),
            "{}",
            mounted.display()
        );
    }
    let (code, text) = replay(&mounted);
    assert_eq!(code, Some(0), "mysqlbinlog reads the whole history");
    assert!(text.contains("# at "), "it printed events");
    assert_eq!((code, text), replay(closed));
}

fn names_of(archive: &Archive, more: &[&str]) -> Vec<String> {
    archive
        .ls(more)
        .iter()
        .map(|entry| entry["name"].as_str().expect("a name").to_owned())
        .collect()
}

fn round_trip(snapshot: &str) {
    let snapshot = corpus::snapshot(snapshot);
    let archive = Archive::encrypted();
    archive.archive(&snapshot.dir);
    let mounted = archive.mount();
    compare(
        &archive,
        &snapshot.closed(),
        &names_of(&archive, &[]),
        mounted.dir(),
    );
    archive.verify();
    // A second run finds nothing to do.
    assert!(
        archive
            .archive(&snapshot.dir)
            .contains("archived 0 segments")
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
    row_events: "row",
    compressed_transactions: "payload",
    tagged_gtids: "tagged",
    files_without_checksums: "nochecksum",
    files_without_gtids: "gtidoff",
    statements_with_temporary_tables: "statement",
    mixed_format: "mixed",
    xa_transactions: "xa",
    a_file_closed_by_a_crash: "crash",
    an_empty_file_closed_by_a_crash: "crash-empty",
    times_that_run_backwards: "time-backwards",
    large_rows: "blobs",
    schema_changes: "ddl",
    gtid_sets_with_holes: "holes",
}

#[test]
fn a_crash_is_recorded_as_one() {
    for name in ["crash", "crash-empty"] {
        let archive = Archive::plain();
        archive.archive(&corpus::snapshot(name).dir);
        let closed_by: Vec<_> = archive
            .ls(&[])
            .iter()
            .map(|entry| entry["closed_by"].clone())
            .collect();
        assert!(closed_by.contains(&"crash".into()), "{name}: {closed_by:?}");
    }
}

/// Archives the files before a RESET and those after it, from one data directory.
fn reset(before: &str, after: &str) -> (Archive, corpus::Snapshot, corpus::Snapshot) {
    let archive = Archive::encrypted();
    let (before, after) = (corpus::snapshot(before), corpus::snapshot(after));
    before.copy_to(&archive.data());
    archive.archive(&archive.data());
    for file in fs::read_dir(archive.data()).expect("readable") {
        fs::remove_file(file.expect("an entry").path()).expect("removable");
    }
    after.copy_to(&archive.data());
    archive.archive(&archive.data());
    (archive, before, after)
}

#[test]
fn a_reset_begins_a_timeline_and_the_old_one_stays_readable() {
    let (archive, before, after) = reset("reset/before", "reset/after");
    let mounted = archive.mount();
    let names = names_of(&archive, &[]);
    assert_eq!(names[0], "binlog.000001", "the same names again");
    compare(&archive, &after.closed(), &names, mounted.dir());
    compare(
        &archive,
        &before.closed(),
        &names_of(&archive, &["--timeline", "1"]),
        &mounted.dir().join(".timeline/1"),
    );
    let listed: Vec<_> = fs::read_dir(mounted.dir())
        .expect("readable")
        .map(|e| e.expect("an entry").file_name())
        .collect();
    assert_eq!(
        listed.len(),
        names.len(),
        "only binlogs are listed: {listed:?}"
    );
    archive.verify();
}

#[test]
fn numbers_roll_over_after_a_reset_to_999998() {
    let (archive, _, after) = reset("reset-to/before", "reset-to/after");
    let mounted = archive.mount();
    let names = names_of(&archive, &[]);
    assert!(names.contains(&"binlog.999998".to_owned()), "{names:?}");
    assert!(
        names.iter().any(|name| name.ends_with(".0001000000")),
        "{names:?}"
    );
    assert!(names.is_sorted(), "{names:?}");
    compare(&archive, &after.closed(), &names, mounted.dir());
    archive.verify();
}

#[test]
fn stock_age_and_zstd_give_the_servers_file_back() {
    let snapshot = corpus::snapshot("row");
    let archive = Archive::encrypted();
    archive.archive(&snapshot.dir);
    for (entry, server) in archive.ls(&[]).iter().zip(snapshot.closed()) {
        let object = archive
            .bucket()
            .join(entry["object"].as_str().expect("a key"));
        let decrypted = archive.path("object.zst");
        let plain = archive.path("plain");
        tools::run(
            std::process::Command::new("age")
                .arg("-d")
                .arg("-i")
                .arg(archive.key())
                .arg("-o")
                .arg(&decrypted)
                .arg(&object),
        );
        tools::run(
            std::process::Command::new("zstd")
                .args(["-q", "-f", "-d"])
                .arg(&decrypted)
                .arg("-o")
                .arg(&plain),
        );
        assert!(
            fs::read(&plain).expect("readable") == fs::read(&server).expect("readable"),
            "{}",
            server.display()
        );
    }
}

#[test]
fn cat_streams_into_mysqlbinlog_what_the_files_say() {
    let snapshot = corpus::snapshot("row");
    let archive = Archive::encrypted();
    archive.archive(&snapshot.dir);
    let bytes = archive.output(&["cat", &archive.url()]);
    assert_eq!(
        bytes.status.code(),
        Some(0),
        "{}",
        tools::excerpt(&bytes.stderr)
    );
    let whole: Vec<u8> = snapshot
        .closed()
        .iter()
        .flat_map(|path| fs::read(path).expect("readable"))
        .collect();
    assert!(bytes.stdout == whole);
}

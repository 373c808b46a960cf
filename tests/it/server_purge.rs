//! `purge-safe` on real servers: what the archive covers goes, and nothing else.

use crate::agent::daemon::until;
use crate::agent::manners::replicate;
use crate::archive::Archive;
use crate::mariadb::server::MariaDb;
use crate::mysql::{Options, Server as MySql};
use serde_json::Value;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// A server with `closed` closed binlogs, archived, in clear.
pub fn archived(closed: usize) -> (MySql, Archive) {
    let mysql = MySql::new();
    mysql.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT)");
    for _ in 0..closed {
        mysql.sql("INSERT INTO d.t VALUES ()");
        mysql.flush_logs();
    }
    let archive = Archive::plain();
    archive.archive(&mysql.datadir());
    (mysql, archive)
}

/// `purge-safe --json`: its exit code, its document, and what it said on stderr.
pub fn purge_safe(
    archive: &Archive,
    source: &Path,
    socket: &Path,
    more: &[&str],
) -> (Option<i32>, Value, String) {
    let dsn = format!("mysql://root@localhost/?socket={}", socket.display());
    let (url, source) = (archive.url(), source.to_str().expect("text").to_owned());
    let mut arguments = vec![
        "purge-safe",
        "--json",
        "--source",
        &source,
        "--to",
        &url,
        "--mysql",
        &dsn,
    ];
    arguments.extend(more);
    let output = archive.output(&arguments);
    let document = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), document, stderr)
}

fn names(server: &MySql) -> Vec<String> {
    let name = |path: &std::path::PathBuf| {
        path.file_name()
            .expect("named")
            .to_string_lossy()
            .into_owned()
    };
    server.binlogs().iter().map(name).collect()
}

#[test]
fn what_the_archive_covers_is_printed_then_purged_in_steps() {
    let (mysql, archive) = archived(14);
    // Closed since, and not archived.
    mysql.sql("INSERT INTO d.t VALUES ()");
    mysql.flush_logs();
    let before = names(&mysql);
    let (code, plan, stderr) = purge_safe(&archive, &mysql.datadir(), &mysql.socket(), &[]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(plan["purge_to"], "binlog.000015", "{plan:#}");
    assert_eq!(plan["executed"], false);
    assert_eq!(names(&mysql), before, "printed, not purged");
    // The one that is not archived is old enough now, and named.
    let (code, plan, _) = purge_safe(
        &archive,
        &mysql.datadir(),
        &mysql.socket(),
        &["--keep", "1"],
    );
    assert_eq!(
        (code, &plan["purge_to"]),
        (Some(3), &Value::from("binlog.000015")),
        "{plan:#}"
    );
    assert_eq!(plan["not_covered"][0]["file"], "binlog.000015");
    let (code, done, stderr) =
        purge_safe(&archive, &mysql.datadir(), &mysql.socket(), &["--execute"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(
        done["purged"].as_array().map(Vec::len),
        Some(14),
        "{done:#}"
    );
    assert_eq!(names(&mysql), ["binlog.000015", "binlog.000016"]);
    let (code, again, _) = purge_safe(&archive, &mysql.datadir(), &mysql.socket(), &["--execute"]);
    assert_eq!(
        (code, &again["purge_to"]),
        (Some(0), &Value::Null),
        "{again:#}"
    );
    archive.verify();
}

#[test]
fn what_a_late_replica_has_not_read_stays_until_it_has() {
    let mysql = MySql::new();
    mysql.sql("CREATE DATABASE d; CREATE TABLE d.t (v LONGBLOB)");
    for _ in 0..4 {
        mysql.sql(&"INSERT INTO d.t VALUES (REPEAT('x', 1000000));".repeat(4));
        mysql.flush_logs();
    }
    let archive = Archive::plain();
    archive.archive(&mysql.datadir());
    // It has no room for more than a part of the first file, and applies nothing.
    let replica = Options::new()
        .server_id(2)
        .extra("--relay-log-space-limit=65536")
        .extra("--max-relay-log-size=4096")
        .start();
    replicate(&replica, &mysql, "source_heartbeat_period = 1");
    replica.sql("START REPLICA IO_THREAD");
    until("the replica has no room", || {
        let state = replica.sql_value("SHOW REPLICA STATUS");
        state == "Waiting for the replica SQL thread to free relay log space"
    });
    let purge = || purge_safe(&archive, &mysql.datadir(), &mysql.socket(), &["--execute"]);
    let (code, done, stderr) = purge();
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(done["purge_to"], "binlog.000004", "{done:#}");
    let notes = done["notes"].to_string();
    assert!(
        notes.contains("1 connected") && notes.contains("the server kept the files"),
        "{notes}"
    );
    let kept = names(&mysql);
    // What is on its way to the replica is in no file any more: some megabytes.
    assert!(
        kept.len() > 3,
        "the replica still reads the first or the second: {kept:?}"
    );
    replica.sql("START REPLICA SQL_THREAD");
    let executed = mysql.sql_value("SELECT @@global.gtid_executed");
    let caught_up = replica.sql_value(&format!(
        "SELECT WAIT_FOR_EXECUTED_GTID_SET('{executed}', 60)"
    ));
    assert_eq!(caught_up, "0");
    until("all of them go", || {
        let (code, _, stderr) = purge();
        assert_eq!(code, Some(0), "{stderr}");
        names(&mysql) == ["binlog.000004", "binlog.000005"]
    });
    assert_eq!(
        replica.sql_value("SELECT COUNT(*) FROM d.t"),
        "16",
        "it missed nothing"
    );
}

#[test]
fn neither_a_changed_file_nor_one_whose_object_is_gone_is_purged() {
    let (mysql, archive) = archived(5);
    let before = names(&mysql);
    let third = &mysql.binlogs()[2];
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(third)
        .expect("opens");
    let mut byte = [0];
    // In the format description's timestamp: another head.
    file.read_exact_at(&mut byte, 4).expect("reads");
    file.write_all_at(&[byte[0] ^ 1], 4).expect("writes");
    let (code, plan, stderr) = purge_safe(&archive, &mysql.datadir(), &mysql.socket(), &[]);
    assert_eq!(
        (code, &plan["purge_to"]),
        (Some(3), &Value::from("binlog.000003")),
        "{plan:#} {stderr}"
    );
    assert_eq!(plan["not_covered"][0]["file"], "binlog.000003");
    file.write_all_at(&byte, 4).expect("writes");
    let objects = archive.keys("segments");
    std::fs::remove_file(&objects[0]).expect("removes");
    let cut = std::fs::OpenOptions::new()
        .write(true)
        .open(&objects[3])
        .expect("opens");
    cut.set_len(10).expect("cuts");
    let (code, plan, stderr) =
        purge_safe(&archive, &mysql.datadir(), &mysql.socket(), &["--execute"]);
    assert_eq!(
        (code, &plan["purge_to"]),
        (Some(3), &Value::Null),
        "{plan:#} {stderr}"
    );
    let missing: Vec<_> = plan["not_covered"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|f| f["file"].clone())
        .collect();
    assert_eq!(missing, ["binlog.000001", "binlog.000004"]);
    assert_eq!(names(&mysql), before);
}

#[test]
fn a_file_that_cannot_be_looked_into_ends_what_is_purged_and_is_named() {
    let (mysql, archive) = archived(5);
    let third = &mysql.binlogs()[2];
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(third)
        .expect("opens");
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, 0).expect("reads");
    file.write_all_at(&[0; 4], 0).expect("writes");
    let plan = |keep: &str| {
        let more = ["--keep", keep];
        purge_safe(&archive, &mysql.datadir(), &mysql.socket(), &more)
    };
    let (code, told, stderr) = plan("2");
    assert_eq!(
        (code, &told["purge_to"]),
        (Some(3), &Value::from("binlog.000003")),
        "{told:#} {stderr}"
    );
    assert_eq!(told["not_covered"][0]["file"], "binlog.000003");
    let reason = told["not_covered"][0]["reason"].to_string();
    assert!(reason.contains("not a binary log"), "{reason}");
    // Of those that stay in any case nothing need be known.
    let (code, told, stderr) = plan("4");
    assert_eq!(
        (code, &told["purge_to"]),
        (Some(0), &Value::from("binlog.000003")),
        "{told:#} {stderr}"
    );
    let (code, told, stderr) = plan("5");
    assert_eq!(
        (code, &told["purge_to"]),
        (Some(0), &Value::from("binlog.000002")),
        "{told:#} {stderr}"
    );
    file.write_all_at(&magic, 0).expect("writes");
    let (code, told, stderr) = plan("2");
    assert_eq!(
        (code, &told["purge_to"]),
        (Some(0), &Value::from("binlog.000005")),
        "{told:#} {stderr}"
    );
}

#[test]
fn another_servers_files_are_refused() {
    let (mysql, archive) = archived(3);
    let other = MySql::new();
    let before = (names(&mysql), names(&other));
    let (code, _, stderr) = purge_safe(&archive, &mysql.datadir(), &other.socket(), &["--execute"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("not the same server"), "{stderr}");
    // A copy of the files, and the server itself: the server lists what the copy has.
    let copy = archive.data();
    mysql.snapshot(&copy);
    std::fs::write(
        copy.join("auto.cnf"),
        "[auto]\nserver-uuid=3e11fa47-71ca-11e1-9e33-c80aa9429562\n",
    )
    .expect("writes");
    let (code, _, stderr) = purge_safe(&archive, &copy, &mysql.socket(), &["--execute"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("not the same server"), "{stderr}");
    assert_eq!((names(&mysql), names(&other)), before);
}

#[test]
fn a_password_on_the_command_line_is_an_error_of_usage() {
    let archive = Archive::plain();
    let output = archive.output(&[
        "purge-safe",
        "--source",
        "/x",
        "--to",
        "file:///x",
        "--mysql",
        "mysql://root:hunter2@h/",
    ]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.contains("--defaults-file") && !stderr.contains("hunter2"),
        "{stderr}"
    );
}

#[test]
fn mariadb_is_known_by_its_index_file() {
    let maria = MariaDb::start(&[]);
    maria.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT)");
    for _ in 0..4 {
        maria.sql("INSERT INTO d.t VALUES (); FLUSH BINARY LOGS");
    }
    let archive = Archive::plain();
    archive.archive(&maria.datadir());
    let copy = archive.data();
    maria.snapshot(&copy);
    let (code, _, stderr) = purge_safe(&archive, &copy, &maria.socket(), &["--execute"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("no server_uuid to compare"), "{stderr}");
    let (code, done, stderr) =
        purge_safe(&archive, &maria.datadir(), &maria.socket(), &["--execute"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(done["purge_to"], "binlog.000004", "{done:#}");
    // It keeps what its engines may need in crash recovery: then nothing went, and it says so.
    let listed = maria.binlogs().len();
    let purged = done["purged"].as_array().map_or(0, Vec::len);
    assert_eq!(listed + purged, 5, "{done:#}");
    assert!(
        purged == 3 || done["notes"].to_string().contains("kept the files"),
        "{done:#}"
    );
}

//! `binlogfs backup`: backups of real tools, their coordinates, and what each can recover.

mod maria;
mod refused;

use crate::archive::Archive;
use crate::mysql::{Options, Server};
use crate::synthetic::{SyntheticServer, uuid_of};
use crate::tools;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Runs `binlogfs backup WHAT URL ...`, which must end with `code`; what it printed as JSON.
fn backup(archive: &Archive, what: &str, more: &[&str], code: i32) -> Value {
    let url = archive.url();
    let all: Vec<&str> = ["backup", what, &url]
        .into_iter()
        .chain(more.iter().copied())
        .chain(["--json"])
        .collect();
    let output = archive.output(&all);
    let said = tools::excerpt(&output.stderr) + &tools::excerpt(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{all:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::String(said))
}

/// `backup add --from`.
pub fn add(archive: &Archive, from: &Path, id: &str, code: i32) -> Value {
    let from = from.to_str().expect("a temporary path is text");
    backup(archive, "add", &["--from", from, "--id", id], code)
}

/// `binlogfs status --json`.
fn status(archive: &Archive, code: i32) -> Value {
    archive.json("status", &[], code)
}

fn rows(server: &Server, count: usize) {
    server.sql(&"INSERT INTO d.t (v) VALUES (1); ".repeat(count));
}

/// A server with a table, a closed file and an active one with some rows.
fn server() -> Server {
    let server = Server::new();
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)");
    rows(&server, 20);
    server.flush_logs();
    rows(&server, 7);
    server
}

/// A dump of the database `d`, as mydumper makes it.
fn mydumper(socket: &Path, dir: &Path) {
    tools::run(
        Command::new("mydumper")
            .args(["--user", "root", "--database", "d"])
            .arg("--socket")
            .arg(socket)
            .arg("--outputdir")
            .arg(dir),
    );
}

fn without_newlines(text: &str) -> String {
    text.split_whitespace().collect()
}

/// When the transaction before the one with this number was committed.
fn moment_before(archive: &Archive, server: &Server, number: u64) -> Value {
    let gtid = format!("{}:{number}", server.uuid());
    let url = archive.url();
    let output = archive.output(&["locate", &url, "--gtid", &gtid, "--json"]);
    let located: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    located["latest_commit_before"].clone()
}

#[test]
fn a_dump_is_registered_before_its_binlog_is_archived_and_its_moment_known_after() {
    let archive = Archive::encrypted();
    let server = server();
    archive.archive(&server.index_file());
    let dump = archive.path("full.sql");
    server.dump(&[], &dump);
    let executed = without_newlines(&server.sql_value("SELECT @@gtid_executed"));
    let added = add(&archive, &dump, "nightly", 0);
    assert_eq!(added["gtids"], executed.as_str(), "{added:#}");
    assert_eq!(added["verdict"]["state"], "ahead", "{added:#}");
    assert_eq!(added["tool"], "mysqldump");
    assert_eq!(added["place"], dump.to_str().expect("text"));
    let at: Vec<Vec<String>> = server.sql("SHOW BINARY LOG STATUS");
    assert_eq!(added["position"], format!("{}:{}", at[0][0], at[0][1]));
    let waits = status(&archive, 0);
    assert_eq!(waits["recovery"]["ahead"], 1, "{waits:#}");
    assert_eq!(waits["recovery"]["windows"], serde_json::json!([]));

    rows(&server, 30);
    server.flush_logs();
    archive.archive(&server.index_file());
    let shown = backup(&archive, "show", &["nightly"], 0);
    let window = &shown["verdict"];
    assert_eq!(window["state"], "usable", "{shown:#}");
    assert_eq!(window["earliest_is_exact"], true, "{shown:#}");
    let dumped: u64 = 2 + 20 + 7;
    let moment = moment_before(&archive, &server, dumped + 1);
    assert!(moment.is_string());
    assert_eq!(window["earliest"], moment);
    let newest = moment_before(&archive, &server, dumped + 30);
    assert!(window["latest"].as_str() > newest.as_str(), "{shown:#}");
    // Without the key it is known to about a file; the way to say so is the same.
    let url = archive.url();
    let mut blind = tools::binlogfs();
    blind.args(["backup", "check", &url, "nightly", "--json"]);
    blind.arg("--cache-dir").arg(archive.path("blind"));
    let blind: Value = serde_json::from_slice(&tools::run(&mut blind)).expect("JSON");
    let window = &blind["backups"][0]["verdict"];
    assert_eq!(window["earliest_is_exact"], false, "{blind:#}");
    assert!(window["earliest"].as_str() > moment.as_str());

    let known = status(&archive, 0);
    let windows = &known["recovery"]["windows"];
    assert_eq!(windows.as_array().map(Vec::len), Some(1), "{known:#}");
    assert_eq!(windows[0]["backup"], "nightly");
    assert_eq!(windows[0]["ends_at"], Value::Null);
    backup(&archive, "check", &[], 0);
    // A plan begins where the dump ends.
    let plan = archive.json("plan", &["--to-end", "--backup", "nightly"], 0);
    assert_eq!(plan["base"]["gtids"], executed.as_str(), "{plan:#}");
    let all = without_newlines(&server.sql_value("SELECT @@gtid_executed"));
    assert_eq!(plan["gtids"]["after"], all.as_str(), "{plan:#}");
    let refused = archive.json(
        "plan",
        &["--to-position", "binlog.000001:4", "--backup", "nightly"],
        4,
    );
    assert_eq!(refused["kind"], "base_too_new", "{refused:#}");
    for command in ["list", "check"] {
        let all = ["backup", command, &url];
        let text = tools::run_text(&mut archive.command(&all));
        assert!(
            text.contains("nightly") && text.contains("usable"),
            "{text}"
        );
    }
}

#[test]
fn packed_dumps_tell_the_same_and_an_id_is_used_once() {
    let archive = Archive::plain();
    let server = server();
    server.flush_logs();
    archive.archive(&server.index_file());
    let dump = archive.path("full.sql");
    server.dump(&["--flush-logs"], &dump);
    server.flush_logs();
    archive.archive(&server.index_file());
    let plain = add(&archive, &dump, "plain", 0);
    for (tool, end) in [("gzip", "gz"), ("zstd", "zst")] {
        tools::run(Command::new(tool).args(["-q", "-k"]).arg(&dump));
        let packed = add(&archive, &archive.path(&format!("full.sql.{end}")), end, 0);
        for same in ["gtids", "position", "tool_version", "verdict"] {
            assert_eq!(packed[same], plain[same], "{packed:#}");
        }
    }
    let list = backup(&archive, "list", &[], 0);
    let ids: Vec<&str> = list["backups"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["id"].as_str().expect("text"))
        .collect();
    assert_eq!(ids, ["plain", "gz", "zst"]);
    let again = add(&archive, &dump, "gz", 1);
    assert!(again.to_string().contains("registered already"), "{again}");
    backup(&archive, "remove", &["gz"], 0);
    let gone = backup(&archive, "show", &["gz"], 1);
    assert!(gone.to_string().contains("no backup gz"), "{gone}");
    let again = add(&archive, &dump, "gz", 1);
    assert!(again.to_string().contains("used once only"), "{again}");
    // Its own name is made of the time and the tool.
    let path = dump.to_str().expect("text");
    let more = [
        "--from",
        path,
        "--place",
        "s3://dumps/full.sql",
        "--note",
        "before 9.7",
    ];
    let taken = ["--taken", "2026-11-26 12:00:00"];
    let named = backup(&archive, "add", &[&more[..], &taken[..]].concat(), 0);
    assert_eq!(named["id"], "20261126T120000Z-mysqldump", "{named:#}");
    assert_eq!(named["zone_assumed"], true);
    assert_eq!(named["place"], "s3://dumps/full.sql");
    assert_eq!(named["note"], "before 9.7");
}

#[test]
fn a_clone_has_coordinates_once_a_server_has_started_on_it() {
    let archive = Archive::plain();
    let server = Options::new().extra("--performance-schema=ON").start();
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)");
    rows(&server, 5);
    server.sql("INSTALL PLUGIN clone SONAME 'mysql_clone.so'");
    let executed = without_newlines(&server.sql_value("SELECT @@gtid_executed"));
    let cloned = server.path("cloned");
    server.sql(&format!(
        "CLONE LOCAL DATA DIRECTORY = '{}'",
        cloned.display()
    ));
    rows(&server, 5);
    server.flush_logs();
    archive.archive(&server.index_file());
    let early = add(&archive, &cloned, "clone", 1);
    assert!(
        early.to_string().contains("start a server on it once"),
        "{early}"
    );
    let mut other = Options::new().server_id(2).start_on(&cloned);
    other.shutdown();
    let added = add(&archive, &other.datadir(), "clone", 0);
    assert_eq!(added["gtids"], executed.as_str(), "{added:#}");
    assert_eq!(added["tool"], "clone");
    let window = &added["verdict"];
    assert_eq!(window["state"], "usable", "{added:#}");
    let count = server.sql_value("SELECT COUNT(*) FROM d.t");
    assert_eq!(count, "10");
    let next: u64 = 2 + 5 + 1;
    assert_eq!(window["earliest"], moment_before(&archive, &server, next));
    assert!(added["taken_at"].as_str() >= window["earliest"].as_str());
}

#[test]
fn backups_on_both_sides_of_a_hole_make_two_windows() {
    let archive = Archive::plain();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..2).for_each(|_| server.rotate(10, 100));
    archive.archive(server.dir());
    (0..3).for_each(|_| server.rotate(10, 100));
    // The third file was never archived.
    server.purge(3);
    archive.archive(server.dir());
    let held = |transactions: u64| format!("{}:1-{transactions}", uuid_of(1));
    let by_hand = |id: &str, transactions: u64, code: i32| {
        let set = held(transactions);
        let more = ["--gtid-set", &set, "--place", "tape 7", "--id", id];
        backup(&archive, "add", &more, code)
    };
    by_hand("old", 5, 0);
    let refused = by_hand("inside", 25, 4);
    assert_eq!(refused["registered"], false, "{refused:#}");
    assert_eq!(refused["verdict"]["kind"], "missing", "{refused:#}");
    by_hand("new", 35, 0);
    let status = status(&archive, 3);
    let windows = status["recovery"]["windows"].as_array().expect("a list");
    assert_eq!(windows.len(), 2, "{status:#}");
    assert_eq!(windows[0]["backup"], "old");
    assert_eq!(windows[0]["ends_at"]["file"], "binlog.000003");
    assert_eq!(windows[1]["backup"], "new");
    assert_eq!(windows[1]["ends_at"], Value::Null);
    let text = archive.output(&["status", &archive.url()]).stdout;
    let text = String::from_utf8(text).expect("text");
    assert!(
        text.contains("not beyond    binlog.000003, a hole"),
        "{text}"
    );
    let checked = backup(&archive, "check", &[], 3);
    assert_eq!(checked["backups"][0]["id"], "old");
    backup(&archive, "check", &["new"], 0);
    // A backup that was good and whose stream lost the front is told of by check and status alike.
    let list = backup(&archive, "list", &[], 0);
    assert_eq!(list["backups"].as_array().map(Vec::len), Some(2));
}

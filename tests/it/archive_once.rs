//! One run by hand, and what it tells of the server that it may ask, or whose expiry it is given.

use crate::archive::Archive;
use crate::mysql::Server;
use crate::synthetic::SyntheticServer;
use crate::tools;
use serde_json::Value;
use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Its exit code and what it says on stderr.
fn ended(command: &mut Command) -> (Option<i32>, String) {
    let output = tools::output(command);
    (output.status.code(), tools::excerpt(&output.stderr))
}

#[test]
fn what_waits_near_its_expiry_is_told_also_when_nothing_can_be_archived() {
    let archive = Archive::plain();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(1, 100);
    fs::File::options()
        .write(true)
        .open(&server.closed()[0])
        .and_then(|file| file.set_modified(SystemTime::now() - 20 * DAY))
        .expect("its time can be set");
    let in_the_way = archive.path("in-the-way");
    fs::write(&in_the_way, "").expect("writable");
    let nowhere = format!("file://{}", in_the_way.join("stream").display());
    let unarchived = |expire_after: &str| {
        let mut command = archive.archive_command_to(&nowhere, server.dir());
        command
            .arg("--state-dir")
            .arg(archive.path("state-nowhere"));
        ended(command.args(["--expire-after", expire_after]))
    };
    let (code, said) = unarchived("19d");
    assert_eq!(code, Some(1), "{said}");
    let told = "critical (expiry): the server may purge since";
    assert!(
        said.contains(told) && said.contains("not archived (1 segment)"),
        "{said}"
    );
    let (code, said) = unarchived("30d");
    assert_eq!(code, Some(1), "{said}");
    assert!(!said.contains("expiry"), "ten days are left: {said}");
    // Archived, it may go; a server that purges within the hour outruns any timer.
    let archived = |expire_after: &str| {
        let mut command = archive.archive_command(server.dir());
        ended(command.args(["--expire-after", expire_after]))
    };
    let (code, said) = archived("20d");
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = archived("1h");
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("critical (expiry)"), "{said}");
}

#[test]
fn a_server_that_may_be_asked_is_and_one_that_does_not_answer_is_archived_all_the_same() {
    let server = Server::new();
    server.sql("CREATE DATABASE d");
    server.flush_logs();
    let archive = Archive::plain();
    let dsn = |socket: &str| format!("mysql://root@localhost/?socket={socket}");
    let run = |dsn: &str| {
        let mut command = archive.archive_command(&server.datadir());
        let output = tools::output(command.args(["--json", "--mysql", dsn]));
        let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code(), told)
    };
    let (code, told) = run(&dsn("/nowhere/mysqld.sock"));
    assert_eq!(code, Some(3), "{told:#}");
    assert_eq!(told["archived"][0]["file"], "binlog.000001", "{told:#}");
    assert_eq!(told["alarms"][0]["kind"], "server_unreachable", "{told:#}");
    let answers = dsn(&server.socket().display().to_string());
    let (code, told) = run(&answers);
    assert_eq!((code, &told["alarms"]), (Some(0), &serde_json::json!([])));
    server.sql("SET GLOBAL binlog_error_action = 'IGNORE_ERROR'");
    server.sql("SET GLOBAL binlog_expire_logs_seconds = 7200");
    let (code, told) = run(&answers);
    assert_eq!(code, Some(3), "{told:#}");
    let kind = |alarm: &Value| alarm["kind"].as_str().expect("text").to_owned();
    let alarms = told["alarms"].as_array().expect("a list");
    let kinds: Vec<String> = alarms.iter().map(kind).collect();
    assert_eq!(kinds, ["expiry", "ignore_error"], "{told:#}");
}

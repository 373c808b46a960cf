//! A server from its start to its end.

use super::{Options, Server};
use std::path::PathBuf;

#[test]
fn a_killed_server_comes_back_with_what_was_committed() {
    let mut server = Server::new();
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (v VARCHAR(20)); INSERT INTO d.t VALUES ('tab\\tline\\n')");
    let (port, uuid) = (server.port(), server.uuid());
    server.kill9();
    assert!(server.try_sql("SELECT 1").is_err());
    server.restart();
    assert_eq!(server.sql_value("SELECT v FROM d.t"), "tab\tline\n");
    assert_eq!(
        server.sql("SELECT @@port, @@server_uuid"),
        [[port.to_string(), uuid]]
    );
    assert_eq!(server.binlogs().len(), 2, "a restart begins a file");
}

#[test]
fn a_server_ends_with_its_test_and_leaves_nothing() {
    let server = Server::new();
    let directory = server.dir.path().to_owned();
    let process = PathBuf::from(format!("/proc/{}", server.pid().expect("it runs")));
    assert!(process.exists());
    let test = std::thread::spawn(move || {
        let _server = server;
        panic!("a test fails");
    });
    assert!(test.join().is_err());
    assert!(!process.exists() && !directory.exists());
}

#[test]
fn two_servers_have_different_identities_and_the_options_they_were_given() {
    let one = Options::new()
        .server_id(7)
        .checksum("NONE")
        .log_bin("other")
        .start();
    let two = Options::new()
        .no_gtids()
        .format("MIXED")
        .compressed()
        .start();
    assert_ne!(one.uuid(), two.uuid());
    let query = "SELECT @@server_id, @@binlog_checksum, @@gtid_mode, @@binlog_format, @@binlog_transaction_compression";
    assert_eq!(one.sql(query), [["7", "NONE", "ON", "ROW", "0"]]);
    assert_eq!(two.sql(query), [["1", "CRC32", "OFF", "MIXED", "1"]]);
    one.flush_logs();
    assert!(one.binlogs()[1].ends_with("data/other.000002"));
}

//! Binlogs that the server encrypts.

use super::server::MariaDb;
use super::{files, names_of, started};
use crate::archive::Archive;
use crate::tools;
use std::fs;

#[test]
fn encrypted_binlogs_are_refused_by_name() {
    let server = encrypting();
    let archive = Archive::plain();
    let says = ["binlog.000001", "START_ENCRYPTION", "encrypt_binlog=OFF"];
    tools::refused(&mut archive.archive_command(&server.datadir()), 1, &says);
    assert!(!archive.bucket().exists(), "something was written");
}

#[test]
fn encryption_that_is_switched_on_later_stops_the_archive_where_it_begins() {
    let mut server = started();
    let archive = Archive::plain();
    files(&server, 2);
    archive.archive(&server.datadir());
    server.shutdown();
    let options = encryption_options(&server);
    server.launch_with(&options.each_ref().map(String::as_str));
    files(&server, 1);
    let says = ["binlog.000004", "START_ENCRYPTION"];
    tools::refused(&mut archive.archive_command(&server.datadir()), 1, &says);
    let plain = ["binlog.000001", "binlog.000002", "binlog.000003"];
    assert_eq!(names_of(&archive, &[]), plain, "all that is before it");
}

fn encryption_options(server: &MariaDb) -> [String; 3] {
    let key = "1;770a8a65da156d24ee2a093277530142aabbccddeeff00112233445566778899\n";
    let file = server.path("keys.txt");
    fs::write(&file, key).expect("writable");
    [
        "--plugin-load-add=file_key_management".to_owned(),
        format!("--file-key-management-filename={}", file.display()),
        "--encrypt-binlog=ON".to_owned(),
    ]
}

/// A server that has encrypted its binlogs from its first one on.
fn encrypting() -> MariaDb {
    let mut server = MariaDb::start(&["--skip-log-bin"]);
    server.shutdown();
    let options = encryption_options(&server);
    server.launch_with(&options.each_ref().map(String::as_str));
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, v TEXT)");
    files(&server, 2);
    server
}

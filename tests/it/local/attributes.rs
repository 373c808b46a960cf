//! The attributes of files that are not archived yet.

use super::{mount_with_local, shown};
use crate::archive::Archive;
use crate::mysql::Server;
use crate::tools::eventually;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// The attributes of a file, without their prefix.
pub fn attributes(path: &Path) -> BTreeMap<String, String> {
    let mut names = vec![0; 4096];
    let len = rustix::fs::listxattr(path, &mut names[..]).expect("lists");
    names.truncate(len);
    let names = String::from_utf8(names).expect("text");
    let value = |name: &str| {
        let mut value = vec![0; 64 << 10];
        let len = rustix::fs::getxattr(path, name, &mut value[..]).expect(name);
        value.truncate(len);
        let name = name.strip_prefix("user.binlogfs.").expect("ours");
        (name.to_owned(), String::from_utf8(value).expect("text"))
    };
    names.split_terminator('\0').map(value).collect()
}

#[test]
fn attributes_of_local_files_are_those_that_the_archive_gives_as_far_as_they_are_known() {
    let archive = Archive::in_memory(true);
    let server = Server::new();
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT)");
    server.flush_logs();
    archive.archive(&server.datadir());
    server.sql("INSERT INTO d.t VALUES (1); INSERT INTO d.t VALUES (2)");
    server.flush_logs();
    server.sql("INSERT INTO d.t VALUES (3)");
    let mounted = mount_with_local(&archive, &server.datadir());
    let [_, closed, active] = &shown(&mounted)[..] else {
        panic!("three files");
    };
    let executed = || {
        server
            .sql_value("SELECT @@GLOBAL.gtid_executed")
            .trim()
            .to_owned()
    };
    let uuid = server
        .sql_value("SELECT @@GLOBAL.server_uuid")
        .trim()
        .to_owned();
    let names = |attributes: &BTreeMap<String, String>| {
        attributes.keys().cloned().collect::<Vec<_>>().join(" ")
    };

    // One that was closed before, and that nobody has read.
    let unread = attributes(closed);
    let known = "file incarnation previous_gtids server_uuid state timeline";
    assert_eq!(names(&unread), known);
    assert_eq!(unread["previous_gtids"], format!("{uuid}:1-2"));
    // The active one has been scanned as far as it is written.
    let growing = attributes(active);
    let known = "file first_time gtid_set incarnation previous_gtids server_uuid state timeline";
    assert_eq!(names(&growing), known);
    assert_eq!(growing["gtid_set"], format!("{uuid}:5"));
    assert_eq!(growing["previous_gtids"], format!("{uuid}:1-4"));
    assert_eq!(growing["server_uuid"], uuid);
    server.sql("INSERT INTO d.t VALUES (4)");
    assert_eq!(attributes(active)["gtid_set"], format!("{uuid}:5-6"));
    assert_eq!(executed(), format!("{uuid}:1-6"));

    // Once read, or once they are closed, all is known but what the record gives them.
    fs::read(closed).expect("reads");
    server.flush_logs();
    let before = [attributes(closed), attributes(active)];
    assert_eq!(before[1]["state"], "closed", "as of now");
    archive.archive(&server.datadir());
    for (path, mut before) in [closed, active].into_iter().zip(before) {
        eventually("the record is seen", || {
            attributes(path)["state"] == "archived"
        });
        let mut after = attributes(path);
        assert_eq!(
            before
                .insert("state".to_owned(), "archived".to_owned())
                .as_deref(),
            Some("closed")
        );
        assert!(after.remove("seq").is_some() && after.remove("sha256").is_some());
        assert_eq!(before, after, "{}", path.display());
    }
}

//! Backups that cannot be used, each refused with the reason and what to do.

use super::{add, backup, mydumper, rows, server, status};
use crate::archive::Archive;
use crate::mysql::{Options, Server};
use crate::tools;
use std::fs;

#[test]
fn dumps_without_gtids_of_others_cut_off_or_diverged_are_refused() {
    let archive = Archive::plain();
    let server = server();
    server.flush_logs();
    archive.archive(&server.index_file());
    // Its own coordinates, and no GTIDs.
    let dump = archive.path("full.sql");
    server.dump(&["--set-gtid-purged=OFF"], &dump);
    rows(&server, 3);
    server.flush_logs();
    archive.archive(&server.index_file());
    let refused = add(&archive, &dump, "no-gtids", 4);
    assert_eq!(refused["verdict"]["kind"], "no_place", "{refused:#}");
    let next = refused["verdict"]["next"].as_str().expect("text");
    assert!(next.contains("--set-gtid-purged=ON"), "{next}");
    let output = archive.output(&[
        "backup",
        "add",
        &archive.url(),
        "--from",
        dump.to_str().expect("text"),
    ]);
    assert_eq!(output.status.code(), Some(4));
    let said = tools::excerpt(&output.stderr);
    assert!(
        said.contains("is not registered: it has no GTIDs"),
        "{said}"
    );

    // Neither position nor GTIDs.
    server.dump(&["--set-gtid-purged=OFF", "--source-data=0"], &dump);
    let refused = add(&archive, &dump, "nowhere", 1).to_string();
    assert!(refused.contains("full.sql: it names neither"), "{refused}");

    // Another server's.
    let other = Server::new();
    other.sql("CREATE DATABASE e");
    other.dump(&[], &dump);
    let refused = add(&archive, &dump, "foreign", 4);
    assert_eq!(refused["verdict"]["kind"], "foreign", "{refused:#}");

    // A replica's that had a transaction of its own.
    let executed = server.sql_value("SELECT @@gtid_executed");
    let held = format!("{}:1-10,{}:1", server.uuid(), other.uuid());
    assert!(executed.contains(&server.uuid()));
    let more = ["--gtid-set", &held, "--place", "x"];
    let refused = backup(&archive, "add", &more, 4);
    assert_eq!(refused["verdict"]["kind"], "diverged", "{refused:#}");

    // Cut off.
    server.dump(&[], &dump);
    let whole = fs::read(&dump).expect("readable");
    fs::write(&dump, &whole[..whole.len() / 2]).expect("writable");
    let refused = add(&archive, &dump, "cut", 1).to_string();
    assert!(refused.contains("cut off"), "{refused}");
    let listed = backup(&archive, "list", &[], 0);
    assert_eq!(listed["backups"], serde_json::json!([]));
    assert_eq!(status(&archive, 0)["recovery"]["backups"], 0);
}

#[test]
fn what_a_mydumper_older_than_the_server_could_not_ask_is_told() {
    let archive = Archive::plain();
    let server = server();
    server.flush_logs();
    archive.archive(&server.index_file());
    let dir = archive.path("mydumper");
    mydumper(server.socket().as_ref(), &dir);
    let refused = add(&archive, &dir, "old-tool", 1).to_string();
    assert!(
        refused.contains("metadata: it names neither") && refused.contains("MySQL 8.4"),
        "{refused}"
    );
}

#[test]
fn without_gtids_a_position_is_a_place() {
    let archive = Archive::plain();
    let server = Options::new().no_gtids().start();
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)");
    rows(&server, 5);
    let dump = archive.path("full.sql");
    server.dump(&["--set-gtid-purged=AUTO"], &dump);
    rows(&server, 5);
    server.flush_logs();
    archive.archive(&server.index_file());
    let added = add(&archive, &dump, "plain", 0);
    assert_eq!(added["gtids"], serde_json::Value::Null, "{added:#}");
    let window = &added["verdict"];
    assert_eq!(window["state"], "usable", "{added:#}");
    assert_eq!(window["earliest_is_exact"], true, "{added:#}");
    let url = archive.url();
    let place = added["position"].as_str().expect("text");
    let located = archive.output(&["locate", &url, "--position", place, "--json"]);
    let located: serde_json::Value = serde_json::from_slice(&located.stdout).expect("JSON");
    assert_eq!(window["earliest"], located["latest_commit_before"]);
    // A place that no file of the stream has.
    let more = ["--position", "mysql-bin.000001:157", "--place", "x"];
    let refused = backup(&archive, "add", &more, 4);
    assert_eq!(refused["verdict"]["kind"], "foreign", "{refused:#}");
}

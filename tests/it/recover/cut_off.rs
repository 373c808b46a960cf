//! A `mysqlbinlog` that fails inside a statement: mysql's client would run what it has read of one when its input ends.

use super::state::{State, executed, gtids};
use super::{Recovery, target};
use crate::archive::Archive;
use crate::mysql::Server;
use std::fs;

#[test]
fn half_of_a_statement_is_never_run() {
    let archive = Archive::encrypted();
    let source = Server::new();
    source.sql(
        "CREATE DATABASE k; CREATE TABLE k.a (id INT PRIMARY KEY); CREATE TABLE k.b (id INT PRIMARY KEY); INSERT INTO k.a VALUES (1)",
    );
    source.flush_logs();
    source.sql("DROP TABLE k.a, k.b");
    source.flush_logs();
    archive.archive(&source.index_file());
    let truth = State::of(&source);
    drop(source);

    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    let dir = recovery.clients.as_ref().expect("they are the test's");
    let (reader, whole) = (dir.join("mysqlbinlog"), dir.join("whole"));
    fs::rename(&reader, &whole).expect("ours");
    let script = format!(
        "#!/bin/sh\n'{}' \"$@\" | awk '/^DROP TABLE/ {{ printf \"%s\", \"DROP TABLE `k`.`a`\"; exit }} {{ print }}'\nexit 1\n",
        whole.display()
    );
    fs::write(&reader, script).expect("writable");
    let mode = fs::metadata(&whole).expect("there").permissions();
    fs::set_permissions(&reader, mode).expect("ours");

    let route = ["--to-end", "--engine", "pipe"];
    let (code, said) = recovery.spawn(&route).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("mysqlbinlog"), "{said}");
    let missing = gtids(&truth.executed).minus(&gtids(&executed(&target)));
    assert!(!missing.is_empty(), "the DROP was not executed: {said}");
    let left =
        target.sql("SELECT table_name FROM information_schema.tables WHERE table_schema = 'k'");
    assert_ne!(left.concat(), ["b"], "{said}");

    fs::rename(&whole, &reader).expect("ours");
    recovery.run(&route);
    assert_eq!(State::of(&target), truth);
}

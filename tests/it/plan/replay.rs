//! A plan done with stock tools: the server it makes is the one that was.

use super::{files, planned, text};
use crate::archive::Archive;
use crate::mysql::{Server, mysqlbinlog};
use crate::tools;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory with `mysqlbinlog` and `mysql` as a script finds them, the latter talking to `server`.
fn stock_tools(archive: &Archive, server: &Server, name: &str) -> PathBuf {
    let dir = archive.path(name);
    fs::create_dir(&dir).expect("writable");
    for (tool, command) in [("mysqlbinlog", mysqlbinlog()), ("mysql", server.client())] {
        let words: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_str().expect("text")))
            .collect();
        let path = dir.join(tool);
        let script = format!("#!/bin/sh\nexec {} \"$@\"\n", words.join(" "));
        tools::write_program(&path, &script);
    }
    dir
}

fn shell(tools_dir: &Path, arguments: &[&str]) -> Output {
    let path = std::env::var("PATH").expect("there is one");
    tools::output(
        Command::new("bash")
            .args(arguments)
            .env("PATH", format!("{}:{path}", tools_dir.display())),
    )
}

/// Runs a script that must succeed.
#[track_caller]
fn replay(tools_dir: &Path, arguments: &[&str]) {
    let output = shell(tools_dir, arguments);
    let said = tools::excerpt(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// The script of a plan, in a file.
fn script(archive: &Archive, route: &[&str]) -> String {
    let url = archive.url();
    let all = [&["plan", &url, "--script"], route].concat();
    let path = archive.path("recover.sh");
    fs::write(&path, tools::run(&mut archive.command(&all))).expect("writable");
    path.to_str().expect("text").to_owned()
}

/// The last number of a set of one source.
fn last_number(executed: &str) -> u64 {
    let digits = executed.rsplit(['-', ':']).next().expect("a number");
    digits.parse().expect("a number")
}

/// Checksums of all tables, and what was executed.
fn state(server: &Server) -> (Vec<Vec<String>>, String) {
    (
        server.sql("CHECKSUM TABLE d.t, d.u EXTENDED"),
        server
            .sql_value("SELECT @@GLOBAL.gtid_executed")
            .replace('\n', ""),
    )
}

/// A server with a history of several files: and what it had in the middle, and before and after.
fn load(server: &Server) -> [(Vec<Vec<String>>, String); 2] {
    server.sql(
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB);
         CREATE TABLE d.u (id INT PRIMARY KEY, v VARCHAR(99))",
    );
    let insert = "INSERT INTO d.t (v) VALUES (RANDOM_BYTES(1000)); ";
    for n in 0..3 {
        server.sql(&insert.repeat(20));
        server.sql(&format!(
            "BEGIN; INSERT INTO d.u VALUES ({n}, 'it''s'); UPDATE d.t SET v = REPEAT(0x00FF0A27, 300) WHERE id % 3 = {n}; COMMIT"
        ));
        server.flush_logs();
    }
    server.sql(&insert.repeat(5));
    let middle = state(server);
    server.sql("UPDATE d.u SET v = 'afterwards'");
    server.sql(&insert.repeat(5));
    server.flush_logs();
    [middle, state(server)]
}

#[test]
fn the_script_of_a_plan_makes_the_server_that_was() {
    let archive = Archive::encrypted();
    let source = Server::new();
    let [middle, end] = load(&source);
    archive.archive(&source.index_file());
    let last = format!("{}:{}", source.uuid(), last_number(&middle.1));
    let mounted = archive.mount();
    let dir = mounted.dir().to_str().expect("text");
    let target = Server::new();
    let bin = stock_tools(&archive, &target, "bin");

    let first = script(&archive, &["--after-gtid", &last]);
    replay(&bin, &[&first, dir]);
    assert_eq!(state(&target), middle);
    // Run again it has nothing to do.
    replay(&bin, &[&first, dir]);
    assert_eq!(state(&target), middle);

    // From there to the end, by what the server has.
    let plan = planned(&archive, &["--to-end", "--from-gtid-set", &middle.1]);
    assert_eq!(files(&plan), ["binlog.000004"]);
    let rest = script(&archive, &["--to-end", "--from-gtid-set", &middle.1]);
    let empty = Server::new();
    let other = stock_tools(&archive, &empty, "other-bin");
    let output = shell(&other, &[&rest, dir]);
    let said = tools::excerpt(&output.stderr);
    assert!(!output.status.success() && said.contains("lacks"), "{said}");
    replay(&bin, &[&rest, dir]);
    assert_eq!(state(&target), end);

    // A server that has more is left alone.
    let back = script(&archive, &["--after-gtid", &last]);
    let output = shell(&bin, &[&back, dir]);
    let said = tools::excerpt(&output.stderr);
    assert!(
        !output.status.success() && said.contains("does not belong"),
        "{said}"
    );
    // So is one for which a file is missing.
    let output = shell(&other, &[&back, "/nonexistent"]);
    let said = tools::excerpt(&output.stderr);
    assert!(
        !output.status.success() && said.contains("cannot be read"),
        "{said}"
    );
}

#[test]
fn a_transaction_that_is_skipped_is_left_out_and_what_follows_is_not() {
    let archive = Archive::encrypted();
    let source = Server::new();
    let [middle, end] = load(&source);
    archive.archive(&source.index_file());
    let mounted = archive.mount();
    let count = last_number(&middle.1);
    let bad = format!("{}:{}", source.uuid(), count + 1);
    let script = script(&archive, &["--to-end", "--skip-gtid", &bad]);
    let target = Server::new();
    let bin = stock_tools(&archive, &target, "bin");
    // Run again it has nothing to do.
    for _ in 0..2 {
        replay(&bin, &[&script, mounted.dir().to_str().expect("text")]);
        let (tables, executed) = state(&target);
        assert_eq!((&tables[0], &tables[1]), (&end.0[0], &middle.0[1]));
        // With an empty transaction in its place.
        assert_eq!(executed, end.1);
    }
}

#[test]
fn cat_writes_what_a_plan_replays_as_one_stream() {
    let archive = Archive::encrypted();
    let source = Server::new();
    let [middle, _] = load(&source);
    archive.archive(&source.index_file());
    let (uuid, url) = (source.uuid(), archive.url());
    let count = last_number(&middle.1);
    let gtid = |number: u64| format!("{uuid}:{number}");
    let read = |arguments: &[&str]| -> Vec<String> {
        let all = [&["cat", &url], arguments].concat();
        let bytes = tools::run(&mut archive.command(&all));
        let path = archive.path("stream");
        fs::write(&path, bytes).expect("writable");
        let mut reader = mysqlbinlog();
        reader.args([
            "--verify-binlog-checksum",
            "--base64-output=DECODE-ROWS",
            "-",
        ]);
        let printed = tools::run_text(reader.stdin(fs::File::open(&path).expect("there")));
        let gtids = printed.lines().filter_map(|line| {
            line.strip_prefix("SET @@SESSION.GTID_NEXT= '")?
                .split('\'')
                .next()
        });
        let gtids = gtids.filter(|gtid| *gtid != "AUTOMATIC");
        gtids.map(str::to_owned).collect()
    };
    for (first, last) in [(1, count), (9, 12), (9, count), (30, count - 1)] {
        let set = format!("{uuid}:1-{}", first - 1);
        let mut arguments = vec!["--after-gtid"];
        let to = gtid(last);
        arguments.push(&to);
        if first > 1 {
            arguments.extend(["--from-gtid-set", &set]);
        }
        let wanted: Vec<String> = (first..=last).map(gtid).collect();
        assert_eq!(read(&arguments), wanted, "{arguments:?}");
    }
    // A refusal writes nothing.
    let output = archive.output(&["cat", &url, "--to", "2099-01-01T00:00:00Z"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(4), 0));
    let said = tools::excerpt(&output.stderr);
    assert!(said.contains("--to "), "{said}");
    for wrong in [vec!["binlog.000001", "--to-end"], vec!["--raw", "--to-end"]] {
        let all = [vec!["cat", &url], wrong].concat();
        assert_eq!(archive.output(&all).status.code(), Some(2), "{all:?}");
    }
}

#[test]
fn without_gtids_a_plan_goes_by_positions_and_says_so() {
    let archive = Archive::encrypted();
    let source = crate::mysql::Options::new().no_gtids().start();
    let tables = "CHECKSUM TABLE d.t, d.u EXTENDED";
    load(&source);
    archive.archive(&source.index_file());
    let mounted = archive.mount();
    let plan = planned(&archive, &["--to-end"]);
    assert_eq!(plan["gtids"]["complete"], false);
    super::refused(
        &archive,
        &[
            "--to-end",
            "--from-gtid-set",
            &format!("{}:1", source.uuid()),
        ],
        "base_foreign",
    );
    let target = crate::mysql::Options::new().no_gtids().start();
    let bin = stock_tools(&archive, &target, "bin");
    // In two steps: where the first ends, the second begins.
    let third = planned(&archive, &["--to-position", "binlog.000003:4"]);
    let middle = format!(
        "{}:{}",
        text(&third["stop"]["file"]),
        third["stop"]["position"]
    );
    for route in [
        vec!["--to-position", &middle],
        vec!["--to-end", "--from-position", &middle],
    ] {
        let script = script(&archive, &route);
        replay(&bin, &[&script, mounted.dir().to_str().expect("text")]);
    }
    assert_eq!(target.sql(tables), source.sql(tables));
}

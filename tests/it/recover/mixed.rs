//! A history in whose middle a server wrote transactions without GTIDs, between files in which all have one.

use super::state::{State, executed};
use super::{Recovery, target};
use crate::archive::Archive;
use crate::mysql::Server;

/// Takes a server from one `gtid_mode` to another; each step begins a new file.
fn go(server: &Server, modes: &[&str]) {
    for mode in modes {
        server.sql(&format!("SET GLOBAL gtid_mode = {mode}"));
    }
}

/// An archived source, and what it had executed when it turned GTIDs off.
fn source(archive: &Archive) -> (Server, String) {
    let source = Server::new();
    source.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)");
    let insert = "INSERT INTO d.t (v) VALUES (1); ".repeat(10);
    source.sql(&insert);
    let before = executed(&source);
    go(&source, &["ON_PERMISSIVE", "OFF_PERMISSIVE"]);
    source.sql(&insert);
    assert_eq!(executed(&source), before);
    go(&source, &["ON_PERMISSIVE", "ON"]);
    source.sql(&insert);
    source.flush_logs();
    archive.archive(&source.index_file());
    (source, before)
}

#[test]
fn what_a_set_does_not_tell_of_the_middle_is_neither_left_out_nor_applied_twice() {
    let archive = Archive::encrypted();
    let (source, before) = source(&archive);
    let truth = State::of(&source);
    let whole = archive.json("plan", &["--to-end"], 0);
    assert_eq!(whole["gtids"]["complete"], false, "{whole:#}");
    // A base that ends where they begin has none, some or all of them.
    let of_base = ["--to-end", "--from-gtid-set", &before];
    let refusal = archive.json("plan", &of_base, 4);
    assert_eq!(refusal["kind"], "no_gtids", "{refusal:#}");

    let strict = target();
    let recovery = Recovery::onto(&archive, &strict);
    recovery.leaves_alone(&strict, &["--to-end"], "target_gtid_mode");
    drop(recovery);
    drop(strict);

    // A run that ended among them has what comes before.
    let part = target();
    go(&part, &["ON_PERMISSIVE"]);
    let recovery = Recovery::onto(&archive, &part);
    let (_, last) = before.rsplit_once('-').expect("a set of one run");
    let last = format!("{}:{last}", source.uuid());
    recovery.run_by("pipe", &["--after-gtid", &last]);
    assert_eq!(executed(&part), before);
    recovery.leaves_alone(&part, &["--to-end"], "no_gtids");
    drop(recovery);
    drop(part);

    let target = target();
    go(&target, &["ON_PERMISSIVE"]);
    let recovery = Recovery::onto(&archive, &target);
    let done = recovery.run(&["--to-end"]);
    assert_eq!(done["engine"], "pipe", "{done:#}");
    assert_eq!(State::of(&target), truth);
    // It has transactions from behind them.
    recovery.has_nothing_to_do(&["--to-end"]);
    assert_eq!(State::of(&target), truth);
}

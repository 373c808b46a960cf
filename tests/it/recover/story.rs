//! The story that this is for: a table is dropped under load, and is had back, with and without what came after.

use super::state::{State, executed, gtids};
use super::{Recovery, restore, target, text};
use crate::archive::Archive;
use crate::mysql::{Server, mysqlbinlog};
use crate::{backup, tools};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

/// Ends the load when it goes, however that comes.
struct Load<'a> {
    over: &'a AtomicBool,
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// One of several that write: until it is over, or its table is gone.
fn write(source: &Server, table: &str, over: &AtomicBool) {
    let sql = format!(
        "INSERT INTO shop.{table} (v) VALUES (RANDOM_BYTES(300)); UPDATE shop.stock SET n = n + 1 WHERE id = 1 + CONNECTION_ID() % 10;
         BEGIN; INSERT INTO shop.{table} (v) VALUES ('one'), ('two'); UPDATE shop.{table} SET v = CONCAT(v, '!') ORDER BY id DESC LIMIT 5;
         COMMIT; DELETE FROM shop.{table} WHERE id % 7 = 3 ORDER BY id LIMIT 1;"
    );
    while !over.load(Ordering::Relaxed) {
        if source.try_sql(&sql.repeat(5)).is_err() {
            return;
        }
    }
}

/// Waits until the load has written some more.
#[track_caller]
fn goes_on(source: &Server) {
    const TRANSACTIONS: u64 = 200;
    let count = || gtids(&executed(source)).count();
    let wanted = count() + TRANSACTIONS;
    tools::eventually("the load goes on", || count() >= wanted);
}

/// A source under load whose `shop.orders` was dropped, archived, and a dump from before that.
fn source(archive: &Archive) -> (Server, PathBuf) {
    let source = Server::new();
    let columns = "(id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB)";
    source.sql(&format!(
        "CREATE DATABASE shop; CREATE TABLE shop.orders {columns}; CREATE TABLE shop.carts {columns}; CREATE TABLE shop.visits {columns};
         CREATE TABLE shop.stock (id INT PRIMARY KEY, n INT); INSERT INTO shop.stock VALUES (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0), (9, 0), (10, 0)"
    ));
    let dump = archive.path("full.sql");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let load = Load { over: &over };
        for table in ["orders", "carts", "visits"] {
            let (source, over) = (&source, &over);
            scope.spawn(move || write(source, table, over));
        }
        goes_on(&source);
        source.flush_logs();
        goes_on(&source);
        source.dump(&[], &dump);
        goes_on(&source);
        source.flush_logs();
        goes_on(&source);
        source.sql("DROP TABLE shop.orders");
        goes_on(&source);
        source.flush_logs();
        goes_on(&source);
        drop(load);
    });
    source.flush_logs();
    archive.archive(&source.index_file());
    (source, dump)
}

/// A transaction as mysqlbinlog shows it: its file, the place where it begins, and its GTID.
struct Shown {
    file: PathBuf,
    position: u64,
    gtid: String,
}

/// The transaction of a server's binlogs whose statement begins like this.
fn shown(source: &Server, statement: &str) -> Shown {
    for file in source.binlogs() {
        let mut reader = mysqlbinlog();
        let printed = tools::run_text(reader.arg("--base64-output=DECODE-ROWS").arg(&file));
        let (mut at, mut position, mut gtid) = (0, 0, "");
        for line in printed.lines() {
            if let Some(place) = line.strip_prefix("# at ") {
                at = place.parse().expect("a position");
            } else if let Some(rest) = line.strip_prefix("SET @@SESSION.GTID_NEXT= '") {
                (position, gtid) = (at, rest.split('\'').next().expect("a GTID"));
            } else if line.starts_with(statement) {
                let gtid = gtid.to_owned();
                return Shown {
                    file,
                    position,
                    gtid,
                };
            }
        }
    }
    panic!("{statement} is in no file");
}

/// What stock tools make of a server's own files on an empty one.
fn control(files: &[PathBuf], option: &str) -> State {
    let target = target();
    let mut reader = mysqlbinlog()
        .args(["--verify-binlog-checksum", option])
        .args(files)
        .stdout(Stdio::piped())
        .spawn()
        .expect("mysqlbinlog starts");
    let printed = reader.stdout.take().expect("stdout is piped");
    let mut client = target.client();
    client.args(["--binary-mode", "--max-allowed-packet=1G"]);
    tools::run(client.stdin(Stdio::from(printed)));
    assert!(reader.wait().expect("our own child").success());
    State::of(&target)
}

fn a_dropped_table_is_had_back_by(engine: &str) {
    let archive = Archive::encrypted();
    let (source, dump) = source(&archive);
    let dropped = shown(&source, "DROP TABLE");
    let files = source.binlogs();
    let up_to = files
        .iter()
        .position(|file| *file == dropped.file)
        .expect("listed");
    let before = control(
        &files[..=up_to],
        &format!("--stop-position={}", dropped.position),
    );
    let mut without = control(&files, &format!("--exclude-gtids={}", dropped.gtid));
    // An empty transaction is there instead of what is left out.
    let mut all = gtids(&without.executed);
    all.union_with(&gtids(&dropped.gtid));
    without.executed = all.to_string();
    let added = backup::add(&archive, &dump, "nightly", 0);
    drop(source);

    // It is found in the archive alone.
    let history = archive.json("history", &["--ddl"], 0);
    let found = history["found"].as_array().expect("a list");
    let drop_table = found
        .iter()
        .find(|one| text(one, "sql").starts_with("DROP TABLE"))
        .expect("it is found");
    let gtid = text(drop_table, "gtid");
    assert_eq!(
        (gtid, drop_table["position"].as_u64()),
        (dropped.gtid.as_str(), Some(dropped.position))
    );

    let target = target();
    restore(&dump, &target);
    let held = executed(&target);
    assert_eq!(text(&added, "gtids"), held);
    let recovery = Recovery::onto(&archive, &target);
    let done = recovery.run_by(engine, &["--before-gtid", gtid, "--backup", "nightly"]);
    let recovered = State::of(&target);
    assert_eq!(recovered, before);
    assert_eq!(
        (text(&done, "file"), done["position"].as_u64()),
        (text(drop_table, "file"), Some(dropped.position))
    );
    let applied = gtids(&recovered.executed).minus(&gtids(&held)).count();
    assert_eq!(done["transactions"].as_u64(), Some(applied), "{done:#}");
    assert_eq!(recovery.left_behind(&target), [""; 0]);
    // And from there over it: what came later, but for that.
    let over_it = ["--to-end", "--skip-gtid", gtid];
    recovery.run_by(engine, &over_it);
    assert_eq!(State::of(&target), without);
    // No later run brings it, and the same one has done it.
    recovery.has_nothing_to_do(&["--to-end"]);
    recovery.has_nothing_to_do(&over_it);
    assert_eq!(State::of(&target), without);
    drop(recovery);
    drop(target);

    // The same from the backup at once.
    let target = super::target();
    restore(&dump, &target);
    let recovery = Recovery::onto(&archive, &target);
    recovery.run_by(
        engine,
        &["--to-end", "--skip-gtid", gtid, "--backup", "nightly"],
    );
    assert_eq!(State::of(&target), without);
    assert_eq!(recovery.left_behind(&target), [""; 0]);
}

#[test]
fn a_dropped_table_is_had_back_by_the_pipe() {
    a_dropped_table_is_had_back_by("pipe");
}

#[test]
fn a_dropped_table_is_had_back_by_the_servers_own_applier() {
    a_dropped_table_is_had_back_by("parallel");
}

//! What the server's own applier is given, and what would make it leave something out.

use super::gate::{self, Gate, archived};
use super::state::State;
use super::{ENGINES, Recovery, target};
use crate::archive::Archive;
use crate::mysql::{Options, Server};
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

/// Longer than a recovery believes an applier that seems to have nothing to do.
const LONG: Duration = Duration::from_secs(4);

#[test]
fn a_long_last_transaction_is_waited_for_and_nobody_else_recovers_meanwhile() {
    let (archive, source) = archived("");
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    let before_last = format!("{}:4", source.uuid());
    recovery.run(&["--after-gtid", &before_last]);
    let shut = Gate::shut(&target);
    let mut running = recovery.spawn(&["--to-end", "--engine", "parallel"]);
    gate::is_reached(&target, || running.is_running());
    // The files are for the server, and for nobody else.
    let mounts = recovery.mounts();
    let [mount] = mounts.as_slice() else {
        panic!("one mount: {mounts:?}");
    };
    let shown = std::fs::metadata(mount.join("binlog.000001")).expect("it is there");
    let owner = std::fs::metadata(target.datadir()).expect("it is there");
    assert_eq!((shown.uid(), shown.mode() & 0o777), (owner.uid(), 0o400));

    recovery.refused(&["--to-end"], "target_busy");
    // Nothing tells that it was not given up but time.
    std::thread::sleep(LONG);
    assert!(running.is_running());
    shut.open();
    let (code, said) = running.end();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(State::of(&target), State::of(&source));
    assert_eq!(recovery.left_behind(&target), [""; 0]);
}

#[test]
fn a_server_that_would_leave_something_out_is_recovered_by_a_client() {
    let (archive, source) = archived("");
    for option in [
        "--replicate-do-db=elsewhere",
        "--replicate-wild-ignore-table=d.%",
        "--replica-skip-errors=all",
        "--replica-exec-mode=IDEMPOTENT",
    ] {
        let target = Options::new().server_id(2).extra(option).start();
        let recovery = Recovery::onto(&archive, &target);
        let parallel = ["--to-end", "--engine", "parallel", "--execute"];
        let output = crate::tools::output(&mut recovery.command(&parallel));
        assert_ne!(output.status.code(), Some(0), "{option}");
        assert_eq!(recovery.left_behind(&target), [""; 0], "{option}");
        let done = recovery.run(&["--to-end"]);
        assert_eq!(done["engine"], "pipe", "{option}: {done:#}");
        assert_eq!(State::of(&target), State::of(&source), "{option}");
        assert_eq!(recovery.left_behind(&target), [""; 0], "{option}");
    }
}

#[test]
fn start_options_that_an_applier_does_not_mind_need_no_restart() {
    let (archive, source) = archived("");
    for options in [
        &["--relay-log-recovery=ON"][..],
        &["--read-only=ON", "--super-read-only=ON"],
        // Its channels do not start by themselves: the filters can be taken from ours while it runs.
        &[
            "--skip-replica-start=ON",
            "--replicate-ignore-db=d",
            "--replicate-rewrite-db=k->d",
        ],
    ] {
        let mut start = Options::new().server_id(2);
        for option in options {
            start = start.extra(*option);
        }
        let target = start.start();
        let recovery = Recovery::onto(&archive, &target);
        let done = recovery.run_by("parallel", &["--to-end"]);
        assert_eq!(done["restarts"], 0, "{options:?}: {done:#}");
        assert_eq!(State::of(&target), State::of(&source), "{options:?}");
        assert_eq!(recovery.left_behind(&target), [""; 0], "{options:?}");
    }
}

#[test]
fn a_channel_of_the_same_name_that_is_somebody_elses_stays() {
    let (archive, _source) = archived("");
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    target.sql("CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'db.example', SOURCE_USER = 'x' FOR CHANNEL 'binlogfs'");
    recovery.refused(&["--to-end"], "target_is_replica");
    let hosts =
        target.sql("SELECT host FROM performance_schema.replication_connection_configuration");
    assert_eq!(hosts.concat(), ["db.example"]);
}

#[test]
fn one_table_is_recovered_alone_by_the_applier_and_not_by_a_client() {
    let archive = Archive::encrypted();
    let source = Server::new();
    source.sql(
        "CREATE DATABASE d_1; CREATE DATABASE dx1; CREATE TABLE d_1.t (id INT PRIMARY KEY, v INT); CREATE TABLE d_1.u (id INT);
         CREATE TABLE dx1.t (id INT); INSERT INTO d_1.t VALUES (1, 1); INSERT INTO dx1.t VALUES (1);
         USE dx1; INSERT INTO d_1.t VALUES (2, 2); ALTER TABLE d_1.t ADD COLUMN w INT DEFAULT 3; INSERT INTO d_1.u VALUES (1);
         SET SESSION binlog_format = STATEMENT; UPDATE d_1.t SET v = v * 10; UPDATE dx1.t SET id = 7",
    );
    source.flush_logs();
    archive.archive(&source.index_file());
    let checksum = "CHECKSUM TABLE d_1.t EXTENDED";
    let tables = "SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables WHERE table_schema IN ('d_1', 'dx1') ORDER BY 1";
    for (only, made) in [
        (["--only-table", "d_1.t"], &["d_1.t"][..]),
        (["--only-database", "d_1"], &["d_1.t", "d_1.u"]),
    ] {
        let target = target();
        // A table alone needs a place to be in; a database is made by the history.
        if only[0] == "--only-table" {
            target.sql("SET sql_log_bin = 0; CREATE DATABASE d_1");
        }
        let recovery = Recovery::onto(&archive, &target);
        recovery.refused(
            &["--to-end", "--engine", "pipe", only[0], only[1]],
            "engine",
        );
        let done = recovery.run(&["--to-end", only[0], only[1]]);
        assert_eq!(done["engine"], "parallel", "{only:?}: {done:#}");
        assert_eq!(target.sql(tables).concat(), made, "{only:?}");
        assert_eq!(target.sql(checksum), source.sql(checksum), "{only:?}");
        assert_eq!(recovery.left_behind(&target), [""; 0], "{only:?}");
    }
}

#[test]
fn a_server_of_another_account_reads_what_is_mounted_for_it() {
    let (archive, source) = archived("");
    for engine in ENGINES {
        // `nobody`: not the account that recovers, and one that may do nothing else.
        let target = Options::new().server_id(2).account(65_534).start();
        let recovery = Recovery::onto(&archive, &target);
        recovery.run_by(engine, &["--to-end"]);
        assert_eq!(State::of(&target), State::of(&source), "{engine}");
        assert_eq!(recovery.left_behind(&target), [""; 0], "{engine}");
    }
}

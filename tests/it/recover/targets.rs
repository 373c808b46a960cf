//! Servers that are not to be recovered, whatever the plan: each refused by its kind, and left as it was.

use super::state::State;
use super::{Recovery, archived, target, text};
use crate::archive::Archive;
use crate::mariadb::server::MariaDb;
use crate::mysql::Options;
use crate::tools;

const TO_END: [&str; 1] = ["--to-end"];

#[test]
fn a_server_with_tables_of_unknown_origin_is_refused() {
    let (archive, source) = archived();
    let truth = State::of(&source);
    drop(source);
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    target.sql("SET sql_log_bin = OFF; CREATE DATABASE e; CREATE TABLE e.t (id INT)");
    recovery.leaves_alone(&target, &TO_END, "target_not_empty");
    target.sql("SET sql_log_bin = OFF; DROP DATABASE e");
    recovery.run(&TO_END);
    assert_eq!(State::of(&target), truth);
}

#[test]
fn a_history_is_not_replayed_into_the_server_that_wrote_it_but_an_emptied_one_has_it_back() {
    let (archive, source) = archived();
    let recovery = Recovery::onto(&archive, &source);
    let truth = State::of(&source);
    // It knows what it has.
    recovery.has_nothing_to_do(&TO_END);
    assert_eq!(State::of(&source), truth);
    source.sql("DROP DATABASE d; RESET BINARY LOGS AND GTIDS");
    recovery.run_by("pipe", &TO_END);
    assert_eq!(State::of(&source), truth);
}

#[test]
fn without_gtids_the_server_that_wrote_the_binlogs_is_refused() {
    let archive = Archive::encrypted();
    let source = Options::new().no_gtids().start();
    source.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT); INSERT INTO d.t VALUES (1)");
    source.flush_logs();
    archive.archive(&source.index_file());
    let recovery = Recovery::onto(&archive, &source);
    let base = ["--to-end", "--from-position", "binlog.000001:4"];
    recovery.leaves_alone(&source, &base, "target_is_source");
    source.sql("DROP DATABASE d");
    recovery.leaves_alone(&source, &TO_END, "target_is_source");
}

#[test]
fn a_replica_is_refused_as_long_as_it_replicates() {
    let (archive, source) = archived();
    let truth = State::of(&source);
    let upstream = Options::new().server_id(3).start();
    upstream.sql(
        "SET sql_log_bin = OFF; CREATE USER replica@'127.0.0.1' IDENTIFIED BY 'x'; GRANT REPLICATION SLAVE ON *.* TO replica@'127.0.0.1'",
    );
    let target = target();
    target.sql(&format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = {}, SOURCE_USER = 'replica', SOURCE_PASSWORD = 'x',
           SOURCE_AUTO_POSITION = 1, GET_SOURCE_PUBLIC_KEY = 1;
         START REPLICA",
        upstream.port()
    ));
    tools::eventually("it replicates", || {
        let state = "SELECT service_state FROM performance_schema.replication_connection_status";
        target.sql_value(state) == "ON"
    });
    let recovery = Recovery::onto(&archive, &target);
    for engine in super::ENGINES {
        let route = ["--to-end", "--engine", engine];
        recovery.leaves_alone(&target, &route, "target_is_replica");
    }
    target.sql("STOP REPLICA; RESET REPLICA ALL");
    recovery.run(&TO_END);
    assert_eq!(State::of(&target), truth);
}

#[test]
fn a_server_that_is_read_only_takes_nothing_from_a_client() {
    let (archive, source) = archived();
    let truth = State::of(&source);
    drop(source);
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    target.sql("SET GLOBAL super_read_only = ON");
    let route = ["--to-end", "--engine", "pipe"];
    let refusal = recovery.leaves_alone(&target, &route, "target_read_only");
    assert!(
        text(&refusal, "reason").contains("read_only"),
        "{refusal:#}"
    );
    let now = target.sql_value("SELECT @@GLOBAL.super_read_only");
    assert_eq!(now, "1", "it is not switched off in passing");
    target.sql("SET GLOBAL super_read_only = OFF; SET GLOBAL read_only = OFF");
    recovery.run_by("pipe", &TO_END);
    assert_eq!(State::of(&target), truth);
}

#[test]
fn a_server_of_another_kind_is_refused() {
    let (archive, source) = archived();
    let maria = MariaDb::start(&["--server-id=2"]);
    let before = maria.sql("SHOW DATABASES");
    let recovery = Recovery::onto_maria(&archive, &maria);
    recovery.refused(&TO_END, "target_flavour");
    assert_eq!(maria.sql("SHOW DATABASES"), before);
    assert_eq!(maria.sql_value("SELECT @@gtid_binlog_pos"), "");
    drop(source);

    let archive = Archive::encrypted();
    maria.sql("CREATE DATABASE d; FLUSH BINARY LOGS");
    archive.archive(&maria.datadir().join("binlog.index"));
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    recovery.leaves_alone(&target, &TO_END, "target_flavour");
}

#[test]
fn a_server_that_does_not_answer_is_told() {
    let (archive, _source) = archived();
    let mut target = target();
    let recovery = Recovery::onto(&archive, &target);
    target.shutdown();
    let output = tools::output(recovery.command(&TO_END).arg("--execute"));
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("mysql.sock"), "{said}");
    assert!(recovery.mounts().is_empty());
}

//! MariaDB: its own clients in one pipe, onto a server of its own kind.

use super::Recovery;
use crate::archive::Archive;
use crate::mariadb::server::MariaDb;

const TABLES: &str = "CHECKSUM TABLE d.t, d.u EXTENDED";

/// The position of each domain, sorted.
fn position(server: &MariaDb) -> Vec<String> {
    let list = server.sql_value("SELECT @@gtid_binlog_pos");
    let mut gtids: Vec<String> = list.split(',').map(str::to_owned).collect();
    gtids.sort();
    gtids
}

/// What is compared.
fn state(server: &MariaDb) -> (Vec<String>, Vec<String>) {
    (server.sql(TABLES), position(server))
}

#[test]
fn a_mariadb_server_is_recovered_through_the_pipe_and_goes_on_from_there() {
    let archive = Archive::encrypted();
    let source = MariaDb::start(&[]);
    let insert = "INSERT INTO d.t (v) VALUES (RANDOM_BYTES(500)); ";
    source.sql(
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB);
         CREATE TABLE d.u (id INT PRIMARY KEY, v VARCHAR(99), at TIMESTAMP NULL)",
    );
    source.sql(&insert.repeat(20));
    source.sql("SET gtid_domain_id = 3; INSERT INTO d.u VALUES (1, 'it''s', NULL), (2, NULL, NULL); UPDATE d.u SET v = 'three' WHERE id = 1");
    source.sql("FLUSH BINARY LOGS");
    source.sql("SET SESSION binlog_format = STATEMENT; SET TIMESTAMP = 1700000000; UPDATE d.u SET at = NOW() WHERE id = 2");
    source.sql("BEGIN; INSERT INTO d.t (v) VALUES ('one'); DELETE FROM d.t WHERE id < 4; COMMIT");
    let middle = state(&source);
    let last = source.sql_value("SELECT @@gtid_current_pos");
    let last = last.split(',').find(|gtid| gtid.starts_with("0-"));
    let last = last.expect("the default domain").to_owned();
    source.sql("ALTER TABLE d.t ADD COLUMN w INT DEFAULT 5; FLUSH BINARY LOGS");
    source.sql(&insert.repeat(20));
    source.sql("FLUSH BINARY LOGS");
    archive.archive(&source.datadir().join("binlog.index"));
    let end = state(&source);
    drop(source);

    let target = MariaDb::start(&["--server-id=2"]);
    let recovery = Recovery::onto_maria(&archive, &target);
    let told = recovery.dry(&["--to-end"]);
    assert_eq!(told["engine"], "pipe", "{told:#}");
    assert!(target.sql("SHOW DATABASES LIKE 'd'").is_empty());
    recovery.refused(&["--to-end", "--engine", "parallel"], "engine");
    assert!(target.sql("SHOW DATABASES LIKE 'd'").is_empty());
    let done = recovery.run(&["--after-gtid", &last]);
    assert_eq!(done["engine"], "pipe", "{done:#}");
    assert_eq!(state(&target), middle);
    recovery.run(&["--to-end"]);
    assert_eq!(state(&target), end);
    recovery.has_nothing_to_do(&["--to-end"]);
    assert_eq!(state(&target), end);
    // It has what lies behind that stop.
    recovery.refused(&["--after-gtid", &last], "target_diverged");
    assert_eq!(state(&target), end);
}

//! How each snapshot of the corpus is made: the statements that a server is given.

use crate::mysql::{Options, Server};
use crate::tools;
use std::fs;
use std::path::Path;

/// A server with small binlogs, and a table `d.t` in it.
fn server(options: Options) -> Server {
    let server = options.max_binlog_size(64 << 10).start();
    server.sql(
        "CREATE DATABASE d; \
         CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(200), j JSON, at TIMESTAMP NULL)",
    );
    server
}

/// `count` transactions that insert, update and delete, in sessions of their own.
fn transactions(server: &Server, count: u32) {
    server.sql(&transactions_sql(count));
}

fn transactions_sql(count: u32) -> String {
    let mut sql = String::from("USE d;\n");
    for n in 0..count {
        sql.push_str(&match n % 5 {
            0 => format!("INSERT INTO t (v, at) VALUES ('one {n}', NOW()), ('two {n}', NOW());\n"),
            1 => format!("BEGIN; INSERT INTO t (v) VALUES (REPEAT('x{n}', 30)); SAVEPOINT s; UPDATE t SET v = '{n}' WHERE id = {n}; ROLLBACK TO s; UPDATE t SET at = NOW() WHERE id = {n}; COMMIT;\n"),
            2 => format!("INSERT INTO t (j) VALUES (JSON_OBJECT('n', {n}, 'text', REPEAT('j', 100)));\n"),
            3 => format!("UPDATE t SET j = JSON_SET(j, '$.n', {n} + 1) WHERE j IS NOT NULL;\n"),
            _ => format!("DELETE FROM t WHERE id = {n};\n"),
        });
    }
    sql
}

/// A few files of the usual traffic, and a begun one.
fn usual_files(server: &Server, dir: &Path) {
    transactions(server, 60);
    server.flush_logs();
    let load = tools::Sysbench::write_only().tables(2, 100).events(300);
    load.prepare(server);
    load.run(server);
    server.flush_logs();
    server.flush_logs();
    transactions(server, 5);
    server.snapshot(dir);
}

pub(super) fn row(dir: &Path) {
    let mut server = server(Options::new().extra("--binlog-rows-query-log-events=ON"));
    transactions(&server, 20);
    server.sql(
        "SET binlog_row_value_options = PARTIAL_JSON; \
         UPDATE d.t SET j = JSON_SET(j, '$.n', 1000) WHERE j IS NOT NULL",
    );
    // A clean restart closes a file with a STOP event.
    server.restart();
    usual_files(&server, dir);
}

pub(super) fn payload(dir: &Path) {
    let server = server(Options::new().compressed());
    server.sql("SET binlog_transaction_compression = OFF; INSERT INTO d.t (v) VALUES ('plain between payloads')");
    usual_files(&server, dir);
}

pub(super) fn tagged(dir: &Path) {
    let server = server(Options::new());
    for tag in ["nightly", "fix_2", "_x"] {
        server.sql(&format!(
            "SET gtid_next = 'AUTOMATIC:{tag}'; {}",
            transactions_sql(20)
        ));
        transactions(&server, 3);
        server.flush_logs();
    }
    usual_files(&server, dir);
}

pub(super) fn nochecksum(dir: &Path) {
    let server = server(Options::new().checksum("NONE"));
    usual_files(&server, dir);
    // The algorithm changes between files of one life.
    server.sql("SET GLOBAL binlog_checksum = CRC32");
    transactions(&server, 10);
    server.flush_logs();
    server.snapshot(dir);
}

pub(super) fn gtidoff(dir: &Path) {
    let server = server(Options::new().no_gtids());
    server.sql("CREATE TABLE d.m (id INT) ENGINE = MyISAM; INSERT INTO d.m VALUES (1); BEGIN; INSERT INTO d.t (v) VALUES ('lost'); INSERT INTO d.m VALUES (2); ROLLBACK");
    usual_files(&server, dir);
}

pub(super) fn statement(dir: &Path) {
    let server = server(Options::new().format("STATEMENT"));
    let lines = dir.join("lines.txt");
    fs::write(&lines, "1001\tfrom a file\n1002\tand another\n").expect("the directory is ours");
    server.sql(&format!(
        "USE d; \
         CREATE TEMPORARY TABLE tmp (v INT); INSERT INTO tmp VALUES (1), (2); \
         INSERT INTO t (v) SELECT v FROM tmp; \
         SET @word = 'a user variable'; INSERT INTO t (v) VALUES (@word); \
         INSERT INTO t (v) VALUES (RAND()); \
         INSERT INTO t (v) VALUES ('first'); INSERT INTO t (v) VALUES (LAST_INSERT_ID()); \
         SET TIMESTAMP = 1700000000.25; INSERT INTO t (at) VALUES (NOW()); SET TIMESTAMP = DEFAULT; \
         BEGIN; INSERT INTO t (v) VALUES ('kept'); SAVEPOINT s; INSERT INTO t (v) VALUES (@word); ROLLBACK TO s; COMMIT; \
         LOAD DATA INFILE '{}' INTO TABLE t (id, v); \
         CREATE TABLE m (id INT) ENGINE = MyISAM; INSERT INTO m VALUES (1); UPDATE m SET id = 2; \
         DROP TEMPORARY TABLE tmp",
        lines.display()
    ));
    fs::remove_file(&lines).expect("it was just written");
    usual_files(&server, dir);
}

pub(super) fn mixed(dir: &Path) {
    let server = server(Options::new().format("MIXED"));
    server.sql(
        "USE d; INSERT INTO t (v) VALUES ('as a statement'); INSERT INTO t (v) VALUES (UUID()); \
         BEGIN; INSERT INTO t (v) VALUES ('statement'); INSERT INTO t (v) VALUES (UUID()); COMMIT",
    );
    usual_files(&server, dir);
}

pub(super) fn xa(dir: &Path) {
    let server = server(Options::new());
    // A table of its own: prepared rows stay locked.
    server.sql("CREATE TABLE d.x (v VARCHAR(20))");
    server.sql("USE d; XA START 'one'; INSERT INTO x (v) VALUES ('one phase'); XA END 'one'; XA COMMIT 'one' ONE PHASE");
    // Three that are prepared, and decided in later files.
    for n in 1..=3 {
        server.sql(&format!("USE d; XA START 'x{n}','branch',7; INSERT INTO x (v) VALUES ('{n}'); XA END 'x{n}','branch',7; XA PREPARE 'x{n}','branch',7"));
    }
    transactions(&server, 5);
    server.flush_logs();
    server.sql("XA COMMIT 'x1','branch',7; XA ROLLBACK 'x2','branch',7");
    server.flush_logs();
    server.sql("XA COMMIT 'x3','branch',7");
    usual_files(&server, dir);
}

pub(super) fn crash(dir: &Path) {
    let mut server = server(Options::new());
    transactions(&server, 40);
    server.kill9();
    server.restart();
    // Once more, in the middle of a load.
    let load = tools::Sysbench::write_only().tables(2, 100).seconds(30);
    load.prepare(&server);
    let mut running = load.spawn(&server);
    std::thread::sleep(std::time::Duration::from_millis(500));
    server.kill9();
    let _ = running.kill();
    let _ = running.wait();
    server.restart();
    transactions(&server, 10);
    server.snapshot(dir);
}

pub(super) fn crash_empty(dir: &Path) {
    let mut server = server(Options::new());
    transactions(&server, 10);
    server.flush_logs();
    server.kill9();
    server.restart();
    server.kill9();
    server.restart();
    transactions(&server, 10);
    server.flush_logs();
    server.snapshot(dir);
}

/// A server that is gone: its last file is active for ever.
pub(super) fn dead(dir: &Path) {
    let mut server = server(Options::new());
    transactions(&server, 10);
    server.flush_logs();
    transactions(&server, 10);
    server.kill9();
    server.snapshot(dir);
}

/// A server that was shut down: its last file ends in STOP and has no successor.
pub(super) fn stopped(dir: &Path) {
    let mut server = server(Options::new());
    transactions(&server, 10);
    server.flush_logs();
    transactions(&server, 10);
    server.shutdown();
    server.snapshot(dir);
}

pub(super) fn reset(dir: &Path) {
    let server = server(Options::new());
    transactions(&server, 30);
    server.flush_logs();
    transactions(&server, 30);
    server.flush_logs();
    server.snapshot(&dir.join("before"));
    // The same names again, and the same GTIDs for other transactions.
    server.sql("RESET BINARY LOGS AND GTIDS");
    transactions(&server, 20);
    server.flush_logs();
    transactions(&server, 5);
    server.snapshot(&dir.join("after"));
}

pub(super) fn reset_to(dir: &Path) {
    let server = server(Options::new());
    transactions(&server, 30);
    server.flush_logs();
    server.snapshot(&dir.join("before"));
    server.sql("RESET BINARY LOGS AND GTIDS TO 999998");
    for _ in 0..3 {
        transactions(&server, 10);
        server.flush_logs();
    }
    transactions(&server, 5);
    server.snapshot(&dir.join("after"));
}

pub(super) fn time_backwards(dir: &Path) {
    let server = server(Options::new());
    for timestamp in [1_900_000_000_u32, 1_000_000_000, 1_700_000_000, 1] {
        server.sql(&format!(
            "SET TIMESTAMP = {timestamp}; {}",
            transactions_sql(5)
        ));
        server.sql(&format!(
            "SET TIMESTAMP = {timestamp}; CREATE TABLE d.c{timestamp} (id INT)"
        ));
    }
    server.flush_logs();
    usual_files(&server, dir);
}

pub(super) fn blobs(dir: &Path) {
    let server = server(Options::new());
    server.sql("CREATE TABLE d.b (id INT PRIMARY KEY, b LONGBLOB)");
    for mebibytes in [1, 5, 24] {
        server.sql(&format!(
            "INSERT INTO d.b VALUES ({mebibytes}, REPEAT(RANDOM_BYTES(1024), 1024 * {mebibytes}))"
        ));
    }
    // One transaction of many row events, each far below the whole.
    server.sql(
        "BEGIN; UPDATE d.b SET b = REVERSE(b) WHERE id < 6; DELETE FROM d.b WHERE id = 1; COMMIT",
    );
    server.flush_logs();
    usual_files(&server, dir);
}

pub(super) fn ddl(dir: &Path) {
    let server = server(Options::new());
    server.sql(
        "USE d; \
         CREATE TABLE a (id INT PRIMARY KEY, v INT); INSERT INTO a VALUES (1, 1); \
         /* a comment first */ ALTER TABLE a ADD COLUMN w INT, ALGORITHM = INSTANT; \
         CREATE INDEX i ON a (v); DROP INDEX i ON a; \
         RENAME TABLE a TO b; TRUNCATE TABLE b; \
         CREATE TABLE copied AS SELECT * FROM t; CREATE TABLE like_t LIKE t; \
         CREATE VIEW w AS SELECT id FROM t; \
         CREATE FUNCTION one() RETURNS INT DETERMINISTIC RETURN 1; \
         CREATE TRIGGER tr BEFORE INSERT ON b FOR EACH ROW SET NEW.v = 2; INSERT INTO b VALUES (1, 1, 1); \
         CREATE USER u@localhost; GRANT SELECT ON d.* TO u@localhost; DROP USER u@localhost; \
         ANALYZE TABLE b; DROP TABLE b, like_t; DROP TABLE IF EXISTS never_was; \
         CREATE DATABASE `odd ``name```; CREATE TABLE `odd ``name```.`a.b` (id INT); INSERT INTO `odd ``name```.`a.b` VALUES (1); \
         DROP DATABASE `odd ``name```",
    );
    let tables: String = (0..100)
        .map(|n| format!("CREATE TABLE d.many{n} (id INT);\n"))
        .collect();
    server.sql(&tables);
    usual_files(&server, dir);
}

pub(super) fn holes(dir: &Path) {
    let server = server(Options::new());
    let other = "11111111-2222-3333-4444-555555555555";
    // GTIDs of another server, out of order and with holes, as an applier with several workers leaves them.
    for number in [10, 3, 7, 8, 100, 9_000_000_000_000_000_000_u64, 5] {
        server.sql(&format!(
            "SET gtid_next = '{other}:{number}'; INSERT INTO d.t (v) VALUES ('{number}')"
        ));
    }
    // An empty transaction.
    server.sql(&format!("SET gtid_next = '{other}:4'; BEGIN; COMMIT"));
    server.flush_logs();
    server.sql(&format!("SET GLOBAL gtid_purged = '+{other}:20-30'"));
    usual_files(&server, dir);
}

/// Files of a transaction each, in three groups with two seconds between them.
pub(super) fn tiny(dir: &Path) {
    const FILES_IN_A_GROUP: u32 = 80;
    let server = server(Options::new());
    for group in 1..=3 {
        let sql: String = (0..FILES_IN_A_GROUP)
            .map(|n| format!("INSERT INTO d.t (v) VALUES ('{group}.{n}'); FLUSH BINARY LOGS;\n"))
            .collect();
        server.sql(&sql);
        server.sql("DO SLEEP(2)");
    }
    server.snapshot(dir);
}

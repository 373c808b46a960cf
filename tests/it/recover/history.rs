//! What the sources of these tests did: each part is the statements of one session.

use crate::mysql::Server;

/// Rows, statements with all that a statement depends on, and a temporary table that lives through three files.
const STATEMENTS: &str = r#"
    CREATE DATABASE d; USE d;
    CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB, at TIMESTAMP(6) NULL);
    INSERT INTO t (v) VALUES (RANDOM_BYTES(900)), (0x00FF0A270D5C22);
    SET SESSION binlog_format = STATEMENT;
    CREATE TEMPORARY TABLE tmp (id INT PRIMARY KEY, v INT); INSERT INTO tmp VALUES (1, 10), (2, 20);
    INSERT INTO t (v) SELECT v FROM tmp;
    FLUSH BINARY LOGS;
    UPDATE tmp SET v = v + 1;
    SET @word = 'a user''s variable'; INSERT INTO t (v) VALUES (@word);
    INSERT INTO t (v) VALUES (RAND()); INSERT INTO t (v) VALUES (LAST_INSERT_ID());
    SET TIMESTAMP = 1700000000.25; INSERT INTO t (at) VALUES (NOW(6)); SET TIMESTAMP = DEFAULT;
    FLUSH BINARY LOGS;
    INSERT INTO t (v) SELECT v FROM tmp; DROP TEMPORARY TABLE tmp;
    SET time_zone = '+05:30', sql_mode = 'ANSI_QUOTES', foreign_key_checks = 0;
    INSERT INTO "t" (v, at) VALUES ('zone', '2026-03-29 02:30:00');
"#;

/// Statements and rows in one transaction.
const MIXED: &str = "
    USE d; SET SESSION binlog_format = MIXED;
    CREATE TEMPORARY TABLE tmp (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(40)); INSERT INTO tmp (v) VALUES (UUID()), ('plain');
    INSERT INTO t (v) SELECT v FROM tmp;
    BEGIN; INSERT INTO t (v) VALUES ('a statement'); SAVEPOINT s; INSERT INTO t (v) VALUES (UUID()); ROLLBACK TO s;
    INSERT INTO t (v) VALUES ('kept'); COMMIT;
";

/// Tables that come, change and go; views, triggers, routines, an event, and names that need quoting.
const SCHEMA: &str = "
    USE d;
    CREATE TABLE a (id INT PRIMARY KEY, v INT); INSERT INTO a VALUES (1, 1), (2, 2);
    ALTER TABLE a ADD COLUMN w INT DEFAULT 7, ALGORITHM = INSTANT; INSERT INTO a VALUES (3, 3, 3);
    CREATE INDEX i ON a (v); RENAME TABLE a TO b; ALTER TABLE b MODIFY v BIGINT, ADD UNIQUE KEY (w, id);
    CREATE TABLE copied AS SELECT * FROM b; CREATE TABLE alike LIKE b; DROP TABLE alike; DROP TABLE IF EXISTS never_was;
    CREATE VIEW seen AS SELECT id, v FROM b WHERE v > 1;
    CREATE TRIGGER tr BEFORE INSERT ON b FOR EACH ROW SET NEW.v = NEW.v * 100;
DELIMITER //
    CREATE PROCEDURE fill(IN n INT) BEGIN WHILE n > 0 DO INSERT INTO b (id, v) VALUES (n + 100, n); SET n = n - 1; END WHILE; END//
    CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC BEGIN RETURN n * 2; END//
    CREATE EVENT hourly ON SCHEDULE EVERY 1 HOUR STARTS '2030-01-01 00:00:00' DO BEGIN DELETE FROM b WHERE id > 1000; END//
DELIMITER ;
    CALL fill(5); INSERT INTO copied SELECT twice(id) + 50, v, w FROM b WHERE id > 100;
    TRUNCATE TABLE copied; INSERT INTO copied VALUES (9, 9, 9);
    CREATE DATABASE `odd ``name``` COLLATE utf8mb4_bin; CREATE TABLE `odd ``name```.`a.b` (id INT, `ü` VARCHAR(9));
    INSERT INTO `odd ``name```.`a.b` VALUES (1, 'ß€');
";

/// Users whose passwords have random salts, a role, and what they may do.
const ACCOUNTS: &str = "
    CREATE USER u1@localhost IDENTIFIED BY 'first'; GRANT SELECT, INSERT ON d.* TO u1@localhost;
    CREATE USER u2@'%' IDENTIFIED BY 'it''s' ACCOUNT LOCK; CREATE ROLE reader; GRANT SELECT ON d.t TO reader; GRANT reader TO u2@'%';
    ALTER USER u1@localhost IDENTIFIED BY 'second' PASSWORD EXPIRE NEVER; REVOKE INSERT ON d.* FROM u1@localhost;
    CREATE USER gone@localhost; DROP USER gone@localhost;
    CREATE USER s1@localhost IDENTIFIED BY 's', s2@localhost IDENTIFIED BY 's', s3@localhost IDENTIFIED BY 's', s4@localhost IDENTIFIED BY 's';
";

/// Transactions that are compressed, among others.
const PACKED: &str = "
    USE d; SET SESSION binlog_transaction_compression = ON;
    UPDATE t SET v = REPEAT('packed', 500) WHERE id < 4; INSERT INTO t (v) SELECT REPEAT('x', 5000) FROM b;
    SET SESSION binlog_transaction_compression = OFF; INSERT INTO t (v) VALUES ('plain');
";

/// Transactions whose GTIDs have a tag.
const TAGGED: &str = "
    USE d; SET gtid_next = 'AUTOMATIC:nightly'; INSERT INTO t (v) VALUES ('tagged'); UPDATE t SET v = 'tagged too' WHERE id = 2;
    CREATE TABLE by_night (id INT PRIMARY KEY);
    SET gtid_next = 'AUTOMATIC'; INSERT INTO t (v) VALUES ('not tagged');
";

/// Transactions that are prepared in one file, and committed or rolled back in a later one, with others between.
const XA: &str = "
    USE d; CREATE TABLE x (v VARCHAR(20));
    XA START 'one'; INSERT INTO x VALUES ('one phase'); XA END 'one'; XA COMMIT 'one' ONE PHASE;
    XA START 'x1','branch',7; INSERT INTO x VALUES ('1'); XA END 'x1','branch',7; XA PREPARE 'x1','branch',7;
    XA START 'x2','branch',7; INSERT INTO x VALUES ('2'); XA END 'x2','branch',7; XA PREPARE 'x2','branch',7;
    INSERT INTO t (v) VALUES ('between'); FLUSH BINARY LOGS;
    INSERT INTO t (v) VALUES ('between files');
    XA COMMIT 'x1','branch',7; XA ROLLBACK 'x2','branch',7;
    XA START 'x3'; INSERT INTO x VALUES ('3'); XA END 'x3'; XA PREPARE 'x3';
    CREATE TABLE meanwhile (id INT PRIMARY KEY);
    FLUSH BINARY LOGS; XA COMMIT 'x3';
";

/// Bytes of a row of the big transaction.
const BIG_ROW_MIB: usize = 1;
/// Rows of one of its statements: MySQL's client sends them as one, and `max_allowed_packet` is a limit.
const BIG_ROWS: usize = 20;

/// One transaction of 20 MB; of 200 in the long tests.
fn big() -> String {
    let statements = match std::env::var_os("BINLOGFS_TEST_LONG") {
        Some(_) => 10,
        None => 1,
    };
    let mut sql =
        "CREATE TABLE d.big (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB); BEGIN;".to_owned();
    let row = format!("(REPEAT(RANDOM_BYTES(1024), 1024 * {BIG_ROW_MIB}))");
    let insert = format!(
        "INSERT INTO d.big (v) VALUES {};",
        vec![row; BIG_ROWS].join(", ")
    );
    sql += &insert.repeat(statements);
    sql + "COMMIT;"
}

/// The first part of the history. No session's temporary tables live at its end.
pub fn first(source: &Server) {
    source.sql(STATEMENTS);
    source.sql(MIXED);
}

/// What comes after it, up to a closed file. Tags need GTIDs.
pub fn second(source: &Server, tagged: bool) {
    source.sql(SCHEMA);
    source.flush_logs();
    source.sql(ACCOUNTS);
    source.sql(PACKED);
    if tagged {
        source.sql(TAGGED);
    }
    source.sql(XA);
    source.sql(&big());
    source.sql("INSERT INTO d.t (v) VALUES ('the end')");
    source.flush_logs();
}

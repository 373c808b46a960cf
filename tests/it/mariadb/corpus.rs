//! Real MariaDB binlogs of every kind, as they lie in a server's data directory: made once, shared by the tests.

use super::server::MariaDb;
use crate::mysql::listed_in;
use crate::tools;
use std::fs;
use std::path::{Path, PathBuf};

/// Change when what is made changes: every cache then makes it anew.
const VERSION: u32 = 1;
/// What the server said of itself when the snapshot was taken.
const STATE_NAME: &str = "gtid_binlog_state";

/// A server's binlogs at one moment.
pub struct Snapshot {
    /// Where its files are.
    pub dir: PathBuf,
}

/// A snapshot's name, and what makes it: it is given the directory to fill.
type Kind = (&'static str, fn(&Path));

const KINDS: &[Kind] = &[
    ("row", |dir| usual("ROW", &[], dir)),
    ("statement", |dir| usual("STATEMENT", &[], dir)),
    ("mixed", |dir| usual("MIXED", &[], dir)),
    ("nochecksum", |dir| {
        usual("ROW", &["--binlog-checksum=NONE"], dir);
    }),
    ("compressed", compressed),
    ("domains", domains),
    ("sized", sized),
    ("crash", crash),
    ("stopped", stopped),
];

/// The names of all snapshots.
pub fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|(name, _)| *name)
}

/// The snapshot of that name, made now if it is not in the cache.
pub fn snapshot(name: &str) -> Snapshot {
    let known = KINDS.iter().find(|(known, _)| *known == name);
    let (name, make) = known.unwrap_or_else(|| panic!("the corpus has no {name:?}"));
    let corpus = tools::cache_dir().join(format!("mariadb-corpus-{VERSION}"));
    let dir = tools::make_once(&corpus.join(name), make);
    Snapshot { dir }
}

impl Snapshot {
    /// Every file the index file lists, in order; the last one was active.
    pub fn files(&self) -> Vec<PathBuf> {
        listed_in(&self.dir.join("binlog.index"), &self.dir)
    }

    /// The files that have a successor.
    pub fn closed(&self) -> Vec<PathBuf> {
        let mut files = self.files();
        files.pop();
        files
    }

    /// `@@gtid_binlog_state` after the last event of the active file; `None` if no server ran then.
    pub fn state(&self) -> Option<String> {
        fs::read_to_string(self.dir.join(STATE_NAME)).ok()
    }
}

/// A server with a table `d.t` in InnoDB and one, `d.a`, that is not transactional.
fn server(options: &[&str]) -> MariaDb {
    let server = MariaDb::start(options);
    server.sql(
        "CREATE DATABASE d; \
         CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, v TEXT, at TIMESTAMP NULL) ENGINE = InnoDB; \
         CREATE TABLE d.a (id INT AUTO_INCREMENT PRIMARY KEY, v TEXT) ENGINE = MyISAM",
    );
    server
}

fn finish(server: &MariaDb, dir: &Path) {
    server.snapshot(dir);
    let state = server.sql_value("SELECT @@gtid_binlog_state");
    fs::write(dir.join(STATE_NAME), state).expect("the snapshot is writable");
}

/// All that a session does to rows, whatever the format.
const ROWS: &str = "\
    USE d; \
    INSERT INTO t (v) VALUES ('one'), ('two'), ('three'); \
    BEGIN; INSERT INTO t (v) VALUES ('four'); SAVEPOINT s; UPDATE t SET v = 'lost'; ROLLBACK TO s; \
    UPDATE t SET at = '2020-02-02 02:02:02' WHERE id = 1; COMMIT; \
    BEGIN; INSERT INTO t (v) VALUES ('both'); INSERT INTO a (v) VALUES ('both'); COMMIT; \
    BEGIN; INSERT INTO a (v) VALUES ('stays'); INSERT INTO t (v) VALUES ('goes'); ROLLBACK; \
    INSERT INTO a (v) VALUES ('not transactional'); UPDATE a SET v = 'still not'; DELETE FROM a WHERE id = 1; \
    SET @x = 'a variable'; INSERT INTO t (v) VALUES (@x); INSERT INTO t (v) VALUES (RAND()); INSERT INTO t (v) VALUES (UUID()); \
    CREATE TEMPORARY TABLE temp (id INT); INSERT INTO temp VALUES (1), (2); INSERT INTO t (v) SELECT id FROM temp; DROP TEMPORARY TABLE temp; \
    DELETE FROM t WHERE id = 2; REPLACE INTO t (id, v) VALUES (1, 'replaced'); \
    XA START 'x'; INSERT INTO t (v) VALUES ('prepared'); XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'; \
    XA START 'y'; INSERT INTO t (v) VALUES ('rolled back'); XA END 'y'; XA PREPARE 'y'; XA ROLLBACK 'y'; \
    XA START 'z'; INSERT INTO t (v) VALUES ('one phase'); XA END 'z'; XA COMMIT 'z' ONE PHASE;\n";

/// Statements that change schemas and accounts, and those peculiar to MariaDB.
const SCHEMA: &str = "\
    USE d; \
    CREATE OR REPLACE TABLE b (id INT PRIMARY KEY, v INT); ALTER TABLE b ADD COLUMN w INT; CREATE INDEX i ON b (v); \
    INSERT INTO b VALUES (1, 1, 1); RENAME TABLE b TO c; TRUNCATE TABLE c; \
    CREATE TABLE copied AS SELECT id, v FROM t; CREATE OR REPLACE TABLE copied AS SELECT id FROM t; \
    CREATE TABLE sv (id INT) WITH SYSTEM VERSIONING; INSERT INTO sv VALUES (1); UPDATE sv SET id = 2; DELETE HISTORY FROM sv; \
    CREATE FUNCTION one() RETURNS INT DETERMINISTIC RETURN 1; CREATE TRIGGER tr BEFORE INSERT ON c FOR EACH ROW SET NEW.v = one(); \
    INSERT INTO c VALUES (1, 1, 1); CREATE VIEW w AS SELECT id FROM t; \
    CREATE USER u@localhost IDENTIFIED BY 'p'; GRANT SELECT ON d.* TO u@localhost; SET PASSWORD FOR u@localhost = PASSWORD('r'); DROP USER u@localhost; \
    ANALYZE TABLE c; OPTIMIZE TABLE c; DROP TABLE c, copied; DROP TABLE IF EXISTS never_was; \
    CREATE DATABASE `odd ``name```; CREATE TABLE `odd ``name```.`a.b` (id INT); INSERT INTO `odd ``name```.`a.b` VALUES (1); \
    DROP DATABASE `odd ``name```; DROP VIEW w; DROP FUNCTION one; DROP TABLE sv;\n";

/// Sequences are logged by row alone.
const SEQUENCES: &str = "\
    USE d; CREATE SEQUENCE q START WITH 5 CACHE 3; SELECT NEXTVAL(q) INTO @a; SELECT NEXTVAL(q) INTO @a; \
    INSERT INTO t (v) VALUES (NEXTVAL(q)); SELECT SETVAL(q, 1000); DROP SEQUENCE q;\n";

/// The usual traffic in one binlog format: two closed files and a begun one.
fn usual(format: &str, options: &[&str], dir: &Path) {
    let by_statement = format == "STATEMENT";
    let format = format!("--binlog-format={format}");
    let options: Vec<&str> = options.iter().copied().chain([format.as_str()]).collect();
    let server = server(&options);
    server.sql(ROWS);
    let data = server.path("load.txt");
    fs::write(&data, "100\n101\n102\n").expect("writable");
    let data = data.display();
    server.sql(&format!(
        "LOAD DATA LOCAL INFILE '{data}' INTO TABLE d.t (id); SET SESSION binlog_format = STATEMENT; \
         LOAD DATA INFILE '{data}' INTO TABLE d.a (id)"
    ));
    server.sql("FLUSH BINARY LOGS");
    server.sql(SCHEMA);
    if !by_statement {
        server.sql(SEQUENCES);
    }
    server.sql("FLUSH BINARY LOGS");
    server.sql(ROWS);
    finish(&server, dir);
}

/// Compressed rows and statements between plain ones.
fn compressed(dir: &Path) {
    let server = server(&["--log-bin-compress=ON", "--log-bin-compress-min-len=64"]);
    let rows = "\
        INSERT INTO d.t (v) VALUES (REPEAT('insert', 2000)), (REPEAT('again', 2000)); \
        UPDATE d.t SET v = CONCAT(v, REPEAT('update', 1000)); DELETE FROM d.t WHERE id = 1; \
        INSERT INTO d.t (v) VALUES ('short'); \
        CREATE TABLE d.wide (first_column INT, second_column VARCHAR(100), third_column VARCHAR(100), fourth_column VARCHAR(100)); \
        DROP TABLE d.wide;";
    for format in ["ROW", "STATEMENT", "MIXED"] {
        server.sql(&format!("SET SESSION binlog_format = {format}; {rows}"));
        server.sql(&format!("SET SESSION binlog_format = {format}; {ROWS}"));
        server.sql("FLUSH BINARY LOGS");
    }
    server.sql("SET SESSION binlog_row_image = MINIMAL; UPDATE d.t SET v = CONCAT(v, REPEAT('minimal', 1000)) WHERE id = 5");
    finish(&server, dir);
}

/// Several domains and origins, numbers that jump, and a file without a transaction.
fn domains(dir: &Path) {
    let server = server(&[]);
    let insert = "INSERT INTO d.t (v) VALUES ('row');";
    for (domain, origin) in [
        (0, 1),
        (5, 1),
        (7, 1),
        (7, 44),
        (7, 1),
        (4_000_000_000_u32, 3),
    ] {
        server.sql(&format!(
            "SET SESSION gtid_domain_id = {domain}; SET SESSION server_id = {origin}; {insert} {insert} \
             CREATE TABLE d.of_{domain}_{origin}_{insert_count} (id INT);",
            insert_count = server.sql_value("SELECT COUNT(*) FROM d.t"),
        ));
    }
    server.sql("FLUSH BINARY LOGS");
    server.sql("FLUSH BINARY LOGS");
    server.sql(&format!(
        "SET gtid_domain_id = 5; SET gtid_seq_no = 100; {insert} SET gtid_seq_no = 1000000000000; {insert} {insert}"
    ));
    server.sql("FLUSH BINARY LOGS");
    server.sql(insert);
    finish(&server, dir);
}

/// Rotated by size, again and again.
fn sized(dir: &Path) {
    let server = server(&["--max-binlog-size=4096"]);
    let insert = "INSERT INTO d.t (v) VALUES (REPEAT('x', 500));\n";
    server.sql(&insert.repeat(60));
    server.sql(&format!("BEGIN; {} COMMIT", insert.repeat(40)));
    assert!(server.binlogs().len() > 8, "the size rotates");
    finish(&server, dir);
}

/// Killed in the middle, twice, the second time after nothing but its start.
fn crash(dir: &Path) {
    let mut server = server(&[]);
    server.sql(ROWS);
    server.kill9();
    server.launch_with(&[]);
    server.kill9();
    server.launch_with(&[]);
    server.sql(ROWS);
    server.sql("FLUSH BINARY LOGS");
    finish(&server, dir);
}

/// Shut down and started again, and shut down.
fn stopped(dir: &Path) {
    let mut server = server(&[]);
    server.sql(ROWS);
    server.restart();
    server.sql(SCHEMA);
    server.shutdown();
    server.snapshot(dir);
}

#[test]
fn every_mariadb_snapshot_has_closed_files_and_an_active_one() {
    for name in names() {
        let files = snapshot(name).files();
        assert!(files.len() > 1, "{name}: {files:?}");
        for file in files {
            let length = fs::metadata(&file)
                .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
                .len();
            assert!(length > 280, "{}: {length} bytes", file.display());
        }
    }
}

//! Real binlogs of every kind, as they lie in a server's data directory: made once, shared by the tests.
//!
//! Each snapshot is a directory with a binlog index file, every file it lists, the active one too, and the server's
//! auto.cnf. Tests that change anything work on a copy ([`Snapshot::copy_to`]).

use crate::mysql::{self, Options, Server};
use crate::tools;
use std::fs;
use std::path::{Path, PathBuf};

/// Change when what is made changes: every cache then makes it anew.
const VERSION: u32 = 1;

/// A server's binlogs at one moment.
pub struct Snapshot {
    /// Its name, such as `row` or `reset/before`.
    pub name: &'static str,
    /// Where its files are.
    pub dir: PathBuf,
}

/// Snapshots that come from one server, oldest first, and what makes them: it is given the directory to fill.
struct Kind {
    snapshots: &'static [&'static str],
    make: fn(&Path),
}

const KINDS: &[Kind] = &[
    Kind {
        snapshots: &["row"],
        make: row,
    },
    Kind {
        snapshots: &["payload"],
        make: payload,
    },
    Kind {
        snapshots: &["tagged"],
        make: tagged,
    },
    Kind {
        snapshots: &["nochecksum"],
        make: nochecksum,
    },
    Kind {
        snapshots: &["gtidoff"],
        make: gtidoff,
    },
    Kind {
        snapshots: &["statement"],
        make: statement,
    },
    Kind {
        snapshots: &["mixed"],
        make: mixed,
    },
    Kind {
        snapshots: &["xa"],
        make: xa,
    },
    Kind {
        snapshots: &["crash"],
        make: crash,
    },
    Kind {
        snapshots: &["crash-empty"],
        make: crash_empty,
    },
    Kind {
        snapshots: &["reset/before", "reset/after"],
        make: reset,
    },
    Kind {
        snapshots: &["reset-to/before", "reset-to/after"],
        make: reset_to,
    },
    Kind {
        snapshots: &["time-backwards"],
        make: time_backwards,
    },
    Kind {
        snapshots: &["blobs"],
        make: blobs,
    },
    Kind {
        snapshots: &["ddl"],
        make: ddl,
    },
    Kind {
        snapshots: &["holes"],
        make: holes,
    },
];

/// The snapshot of that name, made now if it is not in the cache. Panics if there is no such snapshot.
pub fn snapshot(name: &str) -> Snapshot {
    for kind in KINDS {
        if let Some(name) = kind.snapshots.iter().find(|known| **known == name) {
            return kind.snapshot(name);
        }
    }
    panic!("the corpus has no {name:?}");
}

/// The names of all snapshots.
pub fn names() -> impl Iterator<Item = &'static str> {
    KINDS.iter().flat_map(|kind| kind.snapshots.iter().copied())
}

impl Kind {
    fn snapshot(&self, name: &'static str) -> Snapshot {
        // A kind with several snapshots has a directory of its own, the first part of their names.
        let kind = name
            .split('/')
            .next()
            .expect("split gives at least one part");
        let corpus = tools::cache_dir().join(format!("corpus-{VERSION}"));
        tools::make_once(&corpus.join(kind), self.make);
        let dir = corpus.join(name);
        Snapshot { name, dir }
    }
}

impl Snapshot {
    /// The binlog index file.
    pub fn index_file(&self) -> PathBuf {
        self.dir.join("binlog.index")
    }

    /// Every file the index file lists, in order; the last one was active.
    pub fn files(&self) -> Vec<PathBuf> {
        mysql::listed_in(&self.index_file(), &self.dir)
    }

    /// The files that have a successor.
    pub fn closed(&self) -> Vec<PathBuf> {
        let mut files = self.files();
        files.pop();
        files
    }

    /// The server's UUID.
    pub fn server_uuid(&self) -> String {
        mysql::server_uuid(&self.dir.join("auto.cnf"))
    }

    /// Copies it into the existing directory `dir`, over what has the same name there.
    pub fn copy_to(&self, dir: &Path) {
        for entry in fs::read_dir(&self.dir).expect("a snapshot can be read") {
            let entry = entry.expect("a snapshot can be read");
            fs::copy(entry.path(), dir.join(entry.file_name())).expect("the target is writable");
        }
    }
}

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

fn row(dir: &Path) {
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

fn payload(dir: &Path) {
    let server = server(Options::new().compressed());
    server.sql("SET binlog_transaction_compression = OFF; INSERT INTO d.t (v) VALUES ('plain between payloads')");
    usual_files(&server, dir);
}

fn tagged(dir: &Path) {
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

fn nochecksum(dir: &Path) {
    let server = server(Options::new().checksum("NONE"));
    usual_files(&server, dir);
    // The algorithm changes between files of one life.
    server.sql("SET GLOBAL binlog_checksum = CRC32");
    transactions(&server, 10);
    server.flush_logs();
    server.snapshot(dir);
}

fn gtidoff(dir: &Path) {
    let server = server(Options::new().no_gtids());
    server.sql("CREATE TABLE d.m (id INT) ENGINE = MyISAM; INSERT INTO d.m VALUES (1); BEGIN; INSERT INTO d.t (v) VALUES ('lost'); INSERT INTO d.m VALUES (2); ROLLBACK");
    usual_files(&server, dir);
}

fn statement(dir: &Path) {
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

fn mixed(dir: &Path) {
    let server = server(Options::new().format("MIXED"));
    server.sql(
        "USE d; INSERT INTO t (v) VALUES ('as a statement'); INSERT INTO t (v) VALUES (UUID()); \
         BEGIN; INSERT INTO t (v) VALUES ('statement'); INSERT INTO t (v) VALUES (UUID()); COMMIT",
    );
    usual_files(&server, dir);
}

fn xa(dir: &Path) {
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

fn crash(dir: &Path) {
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

fn crash_empty(dir: &Path) {
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

fn reset(dir: &Path) {
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

fn reset_to(dir: &Path) {
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

fn time_backwards(dir: &Path) {
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

fn blobs(dir: &Path) {
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

fn ddl(dir: &Path) {
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

fn holes(dir: &Path) {
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

#[test]
fn every_snapshot_has_closed_files_and_an_active_one() {
    for name in names() {
        let snapshot = snapshot(name);
        assert!(!snapshot.closed().is_empty(), "{name}");
        for file in snapshot.files() {
            let length = fs::metadata(&file)
                .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
                .len();
            assert!(length > 100, "{}: {length} bytes", file.display());
        }
        assert_eq!(snapshot.server_uuid().len(), 36, "{name}");
    }
}

#[test]
fn a_reset_repeats_names_and_gtids_of_the_same_server() {
    let (before, after) = (snapshot("reset/before"), snapshot("reset/after"));
    assert_eq!(before.server_uuid(), after.server_uuid());
    let first = |snapshot: &Snapshot| fs::read(&snapshot.files()[0]).unwrap();
    assert_eq!(before.files()[0].file_name(), after.files()[0].file_name());
    assert_ne!(first(&before), first(&after));
}

#[test]
fn numbers_roll_over_from_six_to_seven_digits() {
    let files = snapshot("reset-to/after").files();
    let names: Vec<_> = files
        .iter()
        .map(|file| file.file_name().unwrap().to_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "binlog.999998",
            "binlog.999999",
            "binlog.1000000",
            "binlog.1000001"
        ]
    );
}

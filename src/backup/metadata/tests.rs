//! What the tools' own words say, whole, damaged and cut off.

use super::super::Tool;
use super::*;
use std::fs;
use std::io::{Seek as _, Write as _};
use std::path::PathBuf;

const U: &str = "71e43bc0-e995-11f1-a2ca-02fc00000001";
/// As mysqldump 9.7.4 wrote it, with a table whose rows look like coordinates.
const MYSQLDUMP: &str = "\
-- MySQL dump 10.13  Distrib 9.7.4, for Linux (x86_64)
--
-- Host: localhost    Database: 
-- ------------------------------------------------------
-- Server version\t9.7.4-2

/*!40101 SET @OLD_CHARACTER_SET_CLIENT=@@CHARACTER_SET_CLIENT */;
SET @MYSQLDUMP_TEMP_LOG_BIN = @@SESSION.SQL_LOG_BIN;
SET @@SESSION.SQL_LOG_BIN= 0;

--
-- GTID state at the beginning of the backup 
--

SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ '3e11fa47-71ca-11e1-9e33-c80aa9429562:5,
71e43bc0-e995-11f1-a2ca-02fc00000001:1-3:blue:1';

--
-- Position to start replication or point-in-time recovery from
--

-- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='binlog.000001', SOURCE_LOG_POS=1405;

--
-- Current Database: `d`
--

USE `d`;
INSERT INTO `t` VALUES (1,'a'),(3,'SET @@GLOBAL.GTID_PURGED=\\'x\\'');
DELIMITER ;;
CREATE PROCEDURE `p`()
SET @@GLOBAL.GTID_PURGED='71e43bc0-e995-11f1-a2ca-02fc00000001:1-99' ;;
DELIMITER ;
SET @@SESSION.SQL_LOG_BIN = @MYSQLDUMP_TEMP_LOG_BIN;

-- Dump completed on 2026-11-26 12:32:41
";
/// As mariadb-dump 10.11 writes it with --master-data=2 --gtid, its tables left out.
const MARIADB_DUMP: &str = "\
/*M!999999\\- enable the sandbox mode */ 
-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)
--
-- Host: localhost    Database: 
-- CHANGE MASTER TO MASTER_USE_GTID=slave_pos;

-- CHANGE MASTER TO MASTER_LOG_FILE='binlog.000001', MASTER_LOG_POS=926;

--
-- Current Database: `d`
--

-- Preferably use GTID to start replication from GTID position:

-- SET GLOBAL gtid_slave_pos='3-7-1,0-7-3';
/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */;

-- Dump completed on 2026-11-26 12:33:12
";
const MYDUMPER_OLD: &str = "\
Started dump at: 2026-11-26 12:33:12
SHOW MASTER STATUS:
\tLog: binlog.000001
\tPos: 926
\tGTID:3e11fa47-71ca-11e1-9e33-c80aa9429562:5,
71e43bc0-e995-11f1-a2ca-02fc00000001:1-3

SHOW SLAVE STATUS:
\tHost: 10.0.0.1
\tLog: other.000007
\tPos: 4
\tGTID:

Finished dump at: 2026-11-26 12:33:12
";
const MYDUMPER_NEW: &str = "\
# Started dump at: 2026-11-26 12:33:12
[config]
quote-character = BACKTICK

[myloader_session_variables]
SQL_MODE='NO_AUTO_VALUE_ON_ZERO' /*!40101

[source]
# Channel_Name = '' # It can be use to setup replication FOR CHANNEL
#SOURCE_HOST = \"db1\"
executed_gtid_set = \"3e11fa47-71ca-11e1-9e33-c80aa9429562:5,71e43bc0-e995-11f1-a2ca-02fc00000001:1-3\"
SOURCE_LOG_FILE = \"binlog.000001\"
SOURCE_LOG_POS = 926
#SOURCE_AUTO_POSITION = {0|1}
myloader_exec_reset_replica = 0

[replication]
SOURCE_LOG_FILE = \"other.000007\"
SOURCE_LOG_POS = 4

[`d`.`t`]
real_table_name=t
rows = 3
# Finished dump at: 2026-11-26 12:33:12
";
const SHELL: &str = r#"{
    "dumper": "mysqlsh Ver 9.4.0 for Linux on x86_64 - for MySQL 9.4.0 (MySQL Community Server (GPL))",
    "version": "2.0.1",
    "origin": "dumpInstance",
    "schemas": ["d"],
    "basenames": {"d": "d"},
    "users": ["'root'@'localhost'"],
    "defaultCharacterSet": "utf8mb4",
    "tzUtc": true,
    "bytesPerChunk": 64000000,
    "user": "root",
    "hostname": "db1",
    "server": "db1",
    "serverVersion": "9.7.4",
    "binlogFile": "binlog.000001",
    "binlogPosition": 926,
    "gtidExecuted": "3e11fa47-71ca-11e1-9e33-c80aa9429562:5,\n71e43bc0-e995-11f1-a2ca-02fc00000001:1-3",
    "gtidExecutedInconsistent": false,
    "consistent": true,
    "partialRevokes": false,
    "compatibilityOptions": [],
    "capabilities": [],
    "begin": "2026-11-26 12:33:12"
}"#;
const BINLOG_INFO: &str = "binlog.000001\t926\t3e11fa47-71ca-11e1-9e33-c80aa9429562:5,\n71e43bc0-e995-11f1-a2ca-02fc00000001:1-3\n";
const INFO: &str = "\
uuid = 8b7bb166-e995-11f1-b68b-02fc00000001
name = 
tool_name = mariadb-backup
tool_version = 10.11.19-MariaDB
server_version = 10.11.19-MariaDB-0+deb12u1-log
start_time = 2026-11-26 12:33:11
end_time = 2026-11-26 12:33:12
binlog_pos = filename 'binlog.000001', position '926', GTID of the last change '0-7-3,3-7-1'
partial = N
incremental = N
";
const CLONED: &str = "\
2 1
1795696362010254 1795696384772462
LOCAL INSTANCE
0

./binlog.000001
926
3e11fa47-71ca-11e1-9e33-c80aa9429562:5,
71e43bc0-e995-11f1-a2ca-02fc00000001:1-3
";

/// Names and bytes.
type Files<'a> = &'a [(&'a str, &'a [u8])];

/// A directory with these files.
fn dir(files: Files<'_>) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    for (name, bytes) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
        fs::write(path, bytes).expect("writable");
    }
    dir
}

fn read_one(name: &str, bytes: &[u8]) -> Result<Coordinates, String> {
    let dir = dir(&[(name, bytes)]);
    let here = format!("{}/", dir.path().display());
    read(&dir.path().join(name)).map_err(|e| e.to_string().replace(&here, ""))
}

fn place(coordinates: &Coordinates) -> (String, String) {
    let text = |part: Option<String>| part.unwrap_or_default();
    (
        text(coordinates.gtids.as_ref().map(ToString::to_string)),
        text(coordinates.position.as_ref().map(ToString::to_string)),
    )
}

fn both(gtids: &str, position: &str) -> (String, String) {
    (gtids.to_owned(), position.to_owned())
}

fn gzip(text: &str) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(text.as_bytes()).expect("packs");
    packer.finish().expect("packs")
}

fn zstd_of(text: &str) -> Vec<u8> {
    zstd::stream::encode_all(text.as_bytes(), 1).expect("packs")
}

#[test]
fn a_dump_tells_its_gtids_and_position_plain_or_compressed() {
    let gtids = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:5,{U}:1-3:blue:1");
    for bytes in [
        MYSQLDUMP.as_bytes().to_vec(),
        gzip(MYSQLDUMP),
        zstd_of(MYSQLDUMP),
    ] {
        let found = read_one("full.sql", &bytes).expect("reads");
        assert_eq!(place(&found), both(&gtids, "binlog.000001:1405"));
        assert_eq!(found.made_with(), "mysqldump 9.7.4");
        assert_eq!(found.warnings, [""; 0]);
    }
    let plain = read_one("full.sql", MYSQLDUMP.as_bytes()).expect("reads");
    assert_eq!(plain.local_time.as_deref(), Some("2026-11-26 12:32:41"));
    // The older words for the same, and those of --set-gtid-purged=COMMENTED.
    let old = MYSQLDUMP
        .replace("/*!80000 '+'*/ ", "")
        .replace("REPLICATION SOURCE", "MASTER")
        .replace("SOURCE_LOG", "MASTER_LOG");
    let commented = MYSQLDUMP
        .replace(
            "SET @@GLOBAL.GTID_PURGED=/*!80000 '+'*/ '",
            "/* SET @@GLOBAL.GTID_PURGED='+",
        )
        .replace("blue:1';", "blue:1';*/");
    for dump in [old, commented] {
        let found = read_one("full.sql", dump.as_bytes()).expect("reads");
        assert_eq!(place(&found), both(&gtids, "binlog.000001:1405"));
    }
}

#[test]
fn gtids_behind_the_data_are_found_and_a_routine_that_looks_like_them_is_not() {
    let (before, rest) = MYSQLDUMP
        .split_once("SET @@GLOBAL.GTID_PURGED=")
        .expect("it has one");
    let (statement, after) = rest.split_once(";\n").expect("it ends");
    let moved = format!("{before}{after}").replace(
        "-- Dump completed",
        &format!("--\n-- GTID state at the end of the backup \n--\n\nSET @@GLOBAL.GTID_PURGED={statement};\n\n-- Dump completed"),
    );
    let gtids = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:5,{U}:1-3:blue:1");
    for bytes in [moved.as_bytes().to_vec(), gzip(&moved), zstd_of(&moved)] {
        let found = read_one("full.sql", &bytes).expect("reads");
        assert_eq!(place(&found), both(&gtids, "binlog.000001:1405"));
    }
    let without = format!("{before}{after}");
    let found = read_one("full.sql", without.as_bytes()).expect("reads");
    assert_eq!(place(&found), both("", "binlog.000001:1405"));
    let maria = read_one("full.sql", MARIADB_DUMP.as_bytes()).expect("reads");
    assert_eq!(
        place(&maria),
        both("0-7-3,3-7-1", "binlog.000001:926"),
        "{maria:?}"
    );
    assert_eq!(maria.made_with(), "mariadb-dump 10.11.19-MariaDB");
}

#[test]
fn of_a_dump_of_a_hundred_gigabytes_both_ends_are_read() {
    let dir = dir(&[]);
    let path = dir.path().join("huge.sql");
    let (head, end) = MYSQLDUMP.split_once("INSERT INTO").expect("it has rows");
    let mut file = fs::File::create(&path).expect("writable");
    file.write_all(head.as_bytes()).expect("writable");
    file.seek(std::io::SeekFrom::Start(100 << 30))
        .expect("a sparse file");
    write!(file, "\n{end}").expect("writable");
    let found = read(&path).expect("reads");
    assert_eq!(found.local_time.as_deref(), Some("2026-11-26 12:32:41"));
    assert!(found.position.is_some() && found.gtids.is_some());
}

#[test]
fn directories_of_all_tools_tell_the_same_place() {
    let gtids = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:5,{U}:1-3");
    let my_cnf = format!("[mysqld]\nserver_id=1\nserver_uuid={U}\n");
    let kinds: [(Files<'_>, Tool); 6] = [
        (&[("metadata", MYDUMPER_OLD.as_bytes())], Tool::Mydumper),
        (&[("metadata", MYDUMPER_NEW.as_bytes())], Tool::Mydumper),
        (
            &[("@.json", SHELL.as_bytes()), ("@.done.json", b"{}")],
            Tool::MysqlShell,
        ),
        (
            &[
                ("xtrabackup_binlog_info", BINLOG_INFO.as_bytes()),
                ("backup-my.cnf", my_cnf.as_bytes()),
            ],
            Tool::Xtrabackup,
        ),
        (
            &[
                ("mariadb_backup_binlog_info", BINLOG_INFO.as_bytes()),
                ("mariadb_backup_info", INFO.as_bytes()),
            ],
            Tool::MariadbBackup,
        ),
        (&[("#clone/#view_status", CLONED.as_bytes())], Tool::Clone),
    ];
    for (files, tool) in kinds {
        let dir = dir(files);
        let found = read(dir.path()).expect("reads");
        assert_eq!(place(&found), both(&gtids, "binlog.000001:926"), "{tool:?}");
        assert_eq!(found.tool, tool);
        // The file itself names the same.
        assert_eq!(read(&dir.path().join(files[0].0)), Ok(found.clone()));
        let uuid = found.server_uuid.map(|uuid| uuid.to_string());
        assert_eq!(uuid.is_some(), tool == Tool::Xtrabackup);
    }
    // As it stands after the first start where performance_schema is off.
    let view = "2 1\n1795698300340586 1795698300803484\nLOCAL INSTANCE\n0\n\n\n0\n\n";
    let recovery = CLONED.split_once("0\n\n").expect("it has one").1;
    let recovery = format!("1795698301149935\n1795698301954503\n{recovery}");
    let clone = dir(&[
        ("#clone/#view_status", view.as_bytes()),
        ("#clone/#status_recovery", recovery.as_bytes()),
    ]);
    let found = read(clone.path()).expect("reads");
    assert_eq!(place(&found), both(&gtids, "binlog.000001:926"));
    let clone = dir(&[("#clone/#view_status", CLONED.as_bytes())]);
    let taken = read(clone.path()).expect("reads").taken_at;
    assert_eq!(
        taken.expect("known").to_string(),
        "2026-11-26T12:33:04.772462Z"
    );
}

/// Each with what the message must say.
#[test]
fn what_cannot_be_used_is_refused_with_file_line_reason_and_next_step() {
    let dump = |from: &str, to: &str| MYSQLDUMP.replace(from, to).into_bytes();
    let shell = |from: &str, to: &str| SHELL.replace(from, to).into_bytes();
    let cut = MYSQLDUMP.split_once(",\n71e4").expect("it has one").0;
    let no_place = dump("SOURCE_LOG_", "X_");
    let no_place = String::from_utf8(no_place)
        .expect("text")
        .replace("SET @@GLOBAL.GTID_PURGED", "SET @X");
    let cases: Vec<(&str, Vec<u8>, &[&str])> = vec![
        (
            "a.sql",
            no_place.into_bytes(),
            &["a.sql: ", "neither a GTID set nor", "--set-gtid-purged=ON"],
        ),
        (
            "a.sql",
            dump("-- Dump completed", "-- Dump"),
            &["a.sql: ", "cut off"],
        ),
        (
            "a.sql",
            cut.as_bytes().to_vec(),
            &["a.sql, line 15: ", "does not end"],
        ),
        (
            "a.sql",
            dump("-11e1-", "-11x1-"),
            &["a.sql, line 15: ", "cannot be read", "--gtid-set"],
        ),
        (
            "a.sql",
            dump("'binlog.000001'", "'binlog'"),
            &["a.sql, line 22: ", "has no number"],
        ),
        (
            "a.sql",
            b"CREATE TABLE t (a INT);\n".to_vec(),
            &["it is no dump"],
        ),
        ("a.sql", Vec::new(), &["it is no dump"]),
        (
            "a.sql.gz",
            gzip(MYSQLDUMP)[..150].to_vec(),
            &["cannot be decompressed", "cut off"],
        ),
        (
            "a.sql.zst",
            zstd_of(MYSQLDUMP)[..150].to_vec(),
            &["cannot be decompressed"],
        ),
        (
            "a.xbstream",
            b"XBSTCK01........".to_vec(),
            &["xbstream", "extract it"],
        ),
        (
            "a.age",
            b"age-encryption.org/v1\n".to_vec(),
            &["encrypted by age"],
        ),
        (
            "metadata",
            MYDUMPER_NEW.replace("# Finished", "# Done").into_bytes(),
            &["metadata: ", "interrupted"],
        ),
        (
            "metadata",
            b"Started dump at: 2026-11-26 12:32:41\nFinished dump at: 2026-11-26 12:32:41\n"
                .to_vec(),
            &["neither", "MySQL 8.4", "--gtid-set"],
        ),
        (
            "metadata",
            MYDUMPER_OLD.replace("926", "x").into_bytes(),
            &["metadata, line 3: ", "no offset"],
        ),
        (
            "metadata",
            b"hello".to_vec(),
            &["no metadata file of mydumper"],
        ),
        (
            "metadata.partial",
            MYDUMPER_NEW.as_bytes().to_vec(),
            &["no dump"],
        ),
        (
            "@.json",
            SHELL.as_bytes().to_vec(),
            &["@.done.json", "dump again"],
        ),
        (
            "@.json",
            shell("\"consistent\": true", "\"consistent\": false"),
            &["not consistent"],
        ),
        (
            "@.json",
            shell("Inconsistent\": false", "Inconsistent\": true"),
            &["not read at the moment"],
        ),
        (
            "@.json",
            SHELL.as_bytes()[..300].to_vec(),
            &["@.json, line ", "no manifest"],
        ),
        (
            "@.json",
            shell("mysqlsh Ver", "other"),
            &["not by MySQL Shell"],
        ),
        (
            "xtrabackup_binlog_info",
            b"binlog.000001 926".to_vec(),
            &["xtrabackup_binlog_info, line 1: ", "tab"],
        ),
        (
            "xtrabackup_binlog_info",
            b"binlog.000001\t-1\t".to_vec(),
            &["no offset"],
        ),
        (
            "#view_status",
            CLONED
                .replace("2 1\n", "3 1\n")
                .replace("\n0\n", "\n3862\n")
                .into_bytes(),
            &["#view_status, line 1: ", "error 3862"],
        ),
        (
            "#view_status",
            b"2 1\n1 2\nLOCAL INSTANCE\n0\n\n\n0\n\n".to_vec(),
            &["no server has started", "start a server on it once"],
        ),
        ("#view_status", b"2 1\n".to_vec(), &["no status of a clone"]),
    ];
    for (name, bytes, says) in cases {
        let error = read_one(name, &bytes).expect_err(name);
        for part in says {
            assert!(error.contains(part), "{name}: {error} lacks {part:?}");
        }
    }
    let gone = read(&PathBuf::from("/nonexistent/full.sql")).expect_err("is not there");
    assert!(
        gone.to_string()
            .contains("/nonexistent/full.sql: cannot be read")
    );
    let empty = dir(&[("ibdata1", b"")]);
    let error = read(empty.path()).expect_err("no backup").to_string();
    assert!(
        error.contains("xtrabackup_binlog_info, mariadb_backup"),
        "{error}"
    );
    let no_binlog = dir(&[("xtrabackup_info", INFO.as_bytes())]);
    let error = read(no_binlog.path()).expect_err("no binlog").to_string();
    assert!(error.contains("wrote no binlogs"), "{error}");
    let partial = dir(&[("metadata.partial", MYDUMPER_NEW.as_bytes())]);
    let error = read(partial.path()).expect_err("unfinished").to_string();
    assert!(error.contains("not finished"), "{error}");
}

#[test]
fn what_holds_only_a_part_of_a_server_is_told_so() {
    let warned = |found: Coordinates, what: &str| {
        assert!(found.warnings.iter().any(|w| w.contains(what)), "{found:?}");
    };
    let some = MYSQLDUMP.replace("Database: ", "Database: shop");
    warned(read_one("a.sql", some.as_bytes()).expect("reads"), "(shop)");
    let bare = MYSQLDUMP.replace("-- CHANGE REPLICATION", "-- XCHANGE");
    warned(
        read_one("a.sql", bare.as_bytes()).expect("reads"),
        "--single-transaction",
    );
    let dump = dir(&[
        (
            "@.json",
            SHELL.replace("dumpInstance", "dumpSchemas").as_bytes(),
        ),
        ("@.done.json", b"{}"),
    ]);
    warned(read(dump.path()).expect("reads"), "dumpSchemas");
    let part = INFO.replace("partial = N", "partial = Y");
    let backup = dir(&[
        ("xtrabackup_binlog_info", BINLOG_INFO.as_bytes()),
        ("xtrabackup_info", part.as_bytes()),
    ]);
    warned(read(backup.path()).expect("reads"), "partial");
}

/// Numbers that look random and are the same each time.
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn damaged_and_cut_metadata_are_read_or_refused_and_never_panic() {
    let mut seed = 0x2545_f491_4f6c_dd1d;
    let (packed, zipped) = (zstd_of(MYSQLDUMP), gzip(MYSQLDUMP));
    let texts: [(&str, &[u8]); 9] = [
        ("full.sql", MYSQLDUMP.as_bytes()),
        ("maria.sql", MARIADB_DUMP.as_bytes()),
        ("full.sql.zst", &packed),
        ("full.sql.gz", &zipped),
        ("metadata", MYDUMPER_OLD.as_bytes()),
        ("metadata", MYDUMPER_NEW.as_bytes()),
        ("@.json", SHELL.as_bytes()),
        ("xtrabackup_binlog_info", BINLOG_INFO.as_bytes()),
        ("#view_status", CLONED.as_bytes()),
    ];
    let dir = dir(&[("@.done.json", b"{}"), ("xtrabackup_info", INFO.as_bytes())]);
    let (mut refused, mut read_all_the_same) = (0, 0);
    for (name, whole) in texts {
        let path = dir.path().join(name);
        for _ in 0..400 {
            let mut bytes = whole.to_vec();
            for _ in 0..random(&mut seed) % 4 {
                let at = random(&mut seed) as usize % bytes.len();
                bytes[at] ^= 1 << (random(&mut seed) % 8);
            }
            if random(&mut seed).is_multiple_of(2) {
                bytes.truncate(random(&mut seed) as usize % bytes.len());
            }
            fs::write(&path, &bytes).expect("writable");
            match read(&path) {
                Ok(found) => {
                    assert!(found.is_place(), "{name}: {found:?}");
                    read_all_the_same += 1;
                }
                Err(error) => {
                    assert!(!error.reason.is_empty() && !error.next.is_empty());
                    refused += 1;
                }
            }
        }
        fs::remove_file(&path).expect("it is there");
    }
    assert!(
        refused > 500 && read_all_the_same > 500,
        "{refused} {read_all_the_same}"
    );
}

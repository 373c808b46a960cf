//! What cannot be used, or only in part: each told with its reason.

use super::*;
use std::path::PathBuf;

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

//! Dumps in one file: their words may stand at either end, and be packed.

use super::*;
use std::io::Seek as _;

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

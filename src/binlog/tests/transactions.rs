//! What is one transaction, in every flavour.

use super::*;

#[test]
fn mariadb_is_known_by_its_event_types_whatever_version_it_claims() {
    for version in ["8.0.36", "5.5.30", "5.1.0", "x"] {
        for checksum in [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::None] {
            let mut builder = BinlogBuilder::new(Flavour::MariaDb, version, checksum, 1_000);
            builder.transaction(&maria(7), None, 40).stop();
            let summary = scan(&builder.finish());
            assert_eq!(summary.damage, None, "{version}");
            assert_eq!(summary.flavour, Some(Flavour::MariaDb), "{version}");
            assert_eq!(
                (summary.checksum, summary.server_version.as_str()),
                (checksum, version)
            );
            assert_eq!(summary.gtids.to_string(), "0-9-7");
        }
    }
    assert_eq!(scan(&sample()).flavour, Some(Flavour::MySql));
}

#[test]
fn a_statement_behind_set_statement_leaves_the_index_incomplete() {
    let mut builder = BinlogBuilder::mariadb();
    builder.ddl(
        &maria(1),
        None,
        "shop",
        "SET STATEMENT max_statement_time=60 FOR DROP TABLE t",
    );
    let summary = scan(&builder.finish());
    assert_eq!((summary.damage, summary.transactions), (None, 1));
    assert!(summary.index.ddl_incomplete && summary.index.tables_incomplete);
}

#[test]
fn statements_and_their_preludes_make_transactions_without_gtids() {
    let mut builder =
        BinlogBuilder::new(Flavour::MySql, "5.5.62-log", ChecksumAlgorithm::None, 1_000);
    let first = builder.position();
    builder
        .event(kind::INTVAR, 0, &[2, 1, 0, 0, 0, 0, 0, 0, 0])
        .query("shop", "INSERT INTO t VALUES (NULL)")
        .time(1_500)
        .query("shop", "BEGIN")
        .query("shop", "SAVEPOINT `s`")
        .query("shop", "ROLLBACK TO `s`")
        .query("shop", "DELETE FROM t")
        .time(2_000)
        .query("shop", "COMMIT")
        .query("shop", "ALTER TABLE t ADD b INT")
        .query("shop", "BEGIN")
        .query("shop", "UPDATE t SET b=1");
    let (summary, recorder) = record(&builder.finish());
    assert_eq!(summary.damage, None);
    let told = recorder.transactions;
    assert_eq!(told.len(), 3, "the last one never ends");
    assert_eq!(told[0].start, first);
    assert_eq!(told[1].commit_time, Micros(2_000_000_000));
    assert!(!told[1].commit_time_exact);
    assert_eq!(summary.last_transaction_end, told[2].end);
    assert!(summary.gtids.is_empty() && summary.previous_gtids.is_none());
    assert!(summary.index.tables_incomplete);
    assert_eq!(summary.index.ddl[0].sql, "ALTER TABLE t ADD b INT");
    assert_eq!(summary.index.ddl[0].position, told[2].start);
}

#[test]
fn xa_incidents_and_unfinished_groups_end_where_they_should() {
    let mut builder = BinlogBuilder::mysql();
    builder
        .previous_gtids(&GtidSet::new())
        .gtid(&mysql_gtid(1, 1), None)
        .query("", "XA START X'31',X'',1")
        .table_map(1, "a", "b")
        .rows(10)
        .query("", "XA END X'31',X'',1")
        .event(kind::XA_PREPARE, 0, &[0; 14])
        .gtid(&mysql_gtid(1, 2), None)
        .query("", "XA COMMIT X'31',X'',1")
        .gtid(&mysql_gtid(1, 3), None)
        .event(kind::INCIDENT, 0, &[1, 0, 0])
        .gtid(&mysql_gtid(1, 4), None)
        .event(kind::VIEW_CHANGE, 0, &[0; 10])
        .anonymous_gtid(Some(T))
        .query("", "BEGIN")
        .query("", "ROLLBACK")
        .event(100, 0, b"padding of another vendor")
        .gtid(&mysql_gtid(1, 5), None)
        .query("", "BEGIN");
    let (summary, recorder) = record(&builder.finish());
    assert_eq!(summary.damage, None);
    assert_eq!(summary.transactions, 5);
    assert_eq!(
        summary.gtids.to_string(),
        "01010101-0101-0101-0101-010101010101:1-4"
    );
    assert_eq!(recorder.transactions[4].gtid, None);
    assert_eq!(recorder.transactions[4].commit_time, T);
}

#[test]
fn mariadb_groups_follow_their_gtid_events() {
    let mut before = GtidSet::new();
    before.insert_run(maria(1).source, 1, 41);
    let mut builder = BinlogBuilder::mariadb();
    builder
        .previous_gtids(&before)
        .event(161, 0, b"\x0a\0\0\0binlog.001")
        .transaction(&maria(42), None, 50)
        .ddl(&maria(43), None, "shop", "CREATE TABLE x (a INT)")
        .gtid(&maria(45), None)
        .query("", "INSERT INTO x VALUES (1)")
        .query("", "COMMIT")
        .stop();
    let bytes = builder.finish();
    let (summary, recorder) = record(&bytes);
    assert_eq!(summary.damage, None);
    assert_eq!(summary.flavour, Some(Flavour::MariaDb));
    assert_eq!(summary.gtids.to_string(), "0-9-42..43,0-9-45");
    assert_eq!(summary.previous_gtids, Some(before));
    assert_eq!(summary.ending, Ending::Stop);
    assert_eq!((summary.transactions, summary.index.ddl.len()), (3, 1));
    assert_eq!(recorder.transactions[2].end, summary.last_transaction_end);
}

#[test]
fn a_position_of_zero_is_believed_of_mariadb_only() {
    for (mut builder, believed) in [
        (BinlogBuilder::mariadb(), true),
        (BinlogBuilder::mysql(), false),
    ] {
        let at = builder.position() as usize;
        let mut bytes = builder.query("", "BEGIN").bytes().to_vec();
        bytes[at + 13..at + 17].fill(0);
        let content = bytes.len() - 4;
        let crc = crc32fast::hash(&bytes[at..content]);
        bytes[content..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(scan(&bytes).damage.is_none(), believed);
    }
}

#[test]
fn statements_are_kept_up_to_their_caps() {
    let mut builder = BinlogBuilder::mysql();
    let long = format!(
        "CREATE TABLE t (a INT) COMMENT '{}'",
        "ü".repeat(SQL_MAX_BYTES)
    );
    for number in 1..=400 {
        builder.ddl(&mysql_gtid(1, number), Some(T), "shop", &long);
    }
    let summary = scan(&builder.finish());
    assert_eq!((summary.damage, summary.transactions), (None, 400));
    let index = summary.index;
    assert!(index.ddl_incomplete);
    assert!(
        index
            .ddl
            .iter()
            .all(|ddl| ddl.cut && ddl.sql.len() <= SQL_MAX_BYTES)
    );
    assert!(index.ddl[0].sql.ends_with('ü'));
    let total: usize = index.ddl.iter().map(|ddl| ddl.sql.len()).sum();
    assert!(total <= DDL_TOTAL_MAX_BYTES && total > DDL_TOTAL_MAX_BYTES - 2 * SQL_MAX_BYTES);
}

//! What the tools' own words say, whole, damaged and cut off.

mod damaged;
mod directories;
mod dumps;
mod refused;

use super::*;
use std::fs;
use std::io::Write as _;

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

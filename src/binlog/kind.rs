//! Event type codes: MySQL's `Log_event_type` (`libs/mysql/binlog/event/binlog_event.h`), MariaDB's from 160 on.

/// `START_EVENT_V3`: the first event of files older than MySQL 5.0.
pub const START_V3: u8 = 1;
/// `QUERY_EVENT`: a statement.
pub const QUERY: u8 = 2;
/// `STOP_EVENT`: the server shut down.
pub const STOP: u8 = 3;
/// `ROTATE_EVENT`: the server went on in another file.
pub const ROTATE: u8 = 4;
/// `INTVAR_EVENT`: LAST_INSERT_ID or INSERT_ID of the statement that follows.
pub const INTVAR: u8 = 5;
/// `APPEND_BLOCK_EVENT`: more of a LOAD DATA file.
pub const APPEND_BLOCK: u8 = 9;
/// `RAND_EVENT`: seeds of the statement that follows.
pub const RAND: u8 = 13;
/// `USER_VAR_EVENT`: a user variable of the statement that follows.
pub const USER_VAR: u8 = 14;
/// `FORMAT_DESCRIPTION_EVENT`: the first event of every file.
pub const FORMAT_DESCRIPTION: u8 = 15;
/// `XID_EVENT`: a transaction's commit.
pub const XID: u8 = 16;
/// `BEGIN_LOAD_QUERY_EVENT`: the first block of a LOAD DATA file.
pub const BEGIN_LOAD_QUERY: u8 = 17;
/// `EXECUTE_LOAD_QUERY_EVENT`: a LOAD DATA statement.
pub const EXECUTE_LOAD_QUERY: u8 = 18;
/// `TABLE_MAP_EVENT`: which table the row events after it change.
pub const TABLE_MAP: u8 = 19;
/// `WRITE_ROWS_EVENT_V1`: the first of the row events of MySQL 5.1 and MariaDB.
pub const WRITE_ROWS_V1: u8 = 23;
/// `DELETE_ROWS_EVENT_V1`: the last of them.
pub const DELETE_ROWS_V1: u8 = 25;
/// `INCIDENT_EVENT`: changes were lost.
pub const INCIDENT: u8 = 26;
/// `ROWS_QUERY_LOG_EVENT`: the text of the statement behind row events.
pub const ROWS_QUERY: u8 = 29;
/// `WRITE_ROWS_EVENT`: the first of the row events of MySQL 5.6.
pub const WRITE_ROWS: u8 = 30;
/// `DELETE_ROWS_EVENT`: the last of them.
pub const DELETE_ROWS: u8 = 32;
/// `GTID_LOG_EVENT`: the start of a transaction with a GTID.
pub const GTID: u8 = 33;
/// `ANONYMOUS_GTID_LOG_EVENT`: the start of a transaction without one.
pub const ANONYMOUS_GTID: u8 = 34;
/// `PREVIOUS_GTIDS_LOG_EVENT`: all GTIDs before this file.
pub const PREVIOUS_GTIDS: u8 = 35;
/// `VIEW_CHANGE_EVENT`: a group replication membership change, inside a transaction of its own.
pub const VIEW_CHANGE: u8 = 37;
/// `XA_PREPARE_LOG_EVENT`: the end of a prepared XA transaction.
pub const XA_PREPARE: u8 = 38;
/// `PARTIAL_UPDATE_ROWS_EVENT`: an update with partial JSON values.
pub const PARTIAL_UPDATE_ROWS: u8 = 39;
/// `TRANSACTION_PAYLOAD_EVENT`: a compressed transaction.
pub const TRANSACTION_PAYLOAD: u8 = 40;
/// `GTID_TAGGED_LOG_EVENT`: the start of a transaction whose GTID has a tag (MySQL 8.3 and later).
pub const GTID_TAGGED: u8 = 42;
/// MariaDB `ANNOTATE_ROWS_EVENT`: the text of the statement behind row events.
pub const MARIA_ANNOTATE_ROWS: u8 = 160;
/// MariaDB `GTID_EVENT`: the start of every event group.
pub const MARIA_GTID: u8 = 162;
/// MariaDB `GTID_LIST_EVENT`: the last GTID of each domain and server before this file.
pub const MARIA_GTID_LIST: u8 = 163;
/// `START_ENCRYPTION_EVENT` of MariaDB and Percona Server 5.7: all after it is ciphertext.
pub const START_ENCRYPTION: u8 = 164;
/// MariaDB `QUERY_COMPRESSED_EVENT`: a statement, its text zlib-compressed.
pub const MARIA_QUERY_COMPRESSED: u8 = 165;
/// MariaDB `WRITE_ROWS_COMPRESSED_EVENT_V1`: the first of its compressed row events.
pub const MARIA_WRITE_ROWS_COMPRESSED_V1: u8 = 166;
/// MariaDB `DELETE_ROWS_COMPRESSED_EVENT`: the last of them.
pub const MARIA_DELETE_ROWS_COMPRESSED: u8 = 171;

//! What the `mysql_common` crate says of a binlog.

use super::{Event, Opinion, TransactionStart};
use binlogfs::model::{GtidSet, GtidSource, Tag};
use mysql_common::binlog::BinlogFile;
use mysql_common::binlog::consts::{BinlogVersion, EventType};
use mysql_common::binlog::events::{EventData, GtidEvent, PreviousGtidsEvent};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use uuid::Uuid;

/// Length of the magic number.
const MAGIC_BYTES: u64 = 4;

/// Reads `file`, which must be whole: this crate panics on truncated ones.
pub fn opinion(file: &Path) -> Opinion {
    let open = File::open(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let events = BinlogFile::new(BinlogVersion::Version4, BufReader::new(open));
    let mut opinion = Opinion::default();
    let mut position = MAGIC_BYTES;
    for event in events.unwrap_or_else(|e| panic!("{}: {e}", file.display())) {
        let event = event.unwrap_or_else(|e| panic!("{} at {position}: {e}", file.display()));
        let header = event.header();
        let data = event
            .read_data()
            .unwrap_or_else(|e| panic!("{} at {position}: {e}", file.display()));
        match data {
            Some(EventData::GtidEvent(gtid)) => {
                opinion.transactions.push(start(position, &gtid, true));
            }
            Some(EventData::AnonymousGtidEvent(gtid)) => {
                opinion.transactions.push(start(position, &gtid.0, false));
            }
            Some(EventData::PreviousGtidsEvent(previous)) => {
                opinion.previous_gtids = Some(gtid_set(&previous));
            }
            Some(EventData::TableMapEvent(map)) => {
                let name = format!("{}.{}", map.database_name(), map.table_name());
                opinion.tables.insert(name);
            }
            _ => {}
        }
        let end = position + u64::from(header.event_size());
        assert_eq!(
            header.log_pos(),
            end as u32,
            "{} at {position}",
            file.display()
        );
        opinion.events.push(Event {
            position,
            end,
            kind: kind(header.event_type().expect("MySQL's own event types")),
            timestamp: header.timestamp(),
            server_id: header.server_id(),
        });
        position = end;
    }
    opinion
}

fn start(position: u64, event: &GtidEvent, named: bool) -> TransactionStart {
    let gtid = named.then(|| {
        let uuid = Uuid::from_bytes(event.sid());
        match event.tag() {
            Some(tag) => format!("{uuid}:{}:{}", tag.as_str(), event.gno()),
            None => format!("{uuid}:{}", event.gno()),
        }
    });
    TransactionStart {
        position,
        gtid,
        commit_micros: i64::try_from(event.immediate_commit_timestamp()).ok(),
    }
}

fn gtid_set(event: &PreviousGtidsEvent<'_>) -> GtidSet {
    let mut set = GtidSet::new();
    for sid in event.sids() {
        let tag = sid.tag().map_or_else(Tag::none, |tag| {
            tag.as_str().parse().expect("a tag of the server's own")
        });
        let uuid = Uuid::from_bytes(sid.uuid());
        for run in sid.intervals() {
            // The wire has the number after the last.
            let source = GtidSource::MySql {
                uuid,
                tag: tag.clone(),
            };
            set.insert_run(source, run.start(), run.end() - 1);
        }
    }
    set
}

/// The type in MySQL's own words.
pub fn kind(kind: EventType) -> &'static str {
    match kind {
        EventType::FORMAT_DESCRIPTION_EVENT => "Format_desc",
        EventType::PREVIOUS_GTIDS_EVENT => "Previous_gtids",
        EventType::ANONYMOUS_GTID_EVENT => "Anonymous_Gtid",
        // mysqlbinlog calls both the same.
        EventType::GTID_EVENT | EventType::GTID_TAGGED_LOG_EVENT => "Gtid",
        EventType::QUERY_EVENT => "Query",
        EventType::BEGIN_LOAD_QUERY_EVENT => "Begin_load_query",
        EventType::EXECUTE_LOAD_QUERY_EVENT => "Execute_load_query",
        EventType::INTVAR_EVENT => "Intvar",
        EventType::RAND_EVENT => "RAND",
        EventType::USER_VAR_EVENT => "User var",
        EventType::TABLE_MAP_EVENT => "Table_map",
        EventType::ROWS_QUERY_EVENT => "Rows_query",
        EventType::WRITE_ROWS_EVENT => "Write_rows",
        EventType::UPDATE_ROWS_EVENT => "Update_rows",
        EventType::PARTIAL_UPDATE_ROWS_EVENT => "Update_rows_partial",
        EventType::DELETE_ROWS_EVENT => "Delete_rows",
        EventType::XID_EVENT => "Xid",
        EventType::XA_PREPARE_LOG_EVENT => "XA_prepare",
        EventType::TRANSACTION_PAYLOAD_EVENT => "Transaction_payload",
        EventType::ROTATE_EVENT => "Rotate",
        EventType::STOP_EVENT => "Stop",
        other => panic!("the corpus has an event of type {other:?}: name it here"),
    }
}

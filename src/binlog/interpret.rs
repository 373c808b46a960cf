//! What single events say: the part of [`Facts`] that reads them.

use super::facts::{Facts, Stop};
use super::findings::TABLE_MAP_POST_HEADER_BYTES;
use super::format::{self, FormatDescription};
use super::framer::RawEvent;
use super::group::Role;
use super::header::{FLAG_ARTIFICIAL, FLAG_RELAY_LOG, HEADER_BYTES};
use super::query::{self, Query, Statement};
use super::scanner::Sink;
use super::{FormatEvent, Refusal, compressed_query, gtid_event, gtid_list, kind};

/// Body of START_ENCRYPTION: scheme, key version, nonce.
const START_ENCRYPTION_BODY_BYTES: u64 = 1 + 4 + 12;

impl<S: Sink> Facts<S> {
    /// The first event, which must be the format description.
    pub(super) fn describe(&mut self, event: &RawEvent<'_>) -> Result<(), Stop> {
        if event.header.type_code == kind::START_V3 {
            return Err(match format::old_version(&event.header, event.bytes) {
                Some(version) => Stop::Refused(Refusal::OldVersion(version)),
                None => Stop::Bad("it is not a format description".to_owned()),
            });
        }
        let description = FormatDescription::parse(event.bytes).map_err(Stop::Bad)?;
        match description.binlog_version {
            4 => {}
            version @ 1..=3 => return Err(Stop::Refused(Refusal::OldVersion(version))),
            version => return Err(Stop::Refused(Refusal::UnknownVersion(version))),
        }
        if event.header.flags & FLAG_RELAY_LOG != 0 {
            return Err(Stop::Refused(Refusal::RelayLog));
        }
        self.head.update(&format::without_in_use(event.bytes));
        self.index.format = Some(FormatEvent::new(event.bytes));
        self.description = Some(description);
        self.description_header = Some(event.header);
        Ok(())
    }

    /// Refuses what shows itself only behind the format description.
    pub(super) fn check_preamble(&self, event: &RawEvent<'_>) -> Result<(), Stop> {
        let header = &event.header;
        match header.type_code {
            // A receiver thread opens its file with the artificial ROTATE that its source sent it; older servers
            // set no flag in the format description of a relay log.
            kind::ROTATE if header.flags & FLAG_ARTIFICIAL != 0 => {
                if self.crc() || header.timestamp == 0 {
                    return Err(Stop::Refused(Refusal::RelayLog));
                }
                if header.log_pos != event.end() as u32 {
                    return Err(Stop::Bad("it is an artificial ROTATE event".to_owned()));
                }
                Ok(())
            }
            kind::START_ENCRYPTION
                if event.content_bytes == HEADER_BYTES as u64 + START_ENCRYPTION_BODY_BYTES =>
            {
                Err(Stop::Refused(Refusal::StartEncryption))
            }
            _ => Ok(()),
        }
    }

    /// What the event is to transactions; reads what it says on the way.
    pub(super) fn interpret(&mut self, event: &RawEvent<'_>) -> Result<Role, Stop> {
        let malformed = |what: &str| {
            Stop::Bad(format!(
                "it is a {what} event that is malformed, or newer than this version of binlogfs"
            ))
        };
        let body = event.body();
        Ok(match event.header.type_code {
            kind::GTID | kind::ANONYMOUS_GTID => {
                let anonymous = event.header.type_code == kind::ANONYMOUS_GTID;
                Role::Begin(gtid_event::parse(body, anonymous).ok_or_else(|| malformed("GTID"))?)
            }
            kind::GTID_TAGGED => {
                Role::Begin(gtid_event::parse_tagged(body).ok_or_else(|| malformed("tagged GTID"))?)
            }
            kind::MARIA_GTID => {
                let begin = gtid_event::parse_mariadb(body, event.header.server_id);
                Role::Begin(begin.ok_or_else(|| malformed("GTID"))?)
            }
            kind::QUERY | kind::MARIA_QUERY_COMPRESSED => Role::Statement(self.statement(event)),
            kind::XID | kind::XA_PREPARE | kind::INCIDENT | kind::TRANSACTION_PAYLOAD => Role::End,
            kind::ROTATE | kind::STOP => Role::Close,
            kind::TABLE_MAP => {
                let post_header_bytes =
                    self.post_header_bytes(kind::TABLE_MAP, TABLE_MAP_POST_HEADER_BYTES);
                self.index.findings.table_map(event, post_header_bytes);
                Role::Part
            }
            kind::EXECUTE_LOAD_QUERY => {
                self.index.findings.tables_incomplete = true;
                Role::Statement(Statement::Dml)
            }
            kind::PREVIOUS_GTIDS | kind::MARIA_GTID_LIST => {
                self.note_previous_gtids(event)
                    .ok_or_else(|| malformed("GTID set"))?;
                Role::Other
            }
            kind::INTVAR
            | kind::RAND
            | kind::USER_VAR
            | kind::APPEND_BLOCK
            | kind::BEGIN_LOAD_QUERY
            | kind::WRITE_ROWS_V1..=kind::DELETE_ROWS_V1
            | kind::ROWS_QUERY
            | kind::WRITE_ROWS..=kind::DELETE_ROWS
            | kind::PARTIAL_UPDATE_ROWS
            | kind::VIEW_CHANGE
            | kind::MARIA_ANNOTATE_ROWS
            | kind::MARIA_WRITE_ROWS_COMPRESSED_V1..=kind::MARIA_DELETE_ROWS_COMPRESSED => {
                Role::Part
            }
            _ => Role::Other,
        })
    }

    /// Takes PREVIOUS_GTIDS or GTID_LIST, the first of the file; `None` if it is malformed.
    fn note_previous_gtids(&mut self, event: &RawEvent<'_>) -> Option<()> {
        if self.is_preamble() && self.previous_gtids.is_none() {
            self.previous_gtids = Some(if event.header.type_code == kind::PREVIOUS_GTIDS {
                gtid_list::parse(event.body())?
            } else {
                gtid_list::parse_mariadb(event.body())?
            });
        }
        Some(())
    }

    fn statement(&mut self, event: &RawEvent<'_>) -> Statement {
        let post_header_bytes =
            self.post_header_bytes(event.header.type_code, query::POST_HEADER_BYTES);
        let Some(raw) = Query::parse(event, post_header_bytes) else {
            self.index.findings.unreadable();
            return Statement::Dml;
        };
        let plain;
        let query = if event.header.type_code == kind::MARIA_QUERY_COMPRESSED {
            let Some((text, cut)) = compressed_query::text(raw.sql) else {
                self.index.findings.unreadable();
                return Statement::Dml;
            };
            plain = text;
            Query {
                database: raw.database,
                sql: &plain,
                cut,
            }
        } else {
            raw
        };
        let statement = query.statement();
        self.index.findings.query(&query, statement);
        // A statement that begins with kilobytes of comment is no BEGIN or COMMIT: the server writes those itself.
        statement.unwrap_or(Statement::Dml)
    }
}

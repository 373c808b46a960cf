//! Synthetic binlogs for tests: every event with its right position and checksum.
//!
//! Compiled always, because the integration tests of other modules use it too; nothing in the product calls it.

mod bodies;

use super::{ChecksumAlgorithm, FLAG_IN_USE, Flavour, HEADER_BYTES, kind};
use bodies::{gtid_body, post_header_bytes, tagged_body};

use crate::model::{Gtid, GtidSet, GtidSource, Micros};
pub use bodies::{encode_gtid_set, event_header, query_body};

/// Bytes before the first event.
const MAGIC: &[u8; 4] = b"\xfebin";

/// Writes one binlog file, event by event.
#[derive(Clone, Debug)]
pub struct BinlogBuilder {
    bytes: Vec<u8>,
    /// File offset of `bytes[0]`, so that files beyond 4 GiB need no memory.
    base: u64,
    flavour: Flavour,
    checksum: ChecksumAlgorithm,
    server_id: u32,
    time_seconds: u32,
    next_xid: u64,
}

impl BinlogBuilder {
    /// A file of MySQL 9.7.4 with CRC-32 checksums, its time 2023-11-14T22:13:20Z: magic and format description.
    pub fn mysql() -> BinlogBuilder {
        BinlogBuilder::new(
            Flavour::MySql,
            "9.7.4",
            ChecksumAlgorithm::Crc32,
            1_700_000_000,
        )
    }

    /// The same of MariaDB 10.11.
    pub fn mariadb() -> BinlogBuilder {
        BinlogBuilder::new(
            Flavour::MariaDb,
            "10.11.14-MariaDB-log",
            ChecksumAlgorithm::Crc32,
            1_700_000_000,
        )
    }

    /// Magic and format description. A MySQL version before 5.6.1 has no checksum fields at all; none is written then.
    pub fn new(
        flavour: Flavour,
        server_version: &str,
        checksum: ChecksumAlgorithm,
        time_seconds: u32,
    ) -> BinlogBuilder {
        let mut builder = BinlogBuilder {
            bytes: MAGIC.to_vec(),
            base: 0,
            flavour,
            checksum,
            server_id: 1,
            time_seconds,
            next_xid: 1,
        };
        builder.format_description(server_version);
        builder
    }

    fn format_description(&mut self, server_version: &str) {
        let mut body = 4_u16.to_le_bytes().to_vec();
        let mut version = [0; 50];
        let length = server_version.len().min(49);
        version[..length].copy_from_slice(&server_version.as_bytes()[..length]);
        body.extend_from_slice(&version);
        body.extend_from_slice(&self.time_seconds.to_le_bytes());
        body.push(HEADER_BYTES as u8);
        let aware = !["4.", "5.0", "5.1", "5.5."]
            .iter()
            .any(|old| server_version.starts_with(old))
            || self.flavour == Flavour::MariaDb;
        let kinds = match self.flavour {
            Flavour::MySql if aware => kind::GTID_TAGGED,
            // MySQL 5.5 knows no later one but HEARTBEAT.
            Flavour::MySql => kind::INCIDENT + 1,
            Flavour::MariaDb => kind::MARIA_DELETE_ROWS_COMPRESSED,
        };
        body.extend((1..=kinds).map(post_header_bytes));
        if aware {
            body.push(u8::from(self.checksum == ChecksumAlgorithm::Crc32));
        }
        // The format description of a server that knows checksums always carries one.
        let configured = self.checksum;
        self.checksum = if aware {
            ChecksumAlgorithm::Crc32
        } else {
            ChecksumAlgorithm::None
        };
        self.event(kind::FORMAT_DESCRIPTION, 0, &body);
        self.checksum = if aware {
            configured
        } else {
            ChecksumAlgorithm::None
        };
    }

    /// Offset at which the next event begins.
    pub fn position(&self) -> u64 {
        self.base + self.bytes.len() as u64
    }

    /// The file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The file.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Takes out the bytes written so far; what follows goes on at the same file offset.
    pub fn take(&mut self) -> Vec<u8> {
        self.base = self.position();
        std::mem::take(&mut self.bytes)
    }

    /// Header time, in seconds since 1970, of the events that follow.
    pub fn time(&mut self, seconds: u32) -> &mut Self {
        self.time_seconds = seconds;
        self
    }

    /// `server_id` of the events that follow (MariaDB's GTIDs take theirs from it).
    pub fn server_id(&mut self, server_id: u32) -> &mut Self {
        self.server_id = server_id;
        self
    }

    /// Sets `LOG_EVENT_BINLOG_IN_USE_F` in the format description, whose checksum does not cover it.
    pub fn in_use(&mut self) -> &mut Self {
        self.bytes[MAGIC.len() + 17] |= FLAG_IN_USE as u8;
        self
    }

    /// An event of any type, with any body.
    pub fn event(&mut self, type_code: u8, flags: u16, body: &[u8]) -> &mut Self {
        let trailer = match self.checksum {
            ChecksumAlgorithm::Crc32 => 4,
            ChecksumAlgorithm::None => 0,
        };
        let size = HEADER_BYTES + body.len() + trailer;
        let end = self.position() + size as u64;
        let start = self.bytes.len();
        let header = event_header(
            self.time_seconds,
            type_code,
            self.server_id,
            size as u32,
            end as u32,
            flags,
        );
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(body);
        if trailer > 0 {
            let crc = crc32fast::hash(&self.bytes[start..]);
            self.bytes.extend_from_slice(&crc.to_le_bytes());
        }
        self
    }

    /// The start of an event whose body comes elsewhere: only its header, `size` bytes announced. For huge events of
    /// files without checksums; [`BinlogBuilder::skip`] moves past the body.
    pub fn event_header(&mut self, type_code: u8, size: u32) -> &mut Self {
        let end = self.position() + u64::from(size);
        let header = event_header(
            self.time_seconds,
            type_code,
            self.server_id,
            size,
            end as u32,
            0,
        );
        self.bytes.extend_from_slice(&header);
        self
    }

    /// Goes on `bytes` further, which are not kept. Only right after [`BinlogBuilder::take`].
    pub fn skip(&mut self, bytes: u64) -> &mut Self {
        assert!(
            self.bytes.is_empty(),
            "skip is for a builder that was emptied"
        );
        self.base += bytes;
        self
    }

    /// PREVIOUS_GTIDS, in the tagged encoding iff a GTID has a tag; for MariaDB sets GTID_LIST of the last of each.
    pub fn previous_gtids(&mut self, set: &GtidSet) -> &mut Self {
        match self.flavour {
            Flavour::MySql => self.event(kind::PREVIOUS_GTIDS, 0, &encode_gtid_set(set)),
            Flavour::MariaDb => {
                let mut body = Vec::new();
                let mut count = 0_u32;
                for (source, intervals) in set.iter() {
                    if let (GtidSource::MariaDb { domain, server }, Some(last)) =
                        (source, intervals.last())
                    {
                        body.extend_from_slice(&domain.to_le_bytes());
                        body.extend_from_slice(&server.to_le_bytes());
                        body.extend_from_slice(&last.to_le_bytes());
                        count += 1;
                    }
                }
                let mut whole = count.to_le_bytes().to_vec();
                whole.extend_from_slice(&body);
                self.event(kind::MARIA_GTID_LIST, 0, &whole)
            }
        }
    }

    /// The GTID event that begins a transaction: type 33, 42 if it has a tag, 162 (with an implied BEGIN) if it is
    /// MariaDB's.
    pub fn gtid(&mut self, gtid: &Gtid, commit: Option<Micros>) -> &mut Self {
        match &gtid.source {
            GtidSource::MySql { uuid, tag } if tag.as_str().is_empty() => {
                let body = gtid_body(uuid.as_bytes(), gtid.number, commit);
                self.event(kind::GTID, 0, &body)
            }
            GtidSource::MySql { uuid, tag } => {
                let body = tagged_body(uuid.as_bytes(), tag.as_str(), gtid.number, commit);
                self.event(kind::GTID_TAGGED, 0, &body)
            }
            GtidSource::MariaDb { domain, server } => {
                self.server_id = *server;
                self.mariadb_gtid(*domain, gtid.number, 0)
            }
        }
    }

    /// ANONYMOUS_GTID, which begins a transaction when gtid_mode is off.
    pub fn anonymous_gtid(&mut self, commit: Option<Micros>) -> &mut Self {
        self.event(kind::ANONYMOUS_GTID, 0, &gtid_body(&[0; 16], 0, commit))
    }

    /// MariaDB's GTID event with any flags (1: standalone).
    pub fn mariadb_gtid(&mut self, domain: u32, number: u64, flags: u8) -> &mut Self {
        let mut body = number.to_le_bytes().to_vec();
        body.extend_from_slice(&domain.to_le_bytes());
        body.push(flags);
        body.extend_from_slice(&[0; 6]);
        self.event(kind::MARIA_GTID, 0, &body)
    }

    /// A statement.
    pub fn query(&mut self, database: &str, sql: &str) -> &mut Self {
        self.event(kind::QUERY, 0, &query_body(database, sql.as_bytes()))
    }

    /// TABLE_MAP of a table with one INT column.
    pub fn table_map(&mut self, id: u32, database: &str, table: &str) -> &mut Self {
        let mut body = u64::from(id).to_le_bytes()[..6].to_vec();
        body.extend_from_slice(&[1, 0]);
        for name in [database, table] {
            body.push(name.len() as u8);
            body.extend_from_slice(name.as_bytes());
            body.push(0);
        }
        body.extend_from_slice(&[1, 3, 0, 0]);
        self.event(kind::TABLE_MAP, 0, &body)
    }

    /// A WRITE_ROWS event with `body_bytes` of filler.
    pub fn rows(&mut self, body_bytes: usize) -> &mut Self {
        let body: Vec<u8> = (0..body_bytes).map(|n| (n * 7) as u8).collect();
        self.event(kind::WRITE_ROWS, 0, &body)
    }

    /// The commit of a transaction.
    pub fn xid(&mut self) -> &mut Self {
        let xid = self.next_xid;
        self.next_xid += 1;
        self.event(kind::XID, 0, &xid.to_le_bytes())
    }

    /// A whole row-format transaction on `shop.orders`, with `body_bytes` of row data.
    pub fn transaction(
        &mut self,
        gtid: &Gtid,
        commit: Option<Micros>,
        body_bytes: usize,
    ) -> &mut Self {
        self.gtid(gtid, commit);
        if self.flavour == Flavour::MySql {
            self.query("", "BEGIN");
        }
        self.table_map(90, "shop", "orders").rows(body_bytes).xid()
    }

    /// A whole DDL transaction in `database`.
    pub fn ddl(
        &mut self,
        gtid: &Gtid,
        commit: Option<Micros>,
        database: &str,
        sql: &str,
    ) -> &mut Self {
        match &gtid.source {
            GtidSource::MySql { .. } => self.gtid(gtid, commit),
            GtidSource::MariaDb { domain, server } => {
                self.server_id = *server;
                self.mariadb_gtid(*domain, gtid.number, 1)
            }
        };
        self.query(database, sql)
    }

    /// TRANSACTION_PAYLOAD with the events that `inner` writes, zstd-compressed.
    pub fn payload(&mut self, inner: impl FnOnce(&mut BinlogBuilder)) -> &mut Self {
        let mut events = BinlogBuilder {
            bytes: Vec::new(),
            base: 0,
            checksum: ChecksumAlgorithm::None,
            ..self.clone()
        };
        inner(&mut events);
        let plain = events.bytes;
        let packed = zstd::bulk::compress(&plain, 3).expect("compressing into memory succeeds");
        self.payload_of(&packed, plain.len() as u64)
    }

    /// TRANSACTION_PAYLOAD with any compressed bytes, right or wrong.
    pub fn payload_of(&mut self, packed: &[u8], plain_bytes: u64) -> &mut Self {
        let mut body = Vec::new();
        for (field, value) in [(2_u8, 0_u64), (3, plain_bytes), (1, packed.len() as u64)] {
            body.extend_from_slice(&[field, 9, 254]);
            body.extend_from_slice(&value.to_le_bytes());
        }
        body.push(0);
        body.extend_from_slice(packed);
        self.event(kind::TRANSACTION_PAYLOAD, 0, &body)
    }

    /// ROTATE: the server went on in `next_file`.
    pub fn rotate(&mut self, next_file: &str) -> &mut Self {
        let mut body = 4_u64.to_le_bytes().to_vec();
        body.extend_from_slice(next_file.as_bytes());
        self.event(kind::ROTATE, 0, &body)
    }

    /// STOP: the server shut down.
    pub fn stop(&mut self) -> &mut Self {
        self.event(kind::STOP, 0, &[])
    }
}

/// GTID `number` of the server whose UUID is all `server`.
pub fn mysql_gtid(server: u8, number: u64) -> Gtid {
    Gtid {
        source: GtidSource::MySql {
            uuid: uuid::Uuid::from_bytes([server; 16]),
            tag: crate::model::Tag::none(),
        },
        number,
    }
}

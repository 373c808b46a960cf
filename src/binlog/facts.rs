//! What the events of a file add up to: the handler behind the scanner.

use super::findings::{TABLE_MAP_POST_HEADER_BYTES, TABLE_MAP_PREFIX_BYTES};
use super::format::{self, FormatDescription};
use super::framer::{CHECKSUM_BYTES, Checks, Handler, LogPos, RawEvent, Want};
use super::group::{Grouper, Role};
use super::header::{EventHeader, EventRef, FLAG_ARTIFICIAL, FLAG_IN_USE, HEADER_BYTES};
use super::index_builder::IndexBuilder;
use super::payload::PayloadReader;
use super::query;
use super::scanner::Sink;
use super::summary::{ChecksumAlgorithm, Damage, Ending, Flavour, Summary, Told, Transaction};
use super::times::Times;
use super::{Refusal, gtid_event, gtid_list, kind};
use crate::model::digest::Hasher;
use crate::model::{GtidSet, GtidSetBuilder, Micros};

/// The longest first event that is part of a head; longer than any PREVIOUS_GTIDS accepted. Who lists a server's files
/// must not read a gigabyte of each.
pub(super) const HEAD_EVENT_MAX_BYTES: u64 = gtid_list::MAX_BYTES as u64 + 64;
/// Longest file name a ROTATE event can have (`FN_REFLEN` of the server).
const FILE_NAME_MAX_BYTES: usize = 512;
/// Post-header of ROTATE: the position in the next file, always 4.
const ROTATE_POST_HEADER_BYTES: usize = 8;

/// Why scanning stops before the end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The file is refused.
    Refused(Refusal),
    /// The current event is wrong.
    Bad(String),
    /// The head is known, and nothing else was asked for.
    HeadKnown,
}

/// What is known so far.
pub(super) struct Facts<S> {
    pub sink: S,
    /// Stop after the first event behind the format description.
    pub head_only: bool,
    pub(super) description: Option<FormatDescription>,
    pub(super) description_header: Option<EventHeader>,
    pub(super) head: Hasher,
    /// The head with the first event, as far as that has come.
    head_ahead: Option<Hasher>,
    pub first_event_type: Option<u8>,
    pub(super) previous_gtids: Option<GtidSet>,
    groups: Grouper,
    payload: PayloadReader,
    pub(super) index: IndexBuilder,
    gtids: GtidSetBuilder,
    transactions: u64,
    events: u64,
    first_time: Option<Micros>,
    last_time: Option<Micros>,
    times: Times,
    ending: Ending,
    pub last_transaction_end: u64,
}

impl<S: Sink> Facts<S> {
    pub(super) fn new(sink: S, head_only: bool) -> Facts<S> {
        Facts {
            sink,
            head_only,
            description: None,
            description_header: None,
            head: Hasher::default(),
            head_ahead: None,
            first_event_type: None,
            previous_gtids: None,
            groups: Grouper::default(),
            payload: PayloadReader::default(),
            index: IndexBuilder::default(),
            gtids: GtidSetBuilder::default(),
            transactions: 0,
            events: 0,
            first_time: None,
            last_time: None,
            times: Times::default(),
            ending: Ending::Open,
            last_transaction_end: 0,
        }
    }

    /// Whether the format description has come, whole.
    pub(super) fn is_described(&self) -> bool {
        self.description.is_some()
    }

    /// Whether the server ended the file: ROTATE or STOP was the last event.
    pub(super) fn is_ended(&self) -> bool {
        self.ending != Ending::Open
    }

    /// Whether the server had closed the file when it was read: the format description came whole, and its IN_USE flag is
    /// clear. The flag set says nothing, because many servers leave it set for ever.
    pub(super) fn is_closed(&self) -> bool {
        self.description_header
            .is_some_and(|header| header.flags & FLAG_IN_USE == 0)
    }

    /// The summary of a file of `size` bytes whose last whole event ends at `whole_end`.
    pub(super) fn finish(self, size: u64, whole_end: u64, damage: Option<Damage>) -> (Summary, S) {
        let header = self.description_header;
        let description = self.description;
        let created = header.map(|header| Micros::from_seconds(header.timestamp));
        let summary = Summary {
            size,
            flavour: description.as_ref().map(|d| d.flavour),
            checksum: description
                .as_ref()
                .map_or(ChecksumAlgorithm::None, |d| d.checksum),
            server_version: description.map(|d| d.server_version).unwrap_or_default(),
            server_id: header.map_or(0, |header| header.server_id),
            head: self.head.finish(),
            in_use: header.is_some_and(|header| header.flags & FLAG_IN_USE != 0),
            created: created.unwrap_or(Micros(0)),
            gtids: self.gtids.finish(),
            previous_gtids: self.previous_gtids,
            first_time: self.first_time.or(created),
            last_time: self.last_time,
            min_time: self.times.min,
            max_time: self.times.max,
            latest_commit: self.index.latest(),
            transactions: self.transactions,
            events: self.events,
            ending: self.ending,
            last_whole_event_end: whole_end,
            last_transaction_end: self.last_transaction_end,
            damage,
            index: self.index.finish(),
        };
        (summary, self.sink)
    }

    /// What a summary would say of the transactions if the file ended here.
    pub(super) fn told(&self) -> Told {
        let header = self.description_header;
        let created = header.map(|header| Micros::from_seconds(header.timestamp));
        Told {
            previous_gtids: self.previous_gtids.clone(),
            gtids: self.gtids.clone().finish(),
            first_time: self.first_time.or(created),
        }
    }

    pub(super) fn crc(&self) -> bool {
        self.description
            .as_ref()
            .is_some_and(|description| description.checksum == ChecksumAlgorithm::Crc32)
    }

    pub(super) fn post_header_bytes(&self, type_code: u8, default: usize) -> usize {
        self.description.as_ref().map_or(default, |description| {
            description.post_header_bytes(type_code, default)
        })
    }

    /// Nothing but events of the file itself so far: no transaction, none begun.
    pub(super) fn is_preamble(&self) -> bool {
        self.transactions == 0 && !self.groups.is_open()
    }

    fn complete(&mut self, transaction: Transaction) {
        self.transactions += 1;
        self.last_transaction_end = transaction.end;
        if let Some(gtid) = &transaction.gtid {
            self.gtids.insert(gtid);
        }
        self.times.note(transaction.commit_time);
        self.first_time.get_or_insert(transaction.commit_time);
        if transaction.commit_time_exact {
            self.last_time = Some(transaction.commit_time);
        }
        self.index.transaction(&transaction);
        self.sink.transaction(&transaction);
    }

    fn note_ending(&mut self, event: &RawEvent<'_>) {
        self.ending = match event.header.type_code {
            kind::STOP => Ending::Stop,
            kind::ROTATE => {
                let name = event
                    .body()
                    .get(ROTATE_POST_HEADER_BYTES..)
                    .unwrap_or_default();
                Ending::Rotate {
                    next_file: String::from_utf8_lossy(name).into_owned(),
                    time: Micros::from_seconds(event.header.timestamp),
                }
            }
            _ => Ending::Open,
        };
    }

    /// The first event after the format description is whole: it joins the head.
    fn note_first(&mut self, event: &RawEvent<'_>) {
        if let Some(ahead) = self.head_ahead.take() {
            self.head = ahead;
        }
        self.first_event_type = Some(event.header.type_code);
    }
}

impl<S: Sink> Handler for Facts<S> {
    type Stop = Stop;

    fn checks(&self, header: &EventHeader) -> Checks {
        let log_pos = match &self.description {
            // An old header has its fields elsewhere.
            None if header.type_code == kind::START_V3 => LogPos::Unchecked,
            Some(_)
                if header.type_code == kind::ROTATE
                    && header.flags & FLAG_ARTIFICIAL != 0
                    && self.is_preamble() =>
            {
                LogPos::Unchecked
            }
            Some(description) if description.flavour == Flavour::MariaDb => LogPos::ExactOrZero,
            _ => LogPos::Exact,
        };
        Checks {
            crc: self.crc(),
            log_pos,
        }
    }

    fn begin(&mut self, _: u64, header: &EventHeader) -> Result<Want, Stop> {
        let size = header.size as usize;
        if self.description.is_none() {
            if !matches!(header.type_code, kind::FORMAT_DESCRIPTION | kind::START_V3)
                || size > format::MAX_BYTES
            {
                return Err(Stop::Bad("it is not a format description".to_owned()));
            }
            return Ok(Want::prefix(format::MAX_BYTES));
        }
        let prefix = match header.type_code {
            kind::GTID | kind::ANONYMOUS_GTID | kind::GTID_TAGGED | kind::MARIA_GTID => {
                gtid_event::PREFIX_BYTES
            }
            kind::QUERY | kind::MARIA_QUERY_COMPRESSED => query::PREFIX_BYTES,
            kind::TABLE_MAP => TABLE_MAP_PREFIX_BYTES,
            kind::ROTATE => HEADER_BYTES + ROTATE_POST_HEADER_BYTES + FILE_NAME_MAX_BYTES,
            kind::PREVIOUS_GTIDS | kind::MARIA_GTID_LIST => {
                if size > gtid_list::MAX_BYTES {
                    return Err(Stop::Bad(format!("it is a GTID set of {size} bytes")));
                }
                size
            }
            _ => 0,
        };
        let is_first = self.first_event_type.is_none();
        let in_head = is_first && u64::from(header.size) <= HEAD_EVENT_MAX_BYTES;
        // Only where something changes: every event passes here, and a hasher is more than a hundred bytes to move.
        if in_head {
            self.head_ahead = Some(self.head.clone());
        } else if self.head_ahead.is_some() {
            self.head_ahead = None;
        }
        let is_payload = header.type_code == kind::TRANSACTION_PAYLOAD;
        if is_payload {
            let query = self.post_header_bytes(kind::QUERY, query::POST_HEADER_BYTES);
            let table_map = self.post_header_bytes(kind::TABLE_MAP, TABLE_MAP_POST_HEADER_BYTES);
            self.payload.begin(query, table_map);
        }
        Ok(Want {
            prefix,
            pieces: in_head || (is_payload && !self.head_only),
        })
    }

    fn piece(&mut self, header: &EventHeader, offset: u64, bytes: &[u8]) {
        if let Some(ahead) = &mut self.head_ahead {
            ahead.update(bytes);
        }
        if header.type_code == kind::TRANSACTION_PAYLOAD && !self.head_only {
            let trailer = if self.crc() { CHECKSUM_BYTES as u64 } else { 0 };
            let end = u64::from(header.size) - trailer;
            let within = |at: u64| at.saturating_sub(offset).min(bytes.len() as u64) as usize;
            self.payload
                .push(&bytes[within(HEADER_BYTES as u64)..within(end)]);
        }
    }

    fn event(&mut self, event: &RawEvent<'_>) -> Result<(), Stop> {
        let header = &event.header;
        let time = Micros::from_seconds(header.timestamp);
        let role = if self.description.is_none() {
            self.describe(event)?;
            Role::Other
        } else {
            if self.is_preamble() {
                self.check_preamble(event)?;
            }
            let role = self.interpret(event)?;
            if self.first_event_type.is_none() {
                self.note_first(event);
            }
            role
        };
        self.events += 1;
        if header.timestamp != 0 {
            self.times.note(time);
        }
        if let Some(transaction) = self.groups.close_before(&role) {
            self.complete(transaction);
        }
        if header.timestamp != 0 {
            self.last_time = Some(time);
        }
        self.note_ending(event);
        self.sink.event(&EventRef {
            position: event.start,
            type_code: header.type_code,
            timestamp: header.timestamp,
            server_id: header.server_id,
            size: header.size,
            flags: header.flags,
        });
        if header.type_code == kind::TRANSACTION_PAYLOAD && !self.head_only {
            let inside = self.payload.finish();
            self.index.findings.absorb(&mut inside.findings);
            self.times.absorb(inside.times);
        }
        if self.is_preamble() && role == Role::Other {
            self.last_transaction_end = event.end();
        }
        if let Some(transaction) = self.groups.step(role, event.start, event.end(), time) {
            self.complete(transaction);
        }
        if self.head_only && self.first_event_type.is_some() {
            return Err(Stop::HeadKnown);
        }
        Ok(())
    }
}

//! Compressed transactions: looks into TRANSACTION_PAYLOAD as its bytes come, never holding it.
//!
//! The body is a list of fields, each type, length and value as length-encoded integers: 1 the payload's size, 2 its
//! compression (0 zstd, 255 none), 3 its uncompressed size, 0 the end of the list
//! (`libs/mysql/binlog/event/codecs/binary.cpp`). The events inside have no checksums, and their `log_pos` says nothing.
//! A payload that cannot be read is not damage, since the event's own checksum was right: it makes the index incomplete.

use super::findings::{Findings, TABLE_MAP_PREFIX_BYTES};
use super::framer::{Checks, Framer, Handler, LogPos, RawEvent, Want};
use super::header::EventHeader;
use super::query::{self, Query};
use super::{kind, times::Times, varint};
use crate::model::Micros;
use zstd::stream::raw::{DParameter, Decoder, Operation as _};

/// Largest zstd window accepted, as a power of two: 128 MiB, which level 22 uses. It is memory that a file could demand.
const WINDOW_LOG_MAX: u32 = 27;
/// Decompressed bytes held at a time.
const OUTPUT_BYTES: usize = 128 * 1024;
/// The longest list of fields accepted; the three known ones take 25 bytes.
const FIELDS_MAX_BYTES: usize = 4096;
/// Decompressed bytes after which a payload is left alone: zstd can make 30 000 bytes of one, and MySQL itself replays
/// no transaction that long. Half a minute of one core.
const PLAIN_MAX_BYTES: u64 = 32 << 30;

/// Reads one payload after another.
#[derive(Default)]
pub(super) struct PayloadReader {
    state: State,
    /// Kept from payload to payload: making one costs more than most payloads.
    decoder: Option<Decoder<'static>>,
    output: Vec<u8>,
    fields: Vec<u8>,
    framer: Framer,
    inside: Inside,
    plain_bytes: u64,
    plain_limit: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Fields,
    Zstd,
    Plain,
    Failed,
}

/// What is told of the events inside.
#[derive(Debug, Default)]
pub(super) struct Inside {
    /// Tables and statements.
    pub findings: Findings,
    /// Header times.
    pub times: Times,
    query_post_header_bytes: usize,
    table_map_post_header_bytes: usize,
}

/// The fields that matter.
struct Fields {
    compression: u64,
    plain_bytes: Option<u64>,
    length: usize,
}

impl PayloadReader {
    /// A new payload begins, in a file with these post-header lengths.
    pub(super) fn begin(
        &mut self,
        query_post_header_bytes: usize,
        table_map_post_header_bytes: usize,
    ) {
        self.state = State::Fields;
        self.fields.clear();
        self.framer = Framer::new(0);
        self.plain_bytes = 0;
        self.plain_limit = PLAIN_MAX_BYTES;
        self.inside = Inside {
            query_post_header_bytes,
            table_map_post_header_bytes,
            ..Inside::default()
        };
    }

    /// The next bytes of the event's body, its checksum left out.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let done = match self.state {
            State::Fields => self.push_fields(bytes),
            State::Zstd => self.decompress(bytes),
            State::Plain => self.plain(bytes),
            State::Failed => Some(()),
        };
        if done.is_none() {
            self.state = State::Failed;
        }
    }

    /// The event is whole: what was inside.
    pub(super) fn finish(&mut self) -> &mut Inside {
        let whole = matches!(self.state, State::Zstd | State::Plain)
            && !self.framer.is_inside()
            && self.plain_bytes > 0;
        if !whole {
            self.inside.findings.unreadable();
        }
        &mut self.inside
    }

    fn push_fields(&mut self, bytes: &[u8]) -> Option<()> {
        let room = FIELDS_MAX_BYTES - self.fields.len();
        let (taken, rest) = bytes.split_at(room.min(bytes.len()));
        self.fields.extend_from_slice(taken);
        let Some(fields) = parse_fields(&self.fields) else {
            return (self.fields.len() < FIELDS_MAX_BYTES).then_some(());
        };
        if let Some(declared) = fields.plain_bytes {
            self.plain_limit = self.plain_limit.min(declared);
        }
        self.state = match fields.compression {
            0 => {
                self.start_decoder()?;
                State::Zstd
            }
            255 => State::Plain,
            _ => return None,
        };
        let held = std::mem::take(&mut self.fields);
        self.push(&held[fields.length..]);
        self.fields = held;
        self.push(rest);
        Some(())
    }

    fn start_decoder(&mut self) -> Option<()> {
        if let Some(decoder) = &mut self.decoder {
            return decoder.reinit().ok();
        }
        let mut decoder = Decoder::new().ok()?;
        decoder
            .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
            .ok()?;
        self.decoder = Some(decoder);
        Some(())
    }

    fn decompress(&mut self, mut bytes: &[u8]) -> Option<()> {
        // Taken out for the loop, because the decompressed events go into `self`.
        let mut decoder = self.decoder.take()?;
        let mut output = std::mem::take(&mut self.output);
        output.resize(OUTPUT_BYTES, 0);
        let done = loop {
            let Ok(status) = decoder.run_on_buffers(bytes, &mut output) else {
                break None;
            };
            bytes = &bytes[status.bytes_read..];
            let plain = &output[..status.bytes_written];
            if self.plain(plain).is_none() {
                break None;
            }
            if bytes.is_empty() && plain.len() < OUTPUT_BYTES {
                break Some(());
            }
            if status.bytes_read == 0 && plain.is_empty() {
                break None;
            }
        };
        self.decoder = Some(decoder);
        self.output = output;
        done
    }

    fn plain(&mut self, plain: &[u8]) -> Option<()> {
        self.plain_bytes += plain.len() as u64;
        if self.plain_bytes > self.plain_limit {
            return None;
        }
        self.framer.push(&mut self.inside, plain).ok()
    }
}

/// Reads the list of fields at the front of `bytes`; `None` if its end has not come.
fn parse_fields(bytes: &[u8]) -> Option<Fields> {
    let mut rest = bytes;
    let mut fields = Fields {
        compression: u64::MAX,
        plain_bytes: None,
        length: 0,
    };
    loop {
        let field = varint::read_length_encoded(&mut rest)?;
        if field == 0 {
            fields.length = bytes.len() - rest.len();
            return Some(fields);
        }
        let length = usize::try_from(varint::read_length_encoded(&mut rest)?).ok()?;
        let (mut value, after) = rest.split_at_checked(length)?;
        rest = after;
        match field {
            2 => fields.compression = varint::read_length_encoded(&mut value)?,
            3 => fields.plain_bytes = Some(varint::read_length_encoded(&mut value)?),
            _ => {}
        }
    }
}

impl Handler for Inside {
    type Stop = std::convert::Infallible;

    fn checks(&self, _: &EventHeader) -> Checks {
        Checks {
            crc: false,
            log_pos: LogPos::Unchecked,
        }
    }

    fn begin(&mut self, _: u64, header: &EventHeader) -> Result<Want, Self::Stop> {
        Ok(Want::prefix(match header.type_code {
            kind::QUERY => query::PREFIX_BYTES,
            kind::TABLE_MAP => TABLE_MAP_PREFIX_BYTES,
            _ => 0,
        }))
    }

    fn piece(&mut self, _: &EventHeader, _: u64, _: &[u8]) {}

    fn event(&mut self, event: &RawEvent<'_>) -> Result<(), Self::Stop> {
        if event.header.timestamp != 0 {
            self.times
                .note(Micros::from_seconds(event.header.timestamp));
        }
        match event.header.type_code {
            kind::QUERY => match Query::parse(event, self.query_post_header_bytes) {
                Some(query) => self.findings.query(&query, query.statement()),
                None => self.findings.unreadable(),
            },
            kind::TABLE_MAP => self
                .findings
                .table_map(event, self.table_map_post_header_bytes),
            kind::APPEND_BLOCK | kind::BEGIN_LOAD_QUERY | kind::EXECUTE_LOAD_QUERY => {
                self.findings.tables_incomplete = true;
            }
            _ => {}
        }
        Ok(())
    }
}

//! Bodies of synthetic events.

use super::super::{HEADER_BYTES, kind, varint};
use crate::model::{GtidSet, GtidSource, Micros};

/// What MySQL's and MariaDB's format descriptions give as post-header length of an event type.
pub(super) fn post_header_bytes(type_code: u8) -> u8 {
    match type_code {
        kind::START_V3 => 56,
        kind::QUERY | kind::MARIA_QUERY_COMPRESSED => 13,
        kind::ROTATE | kind::TABLE_MAP => 8,
        kind::FORMAT_DESCRIPTION => 84,
        kind::EXECUTE_LOAD_QUERY => 26,
        kind::APPEND_BLOCK | kind::BEGIN_LOAD_QUERY => 4,
        kind::WRITE_ROWS_V1..=kind::DELETE_ROWS_V1 => 8,
        kind::WRITE_ROWS..=kind::DELETE_ROWS | kind::PARTIAL_UPDATE_ROWS => 10,
        kind::GTID | kind::ANONYMOUS_GTID => 42,
        kind::MARIA_GTID => 19,
        kind::MARIA_GTID_LIST => 4,
        _ => 0,
    }
}

/// The common header of an event.
pub fn event_header(
    time_seconds: u32,
    type_code: u8,
    server_id: u32,
    size: u32,
    log_pos: u32,
    flags: u16,
) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&time_seconds.to_le_bytes());
    header[4] = type_code;
    header[5..9].copy_from_slice(&server_id.to_le_bytes());
    header[9..13].copy_from_slice(&size.to_le_bytes());
    header[13..17].copy_from_slice(&log_pos.to_le_bytes());
    header[17..].copy_from_slice(&flags.to_le_bytes());
    header
}

/// The body of a Query event, without checksum.
pub fn query_body(database: &str, sql: &[u8]) -> Vec<u8> {
    // Q_FLAGS2_CODE and Q_SQL_MODE_CODE, as every server writes them.
    let status: &[u8] = &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut body = vec![7, 0, 0, 0, 0, 0, 0, 0, database.len() as u8, 0, 0];
    body.extend_from_slice(&(status.len() as u16).to_le_bytes());
    body.extend_from_slice(status);
    body.extend_from_slice(database.as_bytes());
    body.push(0);
    body.extend_from_slice(sql);
    body
}

pub(super) fn gtid_body(uuid: &[u8; 16], number: u64, commit: Option<Micros>) -> Vec<u8> {
    let mut body = vec![0];
    body.extend_from_slice(uuid);
    body.extend_from_slice(&number.to_le_bytes());
    body.push(2);
    body.extend_from_slice(&[0; 16]);
    if let Some(commit) = commit {
        body.extend_from_slice(&commit.0.to_le_bytes()[..7]);
        // Transaction length (unknown to this builder) and server version.
        body.push(0);
        body.extend_from_slice(&90_704_u32.to_le_bytes());
    }
    body
}

pub(super) fn tagged_body(
    uuid: &[u8; 16],
    tag: &str,
    number: u64,
    commit: Option<Micros>,
) -> Vec<u8> {
    let mut fields = Vec::new();
    varint::write(&mut fields, 0);
    varint::write(&mut fields, 0);
    varint::write(&mut fields, 1);
    for byte in uuid {
        varint::write(&mut fields, u64::from(*byte));
    }
    varint::write(&mut fields, 2);
    varint::write(&mut fields, number << 1);
    varint::write(&mut fields, 3);
    varint::write(&mut fields, tag.len() as u64);
    fields.extend_from_slice(tag.as_bytes());
    for signed_field in [4, 5] {
        varint::write(&mut fields, signed_field);
        varint::write(&mut fields, 2 << 1);
    }
    if let Some(commit) = commit {
        varint::write(&mut fields, 6);
        varint::write(&mut fields, commit.0.cast_unsigned());
    }
    varint::write(&mut fields, 8);
    varint::write(&mut fields, 1000);
    let mut body = Vec::new();
    varint::write(&mut body, 1);
    // The size counts the version, itself and the last non-ignorable field: all of one or two bytes here.
    let size = fields.len() as u64 + 4;
    varint::write(&mut body, if size < 128 { size - 1 } else { size });
    varint::write(&mut body, 0);
    body.extend_from_slice(&fields);
    body
}

/// A MySQL GTID set as PREVIOUS_GTIDS has it, in the tagged encoding iff a GTID has a tag.
pub fn encode_gtid_set(set: &GtidSet) -> Vec<u8> {
    let mysql = || {
        set.iter().filter_map(|(source, runs)| match source {
            GtidSource::MySql { uuid, tag } => Some((uuid, tag, runs)),
            GtidSource::MariaDb { .. } => None,
        })
    };
    let tagged = mysql().any(|(_, tag, _)| !tag.as_str().is_empty());
    let count = mysql().count() as u64;
    let first = if tagged {
        (1 << 56) | (count << 8) | 1
    } else {
        count
    };
    let mut out = first.to_le_bytes().to_vec();
    for (uuid, tag, intervals) in mysql() {
        out.extend_from_slice(uuid.as_bytes());
        if tagged {
            varint::write(&mut out, tag.as_str().len() as u64);
            out.extend_from_slice(tag.as_str().as_bytes());
        }
        out.extend_from_slice(&(intervals.runs().len() as u64).to_le_bytes());
        for &(start, last) in intervals.runs() {
            out.extend_from_slice(&start.to_le_bytes());
            out.extend_from_slice(&(last + 1).to_le_bytes());
        }
    }
    out
}

//! The events that begin a transaction and name it: GTID, ANONYMOUS_GTID, tagged GTID, MariaDB's GTID.

use super::varint;
use crate::model::{Gtid, GtidSource, Micros, Tag};
use uuid::Uuid;

/// The longest GTID event held. MySQL's have about 100 bytes; MariaDB pads its own to fill the room kept free at the
/// front of a huge transaction that becomes a file by itself, but nothing past its first bytes is needed.
pub(super) const PREFIX_BYTES: usize = 1024;
/// Offset of the logical clock's type in the body: flags, UUID and number come before.
const CLOCK_OFFSET: usize = 1 + 16 + 8;
/// Its only value (`LOGICAL_TIMESTAMP_TYPECODE`, 5.7.5 and later); then two numbers of eight bytes follow.
const CLOCK_TYPE: u8 = 2;
/// Offset of `immediate_commit_timestamp`, seven bytes, absent before MySQL 8.0.1.
const COMMIT_OFFSET: usize = CLOCK_OFFSET + 1 + 16;
/// The flag in those seven bytes: `original_commit_timestamp` follows.
const ORIGINAL_FOLLOWS: u64 = 1 << 55;
/// `FL_STANDALONE` of MariaDB: the group is one statement, without BEGIN and COMMIT.
const MARIADB_STANDALONE: u8 = 1;

/// What an event says of the transaction it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Begin {
    /// Its GTID; `None` if it is anonymous.
    pub gtid: Option<Gtid>,
    /// `immediate_commit_timestamp`.
    pub commit: Option<Micros>,
    /// Whether BEGIN is implied, so that only a commit ends it (MariaDB).
    pub implies_begin: bool,
}

/// Reads the body of GTID (`anonymous` false) or ANONYMOUS_GTID; `None` if it is malformed.
pub(super) fn parse(body: &[u8], anonymous: bool) -> Option<Begin> {
    let uuid: [u8; 16] = body.get(1..17)?.try_into().ok()?;
    let number = u64::from_le_bytes(body.get(17..CLOCK_OFFSET)?.try_into().ok()?);
    let gtid = if anonymous {
        None
    } else {
        Some(mysql_gtid(uuid, Tag::none(), number)?)
    };
    let has_clock = body.get(CLOCK_OFFSET) == Some(&CLOCK_TYPE);
    let commit = body.get(COMMIT_OFFSET..COMMIT_OFFSET + 7).map(|bytes| {
        let mut raw = [0; 8];
        raw[..7].copy_from_slice(bytes);
        u64::from_le_bytes(raw) & !ORIGINAL_FOLLOWS
    });
    Some(Begin {
        gtid,
        commit: commit.filter(|_| has_clock).and_then(micros),
        implies_begin: false,
    })
}

/// Reads the body of a tagged GTID event; `None` if it is malformed or of an unknown serialization version.
///
/// It is a mysql::serialization message (`Gtid_event::define_fields` in `libs/mysql/binlog/event/control_events.h`):
/// version, size, last field that must not be ignored, then fields in ascending order, each its id and value: 0 flags,
/// 1 UUID as 16 integers, 2 number (signed), 3 tag, 4 and 5 the logical clock (signed), 6 immediate commit timestamp.
pub(super) fn parse_tagged(body: &[u8]) -> Option<Begin> {
    let mut rest = body;
    if varint::read(&mut rest)? != 1 {
        return None;
    }
    let _size = varint::read(&mut rest)?;
    let _last_needed_field = varint::read(&mut rest)?;
    let (mut uuid, mut number, mut tag, mut commit) = (None, None, Tag::none(), None);
    while let Some(field) = varint::read(&mut rest) {
        match field {
            0 => {
                varint::read(&mut rest)?;
            }
            1 => {
                let mut bytes = [0; 16];
                for byte in &mut bytes {
                    *byte = u8::try_from(varint::read(&mut rest)?).ok()?;
                }
                uuid = Some(bytes);
            }
            2 => number = Some(u64::try_from(varint::read_signed(&mut rest)?).ok()?),
            3 => {
                let length = usize::try_from(varint::read(&mut rest)?).ok()?;
                let (text, after) = rest.split_at_checked(length)?;
                rest = after;
                tag = std::str::from_utf8(text).ok()?.parse().ok()?;
            }
            4 | 5 => {
                varint::read_signed(&mut rest)?;
            }
            6 => {
                commit = micros(varint::read(&mut rest)?);
                break;
            }
            // Ascending order: past 6 there is nothing of interest.
            _ => break,
        }
    }
    Some(Begin {
        gtid: Some(mysql_gtid(uuid?, tag, number?)?),
        commit,
        implies_begin: false,
    })
}

/// Reads the body of MariaDB's GTID event; `None` if it is malformed.
pub(super) fn parse_mariadb(body: &[u8], server_id: u32) -> Option<Begin> {
    let number = u64::from_le_bytes(body.get(..8)?.try_into().ok()?);
    let domain = u32::from_le_bytes(body.get(8..12)?.try_into().ok()?);
    let flags = *body.get(12)?;
    Some(Begin {
        gtid: Some(legal(
            GtidSource::MariaDb {
                domain,
                server: server_id,
            },
            number,
        )?),
        commit: None,
        implies_begin: flags & MARIADB_STANDALONE == 0,
    })
}

fn mysql_gtid(uuid: [u8; 16], tag: Tag, number: u64) -> Option<Gtid> {
    let uuid = Uuid::from_bytes(uuid);
    legal(GtidSource::MySql { uuid, tag }, number)
}

fn legal(source: GtidSource, number: u64) -> Option<Gtid> {
    source
        .numbers()
        .contains(&number)
        .then_some(Gtid { source, number })
}

/// A commit timestamp; 0 stands for none.
fn micros(raw: u64) -> Option<Micros> {
    i64::try_from(raw).ok().filter(|us| *us > 0).map(Micros)
}

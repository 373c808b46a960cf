//! The head of a file: what its first bytes tell, for whoever lists a server's binlogs.

use super::Refusal;
use super::header::EventHeader;
use super::kind;
use super::scanner::Scanner;
use super::summary::{ChecksumAlgorithm, Damage, Flavour};
use crate::model::{GtidSet, Micros, Sha256};

/// What the first bytes of a file tell. The fields are those of [`super::Summary`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// SHA-256 of the format description, its IN_USE flag cleared, and the first event after it.
    pub head: Sha256,
    /// Whose format; `None` if the file ends before its format description does.
    pub flavour: Option<Flavour>,
    /// `server_version` of the format description.
    pub server_version: String,
    /// `server_id` of the format description's header.
    pub server_id: u32,
    /// The checksum algorithm.
    pub checksum: ChecksumAlgorithm,
    /// `LOG_EVENT_BINLOG_IN_USE_F`.
    pub in_use: bool,
    /// Header timestamp of the format description.
    pub created: Micros,
    /// PREVIOUS_GTIDS or GTID_LIST, if that is the first event.
    pub previous_gtids: Option<GtidSet>,
    /// Type of the first event after the format description; `None` if there is none, whole.
    pub first_event_type: Option<u8>,
    /// Where the events that every new file begins with end, in bytes: format description and PREVIOUS_GTIDS or GTID_LIST.
    pub end: u64,
    /// What is wrong with these first events.
    pub damage: Option<Damage>,
}

/// What [`probe_head`] makes of the bytes it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeadProbe {
    /// The file's first so many bytes are needed (or all of it, if it is shorter).
    NeedMore(u64),
    /// The head.
    Head(Box<Head>),
}

/// Reads the head of a file from its first bytes; `is_eof` says that `prefix` is the whole file.
///
/// A file of no bytes at all, or one that ends early, has a head too: a crash leaves such files inside a chain.
///
/// # Errors
/// When the file is to be refused.
pub fn probe_head(prefix: &[u8], is_eof: bool) -> Result<HeadProbe, Refusal> {
    let mut scanner = Scanner::build((), true);
    scanner.push(prefix)?;
    if !is_eof && !scanner.is_head_known() {
        return Ok(HeadProbe::NeedMore(scanner.needed_end()));
    }
    let first_event_type = scanner.first_event_type();
    let summary = scanner.finish().0?;
    Ok(HeadProbe::Head(Box::new(Head {
        head: summary.head,
        flavour: summary.flavour,
        server_version: summary.server_version,
        server_id: summary.server_id,
        checksum: summary.checksum,
        in_use: summary.in_use,
        created: summary.created,
        previous_gtids: summary.previous_gtids,
        first_event_type,
        end: end_of_head(prefix),
        damage: summary.damage,
    })))
}

/// The length of the magic number that every file begins with.
const MAGIC_BYTES: usize = 4;

fn end_of_head(prefix: &[u8]) -> u64 {
    let header = |at: usize| prefix.get(at..).and_then(EventHeader::parse);
    let Some(format) = header(MAGIC_BYTES) else {
        return prefix.len() as u64;
    };
    let end = MAGIC_BYTES as u64 + u64::from(format.size);
    let next = usize::try_from(end).ok().and_then(header);
    match next {
        Some(next) if matches!(next.type_code, kind::PREVIOUS_GTIDS | kind::MARIA_GTID_LIST) => {
            end + u64::from(next.size)
        }
        Some(_) | None => end,
    }
}

//! The format description: the first event of every file, which says how to read the rest.

use super::framer::CHECKSUM_BYTES;
use super::header::{EventHeader, FLAGS_OFFSET, HEADER_BYTES};
use super::{ChecksumAlgorithm, Flavour};

/// Offset of the post-header lengths in the event: header, binlog version, server version, creation time, header length.
const LENGTHS_OFFSET: usize = HEADER_BYTES + 2 + SERVER_VERSION_BYTES + 4 + 1;
/// Room for the server version's text, filled up with zeroes.
const SERVER_VERSION_BYTES: usize = 50;
/// The longest format description accepted: there are 256 type codes at most, each with one byte.
pub(super) const MAX_BYTES: usize = LENGTHS_OFFSET + 256 + 1 + CHECKSUM_BYTES;
/// Most event types that a server without checksums knows (MySQL 5.6.0). Without this a changed version text would make
/// a checksum look like part of the format description.
const OLD_TYPES_MAX: usize = 35;
/// The first MySQL whose events may have checksums (MySQL Reference Manual, `binlog_checksum`).
const MYSQL_CHECKSUMS: (u32, u32, u32) = (5, 6, 1);
/// The first MariaDB whose events may have checksums.
const MARIADB_CHECKSUMS: (u32, u32, u32) = (5, 3, 0);

/// The first event type that only MariaDB has (ANNOTATE_ROWS). A format description that lists it is MariaDB's, whatever
/// version it names: `--version` sets that to any text.
const MARIADB_TYPES_MIN: usize = 160;

/// What a format description says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FormatDescription {
    /// The format's version: 4 since MySQL 5.0.
    pub binlog_version: u16,
    /// Whose it is.
    pub flavour: Flavour,
    /// `server_version` as written.
    pub server_version: String,
    /// What follows each event.
    pub checksum: ChecksumAlgorithm,
    lengths: Vec<u8>,
}

impl FormatDescription {
    /// Reads `event`, whole, with its header, and checksum if it has one.
    ///
    /// # Errors
    /// The reason why it is none.
    pub(super) fn parse(event: &[u8]) -> Result<FormatDescription, String> {
        let (fixed, rest) = event
            .split_at_checked(LENGTHS_OFFSET)
            .ok_or("the format description is too short")?;
        let body = &fixed[HEADER_BYTES..];
        let binlog_version = u16::from_le_bytes([body[0], body[1]]);
        let text = &body[2..2 + SERVER_VERSION_BYTES];
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let server_version = String::from_utf8_lossy(text).into_owned();
        let flavour = if lists_mariadb_types(rest) || server_version.contains("MariaDB") {
            Flavour::MariaDb
        } else {
            Flavour::MySql
        };
        let mut description = FormatDescription {
            binlog_version,
            flavour,
            server_version,
            checksum: ChecksumAlgorithm::None,
            lengths: rest.to_vec(),
        };
        if description.knows_checksums() {
            description.take_checksum(event)?;
        } else if description.lengths.len() > OLD_TYPES_MAX {
            return Err(
                "the format description is too long for the server version it names".to_owned(),
            );
        }
        let header_bytes = fixed[LENGTHS_OFFSET - 1];
        if binlog_version == 4 && usize::from(header_bytes) != HEADER_BYTES {
            return Err(format!(
                "the format description announces event headers of {header_bytes} bytes instead of {HEADER_BYTES}"
            ));
        }
        Ok(description)
    }

    /// Takes algorithm and checksum off the end, and verifies the checksum: the server computes it with the IN_USE flag
    /// cleared, so that it can clear the flag later without writing the checksum again.
    fn take_checksum(&mut self, event: &[u8]) -> Result<(), String> {
        let missing = "the format description has no room for its checksum";
        let (content, crc) = event.split_last_chunk::<CHECKSUM_BYTES>().ok_or(missing)?;
        if crc32fast::hash(&without_in_use(content)).to_le_bytes() != *crc {
            return Err("the checksum of the format description does not match".to_owned());
        }
        let with_algorithm = self
            .lengths
            .len()
            .checked_sub(CHECKSUM_BYTES)
            .ok_or(missing)?;
        self.lengths.truncate(with_algorithm);
        self.checksum = match self.lengths.pop() {
            // BINLOG_CHECKSUM_ALG_OFF; 255 is _UNDEF, which servers without the setting write.
            Some(0 | 255) => ChecksumAlgorithm::None,
            Some(1) => ChecksumAlgorithm::Crc32,
            Some(other) => {
                return Err(format!(
                    "the format description names checksum algorithm {other}, which this version does not know"
                ));
            }
            None => return Err(missing.to_owned()),
        };
        Ok(())
    }

    /// Whether a server of this version writes the algorithm byte, and a checksum on the format description itself even
    /// when `binlog_checksum` is NONE.
    fn knows_checksums(&self) -> bool {
        if lists_mariadb_types(&self.lengths) {
            return true;
        }
        // MariaDB 10 prefixes its version with one that old MySQL replicas accept.
        let text = self.server_version.trim_start_matches("5.5.5-");
        let first = match self.flavour {
            Flavour::MySql => MYSQL_CHECKSUMS,
            Flavour::MariaDb => MARIADB_CHECKSUMS,
        };
        version_triple(text) >= first
    }

    /// Length of the fixed part after the header of an event of type `type_code`, or `default` if it is not listed.
    pub(super) fn post_header_bytes(&self, type_code: u8, default: usize) -> usize {
        usize::from(type_code)
            .checked_sub(1)
            .and_then(|at| self.lengths.get(at))
            .map_or(default, |length| usize::from(*length))
    }
}

/// Whether what follows the fixed part is long enough for MariaDB's types. Every server that knows those writes the
/// algorithm byte and a checksum behind them, so `rest` may be taken with those.
fn lists_mariadb_types(rest: &[u8]) -> bool {
    rest.len() > MARIADB_TYPES_MIN + CHECKSUM_BYTES
}

/// `major.minor.patch` at the front of a version text; what is not there is 0.
fn version_triple(text: &str) -> (u32, u32, u32) {
    let mut parts = text.splitn(3, '.').map(|part| {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        part[..digits].parse().unwrap_or(0)
    });
    let mut next = || parts.next().unwrap_or(0);
    (next(), next(), next())
}

/// `event` with its IN_USE flag cleared.
pub(super) fn without_in_use(event: &[u8]) -> Vec<u8> {
    let mut bytes = event.to_vec();
    if let Some(flags) = bytes.get_mut(FLAGS_OFFSET) {
        *flags &= !(super::header::FLAG_IN_USE as u8);
    }
    bytes
}

/// The version of a file that begins with START_EVENT_V3 (before MySQL 5.0), if `event` is such an event.
pub(super) fn old_version(header: &EventHeader, event: &[u8]) -> Option<u16> {
    // Version 1 (MySQL 3.23) has a header of 13 bytes; 3 (4.0.2 to 4.1) has the 19 bytes of today.
    let v1: [u8; 2] = event.get(13..15)?.try_into().ok()?;
    let v3: [u8; 2] = event.get(HEADER_BYTES..HEADER_BYTES + 2)?.try_into().ok()?;
    match (u16::from_le_bytes(v1), u16::from_le_bytes(v3)) {
        (_, version @ 2..=3) if header.size >= 75 => Some(version),
        (1, _) => Some(1),
        _ => None,
    }
}

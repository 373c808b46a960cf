//! The header that every event begins with.

/// Length of the common header of format version 4.
pub const HEADER_BYTES: usize = 19;
/// Offset of the flags in the header.
pub(super) const FLAGS_OFFSET: usize = 17;
/// `LOG_EVENT_BINLOG_IN_USE_F`: set while the server writes the file, cleared when it closes it in order.
pub const FLAG_IN_USE: u16 = 0x1;
/// `LOG_EVENT_ARTIFICIAL_F`: made up for the replication stream, not part of a binlog.
pub const FLAG_ARTIFICIAL: u16 = 0x20;
/// `LOG_EVENT_RELAY_LOG_F`: written by a replica's receiver thread.
pub const FLAG_RELAY_LOG: u16 = 0x40;

/// An event's header, its numbers as they stand in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHeader {
    /// Seconds since 1970 at which the statement began on its origin; 0 in artificial events.
    pub timestamp: u32,
    /// What the event is: see [`super::kind`].
    pub type_code: u8,
    /// The origin's `server_id`.
    pub server_id: u32,
    /// Length in bytes, header and checksum included.
    pub size: u32,
    /// Offset of the event's end in its file, modulo 2^32.
    pub log_pos: u32,
    /// `LOG_EVENT_*_F`.
    pub flags: u16,
}

impl EventHeader {
    /// Reads the header at the front of `bytes`; `None` if they are too few.
    pub fn parse(bytes: &[u8]) -> Option<EventHeader> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Some(EventHeader {
            timestamp: word(0),
            type_code: bytes[4],
            server_id: word(5),
            size: word(9),
            log_pos: word(13),
            flags: u16::from_le_bytes([bytes[17], bytes[18]]),
        })
    }
}

/// A whole event that was found right, as a [`super::Sink`] is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventRef {
    /// Offset of its first byte in the file.
    pub position: u64,
    /// What it is: see [`super::kind`].
    pub type_code: u8,
    /// Header time, in seconds since 1970; 0 in artificial events.
    pub timestamp: u32,
    /// The origin's `server_id`.
    pub server_id: u32,
    /// Length in bytes, header and checksum included.
    pub size: u32,
    /// `LOG_EVENT_*_F`.
    pub flags: u16,
}

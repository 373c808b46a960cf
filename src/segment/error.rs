//! What can go wrong with a segment object: damage, a missing key, a newer format, a limit.

use std::fmt;

/// An object that cannot be read, or a segment that cannot be written.
///
/// The caller knows which segment and which object it is, and puts their names before the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentError {
    /// The bytes are not those that were archived. Other bytes may help (a copy, the store asked again); trying another
    /// key will not.
    Corrupt {
        /// What does not fit.
        what: String,
        /// The frame it was found in; `None` for the header, the tail and the layout.
        frame: Option<u32>,
        /// Object offset at which the bytes in question begin, where there are such.
        offset: Option<u64>,
    },
    /// The object is encrypted, and none of the identities at hand opens it. It may be in perfect order.
    NoKey {
        /// Why not.
        reason: String,
    },
    /// A newer binlogfs wrote something that must be understood.
    Unsupported {
        /// What that is.
        what: String,
    },
    /// More than this format allows. Nothing was allocated for it.
    Limit {
        /// What there is too much of, or too little.
        what: &'static str,
        /// How much there is.
        value: u64,
        /// The largest value allowed.
        max: u64,
    },
    /// The compressor or the cipher failed: of the machine's memory, or its random numbers.
    Encode {
        /// What it said.
        reason: String,
    },
}

impl SegmentError {
    /// Damage outside of any frame.
    pub(super) fn corrupt(what: impl Into<String>, offset: impl Into<Option<u64>>) -> Self {
        SegmentError::Corrupt {
            what: what.into(),
            frame: None,
            offset: offset.into(),
        }
    }

    /// Damage of a frame.
    pub(super) fn corrupt_frame(what: impl Into<String>, frame: u32, offset: u64) -> Self {
        SegmentError::Corrupt {
            what: what.into(),
            frame: Some(frame),
            offset: Some(offset),
        }
    }

    /// Whether a key is all that is missing.
    pub fn is_no_key(&self) -> bool {
        matches!(self, SegmentError::NoKey { .. })
    }

    /// Whether the bytes differ from those archived.
    pub fn is_corrupt(&self) -> bool {
        matches!(self, SegmentError::Corrupt { .. })
    }
}

impl fmt::Display for SegmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SegmentError::Corrupt {
                what,
                frame,
                offset,
            } => {
                match frame {
                    Some(frame) => write!(f, "frame {frame}: {what}")?,
                    None => write!(f, "{what}")?,
                }
                if let Some(offset) = offset {
                    write!(f, " (object offset {offset})")?;
                }
                f.write_str("; run 'binlogfs verify --deep' to see how far the damage goes")
            }
            SegmentError::NoKey { reason } => write!(
                f,
                "{reason}; give the private key of one of its recipients with --identity FILE"
            ),
            SegmentError::Unsupported { what } => {
                write!(f, "{what}; a newer binlogfs wrote it: upgrade this one")
            }
            SegmentError::Limit { what, value, max } => {
                write!(f, "{what} is {value}, and at most {max} is possible")
            }
            SegmentError::Encode { reason } => write!(
                f,
                "encoding failed: {reason}; see that the host has memory left and try again"
            ),
        }
    }
}

impl std::error::Error for SegmentError {}

//! Cuts bytes that arrive in any pieces into events, and checks what can be checked without knowing what they mean.
//!
//! An event that lies whole in a piece is handed on where it lies. One that does not is collected, but only as far
//! into it as its handler [wants](Want): an event may be 4 GiB, and nearly all of that is row data nobody here reads.

use super::header::{EventHeader, HEADER_BYTES};

/// Bytes of a CRC-32 after an event.
pub(super) const CHECKSUM_BYTES: usize = 4;
/// A collecting buffer larger than this is given back after use: one long event must not cost memory for ever.
const CARRY_KEEP_BYTES: usize = 256 * 1024;

/// How `log_pos` of an event must relate to where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogPos {
    /// It is the end, modulo 2^32.
    Exact,
    /// It is the end or 0: MariaDB 11.4 and later leave it out inside event groups (`binlog_legacy_event_pos`).
    ExactOrZero,
    /// It says nothing: inside a payload.
    Unchecked,
}

/// What the framer is to check of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Checks {
    /// The event ends in a CRC-32 of all before it.
    pub crc: bool,
    /// What its `log_pos` is.
    pub log_pos: LogPos,
}

/// What a handler needs of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Want {
    /// Bytes from the event's start (header included) that [`Handler::event`] must see, as far as there are so many.
    pub prefix: usize,
    /// All its bytes, checksum included, are to be passed to [`Handler::piece`] as they come.
    pub pieces: bool,
}

impl Want {
    /// The first `prefix` bytes, and no pieces.
    pub(super) fn prefix(prefix: usize) -> Want {
        Want {
            prefix,
            pieces: false,
        }
    }
}

/// A whole event that passed the framer's checks.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawEvent<'a> {
    /// Offset of its first byte.
    pub start: u64,
    /// Its header.
    pub header: EventHeader,
    /// Its first bytes from the header on, without checksum: as many as were wanted, if there are so many.
    pub bytes: &'a [u8],
    /// Its length without checksum.
    pub content_bytes: u64,
}

impl<'a> RawEvent<'a> {
    /// Offset after its last byte.
    pub(super) fn end(&self) -> u64 {
        self.start + u64::from(self.header.size)
    }

    /// What follows the header, as far as it is held.
    pub(super) fn body(&self) -> &'a [u8] {
        self.bytes.get(HEADER_BYTES..).unwrap_or_default()
    }
}

/// Who is given the events.
pub(super) trait Handler {
    /// Why it wants no more.
    type Stop;

    /// What is to be checked of the event that begins with `header`.
    fn checks(&self, header: &EventHeader) -> Checks;

    /// Sees the header of an event before its bytes.
    ///
    /// # Errors
    /// When the event cannot be one.
    fn begin(&mut self, start: u64, header: &EventHeader) -> Result<Want, Self::Stop>;

    /// The next bytes, from `offset` in the event, if they are wanted. Nothing vouches for them until the event comes.
    fn piece(&mut self, header: &EventHeader, offset: u64, bytes: &[u8]);

    /// The event, whole and checked.
    ///
    /// # Errors
    /// When the handler wants no more.
    fn event(&mut self, event: &RawEvent<'_>) -> Result<(), Self::Stop>;
}

/// Why the framer stopped; it is not to be used after that.
#[derive(Debug)]
pub(super) enum Fault<Stop> {
    /// The event at `position` is not whole and right.
    Bad {
        /// Offset of its first byte.
        position: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// The handler stopped.
    Stopped(Stop),
}

/// The cutter. See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Framer {
    /// Offset of the current event's first byte.
    start: u64,
    /// First bytes of an event that came in pieces.
    carry: Vec<u8>,
    open: Option<Open>,
}

/// An event whose header is known and whose end has not come.
#[derive(Debug)]
struct Open {
    header: EventHeader,
    want: Want,
    /// `None`: not checked.
    crc: Option<crc32fast::Hasher>,
    /// Bytes that came, header included.
    seen: u64,
    /// The last bytes, if a checksum is expected.
    trailer: [u8; CHECKSUM_BYTES],
}

impl Open {
    fn content_bytes(&self) -> u64 {
        content_bytes(&self.header, self.crc.is_some())
    }
}

impl Framer {
    /// A framer whose first byte lies at offset `start` of the file.
    pub(super) fn new(start: u64) -> Framer {
        Framer {
            start,
            ..Framer::default()
        }
    }

    /// Offset after the last whole event.
    pub(super) fn whole_end(&self) -> u64 {
        self.start
    }

    /// Offset up to which bytes must come for the current event to be whole (or its size to be known).
    pub(super) fn needed_end(&self) -> u64 {
        let size = match &self.open {
            Some(open) => u64::from(open.header.size),
            None => HEADER_BYTES as u64,
        };
        self.start + size
    }

    /// Whether it stands inside an event.
    pub(super) fn is_inside(&self) -> bool {
        self.open.is_some() || !self.carry.is_empty()
    }

    /// Takes the next bytes.
    pub(super) fn push<H: Handler>(
        &mut self,
        handler: &mut H,
        mut input: &[u8],
    ) -> Result<(), Fault<H::Stop>> {
        while !input.is_empty() {
            if self.open.is_none() {
                if self.carry.is_empty()
                    && let Some(header) = EventHeader::parse(input)
                    && let Some(event) = input.get(..header.size as usize)
                    && event.len() >= HEADER_BYTES
                {
                    self.whole(handler, header, event)?;
                    input = &input[event.len()..];
                    continue;
                }
                if !self.collect_header(handler, &mut input)? {
                    continue;
                }
            }
            self.go_on(handler, &mut input)?;
        }
        Ok(())
    }

    /// An event that lies whole in the input.
    fn whole<H: Handler>(
        &mut self,
        handler: &mut H,
        header: EventHeader,
        bytes: &[u8],
    ) -> Result<(), Fault<H::Stop>> {
        let checks = handler.checks(&header);
        self.check_header(checks, &header)?;
        let want = handler.begin(self.start, &header).map_err(Fault::Stopped)?;
        if want.pieces {
            handler.piece(&header, 0, bytes);
        }
        let content_bytes = content_bytes(&header, checks.crc);
        let (content, trailer) = bytes.split_at(content_bytes as usize);
        if checks.crc && crc32fast::hash(content).to_le_bytes() != trailer {
            return Err(self.bad("its checksum does not match"));
        }
        // No more of it than of one that comes in pieces: what is made of an event must not depend on how it comes.
        let wanted = want.prefix.max(HEADER_BYTES).min(content.len());
        let event = RawEvent {
            start: self.start,
            header,
            bytes: &content[..wanted],
            content_bytes,
        };
        handler.event(&event).map_err(Fault::Stopped)?;
        self.start += u64::from(header.size);
        Ok(())
    }

    /// Collects a header from pieces; whether an event is open then.
    fn collect_header<H: Handler>(
        &mut self,
        handler: &mut H,
        input: &mut &[u8],
    ) -> Result<bool, Fault<H::Stop>> {
        let missing = HEADER_BYTES.saturating_sub(self.carry.len());
        let (taken, rest) = input.split_at(missing.min(input.len()));
        self.carry.extend_from_slice(taken);
        *input = rest;
        let Some(header) = EventHeader::parse(&self.carry) else {
            return Ok(false);
        };
        let checks = handler.checks(&header);
        self.check_header(checks, &header)?;
        let want = handler.begin(self.start, &header).map_err(Fault::Stopped)?;
        if want.pieces {
            handler.piece(&header, 0, &self.carry);
        }
        let crc = checks.crc.then(|| {
            let mut crc = crc32fast::Hasher::new();
            crc.update(&self.carry);
            crc
        });
        self.open = Some(Open {
            header,
            want,
            crc,
            seen: HEADER_BYTES as u64,
            trailer: [0; CHECKSUM_BYTES],
        });
        if u64::from(header.size) == HEADER_BYTES as u64 {
            // Nothing follows: go_on would wait for input that is not its own.
            self.finish(handler)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Goes on in the open event.
    fn go_on<H: Handler>(
        &mut self,
        handler: &mut H,
        input: &mut &[u8],
    ) -> Result<(), Fault<H::Stop>> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let size = u64::from(open.header.size);
        let content = open.content_bytes();
        let left = usize::try_from(size - open.seen).unwrap_or(usize::MAX);
        let (taken, rest) = input.split_at(left.min(input.len()));
        *input = rest;
        if open.want.pieces {
            handler.piece(&open.header, open.seen, taken);
        }
        let in_content = usize::try_from(content.saturating_sub(open.seen)).unwrap_or(usize::MAX);
        let (body, trailer) = taken.split_at(in_content.min(taken.len()));
        if let Some(crc) = &mut open.crc {
            crc.update(body);
        }
        let room = open.want.prefix.saturating_sub(self.carry.len());
        self.carry.extend_from_slice(&body[..room.min(body.len())]);
        let trailer_at = (open.seen + body.len() as u64).saturating_sub(content) as usize;
        for (to, from) in open.trailer.iter_mut().skip(trailer_at).zip(trailer) {
            *to = *from;
        }
        open.seen += taken.len() as u64;
        if open.seen == size {
            self.finish(handler)?;
        }
        Ok(())
    }

    /// The open event is complete.
    fn finish<H: Handler>(&mut self, handler: &mut H) -> Result<(), Fault<H::Stop>> {
        let open = self.open.take().expect("finish follows an open event");
        let content_bytes = open.content_bytes();
        if let Some(crc) = open.crc
            && crc.finalize().to_le_bytes() != open.trailer
        {
            return Err(self.bad("its checksum does not match"));
        }
        let event = RawEvent {
            start: self.start,
            header: open.header,
            bytes: &self.carry,
            content_bytes,
        };
        handler.event(&event).map_err(Fault::Stopped)?;
        self.start += u64::from(open.header.size);
        self.carry.clear();
        self.carry.shrink_to(CARRY_KEEP_BYTES);
        Ok(())
    }

    fn check_header<Stop>(&self, checks: Checks, header: &EventHeader) -> Result<(), Fault<Stop>> {
        let least = HEADER_BYTES + if checks.crc { CHECKSUM_BYTES } else { 0 };
        if (header.size as usize) < least {
            return Err(self.bad(&format!(
                "its size is {} bytes, and no event is shorter than {least}",
                header.size
            )));
        }
        let end = self.start.wrapping_add(u64::from(header.size)) as u32;
        let right = match checks.log_pos {
            LogPos::Exact => header.log_pos == end,
            LogPos::ExactOrZero => header.log_pos == end || header.log_pos == 0,
            LogPos::Unchecked => true,
        };
        if right {
            return Ok(());
        }
        Err(self.bad(&format!(
            "it says it ends at {}, but ends at {end} (modulo 2^32)",
            header.log_pos
        )))
    }

    fn bad<Stop>(&self, reason: &str) -> Fault<Stop> {
        Fault::Bad {
            position: self.start,
            reason: reason.to_owned(),
        }
    }
}

/// Length of an event without its checksum. The size was checked before.
fn content_bytes(header: &EventHeader, crc: bool) -> u64 {
    u64::from(header.size) - if crc { CHECKSUM_BYTES as u64 } else { 0 }
}

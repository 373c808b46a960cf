//! One pass over a binlog file, its bytes coming in pieces of any size.

use super::FormatEvent;
use super::Refusal;
use super::facts::{Facts, Stop};
use super::framer::{Fault, Framer};
use super::header::EventRef;
use super::refusal::{MAGIC, check_magic};
use super::summary::{Damage, Summary, Told, Transaction};
use std::io::Read;

/// Bytes read at a time by [`scan_reader`].
const READ_BYTES: usize = 1024 * 1024;

/// Who is told of events and transactions as they come, in file order. An event that ends a transaction comes before
/// that transaction. Nothing behind the first damage is told.
pub trait Sink {
    /// A whole transaction.
    fn transaction(&mut self, _transaction: &Transaction) {}

    /// A whole event.
    fn event(&mut self, _event: &EventRef) {}
}

impl Sink for () {}

/// Verifies and summarises a file that is pushed into it.
pub struct Scanner<S: Sink = ()> {
    facts: Facts<S>,
    framer: Framer,
    /// First bytes of the file, until there are four.
    magic: Vec<u8>,
    size: u64,
    damage: Option<Damage>,
    refusal: Option<Refusal>,
    head_known: bool,
}

impl<S: Sink> Scanner<S> {
    /// A scanner at the beginning of a file.
    pub fn new(sink: S) -> Scanner<S> {
        Scanner::build(sink, false)
    }

    /// A scanner in the middle of a file: behind its format description, at `position`, where a transaction begins. `None` if
    /// that is no format description that can be read on with.
    ///
    /// What a summary tells of the file's beginning is not known then: its head, what was executed before it, its length.
    pub fn resume(sink: S, format: &FormatEvent, position: u64) -> Option<Scanner<S>> {
        let mut scanner = Scanner::new(sink);
        scanner.push(&MAGIC).ok()?;
        scanner.push(format.as_bytes()).ok()?;
        if scanner.damage.is_some() || !scanner.facts.is_described() || scanner.framer.is_inside() {
            return None;
        }
        scanner.framer = Framer::new(position);
        scanner.facts.last_transaction_end = position;
        scanner.size = position;
        Some(scanner)
    }

    pub(super) fn build(sink: S, head_only: bool) -> Scanner<S> {
        Scanner {
            facts: Facts::new(sink, head_only),
            framer: Framer::new(MAGIC.len() as u64),
            magic: Vec::with_capacity(MAGIC.len()),
            size: 0,
            damage: None,
            refusal: None,
            head_known: false,
        }
    }

    /// Takes the next bytes of the file. After damage bytes are only counted.
    ///
    /// # Errors
    /// As soon as it is clear that the file is to be refused; every later call says the same.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.size += bytes.len() as u64;
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        if self.damage.is_some() || self.head_known {
            return Ok(());
        }
        let missing = MAGIC.len().saturating_sub(self.magic.len());
        let (magic, events) = bytes.split_at(missing.min(bytes.len()));
        if !magic.is_empty() {
            self.magic.extend_from_slice(magic);
            if let Err(refusal) = check_magic(&self.magic) {
                return self.refuse(refusal);
            }
            if self.magic.len() == MAGIC.len() {
                self.facts.last_transaction_end = MAGIC.len() as u64;
            }
        }
        match self.framer.push(&mut self.facts, events) {
            Ok(()) => Ok(()),
            Err(Fault::Stopped(Stop::Refused(refusal))) => self.refuse(refusal),
            Err(Fault::Stopped(Stop::HeadKnown)) => {
                self.head_known = true;
                Ok(())
            }
            Err(Fault::Stopped(Stop::Bad(reason))) => {
                self.damaged(self.framer.whole_end(), reason);
                Ok(())
            }
            Err(Fault::Bad { position, reason }) => {
                self.damaged(position, reason);
                Ok(())
            }
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Result<(), Refusal> {
        self.refusal = Some(refusal.clone());
        Err(refusal)
    }

    fn damaged(&mut self, first_bad_position: u64, reason: String) {
        self.damage = Some(Damage {
            first_bad_position,
            reason: format!("the event at {first_bad_position} is wrong: {reason}"),
        });
    }

    /// Bytes pushed so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What is wrong, as far as is known.
    pub fn damage(&self) -> Option<&Damage> {
        self.damage.as_ref()
    }

    /// Offset after the last whole event so far, or after the magic.
    pub fn last_whole_event_end(&self) -> u64 {
        if self.magic.len() < MAGIC.len() {
            return 0;
        }
        self.framer.whole_end()
    }

    /// Offset after the last whole transaction so far, or after the header events if there is none.
    pub fn last_transaction_end(&self) -> u64 {
        self.facts.last_transaction_end
    }

    /// What the events so far tell of the transactions.
    pub fn told(&self) -> Told {
        self.facts.told()
    }

    /// Who was told.
    pub fn sink(&self) -> &S {
        &self.facts.sink
    }

    pub(super) fn is_head_known(&self) -> bool {
        self.head_known || self.damage.is_some()
    }

    pub(super) fn needed_end(&self) -> u64 {
        self.framer.needed_end()
    }

    pub(super) fn first_event_type(&self) -> Option<u8> {
        self.facts.first_event_type
    }

    /// The end of the file: what it is, and the sink.
    ///
    /// A file that ends inside the magic, the format description or any other event is no damage while its IN_USE flag is
    /// set: a crash leaves that. Where the flag is clear, or behind a ROTATE or STOP event, something was cut off: a
    /// server clears the flag after the last whole event, when it closes the file or has cut it back in crash recovery.
    pub fn finish(mut self) -> (Result<Summary, Refusal>, S) {
        if self.refusal.is_none()
            && self.magic.len() < MAGIC.len()
            && !MAGIC.starts_with(&self.magic)
        {
            self.refusal = Some(Refusal::NotABinlog);
        }
        if let Some(refusal) = self.refusal {
            return (Err(refusal), self.facts.sink);
        }
        let whole_end = self.last_whole_event_end();
        if self.damage.is_none() && !self.head_known && self.framer.is_inside() {
            if self.facts.is_ended() {
                let reason = "it is cut short, behind the event that ends the file";
                self.damaged(whole_end, reason.to_owned());
            } else if self.facts.is_closed() {
                let reason = "it is cut short, and no crash did that: the server had closed the file (its IN_USE flag is clear)";
                self.damaged(whole_end, reason.to_owned());
            }
        }
        let (summary, sink) = self.facts.finish(self.size, whole_end, self.damage);
        (Ok(summary), sink)
    }
}

/// Scans all that `reader` yields, such as an open file.
///
/// # Errors
/// What reading fails with; the refusal is inside.
pub fn scan_reader(mut reader: impl Read) -> std::io::Result<Result<Summary, Refusal>> {
    let mut scanner = Scanner::new(());
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => return Ok(scanner.finish().0),
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if let Err(refusal) = scanner.push(&buffer[..read]) {
            return Ok(Err(refusal));
        }
    }
}

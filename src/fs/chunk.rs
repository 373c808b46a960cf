//! Some thousand entries of a timeline: in memory, or where they can be had from.

use super::history::HistoryEntry;
use super::source::SourceError;
use crate::ledger::EntryState;
use crate::model::{Micros, Seq};
use std::sync::{Arc, OnceLock};

/// Entries in compact form.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Chunk {
    /// All names, one after the other.
    names: String,
    rows: Vec<Row>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Row {
    seq: u64,
    size: u64,
    stored_size: u64,
    mtime: i64,
    /// Where its name ends in `names`.
    name_end: u32,
    state: EntryState,
}

/// Memory that an entry takes besides its name, in bytes.
#[cfg(test)]
pub(super) const ROW_BYTES: usize = size_of::<Row>();

/// What is known of a chunk that is not in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outline {
    /// Its first name.
    pub first_name: String,
    /// Its last name.
    pub last_name: String,
    /// The record of its first entry.
    pub first_seq: Seq,
    /// The record of its last entry.
    pub last_seq: Seq,
    /// Entries in it.
    pub entries: usize,
    /// The time of its last entry that has one.
    pub last_time: Option<Micros>,
}

/// Where a chunk's entries can be had from. Blocks.
pub type Load = Arc<dyn Fn(&mut Chunk) -> Result<(), SourceError> + Send + Sync>;

/// The place of a chunk.
#[derive(Clone)]
pub struct Slot {
    /// Shared with the history that was shown before, where both say the same.
    chunk: OnceLock<Arc<Chunk>>,
    stored: Option<(Outline, Load)>,
    /// Time of the last entry before it: its first entries may have none of their own.
    mtime_before: Micros,
}

impl Chunk {
    /// Adds an entry; one without a time has that of the entry before it.
    pub fn push(
        &mut self,
        seq: Seq,
        name: &str,
        state: EntryState,
        sizes: (u64, u64),
        time: Option<Micros>,
    ) {
        let before = self.rows.last().map_or(0, |last| last.mtime);
        self.names.push_str(name);
        self.rows.push(Row {
            seq: seq.0,
            size: sizes.0,
            stored_size: sizes.1,
            mtime: time.map_or(before, |time| time.0),
            name_end: u32::try_from(self.names.len()).expect("some thousand names of 255 bytes"),
            state,
        });
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn entry(&self, at: usize) -> Option<HistoryEntry<'_>> {
        let row = self.rows.get(at)?;
        let start = at
            .checked_sub(1)
            .and_then(|before| self.rows.get(before))
            .map_or(0, |before| before.name_end);
        Some(HistoryEntry {
            seq: Seq(row.seq),
            name: self.names.get(start as usize..row.name_end as usize)?,
            state: row.state,
            size: row.size,
            stored_size: row.stored_size,
            mtime: Micros(row.mtime),
        })
    }

    /// All entries, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = HistoryEntry<'_>> {
        (0..self.len()).filter_map(|at| self.entry(at))
    }

    /// How many entries are of records up to `seq`.
    pub(super) fn through(&self, seq: Seq) -> usize {
        self.rows.partition_point(|row| row.seq <= seq.0)
    }

    pub(super) fn by_seq(&self, seq: Seq) -> Option<HistoryEntry<'_>> {
        let entry = self.entry(self.through(seq).checked_sub(1)?)?;
        (entry.seq == seq).then_some(entry)
    }

    pub(super) fn by_name(&self, name: &str) -> Option<HistoryEntry<'_>> {
        let (mut low, mut high) = (0, self.rows.len());
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.entry(middle)?;
            match entry.name.cmp(name) {
                std::cmp::Ordering::Equal => return Some(entry),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// A full chunk grows no more.
    pub(super) fn shrink(&mut self) {
        self.names.shrink_to_fit();
        self.rows.shrink_to_fit();
    }
}

impl Slot {
    /// A place for entries to come.
    pub(super) fn empty(mtime_before: Micros) -> Slot {
        Slot {
            chunk: OnceLock::from(Arc::new(Chunk::default())),
            stored: None,
            mtime_before,
        }
    }

    /// The place of a chunk that `load` has.
    pub(super) fn stored(outline: Outline, load: Load, mtime_before: Micros) -> Slot {
        Slot {
            chunk: OnceLock::new(),
            stored: Some((outline, load)),
            mtime_before,
        }
    }

    /// Whether its entries are in memory.
    pub fn is_loaded(&self) -> bool {
        self.chunk.get().is_some()
    }

    /// Its entries, if they are in memory.
    pub(super) fn loaded(&self) -> Option<&Arc<Chunk>> {
        self.chunk.get()
    }

    /// Has its entries in memory. Blocks.
    ///
    /// # Errors
    /// When they cannot be had.
    pub fn load(&self) -> Result<&Chunk, SourceError> {
        self.load_like(None).map(Arc::as_ref)
    }

    /// The same; takes the place of no other memory than `known` if that says the same.
    ///
    /// # Errors
    /// When they cannot be had.
    pub(super) fn load_like(&self, known: Option<&Arc<Chunk>>) -> Result<&Arc<Chunk>, SourceError> {
        if let Some(chunk) = self.chunk.get() {
            return Ok(chunk);
        }
        let mut chunk = Chunk::default();
        if let Some((_, load)) = &self.stored {
            load(&mut chunk)?;
        }
        for row in chunk.rows.iter_mut().take_while(|row| row.mtime == 0) {
            row.mtime = self.mtime_before.0;
        }
        let chunk = match known.filter(|known| ***known == chunk) {
            Some(known) => Arc::clone(known),
            None => {
                chunk.shrink();
                Arc::new(chunk)
            }
        };
        // Somebody else was quicker: theirs is the same.
        Ok(self.chunk.get_or_init(|| chunk))
    }

    /// Its entries, in memory from now on; none if they cannot be had, which is told.
    pub(super) fn entries(&self) -> Option<&Chunk> {
        match self.load() {
            Ok(chunk) => Some(chunk),
            Err(error) => {
                tracing::error!(%error, "a part of the history cannot be read out of the index");
                None
            }
        }
    }

    /// Its entries, to be added to.
    pub(super) fn entries_mut(&mut self) -> Option<&mut Chunk> {
        self.entries()?;
        self.stored = None;
        self.chunk.get_mut().map(Arc::make_mut)
    }

    /// Number of entries.
    pub(super) fn len(&self) -> usize {
        match (self.chunk.get(), &self.stored) {
            (Some(chunk), _) => chunk.len(),
            (None, Some((outline, _))) => outline.entries,
            (None, None) => 0,
        }
    }

    /// The first name.
    pub(super) fn first_name(&self) -> Option<&str> {
        match &self.stored {
            Some((outline, _)) => Some(&outline.first_name),
            None => Some(self.chunk.get()?.entry(0)?.name),
        }
    }

    /// The last name.
    pub(super) fn last_name(&self) -> Option<&str> {
        match &self.stored {
            Some((outline, _)) => Some(&outline.last_name),
            None => Some(self.last()?.name),
        }
    }

    /// The record of its first entry.
    pub(super) fn first_seq(&self) -> Option<Seq> {
        match &self.stored {
            Some((outline, _)) => Some(outline.first_seq),
            None => Some(self.chunk.get()?.entry(0)?.seq),
        }
    }

    /// The record of its last entry.
    pub(super) fn last_seq(&self) -> Option<Seq> {
        match &self.stored {
            Some((outline, _)) => Some(outline.last_seq),
            None => Some(self.last()?.seq),
        }
    }

    /// The last entry, if it is in memory.
    pub(super) fn last(&self) -> Option<HistoryEntry<'_>> {
        let chunk = self.chunk.get()?;
        chunk.entry(chunk.len().checked_sub(1)?)
    }

    /// The time of its last entry.
    pub(super) fn mtime(&self) -> Micros {
        match (self.last(), &self.stored) {
            (Some(last), _) => last.mtime,
            (None, Some((outline, _))) => outline.last_time.unwrap_or(self.mtime_before),
            (None, None) => self.mtime_before,
        }
    }
}

//! What a server's files are now, and which of them the ledger has.

use super::dead_letter::DeadLetter;
use super::likeness::{Likeness, likeness};
use super::plan::{ArchivedAs, Conflict, Seen, suspects};
use crate::binlog::{Head, Scanner, Summary};
use crate::index::Index;
use crate::ledger::LedgerState;
use crate::model::digest::Hasher;
use crate::model::{FileName, GtidSet, Micros, Sha256};
use crate::segment::FRAME_SIZE_DEFAULT;
use crate::source::file::Fingerprint;
use crate::source::{Listed, Listing, Source, SourceError, SourceFile};
use anyhow::{Context as _, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// What a server's files are now: read before anything is written anywhere.
pub struct Batch {
    pub(super) listing: Listing,
    pub(super) heads: Vec<HeadOfFile>,
    /// Files that were put aside, each with the reason: as if they were not there.
    pub(super) put_aside: Vec<(FileName, String)>,
    /// What ends it before the listing does.
    pub(super) blocked: Option<Blocked>,
}

/// A file that is waited for, and what comes after it: none of them is in the batch, and those before it are.
pub(super) struct Blocked {
    /// The file.
    pub(super) file: FileName,
    /// What is wrong with it.
    pub(super) error: SourceError,
    /// It and those after it that are there, each with its length in bytes.
    files: Vec<(Listed, u64)>,
}

impl Blocked {
    fn at(listed: &[Listed], error: SourceError) -> Option<Blocked> {
        let first = listed.first()?;
        let sized = |listed: &Listed| {
            let meta = std::fs::metadata(&listed.path).ok()?;
            Some((listed.clone(), meta.len()))
        };
        Some(Blocked {
            file: first.file.clone(),
            error,
            files: listed.iter().filter_map(sized).collect(),
        })
    }

    /// How many files there are from it on.
    pub(super) fn count(&self) -> usize {
        self.files.len()
    }
}

/// A listed file, its head, and its length in bytes.
pub(super) type HeadOfFile = (Listed, Head, u64);

/// Lists the files of `source` and reads the head of each. What the server encrypts ends it: what is before that can be archived.
///
/// # Errors
/// When another file cannot be read, or is no binlog that can be archived: it is refused by name, and nothing was written.
pub fn read_batch(source: &Source) -> Result<Batch> {
    read_batch_with(source, &mut Heads::default(), &[])
}

/// The same for an archiver that does it often: heads that are known are not read again, and what is `put_aside` is left out.
///
/// # Errors
/// As [`read_batch`].
pub fn read_batch_with(
    source: &Source,
    known: &mut Heads,
    put_aside: &[DeadLetter],
) -> Result<Batch> {
    let is_encrypted = |error: &SourceError| match error {
        SourceError::Refused { source, .. } => source.is_encryption(),
        _ => false,
    };
    read_until(source, known, put_aside, is_encrypted)
}

/// The same, ended by the first file whose head cannot be had, for whoever archives nothing of it.
pub(super) fn read_batch_before_fault(source: &Source) -> Result<Batch> {
    let is_of_head =
        |error: &SourceError| matches!(error, SourceError::Io { .. } | SourceError::Refused { .. });
    read_until(source, &mut Heads::default(), &[], is_of_head)
}

/// Reads heads up to the first file with an error that `ends` it.
fn read_until(
    source: &Source,
    known: &mut Heads,
    put_aside: &[DeadLetter],
    ends: impl Fn(&SourceError) -> bool,
) -> Result<Batch> {
    let listing = source.list()?;
    let mut batch = Batch {
        heads: Vec::with_capacity(listing.files.len()),
        put_aside: Vec::new(),
        blocked: None,
        listing,
    };
    let mut now = HashMap::with_capacity(batch.listing.files.len());
    for (n, listed) in batch.listing.files.iter().enumerate() {
        if let Some(letter) = put_aside.iter().find(|letter| letter.is(listed)) {
            let reason = letter.reason.clone();
            batch.put_aside.push((listed.file.clone(), reason));
            continue;
        }
        let Some(file) = source.open_listed(listed)? else {
            // Purged meanwhile.
            continue;
        };
        let fingerprint = file.fingerprint();
        let head = match known.0.get(&listed.path) {
            Some((same, head)) if listed.closed && *same == fingerprint => Ok(head.clone()),
            Some(_) | None => file.head(),
        };
        match head {
            Ok(head) => {
                now.insert(listed.path.clone(), (fingerprint, head.clone()));
                batch.heads.push((listed.clone(), head, file.size()));
            }
            // The active file may be in the making: nothing is taken from it but its PREVIOUS_GTIDS.
            Err(SourceError::Io { .. }) if !listed.closed => {}
            Err(e) if ends(&e) => {
                batch.blocked = Blocked::at(&batch.listing.files[n..], e);
                break;
            }
            Err(e) => return Err(e.into()),
        }
    }
    known.0 = now;
    Ok(batch)
}

/// Heads of files as they were read last: an archiver that looks every few seconds does not read them again.
#[derive(Debug, Default)]
pub struct Heads(HashMap<PathBuf, (Fingerprint, Head)>);

impl Batch {
    /// The closed files that the index does not have, as a backlog counts them: number, bytes, and when the oldest was closed.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn waiting(&self, index: &Index) -> Result<(u64, u64, Option<Micros>)> {
        let (mut files, mut bytes, mut oldest) = (0, 0, None::<Micros>);
        let mut count = |listed: &Listed, size: u64| {
            files += 1;
            bytes += size;
            let closed_at = SourceFile::modified_at(&listed.path);
            oldest = [oldest, closed_at].into_iter().flatten().min();
        };
        // From a file on that blocks, none is archived.
        for (listed, size) in self.beyond().filter(|file| file.0.closed) {
            count(listed, *size);
        }
        // What is older than the newest archived file is not waited for.
        for (listed, head, size) in self.heads.iter().rev().filter(|file| file.0.closed) {
            if !index.find(&head.head, listed.file.number())?.is_empty() {
                break;
            }
            count(listed, *size);
        }
        Ok((files, bytes, oldest))
    }

    /// When the oldest closed file was closed of those that were put aside.
    pub fn put_aside_since(&self) -> Option<Micros> {
        let is_aside = |listed: &&Listed| {
            let mut aside = self.put_aside.iter();
            listed.closed && aside.any(|(file, _)| *file == listed.file)
        };
        let aside = self.listing.files.iter().filter(is_aside);
        aside
            .filter_map(|listed| SourceFile::modified_at(&listed.path))
            .min()
    }

    /// Whether a file is waited for that cannot be archived.
    pub fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// The batch again, if there is a closed file before one that blocks.
    ///
    /// # Errors
    /// What blocks, if nothing is before it.
    pub fn unless_all_is_blocked(mut self) -> Result<Batch> {
        let is_any_closed = self.heads.iter().any(|file| file.0.closed);
        match self.blocked.take() {
            Some(blocked) if !is_any_closed => Err(blocked.error.into()),
            blocked => {
                self.blocked = blocked;
                Ok(self)
            }
        }
    }

    /// The file that is waited for, and those after it.
    fn beyond(&self) -> impl Iterator<Item = &(Listed, u64)> {
        self.blocked.iter().flat_map(|blocked| &blocked.files)
    }

    /// The names and sizes of the files, and which of them are closed, oldest first.
    pub fn files(&self) -> impl Iterator<Item = (&FileName, u64, bool)> {
        let listed = self.heads.iter().map(|(listed, _, size)| (listed, *size));
        let beyond = self.beyond().map(|(listed, size)| (listed, *size));
        listed
            .chain(beyond)
            .map(|(listed, size)| (&listed.file, size, listed.closed))
    }

    /// The directory of the newest file.
    pub fn dir(&self) -> Option<&Path> {
        self.listing.files.last()?.path.parent()
    }

    /// The active file, and when its last write was.
    pub fn active(&self) -> Option<(&FileName, u64)> {
        let (listed, _, size) = self.heads.last().filter(|file| !file.0.closed)?;
        Some((&listed.file, *size))
    }
}

/// Finds what the ledger has of each.
pub(super) fn look_up(
    index: &Index,
    state: &LedgerState,
    heads: Vec<HeadOfFile>,
) -> Result<Vec<Seen>> {
    let look_up = |(listed, head, size): HeadOfFile| {
        let found = index
            .find(&head.head, listed.file.number())?
            .into_iter()
            .next_back();
        let archived = found.and_then(|entry| {
            let succeeded = state
                .incarnation(entry.incarnation)
                .is_some_and(|known| known.last_number > entry.number);
            Some(ArchivedAs {
                seq: entry.seq,
                incarnation: entry.incarnation,
                size: entry.segment?.size,
                succeeded,
            })
        });
        Ok(Seen {
            listed,
            head,
            size,
            archived,
        })
    };
    heads.into_iter().map(look_up).collect()
}

/// Reads the files that may be others than those archived, and forgets the match of those that are.
pub(super) fn clear_suspects(source: &Source, index: &Index, seen: &mut [Seen]) -> Result<()> {
    for n in suspects(seen) {
        let Some(archived) = seen[n].archived else {
            continue;
        };
        let record = index
            .entry_by_seq(archived.seq)?
            .and_then(|entry| entry.segment);
        let record = record
            .with_context(|| format!("ledger record {} is not in the index", archived.seq))?;
        // Purged meanwhile: then nothing is archived from it, whichever it was.
        let Some((summary, sha256)) = read_through(source, &seen[n])? else {
            continue;
        };
        match likeness(&record, &summary, sha256) {
            Likeness::Same => {}
            Likeness::Another => seen[n].archived = None,
            Likeness::Changed => return Err(Conflict::of(&seen[n], &archived).into()),
        }
    }
    Ok(())
}

/// The GTIDs of the whole transactions in the active file so far.
///
/// A server that was promoted a moment ago has there what it took over: without it, it seems to have lost that.
pub(super) fn executed_in_active(source: &Source, seen: &[Seen]) -> Result<GtidSet> {
    let Some(active) = seen.last().filter(|file| !file.listed.closed) else {
        return Ok(GtidSet::new());
    };
    let Some(opened) = source.open_listed(&active.listed)? else {
        return Ok(GtidSet::new());
    };
    // What is there now is enough; a server that keeps writing must not keep us.
    let scanner = scan(&opened, &active.listed.path, opened.size(), |_| {})?;
    Ok(scanner.finish().0?.gtids)
}

/// Scans and hashes a whole file.
fn read_through(source: &Source, file: &Seen) -> Result<Option<(Summary, Sha256)>> {
    let Some(opened) = source.open_listed(&file.listed)? else {
        return Ok(None);
    };
    let mut hasher = Hasher::default();
    let also = |piece: &[u8]| hasher.update(piece);
    let scanner = scan(&opened, &file.listed.path, u64::MAX, also)?;
    opened.unchanged()?;
    Ok(Some((scanner.finish().0?, hasher.finish())))
}

/// Scans an open file until `bytes` bytes were read, or it ends. `also` gets each piece.
fn scan(
    opened: &SourceFile,
    path: &Path,
    bytes: u64,
    mut also: impl FnMut(&[u8]),
) -> Result<Scanner<()>> {
    let (mut scanner, mut through) = (Scanner::new(()), opened.read_through());
    let mut buffer = vec![0; FRAME_SIZE_DEFAULT as usize];
    while scanner.size() < bytes {
        let n = through.next(&mut buffer)?;
        if n == 0 {
            break;
        }
        let refused = |source| SourceError::Refused {
            path: path.to_owned(),
            source,
        };
        scanner.push(&buffer[..n]).map_err(refused)?;
        also(&buffer[..n]);
    }
    Ok(scanner)
}

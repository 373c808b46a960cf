//! What a server's files are now, and which of them the ledger has.

use super::likeness::{Likeness, likeness};
use super::plan::{ArchivedAs, Conflict, Seen, suspects};
use crate::binlog::{Head, Scanner, Summary};
use crate::index::Index;
use crate::ledger::LedgerState;
use crate::model::digest::Hasher;
use crate::model::{GtidSet, Sha256};
use crate::segment::FRAME_SIZE_DEFAULT;
use crate::source::{Listed, Listing, Source, SourceError};
use anyhow::{Context as _, Result};

/// What a server's files are now: read before anything is written anywhere.
pub struct Batch {
    pub(super) listing: Listing,
    pub(super) heads: Vec<HeadOfFile>,
}

/// Lists the files of `source` and reads the head of each.
///
/// # Errors
/// When a file cannot be read, or is no binlog that can be archived: it is refused by name, and nothing was written.
pub fn read_batch(source: &Source) -> Result<Batch> {
    let listing = source.list()?;
    let heads = read_heads(source, &listing)?;
    Ok(Batch { listing, heads })
}

/// A listed file, its head, and its length in bytes.
pub(super) type HeadOfFile = (Listed, Head, u64);

/// Reads the head of every listed file. Closed files that were purged meanwhile are left out.
fn read_heads(source: &Source, listing: &Listing) -> Result<Vec<HeadOfFile>> {
    let mut heads = Vec::with_capacity(listing.files.len());
    for listed in &listing.files {
        let Some(file) = source.open_listed(listed)? else {
            continue;
        };
        match file.head() {
            Ok(head) => heads.push((listed.clone(), head, file.size())),
            // The active file may be in the making: nothing is taken from it but its PREVIOUS_GTIDS.
            Err(SourceError::Io { .. }) if !listed.closed => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(heads)
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
    let mut scanner = Scanner::new(());
    let mut buffer = vec![0; FRAME_SIZE_DEFAULT as usize];
    // What is there now is enough; a server that keeps writing must not keep us.
    while scanner.size() < opened.size() {
        let n = opened.read_at_most(scanner.size(), &mut buffer)?;
        if n == 0 {
            break;
        }
        let refused = |source| SourceError::Refused {
            path: active.listed.path.clone(),
            source,
        };
        scanner.push(&buffer[..n]).map_err(refused)?;
    }
    Ok(scanner.finish().0?.gtids)
}

/// Scans and hashes a whole file.
fn read_through(source: &Source, file: &Seen) -> Result<Option<(Summary, Sha256)>> {
    let Some(opened) = source.open_listed(&file.listed)? else {
        return Ok(None);
    };
    let (mut scanner, mut hasher) = (Scanner::new(()), Hasher::default());
    let mut buffer = vec![0; FRAME_SIZE_DEFAULT as usize];
    let mut offset = 0;
    loop {
        let n = opened.read_at_most(offset, &mut buffer)?;
        if n == 0 {
            break;
        }
        let refused = |source| SourceError::Refused {
            path: file.listed.path.clone(),
            source,
        };
        scanner.push(&buffer[..n]).map_err(refused)?;
        hasher.update(&buffer[..n]);
        offset += n as u64;
    }
    opened.unchanged()?;
    Ok(Some((scanner.finish().0?, hasher.finish())))
}

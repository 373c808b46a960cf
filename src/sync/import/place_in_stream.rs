//! What of an ordered pile a stream has, and whether the rest may still come.

use super::names::ROTATION_MAX_MICROS;
use super::order::{Order, Placed};
use super::pile::Pile;
use crate::binlog::Ending;
use crate::index::Index;
use crate::ledger::LedgerState;
use crate::model::Seq;
use crate::source::Listed;
use crate::sync::likeness::{Likeness, likeness};
use crate::sync::plan::{ArchivedAs, Conflict, Seen};
use anyhow::Result;

/// The files of each life, with what the ledger has of them.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    /// In the order of the lives, and of their files.
    pub lives: Vec<Vec<Seen>>,
    /// Paths of files of which the stream has more.
    pub surpassed: Vec<String>,
}

/// A file whose place in the history is before the stream's end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{file} ({path}) belongs before what this stream has ({newer}), and a ledger only grows at its end: import everything, oldest first, into a new stream, and \
     archive there from then on; or leave it out with --exclude. Nothing was written"
)]
pub struct TooOld {
    /// What its server called it.
    pub file: String,
    /// Where it lies.
    pub path: String,
    /// What it would stand before.
    pub newer: String,
}

impl Compared {
    /// How many files the stream has, without those of which it has more.
    pub fn archived(&self) -> usize {
        let all = self.lives.iter().flatten();
        all.filter(|file| file.archived.is_some()).count() - self.surpassed.len()
    }
}

/// Compares an ordered pile with a stream; `None` stands for one that does not exist yet.
///
/// # Errors
/// [`TooOld`], and [`Conflict`] where the stream has a file with other bytes.
pub fn compare(
    pile: &Pile,
    order: &Order,
    stream: Option<(&Index, &LedgerState)>,
) -> Result<Compared> {
    let mut compared = Compared::default();
    let mut next = Next::default();
    for life in &order.lives {
        let mut seen = Vec::with_capacity(life.files.len());
        let mut before = None;
        for placed in &life.files {
            let mut file = Seen {
                listed: Listed {
                    file: placed.name.clone(),
                    path: pile.name_of(&placed.found.item),
                    closed: true,
                },
                head: placed.found.head(),
                size: placed.found.summary.size,
                archived: None,
            };
            if let Some((index, state)) = stream {
                match archived(index, state, placed, &file)? {
                    Known::No => {}
                    Known::As(archived) => file.archived = Some(archived),
                    Known::Longer(archived) => {
                        // What comes behind it goes on behind the whole one.
                        compared.surpassed.push(placed.found.item.path.clone());
                        file.archived = Some(archived);
                    }
                }
            }
            next.take(placed, &file, before)?;
            before = file.archived;
            seen.push(file);
        }
        compared.lives.push(seen);
    }
    if let (Some((index, state)), Some((placed, before))) = (stream, next.first) {
        check_behind_end(placed, before, index, state)?;
    }
    Ok(compared)
}

/// What the ledger has of a file.
enum Known {
    No,
    As(ArchivedAs),
    /// More of it: the file here was copied before its server was done with it.
    Longer(ArchivedAs),
}

fn archived(index: &Index, state: &LedgerState, placed: &Placed, seen: &Seen) -> Result<Known> {
    let (summary, mut known) = (&placed.found.summary, Known::No);
    for entry in index.find(&summary.head, placed.name.number())? {
        let Some(segment) = &entry.segment else {
            continue;
        };
        let succeeded = state
            .incarnation(entry.incarnation)
            .is_some_and(|known| known.last_number > entry.number);
        let archived = ArchivedAs {
            seq: entry.seq,
            incarnation: entry.incarnation,
            size: segment.size,
            succeeded,
        };
        match likeness(segment, summary, placed.found.sha256) {
            Likeness::Same => known = Known::As(archived),
            Likeness::Another => {}
            Likeness::Changed => {
                // A copy over the network may have a flag set that the server's own file has not.
                let is_flagged = summary.in_use
                    && summary.size == segment.size
                    && summary.gtids == segment.gtids
                    && summary.last_time == segment.last_time;
                if is_flagged {
                    known = Known::As(archived);
                    continue;
                }
                let is_part = summary.ending == Ending::Open
                    && summary.size < segment.size
                    && summary.gtids.is_subset(&segment.gtids);
                if !is_part {
                    return Err(Conflict::of(seen, &archived).into());
                }
                known = Known::Longer(archived);
            }
        }
    }
    Ok(known)
}

/// The first file that the stream does not have.
#[derive(Default)]
struct Next<'a> {
    /// With the file before it in its life, if the stream has that.
    first: Option<(&'a Placed, Option<ArchivedAs>)>,
}

impl<'a> Next<'a> {
    /// Takes the next file in order. Nothing that is archived may come behind what is not.
    fn take(
        &mut self,
        placed: &'a Placed,
        seen: &Seen,
        before: Option<ArchivedAs>,
    ) -> Result<(), TooOld> {
        match (self.first, seen.archived) {
            (None, None) => self.first = Some((placed, before)),
            (Some((first, _)), Some(archived)) => return Err(too_old(first, archived.seq)),
            (None, Some(_)) | (Some(_), None) => {}
        }
        Ok(())
    }
}

fn too_old(placed: &Placed, newer: Seq) -> TooOld {
    TooOld {
        file: placed.name.to_string(),
        path: placed.found.item.path.clone(),
        newer: format!("ledger record {newer}"),
    }
}

/// Whether a file may come behind all that the stream has, whoever archived that.
fn check_behind_end(
    placed: &Placed,
    before: Option<ArchivedAs>,
    index: &Index,
    state: &LedgerState,
) -> Result<()> {
    let Some(seq) = state.newest_segment() else {
        return Ok(());
    };
    if let Some(before) = before {
        let newest = state.incarnations().next_back();
        let goes_on = newest.is_some_and(|(id, known)| {
            id == before.incarnation && known.last_number < placed.name.number()
        });
        return match goes_on {
            true => Ok(()),
            false => Err(too_old(placed, seq).into()),
        };
    }
    let newest = index.entry_by_seq(seq)?;
    let Some(segment) = newest.as_ref().and_then(|entry| entry.segment.as_ref()) else {
        // Its record was lost: nothing to compare with.
        return Ok(());
    };
    let summary = &placed.found.summary;
    let executed = newest
        .as_ref()
        .and_then(|entry| state.incarnation(entry.incarnation))
        .map(|known| &known.executed_at_least)
        .filter(|executed| !executed.is_empty());
    let contains = match (executed, &summary.previous_gtids) {
        (Some(executed), Some(previous)) => executed.is_subset(previous),
        (None, _) | (_, None) => false,
    };
    // A RESET, or a server without GTIDs: it was begun when the newest had ended.
    let later = segment
        .last_time
        .is_none_or(|ended| summary.created.0 >= ended.0 - ROTATION_MAX_MICROS);
    match contains || later {
        true => Ok(()),
        false => Err(too_old(placed, seq).into()),
    }
}

//! Whether what follows a place in a binlog is archived.
//!
//! A file name and an offset mean a place only together with the numbering life of a server: after a RESET the same names come
//! again. So it must be known in which incarnation the backup was made: there is only one, or the time of the backup tells.

use super::check::{Checker, missing, unusable};
use super::window::{UnusableKind, Verdict};
use super::{Coordinates, Tool};
use crate::index::{EntryRow, Index, IndexError};
use crate::ledger::state::IncarnationState;
use crate::ledger::{Entry, LedgerState};
use crate::locate::FilePosition;
use crate::model::{FileName, GtidSet, Incarnation, Micros, MountName, SegmentNumber, Timeline};

/// Whether its transactions have GTIDs that a restored server must know of, as far as its record tells. MariaDB finds out from
/// the place.
fn has_gtids(entry: &Entry) -> bool {
    let of_segment = entry.gtids();
    let sets = [of_segment, entry.previous_gtids.as_ref()];
    sets.into_iter()
        .flatten()
        .any(|set| !set.is_empty() && !set.has_mariadb())
}

fn no_such_file(file: &str) -> Verdict {
    unusable(
        UnusableKind::Foreign,
        format!(
            "the stream has no file {file}: it was made on another server, or its file is gone"
        ),
        "name the stream of the server it was made on; a backup of a replica needs GTIDs (--gtid-set)",
    )
}

/// Whether what follows `position` is archived.
pub(super) fn by_position(
    index: &Index,
    state: &LedgerState,
    coordinates: &Coordinates,
    position: &FilePosition,
) -> Result<Verdict, IndexError> {
    match Place::of(index, state, coordinates, position)? {
        Ok(place) => place.verdict(position),
        Err(verdict) => Ok(verdict),
    }
}

/// The timeline and the entry of the file that `position` means in the coordinates of a backup; or why it means none.
///
/// # Errors
/// When the index cannot be read.
pub fn entry_of_position(
    index: &Index,
    coordinates: &Coordinates,
    position: &FilePosition,
) -> Result<Result<(Timeline, MountName), Verdict>, IndexError> {
    let Some(state) = index.state()? else {
        return Ok(Err(no_such_file(&position.file)));
    };
    let place = match Place::of(index, &state, coordinates, position)? {
        Ok(place) => place,
        Err(verdict) => return Ok(Err(verdict)),
    };
    let named = place.named(position)?;
    Ok(named.map(|entry| (entry.timeline, entry.mount_name)))
}

/// The last incarnation that had begun by `time`.
fn incarnation_at<'a>(
    index: &Index,
    state: &'a LedgerState,
    time: Micros,
) -> Result<Option<(Incarnation, &'a IncarnationState)>, IndexError> {
    for (incarnation, known) in state.incarnations().rev() {
        let first = first_of(index, state, incarnation, known)?;
        if first
            .and_then(|row| row.first_time)
            .is_some_and(|begun| begun <= time)
        {
            return Ok(Some((incarnation, known)));
        }
    }
    Ok(None)
}

/// The first visible entry of an incarnation.
fn first_of(
    index: &Index,
    state: &LedgerState,
    incarnation: Incarnation,
    known: &IncarnationState,
) -> Result<Option<EntryRow>, IndexError> {
    let timeline = state.timeline(known.timeline);
    if timeline.is_some_and(|timeline| timeline.first_incarnation == incarnation) {
        return Ok(index.rows(known.timeline, None, 1)?.pop());
    }
    let file = FileName::new(known.basename.clone(), SegmentNumber(0));
    let name = MountName::of(&file, incarnation, false, &state.basename);
    let row = index.following(known.timeline, &name, 1)?.pop();
    Ok(row.filter(|row| row.incarnation == incarnation))
}

/// An incarnation in which a file is looked for.
struct Place<'a> {
    checker: Checker<'a>,
    incarnation: Incarnation,
    known: &'a IncarnationState,
}

impl<'a> Place<'a> {
    /// The incarnation in which a backup was made.
    fn of(
        index: &'a Index,
        state: &'a LedgerState,
        coordinates: &'a Coordinates,
        position: &FilePosition,
    ) -> Result<Result<Place<'a>, Verdict>, IndexError> {
        let found = match coordinates.taken_at {
            _ if state.incarnations().count() == 1 => state.incarnations().next(),
            Some(taken) => incarnation_at(index, state, taken)?,
            None => {
                return Ok(Err(unusable(
                    UnusableKind::Ambiguous,
                    format!(
                        "the numbers of the files have begun anew in this stream, so that {} alone tells no place",
                        position.file
                    ),
                    "tell when it was made by --taken",
                )));
            }
        };
        let Some((incarnation, known)) = found else {
            return Ok(Err(unusable(
                UnusableKind::TooEarly,
                "it was made before the history begins",
                "make a new backup",
            )));
        };
        Ok(Ok(Place {
            checker: Checker {
                index,
                state,
                timeline: known.timeline,
                coordinates,
            },
            incarnation,
            known,
        }))
    }

    fn verdict(&self, position: &FilePosition) -> Result<Verdict, IndexError> {
        let checker = &self.checker;
        let entry = match self.named(position)? {
            Ok(entry) => entry,
            Err(verdict) => return Ok(verdict),
        };
        if entry.segment.is_none() {
            return Ok(missing(&entry.mount_name, &entry.reason));
        }
        if position.offset > entry.end() {
            return Ok(unusable(
                UnusableKind::Foreign,
                format!(
                    "{position} lies behind the end of the archived file, which has {} bytes",
                    entry.end()
                ),
                "name the stream of the server it was made on",
            ));
        }
        let told = checker.coordinates.tool == Tool::ByHand;
        if checker.coordinates.gtids.is_none() && !told && has_gtids(&entry) {
            return Ok(unusable(
                UnusableKind::NoPlace,
                "it has no GTIDs (a dump with --set-gtid-purged=OFF?), and the transactions of the stream have: a server restored from it \
                 would not know which of them it has",
                "dump with --set-gtid-purged=ON, or give the set it holds by --gtid-set",
            ));
        }
        // A whole file in the backup: the replay begins with the next one.
        let whole = position.offset >= entry.end();
        let rows = checker
            .index
            .following(checker.timeline, &entry.mount_name, 2)?;
        match rows.get(usize::from(whole)) {
            Some(row) => checker.replay_from(row, !whole, |_| false),
            None => checker.all_of_it(),
        }
    }

    /// The entry of the file that a position names, by the server's name or as 'ls' prints it; or why there is none.
    fn named(&self, position: &FilePosition) -> Result<Result<Entry, Verdict>, IndexError> {
        let checker = &self.checker;
        let ours = |entry: &Entry| entry.incarnation == self.incarnation;
        let named = match position.file.parse::<MountName>() {
            Ok(name) => checker.index.entry(checker.timeline, &name)?,
            Err(_) => None,
        };
        if let Some(entry) = named.filter(ours) {
            return Ok(Ok(entry));
        }
        let Ok(file) = position.file.parse::<FileName>() else {
            return Ok(Err(no_such_file(&position.file)));
        };
        let of_file = checker.index.of_file(checker.timeline, &file)?;
        if let Some(entry) = of_file.into_iter().find(ours) {
            return Ok(Ok(entry));
        }
        let is_hole = MountName::of(&file, self.incarnation, false, &checker.state.basename);
        if let Some(entry) = checker.index.entry(checker.timeline, &is_hole)? {
            return Ok(Ok(entry));
        }
        if let Some(verdict) = checker.pruned_file(&position.file)? {
            return Ok(Err(verdict));
        }
        Ok(Err(match self.is_ahead(&file) {
            true => Verdict::Ahead {
                gtids: GtidSet::new(),
                reason: format!("{file} is not archived yet"),
            },
            false => no_such_file(&position.file),
        }))
    }

    /// Whether the server has not come to archive `file` yet.
    fn is_ahead(&self, file: &FileName) -> bool {
        let newest = self.checker.state.incarnations().next_back();
        newest.is_some_and(|(newest, _)| newest == self.incarnation)
            && self.known.basename == *file.basename()
            && self.known.last_number < file.number()
    }
}

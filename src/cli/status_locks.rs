//! Until when segments are locked: the oldest and the newest for `status`, all of them for `verify`.

use super::reading::Reading;
use crate::ledger::Entry;
use crate::model::{Micros, MountName, Timeline};
use crate::store::{Keeping, Lock, SharedStore};
use crate::verify::Segment;
use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use std::fmt;

/// Objects asked for at a time.
const ASKED_AT_ONCE: usize = 16;
/// Entries at the beginning of a timeline that are looked through for a segment.
const HOLES_MAX: usize = 1000;

/// The locks at the two ends of a timeline.
#[derive(Serialize)]
pub(super) struct Locks {
    oldest: Locked,
    newest: Locked,
}

/// A segment, and how its object is kept.
#[derive(Serialize)]
struct Locked {
    name: MountName,
    #[serde(flatten)]
    keeping: Keeping,
}

impl fmt::Display for Locks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, locked) in [("oldest", &self.oldest), ("newest", &self.newest)] {
            writeln!(f, "  {what:<12}  {}, {}", locked.name, locked.keeping)?;
        }
        Ok(())
    }
}

/// The locks of a timeline; `None` if it has no segment.
pub(super) async fn of(reading: &Reading, timeline: Timeline) -> Result<Option<Locks>> {
    let mut oldest = None;
    for row in reading.index.rows(timeline, None, HOLES_MAX)? {
        let entry = reading.index.entry_by_seq(row.seq)?;
        oldest = entry.filter(|entry| entry.segment.is_some());
        if oldest.is_some() {
            break;
        }
    }
    let (Some(oldest), Some(newest)) = (oldest, reading.index.last_segment(timeline)?) else {
        return Ok(None);
    };
    Ok(Some(Locks {
        oldest: locked(reading, &oldest).await?,
        newest: locked(reading, &newest).await?,
    }))
}

async fn locked(reading: &Reading, entry: &Entry) -> Result<Locked> {
    let segment = entry.segment.as_ref();
    let keeping = match segment {
        Some(segment) => reading.store.keeping(&segment.object.key).await?,
        None => Keeping::default(),
    };
    Ok(Locked {
        name: entry.mount_name.clone(),
        keeping,
    })
}

/// How many segments are locked, and until when.
#[derive(Default, Serialize)]
pub struct LockCounts {
    locked: u64,
    not_locked: u64,
    /// The lock that ends first.
    first: Option<Lock>,
    /// The first segment that is not locked.
    unlocked: Option<MountName>,
}

impl fmt::Display for LockCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} locked, {} not", self.locked, self.not_locked)?;
        if let Some(name) = &self.unlocked {
            write!(f, " (the first is {name})")?;
        }
        match &self.first {
            Some(lock) => writeln!(f, "; the first lock ends on {} ({})", lock.until, lock.mode),
            None => writeln!(f),
        }
    }
}

/// Asks for the locks of all these segments.
pub(super) async fn count(
    store: &SharedStore,
    segments: &[Segment],
    now: Micros,
) -> Result<LockCounts> {
    let mut counts = LockCounts::default();
    let mut asked = futures::stream::iter(segments)
        .map(|segment| async move {
            match store.keeping(&segment.key).await {
                Ok(keeping) => Ok((segment, keeping)),
                // Told of elsewhere.
                Err(error) if error.is_not_found() => Ok((segment, Keeping::default())),
                Err(error) => Err(error),
            }
        })
        .buffered(ASKED_AT_ONCE);
    while let Some((segment, keeping)) = asked.try_next().await? {
        if !keeping.holds_at(now) {
            counts.not_locked += 1;
            counts.unlocked.get_or_insert_with(|| segment.name.clone());
            continue;
        }
        counts.locked += 1;
        if let Some(lock) = keeping.lock.filter(|_| !keeping.legal_hold)
            && counts.first.is_none_or(|first| lock.until < first.until)
        {
            counts.first = Some(lock);
        }
    }
    Ok(counts)
}

//! The moment of a backup to the microsecond: one look into the segment in which its replay begins.

use super::relation::implied;
use super::{Coordinates, Window};
use crate::index::Index;
use crate::ledger::Entry;
use crate::locate::{LocateError, Locator, Target};
use crate::model::{Gtid, GtidSet};

/// Servers whose next transaction is looked for; more have written in no history.
const SOURCES_MAX: usize = 16;

/// Replaces the bound that the index knows for [`Window::earliest`] by the commit time of the last transaction that the backup
/// holds.
///
/// # Errors
/// When the segment cannot be read, for want of a key above all. The window is then as it was.
pub async fn exact(
    index: &Index,
    locator: &Locator,
    coordinates: &Coordinates,
    window: &mut Window,
) -> Result<(), LocateError> {
    let Some(start) = window.start.as_ref().filter(|_| !window.earliest_is_exact) else {
        return Ok(());
    };
    let Some(entry) = index.entry_by_seq(start.seq)? else {
        return Ok(());
    };
    let mut boundary = None;
    for target in next_ones(index, &entry, coordinates)? {
        let found = locator.find(window.timeline, &target).await?.boundary;
        if boundary.as_ref().is_none_or(|(at, _)| found.position < *at) {
            boundary = Some((found.position, found.latest));
        }
    }
    let before = index.latest_before(window.timeline, &entry.mount_name)?;
    if let Some((_, latest)) = boundary {
        window.earliest = latest.max(before);
        window.earliest_is_exact = window.earliest.is_some();
    }
    Ok(())
}

/// What the backup does not hold any more: the next transaction of each server that wrote to the entry, or the place itself.
fn next_ones(
    index: &Index,
    entry: &Entry,
    coordinates: &Coordinates,
) -> Result<Vec<Target>, LocateError> {
    let none = GtidSet::new();
    let in_entry = entry.gtids().unwrap_or(&none);
    let state = index.state()?;
    let known = state
        .as_ref()
        .and_then(|state| state.timeline(entry.timeline));
    if let (Some(told), Some(known), false) = (&coordinates.gtids, known, in_entry.is_empty()) {
        let left = in_entry.minus(&implied(told, &known.executed));
        let first = |(source, intervals): (&crate::model::GtidSource, &crate::model::Intervals)| {
            let number = intervals.runs().first()?.0;
            Some(Target::Gtid(Gtid {
                source: source.clone(),
                number,
            }))
        };
        return Ok(left.iter().filter_map(first).take(SOURCES_MAX).collect());
    }
    // By the name it has in this history: the server's own may mean several files.
    let position = coordinates.position.clone().map(|mut position| {
        position.file = entry.mount_name.to_string();
        Target::Position(position)
    });
    Ok(position.into_iter().collect())
}

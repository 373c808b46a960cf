//! What `mysqlbinlog --stop-datetime` would have done.
//!
//! It ends at the first event whose *header* time is not before the moment: the time at which a statement began, in whole
//! seconds, which runs backwards where statements set their own, where clocks were set, and where long transactions commit late.

use super::plan::Begin;
use super::planner::{Ground, PlanError, Planner};
use super::stop::Ending;
use crate::index::EntryRow;
use crate::locate::{EventAt, Found};
use crate::model::{Micros, MountName, Seq};

/// Bytes of binlog that are looked through at most: a second or so of reading.
const LOOK_MAX_BYTES: u64 = 256 << 20;

/// Where `mysqlbinlog --stop-datetime` would have ended, told the target's second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StopDatetime {
    /// With the same transaction.
    Same,
    /// At another place.
    Elsewhere {
        /// The file.
        file: MountName,
        /// The event at which it ends.
        position: u64,
        /// The transaction that it ends in the middle of.
        inside: Option<Found>,
        /// That is before where the plan ends: transactions would be missing. Else there would be too many.
        early: bool,
    },
    /// Neither in a file of the plan nor in the one behind it.
    Beyond,
    /// It is not known: there is too much to look through.
    Unknown,
}

/// What it would have done on the way from `begin`, told `time`.
pub(super) async fn stop_datetime(
    planner: &Planner,
    ground: &Ground,
    (begin, ending): (&Begin, &Ending),
    time: Micros,
) -> Result<Option<StopDatetime>, PlanError> {
    let Ok(second) = u32::try_from(time.seconds()) else {
        return Ok(None);
    };
    let mut budget = LOOK_MAX_BYTES;
    for row in candidates(planner, ground, (begin, ending), second).await? {
        let Some(left) = budget.checked_sub(row.size) else {
            return Ok(Some(StopDatetime::Unknown));
        };
        budget = left;
        let from = match row.seq == begin.place.seq && !begin.at_first {
            true => begin.place.position,
            false => 0,
        };
        let event = planner
            .locator
            .first_event_since(row.seq, from, second)
            .await?;
        if let Some(event) = event {
            return Ok(Some(verdict(ending, &row, event)));
        }
    }
    Ok(Some(StopDatetime::Beyond))
}

/// Files that may hold the event, in replay order: those with times on both sides of it, the last of the plan, and the next.
///
/// A file of the plan all of whose times are later than the target's second does not exist: what was committed after the
/// target is not in it, and a file's own beginning is no later than its first commit.
async fn candidates(
    planner: &Planner,
    ground: &Ground,
    (begin, ending): (&Begin, &Ending),
    second: u32,
) -> Result<Vec<EntryRow>, PlanError> {
    let (timeline, time) = (ground.timeline, Micros::from_seconds(second));
    let (first, last) = (begin.place.seq, ending.stop.place.seq);
    let name = ending.stop.place.file.clone();
    planner
        .ask(move |index| {
            let mut rows = index.overlapping(timeline, time, time)?;
            rows.retain(|row| first <= row.seq && row.seq < last);
            rows.extend(index.following(timeline, &name, 2)?);
            rows.retain(|row| row.size > 0);
            Ok(rows)
        })
        .await
}

fn verdict(ending: &Ending, row: &EntryRow, event: EventAt) -> StopDatetime {
    let stop = &ending.stop;
    let place = (stop.place.seq, stop.place.position);
    let at: (Seq, u64) = (row.seq, event.position);
    // Between the last transaction of the plan and the first behind it there is room for events of no transaction.
    let last_end = stop.last.as_ref().map_or(0, |last| last.end);
    let behind_last = at >= (place.0, last_end);
    let before_next = ending.next_at.is_none_or(|next| at <= next);
    if event.inside.is_none() && behind_last && before_next {
        return StopDatetime::Same;
    }
    StopDatetime::Elsewhere {
        file: row.mount_name.clone(),
        position: event.position,
        inside: event.inside,
        early: at < place,
    }
}

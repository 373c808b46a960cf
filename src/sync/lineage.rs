//! Whether a file continues what is archived: by its listing, by its numbers, by its GTIDs. Pure.

use super::place::Arrival;
use crate::ledger::LedgerState;
use crate::ledger::state::{IncarnationState, TimelineState};
use crate::model::{GtidSet, Incarnation, Timeline};

/// Between a ROTATE event and the next file's format description: both carry whole seconds.
const ROTATION_MAX_MICROS: i64 = 2_000_000;

/// The incarnation that the file continues, if any.
pub(super) fn continued<'s>(
    state: &'s LedgerState,
    arrival: &Arrival<'_>,
) -> Option<(Incarnation, &'s IncarnationState)> {
    let fits = |known: &IncarnationState| {
        known.basename == *arrival.file.basename()
            && known.last_number < arrival.file.number()
            && (not_shrunk(&known.executed_at_least, arrival.previous)
                || shrunk_lawfully(known, arrival))
            && !known.fenced
            && (arrival.follows.is_some()
                || (recognised(known, arrival) && in_time(known, arrival)))
    };
    let (id, known) = match arrival.follows {
        Some(id) => (id, state.incarnation(id)?),
        // Everything archived was purged meanwhile, or nothing was: only the same server's latest numbering can go on.
        None => state
            .incarnations()
            .rfind(|(_, known)| known.server_uuid == arrival.server_uuid)?,
    };
    let last_of_timeline = state
        .incarnations()
        .rfind(|(_, other)| other.timeline == known.timeline)?
        .0;
    (fits(known) && last_of_timeline == id).then_some((id, known))
}

/// Whether a file that follows no archived one in its listing is of the server of an incarnation: by the server's UUID,
/// or, where there is none, by GTIDs that it has in common.
fn recognised(known: &IncarnationState, arrival: &Arrival<'_>) -> bool {
    arrival.server_uuid.is_some() || known.executed_at_least.intersects(arrival.history)
}

/// Whether a file that the GTIDs say nothing of begins when the one before it ended: a ROTATE and the format description
/// after it are written at once. After a hole, or a crash, nothing can be compared.
fn in_time(known: &IncarnationState, arrival: &Arrival<'_>) -> bool {
    let told_by_gtids = !known.executed_at_least.is_empty();
    told_by_gtids || !is_next(known, arrival) || rotated_into(known, arrival)
}

/// Whether the list of a MariaDB file lacks what its server may forget: FLUSH BINARY LOGS DELETE_DOMAIN_ID takes a domain
/// out, and a gtid_seq_no that is set back lowers the last number. The listing proves that the file goes on all the same:
/// RESET MASTER leaves nothing listed that was there before.
fn shrunk_lawfully(known: &IncarnationState, arrival: &Arrival<'_>) -> bool {
    known.executed_at_least.has_mariadb()
        && arrival.follows.is_some()
        && is_next(known, arrival)
        && rotated_into(known, arrival)
}

fn is_next(known: &IncarnationState, arrival: &Arrival<'_>) -> bool {
    known.last_number.0 + 1 == arrival.file.number().0
}

/// Whether the file begins when the last one ended; true where a crash or a shutdown leaves nothing to compare.
fn rotated_into(known: &IncarnationState, arrival: &Arrival<'_>) -> bool {
    known
        .rotated_at
        .is_none_or(|rotated| (arrival.created.0 - rotated.0).abs() <= ROTATION_MAX_MICROS)
}

/// Whether what was executed before a file contains what was executed before. Where the file does not tell: assume so.
fn not_shrunk(executed: &GtidSet, previous: Option<&GtidSet>) -> bool {
    previous.is_none_or(|previous| executed.is_subset(previous))
}

/// Whether the file is listed right after the newest one that is archived: its server went on under another basename.
pub(super) fn continues_listing(
    state: &LedgerState,
    newest: Timeline,
    arrival: &Arrival<'_>,
) -> bool {
    let last = state
        .incarnations()
        .rfind(|(_, known)| known.timeline == newest);
    last.is_some_and(|(id, known)| {
        arrival.follows == Some(id)
            && !known.fenced
            && known.basename != *arrival.file.basename()
            && not_shrunk(&known.executed_at_least, arrival.previous)
    })
}

/// Whether a file is of what a fence keeps out of `timeline`: it has transactions from behind the fence, or its server's files were
/// fenced off, and no other server has gone on with the timeline since.
pub(super) fn is_fenced_off(
    state: &LedgerState,
    (id, timeline): (Timeline, &TimelineState),
    arrival: &Arrival<'_>,
) -> bool {
    if timeline.fenced_off.intersects(arrival.history) {
        return true;
    }
    let of_timeline = || {
        state
            .incarnations()
            .filter(|(_, known)| known.timeline == id)
    };
    let is_its = |(of, known): (Incarnation, &IncarnationState)| {
        let same_server = arrival.server_uuid.is_some() && known.server_uuid == arrival.server_uuid;
        same_server || arrival.follows == Some(of)
    };
    of_timeline().all(|(_, known)| known.fenced) && of_timeline().any(is_its)
}

/// Whether the arrival's history is known to contain every archived GTID of `timeline`, and nothing that a fence has taken out of it.
///
/// That the GTIDs are there is not enough: a server that was RESET, or a copy of it with the same UUID, gives the same ones
/// to other transactions. A wrong new timeline is seen; a wrong continuation silently drops transactions at replay.
pub(super) fn proves_all(
    state: &LedgerState,
    timeline: &TimelineState,
    arrival: &Arrival<'_>,
) -> bool {
    let has_all = !timeline.archived.is_empty() && timeline.archived.is_subset(arrival.history);
    if !has_all || timeline.fenced_off.intersects(arrival.history) {
        return false;
    }
    let Some(uuid) = arrival.server_uuid else {
        // Whose GTIDs they are cannot be told; those executed before its first file here it did not begin anew.
        return arrival
            .previous
            .is_some_and(|previous| timeline.archived.is_subset(previous));
    };
    let before = state
        .incarnations()
        .rfind(|(_, known)| known.server_uuid == Some(uuid));
    before.is_none_or(|(_, known)| {
        let went_on =
            known.basename != *arrival.file.basename() || known.last_number < arrival.file.number();
        let contains = arrival
            .previous
            .is_some_and(|previous| known.executed_at_least.is_subset(previous));
        went_on && contains
    })
}

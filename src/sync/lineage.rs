//! Whether a file continues what is archived: by its listing, by its numbers, by its GTIDs. Pure.
//!
//! # A server that led, was left, and leads again
//! It joins if its numbers have gone on since and it still has what it had: it was a replica meanwhile. One that was rebuilt from
//! its successor under the UUID that it had has other numbers, as after a RESET; and a server that was RESET can have given the
//! GTIDs that are archived to other transactions, so that going on with it would silently drop those at replay.
//!
//! Told apart (`is_copy_of_successor`): its data directory was copied from its successor's with the binlogs, so that its new files
//! are listed behind archived ones of the successor. A RESET leaves none of those in the listing. So what the first of its own
//! files says was executed before it was executed by the successor, byte for byte as it is archived.
//!
//! Not told apart, and kept as a late tail: it was restored from a backup without binlogs, cloned, or loaded from a dump. Its
//! first file says that nothing was executed before it, as after a RESET: GTIDs that a server has from its table
//! `mysql.gtid_executed` alone are left out of every Previous_gtids that it writes (since MySQL 5.7: `gtids_only_in_table`). So its
//! files never say that it has what is archived. `gtid_executed` would, but after a RESET it names the same GTIDs once they were
//! executed again, or set by GTID_PURGED. Positions say nothing across numberings. That its files were begun after its successor
//! led (the time of a format description) is true of one that was RESET then as well. Its UUID and server_id are the same.
//!
//! # A replica that was cloned without binlogs, and is promoted
//! It begins a timeline, although its history goes on. Its files name what it has executed since the clone, and nothing of what came
//! with it, for the same reason. So do the files of a server that was RESET and given a GTID_PURGED, whatever its data holds, and of a
//! clone of one that was RESET and has given the archived GTIDs to other transactions. That it has all from the first GTID in its files
//! on tells none of them from the others.

use super::place::{Arrival, Provenance};
use crate::ledger::LedgerState;
use crate::ledger::state::{IncarnationState, TimelineState};
use crate::model::{GtidSet, GtidSource, Incarnation, Timeline};
use uuid::Uuid;

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
    (id, timeline): (Timeline, &TimelineState),
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
    let same_life = before.is_none_or(|(_, known)| {
        let went_on =
            known.basename != *arrival.file.basename() || known.last_number < arrival.file.number();
        let contains = arrival
            .previous
            .is_some_and(|previous| known.executed_at_least.is_subset(previous));
        went_on && contains
    });
    same_life || is_copy_of_successor(state, (id, timeline), arrival, uuid)
}

/// Whether the file is the first one that a server with this UUID has begun on a copy of the data directory of its successor: of
/// a server that the timeline went on with after it.
///
/// The server has executed no archived GTID of its own since the copy was made: all of them were executed before this file.
fn is_copy_of_successor(
    state: &LedgerState,
    (id, timeline): (Timeline, &TimelineState),
    arrival: &Arrival<'_>,
    uuid: Uuid,
) -> bool {
    let (Some(follows), Some(previous)) = (arrival.follows, arrival.previous) else {
        return false;
    };
    let led = state
        .incarnations()
        .rfind(|(_, known)| known.timeline == id && known.server_uuid == Some(uuid));
    let successor = state.incarnation(follows);
    // In a pile files of several servers lie beside each other, and none is listed behind another.
    let is_behind_successor = arrival.provenance == Provenance::Server
        && led.is_some_and(|(led, _)| led < follows)
        && successor.is_some_and(|known| {
            known.timeline == id && known.server_uuid.is_some_and(|of| of != uuid)
        });
    let is_own =
        |source: &GtidSource| matches!(source, GtidSource::MySql { uuid: of, .. } if *of == uuid);
    let lacking = timeline.archived.minus(previous);
    is_behind_successor
        && led.is_some_and(|(_, known)| known.executed_at_least.is_subset(previous))
        && !lacking.iter().any(|(source, _)| is_own(source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::record::{Body, BranchRecord};
    use crate::ledger::testing::{self, Writer, executed, segment, server};
    use crate::model::Micros;
    use crate::sync::place::{Consent, Place, Signature, place};

    const SUCCESSOR: Uuid = Uuid::from_u128(0xb);

    /// What the first server has executed in so many files, and the first `count` transactions of its successor.
    fn with_successors(files: u64, count: u64) -> GtidSet {
        let mut set = executed(files);
        if count > 0 {
            let numbers: GtidSet = format!("{SUCCESSOR}:1-{count}").parse().expect("a set");
            set.union_with(&numbers);
        }
        set
    }

    /// Three files of a server, and two of another that took its place and has transactions of its own.
    fn left() -> (LedgerState, Writer) {
        let stream = testing::stream_file();
        let mut state = LedgerState::new(&stream, &stream.write());
        let mut writer = Writer::default();
        let successors = [1, 2].map(|number| {
            let mut file = testing::moved(number, 2, 1);
            let (before, after) = ((number - 1) * 1000, number * 1000);
            file.server_uuid = Some(SUCCESSOR);
            file.previous_gtids = Some(with_successors(3, before));
            file.gtids = with_successors(0, after).minus(&with_successors(0, before));
            file
        });
        for body in [segment(1), segment(2), segment(3)]
            .into_iter()
            .chain(successors)
        {
            let line = writer.write(Body::Segment(Box::new(body)));
            state.accept(&line).expect("follows");
        }
        (state, writer)
    }

    /// The place of a file of the first server, which has replicated all of its successor and leads again.
    fn placed(
        state: &LedgerState,
        name: &str,
        previous: &GtidSet,
        follows: Option<Incarnation>,
    ) -> Place {
        let (name, history) = (name.parse().expect("a name"), with_successors(4, 2000));
        let arrival = Arrival {
            file: &name,
            previous: Some(previous),
            server_uuid: Some(server()),
            created: Micros(0),
            history: &history,
            follows,
            put_aside: &[],
            provenance: Provenance::Server,
        };
        let by = Signature {
            archiver: "test",
            now: Micros(0),
        };
        place(state, &arrival, &Consent::default(), &by).expect("has a place")
    }

    #[test]
    fn a_server_that_was_rebuilt_on_a_copy_of_its_successor_and_leads_again_joins() {
        let (mut state, mut writer) = left();
        let (copied, behind) = (with_successors(3, 1000), Some(Incarnation(2)));
        let joins = placed(&state, "binlog.000002", &copied, behind);
        assert_eq!(
            (joins.timeline, joins.incarnation),
            (Timeline(1), Incarnation(3))
        );
        assert!(joins.branch.is_none() && joins.before.is_empty());
        // What it had written that nobody replicated was archived before it was rebuilt.
        let mut tail = testing::moved(4, 3, 2);
        tail.branch = Some(BranchRecord {
            timeline: Timeline(1),
            lost: with_successors(0, 2000),
            late: true,
        });
        let line = writer.write(Body::Segment(Box::new(tail)));
        state.accept(&line).expect("follows");
        let joins = placed(&state, "binlog.000002", &copied, behind);
        assert_eq!(
            (joins.timeline, joins.incarnation),
            (Timeline(1), Incarnation(4))
        );
    }

    #[test]
    fn what_a_server_that_was_reset_would_say_too_is_a_late_tail() {
        let (state, _) = left();
        let behind = Some(Incarnation(2));
        for (name, previous, follows) in [
            // A RESET, or a backup without binlogs.
            ("binlog.000001", GtidSet::new(), None),
            // Which files came before this one is not known.
            ("binlog.000002", with_successors(3, 1000), None),
            // Behind a file of its own.
            (
                "binlog.000002",
                with_successors(3, 1000),
                Some(Incarnation(1)),
            ),
            // Some of its own were executed since the copy was made.
            ("binlog.000002", with_successors(2, 1000), behind),
        ] {
            let late = placed(&state, name, &previous, follows);
            assert_eq!(late.timeline, Timeline(2), "{name} after {previous}");
            assert!(late.branch.is_some_and(|branch| branch.late), "{name}");
        }
    }
}

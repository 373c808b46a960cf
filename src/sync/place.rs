//! Where a segment belongs in the history: pure, decided against the ledger's state by whoever creates its record.

use super::lineage::{continued, continues_listing, is_fenced_off, proves_all};
use super::missing;
use crate::binlog::Flavour;
use crate::ledger::LedgerState;
use crate::ledger::record::{Body, BranchRecord, GapRecord, HoleRecord};
use crate::ledger::state::{IncarnationState, TimelineState};
use crate::model::{
    Basename, FileName, GtidSet, Incarnation, Micros, MountName, SegmentNumber, Seq, Sha256,
    Timeline,
};
use uuid::Uuid;

/// More missing files in a row than this are no accident of timing: a person confirms them (`--accept-holes`).
pub const HOLES_WITHOUT_CONSENT: u64 = 3;
/// More missing files than this are not recorded one by one, whatever a person says: something else is wrong.
pub const HOLES_MAX: u64 = 100_000;

/// What is known of a file before it is read, and of the server it is on.
#[derive(Clone, Debug)]
pub struct Arrival<'a> {
    /// Its name.
    pub file: &'a FileName,
    /// What it says was executed before it.
    pub previous: Option<&'a GtidSet>,
    /// Its server's UUID, where known.
    pub server_uuid: Option<Uuid>,
    /// Header time of its format description.
    pub created: Micros,
    /// Everything its server executed, as far as its files tell.
    pub history: &'a GtidSet,
    /// The incarnation of the file listed just before it.
    pub follows: Option<Incarnation>,
    /// Files of its server that were put aside, each with the reason.
    pub put_aside: &'a [(FileName, String)],
    /// Who says that it is its turn.
    pub provenance: Provenance,
}

/// Where a file comes from: its neighbours there mean more or less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// A server lists it.
    Server,
    /// It was found in a pile, and put in order with what else was there.
    Pile {
        /// It is known to begin a numbering, whatever its number is.
        begins: bool,
        /// The newest segment that it was compared with, or that went before it: it is to stand behind that and nothing else.
        behind: Option<Seq>,
    },
}

/// What a person allowed for this run.
#[derive(Clone, Debug, Default)]
pub struct Consent {
    /// `--accept-holes`: any number of missing files may be recorded as holes.
    pub holes: bool,
    /// `--allow-unencrypted`: segments may go unencrypted into a stream whose newest one is encrypted.
    pub unencrypted: bool,
    /// `--single-writer`: the store's creates may be unconditional, because nobody else writes.
    pub single_writer: bool,
    /// `--accept-server`: the UUID of a server that shares no history with the stream, or `none` for one without UUID.
    pub server: Option<String>,
}

/// Where a segment goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Records that come before it: holes and gaps.
    pub before: Vec<Body>,
    /// Its timeline.
    pub timeline: Timeline,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Set when it begins a timeline that leaves another.
    pub branch: Option<BranchRecord>,
    /// Its name in the mount.
    pub mount_name: MountName,
    /// `previous_gtids` of its record.
    pub previous_gtids: Option<GtidSet>,
    /// `previous_gtids_sha256` of its record.
    pub previous_gtids_sha256: Option<Sha256>,
    /// What a person should know of this placement.
    pub notices: Vec<String>,
}

/// Why a segment cannot be placed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is another server's.
    #[error(
        "{file} comes from a server that shares no history with this stream (server {server}; no GTID in common): archive it to a \
         prefix of its own, or, if it continues this stream, pass --accept-server {server}"
    )]
    Foreign {
        /// The file.
        file: FileName,
        /// The server's UUID, or `none`.
        server: String,
    },
    /// MySQL and MariaDB do not mix.
    #[error(
        "{file} is {file_flavour}'s and this stream is {stream_flavour}'s: archive it to a prefix of its own"
    )]
    OtherFlavour {
        /// The file.
        file: FileName,
        /// The file's.
        file_flavour: &'static str,
        /// The stream's.
        stream_flavour: &'static str,
    },
    /// More files are missing than happens by accident.
    #[error(
        "{missing} files before {file} are gone from the server and were never archived ({first} to number {last}); if that is so, \
         pass --accept-holes to record them as holes and go on"
    )]
    TooManyHoles {
        /// The file after them.
        file: FileName,
        /// How many.
        missing: u64,
        /// The first of them.
        first: FileName,
        /// Number of the last.
        last: SegmentNumber,
    },
}

/// What flavour is called in messages.
pub fn flavour_name(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::MySql => "MySQL",
        Flavour::MariaDb => "MariaDB",
    }
}

/// Finds the place of a segment after everything in `state`.
///
/// # Errors
/// When it may not be archived here, or not without a person's consent.
pub fn place(
    state: &LedgerState,
    arrival: &Arrival<'_>,
    consent: &Consent,
    by: &Signature<'_>,
) -> Result<Place, Refusal> {
    let begins = matches!(arrival.provenance, Provenance::Pile { begins: true, .. });
    match continued(state, arrival).filter(|_| !begins) {
        Some((id, incarnation)) => {
            continue_incarnation(state, arrival, id, incarnation, consent, by)
        }
        None => begin_incarnation(state, arrival, consent, by),
    }
}

/// Who makes the records, and when.
#[derive(Clone, Copy, Debug)]
pub struct Signature<'a> {
    /// Host name and version.
    pub archiver: &'a str,
    /// The time to write.
    pub now: Micros,
}

fn continue_incarnation(
    state: &LedgerState,
    arrival: &Arrival<'_>,
    id: Incarnation,
    known: &IncarnationState,
    consent: &Consent,
    by: &Signature<'_>,
) -> Result<Place, Refusal> {
    let first_of_timeline = state
        .timeline(known.timeline)
        .is_some_and(|timeline| timeline.first_incarnation == id);
    let name = |file: &FileName| MountName::of(file, id, first_of_timeline, &state.basename);
    let missing = arrival.file.number().0 - known.last_number.0 - 1;
    let hole_file = |number: u64| FileName::new(known.basename.clone(), SegmentNumber(number));
    if (missing > HOLES_WITHOUT_CONSENT && !consent.holes) || missing > HOLES_MAX {
        let last = SegmentNumber(arrival.file.number().0 - 1);
        return Err(Refusal::TooManyHoles {
            file: arrival.file.clone(),
            missing,
            first: hole_file(known.last_number.0 + 1),
            last,
        });
    }
    let mut before = Vec::new();
    let mut notices = Vec::new();
    for number in known.last_number.0 + 1..arrival.file.number().0 {
        let file = hole_file(number);
        let (reason, notice) = missing::told(&file, arrival);
        notices.push(notice);
        before.push(Body::Hole(HoleRecord {
            timeline: known.timeline,
            incarnation: id,
            number: SegmentNumber(number),
            mount_name: name(&file),
            file,
            reason,
            archived_at: by.now,
            archiver: by.archiver.to_owned(),
        }));
    }
    let derivable = before.is_empty() && known.executed.as_ref() == arrival.previous;
    if before.is_empty()
        && let (Some(executed), Some(previous)) = (&known.executed, arrival.previous)
        && !derivable
    {
        let (missing, forgotten) = (previous.minus(executed), executed.minus(previous));
        if !forgotten.is_empty() {
            notices.push(format!("before {} the server forgot {forgotten} (FLUSH BINARY LOGS DELETE_DOMAIN_ID, or gtid_seq_no set back): nothing of it is missing here", arrival.file));
        }
        if !missing.is_empty() {
            notices.push(format!("before {} the server executed {missing}, which is in no archived file: recorded as a gap", arrival.file));
            before.extend(state.timeline(known.timeline).map(|timeline| {
                gap(state, known.timeline, timeline, missing, "executed before this file and in no file before it (SET GTID_PURGED, a clone, or logging switched off)", by)
            }));
        }
    }
    let derivable = derivable && before.is_empty();
    Ok(Place {
        timeline: known.timeline,
        incarnation: id,
        branch: None,
        mount_name: name(arrival.file),
        previous_gtids_sha256: arrival
            .previous
            .filter(|_| derivable)
            .map(|set| Sha256::of(set.to_string().as_bytes())),
        previous_gtids: arrival.previous.filter(|_| !derivable).cloned(),
        before,
        notices,
    })
}

fn begin_incarnation(
    state: &LedgerState,
    arrival: &Arrival<'_>,
    consent: &Consent,
    by: &Signature<'_>,
) -> Result<Place, Refusal> {
    let incarnation = Incarnation(
        state
            .incarnations()
            .next_back()
            .map_or(1, |(id, _)| id.0 + 1),
    );
    let previous_gtids = arrival.previous.cloned();
    let Some((newest, timeline)) = state.newest_timeline() else {
        let mount_name = MountName::of(arrival.file, incarnation, true, &state.basename);
        return Ok(Place {
            before: Vec::new(),
            timeline: Timeline(1),
            incarnation,
            branch: None,
            mount_name,
            previous_gtids,
            previous_gtids_sha256: None,
            notices: Vec::new(),
        });
    };
    let server = arrival
        .server_uuid
        .map_or("none".to_owned(), |uuid| uuid.to_string());
    let same_server = arrival.server_uuid.is_some()
        && state
            .incarnations()
            .any(|(_, known)| known.server_uuid == arrival.server_uuid);
    let shares = state
        .timelines()
        .any(|(_, timeline)| timeline.executed.intersects(arrival.history));
    let continues = continues_listing(state, newest, arrival);
    if !same_server && !shares && !continues && consent.server.as_deref() != Some(server.as_str()) {
        return Err(Refusal::Foreign {
            file: arrival.file.clone(),
            server,
        });
    }
    let fenced_off = is_fenced_off(state, (newest, timeline), arrival);
    if continues || (!fenced_off && proves_all(state, (newest, timeline), arrival)) {
        let missing = arrival
            .previous
            .map(|previous| previous.minus(&timeline.executed))
            .filter(|missing| !missing.is_empty());
        let mut notices = vec![format!(
            "{} of server {server} continues timeline {newest} as incarnation {incarnation}",
            arrival.file
        )];
        let before: Vec<Body> = missing
            .map(|missing| {
                notices.push(format!(
                    "{missing} is in no archived file: recorded as a gap"
                ));
                gap(
                    state,
                    newest,
                    timeline,
                    missing,
                    "executed by the joining server before its first file here",
                    by,
                )
            })
            .into_iter()
            .collect();
        return Ok(Place {
            before,
            timeline: newest,
            incarnation,
            branch: None,
            mount_name: MountName::of(arrival.file, incarnation, false, &state.basename),
            previous_gtids,
            previous_gtids_sha256: None,
            notices,
        });
    }
    let next = Timeline(state.timelines().next_back().map_or(1, |(id, _)| id.0 + 1));
    let lost = timeline.archived.minus(arrival.history);
    let late = fenced_off || was_left(state, newest, arrival.server_uuid);
    let notice = if fenced_off {
        format!(
            "{} of server {server} goes on behind the fence that ended timeline {newest} for it: it is kept as timeline {next}, under \
             .timeline/{next}/, and is no part of the history that is replayed",
            arrival.file
        )
    } else if late {
        format!(
            "{} is the late tail of server {server}, which timeline {newest} has left for another server: it is kept as timeline {next}, under \
             .timeline/{next}/, and the history goes on in timeline {newest}",
            arrival.file
        )
    } else {
        format!(
            "{} of server {server} does not contain the history archived so far: timeline {next} begins; timeline {newest} stays readable under \
             .timeline/{newest}/",
            arrival.file
        )
    };
    Ok(Place {
        before: Vec::new(),
        timeline: next,
        incarnation,
        branch: Some(BranchRecord {
            timeline: newest,
            lost,
            late,
        }),
        mount_name: MountName::of(arrival.file, incarnation, true, &state.basename),
        previous_gtids,
        previous_gtids_sha256: None,
        notices: vec![notice],
    })
}

/// Whether a timeline went on with another server after this one: what this one still has is a late tail.
fn was_left(state: &LedgerState, timeline: Timeline, server: Option<Uuid>) -> bool {
    let mut led = state
        .incarnations()
        .filter(|(_, known)| known.timeline == timeline)
        .map(|(_, known)| known.server_uuid);
    let last = state
        .incarnations()
        .rfind(|(_, known)| known.timeline == timeline)
        .and_then(|(_, known)| known.server_uuid);
    server.is_some() && last != server && led.any(|uuid| uuid == server)
}

fn gap(
    state: &LedgerState,
    id: Timeline,
    timeline: &TimelineState,
    missing: GtidSet,
    reason: &str,
    by: &Signature<'_>,
) -> Body {
    Body::Gap(GapRecord {
        timeline: id,
        after: state.last_seq,
        mount_name: timeline.last_mount_name.gap_after(),
        missing,
        reason: reason.to_owned(),
        archived_at: by.now,
        archiver: by.archiver.to_owned(),
    })
}

/// The basename that a new stream gets.
pub fn first_basename(file: &FileName) -> Basename {
    file.basename().clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing::{self, TRANSACTIONS, Writer, executed, segment, server};
    use crate::model::GtidSource;

    const BY: Signature<'_> = Signature {
        archiver: "test",
        now: Micros(0),
    };

    /// A ledger with the first three segments of one server.
    fn three() -> LedgerState {
        let stream = testing::stream_file();
        let mut state = LedgerState::new(&stream, &stream.write());
        let mut writer = Writer::default();
        for number in 1..=3 {
            let line = writer.write(Body::Segment(Box::new(segment(number))));
            state.accept(&line).expect("follows");
        }
        state
    }

    struct File {
        name: FileName,
        previous: Option<GtidSet>,
        uuid: Option<Uuid>,
        history: GtidSet,
        follows: Option<Incarnation>,
    }

    /// File `number` of the ledger's own server, which executed what `executed(history)` says.
    fn file(name: &str, previous: u64, history: u64) -> File {
        File {
            name: name.parse().expect("a name"),
            previous: Some(executed(previous)),
            uuid: Some(server()),
            history: executed(history),
            follows: None,
        }
    }

    impl File {
        fn arrival(&self) -> Arrival<'_> {
            Arrival {
                file: &self.name,
                previous: self.previous.as_ref(),
                server_uuid: self.uuid,
                created: Micros(0),
                history: &self.history,
                follows: self.follows,
                put_aside: &[],
                provenance: Provenance::Server,
            }
        }
    }

    fn placed(file: &File, consent: &Consent) -> Result<Place, Refusal> {
        place(&three(), &file.arrival(), consent, &BY)
    }

    fn place_of(file: &File) -> Place {
        placed(file, &Consent::default()).expect("has a place")
    }

    #[test]
    fn the_next_file_of_the_same_server_needs_its_previous_gtids_only_as_a_hash() {
        let place = place_of(&file("binlog.000004", 3, 4));
        assert_eq!(
            (place.timeline, place.incarnation),
            (Timeline(1), Incarnation(1))
        );
        assert!(place.before.is_empty() && place.branch.is_none());
        assert_eq!(place.mount_name.as_str(), "binlog.000004");
        assert!(place.previous_gtids.is_none() && place.previous_gtids_sha256.is_some());
    }

    #[test]
    fn missing_files_become_holes_up_to_three_and_more_with_consent() {
        let place = place_of(&file("binlog.000007", 6, 7));
        assert_eq!(place.before.len(), 3);
        assert!(
            place
                .before
                .iter()
                .all(|body| matches!(body, Body::Hole(_)))
        );
        assert_eq!(
            place.previous_gtids,
            Some(executed(6)),
            "in full after a hole"
        );
        let five = file("binlog.000009", 8, 9);
        let refused = placed(&five, &Consent::default()).expect_err("five are too many");
        assert!(refused.to_string().contains("--accept-holes"), "{refused}");
        let consent = Consent {
            holes: true,
            ..Consent::default()
        };
        assert_eq!(placed(&five, &consent).expect("accepted").before.len(), 5);
        let absurd = file("binlog.2000000", 8, 9);
        assert!(placed(&absurd, &consent).is_err(), "whatever a person says");
    }

    #[test]
    fn gtids_that_are_in_no_file_are_a_gap() {
        let place = place_of(&file("binlog.000004", 5, 6));
        let [Body::Gap(gap)] = place.before.as_slice() else {
            panic!("{:?}", place.before);
        };
        assert_eq!(gap.missing, executed(5).minus(&executed(3)));
        assert_eq!(gap.mount_name.as_str(), "binlog.000003.0");
    }

    #[test]
    fn a_reset_begins_a_timeline_even_when_the_numbers_go_on() {
        for name in ["binlog.000001", "binlog.000004", "binlog.999998"] {
            let place = place_of(&file(name, 0, 1));
            assert_eq!(
                (place.timeline, place.incarnation),
                (Timeline(2), Incarnation(2)),
                "{name}"
            );
            let branch = place.branch.expect("it leaves the first");
            assert_eq!(branch.lost, executed(3).minus(&executed(1)));
            assert_eq!(
                place.mount_name.as_str(),
                name,
                "first of its timeline: its own name"
            );
        }
    }

    #[test]
    fn a_reset_that_has_repeated_every_archived_gtid_does_not_join() {
        for uuid in [Some(server()), None] {
            let place = place_of(&File {
                uuid,
                ..file("binlog.000001", 0, 9)
            });
            assert_eq!(place.timeline, Timeline(2), "{uuid:?}");
        }
    }

    /// A ledger of one server without GTIDs: three files, the last of which ended in a ROTATE at its last time.
    fn without_gtids() -> (LedgerState, Micros) {
        let stream = testing::stream_file();
        let mut state = LedgerState::new(&stream, &stream.write());
        let (mut writer, mut rotated) = (Writer::default(), Micros(0));
        for number in 1..=3 {
            let mut body = segment(number);
            body.gtids = GtidSet::new();
            body.previous_gtids = Some(GtidSet::new());
            body.previous_gtids_sha256 = None;
            rotated = body.last_time.expect("it has times");
            let line = writer.write(Body::Segment(Box::new(body)));
            state.accept(&line).expect("follows");
        }
        (state, rotated)
    }

    fn place_without_gtids(name: &str, follows: Option<Incarnation>, delay_seconds: i64) -> Place {
        let (state, rotated) = without_gtids();
        let (name, none) = (name.parse().expect("a name"), GtidSet::new());
        let arrival = Arrival {
            file: &name,
            previous: Some(&none),
            server_uuid: Some(server()),
            created: Micros(rotated.0 + delay_seconds * 1_000_000),
            history: &none,
            follows,
            put_aside: &[],
            provenance: Provenance::Server,
        };
        place(&state, &arrival, &Consent::default(), &BY).expect("has a place")
    }

    #[test]
    fn without_gtids_the_next_number_continues_only_what_ended_when_it_began() {
        let next = place_without_gtids("binlog.000004", None, 0);
        assert_eq!(
            (next.timeline, next.incarnation),
            (Timeline(1), Incarnation(1))
        );
        let reset_to_4 = place_without_gtids("binlog.000004", None, 60);
        assert_eq!(reset_to_4.timeline, Timeline(2));
    }

    #[test]
    fn without_gtids_another_basename_in_the_same_listing_goes_on() {
        let renamed = place_without_gtids("mysql-bin.000001", Some(Incarnation(1)), 60);
        assert_eq!(
            (renamed.timeline, renamed.incarnation),
            (Timeline(1), Incarnation(2))
        );
        let unlisted = place_without_gtids("mysql-bin.000001", None, 60);
        assert_eq!(
            unlisted.timeline,
            Timeline(2),
            "nothing shows that it continues"
        );
    }

    #[test]
    fn a_server_without_uuid_is_recognised_behind_its_own_holes() {
        let stream = testing::stream_file();
        let mut state = LedgerState::new(&stream, &stream.write());
        let mut writer = Writer::default();
        for number in 1..=3 {
            let mut body = segment(number);
            body.server_uuid = None;
            let line = writer.write(Body::Segment(Box::new(body)));
            state.accept(&line).expect("follows");
        }
        let sixth = file("binlog.000006", 5, 6);
        let arrival = Arrival {
            file: &sixth.name,
            previous: sixth.previous.as_ref(),
            server_uuid: None,
            created: Micros(0),
            history: &sixth.history,
            follows: None,
            put_aside: &[],
            provenance: Provenance::Server,
        };
        // As the commit does: the first record, and then the place again.
        for holes_left in [2, 1, 0] {
            let place = place(&state, &arrival, &Consent::default(), &BY).expect("has a place");
            assert_eq!(
                (place.timeline, place.incarnation, place.before.len()),
                (Timeline(1), Incarnation(1), holes_left)
            );
            if let Some(hole) = place.before.into_iter().next() {
                state.accept(&writer.write(hole)).expect("follows");
            }
        }
    }

    #[test]
    fn a_server_that_led_before_and_leads_again_joins() {
        let stream = testing::stream_file();
        let mut state = LedgerState::new(&stream, &stream.write());
        let mut writer = Writer::default();
        let bodies = [segment(1), segment(2), testing::moved(3, 2, 1)];
        for mut body in bodies {
            if body.incarnation == Incarnation(2) {
                body.server_uuid = Some(Uuid::from_u128(9));
            }
            let line = writer.write(Body::Segment(Box::new(body)));
            state.accept(&line).expect("follows");
        }
        let again = file("binlog.000004", 3, 4);
        let arrival = Arrival {
            file: &again.name,
            previous: again.previous.as_ref(),
            server_uuid: again.uuid,
            created: Micros(0),
            history: &again.history,
            follows: None,
            put_aside: &[],
            provenance: Provenance::Server,
        };
        let place = place(&state, &arrival, &Consent::default(), &BY).expect("has a place");
        assert_eq!(
            (place.timeline, place.incarnation),
            (Timeline(1), Incarnation(3))
        );
    }

    #[test]
    fn a_replica_that_has_all_joins_under_a_name_that_sorts_last() {
        let replica = File {
            uuid: Some(Uuid::from_u128(9)),
            ..file("binlog.000002", 2, 4)
        };
        let place = place_of(&replica);
        assert_eq!(
            (place.timeline, place.incarnation),
            (Timeline(1), Incarnation(2))
        );
        assert!(
            place.before.is_empty(),
            "its files overlap what is archived"
        );
        assert_eq!(place.mount_name.as_str(), "binlog.999999.000002.0000000002");
        let late = File {
            uuid: Some(Uuid::from_u128(9)),
            ..file("binlog.000002", 5, 6)
        };
        assert!(
            matches!(place_of(&late).before.as_slice(), [Body::Gap(_)]),
            "it began after what is archived"
        );
    }

    #[test]
    fn a_replica_that_lost_transactions_begins_a_timeline() {
        let replica = File {
            uuid: Some(Uuid::from_u128(9)),
            ..file("binlog.000002", 1, 2)
        };
        let place = place_of(&replica);
        assert_eq!(place.timeline, Timeline(2));
        assert_eq!(
            place.branch.expect("a branch").lost,
            executed(3).minus(&executed(2))
        );
    }

    #[test]
    fn another_basename_of_the_same_server_joins_as_an_incarnation() {
        let renamed = File {
            follows: Some(Incarnation(1)),
            ..file("mysql-bin.000001", 3, 4)
        };
        let place = place_of(&renamed);
        assert_eq!(
            (place.timeline, place.incarnation),
            (Timeline(1), Incarnation(2))
        );
        assert_eq!(place.mount_name.as_str(), "binlog.999999.000002.0000000001");
    }

    #[test]
    fn what_shares_nothing_is_foreign_until_it_is_named() {
        let mut other = GtidSet::new();
        let uuid = Uuid::from_u128(9);
        other.insert_run(
            GtidSource::MySql {
                uuid,
                tag: crate::model::Tag::none(),
            },
            1,
            TRANSACTIONS,
        );
        for (uuid, history) in [
            (Some(uuid), other),
            (Some(uuid), GtidSet::new()),
            (None, GtidSet::new()),
        ] {
            let previous = Some(GtidSet::new());
            let foreign = File {
                uuid,
                previous,
                history,
                ..file("binlog.000004", 0, 0)
            };
            let refused = placed(&foreign, &Consent::default()).expect_err("foreign");
            assert!(matches!(refused, Refusal::Foreign { .. }), "{refused}");
            let server = Some(uuid.map_or("none".to_owned(), |uuid| uuid.to_string()));
            let place = placed(
                &foreign,
                &Consent {
                    server,
                    ..Consent::default()
                },
            )
            .expect("named");
            assert_eq!(place.timeline, Timeline(2), "it continues nothing");
        }
    }

    #[test]
    fn without_a_uuid_common_gtids_tell_the_server() {
        let place = place_of(&File {
            uuid: None,
            ..file("binlog.000004", 3, 4)
        });
        // The ledger's incarnation has a UUID and this file has none: it joins, as another incarnation.
        assert_eq!(place.timeline, Timeline(1));
    }

    #[test]
    fn what_comes_after_a_hole_is_placed_by_what_was_executed_before_it() {
        // Without a UUID (MariaDB, or binlogs outside the data directory) only GTIDs tell whose files these are.
        let stream = testing::stream_file();
        let mut state = LedgerState::new(&stream, &stream.write());
        let mut writer = Writer::default();
        for number in 1..=3 {
            let mut record = segment(number);
            record.server_uuid = None;
            let line = writer.write(Body::Segment(Box::new(record)));
            state.accept(&line).expect("follows");
        }
        let seventh = File {
            uuid: None,
            ..file("binlog.000006", 5, 6)
        };
        for missing in [2, 1, 0] {
            let place =
                place(&state, &seventh.arrival(), &Consent::default(), &BY).expect("placed");
            assert_eq!(
                place.incarnation,
                Incarnation(1),
                "{missing} files are missing"
            );
            assert_eq!(place.before.len(), missing);
            if let Some(hole) = place.before.into_iter().next() {
                state.accept(&writer.write(hole)).expect("follows");
            }
        }
    }

    #[test]
    fn what_comes_after_a_damaged_segment_is_not_taken_for_a_gap() {
        let mut state = three();
        let mut writer = Writer {
            seq: 4,
            prev: state.last_hash.expect("known"),
        };
        let mut damaged = segment(4);
        damaged.gtids = GtidSet::new();
        damaged.damaged = Some(crate::ledger::record::DamagedRecord {
            first_bad_position: 300,
            reason: "event checksum".to_owned(),
        });
        let line = writer.write(Body::Segment(Box::new(damaged)));
        state.accept(&line).expect("follows");
        let fifth = file("binlog.000005", 4, 5);
        let place = place(&state, &fifth.arrival(), &Consent::default(), &BY).expect("placed");
        assert!(place.before.is_empty(), "{:?}", place.before);
        assert_eq!(place.incarnation, Incarnation(1));
        assert_eq!(place.previous_gtids, Some(executed(4)), "in full");
    }

    #[test]
    fn the_late_tail_of_a_server_that_was_left_is_kept_apart_and_nothing_joins_it() {
        let mut state = three();
        let mut writer = Writer {
            seq: 4,
            prev: state.last_hash.expect("known"),
        };
        let accept = |state: &mut LedgerState,
                      writer: &mut Writer,
                      placed: &Place,
                      name: &str,
                      of: &File| {
            let mut record = segment(1);
            record.file = name.parse().expect("a name");
            record.number = record.file.number();
            record.object.key = format!("segments/{name}-{}.zst", writer.seq)
                .parse()
                .expect("a key");
            record.server_uuid = of.uuid;
            record.timeline = placed.timeline;
            record.incarnation = placed.incarnation;
            record.branch = placed.branch.clone();
            record.mount_name = placed.mount_name.clone();
            record.gtids = of.history.minus(of.previous.as_ref().expect("known"));
            record.previous_gtids = of.previous.clone();
            record.previous_gtids_sha256 = None;
            let line = writer.write(Body::Segment(Box::new(record)));
            state.accept(&line).expect("follows");
        };
        let (b, c) = (Uuid::from_u128(0xb), Uuid::from_u128(0xc));
        // B was promoted and joins.
        let promoted = File {
            uuid: Some(b),
            ..file("binlog.000001", 3, 4)
        };
        let placed = place(&state, &promoted.arrival(), &Consent::default(), &BY).expect("placed");
        assert_eq!(placed.timeline, Timeline(1));
        accept(&mut state, &mut writer, &placed, "binlog.000001", &promoted);
        // The old primary comes back with a transaction that B never had.
        let mut tail = file("binlog.000004", 3, 3);
        let extra = format!("{}:1000", server()).parse().expect("a set");
        tail.history.union_with(&extra);
        let placed = place(&state, &tail.arrival(), &Consent::default(), &BY).expect("placed");
        assert_eq!(placed.timeline, Timeline(2));
        assert!(placed.branch.as_ref().is_some_and(|branch| branch.late));
        assert!(
            placed
                .notices
                .iter()
                .any(|notice| notice.contains("late tail"))
        );
        accept(&mut state, &mut writer, &placed, "binlog.000004", &tail);
        assert_eq!(state.newest_timeline().expect("one").0, Timeline(1));
        // C has all of B's history, and joins that.
        let third = File {
            uuid: Some(c),
            ..file("binlog.000001", 4, 5)
        };
        let placed = place(&state, &third.arrival(), &Consent::default(), &BY).expect("placed");
        assert_eq!(placed.timeline, Timeline(1));
        assert_eq!(placed.incarnation, Incarnation(4));
    }
}

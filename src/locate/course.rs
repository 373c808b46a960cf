//! Where a moment is to be looked for, out of what the index knows. Pure.

use super::{Refusal, RefusalKind};
use crate::index::{EntryRow, Moment};
use crate::ledger::EntryState;
use crate::model::Micros;

/// What to do about a moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Course {
    /// The first transaction committed after it stands in this entry.
    Inside {
        /// The entry.
        entry: Box<EntryRow>,
        /// What that means if it is the first transaction there.
        if_first: IfFirst,
    },
    /// Everything up to the last transaction of this entry was committed by then, and it is known that this was all.
    AtEndOf(Box<EntryRow>),
    /// It cannot be reached.
    Refuse(Refusal),
}

/// What a moment before the first transaction of an entry is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum IfFirst {
    /// A place: what stands before it is whole.
    Fine,
    /// Before the first transaction of all: a place if the history had begun.
    Begins,
    /// The end of another entry, behind which something is missing.
    AtEndOf(Box<EntryRow>),
    /// Where something is missing.
    Refuse(Refusal),
}

/// What to do about `time`, which lies at `moment`.
pub(super) fn course(moment: Moment, time: Micros) -> Course {
    let Moment {
        after,
        before,
        earlier,
    } = moment;
    match after {
        Some(entry) => {
            let if_first = before.map_or(IfFirst::Begins, |before| {
                between(before, earlier, &entry, time)
            });
            Course::Inside {
                entry: Box::new(entry),
                if_first,
            }
        }
        None => match before.into_iter().chain(earlier).find(has_transactions) {
            Some(last) if last.latest_through == Some(time) => Course::AtEndOf(Box::new(last)),
            Some(last) => Course::Refuse(too_late(last.latest_through)),
            None => Course::Refuse(too_late(None)),
        },
    }
}

/// A moment between the last thing before `entry` and its first transaction.
fn between(before: EntryRow, earlier: Option<EntryRow>, entry: &EntryRow, time: Micros) -> IfFirst {
    if before.state == EntryState::Archived {
        return IfFirst::Fine;
    }
    let what = match before.state {
        EntryState::Archived | EntryState::Hole => "a hole",
        EntryState::Damaged => "what is damaged and cannot be read",
        EntryState::Gap => "a gap of unknown extent",
        EntryState::Lost => "an entry whose ledger record is lost",
    };
    let name = before.mount_name.clone();
    let last = [Some(before), earlier]
        .into_iter()
        .flatten()
        .find(has_transactions);
    let last_before = last.as_ref().and_then(|row| row.latest_through);
    match last {
        Some(last) if last_before == Some(time) => IfFirst::AtEndOf(Box::new(last)),
        _ => IfFirst::Refuse(Refusal {
            kind: RefusalKind::Missing,
            reason: format!(
                "it lies in {what} ({name}), or between it and the first transaction of {}",
                entry.mount_name
            ),
            last_before,
            first_after: None,
        }),
    }
}

fn has_transactions(row: &EntryRow) -> bool {
    row.latest_commit.is_some()
}

/// A moment after all that is archived.
pub(super) fn too_late(last: Option<Micros>) -> Refusal {
    let reason = match last {
        Some(_) => "it lies after the last commit that is archived",
        None => "no transaction is archived",
    };
    Refusal {
        kind: RefusalKind::TooLate,
        reason: reason.to_owned(),
        last_before: last,
        first_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;
    use crate::ledger::testing::{self, Writer, segment};
    use crate::ledger::{Body, SegmentRecord};
    use crate::model::Timeline;

    /// A history of one-hour segments 1, 2, hole 3, gap, 4: each with one latest commit.
    fn index(bodies: impl IntoIterator<Item = Body>) -> Index {
        let index = Index::in_memory().expect("opens");
        let file = testing::stream_file();
        index.begin(&file, &file.write()).expect("begins");
        let mut writer = Writer::default();
        let steps: Vec<_> = bodies
            .into_iter()
            .map(|body| crate::index::Step::Line(writer.write(body)))
            .collect();
        index.apply(&steps).expect("applies");
        index
    }

    fn at(number: u64, latest: Option<i64>) -> Body {
        let mut segment: SegmentRecord = segment(number);
        segment.latest_commit = latest.map(Micros);
        // In full, because it may stand behind a hole.
        segment.previous_gtids = Some(testing::executed(number - 1));
        segment.previous_gtids_sha256 = None;
        Body::Segment(Box::new(segment))
    }

    fn hole(number: u64) -> Body {
        Body::Hole(testing::hole(number))
    }

    fn ask(index: &Index, time: i64) -> Course {
        let moment = index
            .moment(Timeline(1), Micros(time))
            .expect("the index answers");
        course(moment, Micros(time))
    }

    fn name(row: &EntryRow) -> &str {
        row.mount_name.as_str()
    }

    #[test]
    fn a_moment_is_inside_the_first_segment_that_goes_beyond_it() {
        // The clock was set back in the third.
        let index = index([
            at(1, Some(10)),
            at(2, Some(50)),
            at(3, Some(30)),
            at(4, Some(60)),
        ]);
        let found = |time: i64| match ask(&index, time) {
            Course::Inside { entry, if_first } => (name(&entry).to_owned(), if_first),
            other => panic!("{time}: {other:?}"),
        };
        assert_eq!(found(9), ("binlog.000001".to_owned(), IfFirst::Begins));
        assert_eq!(found(10), ("binlog.000002".to_owned(), IfFirst::Fine));
        assert_eq!(found(49).0, "binlog.000002");
        assert_eq!(found(50), ("binlog.000004".to_owned(), IfFirst::Fine));
        assert_eq!(found(59).0, "binlog.000004");
        assert!(matches!(ask(&index, 60), Course::AtEndOf(row) if name(&row) == "binlog.000004"));
        let Course::Refuse(refusal) = ask(&index, 61) else {
            panic!("nobody knows what came then")
        };
        assert_eq!(refusal.kind, RefusalKind::TooLate);
        assert_eq!(refusal.last_before, Some(Micros(60)));
    }

    #[test]
    fn segments_without_transactions_are_passed_over() {
        let index = index([
            at(1, Some(10)),
            at(2, None),
            at(3, None),
            at(4, Some(20)),
            at(5, None),
        ]);
        let Course::Inside { entry, if_first } = ask(&index, 15) else {
            panic!("it is there")
        };
        assert_eq!((name(&entry), if_first), ("binlog.000004", IfFirst::Fine));
        assert!(matches!(ask(&index, 20), Course::AtEndOf(row) if name(&row) == "binlog.000004"));
    }

    #[test]
    fn both_ends_of_what_is_known_around_a_hole_can_be_reached_and_nothing_between() {
        let index = index([
            at(1, Some(10)),
            at(2, None),
            hole(3),
            hole(4),
            at(5, Some(50)),
        ]);
        let if_first = |time: i64| match ask(&index, time) {
            Course::Inside { entry, if_first } => {
                assert_eq!(name(&entry), "binlog.000005");
                if_first
            }
            other => panic!("{time}: {other:?}"),
        };
        assert!(matches!(if_first(10), IfFirst::AtEndOf(row) if name(&row) == "binlog.000001"));
        for time in [11, 30, 49] {
            let IfFirst::Refuse(refusal) = if_first(time) else {
                panic!("{time} lies in the hole")
            };
            assert_eq!(refusal.kind, RefusalKind::Missing);
            assert_eq!(refusal.last_before, Some(Micros(10)));
        }
        assert!(matches!(ask(&index, 50), Course::AtEndOf(row) if name(&row) == "binlog.000005"));
    }

    #[test]
    fn a_history_that_ends_in_a_hole_is_known_up_to_the_last_commit_before_it() {
        let index = index([at(1, Some(10)), hole(2)]);
        assert!(matches!(ask(&index, 10), Course::AtEndOf(row) if name(&row) == "binlog.000001"));
        assert!(
            matches!(ask(&index, 11), Course::Refuse(refusal) if refusal.kind == RefusalKind::TooLate)
        );
    }

    #[test]
    fn a_history_that_begins_with_a_hole_is_known_behind_it() {
        let index = index([hole(1), at(2, Some(10))]);
        let Course::Inside { if_first, .. } = ask(&index, 5) else {
            panic!("it is there")
        };
        assert!(matches!(if_first, IfFirst::Refuse(r) if r.last_before.is_none()));
    }

    #[test]
    fn an_empty_history_has_no_moment() {
        assert!(matches!(ask(&index([]), 5), Course::Refuse(r) if r.last_before.is_none()));
    }
}

//! Each chain rule, kept once and broken once.

use super::super::record::SupersedeReason;
use super::super::testing::{self, Writer, gap, hole, moved, segment, supersede};
use super::*;
use crate::ledger::entry::check_supersede;
use crate::ledger::record::SegmentRecord;
use crate::model::ObjectKey;

#[path = "fence_tests.rs"]
mod fences;

/// A ledger under way: every body is accepted, or told why not.
struct Ledger {
    state: LedgerState,
    writer: Writer,
}

fn ledger() -> Ledger {
    let stream = testing::stream_file();
    Ledger {
        state: LedgerState::new(&stream, &stream.write()),
        writer: Writer::default(),
    }
}

impl Ledger {
    fn offer(&mut self, body: Body) -> Result<Change, String> {
        let before = self.state.clone();
        let (seq, prev) = (self.writer.seq, self.writer.prev);
        let line = self.writer.write(body);
        self.state.accept(&line).map_err(|error| {
            assert_eq!(self.state, before, "a refused record changes nothing");
            (self.writer.seq, self.writer.prev) = (seq, prev);
            assert_eq!(error.seq, Seq(seq));
            error.reason
        })
    }

    fn segment(&mut self, segment: SegmentRecord) -> Result<Change, String> {
        self.offer(Body::Segment(Box::new(segment)))
    }

    fn with(numbers: std::ops::RangeInclusive<u64>) -> Ledger {
        let mut ledger = ledger();
        for number in numbers {
            ledger.segment(segment(number)).expect("accepted");
        }
        ledger
    }

    fn lose(&mut self, body: Body) -> Box<Entry> {
        self.writer.write(body);
        match self.state.accept_lost("its bytes are wrong") {
            Change::Add(entry) => entry,
            other => panic!("{other:?}"),
        }
    }
}

fn added(change: Result<Change, String>) -> Entry {
    match change {
        Ok(Change::Add(entry)) => *entry,
        other => panic!("{other:?}"),
    }
}

#[test]
fn segments_in_order_are_accepted_and_previous_gtids_follow() {
    let mut ledger = Ledger::with(1..=3);
    let entry = added(ledger.segment(segment(4)));
    assert_eq!(entry.previous_gtids, Some(testing::executed(3)));
    assert_eq!(entry.seq, Seq(4));
    let (id, timeline) = ledger.state.newest_timeline().expect("one");
    assert_eq!(
        (id, &timeline.archived),
        (Timeline(1), &testing::executed(4))
    );
    assert_eq!(ledger.state.next_seq(), Seq(5));
}

#[test]
fn a_state_resumes_from_its_text() {
    let ledger = Ledger::with(1..=3);
    let json = serde_json::to_string(&ledger.state).expect("text");
    let resumed: LedgerState = serde_json::from_str(&json).expect("a state");
    assert_eq!(resumed, ledger.state);
}

#[test]
fn a_record_out_of_its_place_or_of_another_chain_is_refused() {
    let mut ledger = Ledger::with(1..=2);
    let (seq, prev) = (ledger.writer.seq, ledger.writer.prev);
    for (seq, prev, reason) in [
        (seq - 1, prev, "place"),
        (seq + 1, prev, "place"),
        (seq, Sha256::of(b"other"), "does not continue"),
    ] {
        let line = Writer { seq, prev }.write(Body::Segment(Box::new(segment(3))));
        let error = ledger.state.accept(&line).expect_err("refused");
        assert!(error.reason.contains(reason), "{error}");
    }
    ledger.segment(segment(3)).expect("accepted");
    let mut other = StreamFile {
        stream_id: uuid::Uuid::from_u128(8),
        ..testing::stream_file()
    };
    other.format = 1;
    let mut state = LedgerState::new(&other, &other.write());
    let first = Writer::default().write(Body::Segment(Box::new(segment(1))));
    assert!(
        state.accept(&first).is_err(),
        "the first record names its stream"
    );
}

#[test]
fn each_rule_of_a_segment_is_broken_once() {
    type Break = (fn(&mut SegmentRecord), &'static str);
    let breaks: [Break; 12] = [
        (|s| s.number = SegmentNumber(9), "says number"),
        (|s| *s = segment(5), "has number 5 after number 3"),
        (|s| *s = segment(3), "has number 3 after number 3"),
        (
            |s| s.object.key = "ledger/x".parse().expect("a key"),
            "outside segments/",
        ),
        (
            |s| s.incarnation = Incarnation(0),
            "incarnation or timeline 0",
        ),
        (|s| s.timeline = Timeline(0), "incarnation or timeline 0"),
        (|s| s.timeline = Timeline(2), "moves incarnation"),
        (|s| s.incarnation = Incarnation(3), "begins incarnation 3"),
        (|s| *s = moved(4, 2, 3), "begins timeline 3"),
        (
            |s| s.mount_name = "binlog.000002".parse().expect("a name"),
            "sort after",
        ),
        (
            |s| s.mount_name = "zbinlog.000009".parse().expect("a name"),
            "with numbers after it",
        ),
        (
            |s| s.mount_name = "binlog.000004.0".parse().expect("a name"),
            "a gap's name",
        ),
    ];
    for (change, reason) in breaks {
        let mut ledger = Ledger::with(1..=3);
        let mut broken = segment(4);
        change(&mut broken);
        let said = ledger.segment(broken).expect_err(reason);
        assert!(said.contains(reason), "{said}");
        ledger
            .segment(segment(4))
            .expect("the right one is still accepted");
    }
    let mut lying = segment(4);
    lying.previous_gtids_sha256 = Some(Sha256::of(b"other"));
    let said = Ledger::with(1..=3).segment(lying).expect_err("refused");
    assert!(said.contains("previous GTIDs"), "{said}");
}

#[test]
fn mount_names_may_only_have_digits_after_the_basename() {
    for bad in [
        "binlog.00000a",
        "binlog",
        "binlog.000004.ctl",
        "binlogs.000004",
        "binlog.000004~",
    ] {
        let mut broken = segment(4);
        broken.mount_name = bad.parse().expect("a name");
        assert!(Ledger::with(1..=3).segment(broken).is_err(), "{bad}");
    }
}

#[test]
fn incarnations_join_a_timeline_or_begin_the_next() {
    let mut ledger = Ledger::with(1..=3);
    added(ledger.segment(moved(4, 2, 1)));
    added(ledger.segment(moved(1, 3, 2)));
    // The old primary's late tail, while the new timeline goes on.
    assert!(
        ledger.segment(segment(4)).is_err(),
        "its name would sort before incarnation 2"
    );
    added(ledger.segment(moved(2, 3, 2)));
    let timelines: Vec<_> = ledger
        .state
        .timelines()
        .map(|(id, t)| (id.0, t.first_incarnation.0))
        .collect();
    assert_eq!(timelines, [(1, 1), (2, 3)]);
}

#[test]
fn a_hole_keeps_the_place_and_forgets_what_was_executed() {
    let mut ledger = Ledger::with(1..=3);
    assert_eq!(
        added(ledger.offer(Body::Hole(hole(4)))).state,
        EntryState::Hole
    );
    assert_eq!(added(ledger.segment(segment(5))).previous_gtids, None);
    let mut broken = hole(6);
    broken.number = SegmentNumber(7);
    assert!(ledger.offer(Body::Hole(broken)).is_err());
    assert!(ledger.offer(Body::Hole(hole(9))).is_err());
}

#[test]
fn a_gap_stands_after_a_record_of_its_timeline() {
    let mut ledger = Ledger::with(1..=3);
    assert!(
        ledger.offer(Body::Gap(gap(3, 4))).is_err(),
        "after a later record"
    );
    assert!(
        ledger.offer(Body::Gap(gap(2, 2))).is_err(),
        "before the last name"
    );
    let mut other = gap(3, 3);
    other.timeline = Timeline(2);
    assert!(ledger.offer(Body::Gap(other)).is_err(), "in no timeline");
    let mut named = gap(3, 3);
    named.mount_name = "binlog.000004".parse().expect("a name");
    assert!(
        ledger.offer(Body::Gap(named)).is_err(),
        "under a segment's name"
    );
    let entry = added(ledger.offer(Body::Gap(gap(3, 3))));
    assert_eq!(
        (entry.state, entry.number),
        (EntryState::Gap, SegmentNumber(3))
    );
    assert!(ledger.offer(Body::Gap(gap(3, 3))).is_err(), "twice");
    added(ledger.segment(segment(4)));
}

#[test]
fn fences_prunes_and_supersedes_name_what_exists() {
    let mut ledger = Ledger::with(1..=3);
    let mut fence = testing::fence(3, 100);
    assert!(matches!(
        ledger.offer(Body::Fence(fence.clone())),
        Ok(Change::Fence(_))
    ));
    fence.timeline = Timeline(2);
    assert!(ledger.offer(Body::Fence(fence)).is_err());
    let mut prune = testing::prune(1);
    assert!(matches!(
        ledger.offer(Body::Prune(prune.clone())),
        Ok(Change::Prune(_))
    ));
    prune.timeline = Timeline(2);
    assert!(ledger.offer(Body::Prune(prune)).is_err());
    let later = supersede(9, 3, SupersedeReason::Rekeyed);
    assert!(ledger.offer(Body::Supersede(Box::new(later))).is_err());
    let mut outside = supersede(3, 3, SupersedeReason::Rekeyed);
    outside.segment.object.key = "pages/x".parse::<ObjectKey>().expect("a key");
    assert!(ledger.offer(Body::Supersede(Box::new(outside))).is_err());
}

#[test]
fn nothing_follows_the_record_that_says_where_the_history_goes_on() {
    let mut ledger = Ledger::with(1..=3);
    assert_eq!(ledger.state.moved, None);
    let moved = Body::Moved(testing::moved_to());
    assert_eq!(ledger.offer(moved.clone()), Ok(Change::Moved));
    assert_eq!(ledger.state.moved, Some(testing::moved_to()));
    for body in [Body::Segment(Box::new(segment(4))), moved] {
        let error = ledger.offer(body).expect_err("it has moved");
        assert!(
            error.to_string().contains("has moved to s3://elsewhere"),
            "{error}"
        );
    }
}

#[test]
fn only_the_same_segment_takes_the_place_of_another() {
    let entry = added(Ledger::with(1..=3).segment(segment(4)));
    let good = supersede(4, 4, SupersedeReason::Rekeyed).segment;
    assert_eq!(check_supersede(&entry, &good), Ok(()));
    let mut other_bytes = good.clone();
    other_bytes.sha256 = Sha256::of(b"other");
    assert!(check_supersede(&entry, &other_bytes).is_err());
    let mut damaged = entry.clone();
    damaged.state = EntryState::Damaged;
    assert_eq!(check_supersede(&damaged, &other_bytes), Ok(()));
    let rekeyed = testing::rekeyed(4, segment(4)).segment;
    assert_eq!(check_supersede(&entry, &rekeyed), Ok(()));
    let mut other_object = rekeyed.clone();
    other_object.object.tail_sha256 = Sha256::of(b"other");
    let error = check_supersede(&entry, &other_object).expect_err("one object, two tails");
    assert!(error.contains("says otherwise of the object"), "{error}");
    assert!(check_supersede(&entry, &segment(5)).is_err());
    assert!(check_supersede(&entry, &moved(4, 2, 1)).is_err());
    let hole = added(Ledger::with(1..=3).offer(Body::Hole(hole(4))));
    assert_eq!(check_supersede(&hole, &other_bytes), Ok(()));
    let gap = added(Ledger::with(1..=4).offer(Body::Gap(gap(4, 4))));
    assert!(check_supersede(&gap, &good).is_err());
}

#[test]
fn after_a_lost_record_the_next_one_is_accepted_and_the_place_shows() {
    for lost in 1..=5 {
        let mut ledger = Ledger::with(1..=lost - 1);
        let entry = ledger.lose(Body::Segment(Box::new(segment(lost))));
        assert_eq!(entry.state, EntryState::Lost);
        let next = added(ledger.segment(segment(lost + 1)));
        assert!(entry.mount_name < next.mount_name);
        assert_eq!(
            next.previous_gtids, None,
            "what the lost one executed is unknown"
        );
        assert!(
            ledger.segment(segment(lost + 3)).is_err(),
            "one lost record explains one number"
        );
    }
}

#[test]
fn a_lost_record_of_any_kind_does_not_end_a_ledger() {
    let lost = [
        Body::Hole(hole(4)),
        Body::Fence(testing::fence(3, 1)),
        Body::Prune(testing::prune(1)),
        Body::Gap(gap(3, 3)),
        Body::Segment(Box::new(moved(4, 2, 1))),
        Body::Segment(Box::new(moved(1, 2, 2))),
    ];
    let next = [
        Body::Segment(Box::new(segment(5))),
        Body::Gap(gap(3, 3)),
        Body::Segment(Box::new(segment(4))),
        Body::Segment(Box::new(segment(4))),
        Body::Segment(Box::new(moved(5, 2, 1))),
        Body::Segment(Box::new(moved(2, 2, 2))),
    ];
    for (lost, next) in lost.into_iter().zip(next) {
        let mut ledger = Ledger::with(1..=3);
        ledger.lose(lost.clone());
        ledger
            .offer(next)
            .unwrap_or_else(|reason| panic!("{lost:?}: {reason}"));
    }
}

#[test]
fn records_of_another_incarnation_between_do_not_use_up_what_a_lost_one_explains() {
    let mut ledger = Ledger::with(1..=3);
    added(ledger.segment(moved(1, 2, 2)));
    ledger.lose(Body::Segment(Box::new(segment(4))));
    added(ledger.segment(moved(2, 2, 2)));
    added(ledger.segment(segment(5)));
    assert!(ledger.segment(segment(7)).is_err());
    // One that began an incarnation and a timeline, seen only after the next one began.
    ledger.lose(Body::Segment(Box::new(moved(1, 3, 3))));
    added(ledger.segment(moved(1, 4, 4)));
    added(ledger.segment(moved(2, 3, 3)));
    assert!(
        ledger.segment(moved(1, 8, 5)).is_err(),
        "two lost records explain no three"
    );
}

#[test]
fn several_lost_records_share_one_place() {
    let mut ledger = Ledger::with(1..=3);
    let names: Vec<_> = (4..=6)
        .map(|n| ledger.lose(Body::Segment(Box::new(segment(n)))).mount_name)
        .collect();
    assert_eq!(
        names,
        ["binlog.000003.0"; 3].map(|n| n.parse().expect("a name"))
    );
    added(ledger.segment(segment(7)));
}

//! What an index must know and survive.

use super::*;
use crate::ledger::record::{SegmentRecord, SupersedeReason};
use crate::ledger::testing::{self, SEGMENT_SECONDS, TRANSACTIONS, Writer, moved, segment};
use crate::ledger::{Body, EntryState, Line};
use crate::model::{
    Gtid, GtidSet, GtidSource, Micros, MountName, SegmentNumber, Seq, Sha256, Timeline,
};
use proptest::prelude::*;

const T1: Timeline = Timeline(1);

fn begun() -> Index {
    let index = Index::in_memory().expect("opens");
    begin(&index);
    index
}

fn begin(index: &Index) {
    let file = testing::stream_file();
    index.begin(&file, &file.write()).expect("begins");
}

fn with(bodies: Vec<Body>) -> Index {
    let index = begun();
    index.apply(&steps(bodies)).expect("applies");
    index
}

fn steps(bodies: Vec<Body>) -> Vec<Step> {
    let mut writer = Writer::default();
    bodies
        .into_iter()
        .map(|body| Step::Line(writer.write(body)))
        .collect()
}

/// The steps with some places lost.
fn losing(bodies: Vec<Body>, lost: &[u64]) -> Vec<Step> {
    steps(bodies)
        .into_iter()
        .map(|step| match step.seq() {
            seq if lost.contains(&seq.0) => Step::Lost {
                seq,
                reason: "bits".to_owned(),
            },
            _ => step,
        })
        .collect()
}

fn seg(number: u64) -> Body {
    Body::Segment(Box::new(segment(number)))
}

fn boxed(segment: SegmentRecord) -> Body {
    Body::Segment(Box::new(segment))
}

fn superseding(old: u64, number: u64, reason: SupersedeReason) -> Body {
    Body::Supersede(Box::new(testing::supersede(old, number, reason)))
}

fn name(text: &str) -> MountName {
    text.parse().expect("a name")
}

fn names(index: &Index, timeline: u32) -> Vec<String> {
    let rows = index
        .rows(Timeline(timeline), None, usize::MAX)
        .expect("lists");
    listing_agrees(index, &rows, Timeline(timeline));
    rows.iter()
        .map(|row| match row.state {
            EntryState::Archived => row.mount_name.to_string(),
            state => format!("{} {state:?}", row.mount_name),
        })
        .collect()
}

/// The chunks of a timeline say what its rows say, and leave only its ends out.
fn listing_agrees(index: &Index, rows: &[EntryRow], timeline: Timeline) {
    let chunks = index.listing(timeline).expect("reads");
    let mut found = Vec::new();
    for chunk in &chunks {
        let mut listed = Vec::new();
        index
            .listed(chunk, |row| listed.push(format!("{row:?}")))
            .expect("reads");
        assert_eq!(listed.len() as u64, chunk.entries);
        found.append(&mut listed);
    }
    let said: Vec<String> = rows
        .iter()
        .map(|row| {
            let row = ListedRow {
                seq: row.seq,
                name: row.mount_name.as_str(),
                state: row.state,
                size: row.size,
                stored_size: row.stored_size,
                time: row.last_time.or(row.first_time),
            };
            format!("{row:?}")
        })
        .collect();
    let Some(first) = chunks.first() else {
        return assert!(said.len() < 8, "{} entries in no chunk", said.len());
    };
    let before = rows.partition_point(|row| row.mount_name < first.first_name);
    assert_eq!(said[before..before + found.len()], found);
    let after = said.len() - before - found.len();
    assert!(
        before < 8 && after < 8,
        "{before} before the chunks, {after} after them"
    );
    let ends = |row: Option<&EntryRow>| row.map(|row| (row.seq, row.mount_name.clone()));
    for chunk in &chunks {
        let at = |name: &MountName| ends(rows.iter().find(|row| row.mount_name == *name));
        assert_eq!(
            at(&chunk.first_name),
            Some((chunk.first_seq, chunk.first_name.clone()))
        );
        assert_eq!(
            at(&chunk.last_name),
            Some((chunk.last_seq, chunk.last_name.clone()))
        );
    }
}

fn gtid(number: u64) -> Gtid {
    Gtid {
        source: testing::source(),
        number,
    }
}

/// Everything the tables hold, as text.
fn dump(index: &Index) -> String {
    let inner = index.lock();
    let mut text = String::new();
    for table in [
        "lines", "entries", "aliases", "objects", "sources", "runs", "bounds", "breaks", "meta",
    ] {
        let mut query = inner
            .conn
            .prepare(
                &format!("SELECT * FROM {table} ORDER BY 1, 2, 3")
                    .replace(", 3", if table == "runs" { ", 3, 4" } else { "" }),
            )
            .expect("a query");
        let columns = query.column_count();
        let mut rows = query.query([]).expect("rows");
        while let Some(row) = rows.next().expect("a row") {
            for column in 0..columns {
                text.push_str(&format!("{:?}|", row.get_ref(column).expect("a value")));
            }
            text.push('\n');
        }
    }
    text
}

#[test]
fn entries_come_back_as_the_ledger_said_them() {
    let lines: Vec<Line> = testing::chain(1203).collect();
    let index = begun();
    let file = testing::stream_file();
    let mut state = LedgerState::new(&file, &file.write());
    let mut expected = Vec::new();
    for line in &lines {
        match state.accept(line).expect("accepted") {
            crate::ledger::entry::Change::Add(entry) => expected.push(*entry),
            other => panic!("{other:?}"),
        }
    }
    for batch in lines.chunks(100) {
        let steps: Vec<Step> = batch.iter().cloned().map(Step::Line).collect();
        index.apply(&steps).expect("applies");
    }
    assert_eq!(*index.state().expect("reads").expect("a state"), state);
    assert_eq!(
        index.entries(T1, None, usize::MAX).expect("reads"),
        expected
    );
    for at in [0, 1, 500, 999, 1000, 1001, 1202] {
        let entry = &expected[at];
        assert_eq!(
            index.entry(T1, &entry.mount_name).expect("reads").as_ref(),
            Some(entry)
        );
        assert_eq!(
            index.entry_by_seq(entry.seq).expect("reads").as_ref(),
            Some(entry)
        );
        let segment = entry.segment.as_ref().expect("a segment");
        assert_eq!(
            index.find(&segment.head, segment.number).expect("reads"),
            std::slice::from_ref(entry)
        );
        assert!(index.names_object(&segment.object.key).expect("reads"));
        assert_eq!(
            index.line(entry.seq).expect("reads").as_deref(),
            Some(lines[at].text())
        );
    }
    assert_eq!(
        index
            .find(&Sha256::of(b"other"), SegmentNumber(5))
            .expect("reads"),
        []
    );
    assert_eq!(index.continuity(T1).expect("reads"), []);
    let info = index.timelines().expect("reads");
    assert_eq!((info.len(), info[0].entries), (1, 1203));
    assert_eq!(
        info[0].last.as_ref().map(|row| row.size),
        Some(4096 + 1203 * 17)
    );
}

#[test]
fn listings_go_on_after_a_name_and_following_includes_it() {
    let index = with((1..=9).map(seg).collect());
    let page = index
        .rows(T1, Some(&name("binlog.000004")), 2)
        .expect("lists");
    assert_eq!(page.iter().map(|r| r.seq.0).collect::<Vec<_>>(), [5, 6]);
    let from = index
        .following(T1, &name("binlog.000004"), 2)
        .expect("lists");
    assert_eq!(from.iter().map(|r| r.seq.0).collect::<Vec<_>>(), [4, 5]);
    let keys = index.object_keys(None, 4).expect("lists");
    let more = index.object_keys(Some(&keys[3].0), 100).expect("lists");
    assert_eq!((keys.len(), more.len()), (4, 5));
}

#[test]
fn a_batch_applied_twice_or_overlapping_changes_nothing() {
    let steps = steps((1..=20).map(seg).collect());
    let index = begun();
    assert_eq!(index.apply(&steps[..12]).expect("applies").records, 12);
    let applied = index.apply(&steps[5..]).expect("applies");
    assert_eq!((applied.records, applied.added), (8, 8));
    let once = begun();
    once.apply(&steps).expect("applies");
    assert_eq!(dump(&index), dump(&once));
    assert_eq!(index.apply(&steps).expect("applies").records, 0);
}

#[test]
fn a_record_that_replaces_one_applied_is_told() {
    let index = with((1..=3).map(seg).collect());
    let mut writer = Writer::default();
    let mut other = segment(1);
    other.archiver = "someone else".to_owned();
    let forged = Step::Line(writer.write(boxed(other)));
    let error = index.apply(&[forged]).expect_err("refused").to_string();
    assert!(
        error.contains("record 1") && error.contains("replaced"),
        "{error}"
    );
}

#[test]
fn a_broken_record_ends_a_batch_and_all_before_it_is_there() {
    let mut duplicate_key = segment(4);
    duplicate_key.object.key = segment(2).object.key;
    let mut duplicate_name = segment(4);
    duplicate_name.mount_name = name("binlog.000003");
    for (bad, reason) in [
        (boxed(duplicate_key), "which record 2 names already"),
        (boxed(duplicate_name), "does not sort after"),
        (seg(9), "has number 9"),
        (
            superseding(3, 2, SupersedeReason::Rekeyed),
            "another segment",
        ),
        (Body::Fence(testing::fence(9, 1)), "introduced no segment"),
        (Body::Prune(testing::prune(9)), "introduced no segment"),
    ] {
        let index = begun();
        let mut bodies: Vec<Body> = (1..=3).map(seg).collect();
        bodies.push(bad);
        bodies.push(seg(4));
        let error = index.apply(&steps(bodies)).expect_err(reason);
        assert!(
            matches!(&error, IndexError::Chain(e) if e.seq == Seq(4)),
            "{error}"
        );
        assert!(error.to_string().contains(reason), "{error}");
        let clean = with((1..=3).map(seg).collect());
        assert_eq!(dump(&index), dump(&clean), "{reason}");
        // The same handle goes on with the right record.
        let mut right: Vec<Body> = (1..=4).map(seg).collect();
        index.apply(&steps(right.split_off(0))).expect("goes on");
    }
}

#[test]
fn a_filled_hole_a_better_copy_and_a_rekeyed_object_are_replaced_in_place() {
    let mut damaged = segment(3);
    damaged.damaged = Some(crate::ledger::record::DamagedRecord {
        first_bad_position: 99,
        reason: "bad checksum".to_owned(),
    });
    damaged.gtids = GtidSet::new();
    let mut rekeyed = testing::supersede(6, 2, SupersedeReason::Rekeyed);
    rekeyed.segment.object.key = "segments/third".parse().expect("a key");
    let index = with(vec![
        seg(1),
        Body::Hole(testing::hole(2)),
        boxed(damaged),
        seg(4),
        superseding(3, 3, SupersedeReason::BetterCopy),
        superseding(2, 2, SupersedeReason::HoleFilled),
        Body::Supersede(Box::new(rekeyed)),
    ]);
    assert_eq!(
        names(&index, 1),
        [
            "binlog.000001",
            "binlog.000002",
            "binlog.000003",
            "binlog.000004"
        ]
    );
    let filled = index
        .entry(T1, &name("binlog.000002"))
        .expect("reads")
        .expect("there");
    assert_eq!(
        filled.seq,
        Seq(2),
        "the entry keeps the record that introduced it"
    );
    let key = filled
        .segment
        .as_ref()
        .expect("a segment")
        .object
        .key
        .to_string();
    assert_eq!(key, "segments/third");
    for seq in [2, 6, 7] {
        assert_eq!(
            index.entry_by_seq(Seq(seq)).expect("reads").as_ref(),
            Some(&filled)
        );
    }
    let held = index.holding(&gtid(2 * TRANSACTIONS + 1)).expect("reads");
    assert_eq!(held.iter().map(|e| e.seq.0).collect::<Vec<_>>(), [3]);
    assert_eq!(index.continuity(T1).expect("reads"), []);
    assert_eq!(
        index.object_keys(None, 99).expect("lists").len(),
        6,
        "superseded objects are named still"
    );
}

#[test]
fn a_fence_and_a_prune_bound_what_is_visible() {
    let mut bodies: Vec<Body> = (1..=9).map(seg).collect();
    bodies.push(Body::Fence(testing::fence(7, 500)));
    bodies.push(Body::Prune(testing::prune(2)));
    // A later fence further on, and an earlier prune, change nothing.
    bodies.push(Body::Fence(testing::fence(8, 1)));
    bodies.push(Body::Prune(testing::prune(1)));
    let index = with(bodies);
    assert_eq!(names(&index, 1).len(), 5);
    let fence = index.fence(T1).expect("reads").expect("fenced");
    assert_eq!(fence.mount_name, Some(name("binlog.000007")));
    assert_eq!(
        (fence.position, fence.reason.as_str()),
        (Some(500), "failover")
    );
    for hidden in [1, 2, 8, 9] {
        let number = segment(hidden);
        assert_eq!(index.entry(T1, &number.mount_name).expect("reads"), None);
        assert!(index.entry_by_seq(Seq(hidden)).expect("reads").is_some());
        assert_eq!(
            index
                .find(&number.head, number.number)
                .expect("reads")
                .len(),
            1
        );
        assert_eq!(
            index.holding(&gtid(hidden * TRANSACTIONS)).expect("reads"),
            []
        );
    }
    let all = index
        .overlapping(T1, Micros(i64::MIN), Micros(i64::MAX))
        .expect("reads");
    assert_eq!(
        all.iter().map(|r| r.seq.0).collect::<Vec<_>>(),
        [3, 4, 5, 6, 7]
    );
    assert_eq!(index.timelines().expect("reads")[0].entries, 5);
    assert_eq!(index.fence(Timeline(2)).expect("reads"), None);
}

#[test]
fn times_find_the_segments_that_overlap_them() {
    let mut odd = segment(4);
    odd.min_time = Some(Micros(testing::BEGINNING.0 - 1_000_000_000_000));
    let index = with(vec![seg(1), seg(2), seg(3), boxed(odd), seg(5)]);
    let at = |from: i64, to: i64| -> Vec<u64> {
        let time = |s: i64| Micros(testing::BEGINNING.0 + s * 1_000_000);
        let rows = index.overlapping(T1, time(from), time(to)).expect("reads");
        rows.iter().map(|row| row.seq.0).collect()
    };
    assert_eq!(at(0, 0), [1, 4]);
    assert_eq!(at(SEGMENT_SECONDS, 2 * SEGMENT_SECONDS), [2, 3, 4]);
    assert_eq!(at(-10, -5), [4]);
    assert_eq!(
        at(SEGMENT_SECONDS * 5, SEGMENT_SECONDS * 9),
        Vec::<u64>::new()
    );
}

#[test]
fn findings_tell_every_place_that_is_not_whole_in_order() {
    let mut jumping = segment(6);
    let mut executed = testing::executed(5);
    executed.insert_run(testing::source(), 500_000, 500_010);
    jumping.previous_gtids = Some(executed);
    jumping.previous_gtids_sha256 = None;
    let mut damaged = segment(2);
    damaged.damaged = Some(crate::ledger::record::DamagedRecord {
        first_bad_position: 99,
        reason: "bad checksum".to_owned(),
    });
    let mut full = segment(5);
    full.previous_gtids = Some(testing::executed(4));
    let index = with(vec![
        seg(1),
        boxed(damaged),
        Body::Hole(testing::hole(3)),
        Body::Gap(testing::gap(3, 3)),
        seg(4),
        boxed(full),
        boxed(jumping),
    ]);
    let found = index.continuity(T1).expect("reads");
    let told: Vec<String> = found.iter().map(|f| f.mount_name().to_string()).collect();
    assert_eq!(
        told,
        [
            "binlog.000002",
            "binlog.000003",
            "binlog.000003.0",
            "binlog.000006"
        ]
    );
    let Finding::GtidBreak {
        appeared, vanished, ..
    } = &found[3]
    else {
        panic!("{found:?}");
    };
    assert_eq!((appeared.count(), vanished.is_empty()), (11, true));
}

#[test]
fn lost_records_show_at_their_place_and_the_rest_is_listed() {
    let bodies = || (1..=6).map(seg).collect::<Vec<_>>();
    for lost in 1..=6u64 {
        let index = begun();
        index.apply(&losing(bodies(), &[lost])).expect("applies");
        let listed = names(&index, 1);
        assert_eq!(listed.len(), 6, "{listed:?}");
        assert!(listed[lost as usize - 1].ends_with(".0 Lost"), "{listed:?}");
        assert_eq!(index.continuity(T1).expect("reads").len(), 1);
        assert_eq!(index.line(Seq(lost)).expect("reads"), None);
    }
    let index = begun();
    index.apply(&losing(bodies(), &[3, 4, 5])).expect("applies");
    assert_eq!(
        names(&index, 1),
        [
            "binlog.000001",
            "binlog.000002",
            "binlog.000002.0 Lost",
            "binlog.000006"
        ]
    );
    let entry = index
        .entry_by_seq(Seq(5))
        .expect("reads")
        .expect("shares the place");
    assert!(
        entry.seq == Seq(3) && entry.reason.contains("record 5"),
        "{entry:?}"
    );
}

#[test]
fn a_gap_where_a_lost_record_stands_takes_its_place() {
    let bodies = vec![
        seg(1),
        Body::Fence(testing::fence(1, 9)),
        Body::Gap(testing::gap(1, 1)),
        seg(2),
    ];
    let index = begun();
    index.apply(&losing(bodies, &[2])).expect("applies");
    assert_eq!(
        names(&index, 1),
        ["binlog.000001", "binlog.000001.0 Gap", "binlog.000002"]
    );
    assert_eq!(
        index.entry_by_seq(Seq(3)).expect("reads").map(|e| e.seq),
        Some(Seq(2))
    );
}

#[test]
fn a_record_lost_from_another_timeline_is_shown_there_once_that_is_known() {
    let bodies = vec![
        seg(1),
        boxed(moved(1, 2, 2)),
        seg(2),
        seg(3),
        boxed(moved(2, 2, 2)),
        seg(4),
    ];
    let index = begun();
    index.apply(&losing(bodies.clone(), &[3])).expect("applies");
    assert_eq!(
        names(&index, 1),
        [
            "binlog.000001",
            "binlog.000001.0 Lost",
            "binlog.000003",
            "binlog.000004"
        ]
    );
    assert_eq!(names(&index, 2), ["binlog.000001", "binlog.000002"]);
    // Two lost, one of each: they shared a place until the first showed where it belonged.
    let index = begun();
    index.apply(&losing(bodies, &[4, 5])).expect("applies");
    assert_eq!(
        names(&index, 1),
        [
            "binlog.000001",
            "binlog.000002",
            "binlog.000002.0 Lost",
            "binlog.000004"
        ]
    );
    assert_eq!(names(&index, 2), ["binlog.000001", "binlog.000001.0 Lost"]);
    // The record that began a timeline.
    let index = begun();
    let bodies = vec![seg(1), boxed(moved(1, 2, 2)), boxed(moved(2, 2, 2))];
    index.apply(&losing(bodies, &[2])).expect("applies");
    assert_eq!(names(&index, 1), ["binlog.000001"]);
    assert_eq!(names(&index, 2), ["binlog.000000.0 Lost", "binlog.000002"]);
}

#[test]
fn what_supersedes_a_lost_record_restores_it_where_its_place_is_plain() {
    let bodies = vec![
        seg(1),
        Body::Hole(testing::hole(2)),
        seg(3),
        superseding(2, 2, SupersedeReason::HoleFilled),
    ];
    let index = begun();
    index.apply(&losing(bodies.clone(), &[2])).expect("applies");
    assert_eq!(
        names(&index, 1),
        ["binlog.000001", "binlog.000002", "binlog.000003"]
    );
    // Two lost in a row: whose place it is cannot be told, and nothing is guessed.
    let bodies = vec![
        seg(1),
        seg(2),
        seg(3),
        seg(4),
        superseding(2, 2, SupersedeReason::Rekeyed),
        superseding(5, 2, SupersedeReason::Rekeyed),
    ];
    let mut last = testing::supersede(5, 2, SupersedeReason::Rekeyed);
    last.segment.object.key = "segments/other".parse().expect("a key");
    let index = begun();
    index
        .apply(&losing(bodies.clone(), &[2, 3]))
        .expect("applies");
    assert_eq!(
        names(&index, 1),
        ["binlog.000001", "binlog.000001.0 Lost", "binlog.000004"]
    );
    // The superseding record itself is lost, and one more supersedes it.
    let index = begun();
    index.apply(&losing(bodies, &[5])).expect("applies");
    assert_eq!(names(&index, 1).len(), 5);
    let entry = index
        .entry(T1, &name("binlog.000002"))
        .expect("reads")
        .expect("there");
    assert!(
        entry
            .segment
            .is_some_and(|s| s.object.key.as_str().contains("again-5"))
    );
}

#[test]
fn a_fence_in_a_lost_segment_ends_the_timeline_before_it() {
    let bodies = vec![
        seg(1),
        seg(2),
        boxed(moved(1, 2, 2)),
        seg(3),
        Body::Fence(testing::fence(4, 77)),
    ];
    let index = begun();
    index.apply(&losing(bodies, &[4])).expect("applies");
    let fence = index.fence(T1).expect("reads").expect("fenced");
    assert_eq!(
        (fence.mount_name, fence.position),
        (Some(name("binlog.000002")), None)
    );
}

#[test]
fn another_stream_is_refused_and_the_same_is_not() {
    let index = with(vec![seg(1)]);
    begin(&index);
    let mut other = testing::stream_file();
    other.created_at = Micros(1);
    let error = index
        .begin(&other, &other.write())
        .expect_err("refused")
        .to_string();
    assert!(error.contains("was replaced"), "{error}");
    other.stream_id = uuid::Uuid::from_u128(9);
    let error = index.begin(&other, &other.write()).expect_err("refused");
    assert!(matches!(error, IndexError::OtherStream { .. }), "{error}");
    assert_eq!(names(&index, 1).len(), 1);
    let unbegun = Index::in_memory().expect("opens");
    assert!(matches!(
        unbegun.apply(&steps(vec![seg(1)])),
        Err(IndexError::NotBegun { .. })
    ));
    assert_eq!(unbegun.state().expect("reads"), None);
}

#[test]
fn a_reset_index_fills_again_to_the_same() {
    let index = with((1..=5).map(seg).collect());
    let full = dump(&index);
    index.reset().expect("resets");
    assert_eq!(names(&index, 1), Vec::<String>::new());
    index
        .apply(&steps((1..=5).map(seg).collect()))
        .expect("applies");
    assert_eq!(dump(&index), full);
}

/// A closed index file with five segments, and its dump.
fn file_index(dir: &std::path::Path) -> (std::path::PathBuf, String) {
    let path = dir.join("deep/er/index.db");
    let (index, opened) = Index::open(&path).expect("opens");
    assert_eq!(opened, Opened::Fresh);
    begin(&index);
    index
        .apply(&steps((1..=50).map(seg).collect()))
        .expect("applies");
    let full = dump(&index);
    drop(index);
    let (index, opened) = Index::open(&path).expect("opens");
    assert_eq!(opened, Opened::Existing);
    assert_eq!(dump(&index), full);
    (path, full)
}

fn rebuilt(path: &std::path::Path) -> (Opened, String) {
    let (index, opened) = Index::open(path).expect("opens");
    begin(&index);
    index
        .apply(&steps((1..=50).map(seg).collect()))
        .expect("applies");
    (opened, dump(&index))
}

#[test]
fn an_index_deleted_cut_or_of_another_version_is_rebuilt_equal() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, full) = file_index(dir.path());
    let good = std::fs::read(&path).expect("reads");
    std::fs::remove_file(&path).expect("deletes");
    assert_eq!(rebuilt(&path), (Opened::Fresh, full.clone()));
    for len in [
        1,
        15,
        16,
        99,
        100,
        4096,
        good.len() / 2,
        good.len() - 1,
        good.len() - 4096,
    ] {
        std::fs::write(&path, &good[..len]).expect("writes");
        let (opened, dump) = rebuilt(&path);
        // SQLite takes less than a page for a new database.
        assert_ne!(opened, Opened::Existing, "{len}");
        assert_eq!(dump, full);
    }
    std::fs::write(&path, b"").expect("writes");
    assert_eq!(rebuilt(&path), (Opened::Fresh, full.clone()));
    std::fs::write(&path, vec![0x5a; 100_000]).expect("writes");
    assert!(matches!(rebuilt(&path), (Opened::Rebuilt { .. }, dump) if dump == full));
    let conn = rusqlite::Connection::open(&path).expect("opens");
    conn.pragma_update(None, "user_version", 99).expect("sets");
    drop(conn);
    let (opened, dump) = rebuilt(&path);
    assert!(
        matches!(&opened, Opened::Rebuilt { why } if why.contains("99")),
        "{opened:?}"
    );
    assert_eq!(dump, full);
}

#[test]
fn another_programs_database_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("other.db");
    let conn = rusqlite::Connection::open(&path).expect("opens");
    conn.execute_batch("CREATE TABLE precious (x); INSERT INTO precious VALUES (1)")
        .expect("fills");
    drop(conn);
    let before = std::fs::read(&path).expect("reads");
    let error = Index::open(&path).err().expect("refused").to_string();
    assert!(error.contains("another program"), "{error}");
    assert_eq!(std::fs::read(&path).expect("reads"), before);
}

#[test]
fn damage_met_in_use_is_told_and_the_next_open_rebuilds() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, full) = file_index(dir.path());
    let (index, _) = Index::open(&path).expect("opens");
    let text = index
        .line(Seq(7))
        .expect("reads")
        .expect("there")
        .replace("db1", "db2");
    index
        .lock()
        .conn
        .execute("UPDATE lines SET text = ?1 WHERE seq = 7", [text])
        .expect("tampers");
    let error = index.entry_by_seq(Seq(7)).expect_err("found");
    assert!(matches!(error, IndexError::Corrupt { .. }), "{error}");
    drop(index);
    let (opened, dump) = rebuilt(&path);
    assert!(matches!(opened, Opened::Rebuilt { .. }), "{opened:?}");
    assert_eq!(dump, full);
    assert_eq!(rebuilt(&path), (Opened::Existing, full));
}

#[test]
fn two_handles_on_one_file_apply_each_record_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("index.db");
    let all = steps((1..=300).map(seg).collect());
    std::thread::scope(|scope| {
        for size in [7, 11, 13] {
            let (path, all) = (&path, &all);
            scope.spawn(move || {
                let (index, _) = Index::open(path).expect("opens");
                begin(&index);
                while let Some(state) = index.state().expect("reads") {
                    let from = state.last_seq.0 as usize;
                    if from == all.len() {
                        break;
                    }
                    let to = (from + size).min(all.len());
                    index.apply(&all[from..to]).expect("applies");
                }
            });
        }
    });
    let (index, _) = Index::open(&path).expect("opens");
    assert_eq!(dump(&index), dump(&with((1..=300).map(seg).collect())));
}

#[test]
fn a_huge_gtid_set_is_filed_and_found() {
    let mut huge = segment(1);
    let mut gtids = GtidSet::new();
    for n in 0..20_000u64 {
        gtids.insert_run(testing::source(), 3 * n + 1, 3 * n + 2);
    }
    assert!(gtids.to_string().len() > 200 << 10);
    huge.gtids = gtids.clone();
    let mut next = segment(2);
    next.previous_gtids_sha256 = Some(Sha256::of(gtids.to_string().as_bytes()));
    next.gtids = GtidSet::new();
    let index = with(vec![boxed(huge), boxed(next)]);
    let hit = |n: u64| index.holding(&gtid(n)).expect("reads").len();
    assert_eq!(
        [
            hit(1),
            hit(2),
            hit(3),
            hit(30_001),
            hit(59_999),
            hit(60_000)
        ],
        [1, 1, 0, 1, 1, 0]
    );
    let entry = index.entry_by_seq(Seq(2)).expect("reads").expect("there");
    assert_eq!(entry.previous_gtids, Some(gtids));
}

fn arbitrary_segments() -> impl Strategy<Value = Vec<GtidSet>> {
    let run = (0u32..3, 0u64..400, prop_oneof![0u64..3, 0u64..300]);
    let set = proptest::collection::vec(run, 0..6).prop_map(|runs| {
        let mut set = GtidSet::new();
        for (server, first, more) in runs {
            set.insert_run(
                GtidSource::MariaDb { domain: 0, server },
                first,
                first + more,
            );
        }
        set
    });
    proptest::collection::vec(set, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn holding_finds_what_a_look_at_every_set_finds(sets in arbitrary_segments()) {
        let bodies = sets.iter().zip(1..).map(|(set, number)| {
            let mut segment = segment(number);
            segment.gtids = set.clone();
            (segment.previous_gtids, segment.previous_gtids_sha256) = (None, None);
            boxed(segment)
        });
        let index = with(bodies.collect());
        for server in 0..3 {
            for number in (0..710).step_by(7) {
                let gtid = Gtid { source: GtidSource::MariaDb { domain: 0, server }, number };
                let expected: Vec<u64> = sets.iter().zip(1..).filter(|(s, _)| s.contains(&gtid)).map(|(_, n)| n).collect();
                let found: Vec<u64> = index.holding(&gtid).expect("reads").iter().map(|e| e.seq.0).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn overlapping_finds_what_a_look_at_every_time_finds(
        spans in proptest::collection::vec((-500i64..500, prop_oneof![0i64..4, 0i64..900]), 1..12),
        from in -600i64..600,
        length in 0i64..400,
    ) {
        let bodies = spans.iter().zip(1..).map(|((first, more), number)| {
            let mut segment = segment(number);
            segment.min_time = Some(Micros(*first));
            segment.max_time = Some(Micros(first + more));
            boxed(segment)
        });
        let index = with(bodies.collect());
        let to = from + length;
        let expected: Vec<u64> = spans.iter().zip(1..).filter(|((f, m), _)| *f <= to && f + m >= from).map(|(_, n)| n).collect();
        let rows = index.overlapping(T1, Micros(from), Micros(to)).expect("reads");
        prop_assert_eq!(rows.iter().map(|r| r.seq.0).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_moment_is_found_as_by_looking_at_every_entry(
        shape in proptest::collection::vec(proptest::option::weighted(0.8, 0i64..40), 1..30),
        pruned in 0usize..30,
        filled in 0usize..30,
        late in 0i64..60,
        time in -1i64..61,
    ) {
        // Every seventh is a hole at first; one of them may be filled later.
        let is_hole = |number: u64| number.is_multiple_of(7);
        let mut times: Vec<Option<i64>> = shape.clone();
        let made = |number: u64, latest: Option<i64>| {
            let mut segment = segment(number);
            segment.latest_commit = latest.map(Micros);
            segment.previous_gtids = Some(testing::executed(number - 1));
            segment.previous_gtids_sha256 = None;
            segment
        };
        let mut bodies: Vec<Body> = times.iter().zip(1..).map(|(latest, number)| match is_hole(number) {
            true => Body::Hole(testing::hole(number)),
            false => boxed(made(number, *latest)),
        }).collect();
        for (number, latest) in (1..).zip(&mut times) {
            if is_hole(number) {
                *latest = None;
            }
        }
        let hole = (filled as u64 / 7) * 7;
        if hole > 0 && hole <= times.len() as u64 {
            let mut supersede = testing::supersede(hole, hole, SupersedeReason::HoleFilled);
            supersede.segment.latest_commit = Some(Micros(late));
            times[hole as usize - 1] = Some(late);
            bodies.push(Body::Supersede(Box::new(supersede)));
        }
        if pruned > 0 && pruned < times.len() {
            bodies.push(Body::Prune(testing::prune(pruned as u64)));
        }
        let visible = if pruned < times.len() { pruned } else { 0 };
        let index = with(bodies);
        let moment = index.moment(T1, Micros(time)).expect("reads");
        let at = |row: &Option<EntryRow>| row.as_ref().map(|row| row.number.0 as usize - 1);
        let after = (visible..times.len()).find(|n| times[*n].is_some_and(|t| t > time));
        prop_assert_eq!(at(&moment.after), after);
        let end = after.unwrap_or(times.len());
        let unsound = |n: &usize| is_hole(*n as u64 + 1) && *n as u64 + 1 != hole;
        let before = (visible..end).rev().find(|n| times[*n].is_some() || unsound(n));
        prop_assert_eq!(at(&moment.before), before);
        let earlier = before.and_then(|end| (visible..end).rev().find(|n| times[*n].is_some()));
        prop_assert_eq!(at(&moment.earlier), earlier);
        // The row tells the latest commit so far, of pruned ones too.
        let through = |n: usize| times[..=n].iter().flatten().max().map(|t| Micros(*t));
        for row in [moment.before, moment.after].into_iter().flatten() {
            prop_assert_eq!(row.latest_through, through(row.number.0 as usize - 1));
        }
    }

    #[test]
    fn random_damage_to_the_file_never_panics_and_a_rebuild_is_equal(
        places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, full) = file_index(dir.path());
        let mut bytes = std::fs::read(&path).expect("reads");
        for (at, value) in &places {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        std::fs::write(&path, &bytes).expect("writes");
        // Whatever is found is told as an error; what is found right must be right.
        if let Ok((index, opened)) = Index::open(&path) {
            if opened == Opened::Existing {
                for number in 1..=50 {
                    let expected = segment(number);
                    if let Ok(Some(entry)) = index.entry(T1, &expected.mount_name) {
                        prop_assert_eq!(entry.segment.as_deref(), Some(&expected));
                    }
                }
            }
            drop(index);
        }
        for file in std::fs::read_dir(path.parent().expect("a parent")).expect("lists") {
            std::fs::remove_file(file.expect("an entry").path()).expect("deletes");
        }
        prop_assert_eq!(rebuilt(&path), (Opened::Fresh, full));
    }
}

#[test]
fn a_page_is_kept_as_it_came_and_every_record_is_found_in_it() {
    let lines: Vec<Line> = testing::chain(2500).collect();
    let (singly, paged) = (begun(), begun());
    let steps: Vec<Step> = lines.iter().cloned().map(Step::Line).collect();
    for batch in steps.chunks(1000) {
        singly.apply(batch).expect("applies");
    }
    let page = |first: usize| {
        crate::ledger::page::write_page(&lines[first..first + 1000]).expect("a page")
    };
    for first in [0, 1000] {
        let applied = paged.apply_page(&steps[first..first + 1000], &page(first));
        assert_eq!(applied.expect("applies").records, 1000);
    }
    paged.apply(&steps[2000..]).expect("applies");
    let rows_of_their_own: i64 = paged
        .lock()
        .conn
        .query_row("SELECT count(*) FROM lines", [], |row| row.get(0))
        .expect("counts");
    assert_eq!(rows_of_their_own, 500);
    let entries = |index: &Index| index.entries(T1, None, usize::MAX).expect("reads");
    assert_eq!(entries(&paged), entries(&singly));
    for seq in [1, 999, 1000, 1001, 2000, 2001, 2500] {
        assert_eq!(
            paged.line(Seq(seq)).expect("reads").as_deref(),
            Some(lines[seq as usize - 1].text())
        );
    }
    assert_eq!(paged.line(Seq(2501)).expect("reads"), None);
    assert_eq!(paged.lost(10).expect("reads"), []);
    // Again, as another process may: nothing happens.
    let again = paged.apply_page(&steps[..1000], &page(0)).expect("applies");
    assert_eq!(again.records, 0);
    // Forgotten, and another page in its place: the one that was read last is not it.
    paged.reset().expect("resets");
    assert_eq!(paged.line(Seq(7)).expect("reads"), None);
    assert_eq!(paged.lost(10).expect("reads"), []);
}

#[test]
fn a_page_that_breaks_a_rule_leaves_what_was_right_before_it() {
    let mut writer = Writer::default();
    let mut lines: Vec<Line> = (1..=700).map(|n| writer.write(seg(n))).collect();
    // Its own hash is right, and its number is not the next.
    lines.push(writer.write(seg(900)));
    lines.extend((702..=1000).map(|n| writer.write(seg(n))));
    let bytes = crate::ledger::page::write_page(&lines).expect("a page");
    let steps: Vec<Step> = lines.iter().cloned().map(Step::Line).collect();
    let index = begun();
    let refused = index.apply_page(&steps, &bytes);
    assert!(matches!(refused, Err(IndexError::Chain(error)) if error.seq == Seq(701)));
    let state = index.state().expect("reads").expect("a state");
    assert_eq!(state.last_seq, Seq(700));
    assert_eq!(
        index.line(Seq(700)).expect("reads").as_deref(),
        Some(lines[699].text())
    );
    assert_eq!(index.line(Seq(701)).expect("reads"), None);
    assert_eq!(names(&index, 1).len(), 700);
}

#[test]
fn a_moment_is_looked_up_in_a_tree_and_not_in_a_list() {
    let index = with((1..=20).map(seg).collect());
    let plan = index
        .with(|inner| {
            let mut query = inner.conn.prepare(
                "EXPLAIN QUERY PLAN SELECT seq FROM entries WHERE timeline = 1 AND latest_through > 5
                 ORDER BY latest_through, seq LIMIT 1",
            )?;
            let rows = query.query_map([], |row| row.get::<_, String>(3))?;
            Ok(rows.collect::<rusqlite::Result<Vec<_>>>()?)
        })
        .expect("explains");
    assert!(
        plan.len() == 1 && plan[0].contains("entries_latest (timeline=? AND latest_through>?)"),
        "{plan:?}"
    );
}

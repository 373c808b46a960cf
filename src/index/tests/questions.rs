//! The questions an index answers.

use super::*;

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
fn a_server_that_joins_with_files_that_say_again_what_was_said_is_no_break() {
    let mut promoted = moved(2, 2, 1);
    promoted.server_uuid = Some(uuid::Uuid::from_u128(9));
    let index = with(vec![seg(1), seg(2), seg(3), boxed(promoted)]);
    assert_eq!(index.continuity(T1).expect("reads"), []);
    let mut jumping = moved(6, 2, 1);
    jumping.server_uuid = Some(uuid::Uuid::from_u128(9));
    let index = with(vec![seg(1), seg(2), seg(3), boxed(jumping)]);
    assert_eq!(
        index.continuity(T1).expect("reads").len(),
        1,
        "4 and 5 came from nowhere"
    );
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

#[test]
fn what_lies_between_two_names_is_what_rows_say() {
    let index = begun();
    let steps: Vec<Step> = testing::chain(23).map(Step::Line).collect();
    index.apply(&steps).expect("applies");
    let rows = index.rows(T1, None, 100).expect("reads");
    for (from, to) in [(0, 22), (0, 0), (3, 4), (5, 21), (20, 22), (22, 22), (7, 3)] {
        let mut found = Vec::new();
        let (first, last) = (&rows[from].mount_name, &rows[to].mount_name);
        let each = |row: &ListedRow<'_>| {
            found.push((row.seq, row.name.to_owned(), row.size, row.stored_size));
        };
        index.between(T1, (first, last), each).expect("reads");
        let expected: Vec<_> = rows[from.min(to + 1)..to + 1]
            .iter()
            .map(|row| {
                (
                    row.seq,
                    row.mount_name.to_string(),
                    row.size,
                    row.stored_size,
                )
            })
            .collect();
        assert_eq!(found, expected, "{from} to {to}");
    }
}

#[test]
fn an_object_is_read_from_was_replaced_was_pruned_or_belongs_to_nobody() {
    let mut rewritten = testing::supersede(3, 3, SupersedeReason::Rekeyed);
    rewritten.segment.object.key = "segments/new".parse().expect("a key");
    let bodies = vec![
        seg(1),
        seg(2),
        seg(3),
        seg(4),
        Body::Supersede(Box::new(rewritten.clone())),
        Body::Prune(testing::prune(1)),
    ];
    let index = with(bodies);
    let of = |key: &crate::model::ObjectKey| index.standing(key).expect("answers");
    let old = |number| segment(number).object.key;
    assert_eq!(of(&old(1)), Standing::Pruned);
    assert_eq!(of(&old(2)), Standing::InForce);
    assert_eq!(of(&rewritten.segment.object.key), Standing::InForce);
    assert_eq!(of(&"segments/x".parse().expect("a key")), Standing::Unnamed);
    let Standing::Superseded(superseded) = of(&old(3)) else {
        panic!("{:?}", of(&old(3)));
    };
    assert_eq!(
        (superseded.by, &superseded.name),
        (Seq(5), &name("binlog.000003"))
    );
    assert_eq!(superseded.now, rewritten.segment.object);
    assert_eq!(index.record_naming(&old(3)).expect("answers"), Some(Seq(3)));
}

#[test]
fn an_object_that_is_named_again_or_whose_record_is_lost_is_not_superseded() {
    let mut again = testing::supersede(2, 2, SupersedeReason::Rekeyed);
    again.segment.object = segment(2).object;
    let bodies = vec![seg(1), seg(2), Body::Supersede(Box::new(again)), seg(3)];
    let standing = |index: &Index, number| {
        let key = segment(number).object.key;
        index.standing(&key).expect("answers")
    };
    let index = with(bodies.clone());
    assert_eq!(standing(&index, 2), Standing::InForce);
    let index = begun();
    index.apply(&losing(bodies, &[1, 2])).expect("applies");
    assert_eq!(standing(&index, 1), Standing::Unnamed);
    assert_eq!(standing(&index, 2), Standing::InForce);
}

#[test]
fn files_with_transactions_that_have_no_gtid_are_found_between_others() {
    let anonymous = |number: u64| {
        let mut segment = segment(number);
        segment.transactions += 1;
        boxed(segment)
    };
    let index = with(vec![
        seg(1),
        seg(2),
        anonymous(3),
        seg(4),
        anonymous(5),
        seg(6),
    ]);
    let found = |first: u64, last: u64| {
        let found = index.without_gtids(T1, (Seq(first), Seq(last)));
        found.expect("reads").map(|name| name.to_string())
    };
    assert_eq!(found(1, 6).as_deref(), Some("binlog.000003"));
    assert_eq!(found(3, 4).as_deref(), Some("binlog.000003"));
    assert_eq!(found(4, 5).as_deref(), Some("binlog.000005"));
    for (first, last) in [(1, 2), (4, 4), (6, 6), (6, 1)] {
        assert_eq!(found(first, last), None, "{first} {last}");
    }
    let other = index.without_gtids(Timeline(2), (Seq(1), Seq(6)));
    assert_eq!(other.expect("reads"), None);
}

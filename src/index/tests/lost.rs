//! Records that cannot be read, and their places.

use super::*;

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
    let fence = index.fences().expect("reads").remove(0);
    assert_eq!(
        (fence.mount_name, fence.position),
        (Some(name("binlog.000002")), None)
    );
}

//! What fences take out, and what they leave.

use super::*;

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
    let fences = index.fences().expect("reads");
    let places: Vec<_> = fences
        .iter()
        .map(|f| (f.mount_name.clone(), f.position))
        .collect();
    assert_eq!(
        places,
        [
            (Some(name("binlog.000007")), Some(500)),
            (Some(name("binlog.000008")), Some(1))
        ]
    );
    let cut = index
        .entry(T1, &name("binlog.000007"))
        .expect("reads")
        .expect("there");
    assert_eq!((cut.end(), cut.transactions()), (500, 0));
    assert_eq!(index.rows(T1, None, 9).expect("reads")[4].size, 500);
    let behind = index.behind_fences(T1).expect("reads");
    assert_eq!(behind.iter().map(|e| e.seq.0).collect::<Vec<_>>(), [8, 9]);
    assert!(
        behind
            .iter()
            .all(|entry| entry.cut.is_none() && entry.timeline == T1)
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
    assert_eq!(index.timeline_numbers().expect("reads"), [T1]);
}

#[test]
fn what_a_fence_took_out_is_not_among_what_cannot_be_read() {
    let index = with(vec![
        seg(1),
        Body::Hole(testing::hole(2)),
        seg(3),
        Body::Hole(testing::hole(4)),
        Body::Fence(testing::fence(3, 500)),
    ]);
    let seqs = |rows: Result<Vec<crate::index::EntryRow>, IndexError>| {
        let rows = rows.expect("reads");
        rows.iter().map(|row| row.seq.0).collect::<Vec<_>>()
    };
    assert_eq!(seqs(index.unsound()), [2]);
    assert_eq!(seqs(index.unsound_ever()), [4, 2]);
}

#[test]
fn what_a_fence_did_outlasts_a_new_object_of_the_segment() {
    let mut fence = testing::fence(2, 500);
    fence
        .gtids
        .insert_run(testing::source(), TRANSACTIONS + 1, TRANSACTIONS + 9);
    fence.transactions = 9;
    fence.latest_commit = segment(2).first_time;
    let again = |seq: u64, number: u64| {
        Body::Supersede(Box::new(testing::supersede(
            seq,
            number,
            SupersedeReason::Rekeyed,
        )))
    };
    let index = with(vec![
        seg(1),
        seg(2),
        seg(3),
        Body::Fence(fence),
        again(2, 2),
        again(3, 3),
        boxed(moved(1, 2, 1)),
    ]);
    assert_eq!(names(&index, 1).len(), 3, "and the one that joined");
    let rows = index.rows(T1, None, 9).expect("reads");
    assert_eq!(
        (rows[1].size, rows[1].latest_commit),
        (500, segment(2).first_time)
    );
    assert_eq!(rows[2].incarnation.0, 2);
    let cut = index.entry_by_seq(Seq(2)).expect("reads").expect("there");
    assert!(
        cut.segment
            .as_ref()
            .is_some_and(|s| s.object.key.as_str().contains("again"))
    );
    assert_eq!((cut.end(), cut.transactions()), (500, 9));
    assert_eq!(cut.last_time(), segment(2).first_time);
    let holding = |n: u64| index.holding(&gtid(n)).expect("reads").len();
    assert_eq!(
        [TRANSACTIONS + 9, TRANSACTIONS + 10, 2 * TRANSACTIONS + 1].map(holding),
        [1, 0, 0]
    );
    let behind = index.behind_fences(T1).expect("reads");
    assert_eq!(behind.iter().map(|e| e.seq.0).collect::<Vec<_>>(), [3]);
    let listed = index.listing(T1).expect("reads");
    let mut shown = Vec::new();
    for chunk in &listed {
        index
            .listed(chunk, |row| shown.push(row.seq.0))
            .expect("reads");
    }
    assert!(!shown.contains(&3), "{shown:?}");
}

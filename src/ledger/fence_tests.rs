//! What a fence does to the state of a ledger.

use super::*;
use crate::ledger::record::FenceRecord;

/// A fence before the last transactions of segment `segment`, with those of it that stay and all that leave.
fn fenced(segment: u64, stays: (u64, u64), lost: (u64, u64)) -> Box<FenceRecord> {
    let run = |(first, last)| {
        let mut set = GtidSet::new();
        set.insert_run(testing::source(), first, last);
        set
    };
    let mut fence = testing::fence(segment, 100);
    (fence.gtids, fence.lost) = (run(stays), run(lost));
    fence
}

#[test]
fn a_fence_takes_gtids_out_of_its_timeline_and_ends_its_incarnations() {
    const N: u64 = testing::TRANSACTIONS;
    let mut ledger = Ledger::with(1..=4);
    let fence = fenced(2, (N + 1, N + 2), (N + 3, 4 * N));
    assert!(ledger.offer(Body::Fence(fence)).is_ok());
    let known = ledger.state.timeline(Timeline(1)).expect("there");
    let kept = testing::executed(4).minus(&known.fenced_off);
    assert_eq!((&known.archived, &known.executed), (&kept, &kept));
    assert_eq!(known.archived.count(), N + 2);
    let behind: Vec<bool> = (1..=4)
        .map(|seq| known.is_behind_a_fence(Seq(seq)))
        .collect();
    assert_eq!(behind, [false, false, true, true]);
    let refused = ledger.segment(segment(5)).expect_err("behind the fence");
    assert!(refused.contains("behind the fence"), "{refused}");
    // What is replaced behind it, or in the segment that it cuts, brings nothing back.
    for (seq, number) in [(4, 4), (2, 2)] {
        let again = supersede(seq, number, SupersedeReason::Rekeyed);
        ledger
            .offer(Body::Supersede(Box::new(again)))
            .expect("in place");
    }
    let known = ledger.state.timeline(Timeline(1)).expect("there");
    assert_eq!(known.archived, kept);
    // One behind it says nothing new.
    let fence = fenced(3, (2 * N + 1, 2 * N + 1), (2 * N + 2, 3 * N));
    assert!(ledger.offer(Body::Fence(fence)).is_ok());
    let known = ledger.state.timeline(Timeline(1)).expect("there");
    assert_eq!(known.archived, kept);
    // Another server goes on.
    added(ledger.segment(moved(1, 2, 1)));
    assert!(
        ledger.offer(Body::Fence(testing::fence(99, 1))).is_err(),
        "of a later record"
    );
}

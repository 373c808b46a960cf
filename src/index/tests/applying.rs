//! Records taken in: each once, in order, whole batches or none.

use super::*;

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

/// New rows wait until there are many of them, or something must see them.
#[test]
fn how_records_are_batched_changes_nothing() {
    let mut bodies: Vec<Body> = (1..=45).map(seg).collect();
    bodies.push(superseding(45, 45, SupersedeReason::Rekeyed));
    bodies.extend((46..=90).map(seg));
    bodies.push(Body::Hole(testing::hole(91)));
    bodies.push(superseding(92, 91, SupersedeReason::HoleFilled));
    bodies.extend((92..=130).map(seg));
    bodies.push(Body::Gap(testing::gap(130, 132)));
    bodies.push(Body::Fence(testing::fence(100, 1)));
    let (whole, lossy) = (steps(bodies.clone()), losing(bodies, &[60, 61, 70]));
    for steps in [whole, lossy] {
        let one_by_one = begun();
        for step in &steps {
            one_by_one
                .apply(std::slice::from_ref(step))
                .expect("applies");
        }
        for size in [7, 40, 41, steps.len()] {
            let index = begun();
            for batch in steps.chunks(size) {
                index.apply(batch).expect("applies");
            }
            assert_eq!(dump(&index), dump(&one_by_one), "batches of {size}");
        }
    }
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
fn a_rekeyed_segment_names_its_object_again_and_no_other_record_may() {
    let filled = testing::supersede(2, 2, SupersedeReason::HoleFilled);
    let again = |record: u64, segment: &SegmentRecord| {
        Body::Supersede(Box::new(testing::rekeyed(record, segment.clone())))
    };
    let bodies = vec![
        seg(1),
        Body::Hole(testing::hole(2)),
        seg(3),
        again(1, &segment(1)),
        Body::Supersede(Box::new(filled.clone())),
        again(2, &filled.segment),
        // Of the entry that was re-keyed, by the record that did it.
        again(4, &segment(1)),
    ];
    let steps = steps(bodies.clone());
    // One by one, all at once, and the last ones alone.
    let (all, each, late) = (begun(), begun(), begun());
    all.apply(&steps).expect("applies");
    for step in &steps {
        each.apply(std::slice::from_ref(step)).expect("applies");
    }
    late.apply(&steps[..5]).expect("applies");
    late.apply(&steps[5..]).expect("applies");
    assert_eq!(dump(&all), dump(&each));
    assert_eq!(dump(&all), dump(&late));
    for (number, seq) in [(1, 1), (2, 2)] {
        let found = all.entry_by_seq(Seq(seq)).expect("reads").expect("there");
        let object = &found.segment.as_ref().expect("a segment").object;
        let header = object.header.as_ref().expect("carried");
        assert!(String::from_utf8_lossy(header.bytes()).contains(&format!("binlog.00000{number}")));
        assert!(all.names_object(&object.key).expect("reads"));
    }
    // The object of another segment, and one that the segment had before.
    let mut stolen = segment(3);
    stolen.object.key = segment(1).object.key;
    let better = testing::supersede(3, 3, SupersedeReason::BetterCopy);
    for (reason, more) in [
        ("names already", vec![again(3, &stolen)]),
        (
            "names already",
            vec![Body::Supersede(Box::new(better)), again(3, &segment(3))],
        ),
    ] {
        let all = [bodies.clone(), more].concat();
        let error = begun().apply(&super::steps(all)).expect_err(reason);
        assert!(error.to_string().contains(reason), "{error}");
    }
}

#[test]
fn a_rekeyed_segment_is_followed_whichever_of_its_records_are_lost() {
    let again = |record: u64, segment: &SegmentRecord| {
        Body::Supersede(Box::new(testing::rekeyed(record, segment.clone())))
    };
    let filled = testing::supersede(2, 2, SupersedeReason::HoleFilled);
    let bodies = vec![
        seg(1),
        Body::Hole(testing::hole(2)),
        Body::Supersede(Box::new(filled.clone())),
        seg(3),
        again(2, &filled.segment),
        again(1, &segment(1)),
        again(1, &segment(1)),
        again(2, &filled.segment),
        seg(4),
    ];
    for lost in 0..1 << 8 {
        let places: Vec<u64> = (1..=8).filter(|seq| lost & (1 << (seq - 1)) != 0).collect();
        let index = begun();
        let applied = index.apply(&losing(bodies.clone(), &places));
        let state = applied
            .unwrap_or_else(|e| panic!("{places:?} lost: {e}"))
            .state;
        assert_eq!(state.last_seq, Seq(9), "{places:?} lost");
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
    // Both are named, and nobody is told to delete first what another mount may be reading.
    let said = error.to_string();
    for part in [
        testing::stream_file().stream_id.to_string(),
        other.stream_id.to_string(),
        other.created_at.to_string(),
        "--cache-dir".to_owned(),
    ] {
        assert!(said.contains(&part), "{said}");
    }
    assert!(said.find("--cache-dir") < said.find("delete"), "{said}");
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

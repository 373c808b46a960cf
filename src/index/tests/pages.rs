//! Pages taken in: as their records would be, foreseen or not.

use super::*;

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
        let applied = paged.apply_page(&steps[first..first + 1000], &page(first), None);
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
    let again = paged
        .apply_page(&steps[..1000], &page(0), None)
        .expect("applies");
    assert_eq!(again.records, 0);
    // Forgotten, and another page in its place: the one that was read last is not it.
    paged.reset().expect("resets");
    assert_eq!(paged.line(Seq(7)).expect("reads"), None);
    assert_eq!(paged.lost(10).expect("reads"), []);
}

#[test]
fn a_file_written_by_pages_is_the_index_made_record_by_record() {
    let lines: Vec<Line> = testing::chain(7000).collect();
    let steps: Vec<Step> = lines.iter().cloned().map(Step::Line).collect();
    let singly = begun();
    for step in &steps {
        singly.apply(std::slice::from_ref(step)).expect("applies");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("index.db");
    let (paged, _) = Index::open(&path).expect("opens");
    begin(&paged);
    let mut ahead = paged.state().expect("reads").expect("a state");
    for (lines, steps) in lines.chunks(1000).zip(steps.chunks(1000)) {
        let page = crate::ledger::page::write_page(lines).expect("a page");
        let foreseen = Foreseen::of(&ahead, steps).expect("they only append");
        ahead = Arc::clone(foreseen.state());
        let applied = paged.apply_page(steps, &page, Some(foreseen));
        assert_eq!(applied.expect("applies").state, ahead);
    }
    let expected = dump_of(&singly, &MADE_OF_RECORDS);
    assert_eq!(dump_of(&paged, &MADE_OF_RECORDS), expected);
    drop(paged);
    let (again, opened) = Index::open(&path).expect("opens");
    assert_eq!(opened, Opened::Existing);
    assert_eq!(dump_of(&again, &MADE_OF_RECORDS), expected);
    assert_eq!(
        again.state().expect("reads"),
        singly.state().expect("reads")
    );
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
    let before = index.state().expect("reads").expect("a state");
    let refused = index.apply_page(&steps, &bytes, Foreseen::of(&before, &steps));
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

/// Holes, sets in full, and GTIDs that do not follow: as when the index works all out itself.
#[test]
fn what_was_foreseen_of_a_page_is_what_happens() {
    let mut bodies: Vec<Body> = (1..=499).map(seg).collect();
    bodies.push(Body::Hole(testing::hole(500)));
    let mut leap = segment(501);
    leap.previous_gtids = Some(testing::executed(600));
    leap.previous_gtids_sha256 = None;
    bodies.push(boxed(leap));
    for number in 502..=1000 {
        let mut segment = segment(number);
        segment.previous_gtids = Some(testing::executed(number - 1));
        segment.previous_gtids_sha256 = None;
        bodies.push(boxed(segment));
    }
    let steps = steps(bodies);
    let lines: Vec<Line> = { steps.iter() }
        .filter_map(|step| match step {
            Step::Line(line) => Some(line.clone()),
            Step::Lost { .. } => None,
        })
        .collect();
    let page = crate::ledger::page::write_page(&lines).expect("a page");
    let (foreseen, plain) = (begun(), begun());
    let before = foreseen.state().expect("reads").expect("a state");
    let known = Foreseen::of(&before, &steps).expect("they only append");
    foreseen
        .apply_page(&steps, &page, Some(known))
        .expect("applies");
    plain.apply_page(&steps, &page, None).expect("applies");
    assert_eq!(dump(&foreseen), dump(&plain));
    assert_eq!(
        foreseen.continuity(T1).expect("reads").len(),
        2,
        "a hole, and what vanished behind the leap"
    );
}

#[test]
fn what_was_foreseen_of_another_state_is_worked_out_again() {
    let lines: Vec<Line> = testing::chain(2000).collect();
    let steps: Vec<Step> = lines.iter().cloned().map(Step::Line).collect();
    let page = crate::ledger::page::write_page(&lines[..1000]).expect("a page");
    let index = begun();
    let before = index.state().expect("reads").expect("a state");
    let known = Foreseen::of(&before, &steps[..1000]).expect("they only append");
    // Another process was faster, with some of them.
    index.apply(&steps[..700]).expect("applies");
    let applied = index.apply_page(&steps[..1000], &page, Some(known));
    assert_eq!(applied.expect("applies").records, 300);
    index.apply(&steps[1000..]).expect("applies");
    let plain = begun();
    plain.apply(&steps).expect("applies");
    assert_eq!(dump(&index), dump(&plain));
}

#[test]
fn what_takes_the_index_is_not_foreseen() {
    let before = begun().state().expect("reads").expect("a state");
    let with = |last: Body| {
        let mut bodies: Vec<Body> = (1..=5).map(seg).collect();
        bodies.push(last);
        Foreseen::of(&before, &steps(bodies)).is_some()
    };
    assert!(with(seg(6)) && with(Body::Hole(testing::hole(6))));
    assert!(!with(superseding(3, 3, SupersedeReason::Rekeyed)));
    assert!(!with(Body::Gap(testing::gap(5, 7))));
    assert!(!with(Body::Fence(testing::fence(3, 1))));
    assert!(!with(Body::Prune(testing::prune(3))));
    assert!(!with(seg(9)), "a number is missing");
    let lost = losing((1..=5).map(seg).collect(), &[3]);
    assert!(Foreseen::of(&before, &lost).is_none());
}

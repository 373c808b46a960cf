//! Fuzzes the text of GTID sets, and what is done with the sets.

#![no_main]

mod allocations;
mod seeds;

use binlogfs::model::{Gtid, GtidSet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(init: seeds::write_if_asked(seeds), |data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        check(text);
    }
});

/// Two sets, with a bar between them.
fn check(text: &str) {
    if let Ok(gtid) = text.parse::<Gtid>() {
        assert_eq!(gtid.to_string().parse().as_ref(), Ok(&gtid));
    }
    let (a, b) = text.split_once('|').unwrap_or((text, ""));
    let (Ok(a), Ok(b)) = (a.parse::<GtidSet>(), b.parse::<GtidSet>()) else {
        return;
    };
    let printed = a.to_string();
    let again: GtidSet = printed.parse().expect("its own text");
    assert_eq!(again, a);
    assert_eq!(again.to_string(), printed);
    for (_, intervals) in a.iter() {
        let runs = intervals.runs();
        assert!(!runs.is_empty() && runs.iter().all(|run| run.0 <= run.1));
        let apart = |two: &[(u64, u64)]| two[0].1 < two[1].0 - 1;
        assert!(runs.windows(2).all(apart), "sorted, disjoint, not adjacent");
    }
    let mut both = a.clone();
    both.union_with(&b);
    assert!(a.is_subset(&both) && b.is_subset(&both));
    let (left, right) = (a.minus(&b), b.minus(&a));
    assert!(!left.intersects(&b) && left.is_subset(&a));
    assert_eq!(a.intersects(&b), left != a);
    let mut shared = a.clone();
    shared = shared.minus(&left);
    let mut sum = left;
    sum.union_with(&shared);
    sum.union_with(&right);
    assert_eq!(sum, both);
    let position = a.clone().into_position_form();
    assert_eq!(position.to_string().parse(), Ok(position));
}

fn seeds() -> Vec<Vec<u8>> {
    let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    [
        format!("{uuid}:1-5:7:blue:1-3:red:9,4e11fa47-71ca-11e1-9e33-c80aa9429562:1"),
        format!("{uuid}:9:7:5:3:1|{uuid}:2-8"),
        format!("{uuid}:1-9223372036854775806|{uuid}:5:blue:1"),
        "0-1-1..5,0-1-7,0-2-6,1-1-1|0-1-2..18446744073709551615,0-2-0".to_owned(),
        "0-1-0..18446744073709551615|0-1-3".to_owned(),
    ]
    .map(String::into_bytes)
    .into()
}

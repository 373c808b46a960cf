//! What of made-up histories can be recovered from backups at made-up places.

use super::super::{Tool, entry_of_position};
use super::*;
use crate::index::Step;
use crate::ledger::Body;
use crate::ledger::record::DamagedRecord;
use crate::ledger::testing::{self, BEGINNING, SEGMENT_SECONDS, TRANSACTIONS, Writer};
use crate::model::{Incarnation, Micros};

fn index(bodies: impl IntoIterator<Item = Body>) -> Index {
    let index = Index::in_memory().expect("opens");
    let file = testing::stream_file();
    index.begin(&file, &file.write()).expect("begins");
    let mut writer = Writer::default();
    let steps: Vec<Step> = bodies
        .into_iter()
        .map(|body| Step::Line(writer.write(body)))
        .collect();
    index.apply(&steps).expect("applies");
    index
}

fn segment(number: u64) -> Body {
    Body::Segment(Box::new(testing::segment(number)))
}

/// The segment with what was executed before it in full, as it stands behind a hole.
fn full(number: u64) -> Body {
    let mut segment = testing::segment(number);
    segment.previous_gtids = Some(testing::executed(number - 1));
    segment.previous_gtids_sha256 = None;
    Body::Segment(Box::new(segment))
}

fn hole(number: u64) -> Body {
    Body::Hole(testing::hole(number))
}

/// A backup after this many transactions of the made-up server.
fn after(transactions: u64) -> Coordinates {
    let mut gtids = GtidSet::new();
    gtids.insert_run(testing::source(), 1, transactions);
    Coordinates {
        gtids: Some(gtids),
        ..Coordinates::of(Tool::Mysqldump)
    }
}

fn at(position: &str, tool: Tool) -> Coordinates {
    Coordinates {
        position: Some(position.parse().expect("a position")),
        ..Coordinates::of(tool)
    }
}

fn ask(index: &Index, coordinates: &Coordinates) -> Verdict {
    check(index, Flavour::MySql, coordinates).expect("the index answers")
}

/// Start, earliest and latest in segments' ends, and what ends it.
fn window(index: &Index, coordinates: &Coordinates) -> String {
    match ask(index, coordinates) {
        Verdict::Usable(window) => {
            let segments = |time: Option<Micros>| match time {
                Some(time) => {
                    let seconds = (time.0 - BEGINNING.0) / 1_000_000 + 1;
                    format!("{}", seconds as f64 / SEGMENT_SECONDS as f64)
                }
                None => "-".to_owned(),
            };
            let start = window.start.map_or("-".to_owned(), |s| s.file.to_string());
            let end = window
                .ends_at
                .map_or("-".to_owned(), |e| e.file.to_string());
            format!(
                "{start} {}{} {} {end}",
                if window.earliest_is_exact { "" } else { "<" },
                segments(window.earliest),
                segments(window.latest)
            )
        }
        Verdict::Ahead { .. } => "ahead".to_owned(),
        Verdict::Unusable(why) => format!("{:?}", why.kind),
    }
}

#[test]
fn a_replay_begins_where_the_backup_ends_and_goes_on_to_the_newest() {
    let index = index((1..=9).map(segment));
    assert_eq!(window(&index, &after(3500)), "binlog.000004 <4 9 -");
    assert_eq!(window(&index, &after(3000)), "binlog.000004 3 9 -");
    assert_eq!(window(&index, &after(0)), "binlog.000001 <- 9 -");
    assert_eq!(window(&index, &after(9000)), "- 9 9 -");
    assert_eq!(window(&index, &after(9001)), "ahead");
    // When it was made narrows down what the index alone cannot know.
    let taken = |seconds: i64| Coordinates {
        taken_at: Some(Micros(BEGINNING.0 + (seconds - 1) * 1_000_000)),
        ..after(3500)
    };
    assert_eq!(window(&index, &taken(1050)), "binlog.000004 <3.5 9 -");
    // A clock that contradicts the history is not believed.
    assert_eq!(window(&index, &taken(30)), "binlog.000004 <4 9 -");
    assert_eq!(window(&index, &taken(9000)), "binlog.000004 <4 9 -");
}

#[test]
fn a_hole_ends_the_window_and_right_behind_a_backup_it_is_refused() {
    let index = index([
        segment(1),
        segment(2),
        hole(3),
        full(4),
        segment(5),
        hole(6),
        full(7),
    ]);
    assert_eq!(
        window(&index, &after(500)),
        "binlog.000001 <1 2 binlog.000003"
    );
    assert_eq!(window(&index, &after(2000)), "Missing");
    assert_eq!(window(&index, &after(2500)), "Missing");
    assert_eq!(
        window(&index, &after(3000)),
        "binlog.000004 2 5 binlog.000006"
    );
    assert_eq!(
        window(&index, &after(3500)),
        "binlog.000004 <4 5 binlog.000006"
    );
    assert_eq!(window(&index, &after(6500)), "binlog.000007 <7 7 -");
    let Verdict::Unusable(why) = ask(&index, &after(2500)) else {
        panic!("it is refused")
    };
    assert!(
        why.to_string()
            .contains("missing: binlog.000003, a hole (the server no longer lists it); make"),
        "{why}"
    );
}

#[test]
fn damage_and_gtids_of_nowhere_end_it_too() {
    let mut damaged = testing::segment(3);
    damaged.damaged = Some(DamagedRecord {
        first_bad_position: 1000,
        reason: "checksum".to_owned(),
    });
    let mut kept = GtidSet::new();
    kept.insert_run(testing::source(), 2001, 2400);
    damaged.gtids = kept;
    let index_1 = index([
        segment(1),
        segment(2),
        Body::Segment(Box::new(damaged)),
        full(4),
    ]);
    assert_eq!(
        window(&index_1, &after(1500)),
        "binlog.000002 <2 3 binlog.000003"
    );
    assert_eq!(
        window(&index_1, &after(2100)),
        "binlog.000003 <3 3 binlog.000003"
    );
    // All that can be read of the damaged file, and what was lost in it.
    assert_eq!(window(&index_1, &after(2400)), "Missing");
    assert_eq!(window(&index_1, &after(3000)), "binlog.000004 3 4 -");

    // Somebody set gtid_purged: ten transactions that no file holds.
    let mut purged = testing::segment(3);
    let mut before = testing::executed(2);
    let theirs: GtidSet = "4e11fa47-71ca-11e1-9e33-c80aa9429562:1-10"
        .parse()
        .expect("a set");
    before.union_with(&theirs);
    purged.previous_gtids = Some(before);
    purged.previous_gtids_sha256 = None;
    let index_2 = index([segment(1), segment(2), Body::Segment(Box::new(purged))]);
    assert_eq!(
        window(&index_2, &after(1500)),
        "binlog.000002 <2 2 binlog.000003"
    );
    assert_eq!(window(&index_2, &after(2500)), "Missing");
    let mut has_them = after(1500);
    if let Some(set) = &mut has_them.gtids {
        set.union_with(&theirs);
    }
    assert_eq!(window(&index_2, &has_them), "binlog.000002 <2 3 -");
}

#[test]
fn a_history_that_begins_later_or_is_anothers_is_refused() {
    let mut bodies: Vec<Body> = (1..=5).map(segment).collect();
    bodies.push(Body::Prune(testing::prune(2)));
    let index_1 = index(bodies);
    assert_eq!(window(&index_1, &after(1500)), "TooEarly");
    // When the backup was made is known, although that file is gone.
    assert_eq!(window(&index_1, &after(2000)), "binlog.000003 2 5 -");
    let other = |text: &str| Coordinates {
        gtids: text.parse().ok(),
        ..Coordinates::of(Tool::Mysqldump)
    };
    let foreign = ask(
        &index_1,
        &other("4e11fa47-71ca-11e1-9e33-c80aa9429562:1-10"),
    );
    let Verdict::Unusable(why) = foreign else {
        panic!("{foreign:?}")
    };
    assert!(why.reason.contains("another cluster"), "{why}");
    assert_eq!(window(&index_1, &other("0-1-5")), "Foreign");
    let errant = format!(
        "{}:1-2500,4e11fa47-71ca-11e1-9e33-c80aa9429562:1",
        testing::server()
    );
    assert_eq!(window(&index_1, &other(&errant)), "Diverged");
    let nothing = index([]);
    assert_eq!(window(&nothing, &after(5)), "ahead");
}

#[test]
fn the_newest_timeline_on_which_it_can_be_used_counts() {
    let branched = |number: u64| {
        let mut segment = testing::moved(number, 2, 2);
        let mut gtids = GtidSet::new();
        gtids.insert_run(
            testing::source(),
            (number - 1) * TRANSACTIONS + 1,
            number * TRANSACTIONS,
        );
        segment.gtids = gtids;
        Body::Segment(Box::new(segment))
    };
    let index = index((1..=4).map(segment).chain([branched(3), branched(4)]));
    let on = |transactions: u64| {
        let verdict = ask(&index, &after(transactions));
        verdict.window().map(|window| window.timeline.0)
    };
    // What the second timeline begins with is in the backup, or not.
    assert_eq!(on(2000), Some(2));
    assert_eq!(on(3500), Some(2));
    assert_eq!(on(1500), Some(1));
}

#[test]
fn what_a_timeline_left_behind_is_not_waited_for_on_it() {
    let mut next = testing::moved(3, 2, 2);
    next.gtids = "4e11fa47-71ca-11e1-9e33-c80aa9429562:1-1000"
        .parse()
        .expect("a set");
    let index = index((1..=4).map(segment).chain([Body::Segment(Box::new(next))]));
    let told = |transactions: u64| match ask(&index, &after(transactions)) {
        Verdict::Usable(window) => format!("usable on {}", window.timeline),
        other => other.name().to_owned(),
    };
    assert_eq!(told(2000), "usable on 2");
    // It has transactions that the failover lost: it belongs to the old timeline.
    assert_eq!(told(3500), "usable on 1");
    let errant: GtidSet = "4e11fa47-71ca-11e1-9e33-c80aa9429562:1-10"
        .parse()
        .expect("a set");
    let mut both = after(3500);
    if let Some(set) = &mut both.gtids {
        set.union_with(&errant);
    }
    let Verdict::Unusable(why) = ask(&index, &both) else {
        panic!("it is of no timeline")
    };
    assert_eq!(why.kind, UnusableKind::Diverged);
    assert!(why.reason.contains("left behind in timeline 1"), "{why}");
}

#[test]
fn a_position_is_a_place_where_there_are_no_gtids_or_a_person_says_so() {
    let without = |number: u64| {
        let mut segment = testing::segment(number);
        segment.gtids = GtidSet::new();
        segment.previous_gtids = Some(GtidSet::new());
        segment.previous_gtids_sha256 = None;
        Body::Segment(Box::new(segment))
    };
    let index_1 = index([without(1), without(2), hole(3), without(4), without(5)]);
    let dump = |position: &str| window(&index_1, &at(position, Tool::Mysqldump));
    assert_eq!(
        dump("binlog.000001:157"),
        "binlog.000001 <1 2 binlog.000003"
    );
    let size_1 = testing::segment(1).size;
    assert_eq!(
        dump(&format!("binlog.000001:{size_1}")),
        "binlog.000002 1 2 binlog.000003"
    );
    assert_eq!(dump(&format!("binlog.000001:{}", size_1 + 1)), "Foreign");
    let size_2 = testing::segment(2).size;
    assert_eq!(dump(&format!("binlog.000002:{size_2}")), "Missing");
    assert_eq!(dump("binlog.000003:157"), "Missing");
    assert_eq!(dump("binlog.000005:157"), "binlog.000005 <5 5 -");
    assert_eq!(dump("binlog.000006:157"), "ahead");
    assert_eq!(dump("mysql-bin.000006:157"), "Foreign");
    let only_gtids = ask(&index_1, &after(5));
    assert!(
        matches!(&only_gtids, Verdict::Unusable(why) if why.kind == UnusableKind::NoPlace),
        "{only_gtids:?}"
    );
    // With GTIDs about, a dump without them makes a server that does not know what it has.
    let index_2 = index((1..=3).map(segment));
    let dump = at("binlog.000002:157", Tool::Mysqldump);
    assert_eq!(window(&index_2, &dump), "NoPlace");
    let told = at("binlog.000002:157", Tool::ByHand);
    assert_eq!(window(&index_2, &told), "binlog.000002 <2 3 -");
}

#[test]
fn where_numbers_began_anew_a_position_needs_the_time_of_the_backup() {
    let third = |number: u64| {
        let mut segment = testing::moved(number, 3, 2);
        let basename = segment.file.basename().clone();
        segment.mount_name = MountName::of(&segment.file, Incarnation(3), false, &basename);
        segment
    };
    let without = |mut segment: crate::ledger::SegmentRecord, hours: i64| {
        segment.gtids = GtidSet::new();
        segment.previous_gtids = Some(GtidSet::new());
        segment.previous_gtids_sha256 = None;
        for time in [
            &mut segment.first_time,
            &mut segment.last_time,
            &mut segment.min_time,
            &mut segment.max_time,
            &mut segment.latest_commit,
        ] {
            *time = time.map(|t| Micros(t.0 + hours * 3_600_000_000));
        }
        Body::Segment(Box::new(segment))
    };
    let index = index(
        (1..=3)
            .map(|n| without(testing::segment(n), 0))
            .chain((1..=2).map(|n| without(testing::moved(n, 2, 2), 5)))
            .chain((1..=2).map(|n| without(third(n), 10))),
    );
    let on = |position: &str, taken_hours: Option<i64>| {
        let coordinates = Coordinates {
            taken_at: taken_hours.map(|h| Micros(BEGINNING.0 + h * 3_600_000_000)),
            ..at(position, Tool::Mysqldump)
        };
        match ask(&index, &coordinates) {
            Verdict::Usable(window) => {
                let file = window.start.expect("something follows").file;
                format!("{file} of {}", window.timeline)
            }
            Verdict::Ahead { .. } => "ahead".to_owned(),
            Verdict::Unusable(why) => format!("{:?}", why.kind),
        }
    };
    assert_eq!(on("binlog.000002:157", None), "Ambiguous");
    assert_eq!(on("binlog.000002:157", Some(1)), "binlog.000002 of 1");
    assert_eq!(on("binlog.000002:157", Some(6)), "binlog.000002 of 2");
    assert_eq!(
        on("binlog.000002:157", Some(11)),
        "binlog.999999.000003.0000000002 of 2"
    );
    assert_eq!(on("binlog.000002:157", Some(-1)), "TooEarly");
    // The second life had no third file, and its successor had begun when it could have got one.
    assert_eq!(on("binlog.000003:157", Some(6)), "Foreign");
    assert_eq!(on("binlog.000003:157", Some(11)), "ahead");
    // A recovery begins in that file too.
    let meant = |taken_hours: Option<i64>| {
        let coordinates = Coordinates {
            taken_at: taken_hours.map(|h| Micros(BEGINNING.0 + h * 3_600_000_000)),
            ..at("binlog.000002:157", Tool::Mysqldump)
        };
        let position = coordinates.position.clone().expect("given");
        match entry_of_position(&index, &coordinates, &position).expect("the index answers") {
            Ok((timeline, file)) => format!("{file} of {timeline}"),
            Err(verdict) => verdict.reason().expect("a reason"),
        }
    };
    assert_eq!(meant(Some(1)), "binlog.000002 of 1");
    assert_eq!(meant(Some(11)), "binlog.999999.000003.0000000002 of 2");
    assert!(meant(None).contains("--taken"), "{}", meant(None));
}

//! Plans over a server's place in a history that it took over: its first files say again what others have said before.

use super::{files, planned, refused, text};
use crate::archive::Archive;
use crate::locate::opened;
use crate::synthetic::{SyntheticServer, uuid_of};
use binlogfs::binlog::testing::mysql_gtid;
use binlogfs::model::{GtidSet, Timeline};
use binlogfs::recover::{Leg, Planner, Question, Start, Target};

fn set(numbers: &str) -> String {
    format!("{}:{numbers}", uuid_of(1))
}

fn gtids(numbers: &str) -> GtidSet {
    set(numbers).parse().expect("a GTID set")
}

/// Archives the files of a successor that says again what `first` has after `before`, as far as it has closed them: up to the seventh.
fn succeed(archive: &Archive, first: &SyntheticServer, before: GtidSet) {
    let dir = archive.path("second");
    std::fs::create_dir(&dir).expect("writable");
    let mut second = SyntheticServer::starting_at(&dir, 2, "binlog", 1, before);
    second.replicate(&gtids("1-7"));
    second.replicate_into_active(first.executed());
    archive.archive(second.dir());
}

/// Eight transactions of one server, in two files, and those from behind `before` to 7 once more as its successor has them. What that
/// replicated last is in the file that it still writes.
fn archived(before: GtidSet) -> (Archive, String) {
    let archive = Archive::encrypted();
    let mut first = SyntheticServer::new(&archive.data(), 1, "binlog");
    first.rotate(4, 100);
    first.rotate(4, 100);
    archive.archive(first.dir());
    succeed(&archive, &first, before);
    let listed = archive.ls(&[]);
    assert_eq!(listed.len(), 3, "one timeline has all: {listed:#?}");
    let joined = text(&listed[2]["name"]);
    (archive, joined)
}

#[test]
fn what_a_successor_says_again_is_not_all_that_was_executed_before_it() {
    let (archive, joined) = archived(gtids("1-4"));
    let plan = planned(&archive, &["--to-end"]);
    assert_eq!(text(&plan["stop"]["file"]), joined);
    assert_eq!(text(&plan["gtids"]["after"]), set("1-8"), "{plan:#}");
    assert_eq!(plan["left_out"]["gtids"], "", "{plan:#}");
    // A server that has all of it is not ahead of anything.
    let plan = planned(&archive, &["--to-end", "--from-gtid-set", &set("1-8")]);
    assert_eq!(text(&plan["gtids"]["adds"]), "", "{plan:#}");
}

#[test]
fn a_base_is_brought_to_a_target_in_the_files_of_the_first_server() {
    // All of its history: its file is the last one of which the base has all that it says was executed before it.
    let (archive, joined) = archived(GtidSet::new());
    let base = set("1-2");
    let plan = planned(&archive, &["--to-end", "--from-gtid-set", &base]);
    assert_eq!(text(&plan["stop"]["file"]), joined);
    let fourth = set("4");
    let route = ["--before-gtid", &fourth, "--from-gtid-set", &base];
    let plan = planned(&archive, &route);
    assert_eq!(text(&plan["stop"]["file"]), "binlog.000001");
    assert_eq!(text(&plan["gtids"]["adds"]), set("3"), "{plan:#}");
}

#[test]
fn what_the_successors_files_do_not_say_again_is_replayed_from_those_of_the_first_server() {
    // The eighth transaction stands in the second file of the first server alone, and the base has all before the successor's file.
    let (archive, joined) = archived(gtids("1-4"));
    let both = ["binlog.000002".to_owned(), joined.clone()];
    for (base, adds) in [("1-4", "5-8"), ("1-7", "8")] {
        let plan = planned(&archive, &["--to-end", "--from-gtid-set", &set(base)]);
        assert_eq!(text(&plan["gtids"]["adds"]), set(adds), "{plan:#}");
        assert_eq!(files(&plan), both, "{plan:#}");
    }
    // Before the first transaction of the successor's file stands all that the first server had executed.
    let before = format!("{joined}:4");
    let base = set("1-4");
    let route = ["--to-position", &before, "--from-gtid-set", &base];
    let plan = planned(&archive, &route);
    assert_eq!(text(&plan["gtids"]["adds"]), set("5-8"), "{plan:#}");
    assert_eq!(files(&plan), both, "{plan:#}");
    // A base that has what the successor does not say needs the successor's file alone.
    let base = set("1-6:8");
    let plan = planned(&archive, &["--to-end", "--from-gtid-set", &base]);
    assert_eq!(text(&plan["gtids"]["adds"]), set("7"), "{plan:#}");
    assert_eq!(files(&plan), [joined], "{plan:#}");
}

#[test]
fn a_hole_of_the_first_server_is_in_nobodys_way_where_its_successor_says_all_of_it_again() {
    let archive = Archive::encrypted();
    let mut first = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..2).for_each(|_| first.rotate(4, 100));
    archive.archive(first.dir());
    (0..2).for_each(|_| first.rotate(4, 100));
    first.purge(3);
    archive.archive(first.dir());
    let dir = archive.path("second");
    std::fs::create_dir(&dir).expect("writable");
    let mut second = SyntheticServer::starting_at(&dir, 2, "binlog", 1, gtids("1-4"));
    second.replicate(first.executed());
    archive.archive(second.dir());
    let listed = archive.ls(&[]);
    let states: Vec<String> = listed.iter().map(|entry| text(&entry["state"])).collect();
    assert_eq!(
        states,
        ["archived", "archived", "hole", "archived", "archived"]
    );
    let base = set("1-6");
    let plan = planned(&archive, &["--to-end", "--from-gtid-set", &base]);
    assert_eq!(text(&plan["gtids"]["adds"]), set("7-16"), "{plan:#}");
    assert_eq!(files(&plan), [text(&listed[4]["name"])], "{plan:#}");
    // The last transaction of the first server stands behind the hole, and in the successor's file.
    let last = set("16");
    let after = ["--after-gtid", &last, "--from-gtid-set", &base];
    let plan = planned(&archive, &after);
    assert_eq!(text(&plan["gtids"]["adds"]), set("7-16"), "{plan:#}");
    assert_eq!(files(&plan), [text(&listed[4]["name"])], "{plan:#}");
    // Of one before that the successor's file tells nothing else than that the first server had more.
    let earlier = set("15");
    let after = ["--after-gtid", &earlier, "--from-gtid-set", &base];
    refused(&archive, &after, "missing");
}

#[test]
fn a_gap_before_the_successors_files_does_not_hide_what_the_first_server_had_executed() {
    // The successor has something that stands in no file, and says again less than the first server had.
    let other = format!("{}:1-5", uuid_of(9));
    let with = |numbers: &str| format!("{},{other}", set(numbers));
    let before: GtidSet = with("1-4").parse().expect("a GTID set");
    let archive = Archive::encrypted();
    let mut first = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..2).for_each(|_| first.rotate(4, 100));
    archive.archive(first.dir());
    succeed(&archive, &first, before);
    let listed = archive.ls(&[]);
    let states: Vec<String> = listed.iter().map(|entry| text(&entry["state"])).collect();
    assert_eq!(states, ["archived", "archived", "gap", "archived"]);
    // A base that has what the first server executed last is not ahead of the end.
    let base = with("1-6:8");
    let plan = planned(&archive, &["--to-end", "--from-gtid-set", &base]);
    assert_eq!(text(&plan["gtids"]["adds"]), set("7"), "{plan:#}");
    assert_eq!(files(&plan), [text(&listed[3]["name"])], "{plan:#}");
    // And one that lacks it is not brought there without it.
    let base = with("1-4");
    refused(&archive, &["--to-end", "--from-gtid-set", &base], "missing");
}

#[test]
fn what_stands_twice_is_left_out_twice() {
    let (archive, joined) = archived(gtids("1-4"));
    let legs = legs(&archive);
    let [first, second, third] = legs.as_slice() else {
        panic!("three legs: {legs:?}");
    };
    assert_eq!(first.to.0.as_str(), "binlog.000002");
    assert_eq!(second.from.0.as_str(), "binlog.000002");
    assert!(second.from.1 > first.to.1, "{legs:?}");
    assert_eq!(second.to.0.as_str(), joined);
    assert_eq!(third.from.0.as_str(), joined);
    assert!(third.from.1 > second.to.1, "{legs:?}");
}

/// The legs of a plan that leaves out what stands in two files.
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn legs(archive: &Archive) -> Vec<Leg> {
    let (index, reader, _) = opened(archive).await;
    let planner = Planner::new(index, reader);
    let mut skip = GtidSet::new();
    skip.insert(&mysql_gtid(1, 6));
    let question = Question {
        timeline: Timeline(1),
        start: Start::Beginning,
        target: Target::End,
        skip,
    };
    let plan = planner.plan(&question).await.expect("a plan");
    planner.legs(&plan).await.expect("legs")
}

//! What is not carried over: what is no copy of the stream, and objects that are not those recorded.

use super::{Scene, number, objects, said, text};
use crate::synthetic::SyntheticServer;
use crate::tools;
use serde_json::Value;
use std::fs;

#[test]
fn what_is_no_copy_of_the_stream_is_refused_and_nothing_is_written_there() {
    let scene = Scene::new(2);
    // Another server's stream at the new place.
    let dir = scene.new.path("other");
    fs::create_dir(&dir).expect("writable");
    let mut other = SyntheticServer::new(&dir, 2, "binlog");
    other.rotate(2, 100);
    scene.new.archive(other.dir());
    let before = (said(&scene.new), objects(&scene.new));
    for more in [&[][..], &["--cut-over"], &["--dry-run"]] {
        let output = tools::output(&mut scene.with_key(more));
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert!(
            text(&output).contains("does not say what record 1"),
            "{}",
            text(&output)
        );
    }
    assert_eq!((said(&scene.new), objects(&scene.new)), before);
    assert_eq!(said(&scene.old).len(), 2, "the old place is open");
    // The stream itself.
    let mut same = tools::binlogfs();
    same.args(["migrate", &scene.old.url(), &scene.old.url()])
        .arg("--cache-dir")
        .arg(scene.old.path("migrate-cache"));
    let output = tools::output(&mut same);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("are the same stream"),
        "{}",
        text(&output)
    );
}

#[test]
fn an_object_that_is_not_the_recorded_one_stops_it_and_without_a_key_checksums_are_compared() {
    let scene = Scene::new(3);
    let object = scene.old.keys("segments").remove(1);
    let right = fs::read(&object).expect("readable");
    let mut wrong = right.clone();
    wrong[right.len() / 2] ^= 1;
    fs::write(&object, wrong).expect("writable");
    let output = tools::output(&mut scene.command(&["--cut-over"]));
    assert_eq!(output.status.code(), Some(1));
    for words in [
        "record 2, binlog.000002",
        "is not the one recorded",
        "run it again",
    ] {
        assert!(
            text(&output).contains(words),
            "{words} is not in: {}",
            text(&output)
        );
    }
    assert_eq!(
        scene.new.keys("ledger").len(),
        1,
        "nothing after it was recorded"
    );
    assert_eq!(scene.old.keys("ledger").len(), 3, "the old place is open");
    fs::write(&object, right).expect("writable");
    let printed = tools::run(scene.command(&["--json"]).env_remove("BINLOGFS_IDENTITY"));
    let report: Value = serde_json::from_slice(&printed).expect("JSON");
    assert_eq!(
        [
            number(&report, "read_back"),
            number(&report, "checksums_only")
        ],
        [0, 2]
    );
    assert_eq!(objects(&scene.old), objects(&scene.new));
}

//! A deep verify in parts: what was never read first, then what was read longest ago.

use super::Replicated;
use crate::archive::Archive;
use crate::tools;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;

/// Segments of the stream.
const SEGMENTS: usize = 5;

fn read_in(report: &Value) -> BTreeSet<String> {
    let results = report["results"].as_array().expect("a list");
    let read = results
        .iter()
        .filter(|result| result["checked"] == "content");
    read.map(|result| result["segment"].as_str().expect("a name").to_owned())
        .collect()
}

#[test]
fn a_budget_covers_the_archive_in_several_runs_and_begins_anew_with_the_oldest() {
    let mut pair = Replicated::of(Archive::encrypted(), SEGMENTS);
    let verify = |more: &[&str]| {
        pair.archive
            .json("verify", &[&["--deep"], more].concat(), 0)
    };
    let mut seen = BTreeSet::new();
    let mut order = Vec::new();
    for _ in 0..SEGMENTS {
        let read = read_in(&verify(&["--budget", "1B"]));
        assert_eq!(read.len(), 1, "one segment is the least");
        assert!(seen.is_disjoint(&read), "{read:?} was read before");
        order.extend(read.iter().cloned());
        seen.extend(read);
    }
    assert_eq!(read_in(&verify(&["--since-last"])).len(), 0);
    let report = verify(&["--budget", "1B"]);
    assert_eq!(read_in(&report), BTreeSet::from([order[0].clone()]));
    let results = report["results"].as_array().expect("a list");
    assert!(results.iter().all(|result| result["proven_at"].is_string()));
    pair.server.rotate(3, 1000);
    pair.archive.archive(pair.server.dir());
    let report = pair.archive.json("verify", &["--deep", "--since-last"], 0);
    assert_eq!(
        read_in(&report),
        BTreeSet::from(["binlog.000006".to_owned()])
    );
}

#[test]
fn the_report_for_auditors_tells_what_was_looked_at_when_and_with_what() {
    let pair = Replicated::of(Archive::encrypted(), 3);
    let report = pair.archive.json("verify", &["--deep"], 0);
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["url"], pair.archive.url());
    let newest = fs::read(pair.archive.keys("ledger").pop().expect("a record")).expect("readable");
    let line = newest.strip_suffix(b"\n").expect("a line");
    let head = binlogfs::model::Sha256::of(line).to_string();
    assert_eq!(report["ledger_head"], head);
    let stream = fs::read(pair.archive.bucket().join("stream.json")).expect("readable");
    let stream: Value = serde_json::from_slice(&stream).expect("JSON");
    assert_eq!(report["stream_id"], stream["stream_id"]);
    assert!(report["started_at"].as_str() <= report["ended_at"].as_str());
    for (result, entry) in report["results"]
        .as_array()
        .expect("a list")
        .iter()
        .zip(pair.archive.ls(&[]))
    {
        assert_eq!(result["segment"], entry["name"]);
        assert_eq!(result["sha256"], entry["sha256"]);
        assert_eq!(
            (&result["checked"], &result["result"]),
            (&"content".into(), &"right".into())
        );
    }
    // A finding is machine-readable, and marks its segment.
    let object = pair.archive.ls(&[])[1]["object"]
        .as_str()
        .expect("a key")
        .to_owned();
    fs::remove_file(pair.archive.bucket().join(&object)).expect("removable");
    let report = pair.archive.json("verify", &[], 3);
    let finding = &report["findings"][0];
    assert_eq!(finding["kind"], "object_missing", "{report:#}");
    assert_eq!(
        (&finding["segment"], &finding["record"]),
        (&"binlog.000002".into(), &2.into())
    );
    assert_eq!(finding["object"], object);
    let results: Vec<_> = report["results"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|r| &r["result"])
        .collect();
    assert_eq!(results, ["right", "wrong", "right"]);
}

#[test]
fn what_turns_out_wrong_is_read_again_first_and_a_repair_that_is_repeated_makes_no_second_object() {
    let pair = Replicated::of(Archive::encrypted(), 3);
    pair.replicate(&[], 0);
    pair.archive.json("verify", &["--deep"], 0);
    let key = pair.archive.ls(&[])[1]["object"]
        .as_str()
        .expect("a key")
        .to_owned();
    let path = pair.archive.bucket().join(&key);
    let mut bytes = fs::read(&path).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&path).expect("removable");
    fs::write(&path, &bytes).expect("writable");
    pair.archive.json("verify", &["--deep"], 3);
    let report = pair
        .archive
        .json("verify", &["--deep", "--budget", "1B"], 3);
    assert_eq!(
        read_in(&report),
        BTreeSet::from(["binlog.000002".to_owned()])
    );

    let replica = pair.replica();
    let repair = ["--deep", "--repair", "--replica", &replica];
    let report = pair
        .archive
        .json("verify", &[&repair[..], &["--orphans"]].concat(), 0);
    // Whoever removes what is listed must not remove what was healed.
    assert_eq!(report["orphans"], serde_json::json!([]), "{report:#}");
    let record = pair.archive.keys("ledger").pop().expect("a record");
    let objects = pair.archive.keys("segments").len();
    assert_eq!((pair.archive.keys("ledger").len(), objects), (4, 4));
    // Killed after the upload and before the record: the object is found, and named.
    fs::remove_file(record).expect("removable");
    fs::remove_dir_all(pair.archive.path("cache")).expect("removable");
    pair.archive.json("verify", &repair, 0);
    assert_eq!(
        pair.archive.keys("segments").len(),
        objects,
        "no second one"
    );
    pair.archive.verify();
    // The better copy goes to the replica as well.
    pair.replicate(&[], 0);
    tools::run(
        &mut pair
            .archive
            .command(&["verify", &replica, "--deep", "--orphans"]),
    );
}

#[test]
fn where_a_record_cannot_be_read_no_object_passes_for_an_orphan() {
    let pair = Replicated::of(Archive::plain(), 3);
    let record = pair.archive.keys("ledger")[1].clone();
    let whole = fs::read(&record).expect("readable");
    fs::remove_file(&record).expect("removable");
    fs::write(&record, &whole[1..]).expect("writable");
    let report = pair.archive.json("verify", &["--orphans"], 3);
    assert_eq!(report["orphans"], Value::Null, "{report:#}");
    fs::remove_file(&record).expect("removable");
    fs::write(&record, whole).expect("writable");
    pair.archive.verify();
}

//! Filling a replica by hand: all of it, again, after kills, with the wrong place, and what is damaged in it.

use super::{Replicated, objects};
use crate::archive::Archive;
use crate::random::Random;
use crate::tools;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Runs that are really killed.
const KILLS: u32 = 15;

#[test]
fn a_replica_is_the_same_stream_and_can_be_read_by_itself() {
    let mut pair = Replicated::of(Archive::encrypted(), 4);
    let backups = pair.archive.bucket().join("backups");
    fs::create_dir_all(&backups).expect("writable");
    fs::write(backups.join("nightly.json"), "{\"a\": \"backup\"}\n").expect("writable");
    let done = pair.replicate(&[], 0);
    assert_eq!(
        (&done["records"], &done["segments"]),
        (&4.into(), &4.into())
    );
    assert_eq!((&done["through"], &done["last"]), (&4.into(), &4.into()));
    pair.check_same();
    assert!(pair.replica_dir().join("backups").is_dir());

    // Nothing is done twice; what is new is copied.
    let done = pair.replicate(&[], 0);
    assert_eq!(
        (&done["records"], &done["segments"]),
        (&0.into(), &0.into())
    );
    pair.server.rotate(3, 1000);
    pair.archive.archive(pair.server.dir());
    assert_eq!(pair.replicate(&[], 0)["records"], 1);
    pair.check_same();

    // The first store is gone.
    fs::remove_dir_all(pair.archive.bucket()).expect("removable");
    let replica = pair.replica();
    tools::run(
        &mut pair
            .archive
            .command(&["verify", &replica, "--deep", "--orphans"]),
    );
    let mounted = pair
        .archive
        .mount_at(&replica, pair.archive.path("mnt"), &[]);
    for path in pair.server.closed() {
        let name = path.file_name().expect("a name");
        let read = fs::read(mounted.dir().join(name)).expect("readable");
        assert!(read == fs::read(&path).expect("readable"));
    }
}

#[test]
fn a_place_that_holds_another_stream_is_refused_and_so_is_the_stream_itself() {
    let pair = Replicated::of(Archive::plain(), 1);
    let other = Replicated::of(Archive::plain(), 1);
    let (url, theirs) = (pair.archive.url(), other.archive.url());
    let before = objects(&other.archive.bucket());
    let output = pair.archive.output(&["replicate", &url, "--to", &theirs]);
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("holds another stream"), "{said}");
    assert!(objects(&other.archive.bucket()) == before);
    // Least of all is anything of it replaced.
    for more in [&["--check"][..], &["--check", "--replace"]] {
        let fixed = ["replicate", &url, "--to", &theirs];
        let output = pair.archive.output(&[&fixed[..], more].concat());
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{more:?}: {said}");
        assert!(said.contains("holds another stream"), "{said}");
        assert!(objects(&other.archive.bucket()) == before, "{more:?}");
    }
    let output = pair.archive.output(&["replicate", &url, "--to", &url]);
    let said = tools::excerpt(&output.stderr);
    assert!(
        output.status.code() == Some(1) && said.contains("--to"),
        "{said}"
    );
}

#[test]
fn a_record_that_is_whole_and_another_is_told_of_and_never_removed() {
    let mut pair = Replicated::of(Archive::plain(), 2);
    pair.replicate(&[], 0);
    // Somebody elsewhere fences the replica, and the first store goes on.
    let replica = pair.replica();
    let mut fence = tools::binlogfs();
    fence.args(["fence", &replica, "--end", "--reason", "x", "--execute"]);
    let cache = pair.archive.path("another-cache");
    tools::run(fence.arg("--cache-dir").arg(cache));
    pair.server.rotate(3, 1000);
    pair.archive.archive(pair.server.dir());
    let before = objects(&pair.replica_dir());
    let url = pair.archive.url();
    for more in [&[][..], &["--check"], &["--check", "--replace"]] {
        let fixed = ["replicate", &url, "--to", &replica];
        let output = pair.archive.output(&[&fixed[..], more].concat());
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{more:?}: {said}");
        assert!(said.contains("which of the two histories"), "{said}");
        assert!(objects(&pair.replica_dir()) == before, "{more:?}");
    }
    fs::remove_file(pair.replica_dir().join(format!("ledger/{:020}.json", 3))).expect("removable");
    pair.replicate(&["--check"], 0);
    pair.check_same();
}

#[test]
fn kills_at_random_moments_leave_a_prefix_and_then_the_same_stream() {
    let mut random = Random::seeded();
    let mut pair = Replicated::of(Archive::plain(), 0);
    for _ in 0..30 {
        pair.server.rotate(20, 20_000);
    }
    pair.archive.archive(pair.server.dir());
    let (url, replica) = (pair.archive.url(), pair.replica());
    let begun = Instant::now();
    pair.replicate(&[], 0);
    let whole = begun.elapsed();
    let mut kills = 0;
    for _ in 0..KILLS * 7 {
        // One that is killed at once has not made it yet.
        if pair.replica_dir().exists() {
            fs::remove_dir_all(pair.replica_dir()).expect("removable");
        }
        // Some begin where others were killed.
        for _ in 0..2 {
            let mut command = pair.archive.command(&["replicate", &url, "--to", &replica]);
            let mut child = command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("starts");
            std::thread::sleep(whole.mul_f64(random.fraction()));
            child.kill().expect("ours");
            kills += u32::from(child.wait().expect("ours").code().is_none());
            check_prefix(&pair);
        }
        if kills >= KILLS {
            break;
        }
    }
    assert!(kills >= KILLS / 3, "{kills} were in time");
    pair.replicate(&[], 0);
    // What was cut off is no object, and the store removes it in time.
    let _ = fs::remove_dir_all(pair.replica_dir().join(".tmp"));
    pair.check_same();
}

/// Every record that is there is the first store's, none is missing before it, and the object that it names is there.
fn check_prefix(pair: &Replicated) {
    if !pair.replica_dir().exists() {
        return;
    }
    let (own, copy) = (
        objects(&pair.archive.bucket()),
        objects(&pair.replica_dir()),
    );
    let records = |key: &&std::path::PathBuf| key.starts_with("ledger");
    let own_records: Vec<_> = own.keys().filter(records).collect();
    let there: Vec<_> = copy.keys().filter(records).collect();
    assert_eq!(there, own_records[..there.len()]);
    for key in there {
        assert_eq!(copy[key], own[key], "{}", key.display());
        let record: serde_json::Value = serde_json::from_slice(&copy[key]).expect("a record");
        let object = record["object"]["key"].as_str().expect("a key");
        let object = std::path::Path::new(object);
        assert!(
            copy[object] == own[object],
            "{} is named and whole",
            object.display()
        );
    }
}

#[test]
fn what_is_damaged_in_a_replica_is_found_by_a_check_and_replaced_when_asked_to() {
    let pair = Replicated::of(Archive::encrypted(), 5);
    pair.replicate(&[], 0);
    assert_eq!(
        pair.replicate(&["--check"], 0)["findings"],
        serde_json::json!([])
    );
    let (own, dir) = (objects(&pair.archive.bucket()), pair.replica_dir());
    let object = |n: usize| {
        let listed = pair.archive.ls(&[]);
        dir.join(listed[n]["object"].as_str().expect("a key"))
    };
    let record = |n: usize| dir.join(format!("ledger/{n:020}.json"));
    for path in [object(0), record(2), record(5)] {
        let mut bytes = fs::read(&path).expect("readable");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(&path).expect("removable");
        fs::write(&path, bytes).expect("writable");
    }
    fs::remove_file(object(3)).expect("removable");
    fs::remove_file(record(4)).expect("removable");
    let (url, replica) = (pair.archive.url(), pair.replica());
    let output = pair.archive.output(&["replicate", &url, "--to", &replica]);
    let said = tools::excerpt(&output.stderr);
    assert_eq!(
        output.status.code(),
        Some(1),
        "its newest record is another: {said}"
    );
    assert!(said.contains("--check --replace"), "{said}");
    let found = pair.replicate(&["--check", "--replace"], 0);
    let findings = found["findings"].as_array().expect("a list");
    assert_eq!(findings.len(), 3, "{found:#}");
    assert!(findings.iter().all(|finding| finding["healed"] == true));
    assert!(objects(&dir) == own, "and what was missing is there again");
    assert_eq!(
        pair.replicate(&["--check"], 0)["findings"],
        serde_json::json!([])
    );
}

#[test]
fn what_was_replaced_before_a_run_failed_is_in_its_report() {
    let pair = Replicated::of(Archive::plain(), 3);
    pair.replicate(&[], 0);
    let record = |n: usize| pair.replica_dir().join(format!("ledger/{n:020}.json"));
    fs::remove_file(record(2)).expect("removable");
    fs::write(record(2), "no record").expect("writable");
    // A link is not followed: the store refuses to say what is there.
    fs::remove_file(record(3)).expect("removable");
    std::os::unix::fs::symlink("elsewhere", record(3)).expect("writable");
    let report = pair.replicate(&["--check", "--replace"], 1);
    let findings = report["findings"].as_array().expect("a list");
    assert_eq!(findings.len(), 1, "{report:#}");
    assert_eq!(findings[0]["record"], 2, "{report:#}");
    assert_eq!(findings[0]["healed"], true, "{report:#}");
    let failed = report["failed"].as_str().expect("text");
    assert!(failed.contains(&format!("{:020}.json", 3)), "{failed}");
    assert_eq!(report["records"], serde_json::Value::Null, "{report:#}");
    fs::remove_file(record(3)).expect("removable");
    let done = pair.replicate(&["--check"], 0);
    assert_eq!(done["findings"], serde_json::json!([]));
    assert_eq!(done["failed"], serde_json::Value::Null);
    pair.check_same();
}

#[test]
fn what_the_first_store_lost_is_passed_over_and_told() {
    let pair = Replicated::of(Archive::plain(), 4);
    let lost = pair.archive.ls(&[])[1]["object"]
        .as_str()
        .expect("a key")
        .to_owned();
    fs::remove_file(pair.archive.bucket().join(&lost)).expect("removable");
    let done = pair.replicate(&[], 3);
    assert_eq!(
        (&done["records"], &done["segments"]),
        (&4.into(), &3.into())
    );
    assert!(
        done["passed_over"][0]
            .as_str()
            .expect("text")
            .contains(&lost),
        "{done:#}"
    );
    let done = pair.replicate(&[], 3);
    assert_eq!(
        done["passed_over_count"], 1,
        "it is not forgotten: {done:#}"
    );
}

#[test]
fn a_rate_holds_a_copy_back() {
    let mut pair = Replicated::of(Archive::plain(), 0);
    pair.server.rotate(200, 5000);
    pair.archive.archive(pair.server.dir());
    let stored = pair.archive.ls(&[])[0]["stored_size"]
        .as_u64()
        .expect("a size");
    let rate = format!("{}kB", (stored / 2000).max(1));
    let begun = Instant::now();
    pair.replicate(&["--rate", &rate], 0);
    assert!(
        begun.elapsed() > Duration::from_millis(1500),
        "{stored} at {rate}/s"
    );
    pair.check_same();
}

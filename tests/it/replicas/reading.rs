//! Reading past what one copy cannot give: range by range, and when the first store is gone.

use super::Replicated;
use crate::archive::Archive;
use crate::s3::server::S3Server;
use crate::tools;
use std::fs;
use std::path::Path;

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).expect("readable");
    bytes[at] ^= 0x10;
    fs::remove_file(path).expect("removable");
    fs::write(path, bytes).expect("writable");
}

#[test]
fn of_an_object_that_is_damaged_in_both_copies_each_range_comes_from_the_one_that_has_it() {
    // Not encrypted: the chunks of age span frames that are compressed so well. Several frames of 1 MiB, of some 100 KB stored.
    let mut pair = Replicated::of(Archive::plain(), 0);
    pair.server.rotate(20_000, 200);
    pair.archive.archive(pair.server.dir());
    pair.replicate(&[], 0);
    let entry = &pair.archive.ls(&[])[0];
    let key = entry["object"].as_str().expect("a key").to_owned();
    let own = pair.archive.bucket().join(&key);
    let len = fs::metadata(&own).expect("there").len() as usize;
    flip(&own, len / 4);
    flip(&own, len - 5);
    flip(&pair.replica_dir().join(&key), len / 2);
    pair.reads_the_truth();
    // Damaged in one place in both, it is refused.
    flip(&own, len / 2);
    let output = pair.cat();
    assert_eq!(output.status.code(), Some(1));
    assert!(pair.truth().starts_with(&output.stdout), "no wrong byte");
}

#[test]
fn a_store_that_is_gone_is_read_past_and_readers_are_told_once() {
    let archive = Archive::encrypted();
    let server = S3Server::start(&archive.path("elsewhere"));
    let url = server.url("prod/orders");
    let mut pair = Replicated::of(archive, 0);
    (0..3).for_each(|_| pair.server.rotate(5, 5000));
    let mut command = pair.archive.archive_command_to(&url, pair.server.dir());
    tools::run(
        command
            .arg("--state-dir")
            .arg(pair.archive.path("elsewhere-state")),
    );
    let replica = pair.replica();
    tools::run(&mut pair.archive.command(&["replicate", &url, "--to", &replica]));
    drop(server);
    let output = pair.archive.output(&["cat", &url, "--replica", &replica]);
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(output.stdout == pair.truth());
    assert!(said.contains("read from a second copy"), "{said}");
}

#[test]
fn a_replica_that_cannot_be_opened_is_told_of_and_disturbs_no_reader() {
    let pair = Replicated::of(Archive::plain(), 2);
    let said = pair.reads_the_truth();
    assert!(said.contains("this replica is not read"), "{said}");
}

#[test]
fn stream_json_that_is_damaged_or_gone_is_read_past_and_healed() {
    let pair = Replicated::of(Archive::plain(), 2);
    pair.replicate(&[], 0);
    let path = pair.archive.bucket().join("stream.json");
    let whole = fs::read(&path).expect("readable");
    let (url, replica) = (pair.archive.url(), pair.replica());
    for damaged in [None, Some(&whole[..20])] {
        fs::remove_file(&path).expect("removable");
        if let Some(bytes) = damaged {
            fs::write(&path, bytes).expect("writable");
        }
        pair.reads_the_truth();
        let repair = [
            "verify",
            &url,
            "--replica",
            &replica,
            "--repair",
            "--replace",
        ];
        tools::run(&mut pair.archive.command(&repair));
        assert_eq!(fs::read(&path).expect("there"), whole);
    }
    pair.archive.verify();
}

#[test]
fn stream_json_of_another_stream_heals_nothing() {
    let pair = Replicated::of(Archive::plain(), 2);
    let other = Replicated::of(Archive::plain(), 2);
    let own = pair.archive.bucket();
    let path = own.join("stream.json");
    let whole = fs::read(&path).expect("readable");
    fs::remove_file(&path).expect("removable");
    let (url, theirs) = (pair.archive.url(), other.archive.url());
    let first = own.join(format!("ledger/{:020}.json", 1));
    let record = fs::read(&first).expect("readable");
    let repair = ["verify", &url, "--replica", &theirs, "--repair"];
    // Whether the first record, which names it, can be read or not.
    for _ in 0..2 {
        let output = pair.archive.output(&repair);
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("name a replica of this stream"), "{said}");
        assert!(!path.exists(), "nothing was made");
        let _ = fs::remove_file(&first);
    }
    fs::write(&path, whole).expect("writable");
    fs::write(&first, record).expect("writable");
    pair.archive.verify();
}

#[test]
fn nothing_is_appended_after_a_record_that_only_a_replica_has() {
    let pair = Replicated::of(Archive::plain(), 2);
    pair.replicate(&[], 0);
    fs::remove_file(pair.archive.keys("ledger").pop().expect("a record")).expect("removable");
    let (url, replica) = (pair.archive.url(), pair.replica());
    let copy = ["--replica", &replica];
    let fence = ["fence", &url, "--end", "--reason", "x", "--execute"];
    let fence = [&fence[..], &copy].concat();
    let output = pair.archive.output(&fence);
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("lacks ledger record 2"), "{said}");
    assert_eq!(pair.archive.keys("ledger").len(), 1);
    let repair = ["verify", &url, "--repair"];
    tools::run(&mut pair.archive.command(&[&repair[..], &copy].concat()));
    tools::run(&mut pair.archive.command(&fence));
    assert_eq!(pair.archive.keys("ledger").len(), 3);
}

//! A history that was pruned, damaged, healed and re-keyed is copied and moved like any other.

use super::{TRANSACTIONS, archived, backup, prune, run};
use crate::archive::Archive;
use crate::tools;
use std::fs;

const FILES: usize = 6;

#[test]
fn a_history_that_was_pruned_healed_and_re_keyed_is_copied_and_moved_without_what_it_needs_no_more()
{
    let (archive, server) = archived(Archive::in_memory(true), FILES);
    let (url, key) = (archive.url(), archive.key());
    let dir_url = |name: &str| format!("file://{}", archive.path(name).display());
    let (replica, moved) = (dir_url("replica"), dir_url("moved"));
    let identity = key.to_str().expect("text");
    backup(&archive, "nightly", 3 * TRANSACTIONS, 0);
    prune(&archive, &["--before", "-1s", "--execute"], 0);
    prune(&archive, &["--execute", "--grace", "0s"], 0);
    assert_eq!(archive.keys("segments").len(), FILES - 2);

    // A replica is not told to miss what was pruned.
    run(&archive, &["replicate", &url, "--to", &replica], 0);
    // One object damaged, another gone: healed.
    let listed = archive.ls(&[]);
    let object = |n: usize| {
        let key = listed[n]["object"].as_str().expect("a key");
        archive.bucket().join(key)
    };
    let mut bytes = fs::read(object(1)).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(object(1), bytes).expect("writable");
    fs::remove_file(object(2)).expect("removed");
    let heal = ["verify", &url, "--deep", "--repair", "--replica", &replica];
    run(&archive, &heal, 0);
    archive.verify();
    // And the replica follows, with the object that takes the place of the damaged one.
    run(&archive, &["replicate", &url, "--to", &replica], 0);

    let new_key = archive.path("new.key");
    let made = tools::run(tools::binlogfs().arg("keygen"));
    fs::write(&new_key, &made).expect("writable");
    let text = String::from_utf8(made).expect("text");
    let recipient = text
        .split_whitespace()
        .find(|word| word.starts_with("age1"))
        .expect("a public key");
    let rekey = [
        "rekey",
        &url,
        "--identity",
        identity,
        "--recipient",
        recipient,
    ];
    run(&archive, &rekey, 0);

    let new_identity = new_key.to_str().expect("text");
    let migrate = [
        "migrate",
        &url,
        &moved,
        "--identity",
        new_identity,
        "--cut-over",
    ];
    run(&archive, &migrate, 0);
    for place in [&moved, &replica] {
        let cache = archive.path("another-cache");
        let mut verify = tools::binlogfs();
        verify.args(["verify", place, "--deep", "--orphans"]);
        verify.args(["--identity", new_identity, "--identity", identity]);
        tools::run(verify.arg("--cache-dir").arg(&cache));
        fs::remove_dir_all(&cache).expect("it was made");
    }
    let mut cat = tools::binlogfs();
    cat.args(["cat", &moved, "--identity", new_identity, "--cache-dir"]);
    let read = tools::run(cat.arg(archive.path("moved-cache")));
    let truth = server.closed();
    let truth = truth.iter().skip(2);
    let truth = truth.flat_map(|file| fs::read(file).expect("readable"));
    assert!(read == truth.collect::<Vec<u8>>());
}

#[test]
fn a_replica_is_pruned_by_itself_with_the_records_of_the_first_store_and_what_went_stays_gone() {
    let (archive, mut server) = archived(Archive::plain(), FILES);
    let url = archive.url();
    let replica = format!("file://{}", archive.path("replica").display());
    backup(&archive, "late", 55, 0);
    let replicate = |code: i32| {
        let all = ["replicate", &url, "--to", &replica, "--json"];
        run(&archive, &all, code)
    };
    replicate(0);
    prune(&archive, &["--keep", "1s", "--execute"], 0);
    replicate(0);
    let second = ["prune", &replica, "--execute", "--grace", "0s", "--json"];
    let did = run(&archive, &second, 0);
    assert_eq!(did["removal"]["objects"], 4, "{did:#}");
    assert_eq!(archive.keys("segments").len(), FILES, "still in the grace");
    // What the first store has still is not copied again.
    let done = replicate(0);
    assert_eq!(done["segments"], 0, "{done:#}");
    prune(&archive, &["--execute", "--grace", "0s"], 0);
    server.rotate(TRANSACTIONS, 200);
    archive.archive(server.dir());
    let done = replicate(0);
    assert_eq!(done["segments"], 1, "{done:#}");
    run(&archive, &["verify", &replica, "--deep", "--orphans"], 0);
    let there = fs::read_dir(archive.path("replica").join("segments"));
    assert_eq!(there.expect("readable").count(), 3);
    archive.verify();
}

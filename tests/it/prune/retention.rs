//! What retention leaves, and what of it must make sense.

use super::{TRANSACTIONS, archived, backup, names, prune, refused};
use crate::archive::Archive;

#[test]
fn without_a_backup_nothing_is_pruned_and_what_is_asked_must_make_sense() {
    let (archive, _) = archived(Archive::plain(), 3);
    let url = archive.url();
    for more in [
        &["--keep", "1s"][..],
        &["--keep", "1s", "--execute"],
        &["--execute"],
    ] {
        let said = refused(&archive, &[&["prune", &url], more].concat(), 1);
        assert!(said.contains("no registered backup"), "{said}");
        assert!(said.contains("'binlogfs backup add'"), "{said}");
    }
    assert_eq!(archive.keys("ledger").len(), 3);
    backup(&archive, "one", 25, 0);
    for (more, code, part) in [
        (
            &["--keep-backups", "2"][..],
            1,
            "of 2 backups that --keep-backups asks to keep, 1 can be",
        ),
        (&["--before", "2099-01-01T00:00:00Z"], 1, "has not come yet"),
        (
            &["--keep", "1s", "--keep-backups", "1"],
            2,
            "cannot be used with",
        ),
        (&["--keep-backups", "0"], 2, "invalid value"),
        (&["--keep", "yesterday"], 2, "no duration"),
    ] {
        let said = refused(&archive, &[&["prune", &url], more].concat(), code);
        assert!(said.contains(part), "{more:?}: {said}");
    }
    // Young enough is what has not been there for so long: all of it is years old.
    let told = prune(&archive, &["--keep-backups", "1"], 0);
    assert_eq!(
        told["timelines"][0]["goes"]["through"], "binlog.000001",
        "{told:#}"
    );
    let told = prune(&archive, &["--before", "2023-11-14T00:00:00Z"], 0);
    assert_eq!(told["timelines"][0]["goes"]["entries"], 0, "{told:#}");
    assert_eq!(told["timelines"][0]["limits"][0]["reason"], "rule");
}

#[test]
fn the_newest_segment_stays_and_a_hole_in_front_of_what_a_backup_needs_goes() {
    let (archive, mut server) = archived(Archive::plain(), 3);
    server.rotate(TRANSACTIONS, 200);
    server.rotate(TRANSACTIONS, 200);
    server.purge(4);
    archive.archive(server.dir());
    assert_eq!(names(&archive, &[]), ["1a", "2a", "3a", "4h", "5a"]);
    backup(&archive, "one", 50, 0);
    let did = prune(&archive, &["--keep", "1s", "--execute", "--grace", "0s"], 0);
    assert_eq!(did["recorded"][0]["through"], "binlog.000004", "{did:#}");
    let limits = did["timelines"][0]["limits"].as_array().expect("a list");
    let reasons: Vec<_> = limits.iter().map(|limit| &limit["reason"]).collect();
    assert_eq!(reasons, ["backup", "newest", "rule"], "{did:#}");
    assert_eq!(names(&archive, &[]), ["5a"]);
    assert_eq!(archive.keys("segments").len(), 1);
    archive.verify();
    let status = archive.json("status", &[], 0);
    assert_eq!(status["findings"], serde_json::json!([]), "{status:#}");
    assert_eq!(status["recovery"]["usable"], 1);
}

//! The wrong key, and no key: whom the segments are for is told, and which files were tried.

use super::{Scene, numbers};
use crate::tools;
use std::process::Command;

fn said(command: &mut Command) -> (Option<i32>, String) {
    let output = tools::output(command);
    let text = tools::excerpt(&output.stdout) + &tools::excerpt(&output.stderr);
    (output.status.code(), text)
}

#[test]
fn the_wrong_key_is_told_whom_the_segments_are_for_and_where_it_came_from() {
    let scene = Scene::new(2);
    let (right, wrong, another) = (scene.old(), scene.key("wrong"), scene.key("another"));
    let url = scene.archive.url();
    let dir = scene.archive.path("mnt");
    let dir = dir.to_str().expect("text");
    for (arguments, expected) in [
        (&["mount", &url, dir][..], 1),
        (&["cat", &url], 1),
        (&["verify", "--deep", &url], 3),
        (&["history", "--ddl", &url], 1),
    ] {
        let mut command = scene.command(&wrong, "cache", arguments);
        let (code, text) = said(command.arg("--identity").arg(&another.file));
        assert_eq!(code, Some(expected), "{arguments:?}: {text}");
        for words in [
            "is not encrypted for",
            &right.public,
            &wrong.public,
            "wrong.txt",
            &another.public,
            "another.txt",
            "--identity",
        ] {
            assert!(
                text.contains(words),
                "{arguments:?}: {words} is not in: {text}"
            );
        }
        assert!(!text.contains("re-keyed"), "{text}");
    }
    let report = scene.rekey(&wrong, &[&another], &[], 3);
    assert_eq!(numbers(&report), [2, 0, 0, 0]);
    let foreign = serde_json::json!([{
        "recipients": [right.public], "segments": 2, "first": "binlog.000001", "last": "binlog.000002"
    }]);
    assert_eq!(report["foreign"], foreign);
    let (code, text) = said(&mut scene.rekey_command(&wrong, &[&another], &[]));
    assert_eq!(code, Some(3));
    for words in [
        "2 segments (binlog.000001 to binlog.000002) are for",
        &right.public,
        "wrong.txt",
    ] {
        assert!(text.contains(words), "{words} is not in: {text}");
    }
    assert_eq!(scene.records(), 2, "nothing was written");
}

#[test]
fn without_any_key_whom_the_segments_are_for_is_told() {
    let scene = Scene::new(2);
    let right = scene.old();
    let url = scene.archive.url();
    for arguments in [&["cat", &url][..], &["verify", "--deep", &url]] {
        let mut command = tools::binlogfs();
        command.args(arguments);
        command.arg("--cache-dir").arg(scene.archive.path("cache"));
        let (code, text) = said(&mut command);
        assert_eq!(code, Some(1), "{arguments:?}: {text}");
        for words in [&*right.public, "--identity"] {
            assert!(
                text.contains(words),
                "{arguments:?}: {words} is not in: {text}"
            );
        }
    }
    let mut rekey = tools::binlogfs();
    rekey.args(["rekey", &url, "--recipient", &right.public]);
    let (code, text) = said(rekey.arg("--cache-dir").arg(scene.archive.path("cache")));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("needs the private key"), "{text}");
}

#[test]
fn a_damaged_header_is_told_and_the_other_segments_are_re_keyed() {
    let scene = Scene::new(3);
    let (old, new) = (scene.old(), scene.key("new"));
    let object = scene.archive.keys("segments").remove(1);
    let mut bytes = std::fs::read(&object).expect("readable");
    // A digit of the first stanza: the MAC is of all of them.
    bytes[60] ^= 1;
    std::fs::write(&object, bytes).expect("writable");
    let report = scene.rekey(&old, &[&new], &[], 3);
    assert_eq!(numbers(&report), [3, 2, 0, 0], "{report:#}");
    assert_eq!(report["failures"], 1);
    let failed = &report["failed"][0];
    assert_eq!(failed["name"], "binlog.000002");
    let reason = failed["reason"].as_str().expect("text");
    assert!(reason.contains("segments/binlog.000002-"), "{reason}");
    // The nonce, which no MAC is of: only opening tells.
    let end = scene.archive.ls(&[])[1]["header_size"].as_u64();
    let end = end.expect("a number") as usize;
    let mut bytes = std::fs::read(&object).expect("readable");
    bytes[60] ^= 1;
    bytes[end - 1] ^= 1;
    std::fs::write(&object, bytes).expect("writable");
    let report = scene.rekey(&old, &[&new], &[], 3);
    assert_eq!(numbers(&report), [3, 0, 2, 0], "{report:#}");
    assert_eq!(report["failures"], 1);
    assert_eq!(scene.records(), 5);
}

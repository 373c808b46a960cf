//! Glob order is replay order, with real `ls` and real bash, in locales that sort letters and digits each in their own way.

use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use binlogfs::binlog::testing::mysql_gtid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A locale, and two letters or digits in an order that tells it from the C locale.
const LOCALES: [(&str, &str); 4] = [
    ("C", "B\na\n"),
    ("en_US.UTF-8", "a\nB\n"),
    ("cs_CZ.UTF-8", "c\ncz\nd\nh\nch\ni\n"),
    ("et_EE.UTF-8", "s\nz\nt\n"),
];

/// Where the scripts make the locales; they export it, and make the same choice when it is unset.
fn locpath() -> PathBuf {
    std::env::var_os("LOCPATH").map_or_else(|| tools::cache_dir().join("locales"), PathBuf::from)
}

/// `bash -c script` in a locale.
fn bash(locale: &str, dir: &Path, script: &str) -> Vec<String> {
    let mut command = Command::new("bash");
    command.args(["--norc", "-c", script]).current_dir(dir);
    command
        .env_remove("GLOBSORT")
        .env("LOCPATH", locpath())
        .env("LC_ALL", locale);
    let output = tools::output(&mut command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && said.is_empty(),
        "{locale}: {said}; 'scripts/test' makes the locales"
    );
    String::from_utf8(output.stdout)
        .expect("names are text")
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Archives everything that can disturb an order. Returns each entry's file, or what stands in its place.
fn disturbed(archive: &Archive) -> Vec<&'static str> {
    let mut first =
        SyntheticServer::starting_at(&archive.data(), 1, "binlog", 999_998, Default::default());
    (0..4).for_each(|_| first.rotate(2, 100));
    archive.archive(first.dir());
    // A hole: number 1000002 is purged before it is archived.
    first.rotate(2, 100);
    first.rotate(2, 100);
    first.purge(5);
    archive.archive(first.dir());
    // Another server of the cluster goes on, and a gap: it executed what no file here has.
    let dir = archive.path("second");
    fs::create_dir(&dir).expect("writable");
    let mut executed = first.executed().clone();
    (1..=5).for_each(|number| executed.insert(&mysql_gtid(9, number)));
    let mut second = SyntheticServer::starting_at(&dir, 2, "binlog", 7, executed);
    second.rotate(2, 100);
    second.rotate(2, 100);
    archive.archive(second.dir());
    // Another log_bin, one that sorts before the first.
    second.rename("a-bin");
    second.rotate(2, 100);
    second.rotate(2, 100);
    archive.archive(second.dir());
    vec![
        "binlog.999998",
        "binlog.999999",
        "binlog.1000000",
        "binlog.1000001",
        "hole",
        "binlog.1000003",
        "gap",
        "binlog.000007",
        "binlog.000008",
        "binlog.000009",
        "a-bin.000001",
        "a-bin.000002",
    ]
}

#[test]
fn glob_order_is_replay_order_in_every_locale() {
    let archive = Archive::plain();
    let files = disturbed(&archive);
    let listed = archive.ls(&[]);
    let told: Vec<_> = listed
        .iter()
        .map(|entry| {
            entry["file"]
                .as_str()
                .or(entry["state"].as_str())
                .expect("text")
        })
        .collect();
    assert_eq!(
        told, files,
        "the ledger has them in the order in which they were written"
    );
    assert!(listed.is_sorted_by_key(|entry| entry["seq"].as_u64()));
    let names: Vec<_> = listed
        .iter()
        .map(|entry| entry["name"].as_str().expect("a name").to_owned())
        .collect();
    let mounted = archive.mount();
    for (locale, letters) in LOCALES {
        let sorted = bash(
            locale,
            mounted.dir(),
            &format!("printf '%s' '{letters}' | shuf --random-source=/dev/zero | sort"),
        );
        assert_eq!(
            sorted,
            letters.lines().collect::<Vec<_>>(),
            "{locale} sorts as that locale does: LOCPATH is right"
        );
        assert_eq!(bash(locale, mounted.dir(), "ls -1"), names, "{locale}: ls");
        assert_eq!(
            bash(locale, mounted.dir(), "printf '%s\\n' *"),
            names,
            "{locale}: *"
        );
        assert_eq!(
            bash(locale, mounted.dir(), "printf '%s\\n' binlog.[0-9]*"),
            names,
            "{locale}: binlog.[0-9]*"
        );
    }
}

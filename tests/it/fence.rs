//! `binlogfs fence`: a timeline ends where an operator says, every reader obeys, and nothing that was archived is lost.

mod lost_race;
mod old_primary;

use crate::archive::Archive;
use crate::synthetic::{SyntheticServer, uuid_of};
use crate::tools;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Output;

/// Twelve transactions in three files, archived.
fn three_files() -> (Archive, SyntheticServer) {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..3).for_each(|_| server.rotate(4, 200));
    archive.archive(server.dir());
    (archive, server)
}

/// The GTID of a transaction of a synthetic server.
fn gtid(server: u8, number: u64) -> String {
    format!("{}:{number}", uuid_of(server))
}

/// `binlogfs fence` with a reason.
fn fence(archive: &Archive, more: &[&str]) -> Output {
    let url = archive.url();
    archive.output(&[&["fence", &url, "--reason", "db1 was lost"], more].concat())
}

/// The same with `--json`, which must work.
#[track_caller]
fn fenced(archive: &Archive, more: &[&str]) -> Value {
    let output = fence(archive, &[more, &["--json"]].concat());
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{more:?}: {said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Names and sizes of what `ls` shows.
fn listed(archive: &Archive, more: &[&str]) -> Vec<(String, u64)> {
    let of = |entry: &Value| {
        let size = entry["fenced_at"].as_u64().or(entry["size"].as_u64());
        let name = entry["name"].as_str().expect("a name").to_owned();
        (name, size.expect("a size"))
    };
    archive.ls(more).iter().map(of).collect()
}

fn read(path: impl AsRef<Path>) -> Vec<u8> {
    let path = path.as_ref();
    fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn rest_of(mut file: &fs::File) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut file, &mut bytes).expect("reads on");
    bytes
}

#[test]
fn a_fence_is_told_beforehand_and_every_reader_obeys_it() {
    let (archive, server) = three_files();
    let files: Vec<Vec<u8>> = server.closed().iter().map(read).collect();
    let url = archive.url();
    let before = archive.mount_with(&["--refresh", "1s"]);
    // The kernel knows every name, by each of its directories, and has every byte.
    let ways = ["", ".raw", ".timeline/1", ".timeline/1/.raw"].map(|way| before.dir().join(way));
    for (n, file) in files.iter().enumerate() {
        let name = format!("binlog.{:06}", n + 1);
        assert!(ways.iter().all(|way| read(way.join(&name)) == *file));
    }
    let open = |name: &str| fs::File::open(before.dir().join(name)).expect("opens");
    let (last, behind) = (open("binlog.000002"), open("binlog.000003"));
    let seventh = gtid(1, 7);
    let whole = archive.ls(&[]).swap_remove(1);
    let plan = fenced(&archive, &["--gtid", &seventh]);
    assert_eq!(plan["executed"], false);
    assert_eq!(plan["file"], "binlog.000002");
    assert_eq!(plan["leaves"]["transactions"], 6, "{plan:#}");
    assert_eq!(plan["leaves"]["segments"], 1, "{plan:#}");
    assert_eq!(plan["leaves"]["gtids"], gtid(1, 7) + "-12");
    assert_eq!(plan["stays"]["gtids"], format!("{}:1-6", uuid_of(1)));
    assert_eq!(archive.keys("ledger").len(), 3, "nothing was written");
    let position = plan["position"].as_u64().expect("a position");
    let cut = &files[1][..usize::try_from(position).expect("small")];
    let left = (files[1].len() - cut.len() + files[2].len()) as u64;
    assert_eq!(plan["leaves"]["bytes"], left);

    let done = fenced(&archive, &["--gtid", &seventh, "--execute"]);
    assert_eq!(done["record"], 4);
    let want = [
        ("binlog.000001".to_owned(), files[0].len() as u64),
        ("binlog.000002".to_owned(), position),
    ];
    assert_eq!(listed(&archive, &[]), want);
    let cut_off = archive.ls(&[]).swap_remove(1);
    assert_ne!(cut_off["last_time"], whole["last_time"]);
    let kept = [files[0].as_slice(), cut].concat();
    assert!(tools::run(&mut archive.command(&["cat", &url])) == kept);
    let again = archive.mount_at(&url, archive.path("again"), &[]);
    assert!(fs::read(again.dir().join("binlog.000003")).is_err());
    for mounted in [&before, &again] {
        let root = mounted.dir();
        tools::eventually("the mount has seen the fence", || {
            fs::read_dir(root).expect("listed").count() == 2
        });
        tools::eventually("the last file ends at the fence", || {
            let meta = fs::metadata(root.join("binlog.000002"));
            meta.is_ok_and(|meta| meta.len() == position)
        });
        assert!(read(root.join("binlog.000001")) == files[0]);
        assert!(read(root.join("binlog.000002")) == cut);
        assert!(!root.join(".before").join(gtid(1, 8)).exists());
        assert!(root.join(".before").join(gtid(1, 6)).exists());
    }
    for way in &ways {
        let name = way.join("binlog.000003");
        tools::eventually(
            "the kernel has forgotten the name",
            || matches!(name.metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound),
        );
        assert!(read(way.join("binlog.000002")) == cut, "{way:?}");
    }
    // What is open reads on; the last one ends where it ends for everybody.
    assert_eq!(
        behind.metadata().expect("open").len(),
        files[2].len() as u64
    );
    assert!(rest_of(&behind) == files[2]);
    assert!(rest_of(&last) == cut);
    // By its number it cannot be opened again either.
    let by_number = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&behind));
    assert_eq!(tools::errno(fs::File::open(by_number)), libc::ESTALE);
    drop((last, behind));
    let plan = archive.json("plan", &["--to-end"], 0);
    assert!(
        plan.to_string().contains(&format!("{}:1-6", uuid_of(1))),
        "{plan:#}"
    );
    assert!(!plan.to_string().contains("1-12"), "{plan:#}");
    let refused = archive.json("locate", &["--gtid", &gtid(1, 9)], 4);
    assert!(
        refused.to_string().contains("behind a fence"),
        "{refused:#}"
    );
    archive.json("locate", &["--gtid", &gtid(1, 6)], 0);
    let history = archive.output(&["history", &url, "--gtid", &gtid(1, 9)]);
    assert_eq!(history.status.code(), Some(4));
    let status = tools::run_text(&mut archive.command(&["status", &url]));
    let told = format!("fence         in binlog.000002 at byte {position}: db1 was lost (record 4");
    assert!(status.contains(&told), "{status}");
    assert!(status.contains("transactions  6\n"), "{status}");
}

#[test]
fn what_a_fence_took_out_is_kept_proven_and_given_out() {
    let (archive, server) = three_files();
    fenced(&archive, &["--gtid", &gtid(1, 7), "--execute"]);
    let files: Vec<Vec<u8>> = server.closed().iter().map(read).collect();
    let names = listed(&archive, &["--fenced"]);
    let names: Vec<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["binlog.000002", "binlog.000003"]);
    let url = archive.url();
    let left = tools::run(&mut archive.command(&["cat", &url, "--fenced"]));
    assert!(left == files[1..].concat(), "whole files");
    archive.verify();
    let report = archive.json("verify", &["--deep"], 0);
    assert_eq!(report["segments_read"], 3, "{report:#}");
    // A fresh index sees the same.
    let cache = archive.path("another-cache");
    let mut again = tools::binlogfs();
    again.args(["ls", &url, "--json"]);
    let text = tools::run_text(again.arg("--cache-dir").arg(&cache));
    assert_eq!(text.matches("\"name\"").count(), 2, "{text}");
    // What is archived is not archived again.
    assert!(archive.archive(server.dir()).contains("nothing new"));
}

#[test]
fn what_makes_no_sense_is_refused_with_what_to_do_instead() {
    let (archive, server) = three_files();
    let size = read(&server.closed()[2]).len();
    let refused = |more: &[&str], parts: &[&str]| {
        let output = fence(&archive, &[more, &["--execute"]].concat());
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{more:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{more:?}: no {part} in {said}");
        }
        said
    };
    let within = archive.json("locate", &["--gtid", &gtid(1, 7)], 0);
    let start = within["transaction"]["start"].as_u64().expect("a start");
    let end = within["transaction"]["end"].as_u64().expect("an end");
    let inside = format!("binlog.000002:{}", start + 30);
    refused(
        &["--position", &inside],
        &[
            "inside a transaction",
            &gtid(1, 7),
            &format!("binlog.000002:{start}"),
            &format!("binlog.000002:{end}"),
        ],
    );
    let beyond = format!("binlog.000003:{}", size + 1);
    refused(&["--position", &beyond], &["lies behind that"]);
    refused(&["--gtid", &gtid(1, 99)], &["no archived binlog holds"]);
    refused(
        &["--time", "2038-01-01T00:00:00Z"],
        &["after the last commit"],
    );
    refused(
        &["--position", "binlog.000009:4"],
        &["no file binlog.000009"],
    );
    assert_eq!(archive.keys("ledger").len(), 3, "nothing was written");
    // Without a reason, or without a place.
    let url = archive.url();
    for words in [
        &["fence", &url, "--end"][..],
        &["fence", &url, "--reason", "x"],
    ] {
        assert_eq!(archive.output(words).status.code(), Some(2), "{words:?}");
    }
    let blank = archive.output(&["fence", &url, "--end", "--reason", " "]);
    assert_eq!(blank.status.code(), Some(1));

    // Behind a fence no other one makes sense, before it one does.
    fenced(&archive, &["--gtid", &gtid(1, 7), "--execute"]);
    refused(&["--gtid", &gtid(1, 9)], &["behind a fence"]);
    refused(&["--gtid", &gtid(1, 7)], &["behind a fence"]);
    refused(&["--end"], &["ends there already: record 4, db1 was lost"]);
    let position = format!("binlog.000002:{}", end + 1);
    refused(&["--position", &position], &["lies behind that"]);
    let earlier = fenced(&archive, &["--gtid", &gtid(1, 3), "--execute"]);
    assert_eq!(earlier["leaves"]["gtids"], gtid(1, 3) + "-6");
    assert_eq!(listed(&archive, &[]).len(), 1);
    assert_eq!(listed(&archive, &["--fenced"]).len(), 3);
    archive.verify();
}

#[test]
fn a_moment_ends_a_timeline_between_two_commits() {
    let (archive, _) = three_files();
    let fifth = archive.json("locate", &["--gtid", &gtid(1, 5)], 0);
    let time = fifth["transaction"]["committed_at"]
        .as_str()
        .expect("a time");
    let done = fenced(&archive, &["--time", time, "--execute"]);
    assert_eq!(done["stays"]["gtids"], format!("{}:1-5", uuid_of(1)));
    // The last commit that stays is the last moment that can be reached.
    archive.json("locate", &["--time", time], 0);
    let later = archive.json("locate", &["--gtid", &gtid(1, 5)], 0);
    assert_eq!(later["transaction"]["committed_at"], time);
    let zoneless = time.trim_end_matches('Z');
    let output = fence(&archive, &["--time", zoneless]);
    assert_eq!(output.status.code(), Some(1));
    assert!(tools::excerpt(&output.stderr).contains("has no zone"));
}

#[test]
fn what_was_in_a_hole_behind_a_fence_leaves_with_it() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..2).for_each(|_| server.rotate(4, 200));
    archive.archive(server.dir());
    // The third file is gone before it is archived.
    server.rotate(4, 200);
    server.purge(3);
    server.rotate(4, 200);
    archive.archive(server.dir());
    let plan = fenced(&archive, &["--gtid", &gtid(1, 7), "--execute"]);
    assert_eq!(plan["leaves"]["gtids"], gtid(1, 7) + "-16", "{plan:#}");
    assert_eq!(plan["leaves"]["transactions"], 6, "{plan:#}");
    assert_eq!(plan["stays"]["gtids"], format!("{}:1-6", uuid_of(1)));
    // A server that has executed what was in the hole does not join, even without the rest of what left.
    let dir = archive.path("second");
    fs::create_dir(&dir).expect("writable");
    let executed = format!("{}:1-6:9-12", uuid_of(1))
        .parse()
        .expect("a GTID set");
    let mut second = SyntheticServer::starting_at(&dir, 2, "binlog", 1, executed);
    second.rotate(2, 200);
    let output = tools::output(archive.archive_command(second.dir()).arg("--json"));
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let notice = told["notices"][0].as_str().expect("text");
    assert!(notice.contains("goes on behind the fence"), "{told:#}");
    let begun =
        serde_json::json!([{ "file": "binlog.000001", "timeline": 2, "left": 1, "late": true }]);
    assert_eq!(told["new_timelines"], begun);
}

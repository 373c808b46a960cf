//! What a plan never crosses, and what it says instead.

use super::{files, plan_ends, planned, refused, text};
use crate::archive::Archive;
use crate::failover::with_a_late_tail;
use crate::synthetic::{SyntheticServer, uuid_of};
use crate::tools;
use std::fs;

/// Transactions of each file.
const EACH: u64 = 4;

/// A stream of so many files of one server, and a file that it still writes.
fn stream(count: usize) -> (Archive, SyntheticServer) {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..count).for_each(|_| server.rotate(EACH, 1000));
    archive.archive(server.dir());
    (archive, server)
}

fn gtid(number: u64) -> String {
    format!("{}:{number}", uuid_of(1))
}

fn up_to(number: u64) -> String {
    format!("{}:1-{number}", uuid_of(1))
}

/// When the transaction was committed; each a second after the other.
fn committed(number: u64) -> String {
    binlogfs::model::Micros((1_700_000_001 + number as i64) * 1_000_000 + 123).to_string()
}

fn name(number: u64) -> String {
    format!("binlog.{number:06}")
}

#[test]
fn a_plan_begins_at_the_first_transaction_that_the_base_lacks_and_ends_at_the_target() {
    let (archive, _server) = stream(5);
    let plan = planned(
        &archive,
        &["--to", &committed(14), "--from-gtid-set", &up_to(5)],
    );
    assert_eq!(files(&plan), [name(2), name(3), name(4)]);
    assert_eq!(plan["begin"]["first"]["gtid"], gtid(6));
    assert_eq!(plan["begin"]["position"], plan["begin"]["first"]["start"]);
    assert_eq!(plan["stop"]["last"]["gtid"], gtid(14));
    assert_eq!(plan["stop"]["last"]["committed_at"], committed(14));
    assert_eq!(plan["stop"]["next"]["gtid"], gtid(15));
    assert_eq!(plan["stop"]["position"], plan["stop"]["last"]["end"]);
    assert_eq!(plan["gtids"]["adds"], format!("{}:6-14", uuid_of(1)));
    assert_eq!(plan["gtids"]["after"], up_to(14));
    assert_eq!(plan["left_out"]["gtids"], format!("{}:15-20", uuid_of(1)));
    assert_eq!(plan["left_out"]["last_commit"], committed(20));
    let segments = plan["segments"].as_array().expect("a list");
    assert_eq!(segments[0]["from"], plan["begin"]["position"]);
    assert_eq!(
        (&segments[1]["from"], &segments[1]["to"]),
        (&0.into(), &segments[1]["size"])
    );
    assert_eq!(segments[2]["to"], plan["stop"]["position"]);
    let stored: u64 = segments
        .iter()
        .map(|s| s["stored_size"].as_u64().expect("a number"))
        .sum();
    // Each has one frame: whatever of it is needed, about all of it is fetched.
    let fetched = plan["fetch_bytes"].as_u64().expect("a number");
    assert!(
        fetched <= stored && fetched > stored * 9 / 10,
        "{fetched} of {stored}"
    );

    // The same end by other names.
    let position = format!("{}:{}", name(4), plan["stop"]["position"]);
    for target in [
        ["--after-gtid", &gtid(14)],
        ["--before-gtid", &gtid(15)],
        ["--to-position", &position],
    ] {
        let same = planned(
            &archive,
            &[target[0], target[1], "--from-gtid-set", &up_to(5)],
        );
        for member in ["begin", "stop", "segments", "gtids"] {
            assert_eq!(same[member], plan[member], "{target:?}");
        }
    }
    // The same beginning as a place.
    let begin = format!("{}:{}", name(2), plan["begin"]["position"]);
    let same = planned(
        &archive,
        &["--to", &committed(14), "--from-position", &begin],
    );
    for member in ["begin", "stop", "segments", "gtids"] {
        assert_eq!(same[member], plan[member], "{begin}");
    }
}

#[test]
fn without_a_base_everything_is_replayed_and_with_all_of_it_nothing() {
    let (archive, _server) = stream(3);
    let whole = planned(&archive, &["--to-end"]);
    assert_eq!(files(&whole), [name(1), name(2), name(3)]);
    assert_eq!(whole["gtids"]["adds"], up_to(12));
    assert_eq!(whole["stop"]["next"], serde_json::Value::Null);
    let plan = planned(
        &archive,
        &["--after-gtid", &gtid(8), "--from-gtid-set", &up_to(8)],
    );
    assert_eq!(files(&plan), [""; 0]);
    assert_eq!(plan["commands"], serde_json::json!([]));
    // A base that ends with a file goes on with the next one.
    let plan = planned(&archive, &["--to-end", "--from-gtid-set", &up_to(8)]);
    assert_eq!(files(&plan), [name(3)]);
    assert_eq!(plan["segments"][0]["from"], 0);
    // A transaction that is left out on the way.
    let plan = planned(
        &archive,
        &[
            "--to-end",
            "--from-gtid-set",
            &up_to(8),
            "--skip-gtid",
            &gtid(10),
        ],
    );
    assert_eq!(plan["gtids"]["adds"], format!("{}:9:11-12", uuid_of(1)));
    assert_eq!(plan["gtids"]["after"], up_to(12));
    assert!(text(&plan["commands"][2]).contains(&format!("{} | mysql", gtid(10))));
    assert!(text(&plan["commands"][3]).contains(&format!("--exclude-gtids={}", gtid(10))));
}

#[test]
fn a_hole_is_not_crossed_and_both_sides_of_it_are_told() {
    let (archive, mut server) = stream(2);
    (0..3).for_each(|_| server.rotate(EACH, 1000));
    server.purge(3);
    archive.archive(server.dir());
    let states: Vec<_> = archive.ls(&[]).iter().map(|e| text(&e["state"])).collect();
    assert_eq!(
        states,
        ["archived", "archived", "hole", "archived", "archived"]
    );

    let beyond = committed(14);
    for target in [
        ["--to", &beyond],
        ["--after-gtid", &gtid(14)],
        ["--before-gtid", &gtid(13)],
    ] {
        let refusal = refused(&archive, &target, "missing");
        assert_eq!(refusal["before"]["gtid"], gtid(8), "{target:?}");
        assert_eq!(refusal["before"]["time"], committed(8));
        assert_eq!(refusal["after"]["gtid"], gtid(13));
        assert_eq!(refusal["after"]["time"], committed(13));
        assert!(text(&refusal["reason"]).contains(&name(3)), "{refusal:#}");
        // What it offers can be had.
        let plan = planned(&archive, &["--to", &text(&refusal["before"]["time"])]);
        assert_eq!(plan["gtids"]["after"], up_to(8));
        let plan = planned(
            &archive,
            &[target[0], target[1], "--from-gtid-set", &up_to(12)],
        );
        match target[0] {
            "--before-gtid" => assert_eq!(files(&plan), [""; 0]),
            _ => assert_eq!(files(&plan), [name(4)]),
        }
    }
    // Inside the hole there is nothing to aim at.
    for target in [["--to", &committed(10)], ["--after-gtid", &gtid(10)]] {
        let refusal = refused(&archive, &target, "missing");
        assert_eq!(refusal["before"]["gtid"], gtid(8), "{target:?}");
        assert_eq!(refusal["after"]["gtid"], gtid(13), "{target:?}");
    }
    // A base from inside the hole lacks what stood in it.
    let refusal = refused(
        &archive,
        &["--to-end", "--from-gtid-set", &up_to(10)],
        "missing",
    );
    assert_eq!(refusal["before"], serde_json::Value::Null);
    // And one behind it has what it needs.
    let plan = planned(&archive, &["--to-end", "--from-gtid-set", &up_to(13)]);
    assert_eq!(plan["gtids"]["adds"], format!("{}:14-20", uuid_of(1)));
}

#[test]
fn a_damaged_segment_is_replayed_to_its_damage_and_not_over_it() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..3).for_each(|_| server.rotate(EACH, 1000));
    // A bit of the last transaction of the second file.
    let path = &server.closed()[1];
    let mut bytes = fs::read(path).expect("readable");
    let at = bytes.len() - 500;
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("writable");
    tools::output(&mut archive.archive_command(server.dir()));
    let plan = planned(&archive, &["--after-gtid", &gtid(6)]);
    assert_eq!(files(&plan), [name(1), name(2)]);
    let refusal = refused(&archive, &["--to-end"], "missing");
    assert!(text(&refusal["reason"]).contains("damaged"), "{refusal:#}");
    assert_eq!(refusal["before"]["gtid"], gtid(7));
    assert_eq!(refusal["after"]["gtid"], gtid(9));
    let plan = planned(&archive, &["--to", &text(&refusal["before"]["time"])]);
    assert_eq!(plan["gtids"]["after"], up_to(7));
}

#[test]
fn targets_that_are_no_place_are_refused_with_what_is_near() {
    let (archive, _server) = stream(3);
    let first = gtid(1);
    let refusal = refused(&archive, &["--to", "2020-01-01T00:00:00Z"], "too_early");
    assert_eq!(refusal["after"]["file"], name(1));
    let time = text(&refusal["after"]["time"]);
    let plan = planned(&archive, &["--to", &time]);
    assert_eq!(plan["stop"]["next"]["gtid"], first);
    let refusal = refused(&archive, &["--to", "2099-01-01T00:00:00Z"], "too_late");
    assert_eq!(refusal["before"]["gtid"], gtid(12));
    assert!(
        refusal["instead"][0]
            .as_str()
            .expect("text")
            .contains(&committed(12))
    );
    refused(&archive, &["--after-gtid", &gtid(99)], "unknown");
    refused(&archive, &["--to-position", "binlog.000077:4"], "unknown");
    let inside = planned(&archive, &["--after-gtid", &gtid(6)]);
    let middle = inside["stop"]["last"]["start"].as_u64().expect("a number") + 1;
    let refusal = refused(
        &archive,
        &["--to-position", &format!("{}:{middle}", name(2))],
        "inside",
    );
    let said = refusal["instead"].to_string();
    assert!(
        said.contains(&inside["stop"]["last"]["start"].to_string())
            && said.contains(&inside["stop"]["last"]["end"].to_string()),
        "{said}"
    );
    let refusal = refused(&archive, &["--to-end", "--skip-gtid", &gtid(13)], "skip");
    assert!(text(&refusal["reason"]).contains(&gtid(13)));
}

#[test]
fn a_base_must_fit_the_history() {
    let archive = Archive::encrypted();
    let executed = up_to(10).parse().expect("a set");
    let mut server = SyntheticServer::starting_at(&archive.data(), 1, "binlog", 3, executed);
    (0..3).for_each(|_| server.rotate(EACH, 1000));
    archive.archive(server.dir());
    let with = |base: &str, kind: &str| {
        refused(
            &archive,
            &["--after-gtid", &gtid(15), "--from-gtid-set", base],
            kind,
        )
    };
    // It lacks what was executed before the history begins.
    for base in ["", &up_to(9)] {
        let refusal = with(base, "base_too_old");
        assert!(text(&refusal["reason"]).contains(&name(3)), "{refusal:#}");
    }
    // It has what came after the target: that is the nearest that it can be brought to.
    let refusal = with(&up_to(17), "base_too_new");
    assert_eq!(refusal["after"]["gtid"], gtid(17));
    let plan = planned(
        &archive,
        &[
            "--to",
            &text(&refusal["after"]["time"]),
            "--from-gtid-set",
            &up_to(17),
        ],
    );
    assert_eq!(files(&plan), [""; 0]);
    // What is not archived yet, and what never was in it.
    let refusal = with(&up_to(30), "base_too_new");
    assert!(text(&refusal["reason"]).contains("not archived yet"));
    with(&format!("{},{}:1", up_to(12), uuid_of(7)), "base_foreign");
    // The same by positions.
    let later = planned(
        &archive,
        &["--after-gtid", &gtid(17), "--from-gtid-set", &up_to(10)],
    );
    let place = format!(
        "{}:{}",
        text(&later["stop"]["file"]),
        later["stop"]["position"]
    );
    refused(
        &archive,
        &["--after-gtid", &gtid(15), "--from-position", &place],
        "base_too_new",
    );
}

#[test]
fn another_timeline_is_told_and_never_crossed() {
    let archive = Archive::plain();
    let (first, _second) = with_a_late_tail(&archive);
    tools::output(&mut archive.archive_command(first.dir()));
    let lost = gtid(6);
    let refusal = refused(&archive, &["--after-gtid", &lost], "timeline");
    assert!(
        refusal["instead"].to_string().contains("--timeline 2"),
        "{refusal:#}"
    );
    // A base that has it is of the other history.
    refused(
        &archive,
        &["--to-end", "--from-gtid-set", &up_to(6)],
        "base_foreign",
    );
    let plan = planned(
        &archive,
        &[
            "--after-gtid",
            &lost,
            "--timeline",
            "2",
            "--from-gtid-set",
            &up_to(4),
        ],
    );
    assert_eq!(files(&plan), [name(2)]);
    assert!(text(&plan["commands"][2]).contains("/.timeline/2/"));
}

#[test]
fn a_time_without_a_zone_is_refused_with_what_to_write() {
    let (archive, _server) = stream(1);
    let url = archive.url();
    let output = archive.output(&["plan", &url, "--to", "2023-11-14T22:13:25"]);
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("2023-11-14T22:13:25Z"), "{said}");
    for wrong in [
        vec!["plan", &url],
        vec!["plan", &url, "--to-end", "--to", "-1m"],
        vec![
            "plan",
            &url,
            "--to-end",
            "--from-gtid-set",
            "",
            "--from-position",
            "binlog.000001:4",
        ],
    ] {
        assert_eq!(archive.output(&wrong).status.code(), Some(2), "{wrong:?}");
    }
    plan_ends(&archive, &["--to-end"], 0);
}

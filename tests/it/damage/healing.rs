//! The cells of the matrix that are in the bucket, with a second copy beside it: each is found, read past without anybody noticing, and
//! healed.

use super::bench::{Bench, Host};
use super::matrix::{Damage, Expected, MATRIX, Place};
use super::stream::{Stream, name};
use crate::tools;
use serde_json::Value;
use std::fs;

/// A damaged stream, and a replica of it from before.
struct Pair<'a> {
    bench: &'a Bench,
    place: Place,
    damage: Damage,
    replica: &'a str,
}

impl Pair<'_> {
    fn what(&self, doing: &str) -> String {
        format!("{:?} {:?}, {doing}", self.place, self.damage)
    }

    fn damaged(&self, host: Host) -> Stream {
        self.bench.damaged(self.place, self.damage, host)
    }

    /// Whether a fresh host without the replica can know nothing of it.
    fn is_silent(&self) -> bool {
        self.place == Place::NewestRecord && self.damage == Damage::Deleted
    }

    /// Whether something stands where a record or a page belongs.
    fn is_in_the_way(&self) -> bool {
        let record = matches!(self.place, Place::NewestRecord | Place::OlderRecord);
        // Of the page's cells, record 3 is damaged, too.
        self.place == Place::Page || record && self.damage != Damage::Deleted
    }

    fn verify(&self, stream: &Stream, more: &[&str], what: &str) -> (Option<i32>, Value) {
        let url = stream.archive.url();
        let output = stream
            .archive
            .output(&[&["verify", &url, "--deep", "--json"], more].concat());
        let said = tools::excerpt(&output.stderr);
        let report = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{what}: no report ({error}): {said}"));
        (output.status.code(), report)
    }

    fn check(&self) {
        for host in [Host::Fresh, Host::Knowing] {
            if self.place.concerns(host) {
                self.check_reads(host);
            }
        }
        self.check_repair();
    }

    /// Every byte is right, the exit code that of a sound stream, and the reads that took it are counted.
    fn check_reads(&self, host: Host) {
        let stream = self.damaged(host);
        let what = self.what(&format!("{host} host, reading"));
        for n in self.bench.sample() {
            let (url, name) = (stream.archive.url(), name(n));
            let output = stream
                .archive
                .output(&["cat", &url, &name, "--replica", self.replica]);
            let said = tools::excerpt(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{what}: {name}: {said}");
            assert!(output.stdout == stream.truth[n], "{what}: {name}");
        }
        let stream = self.damaged(host);
        let mounted = stream
            .archive
            .mount_with(&["--replica", self.replica, "--refresh", "1"]);
        for n in self.bench.sample() {
            let read = fs::read(mounted.dir().join(name(n)));
            let read = read.unwrap_or_else(|error| panic!("{what}: {}: {error}", name(n)));
            assert!(read == stream.truth[n], "{what}: {} in the mount", name(n));
        }
        let text = fs::read(mounted.dir().join(".status.json")).expect("readable");
        let status: Value = serde_json::from_slice(&text).expect("JSON");
        let reads = &status["replica_reads"];
        let count = |reason: &str| reads[reason].as_u64().expect("a number");
        // A knowing host has read older records before they were damaged.
        let met = self.place != Place::OlderRecord || host == Host::Fresh;
        let served = count("missing") + count("damaged");
        assert_eq!(served > 0, met, "{what}: {reads}");
        assert_eq!(count("unreachable"), 0, "{what}: {reads}");
        if self.damage == Damage::Deleted && self.place.is_object() {
            assert!(count("missing") > 0 && count("damaged") == 0, "{reads}");
        }
    }

    fn check_repair(&self) {
        let stream = self.damaged(Host::Fresh);
        let what = self.what("repairing");
        let (code, report) = self.verify(&stream, &[], &what);
        let silent = if self.is_silent() { 0 } else { 3 };
        assert_eq!(code, Some(silent), "{what}: {report:#}");
        let replica = ["--replica", self.replica];
        let (code, report) = self.verify(&stream, &replica, &what);
        assert_eq!(code, Some(3), "{what}, not asked to: {report:#}");
        let clean = if has_holes(&report) { 3 } else { 0 };
        let repair = [&replica[..], &["--repair"]].concat();
        let (mut code, mut report) = self.verify(&stream, &repair, &what);
        if self.is_in_the_way() {
            assert_eq!(code, Some(3), "{what}: {report:#}");
            let told = report["findings"].to_string();
            assert!(told.contains("--replace"), "{what}: {told}");
            let replace = [&repair[..], &["--replace"]].concat();
            (code, report) = self.verify(&stream, &replace, &what);
        }
        assert_eq!(code, Some(clean), "{what}: {report:#}");
        let findings = no_holes(&report);
        assert!(!findings.is_empty(), "{what}");
        for finding in findings {
            assert_eq!(finding["healed"], true, "{what}: {finding:#}");
        }
        // Once more, and without the replica: there is nothing left to find.
        let (code, report) = self.verify(&stream, &[], &what);
        assert_eq!(code, Some(clean), "{what}, again: {report:#}");
        assert!(no_holes(&report).is_empty(), "{what}, again: {report:#}");
        stream.forget();
        for n in self.bench.sample() {
            assert_eq!(stream.cat(n, &what), None);
        }
        let archived = stream.archive.archive(&stream.archive.data());
        assert!(
            archived.contains("archived 1 segment "),
            "{what}: {archived}"
        );
        stream.forget();
        assert_eq!(stream.cat(stream.truth.len() - 1, &what), None);
    }
}

/// What was found, apart from the holes that make a ledger long enough for a page.
fn no_holes(report: &serde_json::Value) -> Vec<&serde_json::Value> {
    let findings = report["findings"].as_array().expect("a list");
    findings.iter().filter(|f| f["kind"] != "hole").collect()
}

fn has_holes(report: &serde_json::Value) -> bool {
    let findings = report["findings"].as_array().expect("a list");
    findings.len() > no_holes(report).len()
}

/// Heals all cells of a place.
fn check(place: Place, encrypted: bool) {
    let bench = Bench::of(place, encrypted);
    let whole = &bench.whole().archive;
    let replica = format!("file://{}", whole.path("replica").display());
    tools::run(&mut whole.command(&["replicate", &whole.url(), "--to", &replica]));
    for (_, damage, expected) in MATRIX.iter().filter(|(p, ..)| *p == place) {
        if let Expected::NotApplicable(_) = expected {
            continue;
        }
        Pair {
            bench: &bench,
            place,
            damage: *damage,
            replica: &replica,
        }
        .check();
    }
}

#[test]
fn a_damaged_start_of_an_object_encrypted_is_healed() {
    check(Place::ObjectStart, true);
}

#[test]
fn a_damaged_start_of_an_object_plain_is_healed() {
    check(Place::ObjectStart, false);
}

#[test]
fn a_damaged_middle_of_an_object_encrypted_is_healed() {
    check(Place::ObjectMiddle, true);
}

#[test]
fn a_damaged_middle_of_an_object_plain_is_healed() {
    check(Place::ObjectMiddle, false);
}

#[test]
fn a_damaged_tail_of_an_object_encrypted_is_healed() {
    check(Place::ObjectTail, true);
}

#[test]
fn a_damaged_tail_of_an_object_plain_is_healed() {
    check(Place::ObjectTail, false);
}

#[test]
fn a_damaged_newest_record_is_healed() {
    check(Place::NewestRecord, true);
}

#[test]
fn a_damaged_older_record_is_healed() {
    check(Place::OlderRecord, true);
}

#[test]
fn a_damaged_page_and_a_record_in_it_are_healed() {
    check(Place::Page, true);
}

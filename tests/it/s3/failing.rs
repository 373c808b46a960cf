//! A store that fails in the middle of a run: what was done and found before it did is told, and `failed` says why the run ended.

use super::server::{BUCKET, S3Server};
use crate::archive::Archive;
use crate::synthetic::{SyntheticServer, uuid_of};
use crate::tools;
use serde_json::Value;
use std::fs;

const PREFIX: &str = "prod";

/// A stream of four files of ten transactions each, and a server that can be told to refuse things.
struct Case {
    s3: S3Server,
    archive: Archive,
    url: String,
}

impl Case {
    fn new() -> Case {
        let archive = Archive::plain();
        let mut source = SyntheticServer::new(&archive.data(), 1, "binlog");
        (0..4).for_each(|_| source.rotate(10, 200));
        let s3 = S3Server::start(&archive.path("s3-server"));
        let url = s3.url(PREFIX);
        let mut command = archive.archive_command_to(&url, source.dir());
        tools::run(command.arg("--state-dir").arg(archive.path("state")));
        Case { s3, archive, url }
    }

    /// A command on the stream with `--json`, which must end with `code`; its report.
    #[track_caller]
    fn run(&self, what: &str, more: &[&str], code: i32) -> Value {
        let words: Vec<&str> = what.split(' ').collect();
        let all = [&words[..], &[&self.url, "--json"], more].concat();
        let output = self.archive.output(&all);
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{what} {more:?}: {said}");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{what} {more:?}: no report ({e}): {said}"))
    }
}

/// Why a run ended, as its report says.
#[track_caller]
fn failed(report: &Value) -> &str {
    let failed = report["failed"].as_str();
    failed.unwrap_or_else(|| panic!("it says nothing of a failure: {report:#}"))
}

#[test]
fn a_prune_that_may_not_delete_tells_what_it_recorded_before() {
    let case = Case::new();
    let set = format!("{}:1-35", uuid_of(1));
    let backup = ["--gtid-set", &set, "--place", "tape", "--id", "nightly"];
    case.run("backup add", &backup, 0);
    case.s3.deny("DeleteObject");
    let now = ["--execute", "--grace", "0s"];
    let did = case.run("prune", &[&["--before", "-1s"], &now[..]].concat(), 1);
    assert!(failed(&did).contains("segments/binlog.00000"), "{did:#}");
    assert_eq!(did["recorded"][0]["through"], "binlog.000002", "{did:#}");
    assert_eq!(did["removal"]["objects"], 0, "{did:#}");
    // Where nothing was done, the error is all there is to tell.
    let output = case
        .archive
        .output(&[&["prune", &case.url, "--json"], &now[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    case.s3.allow_all();
    let did = case.run("prune", &now, 0);
    assert_eq!(did["removal"]["objects"], 2, "{did:#}");
    assert_eq!(did["failed"], Value::Null, "{did:#}");
}

#[test]
fn a_verify_that_cannot_go_on_tells_what_it_healed_before() {
    let case = Case::new();
    let copy = format!("file://{}", case.archive.path("copy").display());
    case.run("replicate", &["--to", &copy], 0);
    let bucket = case.archive.path("s3-server").join(BUCKET).join(PREFIX);
    let record = bucket.join(format!("ledger/{:020}.json", 2));
    fs::remove_file(&record).expect("removable");
    // Nothing of the segments' objects can be told any more, nor of their locks.
    case.s3.deny("HeadObject");
    let repair = ["--repair", "--replica", &copy, "--locks"];
    let report = case.run("verify", &repair, 1);
    assert!(!failed(&report).is_empty());
    let findings = report["findings"].as_array().expect("a list");
    let healed = findings.iter().find(|finding| finding["kind"] == "record");
    let healed = healed.unwrap_or_else(|| panic!("the record is not told of: {report:#}"));
    assert_eq!(
        (&healed["record"], &healed["healed"]),
        (&2.into(), &true.into())
    );
    assert_eq!(report["locks"], Value::Null, "{report:#}");
    assert!(record.exists());
    case.s3.allow_all();
    let report = case.run("verify", &["--locks"], 0);
    assert_eq!(report["findings"], serde_json::json!([]));
    assert_eq!(report["failed"], Value::Null);
    assert_eq!(report["locks"]["not_locked"], 4, "{report:#}");
}

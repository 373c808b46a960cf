//! What people are told of a target.

use super::History;
use super::reference::Told;
use crate::archive::Mounted;
use crate::tools;
use binlogfs::model::Micros;
use std::fs;
use std::io::ErrorKind;

pub fn what_people_are_told(history: &History) {
    let archive = &history.archive;
    let url = archive.url();
    let told = &history.told[20];
    let ends = |arguments: &[&str], code: i32| {
        let all: Vec<&str> = ["locate", &url]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        let output = archive.output(&all);
        let err = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {err}");
        (String::from_utf8(output.stdout).expect("text"), err)
    };
    let before = Micros(told.committed.0 - 1).to_string();
    let without_zone = before.trim_end_matches('Z');
    let (text, _) = ends(&["--time", without_zone], 0);
    assert!(
        text.contains("read as UTC") && text.contains(&told.gtid),
        "{text}"
    );
    assert!(
        text.contains(&format!("--stop-position={}", told.start)),
        "{text}"
    );
    let (text, _) = ends(&["--gtid", &told.gtid, "--json"], 0);
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["position"], told.start);
    assert_eq!(json["transaction"]["end"], told.end);
    assert_eq!(
        json["transaction"]["committed_at"],
        told.committed.to_string()
    );
    let last = history.told.last().expect("some").committed.to_string();
    let (_, err) = ends(&["--time", "2099-01-01T00:00:00Z"], 4);
    assert!(
        err.contains(&last),
        "the last moment that can be reached is told: {err}"
    );
    let (text, _) = ends(&["--time", "2099-01-01T00:00:00Z", "--json"], 4);
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(
        (&json["recoverable"], &json["last_before"]),
        (&false.into(), &last.into())
    );
    ends(&[], 2);
    ends(&["--time", &before, "--gtid", &told.gtid], 2);
}

pub fn gtids(told: &[Told]) -> Vec<String> {
    told.iter().map(|t| t.gtid.clone()).collect()
}

pub fn not_there(mounted: &Mounted, name: &str) {
    let error = fs::metadata(mounted.dir().join(name)).expect_err(name);
    assert_eq!(error.kind(), ErrorKind::NotFound, "{name}");
}

//! Plans of recoveries: what they say, what they refuse, and that what they say is what mysqlbinlog does.

mod joined;
mod refusals;
mod replay;
mod targets;
mod timelines;
mod torn;

use crate::archive::Archive;
use serde_json::Value;

/// `binlogfs plan URL ... --json`, which must end with `code`; what it printed.
fn plan_ends(archive: &Archive, arguments: &[&str], code: i32) -> Value {
    archive.json("plan", arguments, code)
}

/// A plan that there must be.
fn planned(archive: &Archive, arguments: &[&str]) -> Value {
    let plan = plan_ends(archive, arguments, 0);
    assert_eq!(plan["recoverable"], true);
    plan
}

/// A plan that must be refused, for this reason.
fn refused(archive: &Archive, arguments: &[&str], kind: &str) -> Value {
    let refusal = plan_ends(archive, arguments, 4);
    assert_eq!(refusal["recoverable"], false);
    assert_eq!(refusal["kind"], kind, "{arguments:?}: {refusal:#}");
    refusal
}

/// A member that is text.
fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no text: {value}"))
        .to_owned()
}

/// The names of a plan's files.
fn files(plan: &Value) -> Vec<String> {
    let segments = plan["segments"].as_array().expect("a list");
    segments.iter().map(|s| text(&s["file"])).collect()
}

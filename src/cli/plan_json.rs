//! A plan, or a refusal, as JSON.

use super::plan::rule;
use crate::locate::Found;
use crate::recover::{Place, Plan, Reachable, Refusal, RefusalKind, Start, StopDatetime, Target};
use serde_json::{Value, json};

/// A plan.
pub fn plan(plan: &Plan, url: &str, mount_dir: &str) -> Value {
    let segments: Vec<Value> = plan
        .segments
        .iter()
        .map(|piece| {
            json!({
                "file": piece.file,
                "seq": piece.seq,
                "size": piece.size,
                "stored_size": piece.stored_size,
                "from": piece.range.start,
                "to": piece.range.end,
            })
        })
        .collect();
    json!({
        "recoverable": true,
        "stream_id": plan.stream_id,
        "flavour": plan.flavour,
        "server_version": plan.server_version,
        "timeline": plan.question.timeline,
        "target": target(&plan.question.target),
        "base": base(plan),
        "begin": place(&plan.begin.place, &[("first", &plan.begin.first)]),
        "stop": place(&plan.stop.place, &[("last", &plan.stop.last), ("next", &plan.stop.next)]),
        "latest_commit_in_last_file": plan.stop.latest.map(|time| time.to_string()),
        "gtids": {
            "adds": plan.adds,
            "skips": plan.question.skip,
            "after": plan.executed(),
            "complete": plan.by_gtid,
        },
        "stop_datetime": plan.stop_datetime.as_ref().map(stop_datetime),
        "bytes": plan.segments.bytes(),
        "fetch_bytes": plan.fetch_bytes,
        "left_out": {
            "gtids": plan.left_out.gtids,
            "last_commit": plan.left_out.last_commit.map(|time| time.to_string()),
        },
        "segments": segments,
        "commands": plan.commands(url, mount_dir),
    })
}

/// A refusal.
pub fn refusal(asked: &Target, refusal: &Refusal) -> Value {
    json!({
        "recoverable": false,
        "target": target(asked),
        "kind": kind(refusal.kind),
        "reason": refusal.reason,
        "before": refusal.before.as_ref().map(reachable),
        "after": refusal.after.as_ref().map(reachable),
        "instead": refusal.instead,
    })
}

fn kind(kind: RefusalKind) -> &'static str {
    match kind {
        RefusalKind::TooEarly => "too_early",
        RefusalKind::TooLate => "too_late",
        RefusalKind::Missing => "missing",
        RefusalKind::Timeline => "timeline",
        RefusalKind::Unknown => "unknown",
        RefusalKind::Inside => "inside",
        RefusalKind::BaseTooOld => "base_too_old",
        RefusalKind::BaseTooNew => "base_too_new",
        RefusalKind::BaseForeign => "base_foreign",
        RefusalKind::NoGtids => "no_gtids",
        RefusalKind::Skip => "skip",
    }
}

fn target(target: &Target) -> Value {
    let (kind, value) = match target {
        Target::Time(time) => ("time", Some(time.to_string())),
        Target::Before(gtid) => ("before_gtid", Some(gtid.to_string())),
        Target::After(gtid) => ("after_gtid", Some(gtid.to_string())),
        Target::Position(position) => ("position", Some(position.to_string())),
        Target::End => ("end", None),
    };
    json!({ "kind": kind, "value": value, "rule": rule(target) })
}

fn base(plan: &Plan) -> Value {
    let (kind, value) = match &plan.question.start {
        Start::Beginning => ("beginning", None),
        Start::Gtids(set) => ("gtids", Some(set.to_string())),
        Start::Position(position) => ("position", Some(position.to_string())),
    };
    json!({ "kind": kind, "value": value, "gtids": plan.has })
}

fn place(place: &Place, transactions: &[(&str, &Option<Found>)]) -> Value {
    let mut value = json!({
        "file": place.file,
        "server_file": place.server_file,
        "position": place.position,
    });
    for (name, found) in transactions {
        value[*name] = json!(found.as_ref().map(transaction));
    }
    value
}

fn stop_datetime(stop: &StopDatetime) -> Value {
    let verdict = |verdict: &str| json!({ "verdict": verdict });
    match stop {
        StopDatetime::Same => verdict("same"),
        StopDatetime::Beyond => verdict("beyond"),
        StopDatetime::Unknown => verdict("unknown"),
        StopDatetime::Elsewhere {
            file,
            position,
            inside,
            early,
        } => json!({
            "verdict": if *early { "early" } else { "late" },
            "file": file,
            "position": position,
            "inside": inside.as_ref().map(transaction),
        }),
    }
}

fn transaction(found: &Found) -> Value {
    json!({
        "start": found.start,
        "end": found.end,
        "gtid": found.gtid,
        "committed_at": found.commit_time.to_string(),
    })
}

fn reachable(point: &Reachable) -> Value {
    json!({
        "file": point.file,
        "position": point.position,
        "time": point.time.map(|time| time.to_string()),
        "gtid": point.gtid,
    })
}

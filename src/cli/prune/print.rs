//! What a run of `prune` found and did, as people and programs read it.

use super::{Done, span};
use crate::cli::{Global, output};
use crate::model::Micros;
use crate::prune::{Held, Recorded, Removal, Replaced, Span, Survey, TimelinePlan, Wanted};
use crate::retention::Reason;
use anyhow::Result;
use serde_json::{Value, json};

/// Reasons shown for each timeline; `--json` has all.
const REASONS_SHOWN: usize = 5;

pub(super) fn done(global: &Global, done: &Done) -> Result<()> {
    match global.json {
        true => output::print_json(&document(done)),
        false => output::print(&text(done)),
    }
}

fn text(done: &Done) -> String {
    let mut text = String::new();
    if let (Some(survey), Some(wanted)) = (&done.survey, &done.wanted) {
        text += &head(done, survey, wanted);
        for plan in &survey.timelines {
            text += &timeline(plan, wanted);
        }
    }
    text += &recorded(&done.recorded);
    text += &removal(done, &done.removal);
    text += &replaced(done, &done.replaced);
    if text.is_empty() {
        return "nothing was changed: there is nothing to delete\n".to_owned();
    }
    if !done.execute {
        text += "nothing was changed; --execute does it\n";
    }
    if done.failed.is_some() {
        text += "\nthat is what was done before this run failed; a run that is repeated goes on from there\n";
    }
    // Each part begins with an empty line, the first one with none.
    text.trim_start_matches('\n').to_owned()
}

/// The records that were made.
fn recorded(made: &[Recorded]) -> String {
    let line = |one: &Recorded| {
        format!(
            "record {}: {} of timeline {} up to {} {} pruned\n",
            one.seq,
            entries(one.entries),
            one.timeline,
            one.through,
            output::of_number(one.entries, "is", "are")
        )
    };
    made.iter().map(line).collect()
}

fn entries(n: u64) -> String {
    match n {
        1 => "1 entry".to_owned(),
        n => format!("{n} entries"),
    }
}

fn head(done: &Done, survey: &Survey, wanted: &Wanted) -> String {
    let since = match wanted {
        Wanted::Since(cut, _) => format!(", that is since {}", output::time(Some(*cut))),
        Wanted::Backups(_) => String::new(),
    };
    let zone = match done.zone_assumed {
        true => " (no zone was given: UTC)",
        false => "",
    };
    let (backups, usable) = survey.backups;
    format!(
        "rule      {wanted}{since}{zone}\nbackups   {backups} registered, {usable} of them usable\n"
    )
}

fn timeline(plan: &TimelinePlan, wanted: &Wanted) -> String {
    let mut text = format!("\ntimeline {}\n", plan.timeline);
    match range(&plan.goes) {
        None => text += "  goes    nothing\n",
        Some(range) => {
            text += &format!(
                "  goes    {range}: {}, {} stored",
                entries(plan.goes.entries),
                output::size(plan.goes.stored_bytes)
            );
            let newest = plan.goes.newest;
            if newest.is_some() {
                text += &format!(", the newest of {}", output::time(newest));
            }
            text += "\n";
        }
    }
    text += &match range(&plan.stays) {
        None => "  stays   nothing\n".to_owned(),
        Some(range) => format!("  stays   {range}: {}\n", entries(plan.stays.entries)),
    };
    for held in plan.limits.iter().take(REASONS_SHOWN) {
        text += &format!("  {}\n", because(held, wanted));
    }
    let more = plan.limits.len().saturating_sub(REASONS_SHOWN) as u64;
    if more > 0 {
        let reasons = output::count(more, "more reason");
        text += &format!("  and {reasons}: --json shows all\n");
    }
    text
}

/// The ends of what is not empty.
fn range(span: &Span) -> Option<String> {
    let (first, (_, last)) = (span.first.as_ref()?, span.last.as_ref()?);
    Some(match span.entries {
        1 => first.to_string(),
        _ => format!("{first} to {last}"),
    })
}

fn because(held: &Held, wanted: &Wanted) -> String {
    let from = match &held.from {
        Some(name) => format!("keeps {name} and what follows"),
        None => "keeps nothing here".to_owned(),
    };
    match &held.reason {
        Reason::Rule => format!("{wanted}: {from}"),
        Reason::Backup(id) => format!("backup {id}: {from} ('binlogfs backup remove' lets it go)"),
        Reason::Unknown(id, why) => format!(
            "backup {id}: keeps everything, because what it needs is not known: {why} ('binlogfs backup remove' lets it go)"
        ),
        Reason::Newest => format!("the newest segment: {from}"),
    }
}

/// Objects and their bytes that are deleted, because they were what `why` says more than the grace ago.
fn deleted(done: &Done, (objects, bytes): (u64, u64), noun: &str, why: &str) -> String {
    let what = match done.execute {
        _ if objects == 0 => return String::new(),
        true => "deleted",
        false => "would be deleted",
    };
    format!(
        "\n{} {what}, {}: {why} more than {} ago\n",
        output::count(objects, noun),
        output::size(bytes),
        span(done.grace)
    )
}

/// `objects`, so many, whose grace ends at `next_at` at the earliest.
fn waiting(done: &Done, count: u64, objects: &str, next_at: Option<Micros>) -> String {
    let (wait, them) = match count {
        1 => ("waits for its", "it"),
        _ => ("wait for their", "them"),
    };
    format!(
        "\n{objects} {wait} grace to end ({}): a run with --execute after {} deletes {them}\n",
        span(done.grace),
        output::time(next_at)
    )
}

fn removal(done: &Done, removal: &Removal) -> String {
    let gone = (removal.objects, removal.bytes);
    let mut text = deleted(done, gone, "object", "pruned");
    if removal.waiting > 0 {
        let objects = output::count(removal.waiting, "object") + " of pruned segments";
        text += &waiting(done, removal.waiting, &objects, removal.next_at);
    }
    for blocked in &removal.blocked {
        let what = match &blocked.from {
            Some(name) => format!("needs {name} and what follows, which were pruned"),
            None => "may need what was pruned".to_owned(),
        };
        text += &format!(
            "\nbackup {} {what}: {} of timeline {} {}; 'binlogfs backup remove' lets {} go\n",
            blocked.backup,
            output::count(blocked.objects, "object"),
            blocked.timeline,
            output::of_number(blocked.objects, "stays", "stay"),
            output::of_number(blocked.objects, "it", "them")
        );
    }
    for kept in &removal.kept {
        text += &format!(
            "\n{} is {}: object {}; it stays, with all that is newer in timeline {} ({} in all)\n",
            kept.name,
            kept.keeping,
            kept.key,
            kept.timeline,
            output::count(kept.objects, "object")
        );
    }
    text
}

fn replaced(done: &Done, replaced: &Replaced) -> String {
    let gone = (replaced.objects, replaced.bytes);
    let mut text = deleted(done, gone, "superseded object", "replaced by others");
    if replaced.waiting > 0 {
        let objects = output::count(replaced.waiting, "superseded object");
        text += &waiting(done, replaced.waiting, &objects, replaced.next_at);
    }
    for kept in &replaced.kept {
        text += &format!(
            "\nthe superseded object {} of {} is {}: it stays\n",
            kept.key, kept.name, kept.keeping
        );
    }
    for needed in &replaced.needed {
        text += &format!(
            "\nthe superseded object {} of {} stays: {}, which replaced it, {}; 'binlogfs verify' tells more\n",
            needed.key, needed.name, needed.replaced_by, needed.why
        );
    }
    text
}

fn document(done: &Done) -> Value {
    let text = |time: Option<Micros>| time.map(|time| time.to_string());
    let timelines = done.survey.iter().flat_map(|survey| &survey.timelines);
    let timelines: Vec<Value> = timelines
        .map(|plan| {
            let limits = plan.limits.iter().map(|held| {
                let (reason, backup, why) = match &held.reason {
                    Reason::Rule => ("rule", None, None),
                    Reason::Backup(id) => ("backup", Some(id), None),
                    Reason::Unknown(id, why) => ("unknown", Some(id), Some(why)),
                    Reason::Newest => ("newest", None, None),
                };
                json!({ "reason": reason, "backup": backup, "why": why, "keeps_from": held.from })
            });
            json!({
                "timeline": plan.timeline,
                "goes": {
                    "entries": plan.goes.entries,
                    "stored_bytes": plan.goes.stored_bytes,
                    "first": plan.goes.first,
                    "through": plan.goes.last.as_ref().map(|(_, name)| name),
                    "newest": text(plan.goes.newest),
                },
                "stays_from": plan.stays.first,
                "limits": limits.collect::<Vec<_>>(),
            })
        })
        .collect();
    json!({
        "now": done.now.to_string(),
        "rule": done.wanted.as_ref().map(ToString::to_string),
        "zone_assumed": done.zone_assumed,
        "executed": done.execute,
        "grace_seconds": done.grace.as_secs(),
        "backups": done.survey.as_ref().map(|survey| survey.backups.0),
        "usable_backups": done.survey.as_ref().map(|survey| survey.backups.1),
        "timelines": timelines,
        "recorded": done.recorded,
        "removal": done.removal,
        "superseded": done.replaced,
        "failed": done.failed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Seq, Timeline};
    use crate::prune::Blocked;
    use std::time::Duration;

    /// What is told where `n` of each thing are there.
    fn told(n: u64) -> String {
        let recorded = Recorded {
            seq: Seq(9),
            timeline: Timeline(1),
            through: "binlog.000003".parse().expect("a name"),
            entries: n,
        };
        let blocked = Blocked {
            timeline: Timeline(2),
            backup: "nightly".to_owned(),
            from: None,
            objects: n,
        };
        let removal = Removal {
            waiting: n,
            blocked: vec![blocked],
            ..Removal::default()
        };
        let replaced = Replaced {
            waiting: n,
            ..Replaced::default()
        };
        text(&Done {
            recorded: vec![recorded],
            removal,
            replaced,
            ..nothing(true)
        })
    }

    /// A run without a rule that found nothing.
    fn nothing(execute: bool) -> Done {
        Done {
            now: Micros(0),
            wanted: None,
            zone_assumed: false,
            execute,
            grace: Duration::from_secs(86_400),
            survey: None,
            recorded: Vec::new(),
            removal: Removal::default(),
            replaced: Replaced::default(),
            failed: None,
        }
    }

    #[test]
    fn a_run_that_finds_nothing_to_delete_says_so() {
        for execute in [true, false] {
            assert_eq!(
                text(&nothing(execute)),
                "nothing was changed: there is nothing to delete\n"
            );
        }
    }

    #[test]
    fn one_thing_is_told_as_one_and_two_as_two() {
        for (n, lines) in [
            (
                1,
                [
                    "1 entry of timeline 1 up to binlog.000003 is pruned",
                    "1 object of pruned segments waits for its grace to end (1d)",
                    "1 superseded object waits for its grace to end (1d)",
                    "1 object of timeline 2 stays; 'binlogfs backup remove' lets it go",
                ],
            ),
            (
                2,
                [
                    "2 entries of timeline 1 up to binlog.000003 are pruned",
                    "2 objects of pruned segments wait for their grace to end (1d)",
                    "2 superseded objects wait for their grace to end (1d)",
                    "2 objects of timeline 2 stay; 'binlogfs backup remove' lets them go",
                ],
            ),
        ] {
            let text = told(n);
            for line in lines {
                assert!(text.contains(line), "{line}: {text}");
            }
        }
    }
}

//! What a recovery says.

use super::super::{Global, output, plan, plan_json};
use super::{Recovery, seconds};
use crate::model::GtidSet;
use crate::replay::restart::{MYSQLD_OPTS, RestartNote};
use crate::replay::{Compared, Progress, Ready, Restart, Target, Unfit, command_line};
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Characters of a statement that are shown.
pub(super) const SQL_CHARS: usize = 100;
/// Characters of a GTID set that are shown.
const GTIDS_CHARS: usize = 200;
/// Where there is no terminal, a line so often.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// How far a replay is: a bar on a terminal, a line now and then in a log.
pub struct Bar {
    bar: ProgressBar,
    unit: Unit,
    said: Option<Mutex<Instant>>,
}

#[derive(Clone, Copy)]
enum Unit {
    Bytes,
    Transactions,
}

impl Bar {
    pub fn bytes(total: u64) -> Bar {
        let template =
            "{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec}, {eta} left";
        Bar::new(total, Unit::Bytes, template)
    }

    pub fn transactions(total: u64) -> Bar {
        let template = "{bar:30} {human_pos}/{human_len} transactions, {per_sec}, {eta} left";
        Bar::new(total, Unit::Transactions, template)
    }

    fn new(total: u64, unit: Unit, template: &str) -> Bar {
        let bar = ProgressBar::new(total);
        bar.set_style(ProgressStyle::with_template(template).expect("the template is valid"));
        bar.enable_steady_tick(Duration::from_secs(1));
        let said = (!std::io::stderr().is_terminal()).then(|| Mutex::new(Instant::now()));
        Bar { bar, unit, said }
    }
}

impl Progress for Bar {
    fn done(&self, done: u64) {
        let total = self.bar.length().unwrap_or(done);
        // The head of a file that is cut at its beginning comes on top.
        self.bar.set_position(done.min(total));
        let Some(said) = &self.said else { return };
        let mut said = said
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if said.elapsed() < SAY_EVERY {
            return;
        }
        *said = Instant::now();
        let so_far = match self.unit {
            Unit::Bytes => format!("{} of {}", output::size(done), output::size(total)),
            Unit::Transactions => format!("{done} of {}", output::count(total, "transaction")),
        };
        eprintln!(
            "binlogfs: {so_far}, about {} s left",
            self.bar.eta().as_secs()
        );
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Why it is not done.
pub(super) fn unfit(global: &Global, unfit: &Unfit) -> Result<()> {
    if global.json {
        return output::print_json(&serde_json::json!({
            "recoverable": false,
            "kind": unfit.kind.name(),
            "reason": unfit.reason,
            "instead": unfit.instead,
        }));
    }
    eprintln!("binlogfs: not recoverable: {}", unfit.reason);
    for sentence in &unfit.instead {
        eprintln!("  {sentence}");
    }
    Ok(())
}

fn stop(ready: &Ready) -> String {
    let place = &ready.plan.stop.place;
    format!("{}:{}", place.file, place.position)
}

/// What would be done.
pub(super) fn dry_run(recovery: &Recovery<'_>) -> Result<()> {
    let (ready, args) = (&recovery.ready, recovery.args);
    let restart = ready.restart.as_ref().zip(args.restart.as_ref());
    let left = recovery.restarts.in_force();
    if recovery.global.json {
        let before = restart.map(|(restart, command)| {
            serde_json::json!({
                "why": restart.why,
                "command": command,
                "options": command_line(&restart.options),
                "undone_at_end": restart.undone,
            })
        });
        return output::print_json(&serde_json::json!({
            "recoverable": true,
            "engine": ready.engine.name(),
            "why": ready.why,
            "notes": ready.notes,
            "restart": before,
            "restart_at_end": args.restart.is_some() && (restart.is_some() || left.is_some()),
            "options_left": left.map(RestartNote::options),
            "plan": plan_json::plan(&ready.plan, &args.url.to_string(), plan::MOUNT_DIR),
        }));
    }
    let mut text = plan::text_of(&ready.plan);
    text += &format!(
        "{:<10}{} ({})\n",
        "server",
        recovery.target.name(),
        ready.facts.version
    );
    if !ready.plan.segments.is_empty() {
        text += &format!("{:<10}{}: {}\n", "engine", ready.engine.name(), ready.why);
    }
    for line in restarts(restart, left, args.restart.is_some()) {
        text += &format!("{:<10}{line}\n", "restart");
    }
    for note in &ready.notes {
        text += &format!("{:<10}{note}\n", "note");
    }
    text += "\nnothing was changed; --execute does it\n";
    output::print(&text)
}

/// The restarts of the target, for people.
fn restarts(
    restart: Option<(&Restart, &String)>,
    left: Option<&RestartNote>,
    has_command: bool,
) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some((restart, command)) = restart {
        lines.push(format!(
            "before anything is applied, because {}: '{command}', with {MYSQLD_OPTS}='{}'",
            restart.why,
            command_line(&restart.options)
        ));
        let mut last =
            "at the end, without options, so that the server runs as it is configured".to_owned();
        if !restart.undone.is_empty() {
            last += &format!(
                "; that undoes what was set since its start: {}",
                restart.undone.join(", ")
            );
        }
        lines.push(last);
    } else if let Some(note) = left {
        lines.push(match has_command {
            true => format!(
                "at the end, without options: an earlier run has started the server with {}",
                note.options()
            ),
            false => super::restarts::left(note),
        });
    } else if has_command {
        lines.push("none is needed".to_owned());
    }
    lines
}

/// That what was wanted is there, and something else is not.
pub(super) fn recovered_but(ready: &Ready) -> String {
    format!(
        "the server has everything up to {}, but it is not as it was",
        stop(ready)
    )
}

/// What is being done.
pub(super) fn begins(global: &Global, ready: &Ready, target: &Target) {
    if global.json {
        return;
    }
    for note in &ready.notes {
        eprintln!("binlogfs: note: {note}");
    }
    eprintln!(
        "binlogfs: bringing {} to {}, with the engine '{}': {}",
        target.name(),
        stop(ready),
        ready.engine.name(),
        ready.why
    );
}

/// What was done.
pub(super) fn done(
    recovery: &Recovery<'_>,
    took: Option<Duration>,
    disabled_events: &[String],
) -> Result<()> {
    let (global, ready, plan) = (recovery.global, &recovery.ready, &recovery.ready.plan);
    let stop = stop(ready);
    let transactions = plan.by_gtid.then(|| plan.adds.count());
    if global.json {
        return output::print_json(&serde_json::json!({
            "recovered": true,
            "engine": took.map(|_| ready.engine.name()),
            "file": plan.stop.place.file,
            "position": plan.stop.place.position,
            "transactions": transactions,
            "seconds": took.map_or(0.0, seconds),
            "gtid_executed": plan.by_gtid.then(|| plan.executed()),
            "disabled_events": disabled_events,
            "restarts": recovery.restarts.done,
        }));
    }
    let Some(took) = took else {
        return output::print(&format!(
            "recovered: nothing to do, the server has everything up to {stop}\n"
        ));
    };
    let count = transactions.map(|count| format!(", {}", output::count(count, "transaction")));
    let last = plan.stop.last.as_ref().map(|last| {
        let gtid = last.gtid.as_ref().map(|gtid| format!("{gtid}, "));
        format!(
            "\nthe last transaction is {}committed at {}",
            gtid.unwrap_or_default(),
            last.commit_time
        )
    });
    let proof = match plan.by_gtid {
        true => "gtid_executed is what was planned",
        false => "without GTIDs what the server has cannot be compared",
    };
    let events = match disabled_events {
        [] => String::new(),
        events => format!(
            "\nevents that the history created are disabled, as on a replica: {}; ALTER EVENT ... ENABLE those that ran on the source",
            events.join(", ")
        ),
    };
    output::print(&format!(
        "recovered: the server has everything up to {stop}{} in {} s ({}); {proof}{}{events}\n",
        count.unwrap_or_default(),
        seconds(took),
        ready.engine.name(),
        last.unwrap_or_default(),
    ))
}

/// What a replay that ended early leaves.
pub(super) fn left_in_the_middle(ready: &Ready, executed: Option<GtidSet>) -> String {
    let plan = &ready.plan;
    if !plan.by_gtid {
        return "the replay did not end, and without GTIDs nobody can tell what was applied: restore the base again, then run it \
                with --restored"
            .to_owned();
    }
    match executed {
        None => "the replay did not end, and the server does not answer any more: what was committed stays; when it is back, run \
                 the same command to go on from there"
            .to_owned(),
        Some(executed) => {
            let missing = plan.adds.minus(&executed).count();
            format!(
                "the replay did not end: {} of {} applied; once the cause is gone, run the same command to go on from there",
                plan.adds.count() - missing,
                output::count(plan.adds.count(), "transaction")
            )
        }
    }
}

/// How the server differs from the plan at the end.
pub(super) fn differs(compared: &Compared) -> String {
    let set = |set: &GtidSet| output::short(&set.to_string(), GTIDS_CHARS);
    let mut text = "the replay ended, and the server is not what was planned".to_owned();
    if !compared.missing.is_empty() {
        text += &format!("; it lacks {}", set(&compared.missing));
    }
    if !compared.extra.is_empty() {
        text += &format!(
            "; it has {} besides: somebody writes to it",
            set(&compared.extra)
        );
    }
    text
}

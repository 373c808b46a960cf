//! `binlogfs status` over all streams of a configuration: one table, the worst first, from what their archivers on this host said
//! last. No store is asked.

use super::agent::{resolved, state_dir};
use super::exit::Exit;
use super::{Global, config_check, output};
use crate::agent::alarm::{Severity, span};
use crate::agent::alive;
use crate::agent::health::{self, Health};
use crate::config::StreamConfig;
use crate::model::Micros;
use crate::telemetry;
use anyhow::Result;
use serde::Serialize;
use std::cmp::Reverse;
use std::path::Path;

/// A timer runs an archiver at least this often.
const SILENT_SECONDS: u64 = 3600;

/// How a stream is, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Warning,
    Critical,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Critical => "critical",
        }
    }
}

/// A line of the table.
#[derive(Clone, Debug, Serialize)]
struct Line {
    tenant: Option<String>,
    stream: String,
    url: Option<String>,
    state: State,
    lag_seconds: Option<u64>,
    backlog_segments: u64,
    backlog_bytes: u64,
    time_to_expiry_seconds: Option<i64>,
    last_archived_at: Option<String>,
    updated_at: Option<String>,
    /// Alarms, and what this command found itself.
    findings: Vec<Finding>,
    #[serde(skip)]
    archived_at: Option<Micros>,
}

#[derive(Clone, Debug, Serialize)]
struct Finding {
    kind: String,
    severity: State,
    text: String,
}

impl Finding {
    fn critical(kind: &str, text: String) -> Finding {
        Finding {
            kind: kind.to_owned(),
            severity: State::Critical,
            text,
        }
    }
}

/// Shows how the streams of the configuration at `path` are.
pub fn run(global: &Global, path: &Path) -> Result<Exit> {
    let config = config_check::load(path)?;
    let now = Micros::now();
    let mut lines: Vec<_> = config
        .streams
        .iter()
        .map(|stream| look(global, stream, now))
        .collect();
    sort(&mut lines);
    let worst = lines.first().map_or(State::Ok, |line| line.state);
    if global.json {
        output::print_json(&serde_json::json!({
            "config": path.display().to_string(),
            "state": worst,
            "streams": lines,
        }))?;
    } else {
        output::print(&print(&lines, now))?;
    }
    Ok(match worst {
        State::Ok => Exit::Done,
        State::Warning | State::Critical => Exit::Findings,
    })
}

/// What is known of a stream.
fn look(global: &Global, stream: &StreamConfig, now: Micros) -> Line {
    let mut line = Line {
        tenant: stream.tenant.clone(),
        stream: stream.name.clone(),
        url: None,
        state: State::Critical,
        lag_seconds: None,
        backlog_segments: 0,
        backlog_bytes: 0,
        time_to_expiry_seconds: None,
        last_archived_at: None,
        updated_at: None,
        findings: Vec::new(),
        archived_at: None,
    };
    let found = resolved(stream).and_then(|stream| {
        line.url = stream.to.as_ref().map(ToString::to_string);
        let dir = state_dir(global, &stream)?;
        Ok((health::read_from(&dir)?, alive::is_held(&dir)?))
    });
    match found {
        Ok((health, lives)) => line.tell(health.as_ref(), lives, now),
        Err(error) => {
            let text = telemetry::message(&error);
            line.findings.push(Finding::critical("unknown", text));
        }
    }
    let worst = line.findings.iter().map(|finding| finding.severity).max();
    line.state = worst.unwrap_or(State::Ok);
    line
}

impl Line {
    fn tell(&mut self, health: Option<&Health>, lives: bool, now: Micros) {
        let Some(health) = health else {
            let text = match lives {
                true => "its archiver runs and has said nothing yet",
                false => {
                    "no archiver has run for it on this host: is it in the configuration of the one that runs, and was that reloaded?"
                }
            };
            self.findings
                .push(Finding::critical("not_running", text.to_owned()));
            return;
        };
        self.lag_seconds = health.lag_seconds(now);
        self.backlog_segments = health.backlog.segments;
        self.backlog_bytes = health.backlog.bytes;
        self.time_to_expiry_seconds = health.time_to_expiry_seconds;
        self.archived_at = health.last_archived_at;
        self.last_archived_at = health.last_archived_at.map(|at| at.to_string());
        self.updated_at = Some(health.updated_at.to_string());
        let silent = seconds_between(health.updated_at, now);
        if let Some(text) = absence(health.stays, lives, silent) {
            self.findings.push(Finding::critical("not_running", text));
        }
        let told = health.alarms.iter().map(|raised| Finding {
            kind: raised.alarm.kind.name().to_owned(),
            severity: match raised.alarm.severity {
                Severity::Warning => State::Warning,
                Severity::Critical => State::Critical,
            },
            text: raised.alarm.text.clone(),
        });
        self.findings.extend(told);
        // A daemon alarms after the third; a timer's run is the only one of its process.
        if let Some(error) = health.last_error.as_ref().filter(|_| !health.stays) {
            self.findings
                .push(Finding::critical("run_failed", error.clone()));
        }
    }
}

/// What is wrong with when a stream was last heard of, if anything is.
fn absence(stays: bool, lives: bool, silent_seconds: u64) -> Option<String> {
    let ago = span(silent_seconds);
    match (stays, lives) {
        (_, true) => None,
        (true, false) => Some(format!(
            "its agent does not run; it was last heard of {ago} ago: 'systemctl status binlogfs-archive' may tell why"
        )),
        (false, false) if silent_seconds > SILENT_SECONDS => Some(format!(
            "the last run of a timer was {ago} ago: is the timer running?"
        )),
        (false, false) => None,
    }
}

fn seconds_between(then: Micros, now: Micros) -> u64 {
    u64::try_from(now.0.saturating_sub(then.0) / 1_000_000).unwrap_or(0)
}

/// The worst first; of those that are as bad, what expires first, then what is furthest behind.
fn sort(lines: &mut [Line]) {
    lines.sort_by(|a, b| {
        let key = |line: &Line| {
            (
                Reverse(line.state),
                line.time_to_expiry_seconds.unwrap_or(i64::MAX),
                Reverse(line.lag_seconds),
            )
        };
        let names = |line: &Line| (line.tenant.clone(), line.stream.clone());
        key(a).cmp(&key(b)).then_with(|| names(a).cmp(&names(b)))
    });
}

fn print(lines: &[Line], now: Micros) -> String {
    let dash = || "-".to_owned();
    let rows = lines.iter().map(|line| {
        let backlog = match line.backlog_segments {
            0 => dash(),
            n => format!("{n} ({})", output::size(line.backlog_bytes)),
        };
        let kinds: Vec<_> = line.findings.iter().map(|f| f.kind.as_str()).collect();
        vec![
            line.tenant.clone().unwrap_or_else(dash),
            line.stream.clone(),
            line.state.name().to_owned(),
            line.lag_seconds.map_or_else(dash, span),
            backlog,
            line.time_to_expiry_seconds.map_or_else(dash, |left| {
                let text = span(left.unsigned_abs());
                if left < 0 { format!("-{text}") } else { text }
            }),
            line.archived_at
                .map_or_else(dash, |at| format!("{} ago", span(seconds_between(at, now)))),
            if kinds.is_empty() {
                dash()
            } else {
                kinds.join(",")
            },
        ]
    });
    let header = [
        "TENANT", "STREAM", "STATE", "LAG", "BACKLOG", "EXPIRES", "ARCHIVED", "ALARMS",
    ];
    let mut text = output::table(&header, &[3, 4, 5, 6], rows);
    let wrong = lines.iter().filter(|line| line.state > State::Ok).count();
    text += &match wrong {
        0 => format!(
            "\n{}, all well\n",
            output::count(lines.len() as u64, "stream")
        ),
        n => format!(
            "\n{n} of {} {} somebody: --json says why, and 'binlogfs status URL' tells all of one\n",
            output::count(lines.len() as u64, "stream"),
            output::of_number(n as u64, "needs", "need"),
        ),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, state: State, expiry: Option<i64>, lag: Option<u64>) -> Line {
        Line {
            tenant: Some("acme".to_owned()),
            stream: name.to_owned(),
            url: None,
            state,
            lag_seconds: lag,
            backlog_segments: 0,
            backlog_bytes: 0,
            time_to_expiry_seconds: expiry,
            last_archived_at: None,
            updated_at: None,
            findings: Vec::new(),
            archived_at: None,
        }
    }

    #[test]
    fn the_worst_comes_first_then_what_expires_first_then_what_is_furthest_behind() {
        let mut lines = [
            line("fine", State::Ok, Some(1), None),
            line("b", State::Critical, None, Some(5)),
            line("far", State::Critical, None, Some(500)),
            line("soon", State::Critical, Some(60), None),
            line("late", State::Warning, Some(1), Some(9000)),
            line("a", State::Critical, None, Some(5)),
        ];
        sort(&mut lines);
        let names: Vec<_> = lines.iter().map(|line| line.stream.as_str()).collect();
        assert_eq!(names, ["soon", "far", "a", "b", "late", "fine"]);
        let text = print(&lines, Micros(0));
        assert!(text.starts_with("TENANT"), "{text}");
        assert!(text.contains("5 of 6 streams need somebody"), "{text}");
        let text = print(&lines[4..], Micros(0));
        assert!(text.contains("1 of 2 streams needs somebody"), "{text}");
    }

    #[test]
    fn a_stream_whose_agent_is_gone_says_so_and_one_of_a_timer_may_rest() {
        assert!(
            absence(true, false, 1)
                .expect("told")
                .contains("does not run")
        );
        assert_eq!(absence(true, true, 100_000), None);
        assert_eq!(absence(false, false, 60), None);
        assert!(absence(false, false, 7200).expect("told").contains("timer"));
    }
}

//! What a person must know of before history is lost: the alarms of one stream, decided from its health. Pure.

mod book;

pub use book::{AlarmBook, Event, Notice, Raised};

use super::health::Health;
use super::replicas::ReplicaHealth;
use crate::model::Micros;
use crate::model::counted::{count, of_number};
use crate::store::BreakerState;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What an alarm is about. One stream has at most one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// Closed segments wait too long.
    Lag,
    /// The server is about to purge what is not archived.
    Expiry,
    /// The disk of the binlogs is about to be full.
    DiskFull,
    /// The store does not answer: the circuit breaker is open.
    StoreDown,
    /// Runs fail for another reason.
    RunFailing,
    /// A segment that existed cannot be read.
    Hole,
    /// History is missing between two segments.
    Gap,
    /// A segment fails its own checks.
    Damage,
    /// A file could not be handled, and was put aside.
    DeadLetter,
    /// The server lost transactions that are archived, or was RESET: a new timeline began.
    Branch,
    /// The server writes no binlog.
    LogBinOff,
    /// The server drops its binlog at a write error, and goes on.
    IgnoreError,
    /// The server encrypts its binlogs.
    Encryption,
    /// The server purges by size, whatever is archived.
    ExpiryBySize,
    /// A closed file has another size than the server says.
    SizeMismatch,
    /// Another setting of the server makes history less than it could be.
    ServerSettings,
    /// The server does not answer queries.
    ServerUnreachable,
    /// A second copy is behind, or lacks what the first store could not give.
    Replica,
}

impl AlarmKind {
    /// Its name in metrics, hooks and logs.
    pub fn name(self) -> &'static str {
        match self {
            AlarmKind::Lag => "lag",
            AlarmKind::Expiry => "expiry",
            AlarmKind::DiskFull => "disk_full",
            AlarmKind::StoreDown => "store_down",
            AlarmKind::RunFailing => "run_failing",
            AlarmKind::Hole => "hole",
            AlarmKind::Gap => "gap",
            AlarmKind::Damage => "damage",
            AlarmKind::DeadLetter => "dead_letter",
            AlarmKind::Branch => "branch",
            AlarmKind::LogBinOff => "log_bin_off",
            AlarmKind::IgnoreError => "ignore_error",
            AlarmKind::Encryption => "encryption",
            AlarmKind::ExpiryBySize => "expiry_by_size",
            AlarmKind::SizeMismatch => "size_mismatch",
            AlarmKind::ServerSettings => "server_settings",
            AlarmKind::ServerUnreachable => "server_unreachable",
            AlarmKind::Replica => "replica",
        }
    }

    /// Whether the server itself says it: while it does not answer, nobody knows whether it is over.
    pub fn is_of_server(self) -> bool {
        match self {
            AlarmKind::LogBinOff
            | AlarmKind::IgnoreError
            | AlarmKind::Encryption
            | AlarmKind::ExpiryBySize
            | AlarmKind::SizeMismatch
            | AlarmKind::ServerSettings => true,
            AlarmKind::Lag
            | AlarmKind::Expiry
            | AlarmKind::DiskFull
            | AlarmKind::StoreDown
            | AlarmKind::RunFailing
            | AlarmKind::Hole
            | AlarmKind::Gap
            | AlarmKind::Damage
            | AlarmKind::DeadLetter
            | AlarmKind::Branch
            | AlarmKind::ServerUnreachable
            | AlarmKind::Replica => false,
        }
    }

    /// Whether a look finds it, at the server or in the history.
    pub fn is_found(self) -> bool {
        self.is_of_server()
            || matches!(
                self,
                AlarmKind::Hole
                    | AlarmKind::Gap
                    | AlarmKind::Damage
                    | AlarmKind::Branch
                    | AlarmKind::ServerUnreachable
            )
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Look at it today.
    Warning,
    /// Look at it now.
    Critical,
}

impl Severity {
    /// Its name in metrics, hooks and logs.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
    }
}

/// One alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// What it is about.
    pub kind: AlarmKind,
    /// How bad it is.
    pub severity: Severity,
    /// What happened, and what to do.
    pub text: String,
}

/// From when on something is alarming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Age of the oldest closed segment that is not archived.
    pub lag_warning: Duration,
    /// The same, critical.
    pub lag_critical: Duration,
    /// Time until the server may purge what is not archived.
    pub expiry_warning: Duration,
    /// The same, critical.
    pub expiry_critical: Duration,
    /// Time until the disk is full, at the rate at which it fills now.
    pub disk_full_warning: Duration,
    /// The same, critical.
    pub disk_full_critical: Duration,
    /// Runs in a row that fail before that is alarming: one may have met a server that restarts.
    pub failed_runs: u32,
}

impl Default for Thresholds {
    fn default() -> Thresholds {
        const HOUR: u64 = 3600;
        Thresholds {
            lag_warning: Duration::from_secs(HOUR / 2),
            lag_critical: Duration::from_secs(4 * HOUR),
            expiry_warning: Duration::from_secs(24 * HOUR),
            expiry_critical: Duration::from_secs(6 * HOUR),
            disk_full_warning: Duration::from_secs(12 * HOUR),
            disk_full_critical: Duration::from_secs(2 * HOUR),
            failed_runs: 3,
        }
    }
}

/// The alarms that `health` gives reason for, at most one of a kind.
pub fn alarms(health: &Health, limits: &Thresholds, now: Micros) -> Vec<Alarm> {
    let mut found = Vec::new();
    found.extend(lag(health, limits, now));
    found.extend(expiry(health, limits));
    found.extend(disk_full(health, limits));
    found.extend(failing(health, limits));
    found.extend(replica(health, limits, now));
    found.extend(health.findings.iter().cloned());
    // Of two of a kind the worse stays: the book has one place for each.
    found.sort_by(|a, b| (a.kind, b.severity).cmp(&(b.kind, a.severity)));
    found.dedup_by_key(|alarm| alarm.kind);
    found
}

fn alarm(kind: AlarmKind, severity: Severity, text: impl Into<String>) -> Alarm {
    let text = text.into();
    Alarm {
        kind,
        severity,
        text,
    }
}

/// The alarm of so many binlogs that were put aside.
pub(super) fn put_aside(binlogs: u64) -> Alarm {
    let (were, them) = match binlogs {
        1 => ("was", "it and the reason"),
        _ => ("were", "them and the reasons"),
    };
    let text = format!(
        "{} could not be handled and {were} put aside: 'binlogfs dlq list' names {them}, 'binlogfs dlq retry' tries again",
        count(binlogs, "binlog")
    );
    alarm(AlarmKind::DeadLetter, Severity::Critical, text)
}

/// The severity of something that gets worse as `value` falls.
fn falling(value: i64, warning: Duration, critical: Duration) -> Option<Severity> {
    let below = |limit: Duration| value < i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
    match (below(critical), below(warning)) {
        (true, _) => Some(Severity::Critical),
        (false, true) => Some(Severity::Warning),
        (false, false) => None,
    }
}

fn lag(health: &Health, limits: &Thresholds, now: Micros) -> Option<Alarm> {
    let lag = health.lag_seconds(now)?;
    // Over the limit is under its negative.
    let severity = if lag >= limits.lag_critical.as_secs() {
        Severity::Critical
    } else if lag >= limits.lag_warning.as_secs() {
        Severity::Warning
    } else {
        return None;
    };
    if health.backlog.lag_seconds(now) < Some(lag) {
        let text = format!(
            "the oldest segment that is not in every replica, and so does not count as archived, is {} old: see the alarm of the replica",
            span(lag)
        );
        return Some(alarm(AlarmKind::Lag, severity, text));
    }
    let why = health.why_waiting();
    Some(alarm(
        AlarmKind::Lag,
        severity,
        format!(
            "{} ({} bytes) {} not archived, the oldest for {}: {why}",
            count(health.backlog.segments, "closed segment"),
            health.backlog.bytes,
            of_number(health.backlog.segments, "is", "are"),
            span(lag),
        ),
    ))
}

fn expiry(health: &Health, limits: &Thresholds) -> Option<Alarm> {
    let left = health.time_to_expiry_seconds?;
    let severity = falling(left, limits.expiry_warning, limits.expiry_critical)?;
    let when = if left >= 0 {
        format!("in {}", span(left.unsigned_abs()))
    } else {
        format!(
            "since {}, at its next rotation or restart",
            span(left.unsigned_abs())
        )
    };
    // Then it is not this archiver that is waited for.
    let of_replicas = health.waits_for_replicas && health.backlog.segments == 0;
    let what = match of_replicas {
        true => "what is not in every replica, and so does not count as archived: see the alarm of the replica".to_owned(),
        false => format!(
            "what is not archived ({}): find out why it is not ({})",
            count(health.backlog.segments, "segment"),
            health.why_waiting()
        ),
    };
    Some(alarm(
        AlarmKind::Expiry,
        severity,
        format!(
            "the server may purge {when} {what}, or give it time with SET PERSIST binlog_expire_logs_seconds"
        ),
    ))
}

/// What the first store could not give, and all later segments wait for.
fn held_back(health: &Health) -> Option<Alarm> {
    let mut replicas = health.replicas.iter();
    let (url, held) = replicas.find_map(|replica| Some((&replica.url, replica.held.as_ref()?)))?;
    let (first, record) = (&health.url, held.record);
    let what = match &held.file {
        Some(file) => format!("{file} (record {record})"),
        None => format!("ledger record {record}"),
    };
    let text = format!(
        "{url} does not have {what}, which {first} could not give: {}. Neither it nor anything after it counts as archived; keep its file on \
         the server. 'binlogfs verify {first} --deep --repair-from DATADIR' heals it from that file, '--repair --replica URL' from another \
         copy; give_up_through = {record} lets what comes after it count without it",
        held.why
    );
    Some(alarm(AlarmKind::Replica, Severity::Critical, text))
}

/// The replica that is worst off.
fn replica(health: &Health, limits: &Thresholds, now: Micros) -> Option<Alarm> {
    if let Some(held) = held_back(health) {
        return Some(held);
    }
    let lag = |replica: &ReplicaHealth| replica.lag_seconds(now).unwrap_or(0);
    let worst = health.replicas.iter().max_by_key(|replica| lag(replica))?;
    let severity = if lag(worst) >= limits.lag_critical.as_secs() {
        Severity::Critical
    } else if lag(worst) >= limits.lag_warning.as_secs() {
        Severity::Warning
    } else {
        let lacks = health.replicas.iter().find(|replica| replica.lacks > 0)?;
        let text = format!(
            "{} lacks {} {} that the first store could not give: run 'binlogfs verify {}'",
            lacks.url,
            lacks.lacks,
            of_number(lacks.lacks, "record or object", "records or objects"),
            health.url
        );
        return Some(alarm(AlarmKind::Replica, Severity::Warning, text));
    };
    let why = worst.last_error.as_deref();
    let text = format!(
        "{} lacks {}, the oldest of a segment closed {} ago: {}",
        worst.url,
        count(worst.lag_records, "record"),
        span(lag(worst)),
        why.unwrap_or("it is being filled")
    );
    Some(alarm(AlarmKind::Replica, severity, text))
}

fn disk_full(health: &Health, limits: &Thresholds) -> Option<Alarm> {
    let left = health.time_to_disk_full_seconds?;
    let severity = falling(left, limits.disk_full_warning, limits.disk_full_critical)?;
    Some(alarm(
        AlarmKind::DiskFull,
        severity,
        format!(
            "the disk of the binlogs is full in {} at the rate at which it fills now: free some space ('binlogfs purge-safe' names the \
             binlogs that are archived)",
            span(left.unsigned_abs())
        ),
    ))
}

fn failing(health: &Health, limits: &Thresholds) -> Option<Alarm> {
    let error = health.last_error.as_deref().unwrap_or("");
    match health.breaker {
        BreakerState::Open | BreakerState::HalfOpen => Some(alarm(
            AlarmKind::StoreDown,
            Severity::Critical,
            format!("the store does not answer, nothing is archived until it does: {error}"),
        )),
        BreakerState::Closed if health.failed_in_a_row >= limits.failed_runs => Some(alarm(
            AlarmKind::RunFailing,
            Severity::Critical,
            format!(
                "{} runs in a row have failed, nothing is archived: {}",
                health.failed_in_a_row,
                health.why_waiting()
            ),
        )),
        BreakerState::Closed => None,
    }
}

/// Seconds for people: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`.
pub fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if seconds < 120 => format!("{seconds} s"),
        () if hours < 2 => format!("{minutes} min"),
        () if days < 2 => format!("{hours} h {} min", minutes % 60),
        () => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::super::health::Backlog;
    use super::*;

    fn at(seconds: i64) -> Micros {
        Micros(seconds * 1_000_000)
    }

    fn waiting_since(seconds: i64) -> Health {
        Health {
            backlog: Backlog {
                segments: 3,
                bytes: 4096,
                oldest_closed_at: Some(at(seconds)),
            },
            ..Health::default()
        }
    }

    #[test]
    fn lag_warns_then_is_critical_and_is_over_when_nothing_waits() {
        let limits = Thresholds::default();
        let health = waiting_since(0);
        for (now, severity) in [
            (1799, None),
            (1800, Some(Severity::Warning)),
            (4 * 3600, Some(Severity::Critical)),
        ] {
            let found = alarms(&health, &limits, at(now));
            assert_eq!(found.first().map(|a| a.severity), severity, "{now}");
        }
        assert_eq!(alarms(&Health::default(), &limits, at(1 << 30)), []);
    }

    #[test]
    fn what_only_a_replica_lacks_is_told_as_that_also_while_something_else_waits() {
        let limits = Thresholds::default();
        let replica = ReplicaHealth {
            lag_records: 7,
            oldest_closed_at: Some(at(0)),
            ..ReplicaHealth::default()
        };
        let mut health = Health {
            waits_for_replicas: true,
            replicas: vec![replica],
            time_to_expiry_seconds: Some(60),
            ..waiting_since(4 * 3600 - 1)
        };
        let text = |health: &Health, kind: AlarmKind| {
            let found = alarms(health, &limits, at(4 * 3600));
            let of_kind = found.into_iter().find(|alarm| alarm.kind == kind);
            of_kind.expect("raised").text
        };
        let lag = text(&health, AlarmKind::Lag);
        assert!(lag.contains("not in every replica"), "{lag}");
        let expiry = text(&health, AlarmKind::Expiry);
        assert!(expiry.contains("not archived (3 segments)"), "{expiry}");
        health.backlog = Backlog::default();
        let expiry = text(&health, AlarmKind::Expiry);
        assert!(expiry.contains("not in every replica"), "{expiry}");
        health.backlog = waiting_since(-60).backlog;
        let lag = text(&health, AlarmKind::Lag);
        assert!(lag.contains("3 closed segments"), "{lag}");
    }

    #[test]
    fn of_one_it_is_said_that_it_is_one() {
        let mut health = waiting_since(0);
        health.backlog.segments = 1;
        health.time_to_expiry_seconds = Some(60);
        health.replicas = vec![ReplicaHealth {
            lag_records: 1,
            oldest_closed_at: Some(at(0)),
            ..ReplicaHealth::default()
        }];
        let text = |health: &Health, kind: AlarmKind| {
            let found = alarms(health, &Thresholds::default(), at(4 * 3600));
            let of_kind = found.into_iter().find(|alarm| alarm.kind == kind);
            of_kind.expect("raised").text
        };
        let lag = text(&health, AlarmKind::Lag);
        let said = "1 closed segment (4096 bytes) is not archived";
        assert!(lag.starts_with(said), "{lag}");
        let expiry = text(&health, AlarmKind::Expiry);
        assert!(expiry.contains("not archived (1 segment):"), "{expiry}");
        let behind = text(&health, AlarmKind::Replica);
        assert!(behind.contains("lacks 1 record, "), "{behind}");
        health.replicas = vec![ReplicaHealth {
            lacks: 1,
            ..ReplicaHealth::default()
        }];
        let lacks = text(&health, AlarmKind::Replica);
        assert!(lacks.contains("lacks 1 record or object that"), "{lacks}");
        let aside = put_aside(1).text;
        let said =
            "1 binlog could not be handled and was put aside: 'binlogfs dlq list' names it and";
        assert!(aside.starts_with(said), "{aside}");
    }

    #[test]
    fn expiry_is_critical_before_and_after_it_is_reached() {
        let limits = Thresholds::default();
        for (left, severity) in [
            (24 * 3600, None),
            (24 * 3600 - 1, Some(Severity::Warning)),
            (3600, Some(Severity::Critical)),
            (-10, Some(Severity::Critical)),
        ] {
            let health = Health {
                time_to_expiry_seconds: Some(left),
                ..Health::default()
            };
            let found = alarms(&health, &limits, at(0));
            assert_eq!(found.first().map(|a| a.severity), severity, "{left}");
        }
    }

    #[test]
    fn an_alarm_is_told_once_when_it_comes_when_it_worsens_again_after_long_and_when_it_goes() {
        let mut book = AlarmBook::default();
        let repeat = Duration::from_secs(4 * 3600);
        let warning = alarm(AlarmKind::Lag, Severity::Warning, "w");
        let critical = alarm(AlarmKind::Lag, Severity::Critical, "c");
        let mut events = |now: i64, alarms: &[&Alarm]| -> Vec<Event> {
            let alarms = alarms.iter().copied().cloned().collect();
            let notices = book.update(at(now), alarms, repeat);
            notices.iter().map(|notice| notice.event).collect()
        };
        assert_eq!(events(0, &[&warning]), [Event::Raised]);
        assert_eq!(events(60, &[&warning]), []);
        assert_eq!(events(120, &[&critical]), [Event::Escalated]);
        assert_eq!(events(180, &[&critical]), []);
        assert_eq!(events(120 + 4 * 3600, &[&critical]), [Event::Repeated]);
        assert_eq!(events(5 * 3600, &[&warning]), []);
        assert_eq!(events(5 * 3600 + 1, &[]), [Event::Cleared]);
        assert_eq!(events(5 * 3600 + 2, &[]), []);
    }

    #[test]
    fn a_book_that_was_written_down_tells_nothing_twice() {
        let mut book = AlarmBook::default();
        let damage = alarm(AlarmKind::Damage, Severity::Critical, "d");
        let hour = Duration::from_secs(3600);
        book.update(at(0), vec![damage.clone()], hour);
        let mut after = AlarmBook::of(book.raised());
        assert_eq!(after.update(at(60), vec![damage], hour), []);
    }

    #[test]
    fn of_two_of_a_kind_the_worse_stays() {
        let health = Health {
            findings: vec![
                alarm(AlarmKind::Hole, Severity::Warning, "old"),
                alarm(AlarmKind::Hole, Severity::Critical, "new"),
            ],
            ..Health::default()
        };
        let found = alarms(&health, &Thresholds::default(), at(0));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].text, "new");
    }
}

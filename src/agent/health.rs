//! How one stream's archiver is: what waits, what failed, what is alarming. Written to `health.json`, served, and shown.

use super::alarm::{Alarm, Raised};
use super::replicas::ReplicaHealth;
use crate::index::Index;
use crate::model::Micros;
use crate::store::BreakerState;
use crate::sync::Batch;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Its name in the state directory.
pub const HEALTH_NAME: &str = "health.json";

/// Closed segments that are not archived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    /// How many.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest of them was closed: the modification time of its file.
    pub oldest_closed_at: Option<Micros>,
}

impl Backlog {
    /// What of a batch waits.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn of(batch: &Batch, index: &Index) -> Result<Backlog> {
        let (segments, bytes, oldest_closed_at) = batch.waiting(index)?;
        Ok(Backlog {
            segments,
            bytes,
            oldest_closed_at,
        })
    }

    /// Age of the oldest of them in seconds. `None` when nothing waits.
    pub fn lag_seconds(&self, now: Micros) -> Option<u64> {
        let micros = now.0.saturating_sub(self.oldest_closed_at?.0);
        // A clock that was set back is no lag.
        Some(u64::try_from(micros / 1_000_000).unwrap_or(0))
    }
}

/// What was done since the process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Runs.
    pub runs: u64,
    /// Runs that failed.
    pub failed_runs: u64,
    /// Segments archived.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of their objects.
    pub stored_bytes: u64,
    /// Times the circuit breaker opened.
    pub breaker_openings: u64,
}

/// What is wrong with the history as it stands, all of it counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blemishes {
    /// Segments that existed and cannot be read.
    pub holes: u64,
    /// Places where history is missing.
    pub gaps: u64,
    /// Segments that fail their own checks.
    pub damaged: u64,
    /// Records that cannot be read.
    pub lost_records: u64,
    /// Timelines.
    pub timelines: u64,
}

/// How one stream's archiver is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// The stream's name in the configuration.
    pub stream: String,
    /// Its URL.
    pub url: String,
    /// When this was found out.
    pub updated_at: Micros,
    /// When the process began.
    pub started_at: Micros,
    /// The process stays and looks after the stream; it is not one run for a timer.
    pub stays: bool,
    /// When everything closed was last archived.
    pub last_success_at: Option<Micros>,
    /// When the newest segment was archived by this process.
    pub last_archived_at: Option<Micros>,
    /// Why the last run failed.
    pub last_error: Option<String>,
    /// Runs that failed since the last one that did not.
    pub failed_in_a_row: u32,
    /// What waits.
    pub backlog: Backlog,
    /// Seconds until the server may purge the oldest closed segment that is not archived, or, if none waits, the one that
    /// is closed next at the earliest. Unknown without `binlog_expire_logs_seconds`.
    pub time_to_expiry_seconds: Option<i64>,
    /// Seconds until the binlogs' disk is full at the rate at which it fills now.
    pub time_to_disk_full_seconds: Option<i64>,
    /// What was done.
    pub totals: Totals,
    /// What is wrong with the history.
    pub blemishes: Blemishes,
    /// Its replicas.
    pub replicas: Vec<ReplicaHealth>,
    /// What is not in all of them does not count as archived.
    pub waits_for_replicas: bool,
    /// Files put aside.
    pub dead_letters: u64,
    /// The circuit breaker.
    pub breaker: BreakerState,
    /// Whether the server answers, where it is asked.
    pub server_up: Option<bool>,
    /// Why nothing is archived at the moment although something waits.
    pub paused: Option<String>,
    /// When something is heard again at the latest, unless the archiver hangs.
    #[serde(skip)]
    pub next_word_by: Option<Instant>,
    /// The alarms that are raised.
    pub alarms: Vec<Raised>,
    /// What the last look at server and history found alarming, beside what the other fields tell.
    #[serde(skip)]
    pub findings: Vec<Alarm>,
}

impl Health {
    /// What keeps closed segments from being archived, as far as is known.
    pub fn why_waiting(&self) -> &str {
        match (&self.last_error, &self.paused) {
            (Some(error), _) => error,
            (None, Some(why)) => why,
            (None, None) => "the archiver is at it",
        }
    }

    /// Age of the oldest closed segment that does not count as archived, in seconds: the lag. `None` when there is none.
    pub fn lag_seconds(&self, now: Micros) -> Option<u64> {
        let replicas = match self.waits_for_replicas {
            true => self.replica_lag_seconds(now),
            false => None,
        };
        self.backlog.lag_seconds(now).max(replicas)
    }

    /// Finds out how long it is until the server purges what waits, if it purges what was closed so long ago.
    pub fn expire(&mut self, after: Option<Duration>, now: Micros) {
        let age = self.lag_seconds(now).unwrap_or(0);
        self.time_to_expiry_seconds = after.map(|after| {
            let after = i64::try_from(after.as_secs()).unwrap_or(i64::MAX);
            after.saturating_sub(i64::try_from(age).unwrap_or(i64::MAX))
        });
    }

    /// Age of the record that a replica lacks the longest, in seconds. `None` when none lacks any.
    pub fn replica_lag_seconds(&self, now: Micros) -> Option<u64> {
        let lags = self.replicas.iter();
        lags.filter_map(|replica| replica.lag_seconds(now)).max()
    }

    /// Whether it has told nothing for so long that it must hang.
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.next_word_by.is_some_and(|by| now > by)
    }

    /// Whether the last run did what it was to do, or had reason to wait.
    pub fn is_ready(&self) -> bool {
        self.totals.runs > 0 && self.failed_in_a_row == 0
    }
}

/// The path in a state directory.
pub fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(HEALTH_NAME)
}

/// What the archiver with this state directory last wrote, if it wrote anything that can be read.
pub fn read(state_dir: &Path) -> Option<Health> {
    read_from(state_dir).ok().flatten()
}

/// What the archiver with this state directory last wrote, if it wrote anything.
///
/// # Errors
/// When it cannot be read.
pub fn read_from(state_dir: &Path) -> std::io::Result<Option<Health>> {
    let path = path(state_dir);
    let wrong = |error: std::io::Error| {
        std::io::Error::new(
            error.kind(),
            format!("cannot read {}: {error}", path.display()),
        )
    };
    match std::fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| wrong(error.into())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(error)),
    }
}

/// Writes it: beside, then renamed into place. Not synchronised: after a crash it is found out anew.
///
/// # Errors
/// As the file system tells; the old one is then still there.
pub fn write(state_dir: &Path, health: &Health) -> std::io::Result<()> {
    let beside = state_dir.join(format!("{HEALTH_NAME}.new"));
    let mut file = std::fs::File::create(&beside)?;
    serde_json::to_writer_pretty(&mut file, health)?;
    file.write_all(b"\n")?;
    std::fs::rename(&beside, path(state_dir))
}

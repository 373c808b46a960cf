//! The server of a stream, asked over its own protocol: what an agent wants to know of it, and the one order it gives.

use super::alarm::{Alarm, AlarmKind, Severity};
use super::sight::{Ask, FileSeen, RotationRule, Sight};
use crate::binlog::Head;
use crate::model::Micros;
use crate::source::server::{
    ActiveFile, Danger, Mismatch, Rotation, Server, ServerFacts, ServerOptions, cross_check,
    expiry, has_something_to_save, persistent, rotation_due, worthless,
};
use crate::source::{Source, SourceFile};
use async_trait::async_trait;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A MySQL or MariaDB server beside its files.
pub struct MySqlServer {
    server: Server,
    source: PathBuf,
    memory: Mutex<Memory>,
}

/// What was found out last.
#[derive(Default)]
struct Memory {
    facts: Option<ServerFacts>,
    /// What did not agree: a rotation between two lists looks like that once, not twice.
    mismatches: Vec<Mismatch>,
}

impl MySqlServer {
    /// The server whose files are at `source`. Nothing is sent yet.
    pub fn new(options: ServerOptions, source: PathBuf) -> MySqlServer {
        MySqlServer {
            server: Server::new(options),
            source,
            memory: Mutex::default(),
        }
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn mismatches(&self, files: &[FileSeen]) -> Result<Vec<Alarm>, String> {
        let logs = self.server.binary_logs().await.map_err(|e| e.to_string())?;
        let found = cross_check(files, &logs);
        let before = std::mem::replace(&mut self.memory().mismatches, found.clone());
        let certain = persistent(&before, &found);
        Ok(certain
            .first()
            .map(|first| alarm_of(first, certain.len()))
            .into_iter()
            .collect())
    }

    /// The head of the active file. Blocks for a read of it.
    fn active_head(&self) -> Result<Head, String> {
        let text = |error: crate::source::SourceError| error.to_string();
        let source = Source::open(&self.source).map_err(text)?;
        let listing = source.list().map_err(text)?;
        let active = listing.files.last().ok_or("no file is listed")?;
        let file = SourceFile::open(&active.path).map_err(text)?;
        file.head().map_err(text)
    }
}

fn alarm_of(mismatch: &Mismatch, count: usize) -> Alarm {
    let more = match count {
        1 => String::new(),
        n => format!(" (and {} more)", n - 1),
    };
    Alarm {
        kind: AlarmKind::SizeMismatch,
        severity: Severity::Critical,
        text: format!("{mismatch}{more}"),
    }
}

/// The alarm that a setting gives reason for. `None` for what some choose knowingly, for speed: the log names it once.
fn alarm_of_danger(danger: &Danger) -> Option<Alarm> {
    let kind = match danger {
        Danger::LogBinOff => AlarmKind::LogBinOff,
        Danger::ErrorActionIgnore => AlarmKind::IgnoreError,
        Danger::Encrypted => AlarmKind::Encryption,
        Danger::ExpiryBySize { .. } => AlarmKind::ExpiryBySize,
        Danger::NoExpiryKnown | Danger::ReplicaNotLogged => AlarmKind::ServerSettings,
        Danger::NotSynced { .. } | Danger::NoChecksums => return None,
    };
    let severity = match danger.is_critical() {
        true => Severity::Critical,
        false => Severity::Warning,
    };
    Some(Alarm {
        kind,
        severity,
        text: danger.to_string(),
    })
}

#[async_trait]
impl Ask for MySqlServer {
    async fn look(&self, files: &[FileSeen]) -> Result<Sight, String> {
        let facts = self.server.facts().await.map_err(|e| e.to_string())?;
        let dangers = worthless(&facts);
        if self.memory().facts.is_none() {
            for danger in dangers.iter().filter(|d| alarm_of_danger(d).is_none()) {
                tracing::warn!(server = self.server.name(), "{danger}");
            }
        }
        let mut alarms: Vec<_> = dangers.iter().filter_map(alarm_of_danger).collect();
        if facts.log_bin != Some(false) {
            alarms.extend(self.mismatches(files).await?);
        }
        let sight = Sight {
            expire_after: expiry(&facts).duration(),
            threads_running: facts.threads_running,
            replica_lag: facts.replica.as_ref().and_then(|replica| replica.lag),
            alarms,
        };
        self.memory().facts = Some(facts);
        Ok(sight)
    }

    async fn rotate(&self, rule: &RotationRule) -> Result<bool, String> {
        let Some(facts) = self.memory().facts.clone() else {
            return Ok(false);
        };
        let head = self.active_head()?;
        let age = Micros::now().0.saturating_sub(head.created.0);
        let age = Duration::from_micros(u64::try_from(age).unwrap_or(0));
        if age < rule.after {
            return Ok(false);
        }
        let active = self.server.active_log().await.map_err(|e| e.to_string())?;
        let before = head.previous_gtids.as_ref();
        let file = ActiveFile {
            age,
            has_transactions: has_something_to_save(&active, facts.flavour, before, head.end),
            oldest_unarchived: rule.oldest_waiting_age,
            purges_by_size: facts.binlog_total_limit.is_some_and(|limit| limit > 0),
        };
        match rotation_due(&file, rule.after, expiry(&facts)) {
            Rotation::Flush => {
                let flushed = self.server.flush_binary_logs().await;
                flushed.map(|()| true).map_err(|e| e.to_string())
            }
            Rotation::NotYet { .. } | Rotation::Nothing => Ok(false),
            Rotation::Forbidden { why } => Err(why.to_owned()),
        }
    }
}

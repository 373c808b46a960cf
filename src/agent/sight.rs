//! What an agent asks a server, where it may: its settings, its load, and now and then a rotation.

use super::alarm::Alarm;
use crate::model::FileName;
use async_trait::async_trait;
use std::time::Duration;

/// What a server said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sight {
    /// After this long it purges a binlog, whatever is archived.
    pub expire_after: Option<Duration>,
    /// Threads that run.
    pub threads_running: Option<u64>,
    /// How far it is behind its source, where it is a replica.
    pub replica_lag: Option<Duration>,
    /// Settings that make the archive worthless, and files that are not what it says.
    pub alarms: Vec<Alarm>,
}

/// A listed file: name, size in bytes, and whether it is closed.
pub type FileSeen = (FileName, u64, bool);

/// When a rotation is due.
#[derive(Clone, Copy, Debug)]
pub struct RotationRule {
    /// Age from which on an active file with transactions is closed.
    pub after: Duration,
    /// How long ago the oldest closed file that is not archived was closed: FLUSH purges what is expired. `None` if nothing
    /// waits.
    pub oldest_waiting_age: Option<Duration>,
}

/// Somebody who can ask the server.
#[async_trait]
pub trait Ask: Send + Sync {
    /// Looks at settings and load, and compares `files` with what the server lists.
    ///
    /// # Errors
    /// Why the server does not answer.
    async fn look(&self, files: &[FileSeen]) -> Result<Sight, String>;

    /// Rotates if that is due. Whether it did.
    ///
    /// # Errors
    /// Why it could not, or must not.
    async fn rotate(&self, rule: &RotationRule) -> Result<bool, String>;
}

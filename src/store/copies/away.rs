//! A store that did not answer, and until when it is asked last.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long a store that did not answer is asked last.
pub const AWAY: Duration = Duration::from_secs(30);

/// Until when a store is asked last.
#[derive(Default)]
pub(super) struct Away(Mutex<Option<Instant>>);

impl Away {
    fn until(&self) -> MutexGuard<'_, Option<Instant>> {
        // A time is whole or not there: a panic elsewhere leaves it sound.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it did not answer a while ago.
    pub(super) fn is_away(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() < until)
    }

    /// It did not answer now.
    pub(super) fn note(&self) {
        *self.until() = Some(Instant::now() + AWAY);
    }
}

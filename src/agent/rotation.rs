//! Closing the active file of a quiet server, so that what it holds can be archived.

use super::sight::RotationRule;
use super::stream::Tending;
use std::time::Duration;

impl Tending {
    /// Closes the active file if that is due. Not in quiet hours: it would only wait then, and FLUSH waits for backup locks.
    pub(super) async fn rotate(&mut self) {
        let (Some(ask), Some(after)) = (&self.agent.ask, self.agent.policy.rotate_after) else {
            return;
        };
        if !self.is_urgent() && self.agent.policy.quiet_window(self.time_of_day()).is_some() {
            return;
        }
        let rule = RotationRule {
            after,
            oldest_waiting_age: self.oldest_unarchived_age(),
        };
        let done = ask.rotate(&rule).await;
        match done {
            Ok(rotated) => {
                if rotated {
                    tracing::info!(stream = self.agent.name, "FLUSH BINARY LOGS (rotate_after)");
                }
                self.not_rotated = None;
            }
            Err(error) => {
                // What forbids it may do so for days.
                if self.not_rotated.as_ref() != Some(&error) {
                    tracing::warn!(
                        stream = self.agent.name,
                        error,
                        "the binlog was not rotated"
                    );
                }
                self.not_rotated = Some(error);
            }
        }
    }

    /// How long ago the oldest closed file was closed that is not archived. One that was put aside is not waited for, and the server may
    /// still have what fills its hole.
    fn oldest_unarchived_age(&self) -> Option<Duration> {
        let now = self.now();
        let aside = self.put_aside_since.map(|at| {
            let micros = now.0.saturating_sub(at.0);
            Duration::from_micros(u64::try_from(micros).unwrap_or(0))
        });
        let waiting = self.health.lag_seconds(now).map(Duration::from_secs);
        waiting.max(aside)
    }
}

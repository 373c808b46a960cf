//! The agent as a service: systemd's notifications and its watchdog.

use super::endpoint::is_deserted;
use super::health::Health;
use super::roster::Roster;
use crate::model::counted::count;
use sd_notify::NotifyState;
use std::time::Duration;
use tokio::sync::watch;

/// The watchdog is told this often within its time.
const WATCHDOG_PARTS: u32 = 3;
/// How often the status line of `systemctl status` is renewed.
const STATUS_EVERY: Duration = Duration::from_secs(10);

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "systemd could not be notified");
    }
}

/// Says that the agent is up.
pub fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Says that it takes up another configuration. [`ready`] says when it has.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        // systemd 253 and later want the time, to tell this reload from one before.
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the clock cannot be read"),
    }
}

/// Says that it is about to end.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Feeds the watchdog, and renews the status line, until the process ends. The watchdog goes hungry when a stream's task is
/// gone, or hangs.
pub async fn tend(roster: Roster) {
    let watchdog = sd_notify::watchdog_enabled();
    let pause = watchdog.map_or(STATUS_EVERY, |time| {
        (time / WATCHDOG_PARTS).min(STATUS_EVERY)
    });
    loop {
        let healths = roster.healths();
        let gone = healths.iter().any(is_deserted);
        let status = status(&healths);
        if watchdog.is_some() && !gone {
            notify(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
        } else {
            notify(&[NotifyState::Status(&status)]);
        }
        tokio::time::sleep(pause).await;
    }
}

fn status(healths: &[watch::Receiver<Health>]) -> String {
    let (mut segments, mut waiting, mut alarms) = (0, 0, 0);
    for health in healths {
        let health = health.borrow();
        segments += health.totals.segments;
        waiting += health.backlog.segments;
        alarms += health.alarms.len() as u64;
    }
    format!(
        "{}, {} archived, {waiting} waiting, {}",
        count(healths.len() as u64, "stream"),
        count(segments, "segment"),
        count(alarms, "alarm")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_line_counts_in_words_that_fit() {
        assert_eq!(
            status(&[]),
            "0 streams, 0 segments archived, 0 waiting, 0 alarms"
        );
        let mut health = Health::default();
        health.totals.segments = 1;
        let (_of_stream, seen) = watch::channel(health);
        assert_eq!(
            status(&[seen]),
            "1 stream, 1 segment archived, 0 waiting, 0 alarms"
        );
    }
}

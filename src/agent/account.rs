//! How a cycle went: booked, told to people, and published.

use super::alarm::{AlarmKind, Event, Notice, Severity, alarms, put_aside};
use super::alive;
use super::health;
use super::hooks::Message;
use super::schedule;
use super::stream::{Next, Tending, WORD_GRACE};
use super::survey::fresh;
use crate::model::Micros;
use crate::source::SourceError;
use crate::sync::Outcome;
use crate::telemetry;
use anyhow::{Result, anyhow};
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Tending {
    /// Books how the cycle went, and says when the next one is.
    pub(super) fn account(&mut self, result: Result<Option<Outcome>>, begun_at: Micros) -> Next {
        let breaker = Arc::clone(&self.agent.breaker);
        self.note_breaker();
        let poll = self.agent.policy.poll;
        let result = match result {
            // What came before a file that blocks is archived, and the run has failed all the same.
            Ok(Some(outcome)) if outcome.blocked.is_some() => {
                self.done(&outcome, begun_at);
                Err(anyhow!(outcome.blocked.unwrap_or_default()))
            }
            other => other,
        };
        match result {
            Err(error) => {
                let absent = error
                    .downcast_ref::<SourceError>()
                    .is_some_and(SourceError::is_absence);
                self.health.last_error = Some(telemetry::message(&error));
                self.health.failed_in_a_row = self.health.failed_in_a_row.saturating_add(1);
                self.health.totals.runs += 1;
                self.health.totals.failed_runs += 1;
                // What failed before this process began keeps nobody waiting who has begun it.
                let failed_here = u32::try_from(self.health.totals.failed_runs).unwrap_or(u32::MAX);
                let failed = self.health.failed_in_a_row.min(failed_here);
                let random = f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX);
                let mut pause = schedule::pause_after(failed, random);
                if absent {
                    // A server that begins is not kept waiting.
                    pause = pause.min(poll);
                }
                return Next {
                    pause: pause.max(breaker.closed_for()),
                    may_wake: false,
                };
            }
            Ok(outcome) if self.health.paused.is_none() => {
                self.health.totals.runs += 1;
                self.health.failed_in_a_row = 0;
                self.health.last_error = None;
                if let Some(outcome) = outcome {
                    self.done(&outcome, begun_at);
                } else if self.health.backlog.segments == 0 {
                    self.health.last_success_at = Some(begun_at);
                }
            }
            Ok(_) => {}
        }
        let pause = match breaker.closed_for() {
            open if open.is_zero() => poll,
            open => open,
        };
        Next {
            pause,
            may_wake: self.health.paused.is_none(),
        }
    }

    fn done(&mut self, outcome: &Outcome, begun_at: Micros) {
        let totals = &mut self.health.totals;
        totals.segments += outcome.archived.len() as u64;
        totals.bytes += outcome.bytes;
        totals.stored_bytes += outcome.stored_bytes;
        self.news_for_replicas();
        if outcome.left == 0 {
            if outcome.blocked.is_none() {
                self.health.last_success_at = Some(begun_at);
            }
            // What cannot be counted now is counted by the next look, which tells why.
            self.health.backlog = self.closed_since().unwrap_or_default();
        } else {
            tracing::info!(
                stream = self.agent.name,
                left = outcome.left,
                "the rest is archived later"
            );
        }
        let now = self.now();
        self.expire(now);
        for notice in &outcome.notices {
            tracing::warn!(stream = self.agent.name, "{notice}");
        }
        if let [(first, _), ..] = outcome.archived.as_slice() {
            self.health.last_archived_at = Some(now);
            tracing::info!(
                stream = self.agent.name,
                segments = outcome.archived.len(),
                first,
                bytes = outcome.bytes,
                stored_bytes = outcome.stored_bytes,
                "archived"
            );
        }
        // What was just recorded may be alarming: found out now, not at the next look.
        let recounted = self.index().and_then(|index| {
            let unsound = index.unsound()?;
            fresh(&index, &unsound, now)
        });
        match recounted {
            Ok(found) => {
                for alarm in found {
                    if !self.health.findings.contains(&alarm) {
                        self.health.findings.push(alarm);
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "the history could not be looked over"),
        }
    }

    pub(super) fn note_breaker(&mut self) {
        self.health.totals.breaker_openings = self.agent.breaker.openings();
        self.health.breaker = self.agent.breaker.state();
    }

    /// Raises and clears alarms, and publishes how things are. The next word comes after `pause`.
    pub(super) fn tell(&mut self, pause: Duration) {
        let now = self.now();
        self.health.updated_at = now;
        self.health.next_word_by = Instant::now().checked_add(pause + WORD_GRACE);
        self.note_replicas();
        if self.health.time_to_expiry_seconds.is_some() {
            // It comes nearer while the files cannot be looked at, too.
            self.expire(now);
        }
        // Findings stay while the files cannot be looked at; of this one there is one all the same.
        let findings = &mut self.health.findings;
        findings.retain(|alarm| alarm.kind != AlarmKind::DeadLetter);
        if self.health.dead_letters > 0 {
            let found = put_aside(self.health.dead_letters);
            self.health.findings.push(found);
        }
        let found = alarms(&self.health, &self.agent.thresholds, now);
        for notice in self.book.update(now, found, self.agent.repeat) {
            self.notify(notice, now);
        }
        self.health.alarms = self.book.raised();
        self.show_alive();
        if let Err(error) = health::write(&self.agent.settings.state_dir, &self.health) {
            tracing::warn!(stream = self.agent.name, %error, "health.json could not be written");
        }
        self.told.send_replace(self.health.clone());
    }

    /// Takes the lock by which others see that this process lives, as soon as there is a directory for it.
    fn show_alive(&mut self) {
        if self.health.stays && self.alive.is_none() {
            match alive::hold(&self.agent.settings.state_dir) {
                Ok(held) => self.alive = held,
                Err(error) => {
                    tracing::debug!(stream = self.agent.name, %error, "nobody sees that it lives");
                }
            }
        }
    }

    fn notify(&self, notice: Notice, now: Micros) {
        let (alarm, stream) = (&notice.alarm, self.agent.name.as_str());
        let (kind, severity) = (alarm.kind.name(), alarm.severity.name());
        match notice.event {
            Event::Cleared => tracing::warn!(stream, alarm = kind, "alarm cleared"),
            Event::Raised | Event::Escalated | Event::Repeated => match alarm.severity {
                Severity::Critical => {
                    tracing::error!(stream, alarm = kind, severity, "alarm: {}", alarm.text);
                }
                Severity::Warning => {
                    tracing::warn!(stream, alarm = kind, severity, "alarm: {}", alarm.text);
                }
            },
        }
        let Some(notices) = &self.agent.notices else {
            return;
        };
        let message = Message {
            stream: stream.to_owned(),
            url: self.agent.url.clone(),
            host: self.agent.host.clone(),
            at: now,
            notice,
        };
        if notices.try_send(message).is_err() {
            tracing::error!(
                stream,
                "too many alarms wait to be told: this one is only in the log"
            );
        }
    }
}

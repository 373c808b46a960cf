//! Which alarms are raised, and what of them is told, so that nobody is told twice.

use super::{Alarm, AlarmKind, Severity};
use crate::model::Micros;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// What changed about an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It was not there before.
    Raised,
    /// It was a warning and is critical now.
    Escalated,
    /// It is still there, and was last told of long ago.
    Repeated,
    /// It is over.
    Cleared,
}

/// What to tell of an alarm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// What changed.
    pub event: Event,
    /// The alarm; the last one there was, if it is over.
    #[serde(flatten)]
    pub alarm: Alarm,
    /// When it was raised.
    pub since: Micros,
}

/// An alarm that is raised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raised {
    /// The alarm as it is now.
    #[serde(flatten)]
    pub alarm: Alarm,
    /// When it was raised.
    pub since: Micros,
    /// When it was last told of.
    pub told_at: Micros,
}

/// The alarms that are raised, so that each is told of once.
#[derive(Clone, Debug, Default)]
pub struct AlarmBook {
    raised: BTreeMap<AlarmKind, Raised>,
}

impl AlarmBook {
    /// The book as an earlier process left it.
    pub fn of(raised: impl IntoIterator<Item = Raised>) -> AlarmBook {
        AlarmBook {
            raised: raised.into_iter().map(|r| (r.alarm.kind, r)).collect(),
        }
    }

    /// What is raised, in the order of [`AlarmKind`].
    pub fn raised(&self) -> Vec<Raised> {
        self.raised.values().cloned().collect()
    }

    /// Compares what is alarming `now` with what was, and gives what to tell. What stays critical is told again after `repeat`.
    pub fn update(&mut self, now: Micros, alarms: Vec<Alarm>, repeat: Duration) -> Vec<Notice> {
        let mut notices = Vec::new();
        let over: Vec<_> = self
            .raised
            .keys()
            .filter(|kind| !alarms.iter().any(|alarm| alarm.kind == **kind))
            .copied()
            .collect();
        for kind in over {
            if let Some(raised) = self.raised.remove(&kind) {
                notices.push(Notice {
                    event: Event::Cleared,
                    alarm: raised.alarm,
                    since: raised.since,
                });
            }
        }
        for alarm in alarms {
            notices.extend(self.take(now, alarm, repeat));
        }
        notices
    }

    fn take(&mut self, now: Micros, alarm: Alarm, repeat: Duration) -> Option<Notice> {
        let repeat = i64::try_from(repeat.as_micros()).unwrap_or(i64::MAX);
        let (event, since) = match self.raised.get_mut(&alarm.kind) {
            None => (Event::Raised, now),
            Some(known) if alarm.severity > known.alarm.severity => (Event::Escalated, known.since),
            // A warning is told once: nobody reads what comes every few hours.
            // Told in the future: the clock was set back, and would keep it quiet until then.
            Some(known)
                if alarm.severity == Severity::Critical
                    && (now < known.told_at || now.0.saturating_sub(known.told_at.0) >= repeat) =>
            {
                (Event::Repeated, known.since)
            }
            Some(known) => {
                known.alarm = alarm;
                return None;
            }
        };
        let raised = Raised {
            alarm: alarm.clone(),
            since,
            told_at: now,
        };
        self.raised.insert(alarm.kind, raised);
        Some(Notice {
            event,
            alarm,
            since,
        })
    }
}

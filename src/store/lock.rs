//! Locks: what a store itself keeps from being deleted, and until when.
//!
//! S3 calls it Object Lock, Cloud Storage object retention. A lock is set when an object is made, and can be made longer; the store
//! and nobody else enforces it. A legal hold has no end: it holds until somebody takes it off.

use crate::model::Micros;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// Who may end a lock before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMode {
    /// Whoever has a right of its own for that (S3: `s3:BypassGovernanceRetention`; Cloud Storage: mode `Unlocked`).
    Governance,
    /// Nobody, the account's owner included (Cloud Storage: mode `Locked`).
    Compliance,
}

impl std::str::FromStr for LockMode {
    type Err = String;

    fn from_str(text: &str) -> Result<LockMode, String> {
        match text {
            "governance" => Ok(LockMode::Governance),
            "compliance" => Ok(LockMode::Compliance),
            _ => Err(format!(
                "{text:?} is no mode of a lock; there are governance (who has the right may end it) and compliance (nobody may)"
            )),
        }
    }
}

impl fmt::Display for LockMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LockMode::Governance => "governance",
            LockMode::Compliance => "compliance",
        })
    }
}

/// A lock with an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lock {
    /// Who may end it before.
    pub mode: LockMode,
    /// When it ends.
    #[serde(serialize_with = "as_text")]
    pub until: Micros,
}

/// How long a store has had an object, and how long it keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Keeping {
    /// When it was made, by the store's clock; `None` where the store does not tell.
    #[serde(skip)]
    pub made_at: Option<Micros>,
    /// Its lock, if it has one, or had.
    pub lock: Option<Lock>,
    /// Whether it is on legal hold.
    pub legal_hold: bool,
}

impl Keeping {
    /// Whether it cannot be deleted at `now`.
    pub fn holds_at(&self, now: Micros) -> bool {
        self.legal_hold || self.lock.is_some_and(|lock| lock.until > now)
    }
}

impl fmt::Display for Keeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.lock, self.legal_hold) {
            (None, false) => f.write_str("not locked"),
            (None, true) => f.write_str("on legal hold"),
            (Some(lock), held) => {
                write!(f, "locked until {} ({})", lock.until, lock.mode)?;
                match held {
                    true => f.write_str(" and on legal hold"),
                    false => Ok(()),
                }
            }
        }
    }
}

/// What becomes of an object that is removed on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// It is not there any more.
    Gone,
    /// The store keeps it, for this reason.
    Kept(Keeping),
}

/// How new objects are protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// They are locked in this mode for so long.
    pub lock: Option<(LockMode, Duration)>,
    /// They are put on legal hold.
    pub legal_hold: bool,
}

impl Protection {
    /// Whether there is any.
    pub fn is_none(&self) -> bool {
        *self == Protection::default()
    }

    /// The lock of an object that is made at `now`.
    pub fn lock_at(&self, now: Micros) -> Option<Lock> {
        let (mode, time) = self.lock?;
        let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
        let until = Micros(now.0.saturating_add(micros));
        Some(Lock { mode, until })
    }
}

/// What of an object's protection is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retain {
    /// Its lock is this one from now on.
    pub lock: Option<Lock>,
    /// It is put on legal hold, or taken off.
    pub legal_hold: Option<bool>,
}

fn as_text<S: serde::Serializer>(time: &Micros, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_holds_until_its_end_and_a_legal_hold_for_ever() {
        let protection = Protection {
            lock: Some((LockMode::Governance, Duration::from_secs(60))),
            legal_hold: false,
        };
        let lock = protection.lock_at(Micros(5));
        let mut keeping = Keeping {
            lock,
            ..Keeping::default()
        };
        assert!(keeping.holds_at(Micros(60_000_004)));
        assert!(!keeping.holds_at(Micros(60_000_005)));
        keeping.legal_hold = true;
        assert!(keeping.holds_at(Micros(i64::MAX)));
        let text = keeping.to_string();
        assert!(
            text.starts_with("locked until 1970-01-01T00:01:00"),
            "{text}"
        );
        assert!(text.ends_with("(governance) and on legal hold"), "{text}");
        assert!(!Keeping::default().holds_at(Micros(0)));
        assert!(Protection::default().is_none() && !protection.is_none());
    }

    #[test]
    fn a_mode_is_one_of_two_words() {
        for mode in [LockMode::Governance, LockMode::Compliance] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("GOVERNANCE".parse::<LockMode>().is_err());
    }
}

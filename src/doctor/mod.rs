//! Looks at everything that reading and mounting need, and says what to change. Nothing is changed here, and nothing is
//! written but what a reader of the stream writes anyway: its index.
//!
//! Each check is one [`Check`]: what was found, how bad that is, and what to do. Judging is apart from looking, so that it can
//! be tested without a host that has the fault.

mod archive;
mod host;
mod mounted;
mod places;
mod store;

pub use archive::{Opened, archive};
pub use host::host;
pub use mounted::{Found, find, mounted};
pub use places::{cache, place};
pub use store::{Link, clock, link};

use serde::Serialize;
use std::time::Duration;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, and can be better.
    Note,
    /// Will hurt one day.
    Warning,
    /// Does not work.
    Failure,
}

impl Level {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Failure => "failure",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What, such as `kernel`.
    pub name: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What to do; empty if nothing.
    pub advice: String,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Check {
        Check {
            name,
            level: Level::Ok,
            found: found.into(),
            advice: String::new(),
        }
    }

    fn bad(
        level: Level,
        name: &'static str,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Check {
        Check {
            name,
            level,
            found: found.into(),
            advice: advice.into(),
        }
    }
}

/// The worst level among `checks`.
pub fn worst(checks: &[Check]) -> Level {
    let levels = checks.iter().map(|check| check.level);
    levels.max().unwrap_or(Level::Ok)
}

/// `1.2 ms`, `3.4 s`.
fn duration(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{:.1} ms", time.as_secs_f64() * 1e3)
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

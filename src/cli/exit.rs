//! Exit codes: the one table.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It did what was asked.
    Done,
    /// It failed.
    Failed,
    /// It was called wrongly.
    Usage,
    /// It worked, and found gaps, damage or an expiry that is near.
    Findings,
    /// The target cannot be recovered.
    NotRecoverable,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Findings => 3,
            Exit::NotRecoverable => 4,
        })
    }
}

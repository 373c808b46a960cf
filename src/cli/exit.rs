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

impl Exit {
    /// In the order of their codes.
    pub const ALL: [Exit; 5] = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::Findings,
        Exit::NotRecoverable,
    ];

    /// What the process ends with.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Findings => 3,
            Exit::NotRecoverable => 4,
        }
    }

    /// What that means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "Done.",
            Exit::Failed => "Failed; the message says what, why, and what to do next.",
            Exit::Usage => "Wrong usage.",
            Exit::Findings => {
                "It worked, and found holes, gaps, damage, an alarm, or a binlog that must not be purged."
            }
            Exit::NotRecoverable => {
                "What was asked for cannot be recovered; the nearest that can is told."
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

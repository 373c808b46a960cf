//! Why a mount did not come about, and with which exit code that is told: mount(8)'s, or those of `binlogfs mount`.

use crate::cli::exit::Exit;
use crate::fs::MountError;
use std::process::ExitCode;

/// The kinds of failures that mount(8) tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Called wrongly, or not permitted.
    Usage,
    /// The system lacks something: a process, a device, memory.
    System,
    /// A bug.
    Internal,
    /// A signal came before the mount was made.
    Interrupted,
    /// The mount cannot be made: the stream, the credentials, the key, the directory.
    Failed,
}

impl Kind {
    /// In the order of their codes.
    pub const ALL: [Kind; 5] = [
        Kind::Usage,
        Kind::System,
        Kind::Internal,
        Kind::Interrupted,
        Kind::Failed,
    ];

    /// The exit code of mount(8), section "EXIT STATUS".
    pub fn code(self) -> u8 {
        match self {
            Kind::Usage => 1,
            Kind::System => 2,
            Kind::Internal => 4,
            Kind::Interrupted => 8,
            Kind::Failed => 32,
        }
    }

    /// What the code means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Kind::Usage => {
                "Called wrongly: an unknown option, a wrong value; or not permitted to mount."
            }
            Kind::System => "The system lacks something: `/dev/fuse`, a process, memory.",
            Kind::Internal => "A bug; please report it.",
            Kind::Interrupted => "Interrupted before it was mounted; nothing is left.",
            Kind::Failed => {
                "It cannot be mounted: the stream, the credentials, the key, the directory; also `remount`."
            }
        }
    }

    /// The kind that a process of ours ended with. One that ended in another way has died.
    pub fn of_code(code: Option<i32>) -> Kind {
        let ours = |kind: &Kind| Some(i32::from(kind.code())) == code;
        Kind::ALL.into_iter().find(ours).unwrap_or(Kind::Internal)
    }
}

/// A mount that did not come about.
#[derive(Debug)]
pub struct Failure {
    /// Which kind.
    pub kind: Kind,
    /// Why, unless that was said where it was found out.
    pub error: Option<anyhow::Error>,
}

impl Failure {
    /// One that is still to be said.
    pub fn new(kind: Kind, error: impl Into<anyhow::Error>) -> Failure {
        Failure {
            kind,
            error: Some(error.into()),
        }
    }

    /// One that only words tell of.
    pub fn text(kind: Kind, text: impl Into<String>) -> Failure {
        Failure::new(kind, anyhow::Error::msg(text.into()))
    }

    /// One that was said already.
    pub fn said(kind: Kind) -> Failure {
        Failure { kind, error: None }
    }

    /// A signal came.
    pub fn interrupted() -> Failure {
        Failure::text(Kind::Interrupted, "interrupted; nothing is mounted")
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Failure {
        let kind = error.downcast_ref::<MountError>().map(of_mount_error);
        Failure::new(kind.unwrap_or(Kind::Failed), error)
    }
}

impl From<MountError> for Failure {
    fn from(error: MountError) -> Failure {
        Failure::new(of_mount_error(&error), error)
    }
}

fn of_mount_error(error: &MountError) -> Kind {
    match error {
        MountError::NotPermitted { .. } => Kind::Usage,
        MountError::System { .. } => Kind::System,
        MountError::Target { .. } | MountError::Covered { .. } | MountError::Stream { .. } => {
            Kind::Failed
        }
    }
}

/// What `binlogfs mount` ends with: the exit codes of all commands.
pub fn exit_of_command(outcome: Result<(), Kind>) -> ExitCode {
    match outcome {
        Ok(()) => Exit::Done.into(),
        Err(Kind::Usage) => Exit::Usage.into(),
        Err(Kind::System | Kind::Internal | Kind::Interrupted | Kind::Failed) => {
            Exit::Failed.into()
        }
    }
}

/// What `mount.binlogfs` ends with.
pub fn exit_of_helper(outcome: Result<(), Kind>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(kind) => ExitCode::from(kind.code()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_known_by_its_code_and_every_other_end_is_a_bug() {
        for kind in Kind::ALL {
            assert_eq!(Kind::of_code(Some(i32::from(kind.code()))), kind);
        }
        for other in [None, Some(0), Some(3), Some(101), Some(-1)] {
            assert_eq!(Kind::of_code(other), Kind::Internal);
        }
    }
}

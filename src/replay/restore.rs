//! A registered backup onto a scratch server.

use super::scratch::{Scratch, ScratchError, copy_dir};
use crate::backup::Tool;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a backup made by XtraBackup says once it can be started from.
const PREPARED: &str = "full-prepared";
/// How compressed dumps are read, by their extension.
const DECOMPRESSORS: [(&str, &str); 5] = [
    ("gz", "gzip"),
    ("zst", "zstd"),
    ("xz", "xz"),
    ("bz2", "bzip2"),
    ("lz4", "lz4"),
];

/// What restores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restore {
    /// What the tool that made the backup needs.
    ByTool,
    /// A shell command, beside an empty server that runs.
    Command(String),
    /// A shell command that makes the data directory, before the server is started.
    Files(String),
}

/// Why a backup was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The server.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// The backup's files.
    #[error("{}: {error}", .path.display())]
    Files {
        /// Where.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// XtraBackup's files are not consistent before that.
    #[error("{} is not prepared; run 'xtrabackup --prepare --target-dir=...' on a copy of it, and name that with --from", .0.display())]
    NotPrepared(PathBuf),
    /// There is no one way.
    #[error(
        "how a backup of {0} is restored is for you to say: --restore COMMAND, beside an empty server (BINLOGFS_SOCKET), or \
         --restore-files COMMAND, which makes BINLOGFS_DATADIR; the backup is BINLOGFS_BACKUP"
    )]
    NeedsCommand(&'static str),
    /// A program failed.
    #[error("{what} failed ({how})")]
    Failed {
        /// Which.
        what: String,
        /// How, and what it said.
        how: String,
    },
}

/// Restores the backup at `from`, and leaves the server running.
///
/// # Errors
/// [`RestoreError`].
pub fn restore(
    scratch: &mut Scratch,
    tool: Tool,
    from: &Path,
    how: &Restore,
    client: &Path,
) -> Result<(), RestoreError> {
    match (how, tool) {
        (Restore::Files(command), _) => shell(scratch, command, from)?,
        (Restore::Command(command), _) => {
            scratch.initialise()?;
            scratch.start()?;
            shell(scratch, command, from)?;
            scratch.stop();
        }
        (Restore::ByTool, Tool::Mysqldump) => {
            scratch.initialise()?;
            scratch.start()?;
            feed(scratch, from, client)?;
            // The dump may have replaced all accounts: the next start makes ours again.
            scratch.stop();
        }
        (Restore::ByTool, Tool::Xtrabackup | Tool::Clone) => {
            let checkpoints = std::fs::read_to_string(from.join("xtrabackup_checkpoints"));
            if tool == Tool::Xtrabackup && checkpoints.is_ok_and(|text| !text.contains(PREPARED)) {
                return Err(RestoreError::NotPrepared(from.to_owned()));
            }
            copy_dir(from, &scratch.datadir()).map_err(|error| RestoreError::Files {
                path: from.to_owned(),
                error,
            })?;
        }
        (Restore::ByTool, other) => return Err(RestoreError::NeedsCommand(other.name())),
    }
    Ok(scratch.start()?)
}

/// The dump through the client, in one session.
fn feed(scratch: &Scratch, from: &Path, client: &Path) -> Result<(), RestoreError> {
    let failed = |error| RestoreError::Files {
        path: from.to_owned(),
        error,
    };
    let file = File::open(from).map_err(failed)?;
    let extension = from.extension().and_then(|extension| extension.to_str());
    let decompressor = DECOMPRESSORS
        .iter()
        .find(|(name, _)| extension == Some(name));
    let mut command = Command::new(client);
    command
        .args(["--no-defaults", "--binary-mode", "--max-allowed-packet=1G"])
        .args(scratch.first_login());
    let Some((_, program)) = decompressor else {
        return run(command.stdin(file), "the mysql client");
    };
    let mut unpack = Command::new(program)
        .arg("-dc")
        .stdin(file)
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| RestoreError::Failed {
            what: (*program).to_owned(),
            how: error.to_string(),
        })?;
    let unpacked = unpack.stdout.take().expect("it is piped");
    let fed = run(command.stdin(unpacked), "the mysql client");
    let ended = unpack.wait().map_err(failed)?;
    fed?;
    match ended.success() {
        true => Ok(()),
        false => Err(RestoreError::Failed {
            what: (*program).to_owned(),
            how: ended.to_string(),
        }),
    }
}

fn shell(scratch: &Scratch, script: &str, from: &Path) -> Result<(), RestoreError> {
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .env("BINLOGFS_SOCKET", scratch.socket())
        .env("BINLOGFS_DATADIR", scratch.datadir())
        .env("BINLOGFS_BACKUP", from)
        .stdin(Stdio::null());
    run(&mut command, "the restore command")
}

fn run(command: &mut Command, what: &str) -> Result<(), RestoreError> {
    let output = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    let how = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("{}: {}", output.status, said.trim().replace('\n', "; "))
        }
        Err(error) => error.to_string(),
    };
    Err(RestoreError::Failed {
        what: what.to_owned(),
        how,
    })
}

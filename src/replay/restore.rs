//! A registered backup onto a scratch server.

use super::scratch::{Scratch, ScratchError, copy_dir};
use crate::backup::Tool;
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::sync::watch;

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

/// What a program says is kept up to this length.
const SAID_MAX: u64 = 4096;
/// How often a program is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Tells that somebody asked to stop.
type Stop = watch::Receiver<bool>;

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
    /// Somebody asked to stop.
    #[error("it was asked to stop")]
    Stopped,
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
    stop: &Stop,
) -> Result<(), RestoreError> {
    match (how, tool) {
        (Restore::Files(command), _) => shell(scratch, command, from, stop)?,
        (Restore::Command(command), _) => {
            scratch.initialise()?;
            scratch.start()?;
            shell(scratch, command, from, stop)?;
            scratch.stop();
        }
        (Restore::ByTool, Tool::Mysqldump) => {
            scratch.initialise()?;
            scratch.start()?;
            feed(scratch, from, client, stop)?;
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
fn feed(scratch: &Scratch, from: &Path, client: &Path, stop: &Stop) -> Result<(), RestoreError> {
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
        return run(command.stdin(file), "the mysql client", stop);
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
    let fed = run(command.stdin(unpacked), "the mysql client", stop);
    // It holds the pipe open, and the other end would wait for a reader for ever.
    drop(command);
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

fn shell(scratch: &Scratch, script: &str, from: &Path, stop: &Stop) -> Result<(), RestoreError> {
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .env("BINLOGFS_SOCKET", scratch.socket())
        .env("BINLOGFS_DATADIR", scratch.datadir())
        .env("BINLOGFS_BACKUP", from)
        .stdin(Stdio::null());
    run(&mut command, "the restore command", stop)
}

/// Runs a program to its end, or kills it, with all that it has started, when somebody asks to stop.
fn run(command: &mut Command, what: &str, stop: &Stop) -> Result<(), RestoreError> {
    let failed = |how: String| RestoreError::Failed {
        what: what.to_owned(),
        how,
    };
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // A shell's pipelines would go on without it, and write into a directory that is being removed.
        .process_group(0)
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    let mut from = child.stderr.take().expect("it is piped");
    let said = std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = from.by_ref().take(SAID_MAX).read_to_end(&mut said);
        let _ = io::copy(&mut from, &mut io::sink());
        said
    });
    let status = loop {
        if *stop.borrow() {
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.wait();
            return Err(RestoreError::Stopped);
        }
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => std::thread::sleep(LOOK_EVERY),
            Err(error) => return Err(failed(error.to_string())),
        }
    };
    if status.success() {
        return Ok(());
    }
    let said = said.join().unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    Err(failed(format!(
        "{status}: {}",
        said.trim().replace('\n', "; ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn what_a_restore_command_has_started_ends_with_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("started");
        let (ask, stop) = watch::channel(false);
        let script = format!("sleep 600 & echo $! > '{}'; wait", file.display());
        let running = std::thread::spawn(move || {
            let mut command = Command::new("sh");
            run(command.args(["-c", &script]), "the restore command", &stop)
        });
        let begun = Instant::now();
        let wait = || {
            assert!(begun.elapsed() < Duration::from_secs(60), "it takes long");
            std::thread::sleep(LOOK_EVERY);
        };
        let started: u32 = loop {
            let told = std::fs::read_to_string(&file).unwrap_or_default();
            match told.trim().parse() {
                Ok(pid) => break pid,
                Err(_) => wait(),
            }
        };
        ask.send_replace(true);
        let ended = running.join().expect("it does not panic");
        assert!(matches!(ended, Err(RestoreError::Stopped)), "{ended:?}");
        // Whoever has to ask how it ended may not have done so.
        let stat = format!("/proc/{started}/stat");
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            wait();
        }
    }
}

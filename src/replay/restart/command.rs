//! The administrator's command, run to its end.

use rustix::fs::MemfdFlags;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

/// The variable with the options. MySQL's unit for systemd gives it to mysqld ("Configuring systemd for MySQL" in its manual).
pub const MYSQLD_OPTS: &str = "MYSQLD_OPTS";
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The end of what it said is repeated, so much of it.
const SAID_MAX_BYTES: u64 = 2000;

/// A command that has ended.
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    /// The end of what it said, after a colon; empty if that is nothing.
    pub(super) said: String,
}

/// Runs it by a shell. What it starts keeps its output open, so that is a file and no pipe: nobody would see a pipe's end.
pub(super) async fn run(command: &str, options: &str) -> io::Result<Ended> {
    let output = File::from(rustix::fs::memfd_create(
        "binlogfs-restart",
        MemfdFlags::CLOEXEC,
    )?);
    let given = std::env::var(MYSQLD_OPTS).unwrap_or_default();
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env(MYSQLD_OPTS, format!("{given} {options}").trim())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .spawn()?;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None => tokio::time::sleep(LOOK_EVERY).await,
        }
    };
    Ok(Ended {
        status,
        said: end_of(output).unwrap_or_default(),
    })
}

fn end_of(mut output: File) -> io::Result<String> {
    let from = output.metadata()?.len().saturating_sub(SAID_MAX_BYTES);
    output.seek(SeekFrom::Start(from))?;
    let mut said = Vec::new();
    output.take(SAID_MAX_BYTES).read_to_end(&mut said)?;
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    Ok(match lines.is_empty() {
        true => String::new(),
        false => format!(": {}", lines.join("; ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_options_are_given_and_what_stays_behind_is_not_waited_for() {
        let ended = run(
            "echo \"got $MYSQLD_OPTS\"; sleep 600 & echo $!; exit 3",
            "--a=1 --b=2",
        )
        .await;
        let ended = ended.expect("runs");
        assert_eq!(ended.status.code(), Some(3));
        let (said, left) = ended.said.rsplit_once("; ").expect("two lines");
        assert_eq!(said, ": got --a=1 --b=2");
        let left = left.parse().ok().and_then(rustix::process::Pid::from_raw);
        let left = left.expect("a process");
        rustix::process::kill_process(left, rustix::process::Signal::KILL).expect("it lives");
        let silent = run("test -z \"$MYSQLD_OPTS\"", "").await.expect("runs");
        assert!(silent.status.success() && silent.said.is_empty());
    }
}

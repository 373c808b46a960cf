//! From mysqlbinlog to mysql, statement by statement.
//!
//! A write to a pipe that has room for all of it is done before a signal is looked at, SIGKILL included (pipe(7) promises it for 4 KiB; Linux
//! copies under the pipe's lock and sleeps only when it is full). So statements are written when there is room for them, and `mysql`
//! never gets the first half of one as its last. What is longer than a pipe can be is written in parts: within a transaction the
//! server rolls that back, and no DDL is that long.

use super::statements::Statements;
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions};
use std::io::{self, Read as _, Write as _};
use std::process::{ChildStdin, ChildStdout};
use std::time::Duration;

/// The largest pipe that every user may have (`/proc/sys/fs/pipe-max-size`).
const PIPE_BYTES: usize = 1 << 20;
/// As much is written at once, unless a statement is longer.
const BATCH_BYTES: usize = 64 << 10;
/// Read from mysqlbinlog at once.
const READ_BYTES: usize = 64 << 10;
/// Pages at both ends of what is in a pipe may be partly filled, and so may the one that is begun.
const SLACK_BYTES: usize = 3 * 4096;
/// How often a full pipe is looked at: nothing tells when it has room for more than a page.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Passes on what `from` says to `to`, the input of the process `reader`, until `from` ends.
///
/// Returns `to`, and what came last and is no whole statement.
///
/// # Errors
/// BrokenPipe when the reader has ended.
pub(super) fn pump(
    mut from: ChildStdout,
    to: ChildStdin,
    reader: Pid,
) -> io::Result<(ChildStdin, Vec<u8>)> {
    // Less room only means more waiting.
    let _ = rustix::pipe::fcntl_setpipe_size(&to, PIPE_BYTES);
    let mut pipe = Pipe {
        capacity: rustix::pipe::fcntl_getpipe_size(&to)?,
        to,
        reader,
    };
    let mut statements = Statements::default();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = match from.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if read == 0 {
            return Ok((pipe.to, statements.rest().to_vec()));
        }
        statements.push(&buffer[..read]);
        statements.drain(BATCH_BYTES, |whole| pipe.write(whole))?;
    }
}

struct Pipe {
    to: ChildStdin,
    capacity: usize,
    reader: Pid,
}

impl Pipe {
    fn write(&mut self, whole: &[u8]) -> io::Result<()> {
        if whole.len() + SLACK_BYTES > self.capacity {
            // Root may have more than others.
            if let Ok(larger) = rustix::pipe::fcntl_setpipe_size(&self.to, whole.len() * 2) {
                self.capacity = larger;
            }
        }
        if whole.len() + SLACK_BYTES <= self.capacity {
            while self.waiting()? + whole.len() + SLACK_BYTES > self.capacity {
                self.check_reader()?;
                std::thread::sleep(LOOK_EVERY);
            }
        }
        self.to.write_all(whole)
    }

    /// Bytes in the pipe.
    fn waiting(&self) -> io::Result<usize> {
        Ok(usize::try_from(rustix::io::ioctl_fionread(&self.to)?).unwrap_or(usize::MAX))
    }

    /// What a reader that has ended left in the pipe stays there.
    fn check_reader(&self) -> io::Result<()> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match rustix::process::waitid(WaitId::Pid(self.reader), look) {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(Errno::CHILD) => Err(io::ErrorKind::BrokenPipe.into()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn child(script: &str) -> std::process::Child {
        Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh")
    }

    #[test]
    fn everything_arrives_in_order_and_half_a_statement_is_kept_back() {
        let mut from = child("seq -f 'INSERT %g;' 100000; printf 'DROP TABLE a'");
        let mut to = child("cat | sha256sum");
        let pid = Pid::from_child(&to);
        let (input, rest) = pump(
            from.stdout.take().expect("piped"),
            to.stdin.take().expect("piped"),
            pid,
        )
        .expect("it goes through");
        drop(input);
        assert_eq!(rest, b"DROP TABLE a");
        let text: String = (1..=100_000).map(|n| format!("INSERT {n};\n")).collect();
        let wanted = crate::model::Sha256::of(text.as_bytes()).to_string();
        let output = to.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.starts_with(&wanted), "{said}");
        from.wait().expect("it ends");
    }

    #[test]
    fn a_reader_that_ends_is_noticed_also_when_the_pipe_is_full() {
        let mut from = child("while echo 'INSERT 1;'; do :; done 2>/dev/null");
        let mut to = child("exit 0");
        let pid = Pid::from_child(&to);
        let error = pump(
            from.stdout.take().expect("piped"),
            to.stdin.take().expect("piped"),
            pid,
        )
        .expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        to.wait().expect("it ends");
        from.wait().expect("it ends");
    }
}

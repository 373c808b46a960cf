//! The engine for every server: one mysqlbinlog, one mysql.
//!
//! One of each, because temporary tables and session variables live as long as the session. mysqlbinlog reads the plan's proven bytes from
//! its standard input, so nothing is staged. Both exit codes count. If anything fails, `mysql` is killed rather than told that its input has
//! ended: it would commit what it has, and execute half a statement. The server rolls back what was not committed.

use super::clients::Clients;
use super::pump::pump;
use super::{Progress, Target};
use crate::binlog::Flavour;
use crate::recover::{Plan, PlanError, Planner};
use crate::source::server::ServerError;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::io::{self, Read, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use tokio::sync::watch;

/// What a client says is kept up to this length: its first words name the cause.
const SAID_MAX: usize = 4096;

/// Why a replay through the pipe ended early.
#[derive(Debug, thiserror::Error)]
pub enum PipeError {
    /// The archive could not be read.
    #[error(transparent)]
    Archive(#[from] PlanError),
    /// The account of the target is not known.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// A client could not be run.
    #[error("cannot run {program}: {error}")]
    Spawn {
        /// Which.
        program: String,
        /// Why not.
        error: io::Error,
    },
    /// A client failed.
    #[error("{program} ended with {status}: {said}")]
    Client {
        /// Which.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        said: String,
    },
    /// Somebody asked to stop.
    #[error("it was asked to stop")]
    Stopped,
}

/// Replays `plan` to `target`.
///
/// # Errors
/// [`PipeError`]. What was committed stays.
pub async fn run(
    planner: &Planner,
    plan: &Plan,
    clients: &Clients,
    target: &Target,
    progress: &dyn Progress,
    mut stop: watch::Receiver<bool>,
) -> Result<(), PipeError> {
    let mut reader = spawn(reader_command(clients, plan))?;
    let mut client = match client_command(clients, target, plan.flavour).and_then(spawn) {
        Ok(client) => client,
        Err(error) => {
            end(&mut reader);
            return Err(error);
        }
    };
    let said = [listen(&mut reader), listen(&mut client)];
    let pids = [Pid::from_child(&reader), Pid::from_child(&client)];
    let output = reader.stdout.take().expect("it is piped");
    let input = client.stdin.take().expect("it is piped");
    let mut stopped = stop.clone();
    let pumping = tokio::task::spawn_blocking(move || pump(output, input, pids[1]));
    // Whatever waits for one of the two ends when they do. They are not waited for before that, so the numbers stay theirs.
    let killer = tokio::spawn(async move {
        if stop.wait_for(|stop| *stop).await.is_ok() {
            kill(&pids);
        }
    });

    // A store that does not answer is not waited for then.
    let fed = tokio::select! {
        fed = feed(planner, plan, &mut reader, progress) => fed,
        Ok(_) = stopped.wait_for(|stop| *stop) => Ok(()),
    };
    if fed.is_err() {
        kill(&pids);
    }
    let pumped = pumping
        .await
        .unwrap_or_else(|died| Err(io::Error::other(died)));
    // A client that ended early makes mysqlbinlog fail for want of a reader, and not the reverse.
    let client_ended_first = pumped.is_err();
    match (pumped, has_succeeded(pids[0])) {
        (Ok((mut input, rest)), Ok(true)) if fed.is_ok() => {
            // If that fails, the client has something to say.
            let _ = input.write_all(&rest);
        }
        _ => kill(&pids[1..]),
    }
    let _ = has_succeeded(pids[1]);
    killer.abort();
    let stopped = killer.await.is_ok();
    let (read, applied) = (reader.wait(), client.wait());

    let [reader_said, client_said] = said.map(|thread| thread.join().unwrap_or_default());
    if stopped {
        return Err(PipeError::Stopped);
    }
    fed?;
    let read = check(&clients.reader.display(), read, reader_said);
    let applied = check(&clients.client.display(), applied, client_said);
    match client_ended_first {
        true => applied.and(read),
        false => read.and(applied),
    }
}

fn reader_command(clients: &Clients, plan: &Plan) -> Command {
    let mut command = Command::new(&clients.reader);
    command.args(["--no-defaults", "--verify-binlog-checksum"]);
    if !plan.question.skip.is_empty() {
        command.arg(format!("--exclude-gtids={}", plan.question.skip));
    }
    command.arg("-").stdout(Stdio::piped());
    command
}

fn client_command(
    clients: &Clients,
    target: &Target,
    flavour: Flavour,
) -> Result<Command, PipeError> {
    let mut command = Command::new(&clients.client);
    target.login(flavour)?.apply(&mut command);
    command
        // A new session would have none of the old one's temporary tables, variables and GTID_NEXT.
        .args([
            "--binary-mode",
            "--max-allowed-packet=1G",
            "--skip-reconnect",
        ])
        .stdout(Stdio::null());
    Ok(command)
}

/// In a process group of its own: ^C is for us, and we end it in order.
fn spawn(mut command: Command) -> Result<Child, PipeError> {
    let child = command
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    child.map_err(|error| PipeError::Spawn {
        program: command.get_program().to_string_lossy().into_owned(),
        error,
    })
}

async fn feed(
    planner: &Planner,
    plan: &Plan,
    reader: &mut Child,
    progress: &dyn Progress,
) -> Result<(), PlanError> {
    let mut input = reader.stdin.take().expect("it is piped");
    let mut stream = planner.stream(plan);
    let mut done = 0;
    while let Some(bytes) = stream.next().await {
        let bytes = bytes?;
        // A reader that is gone says why itself.
        if tokio::task::block_in_place(|| input.write_all(&bytes)).is_err() {
            break;
        }
        done += bytes.len() as u64;
        progress.done(done);
    }
    Ok(())
}

/// Hears what a client says, to its end.
fn listen(child: &mut Child) -> std::thread::JoinHandle<String> {
    let mut from = child.stderr.take().expect("it is piped");
    std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = from.by_ref().take(SAID_MAX as u64).read_to_end(&mut said);
        let _ = io::copy(&mut from, &mut io::sink());
        String::from_utf8_lossy(&said).trim().replace('\n', "; ")
    })
}

fn kill(pids: &[Pid]) {
    for pid in pids {
        // It may have ended.
        let _ = kill_process(*pid, Signal::KILL);
    }
}

/// Waits for the end of a process, and leaves its number taken.
fn has_succeeded(pid: Pid) -> io::Result<bool> {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    let ended = tokio::task::block_in_place(|| {
        rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), look))
    })?;
    Ok(ended.is_some_and(|ended| ended.exit_status() == Some(0)))
}

fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

fn check(
    program: &dyn std::fmt::Display,
    status: io::Result<ExitStatus>,
    said: String,
) -> Result<(), PipeError> {
    let program = program.to_string();
    let status = status.map_err(|error| PipeError::Spawn {
        program: program.clone(),
        error,
    })?;
    match status.success() {
        true => Ok(()),
        false => Err(PipeError::Client {
            program,
            status,
            said: match said.is_empty() {
                true => "it said nothing".to_owned(),
                false => said,
            },
        }),
    }
}

//! A target that is ended and started again by its administrator's own command: with options of ours, and at the end without.
//!
//! # The protocol
//! 1. A [`RestartNote`] is durable before anything happens: which server, with which options, and what the variables in which these show
//!    were before.
//! 2. The command runs with the options in [`MYSQLD_OPTS`], in a process group of its own, and is never ended by us: whoever interrupts a
//!    recovery must not leave a server half-way down.
//! 3. The connection from before must be dead, the server that answers must be the same, and the variables what the options say.
//! 4. The replay.
//! 5. What the replay left, if it failed, is taken away, and the command runs again without options. The variables must not be those of the
//!    options any more; then the note is removed.
//!
//! | if we die | then |
//! |---|---|
//! | before 2 | the variables are what they were: the next run drops the note |
//! | in 2, or in 5 | the command goes on without us; the next run finds the server as before 2 or as between 3 and 5, or down, which it tells |
//! | between 3 and 5 | the variables are those of the options: the next run goes on with the replay, and does 5 |
//!
//! What is absent: a signal of ours to the server. How it is ended and started is for its administrator to say.

mod command;
mod log;
mod note;

pub use command::MYSQLD_OPTS;
pub use note::RestartNote;

use super::target::{Target, TargetFacts};
use crate::source::server::ServerError;
use log::ErrorLog;
use std::collections::BTreeMap;
use std::io;
use std::process::ExitStatus;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A server that was ended drops its connections before it is gone; a command that has ended has waited for that, or nearly.
const GONE_DEADLINE: Duration = Duration::from_secs(10);
/// A server may have to recover InnoDB's log before it answers.
const UP_DEADLINE: Duration = Duration::from_secs(600);
/// How often one that comes is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// How often it is said that it is waited for.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Why a target is not what it was to be after a restart.
#[derive(Debug, thiserror::Error)]
pub enum RestartError {
    /// The server does not answer a statement.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The command could not be run.
    #[error("the restart command cannot be run: {0}")]
    Run(io::Error),
    /// The command failed.
    #[error("the restart command ended with {status}{said}; {server}")]
    Command {
        /// How.
        status: ExitStatus,
        /// What it said.
        said: String,
        /// What has become of the server.
        server: String,
    },
    /// The command worked, and the server was not ended.
    #[error(
        "the restart command ended with 0, and the target was not restarted: a connection from before lives on. The command must end \
         the server, and start it again, before it ends itself"
    )]
    NotRestarted,
    /// The server does not come up.
    #[error("the target does not answer after its restart: {error}; {log}")]
    Down {
        /// What a client is told.
        error: ServerError,
        /// What the error log says.
        log: String,
    },
    /// It is another server.
    #[error("after the restart another server answers: {now}, and it was {was}")]
    Another {
        /// Who answers.
        now: String,
        /// Who was restarted.
        was: String,
    },
    /// Somebody asked to stop.
    #[error("it was asked to stop")]
    Stopped,
}

/// Runs `command` with `options` for mysqld, and waits until the server answers again.
///
/// # Errors
/// [`RestartError`].
pub async fn restart(
    target: &mut Target,
    facts: &TargetFacts,
    command: &str,
    options: &str,
    stop: &watch::Receiver<bool>,
) -> Result<(), RestartError> {
    let log = ErrorLog::of(facts);
    let ended = command::run(command, options)
        .await
        .map_err(RestartError::Run)?;
    if !ended.status.success() {
        let server = match target.reconnect().await {
            Ok(()) => "the target answers".to_owned(),
            Err(_) => format!("the target does not answer; {}", log.told()),
        };
        return Err(RestartError::Command {
            status: ended.status,
            said: ended.said,
            server,
        });
    }
    if !is_gone(target).await {
        return Err(RestartError::NotRestarted);
    }
    wait(target, &log, stop.clone()).await?;
    let now = target
        .connection()
        .value("SELECT @@GLOBAL.server_uuid")
        .await?;
    let was = facts.uuid.map(|uuid| uuid.to_string());
    match now == was {
        true => Ok(()),
        false => Err(RestartError::Another {
            now: now.unwrap_or_default(),
            was: was.unwrap_or_default(),
        }),
    }
}

/// Whether the server that the connection is to has ended.
async fn is_gone(target: &mut Target) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < GONE_DEADLINE {
        let asked = target.connection().run("DO 1");
        if !matches!(tokio::time::timeout(GONE_DEADLINE, asked).await, Ok(Ok(()))) {
            return true;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    false
}

/// Waits until the server answers, or says in its log that it will not.
async fn wait(
    target: &mut Target,
    log: &ErrorLog,
    mut stop: watch::Receiver<bool>,
) -> Result<(), RestartError> {
    let begun = Instant::now();
    let mut said = Instant::now();
    loop {
        let Err(error) = target.reconnect().await else {
            return Ok(());
        };
        if log.has_given_up() || begun.elapsed() > UP_DEADLINE {
            let log = log.told();
            return Err(RestartError::Down { error, log });
        }
        if said.elapsed() > SAY_EVERY {
            said = Instant::now();
            tracing::warn!(%error, "the target does not answer yet after its restart");
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            Ok(_) = stop.wait_for(|stop| *stop) => return Err(RestartError::Stopped),
        }
    }
}

/// Variables as they are now.
///
/// # Errors
/// [`ServerError`].
pub async fn variables(
    target: &mut Target,
    note: &RestartNote,
) -> Result<BTreeMap<String, String>, ServerError> {
    let names: Vec<&str> = note.with.keys().map(String::as_str).collect();
    let now = target.connection().variables(&names).await?;
    Ok(now.into_iter().collect())
}

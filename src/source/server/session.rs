//! One connection, one query at a time, none of them waited for beyond its deadline.
//!
//! A query runs on a task of its own that owns the connection. In time, the connection comes back for the next query.
//! Too late, it does not: the task keeps it until the server has answered, and closes it then. As long as the task lives,
//! the server has a thread for it, and no other query of the same [`Kind`] is sent.

use super::connect::connect;
use super::error::ServerError;
use super::options::{Place, ServerOptions};
use futures::future::BoxFuture;
use mysql_async::{Conn, Error};
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

/// A connection takes milliseconds; a server that needs more is overloaded, frozen or far away.
pub(super) const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// After an unanswered attempt to connect; doubled with each, up to [`REST_MAX`]. TCP attempts that are given up count
/// against `max_connect_errors` (100 by default), which locks the host out.
const REST_FIRST: Duration = Duration::from_secs(2);
/// A server that is back is noticed within a minute.
const REST_MAX: Duration = Duration::from_secs(60);
/// After this a query that was never answered is taken for lost: the server, or the network to it, is gone.
const ABANDONED_MAX: Duration = Duration::from_secs(600);
/// Locks that a backup holds are given up on before our deadline, so that the server's thread ends with us. The comments are
/// statements to MySQL since 5.7.8 and to MariaDB since 10.1 alone.
const SETTINGS: &str = "SET SESSION lock_wait_timeout = 3 /*!50708 , max_execution_time = 4000 */ /*M!100101 , max_statement_time = 4 */";

/// What a query waits for on the server: two of a kind would wait for the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Variables,
    Listing,
    Active,
    Replicas,
    Flush,
    Purge,
}

/// A question: how it is called in errors, and what it needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub kind: Kind,
    pub what: &'static str,
    pub privilege: &'static str,
    pub deadline: Duration,
}

/// The connection to one server.
pub(super) struct Session {
    options: ServerOptions,
    place: Place,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    conn: Option<Conn>,
    running: HashMap<Kind, Running>,
    /// Until when no connection is attempted, and how long the next rest is.
    rest: Option<(Instant, Duration)>,
}

/// A query that was sent. It is noted before it is waited for: whoever waits may be cancelled.
struct Running {
    since: Instant,
    connection_id: u32,
    task: JoinHandle<()>,
}

impl Session {
    pub(super) fn new(options: ServerOptions) -> Session {
        let place = options.place();
        Session {
            options,
            place,
            state: Mutex::default(),
        }
    }

    /// What messages call the server.
    pub(super) fn name(&self) -> String {
        self.place.to_string()
    }

    /// Runs `job` on the connection, within the deadline of `ask`.
    pub(super) async fn run<T, J>(&self, ask: Ask, job: J) -> Result<T, ServerError>
    where
        T: Send + 'static,
        J: for<'a> FnOnce(&'a mut Conn) -> BoxFuture<'a, Result<T, Error>> + Send + 'static,
    {
        let mut state = self.state.lock().await;
        self.check_not_waiting(&mut state, ask)?;
        let mut conn = self.connection(&mut state).await?;
        let connection_id = conn.id();
        let (send, receive) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            let result = job(&mut conn).await;
            // Nobody waits any more: the connection goes with its answer.
            let _ = send.send((conn, result));
        });
        let running = Running {
            since: Instant::now(),
            connection_id,
            task,
        };
        state.running.insert(ask.kind, running);
        let Ok(answer) = tokio::time::timeout(ask.deadline, receive).await else {
            return Err(ServerError::Timeout {
                server: self.name(),
                what: ask.what,
                deadline: ask.deadline,
                connection_id,
            });
        };
        state.running.remove(&ask.kind);
        match answer {
            Ok((conn, Ok(value))) => {
                state.conn = Some(conn);
                Ok(value)
            }
            Ok((_, Err(e))) => Err(ServerError::query(
                &self.name(),
                ask.what,
                ask.privilege,
                &e,
            )),
            Err(_) => Err(self.unexpected(ask, "the protocol library gave up on it")),
        }
    }

    pub(super) fn unexpected(&self, ask: Ask, reason: impl Into<String>) -> ServerError {
        ServerError::Unexpected {
            server: self.name(),
            what: ask.what,
            reason: reason.into(),
        }
    }

    /// No second query of a kind while the first has a thread on the server.
    fn check_not_waiting(&self, state: &mut State, ask: Ask) -> Result<(), ServerError> {
        state.running.retain(|_, running| {
            let lost = running.since.elapsed() > ABANDONED_MAX;
            if lost {
                running.task.abort();
            }
            !lost && !running.task.is_finished()
        });
        match state.running.get(&ask.kind) {
            None => Ok(()),
            Some(running) => Err(ServerError::StillWaiting {
                server: self.name(),
                what: ask.what,
                waiting: running.since.elapsed(),
                connection_id: running.connection_id,
            }),
        }
    }

    /// The connection of the last query if it still answers, else a new one.
    async fn connection(&self, state: &mut State) -> Result<Conn, ServerError> {
        if let Some(mut conn) = state.conn.take()
            && let Ok(Ok(())) = tokio::time::timeout(CONNECT_DEADLINE, ping(&mut conn)).await
        {
            return Ok(conn);
        }
        if let Some((until, _)) = state.rest
            && let Some(pause) = until.checked_duration_since(Instant::now())
        {
            return Err(ServerError::Resting {
                server: self.name(),
                pause,
            });
        }
        match tokio::time::timeout(CONNECT_DEADLINE, self.connect()).await {
            Ok(conn) => {
                state.rest = None;
                conn
            }
            Err(_) => {
                let pause = state
                    .rest
                    .map_or(REST_FIRST, |(_, pause)| (pause * 2).min(REST_MAX));
                state.rest = Some((Instant::now() + pause, pause));
                Err(ServerError::Connect {
                    server: self.name(),
                    reason: format!(
                        "it did not answer within {} s; it hangs, or the network to it does",
                        CONNECT_DEADLINE.as_secs()
                    ),
                })
            }
        }
    }

    async fn connect(&self) -> Result<Conn, ServerError> {
        let mut conn = connect(&self.options).await?;
        match mysql_async::prelude::Queryable::query_drop(&mut conn, SETTINGS).await {
            // A server too old for one of them works without.
            Ok(()) | Err(Error::Server(_)) => Ok(conn),
            Err(e) => Err(ServerError::connect(&self.name(), &e)),
        }
    }
}

async fn ping(conn: &mut Conn) -> Result<(), Error> {
    mysql_async::prelude::Queryable::ping(conn).await
}

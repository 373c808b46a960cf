//! What can be asked of a server, and the two orders it is given.

use super::error::{ServerError, is_unknown_statement};
use super::facts::{self, Identity, Replica, ServerFacts};
use super::listing::{self, ACTIVE, ActiveLog, DUMPS, FLUSH, LISTING, PURGE, REPLICA, ServerLog};
use super::options::ServerOptions;
use super::session::{Ask, Session};
use super::table::{Row, Table};
use crate::model::FileName;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Value};
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// In the words of MariaDB, which tells all its connections only when asked for ALL, of MySQL, and of MySQL before 8.0.22.
const REPLICA_STATUS: [&str; 3] = [
    "SHOW ALL SLAVES STATUS",
    "SHOW REPLICA STATUS",
    "SHOW SLAVE STATUS",
];

/// A server, asked over one connection that is made when it is needed.
pub struct Server {
    session: Session,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.session.name())
    }
}

impl Server {
    /// A server; nothing is connected yet.
    pub fn new(options: ServerOptions) -> Server {
        Server {
            session: Session::new(options),
        }
    }

    /// What messages call it: its socket, or host and port.
    pub fn name(&self) -> String {
        self.session.name()
    }

    /// What it is, and how it is set.
    ///
    /// # Errors
    /// When it cannot be reached or does not answer; not for what its version lacks or the account may not see.
    pub async fn facts(&self) -> Result<ServerFacts, ServerError> {
        let ask = facts::VARIABLES;
        let (variables, running) = self
            .session
            .run(ask, |conn| {
                Box::pin(async move {
                    let variables = variables(conn, &facts::NAMES).await?;
                    let running =
                        pairs(&table(conn, "SHOW GLOBAL STATUS LIKE 'Threads_running'").await?);
                    Ok((variables, running))
                })
            })
            .await?;
        let mut facts = ServerFacts::from_variables(&variables);
        facts.threads_running = running.values().find_map(|value| value.parse().ok());
        match self.replica().await {
            Ok(replica) => facts.replica = replica,
            Err(ServerError::Denied { .. }) => facts.replica_unknown = true,
            Err(e) => return Err(e),
        }
        Ok(facts)
    }

    /// Which server it is.
    ///
    /// # Errors
    /// When it cannot be reached or does not answer.
    pub async fn identity(&self) -> Result<Identity, ServerError> {
        let ask = facts::VARIABLES;
        let variables = self.session.run(ask, |conn| {
            Box::pin(async move { variables(conn, &facts::IDENTITY_NAMES).await })
        });
        Ok(facts::identity(&variables.await?))
    }

    /// SHOW BINARY LOGS: every binlog, oldest first; the last is the active one.
    ///
    /// # Errors
    /// Also [`ServerError::Timeout`] while a huge commit holds the locks.
    pub async fn binary_logs(&self) -> Result<Vec<ServerLog>, ServerError> {
        let table = self.table(LISTING, &["SHOW BINARY LOGS"]).await?;
        listing::server_logs(&table).map_err(|reason| self.session.unexpected(LISTING, reason))
    }

    /// The binlog that it writes.
    ///
    /// # Errors
    /// [`ServerError::NoBinlogs`] where it writes none; [`ServerError::Timeout`] while a huge commit holds the locks.
    pub async fn active_log(&self) -> Result<ActiveLog, ServerError> {
        let (status, position) = self
            .session
            .run(ACTIVE, |conn| {
                Box::pin(async move {
                    let words = ["SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"];
                    let status = first_known(conn, &words).await?;
                    // After the status: a transaction between the two only makes the set larger than the position says.
                    let position = variables(conn, &["gtid_binlog_pos"]).await?;
                    Ok((status, position))
                })
            })
            .await?;
        let position = position.get("gtid_binlog_pos").map(String::as_str);
        listing::active_log(&status, position)
            .map_err(|reason| self.session.unexpected(ACTIVE, reason))?
            .ok_or_else(|| ServerError::NoBinlogs {
                server: self.name(),
            })
    }

    /// FLUSH BINARY LOGS: closes the active binlog and begins another. **The server purges expired files by it.**
    ///
    /// # Errors
    /// After [`ServerError::Timeout`] it may still happen.
    pub async fn flush_binary_logs(&self) -> Result<(), ServerError> {
        // LOCAL keeps the statement itself out of the binlog.
        self.order(FLUSH, "FLUSH LOCAL BINARY LOGS".to_owned())
            .await
    }

    /// PURGE BINARY LOGS TO `name`: removes every binlog before it, on `expected` and on no other server. Returns the
    /// server's warnings: it keeps files that it or a connected replica still reads.
    ///
    /// # Errors
    /// After [`ServerError::Timeout`] it may still happen.
    pub async fn purge_to(
        &self,
        name: &FileName,
        expected: &Identity,
    ) -> Result<Vec<String>, ServerError> {
        let name = name.to_string();
        if name.contains(['\'', '"', '`', '\\']) {
            return Err(ServerError::UnsafeName(name));
        }
        let was = expected.clone();
        let done = self.session.run(PURGE, move |conn| {
            Box::pin(async move {
                // On the connection that purges: an address may lead to another server since.
                let now = facts::identity(&variables(conn, &facts::IDENTITY_NAMES).await?);
                if now != was {
                    return Ok(Err(now));
                }
                conn.query_drop(format!("PURGE BINARY LOGS TO '{name}'"))
                    .await?;
                let warnings = table(conn, "SHOW WARNINGS").await?;
                let messages = warnings.rows().filter_map(|row| row.get(&["Message"]));
                Ok(Ok(messages.map(str::to_owned).collect()))
            })
        });
        done.await?.map_err(|now| ServerError::AnotherServer {
            server: self.name(),
            was: expected.to_string(),
            now: now.to_string(),
        })
    }

    /// How many replicas and other readers of the binlog are connected.
    ///
    /// # Errors
    /// Also [`ServerError::Denied`]: without PROCESS an account sees its own connections only, and MySQL does not say so.
    pub async fn connected_readers(&self) -> Result<usize, ServerError> {
        let table = self.table(DUMPS, &["SHOW PROCESSLIST"]).await?;
        let reads = |command: &str| command.to_ascii_lowercase().starts_with("binlog dump");
        Ok(table
            .rows()
            .filter(|row| row.get(&["Command"]).is_some_and(reads))
            .count())
    }

    async fn replica(&self) -> Result<Option<Replica>, ServerError> {
        let table = self.table(REPLICA, &REPLICA_STATUS).await?;
        let channels = table.rows().count();
        let runs = |row: &Row<'_>, names: &[&str]| {
            row.get(names)
                .is_some_and(|s| s.eq_ignore_ascii_case("yes"))
        };
        let running = table
            .rows()
            .filter(|row| {
                runs(row, &["Replica_IO_Running", "Slave_IO_Running"])
                    && runs(row, &["Replica_SQL_Running", "Slave_SQL_Running"])
            })
            .count();
        let lag = table.rows().map(|row| {
            let behind = row.get(&["Seconds_Behind_Source", "Seconds_Behind_Master"])?;
            behind.parse().ok().map(Duration::from_secs)
        });
        // One channel that does not know makes the largest unknown.
        let lags: Option<Vec<Duration>> = lag.collect();
        Ok((channels > 0).then(|| Replica {
            running,
            channels,
            lag: lags.and_then(|lags| lags.into_iter().max()),
        }))
    }

    async fn table(&self, ask: Ask, words: &'static [&'static str]) -> Result<Table, ServerError> {
        self.session
            .run(ask, move |conn| {
                Box::pin(async move { first_known(conn, words).await })
            })
            .await
    }

    async fn order(&self, ask: Ask, statement: String) -> Result<(), ServerError> {
        self.session
            .run(ask, move |conn| {
                Box::pin(async move { conn.query_drop(statement).await })
            })
            .await
    }
}

/// The answer to the first of `words` that the server's version knows: each flavour renamed its statements at another time.
pub(super) async fn first_known(conn: &mut Conn, words: &[&str]) -> Result<Table, Error> {
    let mut words = words.iter();
    loop {
        let Some(statement) = words.next() else {
            return Ok(Table::new(Vec::new(), Vec::new()));
        };
        match table(conn, statement).await {
            Err(e) if is_unknown_statement(&e) && words.len() > 0 => {}
            result => return result,
        }
    }
}

/// Runs a query and takes its answer as text.
pub(super) async fn table(conn: &mut Conn, statement: &str) -> Result<Table, Error> {
    let mut result = conn.query_iter(statement).await?;
    let columns = result
        .columns_ref()
        .iter()
        .map(|column| column.name_str().into_owned())
        .collect();
    let rows: Vec<mysql_async::Row> = result.collect().await?;
    let text = |value: Value| match value {
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        // The text protocol knows only bytes and NULL.
        _ => None,
    };
    let rows = rows
        .into_iter()
        .map(|row| row.unwrap().into_iter().map(text).collect())
        .collect();
    Ok(Table::new(columns, rows))
}

/// Global variables by name. Those that this version does not have are left out.
pub(super) async fn variables(
    conn: &mut Conn,
    names: &[&str],
) -> Result<HashMap<String, String>, Error> {
    let list = names.join("', '");
    let statement = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ('{list}')");
    Ok(pairs(&table(conn, &statement).await?))
}

fn pairs(table: &Table) -> HashMap<String, String> {
    let pair = |row: Row<'_>| {
        let name = row.get(&["Variable_name"])?.to_ascii_lowercase();
        Some((name, row.get(&["Value"])?.to_owned()))
    };
    table.rows().filter_map(pair).collect()
}

//! A connection of its own, for a recovery: statements that the caller makes up, waited for as long as they take.
//!
//! The server that a recovery writes to serves nobody yet, so the manners of [`super::Server`] are not needed here.

use super::connect::connect;
use super::error::ServerError;
use super::options::ServerOptions;
use super::session::CONNECT_DEADLINE;
use super::table::Table;
use super::verbs;
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use std::collections::HashMap;

/// It is silent while others work, for hours.
const PATIENT: &str = "SET SESSION wait_timeout = 31536000";

/// A connection.
pub struct Connection {
    conn: Conn,
    server: String,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`ServerError::Connect`], also when the server does not answer within some seconds.
    pub async fn open(options: &ServerOptions) -> Result<Connection, ServerError> {
        let server = options.place().to_string();
        match tokio::time::timeout(CONNECT_DEADLINE, connect(options)).await {
            Ok(conn) => {
                let mut connection = Connection {
                    conn: conn?,
                    server,
                };
                connection.run(PATIENT).await?;
                Ok(connection)
            }
            Err(_) => Err(ServerError::Connect {
                reason: format!(
                    "it did not answer within {} s; it hangs, or the network to it does",
                    CONNECT_DEADLINE.as_secs()
                ),
                server,
            }),
        }
    }

    /// What messages call the server: its socket, or host and port.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The answer to a query.
    ///
    /// # Errors
    /// [`ServerError::Statement`].
    pub async fn rows(&mut self, query: &str) -> Result<Table, ServerError> {
        let answer = verbs::table(&mut self.conn, query).await;
        answer.map_err(|error| ServerError::statement(&self.server, query, &error))
    }

    /// The answer to the first of `queries` that the server's version knows.
    ///
    /// # Errors
    /// [`ServerError::Statement`].
    pub async fn first_known(&mut self, queries: &[&str]) -> Result<Table, ServerError> {
        let answer = verbs::first_known(&mut self.conn, queries).await;
        answer.map_err(|error| ServerError::statement(&self.server, queries[0], &error))
    }

    /// The first column of the first row; `None` if there is none, or it is NULL.
    ///
    /// # Errors
    /// [`ServerError::Statement`].
    pub async fn value(&mut self, query: &str) -> Result<Option<String>, ServerError> {
        let answer = self.rows(query).await?;
        Ok(answer.first().map(str::to_owned))
    }

    /// Global variables by name, without those that this version does not have. A value may be cut to 1024 characters.
    ///
    /// # Errors
    /// [`ServerError::Statement`].
    pub async fn variables(
        &mut self,
        names: &[&str],
    ) -> Result<HashMap<String, String>, ServerError> {
        let answer = verbs::variables(&mut self.conn, names).await;
        answer
            .map_err(|error| ServerError::statement(&self.server, "SHOW GLOBAL VARIABLES", &error))
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// [`ServerError::Statement`].
    pub async fn run(&mut self, statement: &str) -> Result<(), ServerError> {
        let done = self.conn.query_drop(statement).await;
        done.map_err(|error| ServerError::statement(&self.server, statement, &error))
    }
}

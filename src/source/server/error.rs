//! A server that did not answer as asked, and what to do. No text here holds a password.

use super::OptionsError;
use std::time::Duration;

/// MySQL's codes (Server Error Message Reference): denied for want of a privilege.
const DENIED: [u16; 3] = [1044, 1142, 1227];
/// The account does not exist, or its password is another.
const ACCESS_DENIED: [u16; 2] = [1045, 1698];
/// ER_PARSE_ERROR: a statement that this version does not have.
const SYNTAX: u16 = 1064;
/// ER_NO_BINARY_LOGGING.
const NO_BINARY_LOGGING: u16 = 1381;

/// As much of a statement is repeated.
const STATEMENT_CHARS: usize = 100;

/// What went wrong between us and the server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The options are not enough to connect.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// No connection.
    #[error("cannot connect to the MySQL server at {server}: {reason}")]
    Connect {
        /// Its socket, or host and port.
        server: String,
        /// Why not, and what to do.
        reason: String,
    },
    /// No answer to the attempt to connect a moment ago; it is left alone for a while.
    #[error("the MySQL server at {server} did not answer; it is asked again in {} s", .pause.as_secs() + 1)]
    Resting {
        /// Its socket, or host and port.
        server: String,
        /// For how long.
        pause: Duration,
    },
    /// A query was not answered in time.
    #[error(
        "the MySQL server at {server} did not answer {what} within {} s: a huge commit or a backup holds its locks, or it hangs. \
         Connection {connection_id} waits on; {what} is not sent again before that one has ended", .deadline.as_secs()
    )]
    Timeout {
        /// Its socket, or host and port.
        server: String,
        /// The statement.
        what: &'static str,
        /// The time it had.
        deadline: Duration,
        /// The server's number of the connection.
        connection_id: u32,
    },
    /// An earlier query of the kind is still not answered.
    #[error("the MySQL server at {server} has not answered {what} for {} s (connection {connection_id}); no second one is sent", .waiting.as_secs())]
    StillWaiting {
        /// Its socket, or host and port.
        server: String,
        /// The statement.
        what: &'static str,
        /// For how long.
        waiting: Duration,
        /// The server's number of the connection.
        connection_id: u32,
    },
    /// The account may not.
    #[error(
        "the MySQL server at {server} refuses {what}: {message}. Grant the account {privilege}"
    )]
    Denied {
        /// Its socket, or host and port.
        server: String,
        /// The statement.
        what: &'static str,
        /// The server's words.
        message: String,
        /// What it lacks.
        privilege: &'static str,
    },
    /// The server writes no binlogs.
    #[error(
        "the MySQL server at {server} writes no binlogs (log_bin is OFF): there is nothing to archive; set log_bin and restart it"
    )]
    NoBinlogs {
        /// Its socket, or host and port.
        server: String,
    },
    /// The server answered with an error.
    #[error("the MySQL server at {server} failed {what}: {message}")]
    Query {
        /// Its socket, or host and port.
        server: String,
        /// The statement.
        what: &'static str,
        /// Its code and words.
        message: String,
    },
    /// The server answered a statement of a recovery with an error.
    #[error("the MySQL server at {server} failed {statement}: {message}")]
    Statement {
        /// Its socket, or host and port.
        server: String,
        /// The statement's beginning.
        statement: String,
        /// Its code and words.
        message: String,
        /// Its code, if the server answered at all.
        code: Option<u16>,
    },
    /// The answer is none we know.
    #[error("the MySQL server at {server} answered {what} with something unexpected: {reason}")]
    Unexpected {
        /// Its socket, or host and port.
        server: String,
        /// The statement.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The server behind the connection is not the one that was looked at.
    #[error("another server answers at {server} now ({now}, it was {was}); nothing was done there")]
    AnotherServer {
        /// Its socket, or host and port.
        server: String,
        /// Who it was.
        was: String,
        /// Who it is.
        now: String,
    },
    /// A file name that is not put into a statement.
    #[error(
        "the file name {0:?} holds a quote or a backslash and is not put into a statement; purge it by hand"
    )]
    UnsafeName(String),
}

impl ServerError {
    /// What the library says of a failed connect.
    pub(super) fn connect(server: &str, error: &mysql_async::Error) -> ServerError {
        use mysql_async::{DriverError, Error, IoError};
        let hint = match error {
            Error::Server(e) if ACCESS_DENIED.contains(&e.code) => {
                "; check user and password (option file or BINLOGFS_MYSQL_PASSWORD), and the host the account is for"
            }
            error if is_tls(error) => {
                "; check ssl-mode and ssl-ca, and that the certificate names this host"
            }
            Error::Driver(DriverError::NoClientSslFlagFromServer) => {
                "; the server has no TLS: use its socket, or say ssl-mode=DISABLED if the network is trusted"
            }
            Error::Io(IoError::Io(_)) => "; check that it runs, and the socket or host and port",
            _ => "",
        };
        ServerError::Connect {
            server: server.to_owned(),
            reason: format!("{}{hint}", words(error)),
        }
    }

    /// What the library says of a statement that failed.
    pub(super) fn statement(
        server: &str,
        statement: &str,
        error: &mysql_async::Error,
    ) -> ServerError {
        ServerError::Statement {
            server: server.to_owned(),
            statement: statement.chars().take(STATEMENT_CHARS).collect(),
            message: words(error),
            code: code(error),
        }
    }

    /// What the library says of a failed query, with the privilege that it needs.
    pub(super) fn query(
        server: &str,
        what: &'static str,
        privilege: &'static str,
        error: &mysql_async::Error,
    ) -> ServerError {
        let (server, message) = (server.to_owned(), words(error));
        match code(error) {
            Some(code) if DENIED.contains(&code) => ServerError::Denied {
                server,
                what,
                message,
                privilege,
            },
            Some(NO_BINARY_LOGGING) => ServerError::NoBinlogs { server },
            _ => ServerError::Query {
                server,
                what,
                message,
            },
        }
    }
}

/// Whether TLS failed. Inside the handshake the library tells that as an error of the network.
fn is_tls(error: &mysql_async::Error) -> bool {
    match error {
        mysql_async::Error::Io(mysql_async::IoError::Tls(_)) => true,
        mysql_async::Error::Io(mysql_async::IoError::Io(e)) => {
            e.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
        }
        _ => false,
    }
}

/// The server's code of an error, if the error is the server's.
fn code(error: &mysql_async::Error) -> Option<u16> {
    match error {
        mysql_async::Error::Server(e) => Some(e.code),
        _ => None,
    }
}

/// Whether this version of the server does not have the statement.
pub(super) fn is_unknown_statement(error: &mysql_async::Error) -> bool {
    code(error) == Some(SYNTAX)
}

/// The error in the server's own words, without the library's quotes around them.
fn words(error: &mysql_async::Error) -> String {
    match error {
        mysql_async::Error::Server(e) => format!("{} (error {})", e.message, e.code),
        mysql_async::Error::Io(mysql_async::IoError::Io(e)) => e.to_string(),
        other => other.to_string(),
    }
}

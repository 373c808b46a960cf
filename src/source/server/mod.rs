//! The server whose binlogs are archived, asked over its own protocol: what it is, what it lists, and a few orders.
//!
//! # Manners
//! One connection, one query at a time, each with a deadline: SHOW BINARY LOGS and its like take the server's binlog
//! locks and wait behind a huge commit. Nothing is ever written to the server but FLUSH BINARY LOGS and PURGE BINARY
//! LOGS, which a caller has to ask for by name. (A [`Connection`] is something else: it is for a server that is recovered.)
//!
//! # A query that is not answered in time
//! Its thread on the server goes on waiting, whatever the client does. So the caller gets an error at the deadline, the
//! connection is left to the query alone and closed when the server has answered it, and until then no query of the same
//! kind is sent (`session.rs`). Threads therefore never pile up, and no answer is ever taken for that of another query.
//!
//! # What is kept secret
//! The password: it is in [`ServerOptions`], which prints none, and in no error. The options of the protocol's library print it,
//! so no connection of it is ever formatted.

mod client;
mod connect;
mod connection;
pub mod cross_check;
pub mod danger;
mod defaults_file;
mod dsn;
mod error;
pub mod facts;
pub mod listing;
mod options;
pub mod rotation;
mod session;
mod table;
mod verbs;

pub use client::ClientLogin;
pub use connection::Connection;
pub use cross_check::{Mismatch, cross_check, persistent};
pub use danger::{Danger, Expiry, expiry, worthless};
pub use error::ServerError;
pub use facts::{Identity, Replica, ServerFacts};
pub use listing::{ActiveLog, ServerLog};
pub use options::{OptionsError, Password, ServerOptions, TlsMode};
pub use rotation::{ActiveFile, Rotation, has_something_to_save, rotation_due};
pub use table::{Row, Table};
pub use verbs::Server;

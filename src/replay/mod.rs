//! Recovery done: a plan applied to a server.
//!
//! # Two engines
//! [`pipe`] streams the plan's bytes into one mysqlbinlog and that one's output into one mysql: any server, on any host, one
//! transaction at a time. [`relay`] mounts the archive and lets the server's own applier read the files as relay logs, with as many
//! workers as it has: a MySQL server on this host, with GTIDs.
//!
//! # What is looked at first
//! [`prepare()`] connects, makes the plan from what the server *has* (so that a run that was killed goes on where it was), and refuses
//! what would go wrong, or would go right and be something else: [`Unfit`]. Nothing is written before that. At the end
//! `gtid_executed` is compared with the plan ([`compare`]).
//!
//! # What a kill leaves
//! With GTIDs: what was applied, and nothing else. What the engines do at any moment is said in their own files. Without GTIDs nobody can
//! tell what was applied, so a note ([`notes`]) is kept until the end, and a second run refuses.

mod checksums;
mod choice;
mod clients;
mod compare;
mod engine;
mod leftovers;
pub mod notes;
mod only;
pub mod pipe;
mod prepare;
mod pump;
pub mod relay;
pub mod restart;
pub mod restore;
pub mod scratch;
mod start_options;
mod statements;
mod target;
mod unfit;

pub use checksums::{ChecksumError, checksums};
pub use clients::{ClientError, Clients};
pub use compare::{Compared, compare};
pub use engine::{Engine, EngineChoice};
pub use only::TablePattern;
pub use prepare::{Base, NotReady, Ready, Request, check_pipe, prepare};
pub use start_options::{ApplierSettings, Restart, StartOption, command_line};
pub use target::{Target, TargetFacts};
pub use unfit::{Unfit, UnfitKind};

/// Hears how far a replay is.
pub trait Progress: Send + Sync {
    /// So much of the whole is done. The unit is the engine's: bytes of binlog, or transactions.
    fn done(&self, done: u64);
}

//! One process that looks after streams for years: when it archives, what it tells of it, and whom.
//!
//! # One stream
//! ```text
//!            ┌── inotify, or the poll interval, or the end of a pause
//!            ▼
//!  look: files, backlog, server (sight) ── decide ──► sync::archive_again ──► health ──► alarms ──► hooks
//!            ▲                          (schedule)                            │
//!            └────────────────────────────────────────────────────────────────┴──► health.json, /metrics, log
//! ```
//! Each stream has a task, a state directory, a circuit breaker and limits of its own; one that fails delays no other, and what
//! they share is divided fairly between tenants ([`crate::sync::share`]). [`stream`]
//! is the shell that looks and waits; what is decided is pure: [`schedule`] when to run, [`alarm`] what is alarming.
//!
//! # Failures
//! | what fails | what happens |
//! |---|---|
//! | a call to the store | tried again with jitter and a budget ([`crate::store::retry`]) |
//! | calls in a row | the circuit breaker opens ([`crate::store::breaker`]); alarm `store_down`; tried again after growing pauses |
//! | a run, for another reason | the next one after a growing pause; alarm `run_failing` after the third |
//! | a run, because of one file, for ten minutes | the file is put aside ([`crate::sync::dead_letter`]); alarm `dead_letter`; what follows is archived |
//! | a file that the server has encrypted | what is before it is archived, and the run has failed; it is never put aside |
//! | the server does not answer | archiving goes on from its files; alarm `server_unreachable`; nothing is rotated; what was alarming of its settings stays so |
//! | a replica | it falls behind; alarm `replica`; the archiver goes on ([`replicas`]) |
//! | a hook | tried again for ten minutes, then only logged |
//! | this process | the next one finds out everything anew; `health.json` keeps it from telling the same alarms again |
//! | a stream's task, or it hangs | `/healthz` says so, and systemd's watchdog ends the process |
//!
//! A run may last for hours. Meanwhile the stream is looked at as before (`survey`): alarms are raised, limits fall when danger
//! comes, and no further file is begun when the moment is no longer a good one.
//!
//! Nothing gives up for good, and nothing is skipped without a record and an alarm.

mod account;
pub mod alarm;
pub mod alive;
pub mod disk;
pub mod endpoint;
pub mod health;
pub mod hooks;
pub mod metrics;
pub mod mysql;
pub mod nice;
pub mod replicas;
pub mod roster;
mod rotation;
pub mod schedule;
pub mod service;
pub mod sight;
pub mod stream;
mod survey;
pub mod wake;

pub use crate::sync::{Clock, system_clock};

//! The archiver as a daemon: it archives what a server closes, says how it is, raises alarms, and ends when it is asked to.

pub mod daemon;
mod dead_letters;
mod expiry;
mod full_disk;
mod hooks;
mod live;
mod long_run;
pub mod manners;
pub mod outage;
mod rolling;
mod unarchived;
mod unknown;

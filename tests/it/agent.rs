//! The archiver as a daemon: it archives what a server closes, says how it is, raises alarms, and ends when it is asked to.

mod daemon;
mod dead_letters;
mod hooks;
mod live;
mod outage;

//! binlogfs archives MySQL binary logs to object storage and mounts their whole history as a directory.

pub mod binlog;
pub mod cache;
pub mod cli;
pub mod fs;
pub mod index;
pub mod ledger;
pub mod model;
pub mod segment;
pub mod source;
pub mod store;
pub mod stream;
pub mod sync;
pub mod telemetry;

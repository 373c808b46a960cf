#![doc = include_str!("SEMANTICS.md")]
//!
//! # The code
//!
//! `kernel → fuse (call and reply) → front → view → tree (names, inodes) over history (a snapshot)`, and for bytes
//! `view → cache → store`. `prepare` checks what is to be mounted, [`mounting`] makes and takes away the mount, [`handle`] keeps it
//! running.

mod attributes;
mod changes;
mod chunk;
mod deadline;
pub mod errno;
mod failures;
pub mod forest;
pub mod front;
mod fuse;
mod fusermount;
pub mod handle;
mod hidden;
pub mod history;
mod local;
mod located;
pub mod made;
pub mod mountinfo;
pub mod mounting;
mod open_files;
mod order;
mod pages;
mod part;
mod prepare;
pub mod read_ahead;
mod recall;
mod refresh;
pub mod source;
mod status;
mod stream_source;
#[cfg(test)]
mod testing;
pub mod tree;
mod unloaded;
pub mod view;
mod views;
pub mod xattr;

pub use chunk::{Chunk, Load, Outline, Slot};
pub use forest::{Forest, Grove, OpenIndex, StoreGrove};
pub use handle::MountHandle;
pub use history::{History, HistoryRow};
pub use local::LocalFiles;
pub use mounting::{MountError, MountOptions, check_target};
pub use prepare::{Options, Prepared, mount, mount_forest, prepare, prepare_forest, prepare_with};
pub use refresh::MountStatus;
pub use source::{HistorySource, Refreshed, SourceError};
pub use stream_source::StreamSource;
pub use tree::Ownership;

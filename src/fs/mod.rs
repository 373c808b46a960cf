#![doc = include_str!("SEMANTICS.md")]
//!
//! # The code
//!
//! `kernel → fuse (call and reply) → view → tree (names, inodes) over history (a snapshot)`, and for bytes
//! `view → cache → store`. [`mounting`] makes and takes away the mount; [`handle`] keeps it running.

pub mod errno;
mod fuse;
pub mod handle;
pub mod history;
pub mod mountinfo;
pub mod mounting;
pub mod source;
mod stream_source;
pub mod tree;
pub mod view;
pub mod xattr;

pub use handle::{MountHandle, MountStatus, Options, mount};
pub use history::{History, HistoryRow};
pub use mounting::{MountError, MountOptions};
pub use source::{HistorySource, Refreshed, SourceError};
pub use stream_source::StreamSource;
pub use tree::Ownership;

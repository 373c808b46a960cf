#![doc = include_str!("FORMAT.md")]

mod coordinates;
mod record;
mod registry;

pub use coordinates::{Coordinates, Tool};
pub use record::{BACKUPS_PREFIX, Backup, BackupId, FORMAT, ParseIdError, RecordError};
pub use registry::{Registered, RegistryError, Unreadable, add, backups, remove};

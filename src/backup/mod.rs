#![doc = include_str!("FORMAT.md")]

mod check;
mod coordinates;
mod exact;
mod metadata;
mod needs;
mod place;
mod record;
mod registry;
mod relation;
mod window;

pub use check::check;
pub use coordinates::{Coordinates, Tool};
pub use exact::exact;
pub use metadata::{MetadataError, read};
pub use needs::{Need, needs};
pub use place::entry_of_position;
pub use record::{BACKUPS_PREFIX, Backup, BackupId, FORMAT, ParseIdError, RecordError};
pub use registry::{Registered, RegistryError, Unreadable, add, backups, remove, taken_off};
pub use window::{
    Recoverable, Unusable, UnusableKind, Verdict, Window, WindowEnd, WindowStart, recoverable,
};

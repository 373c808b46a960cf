//! Importing: a pile of binlogs that is there already, into a stream, exactly once and in the order of what the files hold.
//!
//! # One run
//! 1. [`survey()`]: every file of the [`Pile`] is read once, decompressed on the way. What is no binlog is named and left.
//! 2. [`order()`]: pure. Copies are dropped, each file gets the name its server gave it, and the files are put into
//!    numberings ("lives") by their GTIDs, ROTATE events, numbers and times. Nothing here believes in paths or dates of
//!    files, but where nothing else tells.
//! 3. [`compare()`]: what the stream has is skipped. What would have to stand before something that it has is refused: a
//!    ledger grows at its end only.
//! 4. [`run()`]: one life after the other goes through the machinery of the archiver (see [`super`]): the same journal,
//!    placing, records, order and resumption. The second reading must give the SHA-256 of the first.
//!
//! Nothing is staged on disk: what is read is decompressed, scanned, compressed and sent in one pass.
//!
//! # Crashes
//! As of the archiver. A run that was killed is repeated: it reads the pile again, finds what is archived, and goes on
//! behind it. Nothing but the ledger remembers how far it came.
//!
//! # The archiver afterwards
//! It finds what it lists in the ledger by head and number, and goes on behind the last: nothing tells it that the rest
//! was imported. The newest file of the pile is therefore left to it, unless it ends in ROTATE or STOP: what a server
//! still writes would be archived short, and the whole file would be refused later as a changed one.

mod compression;
mod copies;
mod found;
mod lives;
mod names;
mod object_reader;
mod order;
mod pile;
mod pile_origin;
mod place_in_stream;
mod run;
mod survey;

pub use compression::Compression;
pub use copies::may_be_beginnings;
pub use found::{Findings, Found, Left};
pub use order::{Dropped, Life, Order, OrderError, Placed, Wanted, Why, order};
pub use pile::{Item, Pile, overlap};
pub use place_in_stream::{Compared, TooOld, compare};
pub use run::{Imported, Job, run};
pub use survey::{Unwatched, Watch, is_beginning, survey};

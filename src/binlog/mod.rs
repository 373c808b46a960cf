//! The server's binary log format, read-only and pure: bytes in, facts out.
//!
//! A file is the magic `FE 62 69 6E` and then events, back to back. Every event has a header of 19 bytes with its size,
//! so that unknown ones are skipped; its `log_pos` repeats where it ends, modulo 2^32; most files have a CRC-32 after
//! each event. The first event, the format description, says which. [`Scanner`] takes the file in pieces of any size and
//! never holds more of an event than its meaning needs: an event may be a gigabyte.
//!
//! What is checked of every event: its size, that `log_pos` is where it ends, its checksum, and, of those that are
//! read, that they can be. The first event that fails is [`Damage`]; nothing behind it is believed, and its bytes are
//! only counted. A torn last event is no damage if the IN_USE flag is set and neither ROTATE nor STOP stands before it:
//! that is what a crash leaves. What cannot be seen: without checksums, a change inside an event; in a file without ROTATE and STOP, what is
//! missing after its last event, because only the successor's head can tell.
//!
//! `log_pos` of 0 is believed of MariaDB only, which since 11.4 leaves it out inside event groups.
//!
//! Shown against servers by tests: MySQL 9.7, MariaDB 10.11. By the book: MySQL 5.0 to 8.4, Percona Server, MariaDB 5.3
//! to 12.
//! Layouts are those of `libs/mysql/binlog/event` and `sql/log_event.cc` in MySQL's source, `sql/log_event.h` in MariaDB's.

mod compressed_query;
mod facts;
mod findings;
mod format;
mod format_event;
mod framer;
mod group;
mod gtid_event;
mod gtid_list;
mod head;
mod header;
mod index_builder;
mod interpret;
pub mod kind;
mod payload;
mod query;
mod refusal;
mod scanner;
mod summary;
#[doc(hidden)]
pub mod testing;
#[cfg(test)]
mod tests;
mod times;
mod varint;

pub use findings::{DDL_MAX, DDL_TOTAL_MAX_BYTES, TABLES_MAX};
pub use format_event::FormatEvent;
pub use head::{Head, HeadProbe, probe_head};
pub use header::{
    EventHeader, EventRef, FLAG_ARTIFICIAL, FLAG_IN_USE, FLAG_RELAY_LOG, HEADER_BYTES,
};
pub use index_builder::{POINT_SOURCES_MAX, POINT_SPACING_BYTES, POINTS_MAX};
pub use query::SQL_MAX_BYTES;
pub use refusal::Refusal;
pub use scanner::{Scanner, Sink, scan_reader};
pub use summary::{
    ChecksumAlgorithm, Damage, DdlStatement, Ending, Flavour, Point, SegmentIndex, Summary, Told,
    Transaction,
};

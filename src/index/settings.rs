//! How a connection to an index is set: how long it waits, and for what.

use rusqlite::Connection;
use std::time::Duration;

/// How long to wait for another process's transaction: a batch takes milliseconds, a checkpoint on a slow disk longer.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(30);
/// Page cache of the connection, in KiB: holds the upper levels of all indexes at a million segments.
const CACHE_KIB: i64 = 16 << 10;
/// The log of writes is cut back to this size, in bytes, after a checkpoint.
pub(super) const JOURNAL_MAX_BYTES: i64 = 16 << 20;
/// Size of a page of the database, in bytes. The write-ahead log takes two writes for each, and taking in a million records writes
/// 300 000 pages of 4 KiB: with 8 KiB it is half as many writes. With 16 KiB it was no faster, and took 30 MB more of memory.
pub(super) const PAGE_BYTES: i64 = 8 << 10;
/// The log of writes is checkpointed when it has this many pages, 32 MiB: each time the disk is waited for twice, and taking in a
/// million records writes a gigabyte.
pub(super) const CHECKPOINT_PAGES: i64 = (32 << 20) / PAGE_BYTES;

/// Turns on the write-ahead log. SQLite does not wait for other connections here, so this does.
pub(super) fn use_wal(conn: &Connection) -> rusqlite::Result<()> {
    let end = std::time::Instant::now() + BUSY_TIMEOUT;
    loop {
        match conn.pragma_update(None, "journal_mode", "wal") {
            Err(e)
                if e.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
                    && std::time::Instant::now() < end =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(e) => return Err(e),
            Ok(()) => break,
        }
    }
    limit_log(conn, CHECKPOINT_PAGES, JOURNAL_MAX_BYTES)
}

/// Has a connection make a checkpoint when the log has `pages`, and cut it back to `bytes` after one; -1 is never.
pub(super) fn limit_log(conn: &Connection, pages: i64, bytes: i64) -> rusqlite::Result<()> {
    conn.pragma_update(None, "wal_autocheckpoint", pages)?;
    conn.pragma_update(None, "journal_size_limit", bytes)
}

/// What all connections have in common.
pub(super) fn set(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    wait_for_disk(conn, true)?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.set_prepared_statement_cache_capacity(64);
    Ok(())
}

/// Whether checkpoints of a connection wait for the disk: without that, a power cut leaves anything.
pub(super) fn wait_for_disk(conn: &Connection, wait: bool) -> rusqlite::Result<()> {
    // Derived data: after a power cut an older state is as good as the newest.
    let how = if wait { "normal" } else { "off" };
    conn.pragma_update(None, "synchronous", how)
}

//! Checkpoints of the write-ahead log beside the writer, while a long history is taken in.
//!
//! A checkpoint waits for the disk: first for the log, then for the pages that it copied into the database. The writer would do
//! nothing meanwhile, thirty times in a first mount of a million segments. SQLite lets others checkpoint what is committed while it
//! goes on; it makes one itself only if the log has become too long all the same ([`WRITER_PAGES`]), and finds little left to do.

use super::schema;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Ledger pages between two checkpoints: each writes about a megabyte to the log.
#[cfg(not(test))]
const EVERY: u32 = 24;
/// In unit tests, so that their short histories have some.
#[cfg(test)]
const EVERY: u32 = 2;
/// Pages in the log at which the writer makes a checkpoint itself, 96 MiB: the log begins anew only after one that left nothing, and
/// there is none while it is written to.
const WRITER_PAGES: i64 = (96 << 20) / schema::PAGE_BYTES;

/// Counts ledger pages, and has the log checkpointed now and then.
#[derive(Default)]
pub(super) struct Checkpoints {
    pages: u32,
    beside: Option<Beside>,
}

/// The thread.
struct Beside {
    /// Taken when it shall end.
    due: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    /// A ledger page was written to the index at `path` through `writer`.
    pub(super) fn page_written(&mut self, writer: &Connection, path: &Path) {
        self.pages += 1;
        if self.pages < EVERY {
            return;
        }
        self.pages = 0;
        let beside = match &self.beside {
            Some(beside) => beside,
            None => match Beside::start(writer, path) {
                Ok(beside) => self.beside.insert(beside),
                Err(error) => return tracing::debug!(%error, "checkpoints are the writer's own"),
            },
        };
        if let Some(due) = &beside.due {
            // Full: one is due already.
            let _ = due.try_send(());
        }
    }
}

impl Beside {
    fn start(writer: &Connection, path: &Path) -> std::io::Result<Beside> {
        let (due, asked) = sync_channel(1);
        let path = path.to_owned();
        let thread = std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || run(path, &asked))?;
        if let Err(error) = writer.pragma_update(None, "wal_autocheckpoint", WRITER_PAGES) {
            tracing::debug!(%error, "the writer makes checkpoints as often as before");
        }
        Ok(Beside {
            due: Some(due),
            thread: Some(thread),
        })
    }
}

impl Drop for Beside {
    /// Waits for the checkpoint under way: whoever closes an index may delete it next.
    fn drop(&mut self) {
        self.due = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What fails here is done by the writer, which tells what is wrong.
fn run(path: PathBuf, asked: &Receiver<()>) {
    let made = schema::open_beside(&path);
    while asked.recv().is_ok() {
        let checkpoint =
            |conn: &Connection| conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
        if let Err(error) = made.as_ref().map_or(Ok(()), checkpoint) {
            tracing::debug!(%error, "no checkpoint");
        }
    }
}

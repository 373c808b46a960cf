//! Checkpoints of the write-ahead log beside the writer, while a long history is taken in.
//!
//! A checkpoint waits for the disk: first for the log, then for the pages that it copied into the database. The writer would do
//! nothing meanwhile, thirty times in a first mount of a million segments. SQLite lets others checkpoint what is committed while it
//! goes on; it makes one itself only if the log has become too long all the same ([`WRITER_PAGES`]), and finds little left to do.
//!
//! Nobody waits for the disk before the end, where the index can have the mark that this takes: see `unsynced.rs`.

use super::error::Fault;
use super::unsynced::Mark;
use super::{schema, set_meta, settings};
use rusqlite::{Connection, ErrorCode};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Ledger pages between two checkpoints: each writes about a megabyte to the log.
#[cfg(not(test))]
const EVERY: u32 = 24;
/// In unit tests, so that their short histories have some.
#[cfg(test)]
const EVERY: u32 = 2;
/// Pages in the log at which the writer makes a checkpoint itself, 96 MiB: the log begins anew only after one that left nothing, and
/// there is none while it is written to. It is not cut back meanwhile: it grows to the same length again.
const WRITER_PAGES: i64 = (96 << 20) / settings::PAGE_BYTES;
/// How long a reader may keep a checkpoint from its end before it is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Name of a value in `meta` that says nothing: it is written so that there is something to copy, and so to wait for.
const WAITED: &str = "waited";

/// Counts ledger pages, and has the log checkpointed now and then.
#[derive(Default)]
pub(super) struct Checkpoints {
    pages: u32,
    beside: Option<Beside>,
    /// Held while nobody waits for the disk.
    mark: Option<Mark>,
    /// A process before this one may not have waited for it.
    inherited: bool,
    /// The history is taken in from its beginning.
    anew: bool,
}

/// The thread.
struct Beside {
    /// Taken when it shall end. To ask it blocks nobody: whoever does has the index to himself, and all who read it wait for him.
    due: Option<Sender<Due>>,
    /// A checkpoint is due that it has not begun: so there is one at most.
    is_due: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the thread is asked for.
enum Due {
    /// A checkpoint, which waits for the disk or does not.
    Checkpoint { waits: bool },
    /// Everything is to be waited for; then the mark goes.
    Rest(Mark),
}

impl Checkpoints {
    /// Those of an index that a process before this one may not have waited for.
    pub(super) fn inherited(inherited: bool) -> Checkpoints {
        Checkpoints {
            pages: 0,
            beside: None,
            mark: None,
            inherited,
            anew: false,
        }
    }

    /// A ledger page was written to the index at `path` through `writer`; `is_first`: the index knew no record before.
    pub(super) fn page_written(&mut self, writer: &Connection, path: &Path, is_first: bool) {
        self.pages += 1;
        self.anew |= is_first;
        if !self.pages.is_multiple_of(EVERY) {
            return;
        }
        if self.pages == EVERY {
            self.begin(writer, path);
        }
        let waits = self.mark.is_none();
        if let Some(beside) = self.beside(path) {
            beside.checkpoint(waits);
        }
    }

    /// A long history is being taken in: the writer leaves checkpoints to the thread, and the disk to the end if all of it is new.
    fn begin(&mut self, writer: &Connection, path: &Path) {
        if let Err(error) = settings::limit_log(writer, WRITER_PAGES, -1) {
            tracing::debug!(%error, "the writer makes checkpoints as often as before");
        }
        // Of what was known before nothing is put at risk: that a ledger went backwards is told by it.
        if self.mark.is_some() || !(self.anew || self.inherited) {
            return;
        }
        let set = Mark::set(path).map_err(|e| e.to_string());
        let set = set.and_then(|mark| {
            let off = settings::wait_for_disk(writer, false);
            off.map(|()| mark).map_err(|e| e.to_string())
        });
        match set {
            Ok(mark) => self.mark = Some(mark),
            Err(error) => tracing::debug!(error, "the disk is waited for meanwhile"),
        }
    }

    /// Whether [`Checkpoints::rest`] has anything to do.
    pub(super) fn is_restless(&self) -> bool {
        self.pages > 0 || self.mark.is_some() || self.inherited
    }

    /// Whether nobody waits for the disk.
    pub(super) fn is_marked(&self) -> bool {
        self.mark.is_some()
    }

    /// Everything there is was taken in: from now on the disk is waited for, and for what was not, beside the caller.
    pub(super) fn rest(&mut self, writer: &Connection, path: &Path) -> Result<(), Fault> {
        if self.pages >= EVERY {
            settings::limit_log(
                writer,
                settings::CHECKPOINT_PAGES,
                settings::JOURNAL_MAX_BYTES,
            )?;
        }
        self.pages = 0;
        self.anew = false;
        settings::wait_for_disk(writer, true)?;
        if std::mem::take(&mut self.inherited) && self.mark.is_none() {
            // Another process that holds it alone is about to take it away.
            self.mark = Mark::set(path).ok();
        }
        if let Some(mark) = self.mark.take()
            && let Some(beside) = self.beside(path)
        {
            beside.ask(Due::Rest(mark));
        }
        Ok(())
    }

    /// The thread, which is begun when it is needed first.
    fn beside(&mut self, path: &Path) -> Option<&Beside> {
        if self.beside.is_none() {
            match Beside::start(path) {
                Ok(beside) => self.beside = Some(beside),
                Err(error) => tracing::debug!(%error, "checkpoints are the writer's own"),
            }
        }
        self.beside.as_ref()
    }
}

impl Beside {
    fn start(path: &Path) -> std::io::Result<Beside> {
        let (mut beside, asked) = Beside::without_thread();
        let (path, is_due) = (path.to_owned(), Arc::clone(&beside.is_due));
        let thread = std::thread::Builder::new()
            .name("checkpoint".to_owned())
            .spawn(move || run(path, &asked, &is_due))?;
        beside.thread = Some(thread);
        Ok(beside)
    }

    /// One that is asked, and what it is asked for.
    fn without_thread() -> (Beside, Receiver<Due>) {
        let (due, asked) = channel();
        let beside = Beside {
            due: Some(due),
            is_due: Arc::default(),
            thread: None,
        };
        (beside, asked)
    }

    /// Asks for a checkpoint, unless one is due.
    fn checkpoint(&self, waits: bool) {
        if !self.is_due.swap(true, Ordering::AcqRel) {
            self.ask(Due::Checkpoint { waits });
        }
    }

    fn ask(&self, due: Due) {
        if let Some(asked) = &self.due {
            // A thread that has died is missed by nobody: the writer makes checkpoints itself when the log is long.
            let _ = asked.send(due);
        }
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
fn run(path: PathBuf, asked: &Receiver<Due>, is_due: &AtomicBool) {
    let conn = match schema::open_beside(&path) {
        Ok(conn) => Some(conn),
        Err(error) => {
            tracing::debug!(%error, "no checkpoints beside the writer");
            None
        }
    };
    let mut resting: Option<Mark> = None;
    loop {
        let due = match &resting {
            None => asked.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => asked.recv_timeout(AGAIN),
        };
        let ends = matches!(due, Err(RecvTimeoutError::Disconnected));
        if let Ok(Due::Checkpoint { .. }) = due {
            is_due.store(false, Ordering::Release);
        }
        let done = match (due, &conn) {
            (Ok(Due::Checkpoint { waits }), Some(conn)) => {
                // Whoever does not wait holds a mark of its own.
                resting = resting.filter(|_| waits);
                settings::wait_for_disk(conn, waits)
                    .map_err(Fault::from)
                    .and_then(|()| checkpoint(conn, "PASSIVE").map(drop))
            }
            (Ok(Due::Rest(mark)), Some(conn)) => rested(conn, mark).map(|left| resting = left),
            (Err(_), Some(conn)) => match resting.take() {
                Some(mark) => settled(conn, mark).map(|left| resting = left),
                None => Ok(()),
            },
            (_, None) => Ok(()),
        };
        if let Err(fault) = done {
            if is_of_the_disk(&fault) {
                // The kernel tells once what it could not write: the next who waits for it would be told that all is well.
                schema::mark_corrupt(&path);
            }
            let error = fault.at(Some(&path));
            tracing::debug!(%error, "no checkpoint");
        }
        if ends {
            return;
        }
    }
}

fn is_of_the_disk(fault: &Fault) -> bool {
    let Fault::Sql(error) = fault else {
        return false;
    };
    error.sqlite_error_code() == Some(ErrorCode::SystemIoFailure)
}

/// Copies what is committed into the database, and tells whether that was all of the log.
fn checkpoint(conn: &Connection, mode: &str) -> Result<bool, Fault> {
    let (busy, log, copied): (i64, i64, i64) =
        conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    Ok(busy == 0 && log == copied)
}

/// Waits for the disk, for all of the index, and takes the mark away. Returns the mark if there is more to wait for.
fn rested(conn: &Connection, mark: Mark) -> Result<Option<Mark>, Fault> {
    if !mark.is_alone() {
        // The last one that writes without waiting comes here too, and waits for all.
        return Ok(None);
    }
    settings::wait_for_disk(conn, true)?;
    give_something(conn)?;
    settled(conn, mark)
}

/// Writes a page to the log.
pub(super) fn give_something(conn: &Connection) -> Result<(), Fault> {
    // First taken away: SQLite writes nothing if a value is replaced by the same one.
    conn.execute("DELETE FROM meta WHERE name = ?1", [WAITED])?;
    set_meta(conn, WAITED, &[])
}

/// After [`give_something`], when nobody writes without waiting any more: takes the mark away if all is on the disk.
///
/// A checkpoint that copies something waits for the log, and then for the database (all of the file, whoever wrote to it) if it
/// came to the log's end and **nobody has written to the log meanwhile**. The tail of a segment that is opened is such a write. That
/// nobody has is only certain of one that keeps writers out. If that finds all of the log copied, the one that copied the end of it,
/// this or another, has waited for the database: had somebody written meanwhile, there would be more to copy.
pub(super) fn settled(conn: &Connection, mark: Mark) -> Result<Option<Mark>, Fault> {
    // Most of it while others write, who would have to wait. The first one copies for long, and somebody may write meanwhile; the
    // second has little to copy then, and waits for the database.
    for _ in 0..2 {
        checkpoint(conn, "PASSIVE")?;
    }
    // A reader is not waited for with writers kept out.
    conn.busy_timeout(Duration::ZERO)?;
    let is_all = checkpoint(conn, "FULL");
    conn.busy_timeout(settings::BUSY_TIMEOUT)?;
    if !is_all? {
        return Ok(Some(mark));
    }
    if let Err(error) = mark.remove() {
        tracing::debug!(%error, "the mark of what is not on the disk yet stays");
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_taken_everything_in_waits_for_no_checkpoint() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("index.db");
        let (writer, _, _) = schema::open(&path).expect("opens");
        // A thread that is busy with a checkpoint for as long as this test.
        let (beside, asked) = Beside::without_thread();
        let mut checkpoints = Checkpoints {
            beside: Some(beside),
            ..Checkpoints::inherited(false)
        };
        let (done, rested) = channel();
        std::thread::spawn(move || {
            for _ in 0..4 * EVERY {
                checkpoints.page_written(&writer, &path, true);
            }
            let is_ok = checkpoints.rest(&writer, &path).is_ok();
            let _ = done.send((is_ok, checkpoints));
        });
        let rested = rested.recv_timeout(Duration::from_secs(30));
        let (is_ok, checkpoints) = rested.expect("waits for the thread");
        assert!(is_ok);
        drop(checkpoints);
        let asked: Vec<Due> = asked.iter().collect();
        assert!(
            matches!(&asked[..], [Due::Checkpoint { waits: false }, Due::Rest(_)]),
            "one checkpoint, and the rest after it"
        );
    }
}

//! One of the server's files, as the mount shows it.

use crate::binlog::Told;
use crate::model::{FileName, GtidSet, Micros, MountName};
use crate::source::live::{Closed, FileId, LiveFile};
use crate::source::{SourceError, SourceFile};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A name after the archived history, and what is behind it.
pub(super) struct LocalFile {
    /// Its name in the mount.
    pub(super) name: MountName,
    /// The server's name for it.
    pub(super) file: FileName,
    content: Content,
}

enum Content {
    /// The server has it no more, and it is not archived.
    Missing,
    /// On the server's disk.
    There(Box<ServerFile>),
}

struct ServerFile {
    path: PathBuf,
    id: FileId,
    /// Held open while it is the active one: a RESET may remove it.
    active: Mutex<Option<Arc<LiveFile>>>,
    /// Its length, once it is closed.
    size: OnceLock<u64>,
    /// When it was last written, in microseconds, as the disk last told: what it looks like is said without asking it.
    modified_micros: AtomicI64,
    /// What scanning all of it found, once it is closed and was scanned.
    closed: OnceLock<Closed>,
    /// What its head says was executed before it, once somebody asked, of a file that was not scanned.
    previous: OnceLock<Option<GtidSet>>,
}

/// What is known of the transactions in a file.
#[derive(Default)]
pub(super) struct Known {
    /// PREVIOUS_GTIDS, or MariaDB's GTID_LIST.
    pub(super) previous_gtids: Option<GtidSet>,
    /// GTIDs of its whole transactions: of the active file, of those that it shows.
    pub(super) gtids: Option<GtidSet>,
    /// Time of the first transaction's commit; while there is none, of the file's beginning.
    pub(super) first_time: Option<Micros>,
    /// Time of the last event, once it is closed.
    pub(super) last_time: Option<Micros>,
}

impl Known {
    fn scanned(told: Told, last_time: Option<Micros>) -> Known {
        Known {
            previous_gtids: told.previous_gtids,
            gtids: Some(told.gtids),
            first_time: told.first_time,
            last_time,
        }
    }
}

/// What a file looks like from outside.
pub(super) struct Look {
    /// Its length as it is shown, in bytes.
    pub(super) size: u64,
    /// When it was last written.
    pub(super) mtime: Micros,
}

/// An open file.
pub(super) struct OpenLocal {
    pub(super) file: Arc<LocalFile>,
    live: Arc<LiveFile>,
}

/// What becomes of an open.
pub(super) enum Opening {
    /// It is open.
    Opened(OpenLocal),
    /// The server has it no more; it may be archived by now.
    Gone,
}

impl ServerFile {
    /// Has the disk tell when it was last written. Blocks.
    fn note_time(&self, live: &LiveFile) {
        if let Some(Micros(micros)) = live.modified_at() {
            self.modified_micros.store(micros, Ordering::Relaxed);
        }
    }

    fn previous_gtids(&self) -> Result<Option<GtidSet>, SourceError> {
        if let Some(known) = self.previous.get() {
            return Ok(known.clone());
        }
        let file = SourceFile::open(&self.path)?;
        if FileId::of_open(&file) != self.id {
            // Another has its name by now.
            return Ok(None);
        }
        let previous = file.head()?.previous_gtids;
        Ok(self.previous.get_or_init(|| previous).clone())
    }
}

impl LocalFile {
    /// A file that is missing.
    pub(super) fn missing(name: MountName, file: FileName) -> LocalFile {
        LocalFile {
            name,
            file,
            content: Content::Missing,
        }
    }

    /// The file at `path`. The active one is scanned as far as it is written.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn there(
        name: MountName,
        file: FileName,
        path: &Path,
        closed: bool,
    ) -> Result<LocalFile, SourceError> {
        let server_file = if closed {
            let size = std::fs::metadata(path)
                .map_err(|e| SourceError::io("stat", path, e))?
                .len();
            let Micros(modified) = SourceFile::modified_at(path).unwrap_or(Micros(0));
            ServerFile {
                path: path.to_owned(),
                id: FileId::of(path)?,
                active: Mutex::default(),
                size: OnceLock::from(size),
                modified_micros: AtomicI64::new(modified),
                closed: OnceLock::new(),
                previous: OnceLock::new(),
            }
        } else {
            let live = LiveFile::open(path)?;
            live.catch_up()?;
            let Micros(modified) = live.modified_at().unwrap_or(Micros(0));
            ServerFile {
                path: path.to_owned(),
                id: live.id(),
                active: Mutex::new(Some(Arc::new(live))),
                size: OnceLock::new(),
                modified_micros: AtomicI64::new(modified),
                closed: OnceLock::new(),
                previous: OnceLock::new(),
            }
        };
        Ok(LocalFile {
            name,
            file,
            content: Content::There(Box::new(server_file)),
        })
    }

    /// Whether there is nothing to read.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self.content, Content::Missing)
    }

    /// Whether the server still writes it, as far as is known.
    pub(super) fn is_active(&self) -> bool {
        self.active().is_some()
    }

    fn active(&self) -> Option<Arc<LiveFile>> {
        match &self.content {
            Content::Missing => None,
            Content::There(there) => there
                .active
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    /// The file that the server writes, if it is this.
    fn written(&self) -> Option<(&ServerFile, Arc<LiveFile>)> {
        match &self.content {
            Content::Missing => None,
            Content::There(there) => Some((&**there, self.active()?)),
        }
    }

    /// Whether more was written than is known. Blocks.
    pub(super) fn has_grown(&self) -> bool {
        self.written().is_some_and(|(there, live)| {
            there.note_time(&live);
            live.has_grown()
        })
    }

    /// Scans what was written since. Blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn catch_up(&self) -> Result<(), SourceError> {
        if let Some((there, live)) = self.written() {
            live.catch_up()?;
            there.note_time(&live);
        }
        Ok(())
    }

    /// The server has closed it: its size is final. Blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn close(&self) -> Result<(), SourceError> {
        let Some((there, live)) = self.written() else {
            return Ok(());
        };
        let closed = live.close()?;
        there.note_time(&live);
        let _ = there.size.set(closed.size);
        let _ = there.closed.set(closed);
        let mut active = there.active.lock().unwrap_or_else(PoisonError::into_inner);
        *active = None;
        Ok(())
    }

    /// Its length as it is shown, in bytes.
    pub(super) fn size(&self) -> u64 {
        let Content::There(there) = &self.content else {
            return 0;
        };
        match (there.size.get(), self.active()) {
            (Some(size), _) => *size,
            (None, Some(live)) => live.whole_end(),
            (None, None) => 0,
        }
    }

    /// What it looks like, as far as is known: the disk is not asked.
    pub(super) fn look(&self) -> Look {
        let micros = match &self.content {
            Content::Missing => 0,
            Content::There(there) => there.modified_micros.load(Ordering::Relaxed),
        };
        Look {
            size: self.size(),
            mtime: Micros(micros),
        }
    }

    /// What is known of its transactions without reading more than its head: all of it if it was scanned, as the active file
    /// always is. Blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn known(&self) -> Result<Known, SourceError> {
        let Content::There(there) = &self.content else {
            return Ok(Known::default());
        };
        match (self.active(), there.closed.get()) {
            (Some(live), _) => Ok(Known::scanned(live.told(), None)),
            (None, Some(closed)) => Ok(Known::scanned(closed.told.clone(), closed.last_time)),
            (None, None) => Ok(Known {
                previous_gtids: there.previous_gtids()?,
                ..Known::default()
            }),
        }
    }

    /// Opens it. A closed file is scanned before, once. Blocks.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn open(self: &Arc<Self>) -> Result<Opening, SourceError> {
        let Content::There(there) = &self.content else {
            return Ok(Opening::Gone);
        };
        let live = match self.active() {
            Some(live) => live,
            None => match LiveFile::open(&there.path) {
                Ok(live) if live.id() == there.id => Arc::new(live),
                // Another has its name by now.
                Ok(_) => return Ok(Opening::Gone),
                Err(SourceError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    return Ok(Opening::Gone);
                }
                Err(error) => return Err(error),
            },
        };
        if there.size.get().is_some() && there.closed.get().is_none() {
            let _ = there.closed.set(live.close()?);
        }
        Ok(Opening::Opened(OpenLocal {
            file: Arc::clone(self),
            live,
        }))
    }
}

impl OpenLocal {
    fn closed(&self) -> Option<&Closed> {
        match &self.file.content {
            Content::Missing => None,
            Content::There(there) => there.closed.get(),
        }
    }

    /// Whether its bytes are final and right to their end.
    pub(super) fn is_settled(&self) -> bool {
        self.closed().is_some_and(|closed| closed.damage.is_none())
    }

    /// Reads `len` bytes at `offset`, fewer where it ends by now. Blocks.
    ///
    /// # Errors
    /// The read error, or that it is damaged there.
    pub(super) fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, SourceError> {
        let damage = self.closed().and_then(|closed| closed.damage.as_ref());
        let end = match (self.closed(), damage) {
            (Some(_), Some(damage)) => damage.first_bad_position,
            (Some(closed), None) => closed.size,
            (None, _) if offset + len > self.live.whole_end() => self.live.catch_up()?,
            (None, _) => self.live.whole_end(),
        };
        if let (Some(damage), Some(closed)) = (damage, self.closed())
            && len > 0
            && (end..closed.size).contains(&offset)
        {
            let error = std::io::Error::other(damage.reason.clone());
            return Err(self.failed(error));
        }
        let len = end.saturating_sub(offset).min(len);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        let got = self
            .live
            .read_at(offset, &mut bytes)
            .map_err(|error| self.failed(error))?;
        if got < bytes.len() {
            // Never short in the middle.
            let error = std::io::Error::other("it has become shorter");
            return Err(self.failed(error));
        }
        Ok(bytes)
    }

    fn failed(&self, error: std::io::Error) -> SourceError {
        SourceError::io("read", self.file.file.to_string(), error)
    }
}

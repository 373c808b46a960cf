//! One binlog file, held open while it is read.

use super::SourceError;
use super::page_cache::ConsiderateReader;
use crate::binlog::{Head, HeadProbe, probe_head};
use crate::model::Micros;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How much of a file is read to find its head. PREVIOUS_GTIDS is mostly smaller; more is read where it is not.
const HEAD_FIRST_READ_BYTES: u64 = 16 << 10;
/// Largest head accepted: a PREVIOUS_GTIDS of 64 MiB holds four million intervals.
const HEAD_MAX_BYTES: u64 = (64 << 20) + 4096;

/// A state of a file: two that are equal are of the same bytes, as far as a file system tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

/// An open binlog file. A PURGE that removes its name does not take it away.
#[derive(Debug)]
pub struct SourceFile {
    file: File,
    path: PathBuf,
    at_open: Metadata,
}

/// When a file was last written.
pub(super) fn modified(meta: &Metadata) -> Micros {
    let seconds = meta.mtime().saturating_mul(1_000_000);
    Micros(seconds.saturating_add(meta.mtime_nsec() / 1000))
}

impl SourceFile {
    /// Opens `path`.
    ///
    /// # Errors
    /// [`SourceError::Io`]; also for what is not a regular file.
    pub fn open(path: &Path) -> Result<SourceFile, SourceError> {
        let file = File::open(path).map_err(|e| SourceError::io("open", path, e))?;
        let at_open = file
            .metadata()
            .map_err(|e| SourceError::io("stat", path, e))?;
        if !at_open.is_file() {
            return Err(SourceError::io(
                "open",
                path,
                std::io::Error::other("not a regular file"),
            ));
        }
        Ok(SourceFile {
            file,
            path: path.to_owned(),
            at_open,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What was known of it when it was opened.
    pub(super) fn at_open(&self) -> &Metadata {
        &self.at_open
    }

    /// When `path` was last written: for a closed file, when it was closed.
    pub fn modified_at(path: &Path) -> Option<Micros> {
        let meta = std::fs::metadata(path).ok()?;
        Some(modified(&meta))
    }

    /// What tells whether a later look at its path sees the same bytes.
    pub fn fingerprint(&self) -> Fingerprint {
        let meta = &self.at_open;
        Fingerprint {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        }
    }

    /// Its length when it was opened, in bytes.
    pub fn size(&self) -> u64 {
        self.at_open.len()
    }

    /// What its first events say.
    ///
    /// # Errors
    /// [`SourceError::Refused`] when it is no binlog that can be archived.
    pub fn head(&self) -> Result<Head, SourceError> {
        let mut want = HEAD_FIRST_READ_BYTES;
        loop {
            let take = want.min(self.size());
            let mut prefix = vec![0; take as usize];
            self.file
                .read_exact_at(&mut prefix, 0)
                .map_err(|e| SourceError::io("read", &self.path, e))?;
            let refused = |source| SourceError::Refused {
                path: self.path.clone(),
                source,
            };
            match probe_head(&prefix, take == self.size()).map_err(refused)? {
                HeadProbe::Head(head) => return Ok(*head),
                HeadProbe::NeedMore(bytes)
                    if bytes > want && bytes <= HEAD_MAX_BYTES && take < self.size() =>
                {
                    want = bytes
                }
                HeadProbe::NeedMore(bytes) => {
                    let reason = format!(
                        "its first events need {bytes} bytes, over the limit of {HEAD_MAX_BYTES}"
                    );
                    return Err(SourceError::io(
                        "read",
                        &self.path,
                        std::io::Error::other(reason),
                    ));
                }
            }
        }
    }

    /// Reads all of it once, from front to back, and leaves the page cache as it was.
    pub fn read_through(&self) -> ReadThrough<'_> {
        ReadThrough {
            file: self,
            reader: ConsiderateReader::new(&self.file),
            offset: 0,
        }
    }

    /// Whether the bytes read can be trusted to be one state of the file: same size and modification time now, and its
    /// path, if it still exists, is still this file.
    ///
    /// # Errors
    /// [`SourceError::Changed`] with what changed.
    pub fn unchanged(&self) -> Result<(), SourceError> {
        let now = self
            .file
            .metadata()
            .map_err(|e| SourceError::io("stat", &self.path, e))?;
        let changed = |what: String| SourceError::Changed {
            path: self.path.clone(),
            what,
        };
        if now.len() != self.at_open.len() {
            return Err(changed(format!(
                "its size went from {} to {} bytes",
                self.at_open.len(),
                now.len()
            )));
        }
        if (now.mtime(), now.mtime_nsec()) != (self.at_open.mtime(), self.at_open.mtime_nsec()) {
            return Err(changed("its modification time changed".to_owned()));
        }
        match std::fs::metadata(&self.path) {
            Ok(there) if (there.dev(), there.ino()) != (self.at_open.dev(), self.at_open.ino()) => {
                Err(changed("another file has its name".to_owned()))
            }
            // Purged meanwhile: the descriptor holds the bytes.
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// One reading of a file, from front to back.
#[derive(Debug)]
pub struct ReadThrough<'a> {
    file: &'a SourceFile,
    reader: ConsiderateReader<'a>,
    offset: u64,
}

impl ReadThrough<'_> {
    /// How far it is, in bytes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next bytes into `buffer`, as many as fit and there are, never beyond the size at open.
    ///
    /// # Errors
    /// [`SourceError::Io`].
    pub fn next(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let left = self.file.size().saturating_sub(self.offset);
        let want = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let mut filled = 0;
        while filled < want {
            match self.reader.read_at(self.offset, &mut buffer[filled..want]) {
                Ok(0) => break,
                Ok(n) => {
                    filled += n;
                    self.offset += n as u64;
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(SourceError::io("read", &self.file.path, e)),
            }
        }
        Ok(filled)
    }
}

/// The server's UUID, from `auto.cnf` in its data directory.
pub fn server_uuid(datadir: &Path) -> Option<uuid::Uuid> {
    let mut text = String::new();
    // auto.cnf is two lines; more than a page of it is something else.
    File::open(datadir.join("auto.cnf"))
        .ok()?
        .take(4096)
        .read_to_string(&mut text)
        .ok()?;
    text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim().replace('-', "_") == "server_uuid").then(|| value.trim().parse().ok())?
    })
}

//! Files that are final, wherever they are: opened one at a time, each read once from front to back.

use super::file::ReadThrough;
use super::{Listed, Source, SourceError, SourceFile};
use crate::binlog::Head;
use crate::model::Sha256;
use std::path::Path;

/// Where the files of a listing are read from: a server's directory, or whatever else holds their bytes.
pub trait Origin: Send + Sync {
    /// Opens a file that was listed with this head. `None` when it was purged since.
    ///
    /// # Errors
    /// [`SourceError::Changed`] when its name is another file's by now; else when it cannot be opened.
    fn open(&self, listed: &Listed, head: &Head) -> Result<Option<Box<dyn Content>>, SourceError>;
}

/// The bytes of one file.
pub trait Content: Send + Sync {
    /// What messages call it.
    fn path(&self) -> &Path;

    /// How many bytes it has.
    fn size(&self) -> u64;

    /// Begins to read it.
    ///
    /// # Errors
    /// When that cannot be done.
    fn pieces(&self) -> Result<Box<dyn Pieces + '_>, SourceError>;

    /// Whether all that was read, which has this SHA-256, is one state of the file and the one that was listed.
    ///
    /// # Errors
    /// [`SourceError::Changed`] with what changed.
    fn check_read(&self, sha256: Sha256) -> Result<(), SourceError>;
}

/// One reading of a file, from front to back.
pub trait Pieces {
    /// Reads the next bytes into `buffer`: as many as fit and there are; none at the end.
    ///
    /// # Errors
    /// When they cannot be read.
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError>;
}

impl Origin for Source {
    fn open(&self, listed: &Listed, head: &Head) -> Result<Option<Box<dyn Content>>, SourceError> {
        let Some(opened) = self.open_listed(listed)? else {
            return Ok(None);
        };
        check_still_closed(self, listed)?;
        check_same_head(&opened, listed, head)?;
        Ok(Some(Box::new(opened)))
    }
}

/// Between listing and opening, a RESET may have made this name that of the active file.
fn check_still_closed(source: &Source, file: &Listed) -> Result<(), SourceError> {
    let now = source.list()?.files;
    match now.iter().find(|listed| listed.file == file.file) {
        Some(listed) if !listed.closed => Err(SourceError::Changed {
            path: file.path.clone(),
            what: "its name is that of the active file now; run again".to_owned(),
        }),
        // Purged meanwhile: the descriptor holds the bytes that were planned for.
        Some(_) | None => Ok(()),
    }
}

/// Between planning and reading, a RESET may have put another file in its place.
fn check_same_head(opened: &SourceFile, file: &Listed, head: &Head) -> Result<(), SourceError> {
    if opened.head()?.head != head.head {
        return Err(SourceError::Changed {
            path: file.path.clone(),
            what: "another file has its name now; run again".to_owned(),
        });
    }
    Ok(())
}

impl Content for SourceFile {
    fn path(&self) -> &Path {
        SourceFile::path(self)
    }

    fn size(&self) -> u64 {
        SourceFile::size(self)
    }

    fn pieces(&self) -> Result<Box<dyn Pieces + '_>, SourceError> {
        Ok(Box::new(self.read_through()))
    }

    fn check_read(&self, _sha256: Sha256) -> Result<(), SourceError> {
        self.unchanged()
    }
}

impl Pieces for ReadThrough<'_> {
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        ReadThrough::next(self, buffer)
    }
}

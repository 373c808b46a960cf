//! The files of a pile as archiving reads them: decompressed on the way, and compared with what the survey saw.

use super::compression::Plain;
use super::found::Found;
use super::pile::{Pile, ReadFault, Stored};
use crate::binlog::Head;
use crate::model::Sha256;
use crate::source::{Content, Listed, Origin, Pieces, SourceError};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::runtime::Handle;

/// All files that are imported, by what messages call them: names repeat, paths do not.
pub(super) struct PileOrigin {
    pile: Arc<Pile>,
    files: HashMap<PathBuf, Arc<Found>>,
    runtime: Handle,
}

impl PileOrigin {
    /// The `files` of `pile`. Within a runtime.
    pub(super) fn new<'f>(
        pile: &Arc<Pile>,
        files: impl Iterator<Item = &'f Arc<Found>>,
    ) -> PileOrigin {
        let named = |found: &Arc<Found>| (pile.name_of(&found.item), Arc::clone(found));
        PileOrigin {
            files: files.map(named).collect(),
            pile: Arc::clone(pile),
            runtime: Handle::current(),
        }
    }
}

impl Origin for PileOrigin {
    fn open(&self, listed: &Listed, _head: &Head) -> Result<Option<Box<dyn Content>>, SourceError> {
        let Some(found) = self.files.get(&listed.path) else {
            return Ok(None);
        };
        Ok(Some(Box::new(PileFile {
            stored: self.pile.open(&found.item, &self.runtime)?,
            path: listed.path.clone(),
            size: found.summary.size,
            sha256: found.sha256,
        })))
    }
}

/// One of them.
struct PileFile {
    stored: Stored,
    path: PathBuf,
    size: u64,
    sha256: Sha256,
}

impl Content for PileFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn size(&self) -> u64 {
        self.size
    }

    fn pieces(&self) -> Result<Box<dyn Pieces + '_>, SourceError> {
        let plain = Plain::new(self.stored.reader());
        let plain = plain.map_err(|error| self.fault(error))?;
        Ok(Box::new(PilePieces { file: self, plain }))
    }

    fn check_read(&self, sha256: Sha256) -> Result<(), SourceError> {
        self.stored.unchanged()?;
        match sha256 == self.sha256 {
            true => Ok(()),
            false => Err(self.changed()),
        }
    }
}

impl PileFile {
    fn changed(&self) -> SourceError {
        SourceError::Changed {
            path: self.path.clone(),
            what: "it is not what it was when the pile was put in order; run again".to_owned(),
        }
    }

    fn fault(&self, error: std::io::Error) -> SourceError {
        match ReadFault::within(&error) {
            Some(_) => SourceError::io("read", &self.path, error),
            // It could be decompressed once.
            None => self.changed(),
        }
    }
}

struct PilePieces<'a> {
    file: &'a PileFile,
    plain: Plain<'a>,
}

impl Pieces for PilePieces<'_> {
    fn next(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let filled = self.plain.fill(buffer);
        filled.map_err(|error| self.file.fault(error))
    }
}

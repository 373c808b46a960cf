//! What the server's binlog index file lists now.

use super::index_file::{self, IndexLine};
use super::{SourceError, SourceFile};
use crate::model::FileName;
use std::path::{Path, PathBuf};

/// Suffixes that a server gives to files beside its index files, while it rewrites them.
const INDEX_SUFFIX: &str = ".index";

/// A server's binlogs: the place of its binlog index file.
#[derive(Clone, Debug)]
pub struct Source {
    index_path: PathBuf,
}

/// One listed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub file: FileName,
    /// Where it is.
    pub path: PathBuf,
    /// Another file is listed after it: it is final.
    pub closed: bool,
}

/// What the index file lists, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The files in the server's order.
    pub files: Vec<Listed>,
    /// The server's UUID, where `auto.cnf` beside the index file tells it.
    pub server_uuid: Option<uuid::Uuid>,
}

impl Source {
    /// Finds the binlog index file: `path` is the file itself, or a data directory with exactly one.
    ///
    /// # Errors
    /// When there is none, more than one, or it is no binlog index file.
    pub fn open(path: &Path) -> Result<Source, SourceError> {
        let kind = std::fs::metadata(path).map_err(|e| SourceError::io("open", path, e))?;
        if !kind.is_dir() {
            index_file::parse(path, &index_file::read(path)?)?;
            return Ok(Source {
                index_path: path.to_owned(),
            });
        }
        let mut found = candidates(path)?;
        match (found.pop(), found.is_empty()) {
            (None, _) => Err(SourceError::NoIndex(path.to_owned())),
            (Some(index_path), true) => Ok(Source { index_path }),
            (Some(last), false) => {
                found.push(last);
                let names: Vec<_> = found
                    .iter()
                    .filter_map(|p| p.file_name())
                    .map(|n| n.to_string_lossy())
                    .collect();
                Err(SourceError::ManyIndexes {
                    dir: path.to_owned(),
                    found: names.join(", "),
                })
            }
        }
    }

    /// The index file's path.
    pub fn index_path(&self) -> &Path {
        &self.index_path
    }

    /// Reads the list.
    ///
    /// # Errors
    /// When the index file cannot be read or names something that is no binlog.
    pub fn list(&self) -> Result<Listing, SourceError> {
        let lines = index_file::parse(&self.index_path, &index_file::read(&self.index_path)?)?;
        let count = lines.len();
        let listed = |(n, line): (usize, &IndexLine)| Listed {
            file: line.file.clone(),
            path: index_file::locate(&self.index_path, line),
            closed: n + 1 < count,
        };
        let datadir = self.index_path.parent().unwrap_or(Path::new("."));
        Ok(Listing {
            files: lines.iter().enumerate().map(listed).collect(),
            server_uuid: super::file::server_uuid(datadir),
        })
    }

    /// Opens a listed file. `None` when it was purged since: it is gone, and the index no longer lists it.
    ///
    /// # Errors
    /// [`SourceError::ListedButMissing`] when the index still lists it.
    pub fn open_listed(&self, listed: &Listed) -> Result<Option<SourceFile>, SourceError> {
        match SourceFile::open(&listed.path) {
            Ok(file) => Ok(Some(file)),
            Err(SourceError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                if self.list()?.files.iter().any(|now| now.file == listed.file) {
                    return Err(SourceError::ListedButMissing {
                        path: listed.path.clone(),
                        index: self.index_path.clone(),
                    });
                }
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }
}

/// The binlog index files of a directory: those whose first listed file is no relay log.
fn candidates(dir: &Path) -> Result<Vec<PathBuf>, SourceError> {
    let fail = |e| SourceError::io("list", dir, e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.ends_with(INDEX_SUFFIX) && !is_relay_index(&path, &name) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Whether an index file lists relay logs. By what its first file holds where that can be read, else by its name.
fn is_relay_index(path: &Path, name: &str) -> bool {
    let first = index_file::read(path)
        .ok()
        .and_then(|text| index_file::parse(path, &text).ok()?.into_iter().next());
    let head = first.map(|line| {
        SourceFile::open(&index_file::locate(path, &line)).and_then(|file| file.head())
    });
    match head {
        Some(Err(SourceError::Refused {
            source: crate::binlog::Refusal::RelayLog,
            ..
        })) => true,
        Some(Ok(_)) => false,
        _ => name.contains("relay"),
    }
}

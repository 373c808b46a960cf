//! Goes over the files of a cache.

use super::entry::{Name, shard_name};
use std::fs::{DirEntry, ReadDir};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use uuid::Uuid;

/// A file that was met.
pub(super) struct Met {
    pub(super) path: PathBuf,
    pub(super) name: Name,
    pub(super) len: u64,
    /// When it was last used.
    pub(super) used: SystemTime,
}

/// The directories of the streams in `root`. None if there is no such directory.
pub(super) fn streams(root: &Path) -> io::Result<Vec<(Uuid, PathBuf)>> {
    let mut found = Vec::new();
    for entry in entries(root)?.into_iter().flatten() {
        let entry = entry?;
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.parse::<Uuid>().ok());
        if let Some(id) = id {
            found.push((id, entry.path()));
        }
    }
    Ok(found)
}

/// Calls `visit` with each frame and temporary file of a stream. What vanishes meanwhile is not met.
pub(super) fn walk(stream_dir: &Path, mut visit: impl FnMut(Met)) -> io::Result<()> {
    for shard in 0..=u8::MAX {
        for entry in entries(&stream_dir.join(shard_name(shard)))?
            .into_iter()
            .flatten()
        {
            match entry.and_then(|entry| meet(&entry)) {
                Ok(Some(met)) => visit(met),
                Ok(None) => {}
                // The directory, or the file, has just been removed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn meet(entry: &DirEntry) -> io::Result<Option<Met>> {
    let name = entry.file_name().to_str().map_or(Name::Other, Name::of);
    if name == Name::Other {
        return Ok(None);
    }
    match entry.metadata() {
        // Of a symbolic link this is what it says of itself: nothing outside of the cache is met.
        Ok(meta) if !meta.is_file() => Ok(None),
        Ok(meta) => Ok(Some(Met {
            path: entry.path(),
            name,
            len: meta.len(),
            used: meta.modified()?,
        })),
        Err(error) => Err(error),
    }
}

fn entries(dir: &Path) -> io::Result<Option<ReadDir>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => Ok(Some(entries)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

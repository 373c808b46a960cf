//! The keys in a directory tree, in byte order, one page at a time.
//!
//! A page costs one reading of each directory it touches: a directory has no order to continue from. So that a listing
//! of a million keys stays far from quadratic, pages are large, and only the page is held in memory. Whoever wants the
//! newest few keys of a large directory asks for them by name.

use super::root::Root;
use crate::model::ObjectKey;
use crate::store::dirs::valid;
use crate::store::{ErrorKind, Listing, Result};
use rustix::fs::{AtFlags, Dir, FileType};
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::OwnedFd;

/// Keys on a page: ten readings of a directory of a million, and some 10 MB.
pub(super) const LIST_PAGE_MAX: usize = 100_000;

/// Lists as [`crate::store::Store::list`] says, at most `page` keys.
pub(super) fn list(
    root: &Root,
    prefix: &str,
    after: Option<&ObjectKey>,
    page: usize,
) -> Result<Listing> {
    let (base, stem) = match prefix.rsplit_once('/') {
        None => ("", prefix),
        Some((base, stem)) if base.parse::<ObjectKey>().is_ok() => (base, stem),
        // No valid key begins with an invalid directory, and no other may be opened.
        Some(_) => return Ok(Listing::default()),
    };
    let dir = match root.open_dir(base) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory && root.has_symlink(base) => {
            return Err(root.symlink_error("list", prefix));
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Ok(Listing::default());
        }
        Err(error) => {
            let error = root.error("list", prefix, error);
            return match error.kind {
                ErrorKind::NotFound => Ok(Listing::default()),
                _ => Err(error),
            };
        }
    };
    let mut walk = Walk {
        after: after.map(ObjectKey::as_str),
        page,
        objects: Vec::new(),
    };
    let path = if base.is_empty() {
        String::new()
    } else {
        format!("{base}/")
    };
    let more = walk
        .visit(&dir, &path, stem)
        .map_err(|error| root.error("list", prefix, error))?;
    Ok(Listing {
        objects: walk.objects,
        more,
    })
}

/// Names as [`crate::store::Store::list_dirs`] says, at most `max`. One reading of one directory.
pub(super) fn dirs(root: &Root, prefix: &str, max: usize) -> Result<Vec<String>> {
    let base = prefix.strip_suffix('/').unwrap_or(prefix);
    if base.parse::<ObjectKey>().is_err() && !prefix.is_empty() {
        return Ok(Vec::new());
    }
    let dir = match root.open_dir(base) {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => {
            let error = root.error("list", prefix, error);
            return match error.kind {
                ErrorKind::NotFound => Ok(Vec::new()),
                _ => Err(error),
            };
        }
    };
    let fail = |error| root.error("list", prefix, error);
    let mut names = Vec::new();
    for entry in Dir::read_from(&dir).map_err(|errno| fail(errno.into()))? {
        let entry = entry.map_err(|errno| fail(errno.into()))?;
        let Some(name) = entry.file_name().to_str().ok().and_then(valid) else {
            continue;
        };
        if kind(&dir, &name, entry.file_type()).map_err(fail)? == Some(true) {
            names.push(name + "/");
        }
    }
    // With their slashes: in the order of the keys below them.
    names.sort();
    names.truncate(max);
    for name in &mut names {
        name.pop();
    }
    Ok(names)
}

struct Walk<'a> {
    after: Option<&'a str>,
    page: usize,
    objects: Vec<(ObjectKey, u64)>,
}

impl Walk<'_> {
    /// Adds the keys below `path` (empty, or with a slash at its end) whose next component begins with `stem`; tells
    /// whether the page is full.
    fn visit(&mut self, dir: &OwnedFd, path: &str, stem: &str) -> io::Result<bool> {
        // Where in this directory to go on, as a name in the order of `smallest`.
        let mut from = match self.after {
            Some(after) if after.starts_with(path) => after[path.len()..].to_owned(),
            Some(after) if after > path => return Ok(false),
            _ => String::new(),
        };
        loop {
            let limit = self.page - self.objects.len() + 1;
            let names = smallest(dir, stem, &from, limit)?;
            let exhausted = names.len() < limit;
            for name in &names {
                if self.objects.len() >= self.page {
                    return Ok(true);
                }
                let full = match name.strip_suffix('/') {
                    Some(directory) => self.visit_child(dir, path, directory)?,
                    None => self.add(dir, path, name)?,
                };
                if full {
                    return Ok(true);
                }
            }
            match names.into_iter().next_back() {
                // Empty directories and odd names can use up a batch; then the next one is read.
                Some(last) if !exhausted => from = last,
                _ => return Ok(false),
            }
        }
    }

    fn visit_child(&mut self, dir: &OwnedFd, path: &str, name: &str) -> io::Result<bool> {
        let path = format!("{path}{name}");
        // This bounds the depth too, by the longest key.
        if path.parse::<ObjectKey>().is_err() {
            return Ok(false);
        }
        match super::root::open_child(dir, name) {
            Ok(child) => self.visit(&child, &format!("{path}/"), ""),
            // Removed or replaced since it was read.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn add(&mut self, dir: &OwnedFd, path: &str, name: &str) -> io::Result<bool> {
        let Ok(key) = format!("{path}{name}").parse::<ObjectKey>() else {
            return Ok(false);
        };
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_file() => {
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                self.objects.push((key, size));
            }
            // Not an object, or deleted since it was read.
            Ok(_) | Err(rustix::io::Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(false)
    }
}

/// The `limit` smallest names of `dir` that begin with `stem` and may lead to a key after `from`.
///
/// Directories have a slash at their end, so that names are in the order of the keys below them: `a-b`, `a/`, `a0`.
fn smallest(dir: &OwnedFd, stem: &str, from: &str, limit: usize) -> io::Result<Vec<String>> {
    let mut heap: BinaryHeap<String> = BinaryHeap::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        if name.starts_with('.') {
            continue;
        }
        let Some(is_dir) = kind(dir, name, entry.file_type())? else {
            continue;
        };
        // Of a million files a thousand are wanted: nothing is allocated for the others.
        let is_late = |largest: &String| heap.len() >= limit && name >= largest.as_str();
        if !is_dir && (name <= from || heap.peek().is_some_and(is_late)) {
            continue;
        }
        let name = if is_dir {
            format!("{name}/")
        } else {
            name.to_owned()
        };
        // A directory that `from` lies in has keys after it; one that `from` is has been visited.
        let holds_from = is_dir && from.len() > name.len() && from.starts_with(&name);
        let wanted = name.as_str() > from || holds_from;
        if !wanted || !name.starts_with(stem) {
            continue;
        }
        if heap.len() < limit {
            heap.push(name);
        } else if let Some(mut largest) = heap.peek_mut()
            && name < *largest
        {
            *largest = name;
        }
    }
    Ok(heap.into_sorted_vec())
}

/// Whether an entry is a directory, or none for what is neither that nor an object.
fn kind(dir: &OwnedFd, name: &str, listed: FileType) -> io::Result<Option<bool>> {
    let known = match listed {
        // Some file systems do not tell.
        FileType::Unknown => match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode),
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        },
        known => known,
    };
    Ok(match known {
        FileType::Directory => Some(true),
        FileType::RegularFile => Some(false),
        _ => None,
    })
}

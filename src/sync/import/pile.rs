//! The pile: all files below a directory, or all objects below a prefix of a bucket.

use super::object_reader::ObjectReader;
use crate::model::{ObjectKey, StoreUrl};
use crate::source::file::ReadThrough;
use crate::source::{SourceError, SourceFile};
use crate::store::SharedStore;
use anyhow::{Context as _, Result, bail};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the files to be imported lie.
#[derive(Clone)]
pub enum Pile {
    /// Below a directory of this host, or one file of it.
    Directory(PathBuf),
    /// Below a prefix of a bucket.
    Store(SharedStore),
}

/// One file or object of a pile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its path below the pile's, as messages say it.
    pub path: String,
    /// Its length as stored, in bytes.
    pub stored_bytes: u64,
    at: At,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum At {
    File(PathBuf),
    Object(ObjectKey),
}

impl Item {
    /// An object of a store.
    pub fn of_object(key: ObjectKey, stored_bytes: u64) -> Item {
        Item {
            path: key.to_string(),
            stored_bytes,
            at: At::Object(key),
        }
    }
}

/// What a pile consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// What can be looked at, in the order of the paths.
    pub items: Vec<Item>,
    /// What cannot, with the reason.
    pub odd: Vec<(String, String)>,
}

impl Pile {
    /// What messages call it.
    pub fn describe(&self) -> String {
        match self {
            Pile::Directory(dir) => dir.display().to_string(),
            Pile::Store(store) => store.describe(),
        }
    }

    /// What messages call one of its items.
    pub fn name_of(&self, item: &Item) -> PathBuf {
        match (self, &item.at) {
            (_, At::File(path)) => path.clone(),
            (pile, At::Object(key)) => {
                let store = pile.describe();
                let place = store
                    .split_once('?')
                    .map_or(store.as_str(), |(place, _)| place);
                PathBuf::from(format!("{}/{key}", place.trim_end_matches('/')))
            }
        }
    }

    /// Lists all of it, without what lies at one of the `excluded` paths or below it.
    ///
    /// # Errors
    /// When a directory cannot be read, the store does not answer, or nothing lies at an excluded path.
    pub async fn list(&self, excluded: &[String]) -> Result<Listed> {
        let mut listed = match self {
            Pile::Directory(dir) => {
                let dir = dir.clone();
                tokio::task::spawn_blocking(move || walk(&dir)).await??
            }
            Pile::Store(store) => list_objects(store).await?,
        };
        let lies_at = |path: &str, place: &str| {
            let rest = path.strip_prefix(place.trim_end_matches('/'));
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let of_items = listed.items.iter().map(|item| &item.path);
        let paths: Vec<_> = of_items
            .chain(listed.odd.iter().map(|odd| &odd.0))
            .collect();
        for place in excluded {
            // What a person wants left out must not come in by a slip of the pen: a ledger forgets nothing.
            if !paths.iter().any(|path| lies_at(path, place)) {
                bail!(
                    "--exclude {place}: nothing in {} lies there; paths are those below it, as --dry-run tells them",
                    self.describe()
                );
            }
        }
        let is_excluded = |path: &str| excluded.iter().any(|place| lies_at(path, place));
        listed.items.retain(|item| !is_excluded(&item.path));
        listed.odd.retain(|(path, _)| !is_excluded(path));
        listed.items.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(listed)
    }

    /// Opens an item, to read it as it is stored. Blocks, as reading does: never on a thread of the runtime.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(
        &self,
        item: &Item,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Stored, SourceError> {
        match (self, &item.at) {
            (Pile::Store(store), At::Object(key)) => {
                let object = Object {
                    runtime: runtime.clone(),
                    store: Arc::clone(store),
                    key: key.clone(),
                    size: item.stored_bytes,
                };
                Ok(Stored::Object(object))
            }
            (_, At::File(path)) => {
                let file = SourceFile::open(path)?;
                if file.size() != item.stored_bytes {
                    return Err(SourceError::Changed {
                        path: path.clone(),
                        what: format!(
                            "its size went from {} to {} bytes",
                            item.stored_bytes,
                            file.size()
                        ),
                    });
                }
                Ok(Stored::File(file))
            }
            (Pile::Directory(_), At::Object(_)) => {
                unreachable!("a directory's items are files")
            }
        }
    }
}

/// An opened item.
pub enum Stored {
    /// A file.
    File(SourceFile),
    /// An object.
    Object(Object),
}

/// An object that can be read.
#[derive(Clone)]
pub struct Object {
    /// Where requests are made.
    pub runtime: tokio::runtime::Handle,
    /// Where it is.
    pub store: SharedStore,
    /// Its key.
    pub key: ObjectKey,
    /// Its length in bytes.
    pub size: u64,
}

impl Stored {
    /// Reads it from its beginning.
    pub fn reader(&self) -> Box<dyn Read + '_> {
        match self {
            Stored::File(file) => Box::new(FileReader(file.read_through())),
            Stored::Object(object) => Box::new(ObjectReader::new(object.clone())),
        }
    }

    /// Whether what was read was one state of it.
    ///
    /// # Errors
    /// [`SourceError::Changed`].
    pub fn unchanged(&self) -> Result<(), SourceError> {
        match self {
            Stored::File(file) => file.unchanged(),
            // Objects are replaced whole, and the length of one was asked for with each piece.
            Stored::Object(_) => Ok(()),
        }
    }
}

/// A fault of the disk or the store, as opposed to bytes that cannot be decompressed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReadFault(pub String);

impl ReadFault {
    /// The fault as an error of reading.
    pub fn of(error: &dyn std::error::Error) -> io::Error {
        let mut told = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let more = error.to_string();
            if !told.contains(&more) {
                told = format!("{told}: {more}");
            }
            cause = error.source();
        }
        io::Error::other(ReadFault(told))
    }

    /// The fault inside an error, if it is one.
    pub fn within(error: &io::Error) -> Option<&ReadFault> {
        error.get_ref()?.downcast_ref()
    }
}

struct FileReader<'a>(ReadThrough<'a>);

impl Read for FileReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.next(buffer).map_err(|error| ReadFault::of(&error))
    }
}

/// All files below `root`. Links to files are followed, links to directories are not: they may lead in circles.
fn walk(root: &Path) -> Result<Listed> {
    let is_dir = std::fs::metadata(root)
        .with_context(|| format!("cannot look at {}", root.display()))?
        .is_dir();
    if !is_dir {
        let name = root.file_name().unwrap_or_default();
        let mut listed = Listed::default();
        add_file(root, name.to_string_lossy().into_owned(), &mut listed)?;
        return Ok(listed);
    }
    let mut listed = Listed::default();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        let entries =
            std::fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
            let path = entry.path();
            let below = path.strip_prefix(root).unwrap_or(&path);
            let name = below.to_string_lossy().into_owned();
            let kind = entry
                .file_type()
                .with_context(|| format!("cannot look at {}", path.display()))?;
            if kind.is_dir() {
                dirs.push(path);
            } else {
                add_file(&path, name, &mut listed)?;
            }
        }
    }
    Ok(listed)
}

fn add_file(path: &Path, name: String, listed: &mut Listed) -> Result<()> {
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            listed
                .odd
                .push((name, "a symbolic link to nothing".to_owned()));
            return Ok(());
        }
        Err(error) => {
            return Err(error).with_context(|| format!("cannot look at {}", path.display()));
        }
    };
    let reason = if meta.is_file() {
        listed.items.push(Item {
            path: name,
            stored_bytes: meta.len(),
            at: At::File(path.to_owned()),
        });
        return Ok(());
    } else if meta.is_dir() {
        "a symbolic link to a directory, which is not followed: import that directory by itself"
    } else {
        "not a regular file"
    };
    listed.odd.push((name, reason.to_owned()));
    Ok(())
}

async fn list_objects(store: &SharedStore) -> Result<Listed> {
    let mut listed = Listed::default();
    let mut after = None;
    loop {
        let page = store.list("", after.as_ref()).await?;
        after = page.objects.last().map(|(key, _)| key.clone());
        for (key, stored_bytes) in page.objects {
            listed.items.push(Item::of_object(key, stored_bytes));
        }
        if !page.more {
            return Ok(listed);
        }
    }
}

/// Whether one of two places lies in the other.
pub fn overlap(a: &StoreUrl, b: &StoreUrl) -> bool {
    let (a, b) = (a.place(), b.place());
    a.starts_with(&b) || b.starts_with(&a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    async fn paths(pile: &Pile, excluded: &[&str]) -> Vec<String> {
        let excluded: Vec<_> = excluded.iter().map(|path| (*path).to_owned()).collect();
        let listed = pile.list(&excluded).await.expect("lists");
        listed.items.into_iter().map(|item| item.path).collect()
    }

    #[tokio::test]
    async fn a_directory_is_walked_and_what_is_no_file_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("b/c")).expect("made");
        for name in ["a", "b/x", "b/c/y"] {
            std::fs::write(at(name), name).expect("written");
        }
        std::os::unix::fs::symlink(at("a"), at("link")).expect("linked");
        std::os::unix::fs::symlink(dir.path(), at("b/circle")).expect("linked");
        std::os::unix::fs::symlink(at("gone"), at("dangling")).expect("linked");
        let pile = Pile::Directory(dir.path().to_owned());
        assert_eq!(paths(&pile, &[]).await, ["a", "b/c/y", "b/x", "link"]);
        assert_eq!(paths(&pile, &["b/c/"]).await, ["a", "b/x", "link"]);
        assert_eq!(paths(&pile, &["b"]).await, ["a", "link"]);
        assert_eq!(paths(&pile, &["dangling"]).await.len(), 4);
        for nothing in ["c", "b/", "./a", "b/c/z", "/", ""] {
            let listed = pile.list(&["a".to_owned(), nothing.to_owned()]).await;
            match nothing {
                "b/" => assert!(listed.is_ok()),
                _ => {
                    let error = listed.expect_err(nothing).to_string();
                    assert!(error.contains(&format!("--exclude {nothing}: ")), "{error}");
                }
            }
        }
        let mut odd = pile.list(&[]).await.expect("lists").odd;
        odd.sort();
        let names: Vec<_> = odd.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["b/circle", "dangling"]);
        let one = Pile::Directory(at("b/x"));
        assert_eq!(paths(&one, &[]).await, ["x"]);
    }

    #[tokio::test]
    async fn a_bucket_is_listed_to_its_end() {
        let memory = MemoryStore::new();
        for n in 0..2500 {
            let key = format!("binlog_{:03}/binlog.{n:06}.gz", n % 7);
            memory.tamper(&key.parse().expect("a key"), "x");
        }
        let pile = Pile::Store(Arc::new(memory));
        assert_eq!(paths(&pile, &[]).await.len(), 2500);
        assert_eq!(paths(&pile, &["binlog_003"]).await.len(), 2143);
    }

    #[test]
    fn places_that_lie_in_each_other_are_seen() {
        let url = |text: &str| text.parse::<StoreUrl>().expect("a URL");
        for (a, b, expected) in [
            ("file:///a/b", "file:///a/b", true),
            ("file:///a", "file:///a/b", true),
            ("file:///a/bc", "file:///a/b", false),
            ("s3://x/a", "s3://x/a/b", true),
            ("s3://x/a", "s3://y/a", false),
            ("s3://x/a", "file:///a", false),
        ] {
            assert_eq!(overlap(&url(a), &url(b)), expected, "{a} {b}");
            assert_eq!(overlap(&url(b), &url(a)), expected, "{b} {a}");
        }
    }
}

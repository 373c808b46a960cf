//! A store in a directory: objects are files, and link(2) is the conditional create.
//!
//! # Order of a write
//! 1. The bytes go to a file that has no name, or one under `.tmp/` (see [`TempFiles`]).
//! 2. `fdatasync`: contents and size are on the disk.
//! 3. `link`: the object appears, whole, iff the key was free. This is the one moment of the create.
//! 4. `fsync` of the file, which has a name only now, and of the directory: the name is on the disk. Only then does the verb
//!    return `Ok`. (btrfs logs nothing of a file without a name in 2, and of one in a synced directory only that it exists.)
//!
//! Killed before 3, there is no object; after it, there is one, and its bytes are durable. A fault in 4 leaves the
//! outcome unknown, and is never a transient error: whether the name will survive a power cut can no longer be told.
//!
//! # What a directory cannot do
//! A key cannot lie below another (`a` and `a/b`). Symbolic links are not followed, except on the way to the root: one
//! in place of a directory is an error, one in place of an object is refused when read and skipped in listings.
//! A file system without hard links is refused at the first write. `head` knows no checksums.

mod errno;
mod list;
mod root;
mod temp;
mod upload;

pub use temp::TempFiles;

use super::{Error, ErrorKind, Listing, ObjectMeta, Result, Store, Upload};
use crate::model::ObjectKey;
use async_trait::async_trait;
use bytes::Bytes;
use root::{Root, split, sync_dir};
use rustix::fs::AtFlags;
use rustix::io::Errno;
use std::fmt;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use temp::TempFile;
use upload::FileUpload;

/// A store in a directory.
pub struct FileStore {
    root: Arc<Root>,
    list_page_max: usize,
}

impl FileStore {
    /// Opens the store in `dir`, which must exist. Writes nothing, so that a reader needs no permission to.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBucket`] when `dir` does not exist or is no directory. Blocks on the file system.
    pub fn open(dir: impl Into<PathBuf>) -> Result<FileStore> {
        Ok(FileStore {
            root: Arc::new(Root::open(dir.into())?),
            list_page_max: list::LIST_PAGE_MAX,
        })
    }

    /// Opens the store in `dir`, which is made, durably, with its missing ancestors. Blocks on the file system.
    ///
    /// # Errors
    /// What the file system says to that.
    pub fn create_dir_all(dir: impl Into<PathBuf>) -> Result<FileStore> {
        let dir = dir.into();
        root::create_dir_all(&dir).map_err(|error| {
            let kind = match errno::kind_of(&error) {
                ErrorKind::NotFound | ErrorKind::AlreadyExists => ErrorKind::NoSuchBucket,
                other => other,
            };
            let store = format!("file://{}", dir.display());
            Error::new(kind, "create", "the root", store).because(error)
        })?;
        FileStore::open(dir)
    }

    /// Keeps unfinished objects in this way instead of the one found by trying at the first write.
    #[must_use]
    pub fn with_temp_files(self, temp_files: TempFiles) -> FileStore {
        // Nothing was written yet, so nothing was decided.
        let _ = self.root.temp_files.set(temp_files);
        self
    }

    /// Lists at most `keys` on a page, so that a test sees a second one.
    #[cfg(test)]
    fn with_list_page_max(mut self, keys: usize) -> FileStore {
        self.list_page_max = keys;
        self
    }

    async fn run<T: Send + 'static>(
        &self,
        verb: &'static str,
        key: impl fmt::Display,
        job: impl FnOnce(&Root) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let root = self.root.clone();
        blocking(&self.root, verb, key, move || job(&root)).await
    }
}

/// Runs `job` on a thread that may block.
async fn blocking<T: Send + 'static>(
    root: &Root,
    verb: &'static str,
    key: impl fmt::Display,
    job: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(job).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is shutting down; the job may or may not have run.
        Err(error) => Err(root
            .error_of(ErrorKind::Permanent, verb, key)
            .because(error)
            .outcome_unknown()),
    }
}

/// A temporary file for `key` and the directory it will be in, with no key known to stand in its way.
fn new_temp(root: &Root, verb: &'static str, key: &ObjectKey) -> Result<(OwnedFd, TempFile)> {
    let fail = |error| match error {
        error if io::Error::kind(&error) == io::ErrorKind::NotADirectory => {
            if root.has_symlink(split(key).0) {
                root.symlink_error(verb, key)
            } else {
                root.error(verb, key, error)
            }
        }
        error => root.error(verb, key, error),
    };
    let dir = root.make_dir(split(key).0).map_err(fail)?;
    let temp_files = *root.temp_files.get_or_init(|| TempFiles::probe(&dir));
    if temp_files == TempFiles::Named {
        root.swept.call_once(|| {
            // Litter harms nobody, so neither does a sweep that fails.
            if let Err(error) = temp::sweep(root) {
                tracing::debug!(store = root.url(), %error, "could not sweep temporary files");
            }
        });
    }
    let temp = TempFile::create(root, &dir, key).map_err(fail)?;
    Ok((dir, temp))
}

/// Steps 2 to 4 of a write.
fn publish(
    root: &Root,
    verb: &'static str,
    key: &ObjectKey,
    temp: &TempFile,
    dir: &OwnedFd,
    leaf: &str,
) -> Result<()> {
    temp.sync().map_err(|error| root.error(verb, key, error))?;
    temp.link(dir, leaf).map_err(|error| {
        let errno = error.raw_os_error().map(Errno::from_raw_os_error);
        match errno {
            _ if root.is_gone() => root.error(verb, key, error),
            Some(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::XDEV) => root
                .error_of(ErrorKind::Unsupported, verb, key)
                .because(format!(
                    "the file system must have hard links, and be one below the root: {error}"
                )),
            Some(Errno::NOENT) => root
                .error_of(ErrorKind::Permanent, verb, key)
                .because("the unfinished object or its directory was removed meanwhile"),
            _ => root.error(verb, key, error),
        }
    })?;
    temp.file
        .sync_all()
        .and_then(|()| sync_dir(dir))
        .map_err(|error| {
            root.error_of(ErrorKind::Permanent, verb, key)
                .because(error)
                .outcome_unknown()
        })
}

#[async_trait]
impl Store for FileStore {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<()> {
        let owned = key.clone();
        self.run("create", key, move |root| {
            let (dir, mut temp) = new_temp(root, "create", &owned)?;
            temp.file
                .write_all(&body)
                .map_err(|error| root.error("create", &owned, error))?;
            publish(root, "create", &owned, &temp, &dir, split(&owned).1)
        })
        .await
    }

    async fn upload(&self, key: &ObjectKey, _size_hint: u64) -> Result<Box<dyn Upload>> {
        let upload = FileUpload::begin(self.root.clone(), key.clone()).await?;
        Ok(Box::new(upload))
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let owned = key.clone();
        self.run("get", key, move |root| {
            let (file, size) = root.open_object("get", &owned)?;
            if range.is_empty() {
                return Ok(Bytes::new());
            }
            let truncated = || root.error_of(ErrorKind::Truncated, "get", &owned);
            if range.end > size {
                return Err(truncated());
            }
            let len = usize::try_from(range.end - range.start).map_err(|_| truncated())?;
            let mut body = vec![0; len];
            file.read_exact_at(&mut body, range.start)
                .map_err(|error| root.error("get", &owned, error))?;
            Ok(body.into())
        })
        .await
    }

    async fn get_all(&self, key: &ObjectKey, max_bytes: u64) -> Result<Bytes> {
        let owned = key.clone();
        self.run("get_all", key, move |root| {
            let (file, size) = root.open_object("get_all", &owned)?;
            let too_large = || root.error_of(ErrorKind::TooLarge, "get_all", &owned);
            if size > max_bytes {
                return Err(too_large());
            }
            let mut body = vec![0; usize::try_from(size).map_err(|_| too_large())?];
            file.read_exact_at(&mut body, 0)
                .map_err(|error| root.error("get_all", &owned, error))?;
            Ok(body.into())
        })
        .await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta> {
        let owned = key.clone();
        self.run("head", key, move |root| {
            let (_, size) = root.open_object("head", &owned)?;
            Ok(ObjectMeta {
                size,
                crc32c: None,
                crc64nvme: None,
            })
        })
        .await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Listing> {
        let (owned, after) = (prefix.to_owned(), after.cloned());
        let page = self.list_page_max;
        self.run("list", prefix, move |root| {
            list::list(root, &owned, after.as_ref(), page)
        })
        .await
    }

    async fn list_dirs(&self, prefix: &str, max: usize) -> Result<Vec<String>> {
        let owned = prefix.to_owned();
        self.run("list", prefix, move |root| list::dirs(root, &owned, max))
            .await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        let owned = key.clone();
        self.run("delete", key, move |root| {
            delete(root, &owned).or_else(|error| {
                let error = root.absent("delete", &owned, error);
                match error.kind {
                    ErrorKind::NotFound => Ok(()),
                    _ => Err(error),
                }
            })
        })
        .await
    }

    fn describe(&self) -> String {
        self.root.url()
    }
}

fn delete(root: &Root, key: &ObjectKey) -> io::Result<()> {
    temp::remove_of_key(root, key)?;
    let (path, leaf) = split(key);
    let dir = root.open_dir(path)?;
    match rustix::fs::unlinkat(&dir, leaf, AtFlags::empty()) {
        // Durable, because callers forget a key once it is deleted.
        Ok(()) => sync_dir(&dir),
        // A directory is not an object.
        Err(Errno::NOENT | Errno::ISDIR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests;

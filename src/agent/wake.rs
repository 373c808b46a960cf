//! The kernel's word that a server began a new binlog: inotify on the directory of its binlog index file.
//!
//! Only creations and renames are watched, never writes: the directory is mostly the data directory, and a busy server writes
//! there thousands of times a second. A new binlog is created, and MySQL renames a new index file into place.

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use tokio::io::unix::AsyncFd;

/// Room for a dozen events with the longest names.
const BUFFER_BYTES: usize = 4096;

/// A watch on the binlogs of one server.
pub struct Watch {
    inotify: AsyncFd<OwnedFd>,
    /// `binlog.index` and `binlog.`: what names must be or begin with.
    index_name: OsString,
    basename: OsString,
}

impl Watch {
    /// Watches the directory of `index_path`.
    ///
    /// # Errors
    /// As inotify_add_watch(2): the limit of watches, or a directory that is gone. Polling then has to do.
    pub fn new(index_path: &Path) -> std::io::Result<Watch> {
        let dir = index_path.parent().unwrap_or(Path::new("."));
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        inotify::add_watch(
            &inotify,
            dir,
            WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR,
        )?;
        let mut basename = index_path.file_stem().unwrap_or_default().to_owned();
        basename.push(".");
        Ok(Watch {
            inotify: register(inotify)?,
            index_name: index_path.file_name().unwrap_or_default().to_owned(),
            basename,
        })
    }

    /// Waits until something may have changed.
    ///
    /// # Errors
    /// As read(2); the watch is then of no more use.
    pub async fn changed(&self) -> std::io::Result<()> {
        loop {
            let mut ready = self.inotify.readable().await?;
            if self.drain()? {
                return Ok(());
            }
            ready.clear_ready();
        }
    }

    /// Reads what there is. Whether any of it concerns the binlogs.
    fn drain(&self) -> std::io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut found = false;
        loop {
            match reader.next() {
                Ok(event) => {
                    let lost = ReadFlags::QUEUE_OVERFLOW | ReadFlags::IGNORED;
                    let name = event.file_name().map(|name| name.to_bytes().to_vec());
                    let name = OsString::from_vec(name.unwrap_or_default());
                    found |= event.events().intersects(lost)
                        || name == self.index_name
                        || name.as_bytes().starts_with(self.basename.as_bytes());
                }
                Err(Errno::AGAIN) => return Ok(found),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[expect(
    unsafe_code,
    reason = "tokio's safe constructor is deprecated: it cannot know that the descriptor stays the one it registered"
)]
fn register(inotify: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd gives the same open descriptor as long as it lives, and AsyncFd owns it until it is deregistered.
    Ok(unsafe { AsyncFd::register(inotify) }?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn a_new_binlog_wakes_and_what_else_the_server_does_there_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let watch = Watch::new(&dir.path().join("binlog.index")).expect("watched");
        std::fs::write(dir.path().join("ibdata1"), "x").expect("written");
        std::fs::write(dir.path().join("binlogs-of-another.txt"), "x").expect("written");
        let short = Duration::from_millis(50);
        assert!(tokio::time::timeout(short, watch.changed()).await.is_err());
        std::fs::write(dir.path().join("binlog.000002"), "x").expect("written");
        watch.changed().await.expect("told");
        assert!(tokio::time::timeout(short, watch.changed()).await.is_err());
        std::fs::write(dir.path().join("new"), "x").expect("written");
        std::fs::rename(dir.path().join("new"), dir.path().join("binlog.index")).expect("renamed");
        watch.changed().await.expect("told");
    }
}

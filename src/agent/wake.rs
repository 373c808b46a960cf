//! The kernel's word that a server began a new binlog: inotify on the directory of its binlog index file.
//!
//! Only creations and renames are watched, never writes: the directory is mostly the data directory, and a busy server writes
//! there thousands of times a second. A new binlog is created, and MySQL renames a new index file into place.
//!
//! A directory is watched, not its name: when another takes its place (it was renamed away, or a file system mounted over it), its
//! watch is over, and whoever looks is to begin another.
//!
//! All streams of a process share one inotify instance: a user may have 128 of them, by default, and thousands of watches.

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsString;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

/// Room for a dozen events with the longest names.
const BUFFER_BYTES: usize = 4096;

/// The watches of a process. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Watches(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// Opened by the first watch.
    inotify: Option<Arc<AsyncFd<OwnedFd>>>,
    /// Who listens to each directory, by its watch descriptor.
    listeners: HashMap<i32, Vec<Weak<Listener>>>,
}

#[derive(Debug)]
struct Listener {
    descriptor: i32,
    /// `binlog.index` and `binlog.`: what names must be or begin with.
    index_name: OsString,
    basename: OsString,
    told: Notify,
    /// The kernel has ended the watch: the directory was deleted, or its file system unmounted.
    is_lost: AtomicBool,
}

/// A watch on the binlogs of one server, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    listener: Arc<Listener>,
    watches: Watches,
    dir: PathBuf,
    /// Which directory that was when the watch began.
    watched: DirId,
}

/// Device and inode number of a directory.
type DirId = (u64, u64);

fn id_of(dir: &Path) -> std::io::Result<DirId> {
    let meta = std::fs::metadata(dir)?;
    Ok((meta.dev(), meta.ino()))
}

impl Watches {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches the directory of `index_path`. Within a runtime.
    ///
    /// # Errors
    /// As inotify_add_watch(2): the limit of watches, or a directory that is gone. Polling then has to do.
    pub fn watch(&self, index_path: &Path) -> std::io::Result<Watch> {
        let dir = index_path.parent().unwrap_or(Path::new("."));
        // Before it is watched: if it is replaced in between, the watch is over at the next look, instead of never.
        let watched = id_of(dir)?;
        let mut basename = index_path.file_stem().unwrap_or_default().to_owned();
        basename.push(".");
        let mut state = self.lock();
        let inotify = self.opened(&mut state)?;
        let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        let descriptor = inotify::add_watch(&*inotify, dir, flags)?;
        let listener = Arc::new(Listener {
            descriptor,
            index_name: index_path.file_name().unwrap_or_default().to_owned(),
            basename,
            told: Notify::new(),
            is_lost: AtomicBool::new(false),
        });
        let listeners = state.listeners.entry(descriptor).or_default();
        listeners.push(Arc::downgrade(&listener));
        Ok(Watch {
            listener,
            watches: self.clone(),
            dir: dir.to_owned(),
            watched,
        })
    }

    fn opened(&self, state: &mut State) -> std::io::Result<Arc<AsyncFd<OwnedFd>>> {
        if let Some(inotify) = &state.inotify {
            return Ok(Arc::clone(inotify));
        }
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let inotify = Arc::new(register(inotify)?);
        state.inotify = Some(Arc::clone(&inotify));
        tokio::spawn(tell(Arc::downgrade(&inotify), Arc::downgrade(&self.0)));
        Ok(inotify)
    }
}

/// Tells the listeners what happens, for as long as anybody may listen.
async fn tell(inotify: Weak<AsyncFd<OwnedFd>>, state: Weak<Mutex<State>>) {
    loop {
        let Some(inotify) = inotify.upgrade() else {
            return;
        };
        let Ok(mut ready) = inotify.readable().await else {
            return;
        };
        let Some(state) = state.upgrade() else { return };
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = drain(&inotify, &state) {
            tracing::warn!(%error, "new binlogs are found by polling alone");
            return;
        }
        ready.clear_ready();
    }
}

/// Reads what there is, and tells whom it concerns.
fn drain(inotify: &AsyncFd<OwnedFd>, state: &State) -> std::io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut reader = inotify::Reader::new(inotify, &mut buffer);
    loop {
        match reader.next() {
            Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                for listener in state.listeners.values().flatten().filter_map(Weak::upgrade) {
                    listener.told.notify_one();
                }
            }
            Ok(event) => {
                let name = event.file_name().map(|name| name.to_bytes().to_vec());
                let name = OsString::from_vec(name.unwrap_or_default());
                let lost = event.events().contains(ReadFlags::IGNORED);
                let here = state.listeners.get(&event.wd()).into_iter().flatten();
                for listener in here.filter_map(Weak::upgrade) {
                    if lost {
                        listener.is_lost.store(true, Ordering::Relaxed);
                    }
                    if lost || listener.is_concerned(&name) {
                        listener.told.notify_one();
                    }
                }
            }
            Err(Errno::AGAIN) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl Listener {
    fn is_concerned(&self, name: &OsString) -> bool {
        *name == self.index_name || name.as_bytes().starts_with(self.basename.as_bytes())
    }
}

impl Watch {
    /// Waits until something may have changed since the last time.
    pub async fn changed(&self) {
        self.listener.told.notified().await;
    }

    /// Whether what it watches is not what has the directory's name now.
    pub fn is_over(&self) -> bool {
        self.listener.is_lost.load(Ordering::Relaxed) || id_of(&self.dir).ok() != Some(self.watched)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.watches.lock();
        let descriptor = self.listener.descriptor;
        let Some(listeners) = state.listeners.get_mut(&descriptor) else {
            return;
        };
        let own = Arc::downgrade(&self.listener);
        listeners.retain(|listener| !listener.ptr_eq(&own));
        if !listeners.is_empty() {
            return;
        }
        state.listeners.remove(&descriptor);
        if let Some(inotify) = &state.inotify {
            // It may be gone with its directory.
            let _ = inotify::remove_watch(&**inotify, descriptor);
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

    async fn is_quiet(watch: &Watch) -> bool {
        let short = Duration::from_millis(50);
        tokio::time::timeout(short, watch.changed()).await.is_err()
    }

    #[tokio::test]
    async fn a_new_binlog_wakes_and_what_else_the_server_does_there_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let watches = Watches::default();
        let watch = watches
            .watch(&dir.path().join("binlog.index"))
            .expect("watched");
        std::fs::write(dir.path().join("ibdata1"), "x").expect("written");
        std::fs::write(dir.path().join("binlogs-of-another.txt"), "x").expect("written");
        assert!(is_quiet(&watch).await);
        std::fs::write(dir.path().join("binlog.000002"), "x").expect("written");
        watch.changed().await;
        assert!(is_quiet(&watch).await);
        std::fs::write(dir.path().join("new"), "x").expect("written");
        std::fs::rename(dir.path().join("new"), dir.path().join("binlog.index")).expect("renamed");
        watch.changed().await;
    }

    #[tokio::test]
    async fn the_watch_on_a_directory_is_over_when_another_has_its_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("mysql");
        let watches = Watches::default();
        let watched = || {
            std::fs::create_dir(&place).expect("made");
            watches.watch(&place.join("binlog.index")).expect("watched")
        };
        let watch = watched();
        assert!(!watch.is_over());
        std::fs::rename(&place, dir.path().join("old")).expect("renamed");
        assert!(watch.is_over());
        drop(watch);
        let watch = watched();
        assert!(!watch.is_over());
        std::fs::write(place.join("binlog.000001"), "x").expect("written");
        watch.changed().await;
        // Deleted, it may leave its number to the next one: the kernel tells.
        std::fs::remove_dir_all(&place).expect("removed");
        watch.changed().await;
        std::fs::create_dir(&place).expect("made");
        assert!(watch.is_over());
    }

    #[tokio::test]
    async fn many_servers_are_watched_at_once_and_each_wakes_its_own() {
        // More than a user may have instances of inotify by default.
        const SERVERS: usize = 300;
        let dir = tempfile::tempdir().expect("a directory");
        let watches = Watches::default();
        let place = |n: usize| dir.path().join(n.to_string());
        let mut all = Vec::new();
        for n in 0..SERVERS {
            std::fs::create_dir(place(n)).expect("made");
            all.push(
                watches
                    .watch(&place(n).join("binlog.index"))
                    .expect("watched"),
            );
        }
        // Two servers may have their binlogs in one directory.
        let twin = watches
            .watch(&place(0).join("other.index"))
            .expect("watched");
        std::fs::write(place(7).join("binlog.000001"), "x").expect("written");
        all[7].changed().await;
        assert!(is_quiet(&all[8]).await);
        std::fs::write(place(0).join("other.000001"), "x").expect("written");
        twin.changed().await;
        assert!(is_quiet(&all[0]).await);
        all.remove(0);
        std::fs::write(place(0).join("other.000002"), "x").expect("written");
        twin.changed().await;
        drop(all);
        assert_eq!(watches.lock().listeners.len(), 1);
    }
}

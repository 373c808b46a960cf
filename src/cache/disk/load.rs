//! Looks for frames on disk.

use super::entry::ObjectTag;
use super::{LOAD_PATIENCE, Shared, StreamDisk, StreamShared, TOUCH_AFTER, evict};
use crate::model::ObjectKey;
use crate::model::counted::count;
use bytes::Bytes;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use tokio::sync::OwnedSemaphorePermit;

/// Bytes after which a look ends: what it found can be decoded while the next one is under way.
pub const LOOK_BYTES: u64 = 1 << 20;
/// A look that was given less time than this, by somebody whose read is nearly over, tells nothing of the disk.
const VERDICT_PATIENCE: Duration = Duration::from_millis(200);

/// A fault is told once a process; the counts tell how many there were.
static FAULT_TOLD: AtomicBool = AtomicBool::new(false);

/// What opens a file to be read.
type Open = fn(&Path) -> rustix::io::Result<OwnedFd>;

/// A frame that is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Its number.
    pub frame: u32,
    /// Bytes of its object range.
    pub stored_bytes: u64,
}

/// What a look found. Nothing of it is proven yet.
#[derive(Debug, Default)]
pub struct Looked {
    /// How many of those wanted were looked for, from the first on.
    pub looked_for: usize,
    /// Those of them that were there.
    pub found: Vec<(u32, Bytes)>,
    /// Bounds what looks hold: given back when this is dropped.
    _permit: Option<OwnedSemaphorePermit>,
}

impl StreamDisk {
    /// Looks for `wanted` frames of the object `key`, in this order, until it has found about [`LOOK_BYTES`].
    ///
    /// Never fails and never takes longer than `patience`, nor than [`LOAD_PATIENCE`]: then nothing was found, and for a while
    /// nothing is looked for.
    pub async fn look(&self, key: &ObjectKey, wanted: Vec<Wanted>, patience: Duration) -> Looked {
        let all = wanted.len();
        let shared = &self.cache.shared;
        let nothing = || {
            self.stream.counts.missed(all as u64);
            Looked {
                looked_for: all,
                ..Looked::default()
            }
        };
        if shared.looking.is_on() {
            return nothing();
        }
        let (stream, tag) = (Arc::clone(&self.stream), ObjectTag::of(key));
        let loads = Arc::clone(&shared.loads);
        let work = async move {
            let permit = loads.acquire_owned().await.ok();
            // The permit goes with the thread: one that hangs in the disk keeps it.
            let look = move || Looked {
                _permit: permit,
                ..look(&stream, &tag, &wanted, open)
            };
            tokio::task::spawn_blocking(look).await
        };
        let patience = LOAD_PATIENCE.min(patience);
        let looked = match tokio::time::timeout(patience, work).await {
            Ok(Ok(looked)) => looked,
            // Its thread died: whoever reads goes on without.
            Ok(Err(_)) => return nothing(),
            Err(_) => {
                if patience >= VERDICT_PATIENCE {
                    shared.too_slow(patience);
                }
                return nothing();
            }
        };
        if shared.looking.end() {
            tracing::info!("the disk cache {} answers again", shared.root.display());
        }
        let missed = looked.looked_for - looked.found.len();
        self.stream.counts.missed(missed as u64);
        looked
    }

    /// Notes that `count` frames that were found, of `bytes` in all, were proven.
    pub fn proven(&self, count: u64, bytes: u64) {
        self.stream.counts.hit(count, bytes);
    }

    /// Notes that a frame that was found is not the one archived, and removes it.
    pub fn faulty(&self, key: &ObjectKey, frame: u32, what: &dyn std::fmt::Display) {
        let path = ObjectTag::of(key).path(&self.stream.dir, frame);
        self.stream.counts.missed(1);
        fault(&self.stream, &path, what);
    }
}

impl Shared {
    /// Leaves the disk alone for a while: it did not answer within `patience`.
    fn too_slow(&self, patience: Duration) {
        let why = format!("it did not answer within {:.1} s", patience.as_secs_f32());
        if self.looking.begin(why.clone()) {
            let root = self.root.display();
            tracing::warn!(
                "the disk cache {root} is not used for now: {why}; reading goes on without"
            );
        }
    }
}

fn look(stream: &StreamShared, tag: &ObjectTag, wanted: &[Wanted], open: Open) -> Looked {
    let mut looked = Looked::default();
    let mut bytes = 0;
    for one in wanted {
        if bytes >= LOOK_BYTES {
            break;
        }
        looked.looked_for += 1;
        let path = tag.path(&stream.dir, one.frame);
        match read(open(&path), one.stored_bytes) {
            Ok(Some(found)) => {
                bytes += found.len() as u64;
                looked.found.push((one.frame, found));
            }
            Ok(None) => {}
            Err(what) => fault(stream, &path, &what),
        }
    }
    looked
}

/// Opens a file to be read, whatever stands there: no link is followed, and opening a pipe does not wait for its other end.
fn open(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// The `len` bytes of a file that was opened; `None` if there is none, or if this process or this host cannot read it now.
fn read(opened: rustix::io::Result<OwnedFd>, len: u64) -> Result<Option<Bytes>, String> {
    let opened = opened.map_err(io::Error::from);
    let error = match opened.and_then(|fd| contents(File::from(fd), len)) {
        Ok(bytes) => return Ok(Some(bytes)),
        Err(error) => error,
    };
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        // Too many files are open, or memory is short: that says nothing of this file, which is good for the next look.
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR) => {
            tracing::debug!(%error, "a frame on disk cannot be looked for now");
            Ok(None)
        }
        _ => Err(error.to_string()),
    }
}

fn contents(mut file: File, len: u64) -> io::Result<Bytes> {
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    if meta.len() != len {
        let found = count(meta.len(), "byte");
        return Err(io::Error::other(format!("it has {found} instead of {len}")));
    }
    let size = usize::try_from(len).map_err(|_| io::Error::other("it is too large"))?;
    let mut bytes = vec![0; size];
    file.read_exact(&mut bytes)?;
    touch(&file, meta.modified().ok());
    Ok(bytes.into())
}

/// Notes that a file is used. On a read-only disk, where nothing is evicted either, it stays as it is.
fn touch(file: &File, used: Option<SystemTime>) {
    let now = SystemTime::now();
    let fresh =
        used.is_some_and(|used| now.duration_since(used).is_ok_and(|age| age < TOUCH_AFTER));
    if !fresh {
        let _ = file.set_modified(now);
    }
}

fn fault(stream: &StreamShared, path: &Path, what: &dyn std::fmt::Display) {
    stream.counts.faults.fetch_add(1, Ordering::Relaxed);
    let path_shown = path.display();
    if FAULT_TOLD.swap(true, Ordering::Relaxed) {
        tracing::debug!("a frame on disk is not used: {path_shown}: {what}");
    } else {
        tracing::warn!(
            "a frame on disk is not used, and removed; it is fetched instead: {path_shown}: {what}. Further ones are only counted: \
             see 'binlogfs cache status'"
        );
    }
    if let Err(error) = evict::remove(path) {
        tracing::debug!(%error, "a faulty frame on disk stays: {path_shown}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::disk::{DiskCache, LOADS};
    use uuid::Uuid;

    /// The `len` bytes of the file at `path`.
    fn read(path: &Path, len: u64) -> Result<Option<Bytes>, String> {
        super::read(open(path), len)
    }

    #[test]
    fn a_frame_that_cannot_be_opened_for_want_of_open_files_is_a_miss_and_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = DiskCache::look_only(dir.path()).stream(Uuid::from_u128(1), "");
        let key: ObjectKey = "segments/x".parse().expect("a key");
        let tag = ObjectTag::of(&key);
        let path = tag.path(&disk.stream.dir, 0);
        std::fs::create_dir_all(path.parent().expect("a shard")).expect("writable");
        std::fs::write(&path, b"abc").expect("writable");
        let wanted = [Wanted {
            frame: 0,
            stored_bytes: 3,
        }];
        // How many are found, and how many faults there have been.
        let look = |open: Open| {
            let looked = look(&disk.stream, &tag, &wanted, open);
            (looked.found.len(), disk.stream.counts.now().faults)
        };
        let short: [Open; 3] = [
            |_| Err(Errno::MFILE),
            |_| Err(Errno::NFILE),
            |_| Err(Errno::NOMEM),
        ];
        for open in short {
            assert_eq!(look(open), (0, 0));
            assert!(path.exists());
        }
        assert_eq!(look(open), (1, 0));
        assert_eq!(look(|_| Err(Errno::IO)), (0, 1));
        assert!(!path.exists(), "what cannot be read goes");
    }

    #[test]
    fn a_file_is_given_only_if_it_is_one_and_has_its_length() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");
        assert_eq!(read(&path, 3), Ok(None));
        std::fs::write(&path, b"abc").expect("writable");
        assert_eq!(read(&path, 3), Ok(Some(Bytes::from_static(b"abc"))));
        assert!(read(&path, 2).is_err() && read(&path, 4).is_err());
        std::fs::write(&path, b"a").expect("writable");
        let cut = read(&path, 3).expect_err("cut off");
        assert_eq!(cut, "it has 1 byte instead of 3");
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).expect("writable");
        assert!(read(&link, 3).is_err());
        assert!(read(dir.path(), 3).is_err());
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .expect("makes");
        assert!(read(&pipe, 0).is_err());
        assert_eq!(read(&path.join("below"), 3), Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_does_not_answer_is_a_miss_and_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let cache = DiskCache::look_only(dir.path());
        let disk = cache.stream(Uuid::from_u128(1), "");
        let key: ObjectKey = "segments/x".parse().expect("a key");
        let look = |patience: Duration| {
            let wanted = Wanted {
                frame: 0,
                stored_bytes: 1,
            };
            disk.look(&key, vec![wanted], patience)
        };
        let patient = LOAD_PATIENCE * 10;
        // As many looks as there may be hang in it.
        let hang = Arc::clone(&cache.shared.loads).acquire_many_owned(LOADS as u32);
        let hanging = hang.await.expect("open");
        let begun = tokio::time::Instant::now();
        // Whose read is nearly over waits no longer, and that is no word against the disk.
        look(VERDICT_PATIENCE / 2).await;
        assert!(begun.elapsed() < VERDICT_PATIENCE);
        assert!(disk.figures().not_looking.is_none());
        let begun = tokio::time::Instant::now();
        let looked = look(patient).await;
        assert_eq!((looked.looked_for, looked.found.len()), (1, 0));
        assert!((LOAD_PATIENCE..LOAD_PATIENCE * 2).contains(&begun.elapsed()));
        let after_one = begun.elapsed();
        for _ in 0..100 {
            look(patient).await;
        }
        assert_eq!(begun.elapsed(), after_one);
        let figures = disk.figures();
        assert_eq!(figures.counts.misses, 102);
        assert!(figures.not_looking.is_some());
        drop(hanging);
    }

    #[test]
    fn a_use_is_noted_when_the_last_one_is_long_ago() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x");
        std::fs::write(&path, b"abc").expect("writable");
        let used = || {
            let meta = path.metadata().expect("there");
            meta.modified().expect("told")
        };
        let fresh = used();
        read(&path, 3).expect("reads");
        assert_eq!(used(), fresh);
        let long_ago = SystemTime::now() - TOUCH_AFTER * 2;
        let file = File::options().write(true).open(&path).expect("there");
        file.set_modified(long_ago).expect("ours");
        read(&path, 3).expect("reads");
        assert!(used() >= fresh);
    }
}

//! The thread that writes frames, and makes room for them.

use super::counts::{self, COUNTS_NAME, DiskCounts};
use super::entry::{self, ObjectTag, TEMP_PREFIX};
use super::evict::{self, Evicted};
use super::limits::{SLACK_SHARE, Space, WALK_SHARE};
use super::{NOT_COUNTED, Shared, StreamShared};
use bytes::Bytes;
use std::collections::HashMap;
use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant};

/// How often the counts are added to those on disk, and the free space is looked at: others fill the disk too.
const TICK: Duration = Duration::from_secs(10);
/// How long a file system may take to tell the space that it got back as free: ZFS and btrfs do when they have written what they
/// collect, every 5 and every 30 s.
const GIVEN_BACK_WITHIN: Duration = Duration::from_secs(30);
/// Frames as stored are for whoever may read the bucket, and that is not everybody on this host.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;

/// What the thread is told.
pub(super) enum Order {
    /// To keep frames.
    Keep(Run),
    /// To tell when all orders before this one are done.
    Flush(SyncSender<()>),
}

/// Frames of one object.
pub(super) struct Run {
    pub(super) stream: Arc<StreamShared>,
    pub(super) tag: ObjectTag,
    /// What was fetched.
    pub(super) bytes: Bytes,
    /// Where in it each frame is.
    pub(super) frames: Vec<(u32, Range<usize>)>,
}

/// The thread.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    orders: Receiver<Order>,
    /// What all files cost, as of the last walk and what was written since; `None` before the first.
    used: Option<u64>,
    since_walk: u64,
    /// Set while the file system does not tell yet what it got back.
    promised: Option<Promised>,
    told: HashMap<PathBuf, DiskCounts>,
    temp_prefix: String,
    temps: u64,
}

/// Free space that there is, whatever the file system tells: else for every frame as much would go again, until nothing is left.
struct Promised {
    free_bytes: u64,
    until: Instant,
}

/// Why frames are not kept for now.
enum Refusal {
    /// Somebody else makes room at this moment.
    Busy,
    /// It failed, or there is no room to be had.
    Rest(String),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Refusal {
        Refusal::Rest(error.to_string())
    }
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, orders: Receiver<Order>) -> Keeper {
        // Without random numbers two processes may write to one temporary file, and what they keep is not proven later.
        let random = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
        Keeper {
            shared,
            orders,
            used: None,
            since_walk: 0,
            promised: None,
            told: HashMap::new(),
            temp_prefix: format!("{TEMP_PREFIX}{random:016x}"),
            temps: 0,
        }
    }

    /// Goes on until nobody can give orders any more.
    pub(super) fn run(mut self) {
        let mut ticked = Instant::now();
        loop {
            match self
                .orders
                .recv_timeout(TICK.saturating_sub(ticked.elapsed()))
            {
                Ok(Order::Keep(run)) => {
                    self.keep(&run);
                    let held = run.bytes.len() as u64;
                    self.shared.queued_bytes.fetch_sub(held, Ordering::AcqRel);
                }
                Ok(Order::Flush(done)) => {
                    self.tell_counts();
                    let _ = done.send(());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.tell_counts();
                self.give_way();
            }
        }
        self.tell_counts();
    }

    fn keep(&mut self, run: &Run) {
        let count = run.frames.len() as u64;
        let mut kept = 0;
        let outcome = self.keep_all(run, &mut kept);
        let skipped = &run.stream.counts.skipped;
        skipped.fetch_add(count - kept, Ordering::Relaxed);
        if kept > 0 && !run.stream.dir.join(COUNTS_NAME).exists() {
            // Whose frames these are is told at once.
            self.tell_counts();
        }
        let root = self.shared.root.display();
        match outcome {
            Ok(()) if kept > 0 => {
                if self.shared.keeping.end() {
                    tracing::info!("frames are kept in the disk cache {root} again");
                }
            }
            Ok(()) | Err(Refusal::Busy) => {}
            Err(Refusal::Rest(why)) => {
                if self.shared.keeping.begin(why.clone()) {
                    tracing::warn!(
                        "no frames are kept in the disk cache {root} for now: {why}; reading goes on without"
                    );
                }
            }
        }
    }

    fn keep_all(&mut self, run: &Run, kept: &mut u64) -> Result<(), Refusal> {
        if self.shared.keeping.is_on() {
            return Ok(());
        }
        for (frame, range) in &run.frames {
            let bytes = run.bytes.get(range.clone()).unwrap_or_default();
            let cost = entry::cost(bytes.len() as u64);
            if !self.shared.limits.takes(cost) {
                continue;
            }
            self.make_room(cost)?;
            match self.write(run, *frame, bytes) {
                Ok(true) => *kept += 1,
                Ok(false) => continue,
                Err(error) => return Err(self.failed(error)),
            }
            self.since_walk += cost;
            if let Some(promised) = &mut self.promised {
                let written = entry::blocks(bytes.len() as u64);
                promised.free_bytes = promised.free_bytes.saturating_sub(written);
            }
            self.used = self.used.map(|used| used + cost);
            let counts = &run.stream.counts;
            counts.kept.fetch_add(1, Ordering::Relaxed);
            counts
                .kept_bytes
                .fetch_add(bytes.len() as u64, Ordering::Relaxed);
        }
        self.publish();
        Ok(())
    }

    /// After a write that failed: if the disk is full, whatever limits there are, it is given something back.
    fn failed(&mut self, error: io::Error) -> Refusal {
        if matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            self.promised = None;
            let less = self.used.unwrap_or_default() / SLACK_SHARE;
            if let Err(Refusal::Rest(why)) = self.evict(0, less) {
                tracing::debug!(why, "nothing could be evicted either");
            }
        }
        error.into()
    }

    /// Writes one frame, whole or not at all; `false` if something is in the way that is no fault of the disk.
    fn write(&mut self, run: &Run, frame: u32, bytes: &[u8]) -> io::Result<bool> {
        let shard = run.tag.shard(&run.stream.dir, frame);
        self.temps += 1;
        let temp = shard.join(format!("{}-{}", self.temp_prefix, self.temps));
        let mut file = match create(&temp) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // The first of its shard, or somebody removed the directory, and may do so again.
                make_dirs(&shard)?;
                match create(&temp) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                    created => created?,
                }
            }
            created => created?,
        };
        let path = run.tag.path(&run.stream.dir, frame);
        let written = file
            .write_all(bytes)
            .and_then(|()| std::fs::rename(&temp, &path));
        match written {
            Ok(()) => Ok(true),
            Err(error) => {
                let _ = std::fs::remove_file(&temp);
                match error.kind() {
                    // Removed with its directory between the two, or something of another kind stands there: not ours.
                    io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => Ok(false),
                    _ => Err(error),
                }
            }
        }
    }

    /// Sees that `incoming` bytes may be written.
    fn make_room(&mut self, incoming: u64) -> Result<(), Refusal> {
        let limits = self.shared.limits;
        if let Some(used) = self.used
            && self.since_walk < limits.size_bytes / WALK_SHARE
            && limits.must_go(used, incoming, self.space()?).is_nothing()
        {
            return Ok(());
        }
        self.evict(incoming, 0)
    }

    fn evict(&mut self, incoming: u64, at_least: u64) -> Result<(), Refusal> {
        let shared = Arc::clone(&self.shared);
        make_dirs(&shared.root)?;
        let lock = match evict::lock(&shared.root) {
            // Somebody has just removed the directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            lock => lock?,
        };
        let Some(_lock) = lock else {
            return Err(Refusal::Busy);
        };
        let promised = self.promised();
        let evicted = evict::evict(&shared.root, &shared.limits, incoming, at_least, promised)?;
        self.note_promise(&evicted);
        let Evicted {
            files,
            bytes,
            used_bytes,
            is_room,
            ..
        } = evicted;
        self.used = Some(used_bytes);
        self.since_walk = 0;
        shared.evicted.fetch_add(files, Ordering::Relaxed);
        shared.evicted_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.publish();
        if is_room {
            return Ok(());
        }
        let keep = shared.limits.keep_free;
        Err(Refusal::Rest(format!(
            "its disk has less free than cache_free={keep}"
        )))
    }

    /// Gives back what others need of the disk, although nothing is to be kept.
    fn give_way(&mut self) {
        let root = &self.shared.root;
        let Ok(space) = self.space() else {
            return;
        };
        let used = self.used.unwrap_or_default();
        let fits = self.shared.limits.must_go(used, 0, space).is_nothing();
        if root.exists()
            && (self.used.is_none() || (used > 0 && !fits))
            && let Err(Refusal::Rest(why)) = self.evict(0, 0)
        {
            tracing::debug!(why, "the disk cache cannot give way");
        }
    }

    /// Notes what the file system got back, if it does not tell that yet.
    fn note_promise(&mut self, evicted: &Evicted) {
        if evicted.blocks == 0 {
            return;
        }
        let told = evict::space(&self.shared.root).map_or(u64::MAX, |space| space.free_bytes);
        // Others who write meanwhile do not write half of that.
        let is_late = evicted.free_bytes.saturating_sub(told) > evicted.blocks / 2;
        let now = Instant::now();
        // One is not made longer by the next: what others have written is seen when it is over.
        let before = self.promised.as_ref().map(|promised| promised.until);
        let until = before.filter(|until| now < *until);
        self.promised = is_late.then(|| Promised {
            free_bytes: evicted.free_bytes,
            until: until.unwrap_or(now + GIVEN_BACK_WITHIN),
        });
    }

    /// The space of the file system, with what it got back and does not tell yet.
    fn space(&self) -> io::Result<Space> {
        Ok(evict::space(&self.shared.root)?.with_free(self.promised()))
    }

    /// Free bytes that there are, whatever the file system tells.
    fn promised(&self) -> u64 {
        let promised = self.promised.as_ref();
        let promised = promised.filter(|promised| Instant::now() < promised.until);
        promised.map_or(0, |promised| promised.free_bytes)
    }

    fn publish(&self) {
        let used = self.used.unwrap_or(NOT_COUNTED);
        self.shared.used_bytes.store(used, Ordering::Relaxed);
    }

    /// Adds what was counted since the last time to the sums on disk. What cannot be added now is added later.
    fn tell_counts(&mut self) {
        let streams: Vec<_> = self.shared.streams().clone();
        for stream in streams {
            let now = stream.counts.now();
            let told = self.told.entry(stream.dir.clone()).or_default();
            let new = now.since(told);
            if new == DiskCounts::default() || !stream.dir.exists() {
                continue;
            }
            let added = match evict::lock(&self.shared.root) {
                Ok(Some(_lock)) => counts::add(&stream.dir, &stream.url, &new),
                Ok(None) => continue,
                Err(error) => Err(error),
            };
            match added {
                Ok(()) => *told = now,
                Err(error) => tracing::debug!(%error, "the counts of the disk cache are not kept"),
            }
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    File::options()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
}

fn make_dirs(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(DIR_MODE)
        .create(path)
}

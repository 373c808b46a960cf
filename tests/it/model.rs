//! The mount against a model: random operations on both, the answers compared.
//!
//! The model is a directory of plain files, kept in memory. What is compared is played through the kernel, and once more on the
//! view alone, so that a fault which the page cache hides is seen as well. Between the operations segments appear, frames are
//! pushed out, the index is deleted, holes are filled, damaged segments get better copies, and the store fails: then an answer may be one of the documented errors, but never a wrong
//! byte, and once the store is well again everything is right without remounting.

use crate::fixture::{Archive, Segment, content};
use crate::random::Random;
use binlogfs::cache::{CacheOptions, SegmentReader};
use binlogfs::fs::view::View;
use binlogfs::fs::{
    History, HistorySource as _, MountHandle, MountOptions, Options, Ownership, Refreshed,
    StreamSource, mount,
};
use binlogfs::index::Index;
use binlogfs::ledger::Entry;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{ErrorKind, SharedStore};
use binlogfs::stream::Stream;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Operations of one round.
const OPERATIONS: u64 = 120;
/// Rounds of one run; each has an archive of its own.
const ROUNDS: u64 = 4;
/// What a read may take while the store hangs.
const DEADLINE: Duration = Duration::from_secs(1);
/// How long everything may take to be right again: a deadline that ran out is remembered for a second.
const HEALED_WITHIN: Duration = Duration::from_secs(10);
/// Decoded frames kept: fewer than one large segment has, so that they are pushed out all the time.
const FRAME_BYTES: usize = 96 << 10;
/// What a store that fails may be told as.
const FAULTS: [i32; 3] = [libc::EIO, libc::ETIMEDOUT, libc::ESTALE];

/// A file as it must look.
enum Plain {
    Whole(Vec<u8>),
    /// Readable up to the position.
    Damaged(Vec<u8>, usize),
    Hole,
}

impl Plain {
    fn size(&self) -> u64 {
        match self {
            Plain::Whole(bytes) | Plain::Damaged(bytes, _) => bytes.len() as u64,
            Plain::Hole => 0,
        }
    }

    /// What one read of `len` bytes at `offset` must give.
    fn read(&self, offset: usize, len: usize) -> Result<&[u8], i32> {
        let (bytes, readable) = match self {
            Plain::Whole(bytes) => (bytes, bytes.len()),
            Plain::Damaged(bytes, readable) => (bytes, *readable),
            Plain::Hole => return Err(libc::EIO),
        };
        if offset >= readable {
            return match offset < bytes.len() && len > 0 {
                true => Err(libc::EIO),
                false => Ok(&[]),
            };
        }
        Ok(&bytes[offset..(offset + len).min(readable)])
    }
}

/// What is compared with the model.
trait Face: Sync {
    fn names(&self, random: &mut Random) -> Vec<String>;
    fn size(&self, name: &str) -> Result<u64, i32>;
    fn open(&self, name: &str) -> Result<u64, i32>;
    fn read(&self, handle: u64, offset: u64, len: usize) -> Result<Vec<u8>, i32>;
    fn close(&self, handle: u64);
    /// Drops what is cached of an open file above the view.
    fn forget(&self, handle: u64);
    /// Sees what is new, sooner or later.
    fn look_again(&self);
}

/// How the store behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    Fails,
    Lies,
    Cuts,
    Hangs,
}

const MOODS: [Mood; 4] = [Mood::Fails, Mood::Lies, Mood::Cuts, Mood::Hangs];

/// The store's mood, shared with its clock.
#[derive(Clone, Default)]
struct Weather(Arc<AtomicU8>);

impl Weather {
    fn set(&self, mood: Mood) {
        self.0.store(mood as u8, Ordering::SeqCst);
    }

    fn store(&self, archive: &Archive) -> SharedStore {
        let now = Arc::clone(&self.0);
        let clock = FaultClock::new(move |op| {
            let mood = now.load(Ordering::SeqCst);
            // Some requests are answered well, so that runs are cut in the middle.
            let well = op.n % 3 == 0;
            match mood {
                m if m == Mood::Well as u8 || well => Fault::None,
                m if m == Mood::Fails as u8 => Fault::ErrorBefore(ErrorKind::Transient),
                m if m == Mood::Lies as u8 => Fault::WrongBody,
                m if m == Mood::Cuts as u8 => Fault::TruncatedBody,
                _ => Fault::Delay(Duration::from_secs(3600)),
            }
        });
        Arc::new(FaultStore::new(archive.shared(), clock))
    }
}

/// What a face is made of.
struct Parts {
    source: Arc<StreamSource>,
    reader: Arc<SegmentReader>,
}

async fn parts(archive: &Archive, weather: &Weather, index: &std::path::Path) -> Parts {
    let (index, _) = Index::open(index).expect("opens");
    let index = Arc::new(index);
    let stream = Stream::open(archive.shared(), Arc::clone(&index)).await;
    let options = CacheOptions {
        // Half of it is for frames that are kept.
        memory_bytes: 2 * FRAME_BYTES,
        deadline: DEADLINE,
        ..CacheOptions::default()
    };
    let store = weather.store(archive);
    let tails = Some(index as Arc<_>);
    Parts {
        source: Arc::new(StreamSource::new(Arc::new(stream.expect("a stream")))),
        reader: Arc::new(SegmentReader::new(
            store,
            archive.identities(),
            tails,
            options,
        )),
    }
}

const OWNERSHIP: Ownership = Ownership {
    uid: 0,
    gid: 0,
    mode: 0o440,
};

/// Through the kernel.
struct Kernel {
    runtime: Arc<Runtime>,
    handle: Option<MountHandle>,
    dir: tempfile::TempDir,
    files: Mutex<HashMap<u64, Arc<File>>>,
}

impl Kernel {
    fn new(runtime: &Arc<Runtime>, parts: Parts) -> Kernel {
        let dir = tempfile::tempdir().expect("a directory");
        let options = Options {
            mount: MountOptions {
                target: dir.path().to_owned(),
                source: "memory://model".to_owned(),
                allow_other: false,
            },
            ownership: OWNERSHIP,
            refresh: Duration::from_millis(20),
        };
        let mounted = runtime.block_on(mount(parts.source, parts.reader, options));
        Kernel {
            runtime: Arc::clone(runtime),
            handle: Some(mounted.expect("mounts: these tests need root and /dev/fuse")),
            dir,
            files: Mutex::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, handle: u64) -> Arc<File> {
        Arc::clone(&self.files.lock().expect("no panics")[&handle])
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.files.lock().expect("no panics").clear();
        if let Some(handle) = self.handle.take() {
            self.runtime.block_on(handle.unmount()).expect("unmounts");
        }
    }
}

fn errno(error: &std::io::Error) -> i32 {
    error.raw_os_error().expect("an errno")
}

impl Face for Kernel {
    fn names(&self, random: &mut Random) -> Vec<String> {
        let dir = File::open(self.dir.path()).expect("opens");
        // Small buffers make the kernel go on from cookies in the middle.
        let mut space = vec![std::mem::MaybeUninit::uninit(); 256 << random.below(6)];
        let mut raw = rustix::fs::RawDir::new(dir, &mut space);
        let mut names = Vec::new();
        while let Some(entry) = raw.next() {
            let name = entry
                .expect("lists")
                .file_name()
                .to_str()
                .expect("text")
                .to_owned();
            names.push(name);
        }
        names.retain(|name| name != "." && name != "..");
        names
    }

    fn size(&self, name: &str) -> Result<u64, i32> {
        let meta = std::fs::metadata(self.path(name));
        meta.map(|meta| meta.len()).map_err(|e| errno(&e))
    }

    fn open(&self, name: &str) -> Result<u64, i32> {
        let file = File::open(self.path(name)).map_err(|e| errno(&e))?;
        let mut files = self.files.lock().expect("no panics");
        let handle = files.keys().max().map_or(1, |last| last + 1);
        files.insert(handle, Arc::new(file));
        Ok(handle)
    }

    fn read(&self, handle: u64, offset: u64, len: usize) -> Result<Vec<u8>, i32> {
        let mut bytes = vec![0; len];
        let read = self.file(handle).read_at(&mut bytes, offset);
        bytes.truncate(read.map_err(|e| errno(&e))?);
        Ok(bytes)
    }

    fn close(&self, handle: u64) {
        self.files.lock().expect("no panics").remove(&handle);
    }

    fn forget(&self, handle: u64) {
        let file = self.file(handle);
        rustix::fs::fadvise(&*file, 0, None, rustix::fs::Advice::DontNeed).expect("advises");
    }

    fn look_again(&self) {}
}

/// Without the kernel.
struct Bare {
    runtime: Arc<Runtime>,
    source: Arc<StreamSource>,
    view: Arc<View>,
}

impl Bare {
    fn new(runtime: &Arc<Runtime>, parts: Parts) -> Bare {
        let (source, mut history) = (parts.source, History::default());
        runtime.block_on(source.refresh()).expect("follows");
        source.extend(&mut history).expect("reads");
        let view = View::new(Arc::clone(&source) as _, parts.reader, history, OWNERSHIP);
        Bare {
            runtime: Arc::clone(runtime),
            source,
            view: Arc::new(view),
        }
    }

    fn ino(&self, name: &str) -> Result<u64, i32> {
        Ok(self.view.lookup(ROOT_INO, OsStr::new(name))?.ino)
    }
}

/// The root, as the kernel names it.
const ROOT_INO: u64 = 1;

impl Face for Bare {
    fn names(&self, random: &mut Random) -> Vec<String> {
        let (mut names, mut cookie) = (Vec::new(), 0);
        loop {
            let (mut left, before) = (1 + random.below(5), names.len());
            let listed = self.view.list(ROOT_INO, cookie, |listed, _| {
                cookie = listed.cookie;
                names.push(listed.name.clone());
                left -= 1;
                left > 0
            });
            listed.expect("a directory");
            if names.len() == before {
                names.retain(|name| name != "." && name != "..");
                return names;
            }
        }
    }

    fn size(&self, name: &str) -> Result<u64, i32> {
        Ok(self.view.lookup(ROOT_INO, OsStr::new(name))?.size)
    }

    fn open(&self, name: &str) -> Result<u64, i32> {
        let opened = self
            .runtime
            .block_on(Arc::clone(&self.view).open(self.ino(name)?));
        Ok(opened?.handle)
    }

    fn read(&self, handle: u64, offset: u64, len: usize) -> Result<Vec<u8>, i32> {
        let read = Arc::clone(&self.view).read(handle, offset, len as u32);
        Ok(self.runtime.block_on(read)?.to_vec())
    }

    fn close(&self, handle: u64) {
        self.view.release(handle);
    }

    fn forget(&self, _: u64) {}

    fn look_again(&self) {
        let refreshed = self.runtime.block_on(self.source.refresh());
        let mut history = match refreshed.expect("follows") {
            Refreshed::Rewritten => History::default(),
            Refreshed::Appended | Refreshed::Unchanged => History::clone(&self.view.history()),
        };
        self.source.extend(&mut history).expect("reads");
        self.view.show(history);
    }
}

/// One archive, its model, and the face that is compared with it.
struct Game<F> {
    runtime: Arc<Runtime>,
    archive: Arc<Archive>,
    weather: Weather,
    mood: Mood,
    index: tempfile::TempDir,
    make: fn(&Arc<Runtime>, Parts) -> F,
    face: Option<F>,
    files: BTreeMap<String, Arc<Plain>>,
    /// What each stands for in the ledger.
    entries: BTreeMap<String, Entry>,
    open: Vec<Open>,
    random: Random,
    next: u64,
}

/// A file that is open: it stays what it was.
#[derive(Clone)]
struct Open {
    handle: u64,
    name: String,
    plain: Arc<Plain>,
}

fn name(number: u64) -> String {
    format!("binlog.{number:06}")
}

impl<F: Face> Game<F> {
    fn new(
        runtime: &Arc<Runtime>,
        mut random: Random,
        make: fn(&Arc<Runtime>, Parts) -> F,
    ) -> Game<F> {
        let mut game = Game {
            runtime: Arc::clone(runtime),
            archive: Archive::new(random.one_in(2)),
            weather: Weather::default(),
            mood: Mood::Well,
            index: tempfile::tempdir().expect("a directory"),
            make,
            face: None,
            files: BTreeMap::new(),
            entries: BTreeMap::new(),
            open: Vec::new(),
            random,
            next: 1,
        };
        for _ in 0..3 {
            game.archive_one();
        }
        game.mount();
        game
    }

    fn face(&self) -> &F {
        self.face.as_ref().expect("it is mounted")
    }

    fn mount(&mut self) {
        self.open.clear();
        drop(self.face.take());
        let path = self.index.path().join("index.db");
        let parts = self
            .runtime
            .block_on(parts(&self.archive, &self.weather, &path));
        self.face = Some((self.make)(&self.runtime, parts));
    }

    fn archive_one(&mut self) {
        let number = self.next;
        self.next += 1;
        let (entry, plain) = if number > 1 && self.random.one_in(8) {
            (self.archive.add_hole(number), Plain::Hole)
        } else {
            let bytes = content(number, self.random.below(200_000) as usize);
            let readable = self.random.below(bytes.len() as u64 + 1);
            // The first is whole: mounting looks at what it can read.
            let damaged = number > 1 && readable > 0 && self.random.one_in(6);
            let segment = Segment {
                frame_size: 1 << (12 + self.random.below(6)),
                first_bad_position: damaged.then_some(readable),
                ..Segment::new(number, bytes.clone())
            };
            let entry = self.runtime.block_on(self.archive.add(&segment));
            let plain = match damaged {
                true => Plain::Damaged(bytes, readable as usize),
                false => Plain::Whole(bytes),
            };
            (entry, plain)
        };
        self.files.insert(name(number), Arc::new(plain));
        self.entries.insert(name(number), entry);
    }

    /// Fills a hole, or has a better copy of what is damaged, of any size and with other bytes.
    fn mend(&mut self) {
        let broken = self.files.iter();
        let mut broken = broken.filter(|(_, plain)| !matches!(***plain, Plain::Whole(_)));
        let Some((name, _)) = broken.next() else {
            return;
        };
        if self.mood != Mood::Well {
            return;
        }
        let (name, entry) = (name.clone(), self.entries[name].clone());
        let bytes = content(self.random.next(), 1 + self.random.below(200_000) as usize);
        let segment = Segment::new(entry.number.0, bytes.clone());
        self.runtime
            .block_on(self.archive.supersede(&entry, &segment));
        self.face().look_again();
        let is_seen = || {
            let face = self.face();
            if face.size(&name) != Ok(bytes.len() as u64) {
                return false;
            }
            let Ok(handle) = face.open(&name) else {
                return false;
            };
            let read = face.read(handle, 0, bytes.len());
            face.close(handle);
            read.is_ok_and(|got| got == bytes)
        };
        let begun = Instant::now();
        while !is_seen() {
            assert!(begun.elapsed() < HEALED_WITHIN, "{name} was not mended");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.files.insert(name, Arc::new(Plain::Whole(bytes)));
    }

    fn any_name(&mut self) -> String {
        // One of them is not there yet.
        name(1 + self.random.below(self.next))
    }

    fn step(&mut self) {
        // Each read waits for its deadline then: a few tell enough.
        if self.mood == Mood::Hangs && self.random.one_in(3) {
            return self.heal();
        }
        match self.random.below(21) {
            0 => self.list(),
            1 | 2 => self.stat(),
            3..=5 => self.open_one(),
            6..=12 => self.read_one(),
            13 => self.read_through(),
            14 => self.read_many(),
            15 => self.grow(),
            16 => self.forget_one(),
            17 => self.close_one(),
            18 => self.change_weather(),
            19 => self.mend(),
            _ => self.remount(),
        }
    }

    fn list(&mut self) {
        let mut random = Random::of(self.random.next());
        let names = self.face().names(&mut random);
        let expected: Vec<_> = self.files.keys().cloned().collect();
        assert_eq!(names, expected);
    }

    fn stat(&mut self) {
        let name = self.any_name();
        let expected = self.files.get(&name).map(|plain| plain.size());
        let expected = expected.ok_or(libc::ENOENT);
        assert_eq!(self.face().size(&name), expected, "{name}");
    }

    fn open_one(&mut self) {
        let name = self.any_name();
        let opened = self.face().open(&name);
        let Some(plain) = self.files.get(&name).cloned() else {
            return assert_eq!(opened, Err(libc::ENOENT), "{name}");
        };
        if matches!(*plain, Plain::Hole) {
            return assert_eq!(opened, Err(libc::EIO), "{name}");
        }
        match opened {
            Ok(handle) => self.open.push(Open {
                handle,
                name,
                plain,
            }),
            Err(errno) => assert!(self.may_be(errno), "{name}: errno {errno}, {:?}", self.mood),
        }
    }

    /// Whether a read may end with `errno` now that should give bytes.
    fn may_be(&self, errno: i32) -> bool {
        self.mood != Mood::Well && FAULTS.contains(&errno)
    }

    fn any_open(&mut self) -> Option<Open> {
        if self.open.is_empty() {
            return None;
        }
        let which = self.random.below(self.open.len() as u64);
        Some(self.open[which as usize].clone())
    }

    fn any_range(random: &mut Random, size: u64) -> (u64, usize) {
        let len = match random.below(4) {
            0 => random.below(100),
            1 => 8192,
            2 => random.below(20_000),
            _ => random.below(300_000),
        };
        let offset = match random.below(5) {
            0 => size.saturating_sub(random.below(5000)),
            1 => size + random.below(10_000),
            _ => random.below(size.max(1)),
        };
        (offset, len as usize)
    }

    fn read_one(&mut self) {
        let Some(open) = self.any_open() else {
            return;
        };
        let (offset, len) = Self::any_range(&mut self.random, open.plain.size());
        self.compare(&open, offset, len);
    }

    /// One read. A deadline can also run out on a host that has no time for us, and the kernel then gives the pages before the
    /// one that failed, without an error: the rest is read again, for so long.
    fn read(&self, handle: u64, offset: u64, len: usize) -> Result<Vec<u8>, i32> {
        let begun = Instant::now();
        let mut got = Vec::new();
        loop {
            let rest = self
                .face()
                .read(handle, offset + got.len() as u64, len - got.len());
            let again = self.mood == Mood::Well && begun.elapsed() < HEALED_WITHIN;
            match rest {
                Err(libc::ETIMEDOUT) if again => {}
                Err(errno) if got.is_empty() => return Err(errno),
                Err(_) => return Ok(got),
                Ok(rest) => {
                    let ended = rest.is_empty();
                    got.extend(rest);
                    if ended || got.len() == len || !again {
                        return Ok(got);
                    }
                }
            }
        }
    }

    /// One read, compared. Short before the end of what is readable only while the store fails: the kernel cuts at that page.
    fn compare(&self, open: &Open, offset: u64, len: usize) {
        let expected = open.plain.read(offset as usize, len);
        let (name, mood) = (&open.name, self.mood);
        let what = || format!("{name} at {offset}, {len} bytes, the store {mood:?}");
        match (self.read(open.handle, offset, len), expected) {
            (Ok(got), Ok(expected)) if self.mood == Mood::Well => {
                assert!(got == expected, "{}: {} bytes", what(), got.len());
            }
            (Ok(got), Ok(expected)) => {
                assert!(expected.starts_with(&got), "{}: other bytes", what());
                assert!(expected.is_empty() || !got.is_empty(), "{}: an end", what());
            }
            (Err(errno), Err(expected)) => {
                assert!(
                    errno == expected || self.may_be(errno),
                    "{}: errno {errno}",
                    what()
                );
            }
            (Err(errno), Ok(_)) => assert!(self.may_be(errno), "{}: errno {errno}", what()),
            (Ok(got), Err(errno)) => {
                panic!("{}: {} bytes instead of errno {errno}", what(), got.len())
            }
        }
    }

    /// As `cat` does: to the end, in pieces of one size.
    fn read_through(&mut self) {
        let Some(open) = self.any_open() else {
            return;
        };
        let piece = 1 + self.random.below(70_000);
        let mut at = 0;
        while at < open.plain.size() {
            self.compare(&open, at, piece as usize);
            at += piece;
        }
    }

    /// Several readers at once, some of the same file.
    fn read_many(&mut self) {
        let mut plans = Vec::new();
        for _ in 0..4 {
            let Some(open) = self.any_open() else {
                return;
            };
            let size = open.plain.size();
            let ranges: Vec<_> = (0..6)
                .map(|_| Self::any_range(&mut self.random, size))
                .collect();
            plans.push((open, ranges));
        }
        let game = &*self;
        let play = |(open, ranges): &(Open, Vec<(u64, usize)>)| {
            let name = &open.name;
            for (offset, len) in ranges {
                let got = game.read(open.handle, *offset, *len);
                let expected = open.plain.read(*offset as usize, *len);
                match (got, expected) {
                    (Ok(got), Ok(expected)) => assert!(expected.starts_with(&got), "{name}"),
                    (Err(errno), Err(expected)) => {
                        assert!(errno == expected || game.may_be(errno));
                    }
                    (Err(errno), Ok(_)) => assert!(game.may_be(errno), "{name}: errno {errno}"),
                    (Ok(_), Err(errno)) => panic!("{name}: bytes instead of errno {errno}"),
                }
            }
        };
        let play = &play;
        std::thread::scope(|scope| {
            for plan in &plans {
                scope.spawn(move || play(plan));
            }
        });
    }

    fn grow(&mut self) {
        if self.next > 14 {
            return;
        }
        self.archive_one();
        let newest = name(self.next - 1);
        self.face().look_again();
        let begun = Instant::now();
        while self.face().size(&newest).is_err() {
            assert!(begun.elapsed() < HEALED_WITHIN, "{newest} did not appear");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn forget_one(&mut self) {
        if let Some(open) = self.any_open() {
            self.face().forget(open.handle);
        }
    }

    fn close_one(&mut self) {
        if let Some(closed) = self.any_open() {
            self.face().close(closed.handle);
            self.open.retain(|open| open.handle != closed.handle);
        }
    }

    fn change_weather(&mut self) {
        if self.mood == Mood::Well {
            self.mood = MOODS[self.random.below(MOODS.len() as u64) as usize];
            self.weather.set(self.mood);
            return;
        }
        self.heal();
    }

    /// The store is well again, and soon all that is open reads well, on the same handles.
    fn heal(&mut self) {
        self.weather.set(Mood::Well);
        let begun = Instant::now();
        for open in &self.open {
            let name = &open.name;
            let Ok(expected) = open.plain.read(0, 8192) else {
                continue;
            };
            loop {
                match self.face().read(open.handle, 0, 8192) {
                    Ok(got) if got == expected => break,
                    // A wrong byte would be a short read too, but no reader that shares the model's bytes is one.
                    Ok(got) => assert!(expected.starts_with(&got), "{name}: other bytes"),
                    Err(errno) => assert!(FAULTS.contains(&errno), "{name}: errno {errno}"),
                }
                assert!(begun.elapsed() < HEALED_WITHIN, "{name} is not read again");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if self.mood != Mood::Well {
            // What failed on other pages is forgotten as well, also what the kernel reads ahead and nobody waits for.
            std::thread::sleep(DEADLINE + binlogfs::cache::failed::FAILURE_MEMORY);
        }
        self.mood = Mood::Well;
    }

    /// Sometimes without the index that was there.
    fn remount(&mut self) {
        if !self.random.one_in(4) {
            return;
        }
        if self.mood != Mood::Well {
            self.heal();
        }
        drop(self.face.take());
        if self.random.one_in(2) {
            std::fs::remove_file(self.index.path().join("index.db")).expect("it was there");
        }
        self.mount();
    }
}

fn play<F: Face>(make: fn(&Arc<Runtime>, Parts) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let runtime = Arc::new(runtime);
    let mut seeds = Random::seeded();
    for _ in 0..ROUNDS {
        let seed = seeds.next();
        println!("round {seed:#x}");
        let mut game = Game::new(&runtime, Random::of(seed), make);
        for _ in 0..OPERATIONS {
            game.step();
        }
        game.heal();
        for (name, plain) in &game.files {
            if let Plain::Whole(bytes) = &**plain {
                let open = Open {
                    handle: game.face().open(name).expect("opens"),
                    name: name.clone(),
                    plain: Arc::clone(plain),
                };
                let mut at = 0;
                while at < bytes.len() {
                    game.compare(&open, at as u64, 1 << 16);
                    at += 1 << 16;
                }
            }
        }
    }
}

#[test]
fn through_the_kernel_it_answers_like_plain_files() {
    play(Kernel::new);
}

#[test]
fn without_the_kernel_it_answers_like_plain_files() {
    play(Bare::new);
}

//! The mount over a store that hangs: every read ends, once, and everything else goes on. Through the kernel and over TCP.

mod index;
mod process;

use crate::fixture::{Archive, ArchiveSource, Segment, content};
use crate::s3::server::{self, ACCESS_KEY, S3Server, SECRET_KEY};
use crate::slow_link::conditions::{Conditions, Fault};
use crate::slow_link::link::SlowLink;
use binlogfs::cache::failed::FAILURE_MEMORY;
use binlogfs::cache::{CacheOptions, SegmentReader};
use binlogfs::fs::{MountHandle, MountOptions, Options, Ownership, mount};
use binlogfs::model::StoreUrl;
use binlogfs::store::{RetryPolicy, RetryStore, S3Store, SharedStore, Store as _};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(2);
/// What a read may take longer on a busy machine. Less than a second deadline.
const GRACE: Duration = Duration::from_millis(1500);
/// What does not ask the store answers within this, whatever the store does.
const AT_ONCE: Duration = Duration::from_secs(1);
const FILES: u64 = 8;
const FILE_BYTES: usize = 2 << 20;
const READERS: u64 = 64;
/// Larger than a page, so that the kernel has something to repeat.
const READ_BYTES: usize = 64 << 10;
const MEMORY_BYTES: usize = 16 << 20;

/// A mount over an S3 server behind a link that can be broken.
struct Bench {
    handle: Option<MountHandle>,
    reader: Arc<SegmentReader>,
    dir: tempfile::TempDir,
    link: SlowLink,
    contents: Arc<Vec<Vec<u8>>>,
    _server: S3Server,
    _objects: tempfile::TempDir,
}

async fn s3(endpoint: &str) -> S3Store {
    let url: StoreUrl = server::url(endpoint, "p").parse().expect("a URL");
    S3Store::connect_as(&url, RetryPolicy::default(), ACCESS_KEY, SECRET_KEY)
        .await
        .expect("a client")
}

impl Bench {
    async fn new() -> Bench {
        let archive = Archive::new(true);
        let mut contents = Vec::new();
        for number in 1..=FILES {
            let bytes = content(number, FILE_BYTES);
            let segment = Segment {
                frame_size: 256 << 10,
                ..Segment::new(number, bytes.clone())
            };
            archive.add(&segment).await;
            contents.push(bytes);
        }
        let objects = tempfile::tempdir().expect("a directory");
        let server = S3Server::start(objects.path());
        let direct = s3(&server.endpoint()).await;
        for key in archive.store.keys() {
            let body = archive.store.get_all(&key, 1 << 30).await.expect("there");
            direct.create(&key, body).await.expect("stores");
        }
        let address = server.endpoint().replace("http://", "");
        let address = address.parse().expect("an address");
        let link = SlowLink::start(address, Conditions::default());
        let store = s3(&link.endpoint()).await;
        // As whoever mounts has it: with retries that are longer than the deadline.
        let store: SharedStore = Arc::new(RetryStore::new(Arc::new(store), RetryPolicy::default()));
        let cache = CacheOptions {
            memory_bytes: MEMORY_BYTES,
            deadline: DEADLINE,
            decode_threads: 2,
        };
        let reader = SegmentReader::new(store, archive.identities(), None, cache);
        let reader = Arc::new(reader);
        let dir = tempfile::tempdir().expect("a directory");
        let source = Arc::new(ArchiveSource(archive.clone()));
        let handle = mount(source, Arc::clone(&reader), options(dir.path()))
            .await
            .expect("mounts: this test needs root and /dev/fuse");
        Bench {
            handle: Some(handle),
            reader,
            dir,
            link,
            contents: Arc::new(contents),
            _server: server,
            _objects: objects,
        }
    }

    fn file(&self, number: u64) -> PathBuf {
        self.dir.path().join(format!("binlog.{number:06}"))
    }

    /// Starts many readers, each of its own place; what each ends with, and after how long.
    fn readers(&self) -> Vec<JoinHandle<(Option<i32>, Duration)>> {
        let start = |n: u64| {
            let path = self.file(n % FILES + 1);
            let offset = n / FILES * READ_BYTES as u64 * 3;
            let contents = Arc::clone(&self.contents);
            std::thread::spawn(move || {
                let file = File::open(path).expect("opening does not ask the store");
                let mut got = vec![0; READ_BYTES];
                let begun = Instant::now();
                let read = file.read_exact_at(&mut got, offset);
                let took = begun.elapsed();
                if read.is_ok() {
                    let whole = &contents[(n % FILES) as usize];
                    let expected = &whole[offset as usize..][..READ_BYTES];
                    assert!(got == expected, "never wrong bytes");
                }
                let errno = read.err().map(|e| e.raw_os_error().expect("an errno"));
                (errno, took)
            })
        };
        (0..READERS).map(start).collect()
    }

    /// What does not need the store answers as ever.
    fn answers_at_once(&self) {
        let begun = Instant::now();
        let names = std::fs::read_dir(self.dir.path()).expect("lists").count();
        assert_eq!(names as u64, FILES);
        let meta = self.file(1).metadata().expect("stats");
        assert_eq!(meta.len(), FILE_BYTES as u64);
        File::open(self.file(2)).expect("opens");
        assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    }

    /// Every one of the readers times out, each at its deadline and not at a second one.
    async fn all_time_out(&self) {
        let readers = self.readers();
        tokio::time::sleep(DEADLINE / 2).await;
        self.answers_at_once();
        assert!(self.reader.used_bytes() <= MEMORY_BYTES as u64);
        for reader in readers {
            let ended = tokio::task::spawn_blocking(|| reader.join());
            let (errno, took) = ended.await.expect("runs").expect("no panic");
            assert_eq!(errno, Some(libc::ETIMEDOUT));
            assert!(took < DEADLINE + GRACE, "{took:?}");
        }
    }

    /// The store is back: all reads are right, without another mount.
    async fn all_read_well(&self) {
        tokio::time::sleep(FAILURE_MEMORY).await;
        for reader in self.readers() {
            let ended = tokio::task::spawn_blocking(|| reader.join());
            let (errno, _) = ended.await.expect("runs").expect("no panic");
            assert_eq!(errno, None);
        }
        for number in 1..=FILES {
            let path = self.file(number);
            let read = tokio::task::spawn_blocking(|| std::fs::read(path));
            let bytes = read.await.expect("runs").expect("reads");
            assert!(bytes == self.contents[number as usize - 1]);
        }
    }

    /// Nothing of what failed is left: no fetch holds memory.
    async fn nothing_is_left_in_flight(&self) {
        let begun = Instant::now();
        while self.reader.used_bytes() > 0 {
            assert!(begun.elapsed() < DEADLINE + GRACE, "memory is still held");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn options(dir: &Path) -> Options {
    Options {
        mount: MountOptions {
            target: dir.to_owned(),
            source: "s3://hangs".to_owned(),
            allow_other: false,
            noexec: false,
        },
        ownership: Ownership {
            uid: 0,
            gid: 0,
            mode: 0o440,
        },
        refresh: Duration::from_secs(1),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_never_answers_ends_every_read_once_and_is_forgiven() {
    let bench = Bench::new().await;
    bench.link.fail(Some(Fault::Silence));
    bench.all_time_out().await;
    bench.nothing_is_left_in_flight().await;
    bench.link.fail(None);
    bench.all_read_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_at_one_byte_per_second_ends_every_read_once_and_is_forgiven() {
    let bench = Bench::new().await;
    bench.link.fail(Some(Fault::Trickle));
    bench.all_time_out().await;
    bench.nothing_is_left_in_flight().await;
    bench.link.fail(None);
    bench.all_read_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_dies_in_the_middle_of_each_answer_ends_every_read_once_and_is_forgiven() {
    let bench = Bench::new().await;
    bench.link.fail(Some(Fault::CutAfter(2000)));
    bench.all_time_out().await;
    bench.nothing_is_left_in_flight().await;
    bench.link.fail(None);
    bench.all_read_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_hangs_for_less_than_the_deadline_is_not_noticed() {
    let bench = Bench::new().await;
    bench.link.fail(Some(Fault::CutAfter(5000)));
    let readers = bench.readers();
    tokio::time::sleep(DEADLINE / 8).await;
    bench.link.fail(None);
    for reader in readers {
        let ended = tokio::task::spawn_blocking(|| reader.join());
        let (errno, _) = ended.await.expect("runs").expect("no panic");
        assert_eq!(errno, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn unmounting_does_not_wait_for_a_store_that_hangs() {
    for fault in [Fault::Silence, Fault::Trickle, Fault::CutAfter(2000)] {
        let mut bench = Bench::new().await;
        bench.link.fail(Some(fault));
        let readers = bench.readers();
        tokio::time::sleep(DEADLINE / 4).await;
        let begun = Instant::now();
        let handle = bench.handle.take().expect("mounted");
        handle.unmount().await.expect("unmounts");
        let took = begun.elapsed();
        assert!(took < AT_ONCE, "{fault:?}: {took:?}");
        for reader in readers {
            let ended = tokio::task::spawn_blocking(|| reader.join());
            let (errno, took) = ended.await.expect("runs").expect("no panic");
            // Where connections are cut, the retries of some are used up before that.
            let is_used_up = errno == Some(libc::ETIMEDOUT) && matches!(fault, Fault::CutAfter(_));
            assert!(
                errno == Some(libc::EIO) || is_used_up,
                "{fault:?}: {errno:?}"
            );
            assert!(took < DEADLINE, "{fault:?}: {took:?}");
        }
        let left = std::fs::read_dir(bench.dir.path()).expect("lists").count();
        assert_eq!(left, 0, "{fault:?}");
    }
}

//! The process of a mount while its store hangs and 64 readers wait: no thread stays, and memory is within its budget.

use super::{DEADLINE, READ_BYTES, READERS};
use crate::archive::Archive;
use crate::mount_process::foreground::Foreground;
use crate::s3::server::{self, S3Server};
use crate::slow_link::conditions::{Conditions, Fault};
use crate::slow_link::link::SlowLink;
use crate::synthetic::SyntheticServer;
use crate::tools::{self, eventually};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Files that are read while the store hangs. One more is read before that, so that what begins with the first read has begun.
const FILES: u64 = 8;
const TRANSACTIONS: u64 = 200;
const TRANSACTION_BYTES: usize = 20_000;
/// The budget of the mount: half of the frames that the readers touch, which are 1 MiB each.
const MEMORY_MIB: u64 = 16;
/// What the process takes for 64 requests beside the budget: their tasks and connections.
const REQUESTS_MIB: u64 = 16;
/// A thread of tokio's that did something that blocks ends when it had nothing to do for 10 s.
const IDLE: Duration = Duration::from_secs(11);
/// No read ends later than this, on any machine.
const PATIENCE: Duration = Duration::from_secs(20);
const PREFIX: &str = "prod/orders";

/// A mount in a process of its own, over a server behind a link that can be broken.
struct Bench {
    mounted: Foreground,
    link: SlowLink,
    _store: S3Server,
    server: SyntheticServer,
    _archive: Archive,
}

/// What a process has at one moment.
#[derive(Clone, Debug)]
struct Usage {
    /// How many threads have each name.
    threads: BTreeMap<String, u64>,
    /// Bytes in memory (`VmRSS` of proc(5)).
    resident: u64,
}

impl Usage {
    fn of(pid: u32) -> Usage {
        let mut threads = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task")).expect("it runs") {
            let name = fs::read_to_string(task.expect("an entry").path().join("comm"));
            // One that has ended meanwhile has no name any more.
            if let Ok(name) = name {
                *threads.entry(name.trim().to_owned()).or_default() += 1;
            }
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib = kib.expect("the kernel tells").parse::<u64>();
        Usage {
            threads,
            resident: kib.expect("a number") << 10,
        }
    }

    fn count(&self) -> u64 {
        self.threads.values().sum()
    }
}

impl Bench {
    fn new() -> Bench {
        let archive = Archive::encrypted();
        let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
        for _ in 0..=FILES {
            server.rotate(TRANSACTIONS, TRANSACTION_BYTES);
        }
        let store = S3Server::start(&archive.path("hanging"));
        let mut command = archive.archive_command_to(&store.url(PREFIX), server.dir());
        let state = archive.path("hanging-state");
        tools::run(command.arg("--state-dir").arg(state));
        let address = store.endpoint().replace("http://", "");
        let address = address.parse().expect("an address");
        let link = SlowLink::start(address, Conditions::default());
        let url = server::url(&link.endpoint(), PREFIX);
        let (timeout, memory) = (DEADLINE.as_secs().to_string(), MEMORY_MIB.to_string());
        let options = [
            ["--read-timeout", &timeout],
            ["--memory", &memory],
            // Nothing is there already, and nothing happens beside the reads.
            ["--cache-size", "0"],
            ["--refresh", "3600"],
        ];
        let mounted = Foreground::start(&archive, &url, options.as_flattened());
        Bench {
            mounted,
            link,
            _store: store,
            server,
            _archive: archive,
        }
    }

    fn open(&self, number: u64) -> File {
        let name = format!("binlog.{number:06}");
        File::open(self.mounted.dir.join(name)).expect("opens")
    }

    fn usage(&self) -> Usage {
        Usage::of(self.mounted.process.id())
    }

    /// The files of all readers, open: opening reads the index, and that is not what is waited for here.
    fn opened(&self) -> Vec<File> {
        (0..READERS).map(|n| self.open(n % FILES + 1)).collect()
    }

    /// Starts the readers, each at its own place; the errno that each ends with, if it fails.
    fn readers(&self, files: Vec<File>) -> Vec<JoinHandle<Option<i32>>> {
        let truth = self.server.truth();
        let start = |(n, file): (u64, File)| {
            let whole = &truth[(n % FILES) as usize];
            let offset = (n / FILES) as usize * (whole.len() / (READERS / FILES) as usize);
            let expected = whole[offset..][..READ_BYTES].to_vec();
            std::thread::spawn(move || {
                let mut got = vec![0; READ_BYTES];
                let read = file.read_exact_at(&mut got, offset as u64);
                assert!(read.is_err() || got == expected, "never wrong bytes");
                let errno = read.err()?.raw_os_error();
                Some(errno.expect("an errno"))
            })
        };
        (0..).zip(files).map(start).collect()
    }

    /// While the store has `fault` every reader fails, none has a thread of its own, and all of them together have their budget.
    fn waits_in_bounds(&mut self, fault: Fault) {
        let mut got = vec![0; READ_BYTES];
        let read = self.open(FILES + 1).read_exact_at(&mut got, 0);
        read.expect("the store is well");
        let files = self.opened();
        std::thread::sleep(IDLE);
        let before = self.usage();
        self.link.fail(Some(fault));
        let begun = Instant::now();
        let readers = self.readers(files);
        let (mut most, mut samples) = (before.clone(), 0);
        while readers.iter().any(|reader| !reader.is_finished()) {
            assert!(begun.elapsed() < PATIENCE, "{fault:?}: a read does not end");
            let now = self.usage();
            most.resident = most.resident.max(now.resident);
            if now.count() > most.count() {
                most.threads = now.threads;
            }
            samples += 1;
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(samples > 5, "{fault:?}: nobody waited");
        for reader in readers {
            let errno = reader.join().expect("no panic");
            assert_eq!(errno, Some(libc::ETIMEDOUT), "{fault:?}");
        }
        let told = format!("{fault:?}: {before:?}, at most {most:?}");
        println!("{told}");
        assert!(most.count() < before.count() + READERS / 2, "{told}");
        let budget = (MEMORY_MIB + REQUESTS_MIB) << 20;
        assert!(most.resident <= before.resident + budget, "{told}");
        // While the store hangs still: what waits for it would be seen.
        eventually("its threads are those of before", || {
            self.usage().count() <= before.count()
        });
        self.link.fail(None);
        eventually("the store is forgiven", || {
            let readers = self.readers(self.opened());
            let ended = readers.into_iter().map(|reader| reader.join());
            ended.fold(true, |well, errno| {
                well & errno.expect("no panic").is_none()
            })
        });
        self.mounted.signal(Signal::TERM);
        let (code, said) = self.mounted.end();
        assert_eq!(code, Some(0), "{said}");
    }
}

#[test]
fn no_thread_is_stuck_and_memory_is_bounded_while_a_store_never_answers() {
    Bench::new().waits_in_bounds(Fault::Silence);
}

#[test]
fn no_thread_is_stuck_and_memory_is_bounded_while_a_store_trickles() {
    Bench::new().waits_in_bounds(Fault::Trickle);
}

#[test]
fn no_thread_is_stuck_and_memory_is_bounded_while_a_store_cuts_its_answers() {
    // Within the head of an answer.
    Bench::new().waits_in_bounds(Fault::CutAfter(100));
}

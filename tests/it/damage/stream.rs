//! The streams that are damaged, and what is done to them.

use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Segments of a damaged stream: a first, a newest, and some between.
pub const SEGMENTS: usize = 5;
/// One byte in so many of an index is flipped.
pub const FLIP_EVERY: usize = 61;

/// A stream, its server, and what each of its files holds.
pub struct Stream {
    pub archive: Archive,
    pub server: SyntheticServer,
    pub truth: Vec<Vec<u8>>,
}

/// One thing done to the bytes of an object or record; `None` deletes it.
pub type Damage = fn(&[u8]) -> Option<Vec<u8>>;

pub const DAMAGES: [(&str, Damage); 8] = [
    ("a bit flipped at the start", |bytes| {
        Some(flipped(bytes, 0))
    }),
    ("a bit flipped in the middle", |bytes| {
        Some(flipped(bytes, bytes.len() / 2))
    }),
    ("a bit flipped at the end", |bytes| {
        Some(flipped(bytes, bytes.len() - 2))
    }),
    ("cut to the half", |bytes| {
        Some(bytes[..bytes.len() / 2].to_vec())
    }),
    ("cut by some bytes", |bytes| {
        Some(bytes[..bytes.len() - 3].to_vec())
    }),
    ("emptied", |_| Some(Vec::new())),
    ("grown by some bytes", |bytes| {
        Some([bytes, b"more"].concat())
    }),
    ("deleted", |_| None),
];

pub fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x04;
    bytes
}

/// Puts `bytes` in the place of a file; `None` deletes it. Never into the file itself: copies of streams share files.
pub fn put(path: &Path, bytes: Option<&[u8]>) {
    if bytes.is_none() || path.exists() {
        fs::remove_file(path).expect("removable");
    }
    if let Some(bytes) = bytes {
        fs::write(path, bytes).expect("writable");
    }
}

impl Stream {
    /// The newest record is whole again: the next run archives one file more, and all is right.
    #[track_caller]
    pub fn goes_on(&self) {
        let said = self.archive.archive(self.server.dir());
        assert!(said.contains("archived 1 segment "), "{said}");
        self.archive.verify();
    }

    /// One of `count` segments with the same number of transactions each.
    pub fn of(archive: Archive, count: usize, transactions: u64, body_bytes: usize) -> Stream {
        let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
        (0..count).for_each(|_| server.rotate(transactions, body_bytes));
        archive.archive(server.dir());
        let truth = server.truth();
        Stream {
            archive,
            server,
            truth,
        }
    }

    /// How large the objects are, and two segments, from 0, whose objects have the same size, if there are two.
    pub fn stored_sizes(&self) -> (Vec<u64>, Option<(usize, usize)>) {
        let listed = self.archive.ls(&[]);
        let size = |entry: &serde_json::Value| entry["stored_size"].as_u64().expect("a size");
        let sizes: Vec<u64> = listed.iter().map(size).collect();
        let mut pairs = (0..sizes.len()).flat_map(|a| (a + 1..sizes.len()).map(move |b| (a, b)));
        let twins = pairs.find(|(a, b)| sizes[*a] == sizes[*b]);
        (sizes, twins)
    }

    /// The object of the segment at `n`, from 0.
    pub fn object(&self, n: usize) -> PathBuf {
        self.archive
            .bucket()
            .join(self.archive.ls(&[])[n]["object"].as_str().expect("a key"))
    }

    /// The record of the segment at `n`, from 0.
    pub fn record(&self, n: usize) -> PathBuf {
        self.archive
            .bucket()
            .join(format!("ledger/{:020}.json", n + 1))
    }

    /// Forgets all that this host has seen: index and kept tails.
    pub fn forget(&self) {
        // A mount that is going away may still write there.
        let mut removed = fs::remove_dir_all(self.archive.path("cache"));
        for _ in 0..100 {
            if removed.is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
            removed = fs::remove_dir_all(self.archive.path("cache"));
        }
        removed.expect("removable");
    }

    /// A command that must end with `code`; all that it said.
    pub fn ends(&self, arguments: &[&str], code: i32, what: &str) -> String {
        let output = self.archive.output(arguments);
        let said = tools::excerpt(&output.stderr) + &tools::excerpt(&output.stdout);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{what}: {arguments:?}: {said}"
        );
        said
    }

    /// `cat` of the segment at `n`: all of it, or a true beginning and an error that names it. Returns the error.
    pub fn cat(&self, n: usize, what: &str) -> Option<String> {
        let said = self.cat_says(n, what)?;
        assert!(
            said.contains(&name(n)),
            "{what}: {} is not named: {said}",
            name(n)
        );
        Some(said)
    }

    /// `cat` of the segment at `n`: all of it, or a true beginning and an error. Returns the error.
    pub fn cat_says(&self, n: usize, what: &str) -> Option<String> {
        let name = name(n);
        let output = self.archive.output(&["cat", &self.archive.url(), &name]);
        let said = tools::excerpt(&output.stderr);
        if output.status.code() == Some(0) {
            assert!(
                output.stdout == self.truth[n],
                "{what}: {name}: cat gave other bytes"
            );
            return None;
        }
        if output.status.code() == Some(3) {
            // The ledger is a finding; the segment is whole.
            assert!(
                output.stdout == self.truth[n],
                "{what}: {name}: cat gave other bytes"
            );
            return Some(said);
        }
        assert_eq!(output.status.code(), Some(1), "{what}: {name}: {said}");
        assert!(
            self.truth[n].starts_with(&output.stdout),
            "{what}: {name}: cat gave wrong bytes before its error"
        );
        Some(said)
    }

    /// Reads every segment through a mount; those of `broken` may fail, with EIO or, if the object is gone, ESTALE. Returns
    /// how many did.
    pub fn read_mounted(&self, broken: &[usize], what: &str) -> usize {
        let log = self.archive.path("mount.log");
        let mounted = self
            .archive
            .mount_with(&["--log-file", log.to_str().expect("text")]);
        let mut failed = 0;
        for (n, truth) in self.truth.iter().enumerate() {
            let mut bytes = Vec::new();
            let read = File::open(mounted.dir().join(name(n)))
                .and_then(|mut file| file.read_to_end(&mut bytes));
            match read {
                Ok(_) => assert!(
                    bytes == *truth,
                    "{what}: {}: wrong bytes from the mount",
                    name(n)
                ),
                Err(error) => {
                    assert!(
                        truth.starts_with(&bytes),
                        "{what}: {}: wrong bytes before {error}",
                        name(n)
                    );
                    assert!(broken.contains(&n), "{what}: {}: {error}", name(n));
                    let errno = error.raw_os_error();
                    assert!(
                        errno == Some(libc::EIO) || errno == Some(libc::ESTALE),
                        "{what}: {error}"
                    );
                    let said = fs::read_to_string(&log).expect("text");
                    assert!(
                        said.contains(&name(n)),
                        "{what}: the log does not name {}: {said}",
                        name(n)
                    );
                    failed += 1;
                }
            }
        }
        failed
    }

    /// `verify --deep`, which must find something. Returns its findings.
    pub fn findings(&self, what: &str) -> Vec<String> {
        let output = self
            .archive
            .output(&["verify", &self.archive.url(), "--deep", "--json"]);
        assert_eq!(
            output.status.code(),
            Some(3),
            "{what}: {}",
            tools::excerpt(&output.stderr)
        );
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = report["findings"].as_array().expect("a list");
        findings
            .iter()
            .map(|finding| finding["detail"].as_str().expect("text").to_owned())
            .collect()
    }
}

pub fn name(n: usize) -> String {
    format!("binlog.{:06}", n + 1)
}

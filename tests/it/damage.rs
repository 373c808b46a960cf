//! A bucket that lost or changed something: what is damaged is refused by name, what is not stays readable, and no wrong
//! byte ever goes out.

mod bench;
mod cell;
mod healing;
mod matrix;

use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use binlogfs::index::Index;
use binlogfs::ledger::{Entry, LedgerState};
use binlogfs::model::Timeline;
use binlogfs::store::MemoryStore;
use binlogfs::stream as ledger;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Segments of a damaged stream: a first, a newest, and some between.
const SEGMENTS: usize = 5;
/// One byte in so many of an index is flipped.
const FLIP_EVERY: usize = 61;

/// A stream, its server, and what each of its files holds.
struct Stream {
    archive: Archive,
    server: SyntheticServer,
    truth: Vec<Vec<u8>>,
}

/// One thing done to the bytes of an object or record; `None` deletes it.
type Damage = fn(&[u8]) -> Option<Vec<u8>>;

const DAMAGES: [(&str, Damage); 8] = [
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

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x04;
    bytes
}

/// Puts `bytes` in the place of a file; `None` deletes it. Never into the file itself: copies of streams share files.
fn put(path: &Path, bytes: Option<&[u8]>) {
    if bytes.is_none() || path.exists() {
        fs::remove_file(path).expect("removable");
    }
    if let Some(bytes) = bytes {
        fs::write(path, bytes).expect("writable");
    }
}

impl Stream {
    /// One of `count` segments with the same number of transactions each.
    fn of(archive: Archive, count: usize, transactions: u64, body_bytes: usize) -> Stream {
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
    fn stored_sizes(&self) -> (Vec<u64>, Option<(usize, usize)>) {
        let listed = self.archive.ls(&[]);
        let size = |entry: &serde_json::Value| entry["stored_size"].as_u64().expect("a size");
        let sizes: Vec<u64> = listed.iter().map(size).collect();
        let mut pairs = (0..sizes.len()).flat_map(|a| (a + 1..sizes.len()).map(move |b| (a, b)));
        let twins = pairs.find(|(a, b)| sizes[*a] == sizes[*b]);
        (sizes, twins)
    }

    /// The object of the segment at `n`, from 0.
    fn object(&self, n: usize) -> PathBuf {
        self.archive
            .bucket()
            .join(self.archive.ls(&[])[n]["object"].as_str().expect("a key"))
    }

    /// The record of the segment at `n`, from 0.
    fn record(&self, n: usize) -> PathBuf {
        self.archive
            .bucket()
            .join(format!("ledger/{:020}.json", n + 1))
    }

    /// Forgets all that this host has seen: index and kept tails.
    fn forget(&self) {
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
    fn ends(&self, arguments: &[&str], code: i32, what: &str) -> String {
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
    fn cat(&self, n: usize, what: &str) -> Option<String> {
        let said = self.cat_says(n, what)?;
        assert!(
            said.contains(&name(n)),
            "{what}: {} is not named: {said}",
            name(n)
        );
        Some(said)
    }

    /// `cat` of the segment at `n`: all of it, or a true beginning and an error. Returns the error.
    fn cat_says(&self, n: usize, what: &str) -> Option<String> {
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
    fn read_mounted(&self, broken: &[usize], what: &str) -> usize {
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
    fn findings(&self, what: &str) -> Vec<String> {
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

fn name(n: usize) -> String {
    format!("binlog.{:06}", n + 1)
}

#[test]
fn another_valid_object_of_the_same_size_is_refused() {
    // Unencrypted, of one shape: among so many, some are stored in as many bytes.
    let stream = Stream::of(Archive::plain(), 24, 20, 2000);
    let (a, b) = stream.stored_sizes().1.expect("two of one size");
    let (object, other) = (
        stream.object(a),
        fs::read(stream.object(b)).expect("readable"),
    );
    for seen in [true, false] {
        let what = if seen {
            "swapped, its tail kept"
        } else {
            "swapped"
        };
        if seen {
            // Reading it keeps header and tail in this host's index.
            assert_eq!(stream.cat(a, "whole"), None);
        } else {
            stream.forget();
        }
        let own = fs::read(&object).expect("readable");
        put(&object, Some(&other));
        let said = stream.cat(a, what).expect("refused");
        assert!(
            said.contains(object.file_name().expect("a name").to_str().expect("text")),
            "the object is named: {said}"
        );
        assert_eq!(stream.cat(b, what), None);
        assert_eq!(stream.read_mounted(&[a], what), 1);
        let findings = stream.findings(what);
        assert!(
            !findings.is_empty() && findings.iter().all(|finding| finding.contains(&name(a))),
            "{findings:?}"
        );
        put(&object, Some(&own));
    }
    stream.archive.verify();
}

#[test]
fn a_damaged_object_is_refused_by_name_and_the_others_are_read() {
    let stream = Stream::of(Archive::encrypted(), 3, 50, 50_000);
    let object = stream.object(1);
    let whole = fs::read(&object).expect("readable");
    for (what, damage) in DAMAGES {
        put(&object, damage(&whole).as_deref());
        stream.forget();
        let refused = stream.cat(1, what);
        for n in [0, 2] {
            assert_eq!(stream.cat(n, what), None);
        }
        stream.forget();
        let failed = stream.read_mounted(&[1], what);
        // What was added behind its end is in nobody's way, and is found all the same.
        let harmless = what.starts_with("grown");
        assert_eq!(
            (refused.is_some(), failed),
            (!harmless, usize::from(!harmless)),
            "{what}: {refused:?}"
        );
        let findings = stream.findings(what);
        assert!(!findings.is_empty(), "{what}");
        for finding in &findings {
            assert!(finding.contains("binlog.000002"), "{what}: {finding}");
        }
        put(&object, Some(&whole));
    }
    stream.archive.verify();
}

#[test]
fn a_damaged_record_hides_its_own_segment_only_and_is_named() {
    let stream = Stream::of(Archive::encrypted(), SEGMENTS, 3, 1000);
    let url = stream.archive.url();
    for n in [0, 2, SEGMENTS - 1] {
        let whole = fs::read(stream.record(n)).expect("readable");
        for (what, damage) in DAMAGES {
            let newest = n == SEGMENTS - 1;
            if newest && what == "deleted" {
                continue; // A shorter ledger is a valid one: see the test of the deleted tail.
            }
            let what = format!("record {}: {what}", n + 1);
            put(&stream.record(n), damage(&whole).as_deref());
            stream.forget();
            let ls = stream.archive.ls(&[]);
            let lost: Vec<_> = ls.iter().filter(|entry| entry["state"] == "lost").collect();
            assert_eq!((ls.len(), lost.len()), (SEGMENTS, 1), "{what}: {ls:?}");
            assert!(
                lost[0]["reason"]
                    .as_str()
                    .expect("text")
                    .contains(&format!("record {} ", n + 1)),
                "{what}: {lost:?}"
            );
            for other in (0..SEGMENTS).filter(|other| *other != n) {
                assert_eq!(stream.cat(other, &what), None);
            }
            let cat = stream.archive.output(&["cat", &url]);
            assert_eq!(
                (cat.status.code(), cat.stdout.len()),
                (Some(1), 0),
                "{what}: nothing is written over the loss"
            );
            let findings = stream.findings(&what);
            assert!(
                findings
                    .iter()
                    .any(|finding| finding.contains(&format!("record {} ", n + 1))),
                "{what}: {findings:?}"
            );
            assert!(
                stream
                    .ends(&["status", &url], 3, &what)
                    .contains(&format!("record {} ", n + 1))
            );
            put(&stream.record(n), Some(&whole));
            // The index that passed over it is healed, or built again when asked to.
            stream.ends(&["index", "rebuild", &url], 0, &what);
            assert!(
                stream
                    .archive
                    .ls(&[])
                    .iter()
                    .all(|entry| entry["state"] == "archived"),
                "{what}"
            );
        }
    }
    stream.archive.verify();
}

#[test]
fn a_mount_shows_a_lost_record_as_a_file_that_cannot_be_read() {
    let stream = Stream::of(Archive::encrypted(), SEGMENTS, 3, 1000);
    put(&stream.record(2), None);
    stream.forget();
    let mounted = stream.archive.mount();
    let mut names: Vec<_> = fs::read_dir(mounted.dir())
        .expect("lists")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(
        names,
        [
            "binlog.000001",
            "binlog.000002",
            "binlog.000002.0",
            "binlog.000004",
            "binlog.000005"
        ]
    );
    let error = File::open(mounted.dir().join("binlog.000002.0")).expect_err("lost");
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    for n in [0, 1, 3, 4] {
        assert!(fs::read(mounted.dir().join(name(n))).expect("readable") == stream.truth[n]);
    }
}

#[test]
fn nothing_is_appended_after_a_newest_record_that_cannot_be_read() {
    let mut stream = Stream::of(Archive::encrypted(), SEGMENTS, 3, 1000);
    stream.server.rotate(3, 1000);
    let whole = fs::read(stream.record(SEGMENTS - 1)).expect("readable");
    put(&stream.record(SEGMENTS - 1), Some(&flipped(&whole, 40)));
    let before = (
        stream.archive.keys("ledger"),
        stream.archive.keys("segments"),
    );
    for forgetful in [false, true] {
        if forgetful {
            fs::remove_dir_all(stream.archive.path("state")).expect("removable");
        }
        let output = tools::output(&mut stream.archive.archive_command(stream.server.dir()));
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("record 5") || said.contains("record, 5,"),
            "the record is named: {said}"
        );
        assert_eq!(
            (
                stream.archive.keys("ledger"),
                stream.archive.keys("segments")
            ),
            before,
            "nothing was written"
        );
    }
    put(&stream.record(SEGMENTS - 1), Some(&whole));
    assert!(
        stream
            .archive
            .archive(stream.server.dir())
            .contains("archived 1 segment ")
    );
    stream.archive.verify();
}

#[test]
fn archiving_goes_on_after_a_record_lost_in_the_middle() {
    for forgetful in [false, true] {
        let mut stream = Stream::of(Archive::encrypted(), SEGMENTS, 3, 1000);
        stream.server.rotate(3, 1000);
        put(&stream.record(2), Some(b"{}\n"));
        if forgetful {
            fs::remove_dir_all(stream.archive.path("state")).expect("removable");
        }
        let said = stream.archive.archive(stream.server.dir());
        assert!(said.contains("archived 1 segment "), "{said}");
        stream.forget();
        let ls = stream.archive.ls(&[]);
        let last = ls.last().expect("an entry");
        assert_eq!(
            (last["name"].as_str(), last["state"].as_str()),
            (Some("binlog.000006"), Some("archived")),
            "{ls:?}"
        );
    }
}

#[test]
fn a_deleted_tail_of_the_ledger_is_seen_by_whoever_saw_it() {
    let mut stream = Stream::of(Archive::encrypted(), SEGMENTS, 3, 1000);
    let url = stream.archive.url();
    stream.archive.ls(&[]);
    stream.server.rotate(3, 1000);
    let newest = [3, 4].map(|n| {
        (
            stream.record(n),
            fs::read(stream.record(n)).expect("readable"),
        )
    });
    newest.iter().for_each(|(path, _)| put(path, None));
    let before = (
        stream.archive.keys("ledger"),
        stream.archive.keys("segments"),
    );

    // A reader with its index, and the mount.
    for (arguments, code) in [
        (vec!["ls", &url], 3),
        (vec!["status", &url], 3),
        (vec!["cat", &url, "binlog.000005"], 3),
        // Where it ends is not known: all of it cannot be given.
        (vec!["cat", &url], 1),
    ] {
        let said = stream.ends(&arguments, code, "a tail is gone");
        assert!(
            said.contains("went backwards") && said.contains("record 5"),
            "{said}"
        );
    }
    let log = stream.archive.path("mount.log");
    let mounted = stream
        .archive
        .mount_with(&["--log-file", log.to_str().expect("text")]);
    let read = fs::read(mounted.dir().join("binlog.000005")).expect("readable");
    assert!(read == stream.truth[4]);
    drop(mounted);
    let said = fs::read_to_string(&log).expect("text");
    assert!(said.contains("went backwards"), "{said}");
    let findings = stream.findings("a tail is gone");
    assert!(
        findings
            .iter()
            .any(|finding| finding.contains("record 3") && finding.contains("record 5")),
        "{findings:?}"
    );

    // The archiver with its index; without it, by its manifest.
    for (left, says) in [
        ("index", "went backwards"),
        ("manifest", "records were removed"),
    ] {
        if left == "manifest" {
            for file in ["index.db", "index.db-wal", "index.db-shm"] {
                let _ = fs::remove_file(stream.archive.path("state").join(file));
            }
        }
        let output = tools::output(&mut stream.archive.archive_command(stream.server.dir()));
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{left}: {said}");
        assert!(said.contains(says) && said.contains('5'), "{left}: {said}");
        assert_eq!(
            (
                stream.archive.keys("ledger"),
                stream.archive.keys("segments")
            ),
            before,
            "{left}: nothing was written"
        );
    }

    // Whoever never saw it cannot know; that objects without a record lie there, it can.
    stream.forget();
    assert_eq!(stream.archive.ls(&[]).len(), 3);
    stream.forget();
    let said = stream.ends(&["verify", &url, "--orphans"], 0, "a shorter ledger");
    assert!(said.contains("2 orphans"), "{said}");

    // Put back, everything goes on.
    newest
        .iter()
        .for_each(|(path, bytes)| put(path, Some(bytes)));
    assert!(
        stream
            .archive
            .archive(stream.server.dir())
            .contains("archived 1 segment ")
    );
    stream.archive.verify();
}

#[test]
fn local_state_that_is_lost_or_garbage_is_made_again() {
    let mut stream = Stream::of(Archive::encrypted(), 3, 3, 1000);
    let before = stream.archive.ls(&[]);
    assert_eq!(stream.cat(1, "whole"), None);
    let index = stream.archive.path("cache/index.db");
    for round in ["garbage", "cut", "emptied", "deleted"] {
        match round {
            "garbage" => fs::write(&index, [0xA5; 40_000]).expect("writable"),
            "cut" => {
                let bytes = fs::read(&index).expect("readable");
                fs::write(&index, &bytes[..bytes.len() / 2]).expect("writable");
            }
            "emptied" => fs::write(&index, b"").expect("writable"),
            _ => stream.forget(),
        }
        assert_eq!(stream.archive.ls(&[]), before, "{round}");
        assert_eq!(stream.cat(1, round), None);
        assert_eq!(stream.read_mounted(&[], round), 0);
    }
    for n in 0..2 {
        fs::remove_dir_all(stream.archive.path("state")).expect("removable");
        assert!(
            stream
                .archive
                .archive(stream.server.dir())
                .contains(&format!("archived {n} segment"))
        );
        stream.server.rotate(3, 1000);
    }
    stream.archive.verify();
}

#[test]
fn an_object_whose_record_cannot_be_read_is_not_taken_for_a_leftover() {
    let mut stream = Stream::of(Archive::encrypted(), SEGMENTS, 3, 1000);
    let (object, record) = (stream.object(2), stream.record(2));
    let whole = fs::read(&record).expect("readable");
    // As a run leaves it that is killed before it notes that its record stands.
    let key = object.file_name().expect("a name").to_string_lossy();
    let journal = rusqlite::Connection::open(stream.archive.path("state/archiver.db"));
    journal
        .expect("opens")
        .execute(
            "INSERT INTO upload (key, file, started_at, record) VALUES (?1, 'binlog.000003', 1, 3)",
            [format!("segments/{key}")],
        )
        .expect("a journal");
    put(&record, Some(b"{}\n"));
    fs::remove_file(stream.archive.path("state/index.db")).expect("removable");
    stream.server.rotate(3, 1000);
    for archived in [1, 0] {
        let said = stream.archive.archive(stream.server.dir());
        assert!(
            said.contains(&format!("archived {archived} segment")),
            "{said}"
        );
        assert!(object.exists(), "the record may name it");
    }
    put(&record, Some(&whole));
    stream.archive.archive(stream.server.dir());
    stream.forget();
    assert_eq!(stream.cat(2, "put back"), None);
    stream.archive.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_flipped_anywhere_in_an_index_is_noticed_or_changes_nothing() {
    let stream = Stream::of(Archive::in_memory(false), SEGMENTS, 3, 1000);
    stream.archive.ls(&[]);
    let whole = fs::read(stream.archive.path("cache/index.db")).expect("readable");
    let store = MemoryStore::new();
    for dir in ["stream.json", "ledger"] {
        let path = stream.archive.bucket().join(dir);
        let files = if path.is_dir() {
            stream.archive.keys(dir)
        } else {
            vec![path]
        };
        for file in files {
            let key = file
                .strip_prefix(stream.archive.bucket())
                .expect("below it");
            let key = key.to_str().expect("text").parse().expect("a key");
            store.tamper(&key, fs::read(&file).expect("readable"));
        }
    }
    let path = stream.archive.path("flipped/index.db");
    fs::create_dir(path.parent().expect("it has one")).expect("writable");
    let truth = entries_of(&path, &store).await.expect("whole");
    let mut noticed = 0;
    for at in (0..whole.len()).step_by(FLIP_EVERY) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        for suffix in ["", "-wal", "-shm", "-corrupt"] {
            let _ = fs::remove_file(path.with_file_name(format!("index.db{suffix}")));
        }
        fs::write(&path, bytes).expect("writable");
        match entries_of(&path, &store).await {
            Ok(entries) => assert!(entries == truth, "byte {at} changed what is told"),
            Err(error) => {
                noticed += 1;
                assert!(error.contains("index"), "byte {at}: {error}");
                // Another stream's is not for us to delete; all else is built again.
                if !error.contains("delete the index") {
                    let again = entries_of(&path, &store).await;
                    assert!(again.as_ref() == Ok(&truth), "byte {at}: {:?}", again.err());
                }
            }
        }
    }
    println!(
        "{noticed} of {} were told as errors",
        whole.len() / FLIP_EVERY
    );
    assert!(noticed > 0, "some damage is only met when it is used");
}

/// Opens the index at `path`, follows, and reads all entries and the ledger's state.
async fn entries_of(
    path: &Path,
    store: &MemoryStore,
) -> Result<(Vec<Entry>, Arc<LedgerState>), String> {
    let (index, _) = Index::open(path).map_err(|e| e.to_string())?;
    let index = Arc::new(index);
    let opened = ledger::Stream::open(Arc::new(store.clone()), Arc::clone(&index)).await;
    let followed = opened.map_err(|e| e.to_string())?.follow().await;
    let state = followed.map_err(|e| e.to_string())?.state;
    let entries = index.entries(Timeline(1), None, usize::MAX);
    let entries = entries.map_err(|e| e.to_string())?;
    let rows = index.rows(Timeline(1), None, usize::MAX);
    let rows = rows.map_err(|e| e.to_string())?;
    for (entry, row) in entries.iter().zip(&rows) {
        assert_eq!((entry.seq, &entry.mount_name), (row.seq, &row.mount_name));
        assert_eq!(entry.segment.as_ref().map_or(0, |s| s.size), row.size);
    }
    Ok((entries, state))
}

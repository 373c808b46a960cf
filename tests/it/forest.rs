//! Several streams in one mount, through the kernel.

mod hidden;

use crate::archive::Archive;
use crate::fixture::{self, Segment, content};
use crate::synthetic::SyntheticServer;
use crate::tools::{self, errno, eventually};
use binlogfs::cache::{CacheOptions, SegmentReader};
use binlogfs::fs::{
    Forest, MountHandle, MountOptions, Options, Ownership, StoreGrove, mount_forest,
};
use binlogfs::index::Index;
use binlogfs::model::StoreUrl;
use binlogfs::segment::Identities;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{MemoryStore, SharedStore, Store as _};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn list(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        names.push(entry?.file_name().into_string().expect("text"));
    }
    names.sort();
    Ok(names)
}

fn names(dir: &Path) -> Vec<String> {
    list(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
}

/// The URL of a stream below that of an archive.
fn below(archive: &Archive, path: &str) -> String {
    let url = archive.url();
    match url.split_once('?') {
        Some((place, options)) => format!("{place}/{path}?{options}"),
        None => format!("{url}/{path}"),
    }
}

/// Archives a server with two closed files to `path`, and tells where its files are.
fn add_stream(archive: &Archive, path: &str, number: u8) -> Vec<PathBuf> {
    let dir = archive.path(&format!("server-{number}"));
    fs::create_dir(&dir).expect("writable");
    let mut server = SyntheticServer::new(&dir, number, "binlog");
    server.rotate(3, 1000 * usize::from(number));
    server.rotate(2, 50_000);
    let mut command = archive.archive_command_to(&below(archive, path), &dir);
    let state = archive.path(&format!("state-{number}"));
    tools::run(command.arg("--state-dir").arg(state));
    server.closed()
}

fn same_files(closed: &[PathBuf], dir: &Path) {
    assert_eq!(names(dir).len(), closed.len());
    for path in closed {
        let shown = dir.join(path.file_name().expect("a name"));
        let got = fs::read(&shown).unwrap_or_else(|e| panic!("{}: {e}", shown.display()));
        assert!(got == fs::read(path).expect("reads"), "{}", shown.display());
    }
}

#[test]
fn streams_are_directories_and_one_that_is_damaged_disturbs_no_other() {
    let archive = Archive::encrypted();
    let a = add_stream(&archive, "eu/a", 1);
    add_stream(&archive, "eu/b", 2);
    let c = add_stream(&archive, "us/c", 3);
    let stream_file = archive.bucket().join("eu/b/stream.json");
    let right = fs::read(&stream_file).expect("reads");
    fs::write(&stream_file, "no stream").expect("writes");
    let mounted = archive.mount_with(&["--refresh", "1"]);
    let at = |path: &str| mounted.dir().join(path);
    assert_eq!(names(mounted.dir()), ["eu", "us"]);
    assert_eq!(names(&at("eu")), ["a", "b"]);
    assert_eq!(names(&at("us")), ["c"]);
    assert!(at("eu/b").metadata().expect("a directory").is_dir());
    for _ in 0..2 {
        assert_eq!(errno(list(&at("eu/b"))), libc::EIO);
        assert_eq!(errno(File::open(at("eu/b/binlog.000001"))), libc::EIO);
        same_files(&a, &at("eu/a"));
        same_files(&c, &at("us/c"));
    }
    assert_eq!(errno(at("eu/x").metadata()), libc::ENOENT);
    assert_eq!(errno(at("eu/a/x").metadata()), libc::ENOENT);
    assert_eq!(errno(File::create(at("eu/x"))), libc::EROFS);
    let found = tools::run_text(std::process::Command::new("find").arg(at("us")));
    assert_eq!(found.lines().count(), 4, "{found}");
    let up = fs::canonicalize(at("us/c/../../eu/a/binlog.000001")).expect("there");
    assert_eq!(up, at("eu/a/binlog.000001"));

    fs::write(&stream_file, right).expect("writes");
    eventually("the repaired stream", || list(&at("eu/b")).is_ok());
    assert_eq!(names(&at("eu/b")).len(), 2);
    let d = add_stream(&archive, "us/d", 4);
    eventually("the new stream", || names(&at("us")) == ["c", "d"]);
    same_files(&d, &at("us/d"));
    let e = add_stream(&archive, "asia/e", 5);
    eventually("a new tenant, by name", || at("asia/e").exists());
    same_files(&e, &at("asia/e"));

    let inos = |dir: &Path| {
        ["eu", "eu/a", "eu/a/binlog.000002", "us/c/binlog.000002"]
            .map(|path| dir.join(path).metadata().expect("there").ino())
    };
    let before = inos(mounted.dir());
    let distinct: std::collections::BTreeSet<_> = before.iter().collect();
    assert_eq!(distinct.len(), before.len());
    drop(mounted);
    let mounted = archive.mount_with(&[]);
    assert_eq!(inos(mounted.dir()), before);
}

#[test]
fn doctor_takes_a_mount_of_several_streams_for_what_it_is() {
    let archive = Archive::encrypted();
    add_stream(&archive, "eu/a", 1);
    let mounted = archive.mount();
    let output = archive.output(&["doctor", mounted.dir().to_str().expect("text")]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("several streams are mounted"), "{said}");
    // Named by its URL it is no stream.
    let output = archive.output(&["doctor", &archive.url()]);
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn where_no_stream_is_and_none_below_nothing_is_mounted() {
    let archive = Archive::plain();
    add_stream(&archive, "eu/a", 1);
    fs::remove_file(archive.bucket().join("eu/a/stream.json")).expect("removes");
    let mount = archive.path("mnt");
    let url = archive.url();
    let output = archive.output(&["mount", &url, mount.to_str().expect("text")]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no stream"), "{said}");
}

/// A store with a stream of one segment at each of `paths`; the bytes of that segment are from the place in the list.
async fn planted(paths: &[String]) -> MemoryStore {
    let all = MemoryStore::new();
    for (seed, path) in (1..).zip(paths) {
        let archive = fixture::Archive::new(false);
        archive.add(&Segment::new(1, content(seed, 10_000))).await;
        plant(&all, path, &archive).await;
    }
    all
}

/// Has `archive` as it is now at `path` of a store.
async fn plant(all: &MemoryStore, path: &str, archive: &fixture::Archive) {
    for key in archive.store.keys() {
        let body = archive.store.get_all(&key, u64::MAX).await.expect("there");
        all.tamper(&format!("{path}/{key}").parse().expect("a key"), body);
    }
}

/// How many indexes of `dir` this process has open.
fn open_indexes(dir: &Path) -> usize {
    let mut open: Vec<PathBuf> = fs::read_dir("/proc/self/fd")
        .expect("lists")
        .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
        .filter(|file| file.starts_with(dir))
        .collect();
    let is_beside = |file: &PathBuf| {
        let name = file.to_string_lossy();
        name.ends_with("-wal") || name.ends_with("-shm")
    };
    open.retain(|file| !is_beside(file));
    open.sort();
    open.dedup();
    open.len()
}

struct Mounted {
    forest: Arc<Forest>,
    handle: MountHandle,
    dir: tempfile::TempDir,
    indexes: tempfile::TempDir,
}

async fn mounted(store: SharedStore, deadline: Duration) -> Mounted {
    let dir = tempfile::tempdir().expect("a directory");
    let indexes = tempfile::tempdir().expect("a directory");
    let below = indexes.path().to_owned();
    let open_index = move |url: &StoreUrl| {
        let name = url.to_string().replace(['/', ':'], "-");
        Ok(Index::open(&below.join(name))?.0)
    };
    let url: StoreUrl = "file:///planted".parse().expect("a URL");
    let grove = StoreGrove::new(store.clone(), url, Arc::new(open_index));
    let cache = CacheOptions {
        deadline,
        ..CacheOptions::default()
    };
    let reader = SegmentReader::new(store, Identities::none(), Some(grove.tails()), cache);
    let ownership = Ownership {
        uid: 0,
        gid: 0,
        mode: 0o444,
    };
    let refresh = Duration::from_secs(1);
    let forest = Forest::new(Arc::new(grove), Arc::new(reader), ownership, refresh);
    let options = Options {
        mount: MountOptions {
            target: dir.path().to_owned(),
            source: "planted".to_owned(),
            allow_other: false,
            noexec: false,
        },
        ownership,
        refresh,
    };
    let handle = mount_forest(Arc::clone(&forest), options).await;
    Mounted {
        forest,
        handle: handle.expect("mounts: these tests need root and /dev/fuse"),
        dir,
        indexes,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_streams_are_open_at_a_time_and_open_files_stay_readable() {
    let paths: Vec<String> = (0..70).map(|n| format!("t{}/s{n}", n % 3)).collect();
    let mounted = mounted(Arc::new(planted(&paths).await), Duration::from_secs(30)).await;
    assert_eq!(mounted.forest.open_streams(), 0);
    let at = |path: &str| mounted.dir.path().join(path).join("binlog.000001");
    let first = File::open(at(&paths[0])).expect("opens");
    for (seed, path) in (1..).zip(&paths) {
        assert!(
            fs::read(at(path)).expect("reads") == content(seed, 10_000),
            "{path}"
        );
    }
    eventually("some are closed", || mounted.forest.open_streams() <= 64);
    eventually("and their indexes", || {
        open_indexes(mounted.indexes.path()) <= 64
    });
    let mut bytes = vec![0; 10_000];
    first.read_exact_at(&mut bytes, 0).expect("still open");
    assert!(bytes == content(1, 10_000));
    let ino = at(&paths[1]).metadata().expect("opened again").ino();
    assert_eq!(
        ino >> 48,
        at(&paths[1])
            .parent()
            .expect("a stream")
            .metadata()
            .expect("there")
            .ino()
            >> 48
    );
    mounted.handle.unmount().await.expect("unmounts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_in_a_stream_that_was_closed_is_seen_when_it_is_opened_again() {
    let paths: Vec<String> = (0..65).map(|n| format!("s{n:02}")).collect();
    let store = planted(&paths).await;
    let archive = fixture::Archive::new(false);
    let pruned = archive.add(&Segment::new(1, content(1, 10_000))).await;
    archive.add(&Segment::new(2, content(2, 10_000))).await;
    plant(&store, "early", &archive).await;
    let mounted = mounted(Arc::new(store.clone()), Duration::from_secs(30)).await;
    let at = |path: &str, number| {
        let name = format!("binlog.{number:06}");
        mounted.dir.path().join(path).join(name)
    };
    assert!(fs::read(at("early", 1)).expect("reads") == content(1, 10_000));
    assert!(at("early", 2).metadata().is_ok());
    for path in &paths {
        assert!(at(path, 1).metadata().is_ok(), "{path}");
    }
    eventually("the first one is closed", || {
        mounted.forest.open_streams() <= 64
    });
    // Closed, it follows no ledger.
    archive.prune(&pruned);
    plant(&store, "early", &archive).await;
    eventually(
        "the kernel has asked again",
        || matches!(at("early", 1).metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound),
    );
    assert_eq!(names(&mounted.dir.path().join("early")), ["binlog.000002"]);
    assert!(fs::read(at("early", 2)).expect("reads") == content(2, 10_000));
    mounted.handle.unmount().await.expect("unmounts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_whose_store_hangs_gives_etimedout_and_its_neighbours_answer() {
    let paths = ["hangs".to_owned(), "works".to_owned()];
    let memory = planted(&paths).await;
    let hangs_once = AtomicBool::new(true);
    let clock = FaultClock::new(move |op| {
        let hangs = op.key.starts_with("hangs/ledger") && hangs_once.swap(false, Ordering::Relaxed);
        match hangs {
            true => Fault::Delay(Duration::from_secs(3)),
            false => Fault::None,
        }
    });
    let mounted = mounted(
        Arc::new(FaultStore::new(Arc::new(memory), clock)),
        Duration::from_secs(1),
    )
    .await;
    let dir = mounted.dir.path().to_owned();
    let hanging = dir.join("hangs");
    let waiting = std::thread::spawn(move || errno(list(&hanging)));
    let begun = Instant::now();
    assert_eq!(names(&dir), ["hangs", "works"]);
    assert_eq!(names(&dir.join("works")), ["binlog.000001"]);
    assert!(dir.join("hangs").metadata().is_ok());
    assert!(!waiting.is_finished(), "{:?}", begun.elapsed());
    assert_eq!(waiting.join().expect("ends"), libc::ETIMEDOUT);
    // What was waited for went on.
    eventually("the slow stream", || list(&dir.join("hangs")).is_ok());
}

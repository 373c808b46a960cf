//! The mount, through the kernel. Needs root and `/dev/fuse`, and fails without them.

mod ending;
mod listing;
mod unsound;

use crate::fixture::{Archive, ArchiveSource, FRAME, Segment, content};
use crate::tools::{errno, eventually_async as eventually};
use binlogfs::cache::{CacheOptions, SegmentReader};
use binlogfs::fs::mountinfo;
use binlogfs::fs::{MountError, MountHandle, MountOptions, Options, Ownership, mount};
use binlogfs::segment::Identities;
use binlogfs::store::SharedStore;
use proptest::test_runner::{Config, TestRunner};
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const REFRESH: Duration = Duration::from_millis(50);

struct Mounted {
    handle: MountHandle,
    // Dropped after the handle, which unmounts.
    dir: tempfile::TempDir,
}

impl Mounted {
    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

async fn try_mount_at(
    dir: &Path,
    archive: &Arc<Archive>,
    store: SharedStore,
    identities: Identities,
) -> Result<MountHandle, MountError> {
    let cache = CacheOptions {
        memory_bytes: 2 << 20,
        deadline: Duration::from_secs(2),
        decode_threads: 2,
    };
    let reader = Arc::new(SegmentReader::new(store, identities, None, cache));
    let source = Arc::new(ArchiveSource(archive.clone()));
    mount(source, reader, options(dir)).await
}

fn options(dir: &Path) -> Options {
    Options {
        mount: MountOptions {
            target: dir.to_owned(),
            source: "memory://a,b c".to_owned(),
            allow_other: true,
            noexec: false,
        },
        ownership: Ownership {
            uid: 0,
            gid: 12,
            mode: 0o440,
        },
        refresh: REFRESH,
    }
}

async fn mounted_with(archive: &Arc<Archive>, store: SharedStore, ids: Identities) -> Mounted {
    let dir = tempfile::tempdir().expect("a directory");
    let handle = try_mount_at(dir.path(), archive, store, ids)
        .await
        .expect("mounts: these tests need root and /dev/fuse");
    Mounted { handle, dir }
}

async fn mounted(archive: &Arc<Archive>) -> Mounted {
    mounted_with(archive, archive.shared(), archive.identities()).await
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .expect("lists")
        .map(|entry| {
            entry
                .expect("lists")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    names
}

fn mounts_at(path: &Path) -> Vec<mountinfo::Mount> {
    let table = std::fs::read(mountinfo::PATH).expect("reads");
    let mut mounts = mountinfo::parse(&table);
    mounts.retain(|mount| mount.mount_point == path);
    mounts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_have_the_servers_bytes_size_and_time() {
    for encrypted in [false, true] {
        let archive = Archive::new(encrypted);
        let mut all = Vec::new();
        for number in 1..=3 {
            let bytes = content(number, 100_000 * number as usize + 13);
            archive.add(&Segment::new(number, bytes.clone())).await;
            all.push(bytes);
        }
        archive.add(&Segment::new(4, Vec::new())).await;
        all.push(Vec::new());
        let mounted = mounted(&archive).await;
        assert_eq!(
            names(mounted.path()),
            [
                "binlog.000001",
                "binlog.000002",
                "binlog.000003",
                "binlog.000004"
            ]
        );
        for (number, bytes) in (1..).zip(&all) {
            let path = mounted.file(&format!("binlog.{number:06}"));
            assert!(std::fs::read(&path).expect("reads") == *bytes);
            let meta = path.metadata().expect("stats");
            assert_eq!(meta.len(), bytes.len() as u64);
            assert_eq!(meta.mode() & 0o7777, 0o440);
            assert_eq!((meta.uid(), meta.gid()), (0, 12));
            assert_eq!(meta.mtime(), 1_700_000_000 + number * 60);
            assert!(meta.blocks() > 0);
        }
        mounted.handle.unmount().await.expect("unmounts");
        assert!(names(mounted.path()).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mountinfo_tells_type_source_and_flags_and_df_works() {
    let archive = Archive::new(false);
    let mounted = mounted(&archive).await;
    let mounts = mounts_at(mounted.path());
    assert_eq!(mounts.len(), 1);
    assert_eq!(mounts[0].fs_type, "fuse.binlogfs");
    assert_eq!(mounts[0].source, "memory://a,b c");
    let stat = rustix::fs::statvfs(mounted.path()).expect("answers");
    assert!(stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    let bdi = format!("/sys/class/bdi/0:{}/read_ahead_kb", mounts[0].minor);
    assert_eq!(std::fs::read_to_string(bdi).expect("there").trim(), "1024");
    assert_eq!(mounted.handle.read_ahead_kib(), Some(1024));
    let told = binlogfs::fs::read_ahead::of_mount(mounted.path());
    assert_eq!(told.expect("it is mounted"), 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inode_numbers_are_the_same_in_every_mount() {
    let archive = Archive::new(false);
    for number in 1..=5 {
        archive
            .add(&Segment::new(number, content(number, 10)))
            .await;
    }
    let (one, two) = (mounted(&archive).await, mounted(&archive).await);
    for name in names(one.path()) {
        let ino = |m: &Mounted| m.file(&name).metadata().expect("stats").ino();
        assert_eq!(ino(&one), ino(&two));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_changes_something_is_refused_as_read_only() {
    let archive = Archive::new(false);
    archive.add(&Segment::new(1, content(1, 100))).await;
    let mounted = mounted(&archive).await;
    let file = mounted.file("binlog.000001");
    let other = mounted.file("x");
    let writing = || File::options().write(true).open(&file);
    assert_eq!(errno(writing()), libc::EROFS);
    assert_eq!(errno(File::create(&other)), libc::EROFS);
    assert_eq!(errno(std::fs::remove_file(&file)), libc::EROFS);
    assert_eq!(errno(std::fs::rename(&file, &other)), libc::EROFS);
    assert_eq!(errno(std::fs::create_dir(&other)), libc::EROFS);
    assert_eq!(errno(std::fs::hard_link(&file, &other)), libc::EROFS);
    assert_eq!(errno(std::os::unix::fs::symlink("y", &other)), libc::EROFS);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    assert_eq!(errno(std::fs::set_permissions(&file, mode)), libc::EROFS);
    let flags = rustix::fs::XattrFlags::empty();
    let set = rustix::fs::setxattr(&file, "user.x", b"y", flags);
    assert_eq!(set, Err(rustix::io::Errno::ROFS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_tell_what_the_ledger_knows() {
    let archive = Archive::new(false);
    let bytes = content(1, 100);
    archive.add(&Segment::new(1, bytes.clone())).await;
    let mut huge = Segment::new(2, content(2, 100));
    let runs: Vec<String> = (1..20_000).map(|n| (n * 2).to_string()).collect();
    huge.gtids = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{}", runs.join(":"));
    archive.add(&huge).await;
    archive.add_hole(3);
    let mounted = mounted(&archive).await;
    let get = |file: &str, name: &str| {
        let mut value = vec![0; 4096];
        let name = format!("user.binlogfs.{name}");
        let len = rustix::fs::getxattr(mounted.file(file), &*name, &mut value[..])?;
        value.truncate(len);
        Ok::<_, rustix::io::Errno>(String::from_utf8(value).expect("text"))
    };
    let first = "binlog.000001";
    assert_eq!(get(first, "file").unwrap(), first);
    assert_eq!(get(first, "seq").unwrap(), "1");
    assert_eq!(get(first, "state").unwrap(), "archived");
    assert_eq!(get(first, "timeline").unwrap(), "1");
    assert_eq!(get(first, "incarnation").unwrap(), "1");
    assert_eq!(
        get(first, "sha256").unwrap(),
        binlogfs::model::Sha256::of(&bytes).to_string()
    );
    assert_eq!(
        get(first, "gtid_set").unwrap(),
        "3e11fa47-71ca-11e1-9e33-c80aa9429562:1"
    );
    assert_eq!(get(first, "last_time").unwrap(), "2023-11-14T22:14:20Z");
    assert_eq!(get("binlog.000003", "state").unwrap(), "hole");
    assert_eq!(
        get("binlog.000003", "sha256"),
        Err(rustix::io::Errno::NODATA)
    );
    assert_eq!(
        get("binlog.000002", "gtid_set"),
        Err(rustix::io::Errno::TOOBIG)
    );
    let mut tiny = [0; 3];
    let short = rustix::fs::getxattr(mounted.file(first), "user.binlogfs.state", &mut tiny);
    assert_eq!(short, Err(rustix::io::Errno::RANGE));
    let mut list = vec![0; 4096];
    let len = rustix::fs::listxattr(mounted.file(first), &mut list[..]).expect("lists");
    let list = String::from_utf8(list[..len].to_vec()).expect("text");
    assert!(list.contains("user.binlogfs.server_uuid\0"), "{list:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_keeps_its_timeline_and_a_newer_one_is_reachable_and_not_listed() {
    let archive = Archive::new(false);
    archive.add(&Segment::new(1, content(1, 100))).await;
    let mounted = mounted(&archive).await;
    let old = std::fs::read(mounted.file("binlog.000001")).expect("reads");
    let reset = Segment {
        timeline: 2,
        incarnation: 2,
        ..Segment::new(1, content(2, 200))
    };
    archive.add(&reset).await;
    let hidden = mounted.file(".timeline/2/binlog.000001");
    eventually("the new timeline", || {
        hidden.metadata().is_ok_and(|meta| meta.len() == 200)
    })
    .await;
    // Whoever replays file after file must not be given the next one of another history.
    assert_eq!(names(mounted.path()), ["binlog.000001"]);
    let shown = std::fs::read(mounted.file("binlog.000001")).expect("reads");
    assert_eq!(shown, old);
    assert_eq!(names(&mounted.file(".timeline")), ["1", "2"]);
    let same = mounted.file(".timeline/1/binlog.000001");
    assert_eq!(std::fs::read(same).expect("reads"), old);
    drop(mounted);
    let mounted = self::mounted(&archive).await;
    let shown = std::fs::read(mounted.file("binlog.000001")).expect("reads");
    assert_eq!(shown.len(), 200, "a new mount shows the newest");
    assert_eq!(errno(mounted.file(".timeline/3").metadata()), libc::ENOENT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_segment_appears_and_a_failing_refresh_is_kept_in_the_status() {
    let archive = Archive::new(false);
    archive.add(&Segment::new(1, content(1, 100))).await;
    let mounted = mounted(&archive).await;
    let path = mounted.file("binlog.000002");
    assert_eq!(errno(path.metadata()), libc::ENOENT);
    archive.add(&Segment::new(2, content(2, 100))).await;
    eventually("the new segment", || path.exists()).await;
    assert_eq!(names(mounted.path()).len(), 2);
    archive.break_refresh(Some("the ledger went backwards"));
    eventually("the failure", || {
        mounted
            .handle
            .status()
            .expect("one stream")
            .last_error
            .as_deref()
            == Some("the ledger went backwards")
    })
    .await;
    assert!(std::fs::read(&path).is_ok());
    archive.break_refresh(None);
    eventually("the recovery", || {
        mounted
            .handle
            .status()
            .expect("one stream")
            .last_error
            .is_none()
    })
    .await;
}

/// Segments of random sizes, random frame sizes, with and without encryption, read in random ranges by several readers at
/// once, are what was archived.
#[test]
fn any_range_of_any_segment_is_what_was_archived() {
    use proptest::prelude::*;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let segments = prop::collection::vec((0usize..300_000, 12u32..20), 1..4);
    let reads = prop::collection::vec(
        (any::<prop::sample::Index>(), 0.0f64..1.1, 1usize..200_000),
        1..20,
    );
    let mut runner = TestRunner::new(Config::with_cases(24));
    let outcome = runner.run(
        &(any::<bool>(), segments, reads),
        |(encrypted, segments, reads)| {
            runtime.block_on(async {
                let archive = Archive::new(encrypted);
                let mut all = Vec::new();
                for (number, (size, frame_bits)) in (1..).zip(&segments) {
                    let bytes = content(number, *size);
                    let segment = Segment {
                        frame_size: 1 << frame_bits,
                        ..Segment::new(number, bytes.clone())
                    };
                    archive.add(&segment).await;
                    all.push(bytes);
                }
                let mounted = mounted(&archive).await;
                let mut threads = Vec::new();
                for (which, at, len) in reads {
                    let number = which.index(all.len());
                    let path = mounted.file(&format!("binlog.{:06}", number + 1));
                    let whole = all[number].clone();
                    threads.push(std::thread::spawn(move || {
                        let offset = (whole.len() as f64 * at) as usize;
                        let mut got = vec![0; len];
                        let file = File::open(path).expect("opens");
                        let mut have = 0;
                        loop {
                            let read = file.read_at(&mut got[have..], (offset + have) as u64);
                            let read = read.expect("reads");
                            have += read;
                            if read == 0 || have == len {
                                break;
                            }
                        }
                        let from = offset.min(whole.len());
                        got[..have] == whole[from..(from + len).min(whole.len())]
                    }));
                }
                for thread in threads {
                    prop_assert!(thread.join().expect("runs"));
                }
                mounted.handle.unmount().await.expect("unmounts");
                Ok(())
            })
        },
    );
    outcome.expect("every range is right");
    assert!(FRAME.is_power_of_two());
}

//! Disks that are small, full, read-only, or emptied by somebody. Needs root, to mount a tmpfs.

use super::{AMPLE, Host, cache_in, eventually, files};
use crate::tools;
use binlogfs::cache::disk::{DiskLimits, KeepFree, clear, usage};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a small file costs.
const FILE: u64 = 16 << 10;

/// A small disk; dropped, it is unmounted.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new(options: &str) -> Disk {
        let dir = tempfile::tempdir().expect("a directory");
        tools::run(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", options, "tmpfs"])
                .arg(dir.path()),
        );
        Disk(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        tools::run(
            Command::new("mount")
                .args(["-o", &options])
                .arg(self.path()),
        );
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_disk_is_filled_and_the_longest_unused_go() {
    let small = Disk::new("size=1m");
    let host = Host::new(true, 3, 30).await;
    let disk = cache_in(small.path(), AMPLE);
    let reader = host.reader(&disk);
    for _ in 0..3 {
        host.read_all(&reader).await;
    }
    eventually("something went", || disk.figures().evicted > 0).await;
    let figures = disk.figures();
    assert_eq!(figures.not_keeping, None);
    assert!(figures.counts.kept > 10, "{figures:?}");
    host.read_all(&reader).await;
    assert_eq!(disk.figures().counts.faults, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_takes_no_more_is_told_of_once_and_what_is_there_is_of_use() {
    // Its space is never short, which can be seen beforehand; its inodes are.
    let small = Disk::new("size=64m,nr_inodes=20");
    let host = Host::new(true, 3, 30).await;
    let disk = cache_in(small.path(), AMPLE);
    let reader = host.reader(&disk);
    for _ in 0..3 {
        host.read_all(&reader).await;
    }
    eventually("it is told", || disk.figures().not_keeping.is_some()).await;
    let figures = disk.figures();
    let why = figures.not_keeping.as_deref().expect("told");
    assert!(why.contains("No space left"), "{why}");
    assert!(figures.counts.kept > 0 && figures.counts.skipped > 0);
    // Something was given back, and no part of a file is left.
    assert!(figures.evicted > 0, "{figures:?}");
    let there = files(small.path()).len() as u64;
    assert!(there > 0);
    host.read_all(&reader).await;
    let after = disk.figures().counts.since(&figures.counts);
    assert!(after.hits >= there, "{there} are there: {after:?}");
    assert_eq!(disk.figures().counts.faults, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_disk_is_read_and_nothing_is_kept() {
    let small = Disk::new("size=16m");
    let host = Host::new(false, 2, 10).await;
    let disk = cache_in(small.path(), AMPLE);
    host.read_all(&host.reader(&disk)).await;
    eventually("all is kept", || files(small.path()).len() == 20).await;
    let some = files(small.path());
    std::fs::remove_file(&some[0]).expect("there");
    small.remount("ro");
    host.store.reset();
    let again = cache_in(small.path(), AMPLE);
    let reader = host.reader(&again);
    for _ in 0..3 {
        host.read_all(&reader).await;
    }
    let counts = again.figures().counts;
    assert_eq!((counts.hits, counts.misses), (57, 3));
    assert_eq!(host.gets(), 3);
    eventually("it is told", || again.figures().not_keeping.is_some()).await;
    let why = again.figures().not_keeping.expect("told");
    assert!(why.contains("Read-only"), "{why}");
    small.remount("rw");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_holds() {
    let host = Host::new(false, 4, 32).await;
    let limits = DiskLimits {
        size_bytes: 64 * FILE,
        keep_free: KeepFree::Bytes(0),
    };
    let disk = host.cache(limits);
    let reader = host.reader(&disk);
    for (segment, truth) in host.segments.iter().zip(&host.truth) {
        for frame in 0..32 {
            let offset = frame * 4096;
            let done = || {
                let counts = disk.figures().counts;
                counts.kept + counts.skipped + counts.hits
            };
            let before = done();
            let got = reader.read(segment, offset, 10).await.expect("reads");
            assert!(got == truth[offset as usize..][..10]);
            eventually("it is written", || done() > before).await;
            let used = usage(host.dir()).expect("reads").bytes;
            assert!(used <= limits.size_bytes, "{used}");
        }
    }
    host.flush(&disk).await;
    let figures = disk.figures();
    assert!(figures.evicted >= 64, "{figures:?}");
    let there = usage(host.dir()).expect("reads");
    assert_eq!(Some(there.bytes), figures.used_bytes);
    assert!(there.bytes > limits.size_bytes * 3 / 4, "{there:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_to_stay_free_stays_free_and_the_cache_gives_way() {
    let small = Disk::new("size=2m");
    let host = Host::new(false, 2, 200).await;
    let limits = DiskLimits {
        size_bytes: 1 << 30,
        keep_free: KeepFree::Percent(50),
    };
    let disk = cache_in(small.path(), limits);
    let reader = host.reader(&disk);
    let free = || usage(small.path()).expect("reads").free_bytes;
    for round in 0..20 {
        let segment = &host.segments[round % 2];
        for frame in (0..200).skip(round).step_by(7) {
            reader.read(segment, frame * 4096, 10).await.expect("reads");
        }
        assert!(free() >= 1 << 20, "{} are free", free());
    }
    eventually("something is kept", || !files(small.path()).is_empty()).await;
    // Others need the disk: what is kept goes, and then nothing is kept.
    std::fs::write(small.path().join("others"), vec![1; 1_045_000]).expect("fits");
    host.read_all(&reader).await;
    eventually("the cache gave way", || files(small.path()).is_empty()).await;
    let why = disk.figures().not_keeping.expect("told");
    assert!(why.contains("cache_free=50%"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_is_deleted_or_cleared_while_it_is_used_is_made_again() {
    let host = Host::new(true, 2, 12).await;
    let disk = host.cache(AMPLE);
    let reader = host.reader(&disk);
    let stop = AtomicBool::new(false);
    let deleting = async {
        for round in 0..40 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            if round % 2 == 0 {
                // Fails if a file is kept meanwhile: the next one comes.
                let _ = std::fs::remove_dir_all(host.dir().join("v1"));
            } else {
                clear(host.dir(), None).expect("clears");
            }
        }
        stop.store(true, Ordering::SeqCst);
    };
    let reading = async {
        while !stop.load(Ordering::SeqCst) {
            host.read_all(&reader).await;
        }
    };
    tokio::join!(deleting, reading);
    host.warm(&disk).await;
    let figures = disk.figures();
    assert_eq!((figures.counts.faults, figures.not_keeping), (0, None));
    host.flush(&disk).await;
    let cleared = clear(host.dir(), None).expect("clears");
    assert_eq!(cleared.frames, host.frames());
    assert!(usage(host.dir()).expect("reads").streams.is_empty());
    host.read_all(&reader).await;
}

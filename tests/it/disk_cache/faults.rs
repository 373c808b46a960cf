//! A device that fails, under the disk cache of a mount: every read is right, from the store where the device does not answer.

use super::failing_disk::{Failing, FailingDisk};
use super::mounted::Mounted;
use super::{AMPLE, Host, cache_in, files};
use crate::archive::Archive;
use crate::fixture::FRAME;
use crate::synthetic::SyntheticServer;
use crate::tools::eventually;
use binlogfs::cache::disk::{DiskLimits, KeepFree, LOAD_PATIENCE};
use binlogfs::cache::{CacheOptions, SegmentReader};
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::time::Instant;

/// Two segments of six frames of 64 KiB.
const FRAMES: u64 = 12;
const ROUNDS: u64 = 3;

/// A device, and what a cache on it comes to that is read through a mount: its counts, and what the store was asked.
async fn read_through(host: &Host, filled: bool, failing: Failing) -> (serde_json::Value, u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let device = FailingDisk::mount(dir.path());
    if filled {
        let disk = cache_in(dir.path(), AMPLE);
        host.read_all(&host.reader(&disk)).await;
        let kept = || files(dir.path()).len() as u64 == FRAMES;
        super::eventually("all is kept", kept).await;
    }
    device.fail(failing);
    let disk = cache_in(dir.path(), AMPLE);
    let mounted = Mounted::new(host, host.reader(&disk)).await;
    host.store.reset();
    for _ in 0..ROUNDS {
        for (number, truth) in (1..).zip(&host.truth) {
            let got = mounted.read(number);
            let got = got.unwrap_or_else(|e| panic!("{failing:?}, filled: {filled}: {e}"));
            assert!(got == *truth, "{failing:?}, filled: {filled}: wrong bytes");
        }
    }
    let given_up = || {
        let counts = disk.figures().counts;
        counts.kept + counts.skipped >= counts.misses
    };
    super::eventually("what was fetched is written, or given up", given_up).await;
    let gets = host.gets();
    let cache = mounted.status()["disk_cache"].clone();
    device.fail(Failing::Nothing);
    assert!(mounted.read(1).expect("reads") == host.truth[0]);
    mounted.handle.unmount().await.expect("unmounts");
    (cache, gets)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_fails_under_the_disk_cache_fails_no_read_of_the_mount() {
    let host = Host::with_frames(true, 2, 6, 64 << 10).await;
    let all = ROUNDS * FRAMES;
    // Bad sectors: a frame that cannot be read is a fault, fetched, and kept again in vain.
    let (cache, gets) = read_through(&host, true, Failing::Reads(libc::EIO)).await;
    assert_eq!(
        (&cache["hits"], &cache["misses"]),
        (&0.into(), &all.into()),
        "{cache}"
    );
    assert!(cache["faults"].as_u64() >= Some(FRAMES), "{cache}");
    assert!(
        gets >= ROUNDS && cache["not_keeping"].is_null(),
        "{gets} gets, {cache}"
    );

    for (errno, text) in [
        (libc::EIO, "Input/output error"),
        (libc::ENOSPC, "No space left"),
        (libc::EROFS, "Read-only file system"),
    ] {
        // What is there is of use although nothing can be written.
        let (cache, gets) = read_through(&host, true, Failing::Writes(errno)).await;
        assert_eq!((&cache["hits"], gets), (&all.into(), 0), "{text}: {cache}");
        let (cache, gets) = read_through(&host, false, Failing::Writes(errno)).await;
        assert!(gets >= ROUNDS, "{text}: {gets}");
        assert_eq!(cache["misses"], all, "{text}: {cache}");
        assert_eq!(
            (&cache["kept"], &cache["skipped"]),
            (&0.into(), &all.into()),
            "{text}: {cache}"
        );
        let why = cache["not_keeping"].as_str().expect("told");
        assert!(why.contains(text), "{why}");
    }

    // The device is gone: nothing of it can even be looked at.
    for filled in [false, true] {
        let (cache, gets) = read_through(&host, filled, Failing::All(libc::EIO)).await;
        assert!(gets >= ROUNDS, "{gets}");
        assert_eq!(
            (&cache["hits"], &cache["misses"]),
            (&0.into(), &all.into()),
            "{cache}"
        );
        let why = cache["not_keeping"].as_str().expect("told");
        assert!(why.contains("Input/output error"), "{why}");
    }
}

#[test]
fn a_device_that_hangs_leaves_a_read_of_little_patience_time_for_the_store() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("starts");
    let host = runtime.block_on(Host::with_frames(true, 1, 6, 64 << 10));
    let dir = tempfile::tempdir().expect("a directory");
    let device = FailingDisk::mount(dir.path());
    let disk = cache_in(dir.path(), AMPLE);
    // Less than the disk is given where reads have more.
    let deadline = LOAD_PATIENCE * 3 / 4;
    let reader = SegmentReader::with_disk(
        host.archive.shared(),
        host.archive.identities(),
        None,
        Some(disk.clone()),
        CacheOptions {
            memory_bytes: 0,
            deadline,
            ..CacheOptions::default()
        },
    );
    let read = || runtime.block_on(reader.read(&host.segments[0], 0, u64::MAX));
    let hanging = device.hang();
    let first = read();
    let why = disk.figures().not_looking;
    // The disk is left alone now.
    let begun = Instant::now();
    let second = read();
    let took = begun.elapsed();
    drop(hanging);
    assert!(first.expect("the store answers") == host.truth[0]);
    assert!(second.expect("the store answers") == host.truth[0]);
    assert!(why.expect("told").contains("did not answer"));
    assert!(took < deadline / 2, "{took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_is_late_to_tell_what_it_got_back_keeps_most_of_the_cache() {
    let host = Host::new(false, 1, 32).await;
    let dir = tempfile::tempdir().expect("a directory");
    let device = FailingDisk::mount(dir.path());
    let floor = 512 << 20;
    let limits = DiskLimits {
        keep_free: KeepFree::Bytes(floor),
        ..AMPLE
    };
    let disk = cache_in(dir.path(), limits);
    let reader = host.reader(&disk);
    let read = async |range: Range<usize>| {
        let (len, frames) = (range.len() as u64, range.end.div_ceil(FRAME as usize));
        let read = reader.read(&host.segments[0], range.start as u64, len);
        assert!(read.await.expect("reads") == host.truth[0][range]);
        let done = || {
            let counts = disk.figures().counts;
            counts.kept + counts.skipped == frames as u64
        };
        super::eventually("what was fetched is written, or given up", done).await;
    };
    let end = host.truth[0].len();
    let middle = 26 * FRAME as usize;
    read(0..middle).await;
    assert_eq!(files(dir.path()).len(), 26);
    // Less than what is to stay free, and no more however much is removed.
    device.tell_free(floor - (16 << 10));
    read(middle..end).await;
    let figures = disk.figures();
    assert_eq!(figures.counts.kept, 32, "{figures:?}");
    assert!((1..20).contains(&figures.evicted), "{figures:?}");
    assert_eq!(files(dir.path()).len() as u64, 32 - figures.evicted);
}

/// Lines of a log that say so.
fn lines<'l>(log: &'l str, what: &str) -> Vec<&'l str> {
    log.lines().filter(|line| line.contains(what)).collect()
}

#[test]
fn a_device_that_fails_under_the_disk_cache_is_logged_once_and_counted() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    for _ in 0..2 {
        server.rotate(6, 1 << 20);
    }
    archive.archive(server.dir());
    let frames = archive.path("cache").join("frames");
    fs::create_dir_all(&frames).expect("writable");
    let device = FailingDisk::mount(&frames);
    // A mount each: none has anything in memory or in the kernel.
    let read = |failing: Failing, log: &Path| {
        device.fail(failing);
        let log_file = log.to_str().expect("text");
        let mounted = archive.mount_with(&["--log-file", log_file]);
        for path in server.closed() {
            let shown = mounted.dir().join(path.file_name().expect("a name"));
            let right = fs::read(&shown).expect("reads") == fs::read(&path).expect("reads");
            assert!(right, "{failing:?}: {}", shown.display());
        }
        let status = || {
            let text = fs::read(mounted.dir().join(".status.json")).expect("reads");
            let status: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            status["disk_cache"].clone()
        };
        eventually("all frames are kept, or not", || {
            let cache = status();
            let count = |name: &str| cache[name].as_u64().expect("a number");
            count("kept") + count("skipped") >= count("misses")
        });
        let process = mounted.process();
        let cache = status();
        drop(mounted);
        eventually("its process has ended", || {
            rustix::process::test_kill_process(process).is_err()
        });
        (cache, fs::read_to_string(log).unwrap_or_default())
    };

    let (full, said) = read(Failing::Writes(libc::ENOSPC), &archive.path("full.log"));
    assert!(full["skipped"].as_u64() > Some(10), "{full}");
    let told = lines(&said, "no frames are kept in the disk cache");
    assert_eq!(told.len(), 1, "{said}");
    assert!(told[0].contains("No space left"), "{said}");

    let (filled, said) = read(Failing::Nothing, &archive.path("filled.log"));
    assert!(filled["kept"].as_u64() > Some(10), "{filled}");
    assert_eq!(said, "");

    let (bad, said) = read(Failing::Reads(libc::EIO), &archive.path("bad.log"));
    assert!(bad["faults"].as_u64() > Some(10), "{bad}");
    let told = lines(&said, "a frame on disk is not used");
    assert_eq!(told.len(), 1, "{said}");
    assert!(told[0].contains("Input/output error"), "{said}");
    assert!(told[0].contains(frames.to_str().expect("text")), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

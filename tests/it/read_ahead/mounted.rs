//! Reading ahead in a mount, through the kernel.

use super::{MIB, PATIENCE};
use crate::fixture::{Archive, ArchiveSource, Segment, content, mount_options, readable};
use binlogfs::cache::{CacheOptions, SegmentReader};
use binlogfs::fs::{MountHandle, Options, mount};
use binlogfs::ledger::Entry;
use binlogfs::store::{RecordingStore, SharedStore};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn options(dir: &Path) -> Options {
    mount_options(dir, Duration::from_secs(5))
}

async fn mounted(archive: &Arc<Archive>, store: SharedStore, dir: &Path) -> MountHandle {
    let options_of_reader = CacheOptions::default();
    let reader = SegmentReader::new(store, archive.identities(), None, options_of_reader);
    let source = Arc::new(ArchiveSource(archive.clone()));
    mount(source, Arc::new(reader), options(dir))
        .await
        .expect("mounts: this test needs root and /dev/fuse")
}

/// A replay from a position reads the format description, and then from there on. Through the kernel, with its read-ahead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_transaction_in_a_cold_segment_of_one_gib_costs_at_most_three_mib() {
    const PLAIN: usize = 1 << 30;
    let archive = Archive::new(true);
    // Of the frames that are read and those around them; the others only have to be there.
    let block = content(1, 16 << 20);
    let mut bytes = vec![0; PLAIN];
    for around in [0, 692 << 20] {
        bytes[around..around + block.len()].copy_from_slice(&block);
    }
    let segment = Segment {
        frame_size: 1 << 20,
        ..Segment::new(1, bytes)
    };
    archive.add(&segment).await;
    // Mounting reads the newest segment's tail, which is not this one's.
    archive.add(&Segment::new(2, content(2, 100))).await;
    let recording = RecordingStore::new(archive.shared());
    let dir = tempfile::tempdir().expect("a directory");
    let handle = mounted(&archive, Arc::new(recording.clone()), dir.path()).await;
    recording.reset();
    let path = dir.path().join("binlog.000001");
    let read = tokio::task::spawn_blocking(move || {
        let file = File::open(path).expect("opens");
        let mut buffer = vec![0; 8192];
        file.read_exact_at(&mut buffer, 0).expect("reads");
        // Across the border of two frames: the worst place.
        let from = 700 * MIB - 50_000;
        for offset in (from..from + 100_000).step_by(8192) {
            file.read_exact_at(&mut buffer, offset).expect("reads");
            let at = offset as usize;
            assert!(buffer == segment.bytes[at..at + 8192]);
        }
    });
    read.await.expect("is right");
    tokio::time::sleep(Duration::from_millis(300)).await;
    let total = recording.total("get");
    assert!(total.bytes <= 3 * MIB, "{total:?}");
    handle.unmount().await.expect("unmounts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_mount_the_next_file_is_begun_before_anybody_opens_it() {
    let archive = Archive::new(true);
    let first = archive.add(&Segment::new(1, content(1, 300_000))).await;
    let second = archive.add(&Segment::new(2, content(2, 300_000))).await;
    archive.add_hole(3);
    archive.add(&Segment::new(4, content(4, 300_000))).await;
    let recording = RecordingStore::new(archive.shared());
    let dir = tempfile::tempdir().expect("a directory");
    let handle = mounted(&archive, Arc::new(recording.clone()), dir.path()).await;
    recording.reset();
    let path = dir.path().join("binlog.000001");
    let read = tokio::task::spawn_blocking(|| std::fs::read(path));
    assert!(read.await.expect("runs").expect("reads") == content(1, 300_000));
    let gets = |entry: &Entry| {
        let key = readable(entry).key().to_string();
        let calls = recording.calls_of("get");
        calls.iter().filter(|call| call.key == key).count()
    };
    let begun = Instant::now();
    while gets(&second) == 0 {
        assert!(begun.elapsed() < PATIENCE, "not begun");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(gets(&first) >= 1);
    handle.unmount().await.expect("unmounts");
}

/// Through the kernel, and with less memory than the file has: what is not fetched again comes from the page cache.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_read_is_in_the_page_cache_also_after_it_is_closed() {
    let archive = Archive::new(true);
    let bytes = content(1, 300_000);
    archive.add(&Segment::new(1, bytes.clone())).await;
    let recording = RecordingStore::new(archive.shared());
    let cache = CacheOptions {
        memory_bytes: 200_000,
        ..CacheOptions::default()
    };
    let store: SharedStore = Arc::new(recording.clone());
    let reader = SegmentReader::new(store, archive.identities(), None, cache);
    let source = Arc::new(ArchiveSource(archive.clone()));
    let dir = tempfile::tempdir().expect("a directory");
    let handle = mount(source, Arc::new(reader), options(dir.path()))
        .await
        .expect("mounts: this test needs root and /dev/fuse");
    // A kernel short of memory drops pages, and then a round fetches; without KEEP_CACHE every round would.
    let mut gets = Vec::new();
    while gets.len() < 2 || (gets.last() != Some(&0) && gets.len() < 10) {
        let path = dir.path().join("binlog.000001");
        let read = tokio::task::spawn_blocking(|| std::fs::read(path));
        assert!(read.await.expect("runs").expect("reads") == bytes);
        gets.push(recording.total("get").calls);
        // Beyond the TTL of what may change.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        recording.reset();
    }
    assert!(gets[0] > 0, "the first round fetches: {gets:?}");
    assert_eq!(
        gets.last(),
        Some(&0),
        "no round is all in the page cache: {gets:?}"
    );
    handle.unmount().await.expect("unmounts");
}

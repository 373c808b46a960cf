//! What `.status.json` tells of the disk cache, of memory and of what is fetched ahead.

use super::mounted::Mounted;
use super::{AMPLE, Host};
use binlogfs::cache::{CacheOptions, SegmentReader};
use std::time::{Duration, Instant};

/// Two segments of six frames of 64 KiB.
const FRAMES: u64 = 12;
/// What must happen happens within this, on any machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_tells_what_disk_and_memory_hold_and_may_hold() {
    let host = Host::with_frames(true, 2, 6, 64 << 10).await;
    let read_both = |mounted: &Mounted| {
        for number in 1..=2 {
            assert!(mounted.read(number).expect("reads") == host.truth[number - 1]);
        }
    };
    let disk = host.cache(AMPLE);
    let cold = Mounted::new(&host, host.reader_with(&disk, 2 << 20)).await;
    let before = cold.status();
    assert_eq!(before["memory"]["used_bytes"], 0);
    assert_eq!(before["memory"]["max_bytes"], 4 << 20);
    assert_eq!(before["memory"]["decoded_max_bytes"], 2 << 20);
    assert_eq!(before["read_ahead"]["unread_max_bytes"], 3 << 19);
    assert_eq!(before["read_ahead"]["window_max_bytes"], 1 << 20);
    assert_eq!(before["disk_cache"]["misses"], 0);
    assert_eq!(before["disk_cache"]["size_bytes"], 1 << 30);
    // Nobody has counted what is there.
    assert!(before["disk_cache"]["used_bytes"].is_null());

    read_both(&cold);
    // A frame goes to the disk after its reader has it: on a busy machine some time after.
    let begun = Instant::now();
    let after = loop {
        host.flush(&disk).await;
        let now = cold.status();
        let kept = now["disk_cache"]["kept"].as_u64();
        if kept >= Some(FRAMES) || begun.elapsed() > PATIENCE {
            break now;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let (memory, cache) = (&after["memory"], &after["disk_cache"]);
    let bytes: u64 = host.truth.iter().map(|bytes| bytes.len() as u64).sum();
    let decoded = memory["decoded_bytes"].as_u64().expect("a number");
    assert!(
        (bytes..bytes + (FRAMES << 10)).contains(&decoded),
        "{memory}"
    );
    let used = memory["used_bytes"].as_u64().expect("a number");
    // In KiB, rounded.
    assert!(
        used + (FRAMES << 10) >= bytes && used <= 4 << 20,
        "{memory}"
    );
    assert!(memory["tails_bytes"].as_u64() > Some(0), "{memory}");
    assert_eq!(memory["coming_frames"], 0);
    assert_eq!(after["read_ahead"]["unread_bytes"], 0);
    // One that lands while it is looked for is fetched once more: rare, and allowed.
    for (name, few) in [("hits", 0), ("misses", FRAMES), ("kept", FRAMES)] {
        let count = cache[name].as_u64().expect("a number");
        assert!((few..few + 4).contains(&count), "{name}: {cache}");
    }
    let there = binlogfs::cache::disk::usage(host.dir()).expect("reads");
    assert_eq!(cache["used_bytes"], there.bytes);
    assert_eq!(cache["dir"], there.dir.display().to_string());
    cold.handle.unmount().await.expect("unmounts");

    let again = host.cache(AMPLE);
    let warm = Mounted::new(&host, host.reader_with(&again, 2 << 20)).await;
    read_both(&warm);
    let cache = &warm.status()["disk_cache"];
    assert!(cache["hits"].as_u64() >= Some(FRAMES), "{cache}");
    assert_eq!(
        (&cache["misses"], &cache["kept"]),
        (&0.into(), &0.into()),
        "{cache}"
    );
    assert!(cache["not_keeping"].is_null() && cache["not_looking"].is_null());
    warm.handle.unmount().await.expect("unmounts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_disk_cache_the_status_has_none() {
    let host = Host::new(false, 1, 1).await;
    let store = host.archive.shared();
    let options = CacheOptions::default();
    let reader = SegmentReader::new(store, host.archive.identities(), None, options);
    let mounted = Mounted::new(&host, reader).await;
    let status = mounted.status();
    assert!(status["disk_cache"].is_null(), "{status}");
    assert_eq!(status["memory"]["max_bytes"], 128 << 20);
    mounted.handle.unmount().await.expect("unmounts");
}

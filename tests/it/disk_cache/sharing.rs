//! Several processes on one directory: each sees what the others kept, and all evict at once.

use super::{AMPLE, Host, eventually};
use crate::random::Random;
use binlogfs::cache::disk::{DiskLimits, KeepFree, StreamDisk, usage};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_keeps_the_other_finds() {
    let host = Host::new(true, 2, 10).await;
    let (one, two) = (host.cache(AMPLE), host.cache(AMPLE));
    host.warm(&one).await;
    host.store.reset();
    host.read_all(&host.reader(&two)).await;
    assert_eq!(host.gets(), 0);
    assert_eq!(two.figures().counts.hits, host.frames());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_that_keep_and_evict_at_once_read_right_and_hold_the_limit() {
    let host = Arc::new(Host::new(false, 4, 64).await);
    let limits = DiskLimits {
        size_bytes: 96 * (16 << 10),
        keep_free: KeepFree::Bytes(0),
    };
    let disks: Vec<StreamDisk> = (0..3).map(|_| host.cache(limits)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let (watched, ended) = (Arc::clone(&host), Arc::clone(&stop));
    let watching = tokio::task::spawn_blocking(move || {
        let mut most = 0;
        while !ended.load(Ordering::SeqCst) {
            most = most.max(usage(watched.dir()).expect("reads").bytes);
        }
        most
    });
    let mut tasks = Vec::new();
    for (seed, disk) in disks.iter().enumerate() {
        let (host, disk) = (Arc::clone(&host), disk.clone());
        tasks.push(tokio::spawn(async move {
            let reader = host.reader(&disk);
            let mut random = Random::of(seed as u64 + 1);
            for _ in 0..400 {
                let n = random.below(4) as usize;
                let frame = random.below(64);
                let offset = frame * 4096;
                let got = reader.read(&host.segments[n], offset, 9000).await;
                let truth = &host.truth[n][offset as usize..];
                assert!(got.expect("reads") == truth[..truth.len().min(9000)]);
            }
        }));
    }
    for task in tasks {
        task.await.expect("no reader fails");
    }
    stop.store(true, Ordering::SeqCst);
    let most = watching.await.expect("watches");
    // What one writes before it learns what the others wrote.
    let slack = limits.size_bytes / 8;
    assert!(most <= limits.size_bytes + slack, "{most}");
    let sum = |of: fn(&StreamDisk) -> u64| disks.iter().map(of).sum::<u64>();
    assert!(sum(|disk| disk.figures().counts.hits) > 0);
    assert!(sum(|disk| disk.figures().evicted) > 0);
    assert_eq!(sum(|disk| disk.figures().counts.faults), 0);
    for disk in &disks {
        eventually("nobody gave up", || disk.figures().not_keeping.is_none()).await;
    }
}

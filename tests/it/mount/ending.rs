//! How a mount ends, and a read whose store hangs.

use super::{Mounted, mounted, mounted_with, mounts_at, names, try_mount_at};
use crate::fixture::{Archive, Segment, content};
use crate::tools::errno;
use binlogfs::fs::MountError;
use binlogfs::segment::Identities;
use binlogfs::store::SharedStore;
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Mounted from a store that answers until it is told to hang.
async fn mounted_until_it_hangs(archive: &Arc<Archive>) -> (Mounted, Arc<AtomicBool>) {
    let hangs = Arc::new(AtomicBool::new(false));
    let hanging = hangs.clone();
    let clock = FaultClock::new(move |_| match hanging.load(Ordering::SeqCst) {
        true => Fault::Delay(Duration::from_secs(3600)),
        false => Fault::None,
    });
    let store: SharedStore = Arc::new(FaultStore::new(archive.shared(), clock));
    let mounted = mounted_with(archive, store, Identities::none()).await;
    (mounted, hangs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_hangs_gives_etimedout_within_one_deadline() {
    let archive = Archive::new(false);
    archive.add(&Segment::new(1, content(1, 100_000))).await;
    let (mounted, hangs) = mounted_until_it_hangs(&archive).await;
    hangs.store(true, Ordering::SeqCst);
    let begun = Instant::now();
    assert_eq!(
        errno(std::fs::read(mounted.file("binlog.000001"))),
        libc::ETIMEDOUT
    );
    assert!(
        begun.elapsed() < Duration::from_millis(2900),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(names(mounted.path()), ["binlog.000001"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unmounting_while_busy_detaches_and_fails_reads_on_their_way() {
    let archive = Archive::new(false);
    archive.add(&Segment::new(1, content(1, 100_000))).await;
    let (mounted, hangs) = mounted_until_it_hangs(&archive).await;
    let file = File::open(mounted.file("binlog.000001")).expect("opens");
    hangs.store(true, Ordering::SeqCst);
    let reading = std::thread::spawn(move || {
        let read = errno(file.read_at(&mut [0; 100], 0));
        (file, read)
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let begun = Instant::now();
    mounted.handle.unmount().await.expect("unmounts");
    assert!(
        begun.elapsed() < Duration::from_millis(1900),
        "{:?}",
        begun.elapsed()
    );
    let (file, read) = reading.join().expect("runs");
    assert_eq!(read, libc::EIO);
    assert!(mounts_at(mounted.path()).is_empty());
    mounted
        .handle
        .wait()
        .await
        .expect("the session has ended, with a file still open");
    assert!(file.read_at(&mut [0; 100], 0).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unmount_from_outside_ends_the_session() {
    let archive = Archive::new(false);
    archive.add(&Segment::new(1, content(1, 100))).await;
    let mounted = mounted(&archive).await;
    rustix::mount::unmount(mounted.path(), rustix::mount::UnmountFlags::empty()).expect("unmounts");
    let ended = tokio::time::timeout(Duration::from_secs(5), mounted.handle.wait());
    ended.await.expect("ends soon").expect("ends well");
    mounted
        .handle
        .unmount()
        .await
        .expect("is unmounted already");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_mount_over_ours_is_left_alone() {
    let archive = Archive::new(false);
    archive.add(&Segment::new(1, content(1, 100))).await;
    let mounted = mounted(&archive).await;
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount(
        "none",
        mounted.path(),
        "tmpfs",
        flags,
        None::<&std::ffi::CStr>,
    )
    .expect("mounts a tmpfs");
    std::fs::write(mounted.file("precious"), "x").expect("writes");
    let error = mounted
        .handle
        .unmount()
        .await
        .expect_err("something is over it");
    assert!(matches!(error, MountError::Covered { .. }), "{error}");
    assert_eq!(
        std::fs::read(mounted.file("precious")).expect("there"),
        b"x"
    );
    drop(mounted.handle);
    let left = mounts_at(mounted.dir.path());
    assert_eq!(left.last().expect("there").fs_type, "tmpfs");
    for _ in left {
        let lazy = rustix::mount::UnmountFlags::DETACH;
        rustix::mount::unmount(mounted.dir.path(), lazy).expect("unmounts");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mounting_twice_on_one_directory_is_refused_and_a_dropped_mount_is_gone() {
    let archive = Archive::new(false);
    let mounted = mounted(&archive).await;
    let again = try_mount_at(
        mounted.path(),
        &archive,
        archive.shared(),
        Identities::none(),
    )
    .await;
    let error = again.err().expect("refused").to_string();
    assert!(error.contains("mounted there already"), "{error}");
    let Mounted { handle, dir } = mounted;
    drop(handle);
    assert!(mounts_at(dir.path()).is_empty());
}

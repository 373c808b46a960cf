//! What the mount shows of segments that cannot be read, or not in full.

use super::{mounted, mounted_with, mounts_at, names, try_mount_at};
use crate::fixture::{Archive, Segment, content, key_of};
use crate::tools::{errno, eventually_async as eventually};
use binlogfs::segment::Identities;
use binlogfs::store::Store as _;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_is_listed_cannot_be_opened_and_can_be_filled_while_mounted() {
    let archive = Archive::new(false);
    archive.add(&Segment::new(1, content(1, 100))).await;
    let hole = archive.add_hole(2);
    archive.add(&Segment::new(3, content(3, 100))).await;
    let mounted = mounted(&archive).await;
    let path = mounted.file("binlog.000002");
    let meta = path.metadata().expect("stats");
    assert_eq!((meta.len(), meta.mtime()), (0, 1_700_000_060));
    assert_eq!(errno(File::open(&path)), libc::EIO);
    assert_eq!(
        errno(File::open(mounted.file(".raw/binlog.000002"))),
        libc::ENOENT
    );
    let bytes = content(2, 50_000);
    archive
        .supersede(&hole, &Segment::new(2, bytes.clone()))
        .await;
    eventually("the hole is filled", || {
        std::fs::read(&path).is_ok_and(|got| got == bytes)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_segment_reads_to_the_byte_before_its_first_bad_event() {
    let archive = Archive::new(true);
    let bytes = content(1, 30_000);
    let mut segment = Segment::new(1, bytes.clone());
    segment.first_bad_position = Some(10_001);
    archive.add(&segment).await;
    let mounted = mounted(&archive).await;
    let mut file = File::open(mounted.file("binlog.000001")).expect("opens");
    assert_eq!(file.metadata().expect("stats").len(), 30_000);
    let mut got = Vec::new();
    let error = file.read_to_end(&mut got).expect_err("damage");
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    assert!(got == bytes[..10_001], "{} bytes", got.len());
    assert_eq!(errno(file.read_at(&mut [0; 10], 20_000)), libc::EIO);
    assert_eq!(names(&mounted.file(".raw")), ["binlog.000001"]);
    let raw = std::fs::read(mounted.file(".raw/binlog.000001")).expect("reads");
    assert!(raw == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_better_copy_of_a_damaged_segment_is_read_by_whoever_opens_it_from_then_on() {
    let archive = Archive::new(true);
    let (damaged, better) = (content(1, 30_000), content(2, 30_000));
    let mut segment = Segment::new(1, damaged.clone());
    segment.first_bad_position = Some(10_001);
    let entry = archive.add(&segment).await;
    let mounted = mounted(&archive).await;
    let (path, raw) = (
        mounted.file("binlog.000001"),
        mounted.file(".raw/binlog.000001"),
    );
    assert!(std::fs::read(&raw).expect("reads") == damaged);
    let (open, open_raw) = (
        File::open(&path).expect("opens"),
        File::open(&raw).expect("opens"),
    );
    let read = |file: &File, len| {
        let mut bytes = vec![0; len];
        file.read_exact_at(&mut bytes, 0).expect("reads");
        bytes
    };
    assert!(read(&open, 10_001) == damaged[..10_001]);
    archive
        .supersede(&entry, &Segment::new(1, better.clone()))
        .await;
    let damaged_ones = mounted.file(".raw");
    eventually("the refresh", || names(&damaged_ones).is_empty()).await;
    // Sizes are the same: only what is opened anew can be told apart.
    eventually("the better copy", || {
        std::fs::read(&path).is_ok_and(|got| got == better)
    })
    .await;
    for _ in 0..2 {
        assert!(read(&open, 10_001) == damaged[..10_001]);
        assert!(read(&open_raw, 30_000) == damaged);
        assert!(std::fs::read(&path).expect("reads") == better);
        assert!(std::fs::read(&raw).expect("reads") == better);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_key_names_are_seen_and_opening_tells_enokey() {
    let archive = Archive::new(true);
    archive.add(&Segment::new(1, content(1, 100))).await;
    let mounted = mounted_with(&archive, archive.shared(), Identities::none()).await;
    assert_eq!(names(mounted.path()), ["binlog.000001"]);
    assert_eq!(
        errno(File::open(mounted.file("binlog.000001"))),
        libc::ENOKEY
    );
    let dir = tempfile::tempdir().expect("a directory");
    let wrong = Archive::new(true).identities();
    let refused = try_mount_at(dir.path(), &archive, archive.shared(), wrong).await;
    let error = refused
        .err()
        .expect("a wrong key is told at once")
        .to_string();
    assert!(error.contains("--identity"), "{error}");
    assert!(mounts_at(dir.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_object_is_stale_and_flipped_bits_are_an_io_error() {
    let archive = Archive::new(true);
    let gone = archive.add(&Segment::new(1, content(1, 100_000))).await;
    let flipped = archive.add(&Segment::new(2, content(2, 100_000))).await;
    let bytes = content(3, 100_000);
    archive.add(&Segment::new(3, bytes.clone())).await;
    archive.store.delete(&key_of(&gone)).await.expect("deletes");
    let key = key_of(&flipped);
    let mut object = archive
        .store
        .get_all(&key, 1 << 20)
        .await
        .expect("there")
        .to_vec();
    object[1000] ^= 1;
    archive.store.tamper(&key, object);
    let mounted = mounted(&archive).await;
    let read = |name: &str| std::fs::read(mounted.file(name));
    assert_eq!(errno(read("binlog.000001")), libc::ESTALE);
    assert_eq!(errno(read("binlog.000002")), libc::EIO);
    assert!(read("binlog.000003").expect("reads") == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_age_header_is_an_io_error_and_one_for_other_keys_is_enokey() {
    let archive = Archive::new(true);
    let bytes = content(1, 10_000);
    let entry = archive.add(&Segment::new(1, bytes.clone())).await;
    let newest = archive.add(&Segment::new(2, content(2, 100))).await;
    let header = entry
        .segment
        .as_ref()
        .expect("a segment")
        .object
        .header_size;
    let key = key_of(&entry);
    let sound = archive.store.get_all(&key, 1 << 20).await.expect("there");
    let mounted = mounted(&archive).await;
    let path = mounted.file("binlog.000001");
    for at in 0..header as usize {
        let mut object = sound.to_vec();
        object[at] ^= 1;
        archive.store.tamper(&key, object);
        assert_eq!(errno(std::fs::read(&path)), libc::EIO, "byte {at}");
    }
    archive.store.tamper(&key, sound);
    assert!(std::fs::read(&path).expect("reads") == bytes);
    // With a key that opens nothing a mount begins only where the newest segment cannot tell.
    archive
        .store
        .delete(&key_of(&newest))
        .await
        .expect("deletes");
    let foreign = Archive::new(true).identities();
    let mounted = mounted_with(&archive, archive.shared(), foreign).await;
    let read = std::fs::read(mounted.file("binlog.000001"));
    assert_eq!(errno(read), libc::ENOKEY);
}

//! How a listing looks: long ones, and those of a stream in a bucket that grows.

use super::{mounted, names, options};
use crate::fixture::{Archive, Segment, content};
use crate::tools::{errno, eventually_async as eventually};
use binlogfs::cache::{CacheOptions, SegmentReader};
use binlogfs::fs::{StreamSource, mount};
use binlogfs::index::Index;
use binlogfs::stream::Stream;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_in_a_bucket_is_mounted_and_followed() {
    let archive = Archive::new(true);
    let bytes = content(1, 50_000);
    archive.add(&Segment::new(1, bytes.clone())).await;
    let hole = archive.add_hole(2);
    let index = Arc::new(Index::in_memory().expect("opens"));
    let stream = Stream::open(archive.shared(), index.clone()).await;
    let source = Arc::new(StreamSource::new(Arc::new(stream.expect("a stream"))));
    let cache = CacheOptions::default();
    let tails = Some(index as Arc<_>);
    let reader = SegmentReader::new(archive.shared(), archive.identities(), tails, cache);
    let dir = tempfile::tempdir().expect("a directory");
    let handle = mount(source, Arc::new(reader), options(dir.path()))
        .await
        .expect("mounts");
    let read = |name: &str| std::fs::read(dir.path().join(name));
    assert!(read("binlog.000001").expect("reads") == bytes);
    assert_eq!(errno(read("binlog.000002")), libc::EIO);
    archive.add(&Segment::new(3, content(3, 100))).await;
    eventually("the new segment", || read("binlog.000003").is_ok()).await;
    archive
        .supersede(&hole, &Segment::new(2, bytes.clone()))
        .await;
    eventually("the filled hole", || {
        read("binlog.000002").is_ok_and(|got| got == bytes)
    })
    .await;
    assert_eq!(names(dir.path()).len(), 3);
    let mut value = [0; 16];
    let path = dir.path().join("binlog.000002");
    let len = rustix::fs::getxattr(path, "user.binlogfs.state", &mut value).expect("there");
    assert_eq!(&value[..len], b"archived");
    handle.unmount().await.expect("unmounts");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_listing_is_whole_and_in_order() {
    let archive = Archive::new(false);
    archive.add(&Segment::new(1, content(1, 10))).await;
    for number in 2..=5000 {
        archive.add_hole(number);
    }
    let mounted = mounted(&archive).await;
    let listed: Vec<String> = std::fs::read_dir(mounted.path())
        .expect("lists")
        .map(|entry| {
            entry
                .expect("lists")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    let expected: Vec<String> = (1..=5000).map(|n| format!("binlog.{n:06}")).collect();
    assert_eq!(listed, expected);
}

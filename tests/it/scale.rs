//! A long history, made up: how many requests a mount takes, and how much of it is read when.

use crate::sweep::memory_dir;
use crate::synthetic::SyntheticServer;
use binlogfs::cache::{CacheOptions, SegmentReader};
use binlogfs::fs::{
    LocalFiles, MountHandle, MountOptions, Options, Ownership, StreamSource, prepare_with,
};
use binlogfs::index::Index;
use binlogfs::ledger::page::{PAGE_RECORDS, page_key, write_page};
use binlogfs::ledger::{Line, StreamFile, record_key, testing};
use binlogfs::model::{Seq, Timeline};
use binlogfs::segment::Identities;
use binlogfs::source::Source;
use binlogfs::store::{MemoryStore, RecordingStore, SharedStore};
use binlogfs::stream::Stream;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Segments: some for every mechanism, and few enough for seconds.
const SEGMENTS: u64 = 20_300;
/// Requests of a mount besides those for pages and records: `stream.json`, listings, the newest record, the newest segment.
const REQUESTS_BESIDES: u64 = 12;

/// A bucket with the ledger and its pages, and without any segment.
fn bucket() -> MemoryStore {
    let store = MemoryStore::new();
    store.tamper(&StreamFile::key(), testing::stream_file().write());
    let mut page: Vec<Line> = Vec::new();
    for line in testing::chain(SEGMENTS) {
        store.tamper(&record_key(line.seq()), line.text().to_owned());
        page.push(line);
        if page.len() as u64 == PAGE_RECORDS {
            let bytes = write_page(&page).expect("a page");
            store.tamper(&page_key(page[0].seq()), bytes);
            page.clear();
        }
    }
    store
}

async fn mount_at(dir: &Path, index: &Path, store: SharedStore) -> MountHandle {
    mount_with(dir, index, store, None).await
}

/// The same with the files of a server behind.
async fn mount_with(
    dir: &Path,
    index: &Path,
    store: SharedStore,
    server: Option<Source>,
) -> MountHandle {
    let (index, _) = Index::open(index).expect("opens");
    let stream = Stream::open(Arc::clone(&store), Arc::new(index));
    let stream = Arc::new(stream.await.expect("opens"));
    let local = server.map(|server| LocalFiles {
        server,
        basename: stream.file().basename.clone(),
    });
    let reader = SegmentReader::new(store, Identities::none(), None, CacheOptions::default());
    let options = Options {
        mount: MountOptions {
            target: dir.to_owned(),
            source: "memory://long".to_owned(),
            allow_other: false,
            noexec: false,
        },
        ownership: Ownership {
            uid: 0,
            gid: 0,
            mode: 0o440,
        },
        refresh: Duration::from_secs(3600),
    };
    let source = Arc::new(StreamSource::new(stream));
    let prepared = prepare_with(source, Arc::new(reader), local, options).await;
    let mounted = prepared.expect("nothing is in the way").mount().await;
    mounted.expect("mounts: these tests need root and /dev/fuse")
}

/// Whether the entry of `name` is in the memory of the mount.
fn is_loaded(mounted: &MountHandle, name: &str) -> bool {
    let history = mounted.history();
    let entries = history.timeline(Timeline(1)).expect("there");
    entries.slot_of_name(name).expect("a place").is_loaded()
}

fn requests(recording: &RecordingStore) -> u64 {
    recording.totals().values().map(|total| total.calls).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_is_mounted_with_few_requests_and_read_when_it_is_asked_for() {
    let recording = Arc::new(RecordingStore::new(Arc::new(bucket())));
    let local = memory_dir();
    let index = local.path().join("index.db");
    let dir = tempfile::tempdir().expect("a directory");
    let expected: Vec<String> = (1..=SEGMENTS).map(|n| format!("binlog.{n:06}")).collect();

    let first = mount_at(dir.path(), &index, recording.clone()).await;
    let (pages, rest) = (SEGMENTS / PAGE_RECORDS, SEGMENTS % PAGE_RECORDS);
    let made = requests(&recording);
    assert!(
        made <= pages + rest + REQUESTS_BESIDES,
        "{:?}",
        recording.totals()
    );
    assert_eq!(first.history().len() as u64, SEGMENTS);
    first.unmount().await.expect("unmounts");

    recording.reset();
    let again = mount_at(dir.path(), &index, recording.clone()).await;
    assert!(
        requests(&recording) <= REQUESTS_BESIDES,
        "{:?}",
        recording.totals()
    );
    assert_eq!(again.history().len() as u64, SEGMENTS);
    assert!(
        is_loaded(&again, &expected[SEGMENTS as usize - 1]),
        "the newest"
    );
    let middle = &expected[10_000];
    assert!(!is_loaded(&again, middle), "nothing else yet");
    let path = dir.path().join(middle);
    let attr = tokio::task::spawn_blocking(move || std::fs::metadata(path));
    let attr = attr.await.expect("runs").expect("there");
    let segment = testing::segment(10_001);
    assert_eq!((attr.len(), attr.ino()), (segment.size, 10_001 << 3 | 2));
    assert_eq!(
        Some(attr.mtime()),
        segment.last_time.map(|time| time.0 / 1_000_000)
    );
    assert!(is_loaded(&again, middle) && !is_loaded(&again, &expected[0]));

    let root = dir.path().to_owned();
    let listed = tokio::task::spawn_blocking(move || -> std::io::Result<Vec<String>> {
        std::fs::read_dir(root)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    });
    let listed = listed.await.expect("runs").expect("lists");
    assert!(listed == expected, "{} names, in order", listed.len());
    assert!(
        requests(&recording) <= REQUESTS_BESIDES,
        "names come out of the index"
    );
    let history = again.history();
    assert_eq!(history.by_seq(Seq(1)).expect("there").1.name, expected[0]);
    again.unmount().await.expect("unmounts");
}

#[tokio::test(flavor = "multi_thread")]
async fn local_files_come_after_every_archived_name_also_where_those_are_not_in_memory() {
    let (data, work) = (memory_dir(), memory_dir());
    let last = testing::segment(SEGMENTS);
    let next = SEGMENTS + 1;
    // What follows the last archived file on its server, by what the heads say.
    let executed = last.gtids.clone();
    SyntheticServer::starting_at(data.path(), 1, "binlog", next, executed);
    let uuid = last.server_uuid.expect("known");
    let auto = format!("[auto]\nserver-uuid={uuid}\n");
    std::fs::write(data.path().join("auto.cnf"), auto).expect("writable");
    let server = Source::open(data.path()).expect("opens");
    let dir = tempfile::tempdir().expect("a directory");
    let index = work.path().join("index.db");
    let mounted = mount_with(dir.path(), &index, Arc::new(bucket()), Some(server)).await;
    let root = dir.path().to_owned();
    let listed = tokio::task::spawn_blocking(move || -> std::io::Result<Vec<String>> {
        std::fs::read_dir(root)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    });
    let listed = listed.await.expect("runs").expect("lists");
    let expected: Vec<String> = (1..=next).map(|n| format!("binlog.{n:06}")).collect();
    assert!(listed == expected, "{} names, in order", listed.len());
    mounted.unmount().await.expect("unmounts");
}

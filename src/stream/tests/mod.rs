//! Following a ledger that grows, is damaged, is cut, or lies.

mod alarms;
mod lost;
mod pages;
mod replicas;

use super::*;
use crate::index::Opened;
use crate::ledger::page::{PAGE_RECORDS, page_key, page_start, write_page};
use crate::ledger::record::SupersedeReason;
use crate::ledger::testing::{self, Writer, segment};
use crate::ledger::{Body, EntryState, Line, record_key};
use crate::model::{ObjectKey, Seq, Sha256, Timeline};
use crate::store::fault::{Fault, FaultClock, FaultStore};
use crate::store::{self, MemoryStore, RecordingStore, Store};
use std::ops::Range;

const T1: Timeline = Timeline(1);

/// A bucket with a stream, and what was written to its ledger.
struct Bucket {
    store: MemoryStore,
    lines: Vec<Line>,
    writer: Writer,
}

impl Bucket {
    async fn with(segments: u64) -> Bucket {
        let store = MemoryStore::new();
        let shared: SharedStore = Arc::new(store.clone());
        create(&shared, &testing::stream_file())
            .await
            .expect("creates");
        let mut bucket = Bucket {
            store,
            lines: Vec::new(),
            writer: Writer::default(),
        };
        for number in 1..=segments {
            bucket
                .append(Body::Segment(Box::new(segment(number))))
                .await;
        }
        bucket
    }

    async fn append(&mut self, body: Body) {
        let line = self.writer.write(body);
        let bytes = Bytes::from(format!("{}\n", line.text()));
        self.store
            .create(&record_key(line.seq()), bytes)
            .await
            .expect("creates");
        self.lines.push(line);
    }

    async fn segments(&mut self, numbers: Range<u64>) {
        for number in numbers {
            self.append(Body::Segment(Box::new(segment(number)))).await;
        }
    }

    fn page(&self, first: u64) {
        let from = first as usize - 1;
        let bytes = write_page(&self.lines[from..from + PAGE_RECORDS as usize]).expect("a page");
        self.store.tamper(&page_key(Seq(first)), bytes);
    }

    async fn delete(&self, seq: u64) {
        self.store
            .delete(&record_key(Seq(seq)))
            .await
            .expect("deletes");
    }

    fn flip(&self, seq: u64) {
        let mut bytes = self.lines[seq as usize - 1].text().as_bytes().to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        self.store.tamper(&record_key(Seq(seq)), bytes);
    }

    fn restore(&self, seq: u64) {
        let text = self.lines[seq as usize - 1].text().to_owned();
        self.store.tamper(&record_key(Seq(seq)), text);
    }

    fn shared(&self) -> SharedStore {
        Arc::new(self.store.clone())
    }

    async fn open(&self) -> Stream {
        let index = Arc::new(Index::in_memory().expect("opens"));
        Stream::open(self.shared(), index).await.expect("opens")
    }
}

fn listed(stream: &Stream) -> Vec<String> {
    let rows = stream.index().rows(T1, None, usize::MAX).expect("lists");
    rows.iter()
        .map(|row| match row.state {
            EntryState::Archived => row.mount_name.to_string(),
            state => format!("{} {state:?}", row.mount_name),
        })
        .collect()
}

#[tokio::test]
async fn an_empty_bucket_is_told_with_its_url_and_the_next_step() {
    let index = Arc::new(Index::in_memory().expect("opens"));
    let error = Stream::open(Arc::new(MemoryStore::new()), index)
        .await
        .err()
        .expect("refused");
    let text = error.to_string();
    assert!(
        text.contains("memory:") && text.contains("binlogfs archive"),
        "{text}"
    );
}

#[tokio::test]
async fn a_stream_is_created_once() {
    let bucket = Bucket::with(0).await;
    let again = create(&bucket.shared(), &testing::stream_file()).await;
    assert!(matches!(again, Err(StreamError::Exists { .. })));
    let stream = bucket.open().await;
    assert_eq!(stream.file(), &testing::stream_file());
    probe_condition(stream.store(), stream.file_bytes())
        .await
        .expect("refuses");
    assert_eq!(stream.follow().await.expect("follows").new_records, 0);
}

/// A store that overwrites.
struct Careless(MemoryStore);

#[async_trait::async_trait]
impl Store for Careless {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> store::Result<()> {
        self.0.tamper(key, body);
        Ok(())
    }
    async fn upload(&self, key: &ObjectKey, hint: u64) -> store::Result<Box<dyn store::Upload>> {
        self.0.upload(key, hint).await
    }
    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> store::Result<Bytes> {
        self.0.get(key, range).await
    }
    async fn get_all(&self, key: &ObjectKey, max_bytes: u64) -> store::Result<Bytes> {
        self.0.get_all(key, max_bytes).await
    }
    async fn head(&self, key: &ObjectKey) -> store::Result<store::ObjectMeta> {
        self.0.head(key).await
    }
    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> store::Result<store::Listing> {
        self.0.list(prefix, after).await
    }
    async fn delete(&self, key: &ObjectKey) -> store::Result<()> {
        self.0.delete(key).await
    }
    fn describe(&self) -> String {
        "careless:".to_owned()
    }
}

#[tokio::test]
async fn a_store_that_overwrites_is_refused_by_name_and_with_the_way_out() {
    let store: SharedStore = Arc::new(Careless(MemoryStore::new()));
    let file = testing::stream_file();
    create(&store, &file).await.expect("begun");
    let error = probe_condition(&store, &Bytes::from(file.write()))
        .await
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains("careless:") && error.contains("--single-writer"),
        "{error}"
    );
}

#[tokio::test]
async fn a_create_whose_reply_is_lost_is_resolved() {
    let memory = MemoryStore::new();
    let clock = FaultClock::nth(0, Fault::ErrorAfter(store::ErrorKind::Timeout));
    let store: SharedStore = Arc::new(FaultStore::new(Arc::new(memory.clone()), clock));
    create(&store, &testing::stream_file())
        .await
        .expect("creates");
    assert_eq!(memory.keys().len(), 1);
}

#[tokio::test]
async fn few_new_records_cost_few_requests() {
    let mut bucket = Bucket::with(3).await;
    let recording = Arc::new(RecordingStore::new(bucket.shared()));
    let index = Arc::new(Index::in_memory().expect("opens"));
    let stream = Stream::open(recording.clone(), index).await.expect("opens");
    let first = stream.follow().await.expect("follows");
    assert_eq!(
        (first.new_records, first.added, first.state.last_seq),
        (3, 3, Seq(3))
    );
    recording.reset();
    assert_eq!(stream.follow().await.expect("follows").new_records, 0);
    assert_eq!(
        recording.total("get_all").calls,
        2,
        "the newest known, and the next"
    );
    assert_eq!(recording.total("list").calls, 0);
    bucket.segments(4..6).await;
    recording.reset();
    assert_eq!(stream.follow().await.expect("follows").new_records, 2);
    assert_eq!(
        (
            recording.total("get_all").calls,
            recording.total("list").calls
        ),
        (4, 0)
    );
    bucket.segments(6..40).await;
    assert_eq!(stream.follow().await.expect("follows").new_records, 34);
    assert_eq!(listed(&stream).len(), 39);
}

#[tokio::test]
async fn a_stream_file_damaged_on_its_way_once_is_passed_by() {
    let bucket = Bucket::with(2).await;
    for n in [0, 1] {
        let clock = FaultClock::nth(n, Fault::WrongBody);
        let store: SharedStore = Arc::new(FaultStore::new(bucket.shared(), clock));
        let index = Arc::new(Index::in_memory().expect("opens"));
        let stream = Stream::open(store, index).await.expect("opens");
        assert_eq!(stream.file(), &testing::stream_file());
        assert_eq!(stream.follow().await.expect("follows").new_records, 2);
    }
    let clock = FaultClock::new(|op| match op.n % 2 {
        0 => Fault::WrongBody,
        _ => Fault::None,
    });
    let store: SharedStore = Arc::new(FaultStore::new(bucket.shared(), clock));
    let index = Arc::new(Index::in_memory().expect("opens"));
    let error = Stream::open(store, index)
        .await
        .map(drop)
        .expect_err("never twice the same");
    assert!(error.to_string().contains("stream.json"), "{error}");
}

#[tokio::test]
async fn an_index_lost_between_two_follows_fills_again_to_the_same() {
    let mut bucket = Bucket::with(8).await;
    bucket.append(Body::Hole(testing::hole(9))).await;
    bucket.segments(10..12).await;
    let filled = testing::supersede(9, 9, SupersedeReason::HoleFilled);
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("index.db");
    let open = |expected: Opened| {
        let (index, opened) = Index::open(&path).expect("opens");
        assert_eq!(opened, expected);
        Stream::open(bucket.shared(), Arc::new(index))
    };
    let stream = open(Opened::Fresh).await.expect("opens");
    assert_eq!(stream.follow().await.expect("follows").new_records, 11);
    assert_eq!(listed(&stream)[8], "binlog.000009 Hole");
    drop(stream);
    let stream = open(Opened::Existing).await.expect("opens");
    assert_eq!(stream.follow().await.expect("follows").new_records, 0);
    drop(stream);
    bucket.append(Body::Supersede(Box::new(filled))).await;
    let (index, _) = Index::open(&path).expect("opens");
    let stream = Stream::open(bucket.shared(), Arc::new(index))
        .await
        .expect("opens");
    let followed = stream.follow().await.expect("follows");
    assert_eq!(
        (followed.new_records, followed.replaced.as_slice()),
        (1, &[Seq(9)][..])
    );
    let before = listed(&stream);
    drop(stream);
    std::fs::remove_file(&path).expect("deletes");
    let (index, opened) = Index::open(&path).expect("opens");
    assert_eq!(opened, Opened::Fresh);
    let stream = Stream::open(bucket.shared(), Arc::new(index))
        .await
        .expect("opens");
    assert_eq!(stream.follow().await.expect("follows").new_records, 12);
    assert_eq!(listed(&stream), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_processes_follow_into_one_index() {
    let bucket = Bucket::with(700).await;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("index.db");
    let mut tasks = Vec::new();
    for _ in 0..3 {
        let (index, _) = Index::open(&path).expect("opens");
        let stream = Stream::open(bucket.shared(), Arc::new(index))
            .await
            .expect("opens");
        tasks.push(tokio::spawn(async move {
            let followed = stream.follow().await.expect("follows");
            (
                followed.new_records,
                listed(&stream).len(),
                followed.state.last_seq,
            )
        }));
    }
    let mut new = 0;
    for task in tasks {
        let (records, names, last) = task.await.expect("ends");
        new += records;
        assert_eq!((names, last), (700, Seq(700)));
    }
    assert_eq!(new, 700, "each record was taken in once");
}

#[tokio::test]
async fn a_store_that_fails_stops_following_and_the_next_call_goes_on() {
    let bucket = Bucket::with(30).await;
    for at in 0..20 {
        let clock = FaultClock::nth(at, Fault::ErrorBefore(store::ErrorKind::Timeout));
        let store: SharedStore = Arc::new(FaultStore::new(bucket.shared(), clock));
        let index = Arc::new(Index::in_memory().expect("opens"));
        let Ok(stream) = Stream::open(store, index).await else {
            continue;
        };
        if stream.follow().await.is_err() {
            stream.follow().await.expect("goes on");
        }
        assert_eq!(listed(&stream).len(), 30, "failure {at}");
    }
}

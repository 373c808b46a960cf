//! Following a ledger that grows, is damaged, is cut, or lies.

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

#[tokio::test(flavor = "multi_thread")]
async fn a_long_ledger_is_read_by_pages() {
    let bucket = Bucket::with(3500).await;
    [1, 1001, 2001].iter().for_each(|first| bucket.page(*first));
    let recording = Arc::new(RecordingStore::new(bucket.shared()));
    let index = Arc::new(Index::in_memory().expect("opens"));
    let stream = Stream::open(recording.clone(), index).await.expect("opens");
    assert_eq!(stream.follow().await.expect("follows").new_records, 3500);
    assert!(
        recording.total("get_all").calls < 520,
        "{:?}",
        recording.totals()
    );
    let singly = bucket.open().await;
    for first in [1, 1001, 2001] {
        bucket
            .store
            .delete(&page_key(Seq(first)))
            .await
            .expect("deletes");
    }
    assert_eq!(singly.follow().await.expect("follows").new_records, 3500);
    assert_eq!(
        singly.index().state().expect("reads"),
        stream.index().state().expect("reads")
    );
    let entries = |stream: &Stream| stream.index().entries(T1, None, usize::MAX).expect("reads");
    assert_eq!(entries(&singly), entries(&stream));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_page_costs_its_own_records_and_no_others() {
    let bucket = Bucket::with(4500).await;
    [1, 2001, 3001].iter().for_each(|first| bucket.page(*first));
    // Another ledger's: right by itself, and it does not continue the page before it.
    let mut other = Writer {
        seq: 1001,
        prev: Sha256::of(b"another ledger"),
    };
    let other: Vec<Line> = (1001..=2000)
        .map(|number| other.write(Body::Segment(Box::new(segment(number)))))
        .collect();
    let other = write_page(&other).expect("a page");
    bucket.store.tamper(&page_key(Seq(1001)), other);
    let recording = Arc::new(RecordingStore::new(bucket.shared()));
    let index = Arc::new(Index::in_memory().expect("opens"));
    let stream = Stream::open(recording.clone(), index).await.expect("opens");
    let followed = stream.follow().await.expect("follows");
    assert_eq!((followed.new_records, followed.look_again), (4500, false));
    let records = recording.calls_of("get_all");
    let records = records
        .iter()
        .filter(|call| call.key.starts_with("ledger/"));
    assert_eq!(records.count(), 1500);
    let last = bucket.lines.last().expect("there").hash();
    assert_eq!(followed.state.last_hash, Some(last));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_or_lying_page_is_passed_by() {
    let mut bucket = Bucket::with(2300).await;
    let expected = {
        let stream = bucket.open().await;
        stream.follow().await.expect("follows");
        listed(&stream)
    };
    // Garbage; cut short; another page's records; records that are right by themselves and not these.
    let whole = write_page(&bucket.lines[..1000]).expect("a page");
    let mut lies = Writer::default();
    let lying: Vec<Line> = (1..=1000)
        .map(|number| {
            let mut other = segment(number);
            other.archiver = "a forger".to_owned();
            lies.write(Body::Segment(Box::new(other)))
        })
        .collect();
    let other = write_page(&bucket.lines[1000..2000]).expect("a page");
    let lying = write_page(&lying).expect("a page");
    for bad in [
        b"<Error/>".to_vec(),
        whole[..whole.len() / 2].to_vec(),
        other,
        Vec::new(),
    ] {
        bucket.store.tamper(&page_key(Seq(1)), bad);
        bucket.page(1001);
        let stream = bucket.open().await;
        let followed = stream.follow().await.expect("follows");
        assert_eq!((followed.new_records, followed.lost.len()), (2300, 0));
        assert_eq!(listed(&stream), expected);
    }
    let lying_page = lying.clone();
    bucket.store.tamper(&page_key(Seq(1)), lying);
    let stream = bucket.open().await;
    let followed = stream.follow().await.expect("follows");
    assert_eq!((followed.new_records, followed.look_again), (2300, true));
    assert_eq!(listed(&stream), expected);
    let entry = stream
        .index()
        .entry_by_seq(Seq(7))
        .expect("reads")
        .expect("there");
    assert_ne!(entry.segment.expect("a segment").archiver, "a forger");
    // Pages that chain, all the way to the newest record: that is read itself, and they are found out at once.
    let newest = Bucket::with(1000).await;
    newest.store.tamper(&page_key(Seq(1)), lying_page.clone());
    let stream = newest.open().await;
    let followed = stream.follow().await.expect("follows");
    assert_eq!((followed.new_records, followed.lost.len()), (1000, 0));
    assert_eq!(followed.state.last_hash, Some(newest.lines[999].hash()));
    // A page of records that do not exist, after the end and far off.
    bucket.page(1);
    for far in [2001, 3001, 9_000_001] {
        bucket
            .store
            .tamper(&page_key(Seq(far)), b"made up".to_vec());
    }
    let stream = bucket.open().await;
    let followed = stream.follow().await.expect("follows");
    assert_eq!(
        (followed.state.last_seq, followed.lost.len()),
        (Seq(2300), 0)
    );
    bucket.segments(2301..2303).await;
    assert_eq!(stream.follow().await.expect("follows").new_records, 2);
}

#[tokio::test]
async fn a_damaged_or_missing_record_in_the_middle_is_lost_and_the_others_are_listed() {
    for missing in [false, true] {
        let bucket = Bucket::with(6).await;
        if missing {
            bucket.delete(3).await;
        } else {
            bucket.flip(3);
        }
        let stream = bucket.open().await;
        let followed = stream.follow().await.expect("follows");
        assert_eq!(
            (followed.new_records, followed.lost.as_slice()),
            (6, &[Seq(3)][..])
        );
        assert_eq!(followed.tail_damaged, None);
        let names = listed(&stream);
        assert_eq!(names[2], "binlog.000002.0 Lost");
        assert_eq!(names.len(), 6);
        assert_eq!(stream.follow().await.expect("follows").new_records, 0);
    }
}

#[tokio::test]
async fn a_record_of_another_ledger_is_lost_alone() {
    for seq in [1, 3, 6] {
        let bucket = Bucket::with(6).await;
        let mut other = Writer {
            seq,
            prev: Sha256::of(b"another ledger"),
        };
        let foreign = other.write(Body::Segment(Box::new(segment(seq))));
        bucket
            .store
            .tamper(&record_key(Seq(seq)), foreign.text().to_owned());
        let stream = bucket.open().await;
        for _ in 0..2 {
            stream.follow().await.expect("follows");
        }
        let lost = stream.index().lost(9).expect("reads");
        assert_eq!((lost, listed(&stream).len()), (vec![Seq(seq)], 6));
        let followed = stream.follow().await.expect("follows");
        assert_eq!(followed.tail_damaged, (seq == 6).then_some(Seq(6)));
        assert!(!followed.look_again, "it is not built anew by every call");
        bucket.restore(seq);
        let again = Stream::open(bucket.shared(), Arc::clone(stream.index())).await;
        let again = again.expect("opens");
        assert!(again.follow().await.expect("follows").look_again);
        assert_eq!(again.index().lost(9).expect("reads"), []);
    }
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
async fn a_missing_record_is_seen_at_the_next_listing() {
    let mut bucket = Bucket::with(2).await;
    let stream = bucket.open().await;
    stream.follow().await.expect("follows");
    bucket.segments(3..6).await;
    bucket.delete(3).await;
    let mut new = 0;
    for _ in 0..60 {
        new += stream.follow().await.expect("follows").new_records;
    }
    assert_eq!(new, 3);
    assert_eq!(listed(&stream)[2], "binlog.000002.0 Lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_comes_out_of_its_page() {
    let bucket = Bucket::with(1010).await;
    bucket.page(1);
    let stream = bucket.open().await;
    // Known up to 997: so few of the page are missing that they are read one by one.
    let steps = bucket.lines[..997]
        .iter()
        .cloned()
        .map(crate::index::Step::Line);
    stream
        .index()
        .apply(&steps.collect::<Vec<_>>())
        .expect("applies");
    bucket.flip(999);
    bucket.delete(1000).await;
    let followed = stream.follow().await.expect("follows");
    assert_eq!((followed.new_records, followed.lost.len()), (13, 0));
    assert_eq!(page_start(Seq(1000)), Seq(1));
}

#[tokio::test]
async fn a_damaged_newest_record_is_told_apart_and_heals() {
    let mut bucket = Bucket::with(4).await;
    bucket.flip(4);
    let stream = bucket.open().await;
    for _ in 0..3 {
        let followed = stream.follow().await.expect("follows");
        assert_eq!(followed.tail_damaged, Some(Seq(4)), "nobody may append");
        assert_eq!(listed(&stream)[3], "binlog.000003.0 Lost");
    }
    bucket.restore(4);
    let followed = stream.follow().await.expect("follows");
    assert_eq!((followed.tail_damaged, followed.look_again), (None, true));
    assert_eq!(
        listed(&stream).last().map(String::as_str),
        Some("binlog.000004")
    );
    bucket.segments(5..6).await;
    bucket.flip(5);
    assert_eq!(
        stream.follow().await.expect("follows").tail_damaged,
        Some(Seq(5))
    );
    bucket.delete(5).await;
    assert_eq!(stream.follow().await.expect("follows").tail_damaged, None);
    assert_eq!(listed(&stream).len(), 4);
}

#[tokio::test]
async fn a_record_that_reads_well_the_second_time_is_not_lost() {
    /// Changes the first answer for one key.
    struct Flaky(MemoryStore, std::sync::atomic::AtomicBool);
    let bucket = Bucket::with(3).await;
    #[async_trait::async_trait]
    impl Store for Flaky {
        async fn create(&self, key: &ObjectKey, body: Bytes) -> store::Result<()> {
            self.0.create(key, body).await
        }
        async fn upload(
            &self,
            key: &ObjectKey,
            hint: u64,
        ) -> store::Result<Box<dyn store::Upload>> {
            self.0.upload(key, hint).await
        }
        async fn get(&self, key: &ObjectKey, range: Range<u64>) -> store::Result<Bytes> {
            self.0.get(key, range).await
        }
        async fn get_all(&self, key: &ObjectKey, max: u64) -> store::Result<Bytes> {
            let second = *key == record_key(Seq(2));
            if second && !self.1.swap(true, std::sync::atomic::Ordering::SeqCst) {
                return Ok(Bytes::from_static(b"<html>login please</html>"));
            }
            self.0.get_all(key, max).await
        }
        async fn head(&self, key: &ObjectKey) -> store::Result<store::ObjectMeta> {
            self.0.head(key).await
        }
        async fn list(
            &self,
            prefix: &str,
            after: Option<&ObjectKey>,
        ) -> store::Result<store::Listing> {
            self.0.list(prefix, after).await
        }
        async fn delete(&self, key: &ObjectKey) -> store::Result<()> {
            self.0.delete(key).await
        }
        fn describe(&self) -> String {
            "flaky:".to_owned()
        }
    }
    let store = Arc::new(Flaky(bucket.store.clone(), false.into()));
    let index = Arc::new(Index::in_memory().expect("opens"));
    let stream = Stream::open(store, index).await.expect("opens");
    assert_eq!(stream.follow().await.expect("follows").lost, []);
}

#[tokio::test]
async fn a_ledger_that_went_backwards_is_an_alarm_at_open_and_at_follow() {
    let bucket = Bucket::with(5).await;
    let stream = bucket.open().await;
    stream.follow().await.expect("follows");
    bucket.delete(5).await;
    for _ in 0..2 {
        let error = stream.follow().await.expect_err("alarmed");
        assert!(
            matches!(&error, StreamError::Rollback { seq: Seq(5), .. }),
            "{error}"
        );
        assert!(error.to_string().contains("went backwards"), "{error}");
    }
    let again = Stream::open(bucket.shared(), Arc::clone(stream.index())).await;
    let followed = again.expect("opens").follow().await;
    assert!(matches!(followed, Err(StreamError::Rollback { .. })));
    assert_eq!(listed(&stream).len(), 5, "what was known stays readable");
    bucket.restore(5);
    stream.follow().await.expect("follows");
}

#[tokio::test]
async fn a_ledger_cut_off_behind_a_lost_record_does_not_pass_for_one_that_healed() {
    let bucket = Bucket::with(6).await;
    bucket.flip(6);
    let stream = bucket.open().await;
    let followed = stream.follow().await.expect("follows");
    assert_eq!(followed.tail_damaged, Some(Seq(6)));
    for n in 4..=6 {
        bucket.delete(n).await;
    }
    let error = stream.follow().await.expect_err("alarmed").to_string();
    assert!(error.contains("record 5 was there, and is gone"), "{error}");
    assert_eq!(listed(&stream).len(), 6, "nothing is forgotten");
}

#[tokio::test]
async fn a_record_made_anew_with_other_content_is_an_alarm() {
    let bucket = Bucket::with(5).await;
    let stream = bucket.open().await;
    stream.follow().await.expect("follows");
    let mut other = segment(5);
    other.archiver = "the second archiver".to_owned();
    let prev = bucket.lines[3].hash();
    let line = Writer { seq: 5, prev }.write(Body::Segment(Box::new(other)));
    bucket
        .store
        .tamper(&record_key(Seq(5)), line.text().to_owned());
    let error = stream.follow().await.expect_err("alarmed").to_string();
    assert!(
        error.contains("another record stands in the place of record 5"),
        "{error}"
    );
}

#[tokio::test]
async fn a_newest_known_record_that_rots_is_passed_over_if_its_successor_names_it() {
    let mut bucket = Bucket::with(5).await;
    let stream = bucket.open().await;
    stream.follow().await.expect("follows");
    bucket.flip(5);
    assert!(matches!(
        stream.follow().await,
        Err(StreamError::Rollback { .. })
    ));
    bucket.segments(6..7).await;
    assert_eq!(stream.follow().await.expect("follows").new_records, 1);
}

#[tokio::test]
async fn a_replaced_stream_file_or_another_stream_is_refused() {
    let bucket = Bucket::with(2).await;
    let stream = bucket.open().await;
    stream.follow().await.expect("follows");
    let mut other = testing::stream_file();
    other.stream_id = uuid::Uuid::from_u128(99);
    bucket.store.tamper(&StreamFile::key(), other.write());
    let open = Stream::open(bucket.shared(), Arc::clone(stream.index())).await;
    assert!(matches!(
        open,
        Err(StreamError::Index(IndexError::OtherStream { .. }))
    ));
    // A fresh index sees that the ledger does not continue this stream file.
    let fresh = bucket
        .open()
        .await
        .follow()
        .await
        .expect_err("refused")
        .to_string();
    assert!(fresh.contains("record 1"), "{fresh}");
    bucket
        .store
        .tamper(&StreamFile::key(), b"<Error/>".to_vec());
    let open = Stream::open(bucket.shared(), Arc::clone(stream.index())).await;
    assert!(matches!(open, Err(StreamError::StreamFile { .. })));
}

#[tokio::test]
async fn a_record_of_a_newer_format_asks_for_an_upgrade_and_the_rest_stays() {
    let bucket = Bucket::with(3).await;
    let json = r#"{"format":2,"novel":true}"#;
    let digest = Sha256::of(json.as_bytes());
    let line = format!("{},\"self\":\"{digest}\"}}", json.trim_end_matches('}'));
    bucket.store.tamper(&record_key(Seq(4)), line);
    let stream = bucket.open().await;
    for _ in 0..2 {
        let error = stream.follow().await.expect_err("told");
        assert!(matches!(
            &error,
            StreamError::NewerFormat { seq: Seq(4), .. }
        ));
        assert!(error.to_string().contains("upgrade"), "{error}");
        assert_eq!(listed(&stream).len(), 3);
    }
}

#[tokio::test]
async fn a_record_that_breaks_a_rule_ends_following_and_the_rest_stays() {
    let mut bucket = Bucket::with(3).await;
    let mut twice = segment(4);
    twice.object.key = segment(1).object.key;
    bucket.append(Body::Segment(Box::new(twice))).await;
    let stream = bucket.open().await;
    for _ in 0..2 {
        let error = stream.follow().await.expect_err("told").to_string();
        assert!(
            error.contains("record 4") && error.contains("which record 1 names"),
            "{error}"
        );
        assert_eq!(listed(&stream).len(), 3);
    }
}

#[tokio::test]
async fn an_object_far_off_under_the_ledger_does_not_make_history_look_lost() {
    let bucket = Bucket::with(3).await;
    for key in [
        "ledger/18446744073709551615.json",
        "ledger/notes.txt",
        "ledger/00000000000000000004.json.bak",
    ] {
        bucket
            .store
            .tamper(&key.parse().expect("a key"), b"x".to_vec());
    }
    let stream = bucket.open().await;
    let error = stream.follow().await.expect_err("told");
    assert!(
        matches!(&error, StreamError::Scattered { newest: Seq(3), .. }),
        "{error}"
    );
    assert_eq!(listed(&stream).len(), 3);
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

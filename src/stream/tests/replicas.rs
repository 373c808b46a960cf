//! Records that only a copy of the ledger has: they are its own, or those of one that went another way.

use super::*;
use crate::store::{CopiesStore, ErrorKind};

/// A copy of the stream that has these records.
fn copy_of<'a>(lines: impl IntoIterator<Item = &'a Line>) -> MemoryStore {
    let copy = MemoryStore::new();
    copy.tamper(&StreamFile::key(), testing::stream_file().write());
    for line in lines {
        copy.tamper(&record_key(line.seq()), line.stored());
    }
    copy
}

/// Records with these numbers that continue one with the hash `prev`, and are none of the bucket's.
fn apart(prev: Sha256, numbers: Range<u64>) -> Vec<Line> {
    let seq = numbers.start;
    let mut writer = Writer { seq, prev };
    let lines = numbers.map(|number| {
        let mut other = segment(number);
        other.archiver = "elsewhere".to_owned();
        writer.write(Body::Segment(Box::new(other)))
    });
    lines.collect()
}

fn backed(first: SharedStore, copy: &MemoryStore) -> SharedStore {
    Arc::new(CopiesStore::new(first, vec![Arc::new(copy.clone())]))
}

async fn opened(store: SharedStore, index: &Arc<Index>) -> Stream {
    let stream = Stream::open(store, Arc::clone(index)).await;
    stream.expect("opens")
}

fn lost(index: &Index) -> Vec<Seq> {
    index.lost(9).expect("reads")
}

#[tokio::test]
async fn behind_a_lost_record_nothing_is_taken_of_a_replica_that_went_apart() {
    // Its own records there: from one that is known on, or none that touches a known one.
    for from in [2, 4] {
        let bucket = Bucket::with(3).await;
        bucket.flip(3);
        let lines = apart(bucket.lines[0].hash(), 2..6);
        let copy = copy_of(lines.iter().filter(|line| line.seq() >= Seq(from)));
        let index = Arc::new(Index::in_memory().expect("opens"));
        let stream = opened(backed(bucket.shared(), &copy), &index).await;
        for call in 0..3 {
            let followed = stream.follow().await.expect("follows");
            let told = (followed.state.last_seq, followed.tail_damaged);
            assert_eq!(told, (Seq(3), Some(Seq(3))), "from {from}, call {call}");
            assert!(!followed.look_again, "it is not built anew by every call");
            let names = ["binlog.000001", "binlog.000002", "binlog.000002.0 Lost"];
            assert_eq!(listed(&stream), names);
        }
        bucket.restore(3);
        let followed = stream.follow().await.expect("follows");
        assert_eq!((followed.tail_damaged, followed.look_again), (None, true));
        assert_eq!(followed.state.last_hash, Some(bucket.lines[2].hash()));
        assert_eq!(lost(&index), []);
    }
}

#[tokio::test]
async fn a_replica_with_other_records_behind_the_end_disturbs_nobody() {
    let mut bucket = Bucket::with(2).await;
    let copy = copy_of(&apart(Sha256::of(b"another ledger"), 1..7));
    let index = Arc::new(Index::in_memory().expect("opens"));
    let stream = opened(backed(bucket.shared(), &copy), &index).await;
    for number in 3..6 {
        bucket.segments(number..number + 1).await;
        let followed = stream.follow().await.expect("follows");
        assert_eq!(followed.state.last_seq, Seq(number));
        assert_eq!((followed.tail_damaged, lost(&index)), (None, vec![]));
    }
}

#[tokio::test]
async fn a_record_of_a_replica_is_proven_by_the_one_before_it_or_the_one_after_it() {
    let bucket = Bucket::with(8).await;
    let copy = copy_of(&bucket.lines);
    // Damaged in both; then two that only the copy has. Of these the first touches nothing that is known.
    bucket.flip(3);
    copy.tamper(&record_key(Seq(3)), "no record");
    for seq in [4, 5, 8] {
        bucket.delete(seq).await;
    }
    let index = Arc::new(Index::in_memory().expect("opens"));
    for call in 0..2 {
        let stream = opened(backed(bucket.shared(), &copy), &index).await;
        let followed = stream.follow().await.expect("follows");
        assert_eq!(followed.state.last_hash, Some(bucket.lines[7].hash()));
        assert_eq!(lost(&index), [Seq(3), Seq(4)], "call {call}");
        assert!(!followed.look_again, "nothing healed");
    }
    bucket.restore(3);
    let stream = opened(backed(bucket.shared(), &copy), &index).await;
    assert!(stream.follow().await.expect("follows").look_again);
    assert_eq!(lost(&index), []);
    assert_eq!(listed(&stream).len(), 8);
}

#[tokio::test]
async fn a_record_that_the_one_after_it_denies_is_lost_although_it_continues_the_one_before() {
    let bucket = Bucket::with(5).await;
    bucket.flip(3);
    let others = apart(bucket.lines[1].hash(), 3..6);
    let copy = copy_of(bucket.lines[..2].iter().chain(&others));
    let index = Arc::new(Index::in_memory().expect("opens"));
    let stream = opened(backed(bucket.shared(), &copy), &index).await;
    let followed = stream.follow().await.expect("follows");
    assert_eq!(followed.state.last_hash, Some(bucket.lines[4].hash()));
    assert_eq!((lost(&index), listed(&stream).len()), (vec![Seq(3)], 5));
}

#[tokio::test]
async fn while_the_first_store_is_away_the_history_ends_at_a_record_that_its_replica_has_lost() {
    let bucket = Bucket::with(5).await;
    let copy = copy_of(&bucket.lines);
    copy.tamper(&record_key(Seq(3)), "no record");
    let index = Arc::new(Index::in_memory().expect("opens"));
    let away = FaultClock::new(|_| Fault::ErrorBefore(ErrorKind::Timeout));
    let away = Arc::new(FaultStore::new(bucket.shared(), away));
    let stream = opened(backed(away, &copy), &index).await;
    for _ in 0..2 {
        let followed = stream.follow().await.expect("follows");
        let told = (followed.state.last_seq, followed.tail_damaged);
        assert_eq!(told, (Seq(3), Some(Seq(3))));
        assert!(!followed.look_again);
    }
    let stream = opened(backed(bucket.shared(), &copy), &index).await;
    let followed = stream.follow().await.expect("follows");
    assert_eq!((followed.tail_damaged, followed.look_again), (None, true));
    assert_eq!((lost(&index), listed(&stream).len()), (vec![], 5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_a_replica_is_taken_where_the_records_prove_it() {
    let bucket = Bucket::with(2300).await;
    let first = Arc::new(RecordingStore::new(bucket.shared()));
    let copy = copy_of([]);
    for (at, lines) in [1, 1001].into_iter().zip(bucket.lines.chunks(1000)) {
        copy.tamper(&page_key(Seq(at)), write_page(lines).expect("a page"));
    }
    let index = Arc::new(Index::in_memory().expect("opens"));
    let stream = opened(backed(first.clone(), &copy), &index).await;
    assert_eq!(stream.follow().await.expect("follows").new_records, 2300);
    assert!(first.total("get_all").calls < 520, "{:?}", first.totals());
    // Of one that went apart, behind a record that is lost: neither its page nor its records.
    bucket.flip(1000);
    let others = apart(Sha256::of(b"another ledger"), 1001..2001);
    let copy = copy_of(&others);
    let page = write_page(&others).expect("a page");
    copy.tamper(&page_key(Seq(1001)), page);
    let index = Arc::new(Index::in_memory().expect("opens"));
    let stream = opened(backed(bucket.shared(), &copy), &index).await;
    let followed = stream.follow().await.expect("follows");
    let last = bucket.lines.last().expect("there").hash();
    assert_eq!(followed.state.last_hash, Some(last));
    assert_eq!(lost(&index), [Seq(1000)]);
    let line = index.line(Seq(1500)).expect("reads").expect("known");
    assert_eq!(line, bucket.lines[1499].text());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_goes_another_way_is_denied_by_a_record_in_its_middle() {
    let bucket = Bucket::with(1990).await;
    let others = apart(bucket.lines[999].hash(), 1001..2001);
    let copy = copy_of(&others);
    let page = write_page(&others).expect("a page");
    copy.tamper(&page_key(Seq(1001)), page);
    let index = Arc::new(Index::in_memory().expect("opens"));
    let stream = opened(backed(bucket.shared(), &copy), &index).await;
    for _ in 0..2 {
        let followed = stream.follow().await.expect("follows");
        assert_eq!(followed.state.last_hash, Some(bucket.lines[1989].hash()));
        assert_eq!((followed.tail_damaged, lost(&index)), (None, vec![]));
    }
}

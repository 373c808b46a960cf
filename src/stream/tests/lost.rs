//! Records that are missing or cannot be read.

use super::*;

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

//! Ledgers that are not what they were, or not ours to go on with.

use super::*;

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

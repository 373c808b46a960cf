//! Pages instead of records.

use super::*;

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
async fn a_prune_record_in_a_page_hides_what_it_hides_by_itself() {
    let mut bucket = Bucket::with(700).await;
    bucket.append(Body::Prune(testing::prune(650))).await;
    bucket.segments(701..1400).await;
    bucket.page(1);
    let recording = Arc::new(RecordingStore::new(bucket.shared()));
    let index = Arc::new(Index::in_memory().expect("opens"));
    let stream = Stream::open(recording.clone(), index).await.expect("opens");
    stream.follow().await.expect("follows");
    assert!(recording.total("get_all").calls < 450, "the page was used");
    let first = |stream: &Stream| {
        let rows = stream.index().rows(T1, None, 1).expect("lists");
        let pruned = stream.index().pruned(T1).expect("reads");
        (rows[0].mount_name.to_string(), pruned)
    };
    let (name, pruned) = first(&stream);
    assert_eq!(name, "binlog.000651");
    let pruned = pruned.expect("it was");
    assert_eq!(pruned.seq, Seq(701));
    let through = pruned.through.as_ref().map(|name| name.as_str());
    assert_eq!(through, Some("binlog.000650"));
    let singly = bucket.open().await.without_pages();
    singly.follow().await.expect("follows");
    assert_eq!(first(&singly), (name, Some(pruned)));
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

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_is_waited_for_also_if_its_end_is_an_error() {
    let mut bucket = Bucket::with(3000).await;
    [1, 1001, 2001].iter().for_each(|first| bucket.page(*first));
    let mut twice = segment(3001);
    twice.object.key = segment(1).object.key;
    bucket.append(Body::Segment(Box::new(twice))).await;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("index.db");
    let index = Arc::new(Index::open(&path).expect("opens").0);
    let stream = Stream::open(bucket.shared(), index).await.expect("opens");
    stream.follow().await.expect_err("told");
    let state = stream.index().state().expect("reads").expect("begun");
    assert_eq!(state.last_seq, Seq(3000));
    // Beside the caller: see `index/unsynced.rs`.
    let mark = dir.path().join("index.db-unsynced");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while mark.exists() && std::time::Instant::now() < end {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert!(!mark.exists());
}

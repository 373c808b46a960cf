//! What the first store could not give is copied once it can.

use super::*;
use crate::ledger::testing::{self, Writer};
use crate::ledger::{Body, record_key};
use crate::store::{Checksums, MemoryStore, Store as _};
use crate::stream;

/// A stream of `count` segments in memory, whose records say what their objects are.
async fn first_store(count: u64) -> MemoryStore {
    let memory = MemoryStore::new();
    let shared: SharedStore = Arc::new(memory.clone());
    let begun = stream::create(&shared, &testing::stream_file()).await;
    begun.expect("creates");
    let mut writer = Writer::default();
    for number in 1..=count {
        let mut segment = testing::segment(number);
        let bytes = format!("object {number}");
        let sums = Checksums::of(bytes.as_bytes());
        segment.object.size = sums.size;
        segment.object.crc32c = sums.crc32c;
        segment.object.crc64nvme = sums.crc64nvme;
        memory.tamper(&segment.object.key, bytes);
        let line = writer.write(Body::Segment(Box::new(segment)));
        memory.tamper(&record_key(line.seq()), format!("{}\n", line.text()));
    }
    memory
}

#[tokio::test]
async fn what_the_first_store_could_not_give_is_tried_again_and_lacks_no_more() {
    let (first, replica) = (first_store(2).await, MemoryStore::new());
    let key = testing::segment(1).object.key;
    let bytes = first.get_all(&key, 99).await.expect("there");
    first.delete(&key).await.expect("deletes");
    let index = Arc::new(Index::in_memory().expect("opens"));
    let stream = Stream::open(Arc::new(first.clone()), index).await;
    let mut replicator = Replicator::new(
        Arc::new(stream.expect("opens")),
        Arc::new(replica.clone()),
        Arc::new(Pace::new(None, None, None)),
    );
    let mut pass = async || {
        let pass = replicator.pass(|_| {}).await.expect("copies");
        (pass.segments, pass.passed_over_count, pass.lacks)
    };
    assert_eq!(pass().await, (1, 1, 1));
    first.tamper(&key, bytes);
    assert_eq!(pass().await, (0, 0, 1), "not at once");
    tokio::time::pause();
    tokio::time::advance(TRY_AGAIN_EVERY).await;
    tokio::time::resume();
    assert_eq!(pass().await, (1, 0, 0));
    assert_eq!(replica.keys(), first.keys());
    assert_eq!(pass().await, (0, 0, 0));
}

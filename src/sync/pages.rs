//! Ledger pages: written once their last record stands, so that a first mount of a long history takes seconds.
//!
//! A page is a copy of records that are in the bucket already, so nothing depends on it, and archiving neither waits for one
//! nor fails by one: what cannot be written is told and left to the next run. The index remembers how far there are pages; a
//! stream without any gets them over several runs. Whoever is second to create a page finds the same records there.

use super::commit::Committer;
use crate::index::Index;
use crate::ledger::page::{
    PAGE_RECORDS, PAGES_PREFIX, PageWriter, page_end, page_key, page_of_key,
};
use crate::model::{ObjectKey, Seq, Sha256};
use crate::telemetry::message;
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Pages written at once: a million records get theirs in twenty runs, each some seconds longer.
const PAGES_AT_ONCE: u64 = 50;
/// Pages are given up after this time: the next file to archive matters more.
const TIME_MAX: Duration = Duration::from_secs(30);
/// From this many missing pages on, a listing tells which are there: another archiver may have written them.
const LISTING_WORTH: u64 = 3;

/// Writes pages that are due, at the end of a run: no file waits for one. Says what keeps it from that.
pub(super) async fn write_due(committer: &Committer, stop: &AtomicBool) {
    let outcome = tokio::time::timeout(TIME_MAX, write(committer, stop)).await;
    let outcome = outcome.unwrap_or_else(|_| bail!("it took longer than {TIME_MAX:?}"));
    if let Err(error) = outcome {
        tracing::warn!(
            "a ledger page could not be written: {}. Nothing is lost by that, only first mounts are slower; the next run tries again",
            message(&error)
        );
    }
}

async fn write(committer: &Committer, stop: &AtomicBool) -> Result<()> {
    let last = committer.index.state()?.map_or(0, |state| state.last_seq.0);
    let end = last / PAGE_RECORDS * PAGE_RECORDS;
    let mut through = committer.index.paged()?.0;
    if through >= end {
        return Ok(());
    }
    let there = if (end - through) / PAGE_RECORDS >= LISTING_WORTH {
        listed(committer, Seq(through)).await?
    } else {
        BTreeSet::new()
    };
    let mut written = 0;
    while through < end && written < PAGES_AT_ONCE && !stop.load(Ordering::Relaxed) {
        let first = Seq(through + 1);
        if !there.contains(&first) {
            write_page(committer, first).await?;
            written += 1;
        }
        through = page_end(first).0;
        committer.index.set_paged(Seq(through))?;
    }
    Ok(())
}

/// The pages that are in the bucket, after that which ends with record `through`.
async fn listed(committer: &Committer, through: Seq) -> Result<BTreeSet<Seq>> {
    let mut after: Option<ObjectKey> = through
        .0
        .checked_sub(PAGE_RECORDS)
        .map(|before| page_key(Seq(before + 1)));
    let mut there = BTreeSet::new();
    loop {
        let listing = committer.store.list(PAGES_PREFIX, after.as_ref()).await?;
        there.extend(
            listing
                .objects
                .iter()
                .filter_map(|(key, _)| page_of_key(key)),
        );
        match listing.objects.into_iter().next_back() {
            Some((last, _)) if listing.more => after = Some(last),
            _ => return Ok(there),
        }
    }
}

/// Creates the page that begins with record `first`, unless its records cannot be a page.
async fn write_page(committer: &Committer, first: Seq) -> Result<()> {
    let index = Arc::clone(&committer.index);
    let made = tokio::task::spawn_blocking(move || make(&index, first)).await?;
    let Some(bytes) = made? else { return Ok(()) };
    match committer.store.create(&page_key(first), bytes.into()).await {
        Ok(()) => tracing::debug!(%first, "ledger page written"),
        Err(error) if error.already_exists() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// The bytes of a page, out of the index; `None` if one of its records is lost, or they are too large.
fn make(index: &Index, first: Seq) -> Result<Option<Vec<u8>>> {
    let mut page = PageWriter::new(first);
    let mut last: Option<Sha256> = None;
    for seq in first.0..=page_end(first).0 {
        let Some(line) = index.record(Seq(seq))? else {
            tracing::info!(%first, lost = seq, "no ledger page where a record is lost");
            return Ok(None);
        };
        if last.is_some_and(|hash| hash != line.record().prev) {
            bail!(
                "the index's copy of record {seq} does not continue that of the record before it"
            );
        }
        last = Some(line.hash());
        if let Err(error) = page.push(&line) {
            tracing::info!(%error, "its records are read singly");
            return Ok(None);
        }
    }
    page.finish().map(Some).context("its records")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::page::write_page as page_of;
    use crate::ledger::{Line, StreamFile, record_key, testing};
    use crate::store::fault::{Fault, FaultClock, FaultStore};
    use crate::store::{ErrorKind, MemoryStore, RecordingStore, SharedStore, Store as _};
    use crate::stream::Stream;
    use crate::sync::journal::{Journal, Uninterrupted};

    /// A ledger without pages, and its bucket.
    fn bucket(records: u64) -> (MemoryStore, Vec<Line>) {
        let store = MemoryStore::new();
        store.tamper(&StreamFile::key(), testing::stream_file().write());
        let lines: Vec<Line> = testing::chain(records).collect();
        for line in &lines {
            store.tamper(&record_key(line.seq()), line.text().to_owned());
        }
        (store, lines)
    }

    /// An archiver that has followed the ledger.
    async fn committer(store: SharedStore) -> (Committer, tempfile::TempDir) {
        let dir = tempfile::tempdir().expect("a directory");
        let index = Arc::new(Index::in_memory().expect("opens"));
        let stream = Stream::open(Arc::clone(&store), Arc::clone(&index));
        let stream = stream.await.expect("opens");
        stream.follow().await.expect("follows");
        let committer = Committer {
            store,
            stream,
            index,
            journal: Journal::open(dir.path(), Arc::new(Uninterrupted)).expect("opens"),
            lost: Default::default(),
            consent: Default::default(),
            archiver: "a test".to_owned(),
            clock: crate::sync::system_clock(),
            interrupt: Arc::new(Uninterrupted),
            footing: crate::sync::Footing::default(),
            met_another: std::sync::atomic::AtomicBool::new(false),
        };
        (committer, dir)
    }

    async fn write_due_now(committer: &Committer) {
        write_due(committer, &AtomicBool::new(false)).await;
    }

    fn pages_in(store: &MemoryStore) -> Vec<u64> {
        let keys = store.keys();
        keys.iter()
            .filter_map(page_of_key)
            .map(|first| first.0)
            .collect()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn pages_are_written_once_for_all_whole_thousands() {
        let (store, lines) = bucket(3500);
        // Another archiver was here.
        let theirs = page_of(&lines[1000..2000]).expect("a page");
        store.tamper(&page_key(Seq(1001)), theirs);
        let recording = Arc::new(RecordingStore::new(Arc::new(store.clone())));
        let (committer, _dir) = committer(recording.clone()).await;
        recording.reset();
        write_due_now(&committer).await;
        assert_eq!(pages_in(&store), [1, 1001, 2001]);
        assert_eq!(
            recording.total("create").calls,
            2,
            "{:?}",
            recording.calls()
        );
        for first in [1, 2001] {
            let bytes = store
                .get_all(&page_key(Seq(first)), 1 << 20)
                .await
                .expect("there");
            let read = crate::ledger::page::read_page(Seq(first), &bytes).expect("a page");
            assert_eq!(read, lines[first as usize - 1..first as usize + 999]);
        }
        recording.reset();
        write_due_now(&committer).await;
        assert!(recording.calls().is_empty(), "nothing is due");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_keeps_a_page_from_being_written_fails_nothing_and_the_next_run_writes_it() {
        let (store, _) = bucket(2001);
        for fault in [
            Fault::ErrorBefore(ErrorKind::Denied),
            Fault::ErrorAfter(ErrorKind::Timeout),
            Fault::CrashBefore,
            Fault::CrashAfter,
        ] {
            let memory = MemoryStore::new();
            for key in store.keys() {
                memory.tamper(&key, store.get_all(&key, 1 << 20).await.expect("there"));
            }
            let clock = FaultClock::new(move |op| {
                let page = op.what == "create" && op.key.starts_with(PAGES_PREFIX);
                if page { fault } else { Fault::None }
            });
            let faulty = FaultStore::new(Arc::new(memory.clone()), clock);
            let (mut committer, _dir) = committer(Arc::new(faulty)).await;
            write_due_now(&committer).await;
            assert_eq!(committer.index.paged().expect("reads"), Seq(0), "{fault:?}");
            committer.store = Arc::new(memory.clone());
            write_due_now(&committer).await;
            assert_eq!(pages_in(&memory), [1, 1001], "{fault:?}");
            assert_eq!(committer.index.paged().expect("reads"), Seq(2000));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn where_a_record_is_lost_there_is_no_page_until_it_is_found() {
        let (store, lines) = bucket(2500);
        store.tamper(&record_key(Seq(500)), "{}");
        let (committer, _dir) = committer(Arc::new(store.clone())).await;
        write_due_now(&committer).await;
        assert_eq!(pages_in(&store), [1001]);
        store.tamper(&record_key(Seq(500)), lines[499].text().to_owned());
        let healed = Stream::open(Arc::new(store.clone()), Arc::clone(&committer.index));
        let told = healed
            .await
            .expect("opens")
            .follow()
            .await
            .expect("follows");
        assert!(told.look_again && told.lost.is_empty());
        write_due_now(&committer).await;
        assert_eq!(pages_in(&store), [1, 1001]);
    }
}

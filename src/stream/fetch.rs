//! Records from the bucket: one, or a chunk of them, in order and within bounds.

use super::aside::aside;
use super::plan::Chunk;
use crate::ledger::page::{PAGE_MAX_BYTES, page_key, page_start, read_page};
use crate::ledger::{Line, LineError, RECORD_MAX_BYTES, RECORDS_PREFIX, record_key, seq_of_key};
use crate::model::{ObjectKey, Seq};
use crate::store::{self, Copies, CopyReason, ErrorKind, SharedStore};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Requests under way: enough that a store 100 ms away delivers hundreds of records a second.
const REQUESTS: usize = 16;
/// Compressed pages held at once, in bytes.
const PAGES_HELD_BYTES: u64 = 16 << 20;
/// Pages that are decoded at once, and that are ready ahead of the index: so that both cores work, and few are in memory.
const DECODED_AHEAD: usize = 3;
/// Of those that are decoded, how many may wait.
const READY: usize = 2;
/// Records fetched concurrently are at most this large, in bytes; a larger one is fetched again, alone.
const SMALL_RECORD_BYTES: u64 = 1 << 20;

/// What was found at a record's place.
#[derive(Debug)]
pub(super) enum Found {
    /// The record, as the stream's own store has it.
    Line(Line),
    /// A record that only a copy of the ledger has: nothing shows yet that it is this ledger's. Why that of the own store cannot be
    /// read, if there is one.
    Copied(Line, Option<String>),
    /// Nothing.
    Missing,
    /// Bytes that are no record, twice.
    Bad(String),
    /// A record of a newer format or kind: how it says so.
    Newer(String),
}

/// Fetches record `seq`. What cannot be read is fetched once more: a proxy or a worn cable may have changed it.
pub(super) async fn record(store: &SharedStore, seq: Seq) -> store::Result<Found> {
    single(store, seq, RECORD_MAX_BYTES).await
}

async fn single(store: &SharedStore, seq: Seq, max_bytes: u64) -> store::Result<Found> {
    let Some(copies) = store.copies() else {
        return twice(store, seq, max_bytes).await;
    };
    match copies.own(twice(copies.first(), seq, max_bytes)).await {
        Some(Ok(Found::Bad(reason))) => Ok(match of_copies(store, seq, |_| true).await {
            Some(line) => Found::Copied(line, Some(reason)),
            None => Found::Bad(reason),
        }),
        // What is no record says nothing of a place that is empty here.
        Some(Ok(Found::Missing)) => Ok(match once(store, seq, RECORD_MAX_BYTES).await? {
            Found::Line(line) => Found::Copied(line, None),
            _ => Found::Missing,
        }),
        Some(Ok(found)) => Ok(found),
        Some(Err(error)) if error.kind == ErrorKind::TooLarge => Err(error),
        // Should it answer now, its record passes for a copy's: that is proven, not believed.
        Some(Err(_)) | None => Ok(match twice(store, seq, max_bytes).await? {
            Found::Line(line) => Found::Copied(line, None),
            found => found,
        }),
    }
}

/// What `store` has at the place of record `seq`, asked again if it cannot be read.
async fn twice(store: &SharedStore, seq: Seq, max_bytes: u64) -> store::Result<Found> {
    match once(store, seq, max_bytes).await? {
        Found::Bad(_) => once(store, seq, max_bytes).await,
        found => Ok(found),
    }
}

/// Record `seq` as the first store itself has it, if that answers and it can be read.
pub(super) async fn own(store: &SharedStore, seq: Seq) -> Option<Line> {
    let found = match store.copies() {
        None => twice(store, seq, RECORD_MAX_BYTES).await,
        Some(copies) => {
            let ask = twice(copies.first(), seq, RECORD_MAX_BYTES);
            copies.own(ask).await?
        }
    };
    match found {
        Ok(Found::Line(line)) => Some(line),
        Ok(_) | Err(_) => None,
    }
}

/// Whether the first store itself has records after one.
pub(super) enum Later {
    /// It has: the last of those that one listing shows.
    At(Seq),
    /// It has none.
    Nowhere,
    /// It does not answer.
    Unknown,
}

/// Whether the first store of `copies` itself has records after `seq`, up to `until`.
pub(super) async fn own_later(copies: &Copies, seq: Seq, until: Seq) -> Later {
    let after = record_key(seq);
    let ask = copies.first().list(RECORDS_PREFIX, Some(&after));
    let Some(Ok(listing)) = copies.own(ask).await else {
        return Later::Unknown;
    };
    let later = listing
        .objects
        .iter()
        .filter_map(|(key, _)| seq_of_key(key));
    match later.filter(|later| seq < *later && *later <= until).max() {
        Some(last) => Later::At(last),
        None => Later::Nowhere,
    }
}

/// Record `seq` out of another copy of the ledger that has one which is `right`.
pub(super) async fn of_copies(
    store: &SharedStore,
    seq: Seq,
    right: impl Fn(&Line) -> bool + Send,
) -> Option<Line> {
    let copies = store.copies()?;
    for copy in copies.stores() {
        if let Ok(Found::Line(line)) = once(copy, seq, RECORD_MAX_BYTES).await
            && right(&line)
        {
            copies.served(CopyReason::Damaged, &record_key(seq), copy);
            return Some(line);
        }
    }
    None
}

async fn once(store: &SharedStore, seq: Seq, max_bytes: u64) -> store::Result<Found> {
    match store.get_all(&record_key(seq), max_bytes).await {
        Ok(bytes) => Ok(read(seq, &bytes)),
        Err(error) if error.is_not_found() => Ok(Found::Missing),
        // Over the limit of all records it is none; over a smaller one the caller asks again.
        Err(error) if error.kind == ErrorKind::TooLarge && max_bytes == RECORD_MAX_BYTES => Ok(
            Found::Bad(format!("it is larger than {RECORD_MAX_BYTES} bytes")),
        ),
        // A directory's entry is cut short: damage, not a fault of the store.
        Err(error) if error.kind == ErrorKind::Truncated => Ok(Found::Bad(error.to_string())),
        Err(error) => Err(error),
    }
}

fn read(seq: Seq, bytes: &[u8]) -> Found {
    match Line::read(bytes) {
        Ok(line) if line.seq() == seq => Found::Line(line),
        Ok(line) => Found::Bad(format!("it holds record {}", line.seq())),
        Err(error @ (LineError::NewerFormat(_) | LineError::NewerKind(_))) => {
            Found::Newer(error.to_string())
        }
        Err(error) => Found::Bad(error.to_string()),
    }
}

/// Record `seq` out of its page, if the page is there and whole.
pub(super) async fn from_page(store: &SharedStore, seq: Seq) -> Option<Line> {
    let first = page_start(seq);
    let bytes = store.get_all(&page_key(first), PAGE_MAX_BYTES).await.ok()?;
    let lines = tokio::task::spawn_blocking(move || read_page(first, &bytes))
        .await
        .ok()?
        .ok()?;
    let at = usize::try_from(seq.0 - first.0).ok()?;
    let line = lines.into_iter().nth(at)?;
    // Whoever takes in many of them does not hold as many pages.
    (line.seq() == seq).then(|| line.alone())
}

/// A page under way to being decoded; its share of [`PAGES_HELD_BYTES`] goes with it.
struct Fetched {
    chunk: Chunk,
    page: Result<(PageBytes, OwnedSemaphorePermit), Option<String>>,
}

/// A page, and whether it is a copy's.
struct PageBytes {
    bytes: Bytes,
    copied: bool,
}

/// A chunk, as far as its page gave it.
pub(super) enum Decoded {
    /// Its records, each naming the one before it.
    Lines {
        lines: Vec<Line>,
        /// The bytes of the page, if these are all of its records.
        bytes: Option<Bytes>,
        /// Only a copy of the stream gave this page.
        copied: bool,
    },
    /// There is no good page: its records are to be fetched with [`singles`]. What is wrong with the page, if there is one.
    NoPage(Chunk, Option<String>),
}

/// All `chunks` in order, out of their pages.
///
/// A task of its own drives it: a stream that is only asked when the index is done with a page would decode the next ones
/// while the index waits, and the other way round.
pub(super) fn pages(
    store: SharedStore,
    chunks: Vec<Chunk>,
) -> impl futures::Stream<Item = Decoded> {
    let held = Arc::new(Semaphore::new(kib(PAGES_HELD_BYTES) as usize));
    let mut decoded = futures::stream::iter(chunks)
        .map(move |chunk| fetch_page(Arc::clone(&store), chunk, Arc::clone(&held)))
        .buffered(REQUESTS)
        .map(decode)
        .buffered(DECODED_AHEAD);
    let (sender, receiver) = mpsc::channel(READY);
    let driver = tokio::spawn(async move {
        while let Some(chunk) = decoded.next().await {
            if sender.send(chunk).await.is_err() {
                break;
            }
        }
    });
    futures::stream::unfold((receiver, driver), |(mut receiver, driver)| async {
        match receiver.recv().await {
            Some(chunk) => Some((chunk, (receiver, driver))),
            None => {
                // An end that is none would look like a shorter ledger.
                driver.await.expect("it decodes to the end");
                None
            }
        }
    })
}

/// Bytes as permits: a semaphore counts to 2^32 at most.
fn kib(bytes: u64) -> u32 {
    u32::try_from((bytes >> 10) + 1).unwrap_or(u32::MAX)
}

/// Fetches the page of a chunk, if it has one. Any failure means that there is none: the records themselves are the
/// truth, and fetching them tells what is wrong.
async fn fetch_page(store: SharedStore, chunk: Chunk, held: Arc<Semaphore>) -> Fetched {
    let page = match chunk.page_bytes {
        None => Err(None),
        Some(size) if size > PAGES_HELD_BYTES => Err(Some(format!("it has {size} bytes"))),
        Some(size) => {
            // Asked for in the order of use (`buffered` polls so at first): the page that is awaited is never kept waiting by
            // later ones that hold all there is.
            let permit = held.acquire_many_owned(kib(size)).await;
            let permit = permit.expect("nobody closes this semaphore");
            let key = page_key(page_start(chunk.from));
            // A task of its own, so that the request goes on while the index is busy.
            let get = tokio::spawn(async move { page_bytes(&store, &key, size).await });
            match get.await {
                Ok(Ok(page)) => Ok((page, permit)),
                Ok(Err(error)) => Err(Some(error.to_string())),
                Err(error) => Err(Some(error.to_string())),
            }
        }
    };
    Fetched { chunk, page }
}

async fn page_bytes(store: &SharedStore, key: &ObjectKey, size: u64) -> store::Result<PageBytes> {
    let own = match store.copies() {
        None => Some(store.get_all(key, size).await),
        Some(copies) => {
            let own = copies.own(copies.first().get_all(key, size)).await;
            own.filter(Result::is_ok)
        }
    };
    let copied = own.is_none();
    let bytes = match own {
        Some(own) => own?,
        None => store.get_all(key, size).await?,
    };
    Ok(PageBytes { bytes, copied })
}

async fn decode(fetched: Fetched) -> Decoded {
    let Fetched { chunk, page } = fetched;
    let (PageBytes { bytes, copied }, permit) = match page {
        Ok(page) => page,
        Err(why) => return Decoded::NoPage(chunk, why),
    };
    let (from, to) = (chunk.from, chunk.to);
    let task = aside(move || {
        let _permit = permit;
        let mut lines = read_page(page_start(from), &bytes).map_err(|e| e.to_string())?;
        let pairs = lines.iter().zip(lines.iter().skip(1));
        match { pairs }.find(|(line, next)| next.record().prev != line.hash()) {
            None => {}
            Some((_, next)) => {
                return Err(format!(
                    "its record {} does not continue the one before it",
                    next.seq()
                ));
            }
        }
        let all = lines.len();
        lines.retain(|line| (from..=to).contains(&line.seq()));
        let whole = lines.len() == all;
        Ok((lines, whole.then_some(bytes)))
    });
    match task.await {
        Ok(Ok((lines, bytes))) => Decoded::Lines {
            lines,
            bytes,
            copied,
        },
        Ok(Err(why)) => Decoded::NoPage(chunk, Some(why)),
        Err(error) => Decoded::NoPage(chunk, Some(error.to_string())),
    }
}

/// The records of a chunk, one by one, in order.
pub(super) fn singles(
    store: &SharedStore,
    chunk: &Chunk,
) -> impl futures::Stream<Item = store::Result<(Seq, Found)>> + use<> {
    let (small, large) = (Arc::clone(store), Arc::clone(store));
    futures::stream::iter(chunk.from.0..=chunk.to.0)
        .map(move |seq| {
            let store = Arc::clone(&small);
            async move {
                match single(&store, Seq(seq), SMALL_RECORD_BYTES).await {
                    Err(error) if error.kind == ErrorKind::TooLarge => Ok((Seq(seq), None)),
                    Ok(found) => Ok((Seq(seq), Some(found))),
                    Err(error) => Err(error),
                }
            }
        })
        .buffered(REQUESTS)
        .and_then(move |(seq, found)| {
            let store = Arc::clone(&large);
            async move {
                match found {
                    Some(found) => Ok((seq, found)),
                    None => Ok((seq, record(&store, seq).await?)),
                }
            }
        })
}

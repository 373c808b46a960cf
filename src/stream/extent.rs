//! How far a ledger goes, and which pages shorten the way.

use super::plan::{Chunk, chunks};
use super::{Stream, StreamError};
use crate::ledger::page::{
    PAGE_RECORDS, PAGES_PREFIX, page_end, page_key, page_of_key, page_start,
};
use crate::ledger::{RECORDS_PREFIX, record_key, seq_of_key};
use crate::model::{ObjectKey, Seq};
use crate::store::ErrorKind;
use std::collections::BTreeMap;

/// Records in a row that may be missing: more is no accident, and a stray object far off must not make the history up to
/// it look lost.
const MISSING_MAX: u64 = 10_000;
/// Last pages looked at for whether their records exist, before no page is used.
const PAGES_DOUBTED: u32 = 8;

/// How far the records go, as far as they are listed.
pub(super) struct Extent {
    /// The newest record.
    pub(super) newest: Seq,
    /// A record so far off that those between cannot all have been lost.
    pub(super) beyond: Option<Seq>,
    /// Pages from the next record's on, first seq to size in bytes; empty where a listing of records was enough.
    pub(super) pages: BTreeMap<Seq, u64>,
    /// Where the listing is to go on, if there is more.
    unlisted_after: Option<ObjectKey>,
}

impl Extent {
    fn from(newest: Seq) -> Extent {
        Extent {
            newest,
            beyond: None,
            pages: BTreeMap::new(),
            unlisted_after: None,
        }
    }

    /// What is to be fetched from record `next` on, whatever else the listing shows: all pages but the last.
    pub(super) fn certain(&self, next: Seq) -> Vec<Chunk> {
        let Some((&last, _)) = self.pages.last_key_value() else {
            return Vec::new();
        };
        let mut certain = chunks(next, page_end(last), &self.pages);
        certain.retain(|chunk| chunk.to < last);
        certain
    }

    fn record(&mut self, key: &ObjectKey) {
        match seq_of_key(key) {
            Some(seq) if seq.0 > self.newest.0.saturating_add(MISSING_MAX) => {
                self.beyond.get_or_insert(seq);
            }
            Some(seq) => self.newest = self.newest.max(seq),
            None => {}
        }
    }
}

impl Stream {
    /// The newest record there is, and the pages from that of record `next` on, if it takes many, or all. Then there may be newer
    /// ones, which [`Stream::list_rest`] finds.
    pub(super) async fn extent(&self, next: Seq, use_pages: bool) -> Result<Extent, StreamError> {
        let last_known = Seq(next.0 - 1);
        let mut extent = Extent::from(last_known);
        // An index without records has all pages to read, and they are listed a thousand times faster than the records.
        if use_pages && last_known == Seq(0) {
            self.look_for_pages(next, &mut extent).await?;
            if !extent.pages.is_empty() {
                return Ok(extent);
            }
        }
        let after = (last_known.0 > 0).then(|| record_key(last_known));
        let first = self.store.list(RECORDS_PREFIX, after.as_ref()).await?;
        first.objects.iter().for_each(|(key, _)| extent.record(key));
        if first.more {
            extent.unlisted_after = first.objects.last().map(|(key, _)| key.clone());
            if use_pages && last_known > Seq(0) {
                self.look_for_pages(next, &mut extent).await?;
            }
        }
        Ok(extent)
    }

    /// Looks for the pages from that of record `next` on. What they hold need not be listed.
    async fn look_for_pages(&self, next: Seq, extent: &mut Extent) -> Result<(), StreamError> {
        extent.pages = match self.usable_pages(next).await {
            // Whoever may not list them does without.
            Err(StreamError::Store(error)) if error.kind == ErrorKind::Denied => return Ok(()),
            pages => pages?,
        };
        if let Some((&last, _)) = extent.pages.last_key_value() {
            let end = page_end(last);
            extent.newest = extent.newest.max(end);
            let listed = extent.unlisted_after.take();
            extent.unlisted_after = listed.max(Some(record_key(end)));
        }
        Ok(())
    }

    /// Lists what [`Stream::extent`] left.
    pub(super) async fn list_rest(&self, extent: &mut Extent) -> Result<(), StreamError> {
        match extent.unlisted_after.take() {
            None => Ok(()),
            after => {
                self.list(RECORDS_PREFIX, after, |key, _| extent.record(key))
                    .await
            }
        }
    }

    /// The pages from that of record `next` on, as far as the records of the last one exist.
    async fn usable_pages(&self, next: Seq) -> Result<BTreeMap<Seq, u64>, StreamError> {
        let mut pages = BTreeMap::new();
        let before = page_start(next).0.checked_sub(PAGE_RECORDS);
        let before = before
            .filter(|first| *first > 0)
            .map(|first| page_key(Seq(first)));
        let mut end = Seq(next.0 - 1);
        self.list(PAGES_PREFIX, before, |key, size| {
            // One that stands far off would have everything before it taken for lost.
            if let Some(first) = page_of_key(key).filter(|first| first.0 - 1 <= end.0 + MISSING_MAX)
            {
                end = page_end(first);
                pages.insert(first, size);
            }
        })
        .await?;
        for _ in 0..PAGES_DOUBTED {
            let Some((first, _)) = pages.last_key_value() else {
                break;
            };
            match self.store.head(&record_key(page_end(*first))).await {
                Ok(_) => return Ok(pages),
                Err(error) if error.is_not_found() => drop(pages.pop_last()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(BTreeMap::new())
    }

    /// Lists everything after a key.
    async fn list(
        &self,
        prefix: &str,
        mut after: Option<ObjectKey>,
        mut each: impl FnMut(&ObjectKey, u64),
    ) -> Result<(), StreamError> {
        loop {
            let listing = self.store.list(prefix, after.as_ref()).await?;
            listing
                .objects
                .iter()
                .for_each(|(key, size)| each(key, *size));
            match listing.objects.last() {
                Some((last, _)) if listing.more => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }
}

//! The new header of one segment, or its new object, or why it gets none.

use super::Order;
use super::report::Outcome;
use crate::cache::{ArchivedSegment, Cause};
use crate::index::Index;
use crate::ledger::record::ObjectRecord;
use crate::ledger::{CarriedHeader, Entry, SegmentRecord};
use crate::model::Seq;
use crate::segment::{ContentKey, OpenSegment, SegmentError};
use crate::store::{self, ErrorKind, SharedStore};
use crate::sync::anew::{Maker, unreadable};
use crate::sync::pipeline::Uploaded;
use anyhow::Result;
use bytes::Bytes;
use std::sync::Arc;

/// Gets before a header or tail counts as bad: a reply can be damaged on its way.
const ATTEMPTS: usize = 2;

/// What is known of one segment before its record is made.
pub(super) enum Prepared {
    /// There is nothing to record.
    Done(Outcome),
    /// Its header or object is made.
    Ready(Box<Ready>),
}

/// What a record is to say of an object, and the object if it is a new one.
type Made = (ObjectRecord, Option<Uploaded>);

/// A segment whose new header or object is made.
pub(super) struct Ready {
    /// Its entry, as it was when that was made.
    pub(super) entry: Entry,
    /// What its record is to say of the object.
    pub(super) object: ObjectRecord,
    /// The object, if it is a new one.
    pub(super) made: Option<Uploaded>,
}

/// Makes the headers: what of a run many segments need at a time.
#[derive(Clone)]
pub(super) struct Preparer<'a> {
    pub(super) store: SharedStore,
    pub(super) index: Arc<Index>,
    pub(super) order: &'a Order,
    pub(super) own_keys: Arc<[String]>,
    /// Makes new objects, where that is asked for.
    pub(super) maker: Option<Arc<Maker>>,
}

impl Preparer<'_> {
    /// The name of an entry, and its new header or why it gets none; `None` if there is no segment to read.
    pub(super) async fn of_seq(&self, seq: Seq) -> Result<Option<(String, Prepared)>> {
        let Some(entry) = self.index.entry_by_seq(seq)? else {
            return Ok(None);
        };
        let Some(segment) = entry.segment.as_deref() else {
            return Ok(None);
        };
        let name = entry.mount_name.to_string();
        if let Some(outcome) = self.by_record(segment) {
            return Ok(Some((name, Prepared::Done(outcome))));
        }
        if self.order.dry_run {
            return Ok(Some((name, Prepared::Done(Outcome::Rekeyed))));
        }
        let made = match &self.maker {
            Some(maker) => rewritten(maker, segment).await?,
            None => self.rewrapped(segment).await?,
        };
        let (object, made) = match made {
            Ok(made) => made,
            Err(why) => {
                let why = format!("object {}: {why}", segment.object.key);
                return Ok(Some((name, Prepared::Done(Outcome::Failed(why)))));
            }
        };
        let ready = Box::new(Ready {
            entry,
            object,
            made,
        });
        Ok(Some((name, Prepared::Ready(ready))))
    }

    /// The object as it is, with a new header in its record.
    async fn rewrapped(&self, segment: &SegmentRecord) -> Result<Result<Made, String>> {
        let header = match self.header(segment).await? {
            Ok(header) => CarriedHeader::new(header)?,
            Err(why) => return Ok(Err(why)),
        };
        let object = ObjectRecord {
            recipients: self.order.recipients.to_strings(),
            header: Some(header),
            ..segment.object.clone()
        };
        Ok(Ok((object, None)))
    }

    /// What the record alone tells.
    fn by_record(&self, segment: &SegmentRecord) -> Option<Outcome> {
        let recorded = &segment.object.recipients;
        if segment.object.header_size == 0 {
            return Some(Outcome::Unencrypted);
        }
        // The object of what was re-keyed by its record alone is still for others.
        let as_stored = self.order.rewrite.is_none() || segment.object.header.is_none();
        if self.order.recipients.are(recorded) && as_stored {
            return Some(Outcome::Already);
        }
        if !recorded.iter().any(|key| self.own_keys.contains(key)) {
            return Some(Outcome::Foreign(recorded.clone()));
        }
        None
    }

    /// The new header; inside, why this segment has none.
    async fn header(&self, segment: &SegmentRecord) -> Result<Result<Vec<u8>, String>> {
        let archived = match ArchivedSegment::of_record(segment) {
            Ok(archived) => archived,
            Err(error) => return Ok(Err(error.cause.to_string())),
        };
        let mut attempt = 1;
        loop {
            let (header, tail) = match self.fetch(&archived).await {
                Ok(fetched) => fetched,
                Err(error) if is_of_one_object(&error) => return Ok(Err(error.to_string())),
                Err(error) => return Err(error.into()),
            };
            match self.make(&archived, &header, tail.as_deref()) {
                Ok(header) => return Ok(Ok(header)),
                Err(error) if attempt < ATTEMPTS && tail.is_some() => {
                    tracing::warn!(object = %archived.key(), %error, "fetching a header again");
                    attempt += 1;
                }
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
    }

    /// Header and tail of an object; the header alone where its record carries it, which was proven when that was made.
    async fn fetch(&self, archived: &ArchivedSegment) -> store::Result<(Bytes, Option<Bytes>)> {
        if let Some(carried) = archived.carried_header() {
            return Ok((Bytes::copy_from_slice(carried), None));
        }
        let (key, layout) = (archived.key(), archived.layout());
        let (header, tail) = futures::try_join!(
            self.store.get(key, layout.header_range()),
            self.store.get(key, layout.tail_range())
        )?;
        Ok((header, Some(tail)))
    }

    fn make(
        &self,
        archived: &ArchivedSegment,
        header: &[u8],
        tail: Option<&[u8]>,
    ) -> Result<Vec<u8>, SegmentError> {
        let key =
            ContentKey::unwrap_recorded(header, &self.order.identities, archived.recipients())?;
        let new = key.rewrap(header, &self.order.recipients)?;
        if let Some(tail) = tail {
            OpenSegment::open_carried(*archived.layout(), Some(key), &new, tail)?;
        }
        Ok(new)
    }
}

/// A new object; inside, why this segment has none.
async fn rewritten(maker: &Maker, segment: &SegmentRecord) -> Result<Result<Made, String>> {
    let error = match maker.make(segment).await {
        Ok(made) => return Ok(Ok((made.object(), Some(made)))),
        Err(error) => error,
    };
    let cause = unreadable(&error).map(|error| &error.cause);
    match cause {
        Some(Cause::Corrupt(_) | Cause::NoKey(_) | Cause::Newer(_)) => {}
        Some(Cause::Store(error)) if is_of_one_object(error) => {}
        Some(_) | None => return Err(error),
    }
    Ok(Err(cause.map(ToString::to_string).unwrap_or_default()))
}

/// Whether an error says something of one object, and nothing of the store.
fn is_of_one_object(error: &store::Error) -> bool {
    matches!(
        error.kind,
        ErrorKind::NotFound | ErrorKind::Truncated | ErrorKind::TooLarge | ErrorKind::BadDigest
    )
}

//! The first event of one segment whose header time is not before a second: where `mysqlbinlog --stop-datetime` stops.

use super::Found;
use super::locator::{LocateError, Locator};
use crate::binlog::{EventRef, Scanner, Sink, Transaction};
use crate::model::Seq;

/// Bytes read at a time.
const STEP_BYTES: u64 = 4 << 20;

/// An event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventAt {
    /// Offset of its first byte.
    pub position: u64,
    /// The transaction that it stands in, not as the first event.
    pub inside: Option<Found>,
}

/// Waits for the event, and then for the transaction around it.
struct Watch {
    second: u32,
    from: u64,
    hit: Option<u64>,
    inside: Option<Found>,
    done: bool,
}

impl Locator {
    /// The first event of an entry, its format description or one from `from` on, with a header time of `second` (since 1970)
    /// or later; `None` if there is none. A transaction begins at `from`, or it is 0.
    ///
    /// # Errors
    /// [`LocateError`].
    pub async fn first_event_since(
        &self,
        seq: Seq,
        from: u64,
        second: u32,
    ) -> Result<Option<EventAt>, LocateError> {
        let place = self.place(seq).await?;
        let index = self.reader.index(&place.segment).await?;
        let watch = |from| Watch {
            second,
            from,
            hit: None,
            inside: None,
            done: false,
        };
        let resumed = index
            .format
            .as_ref()
            .filter(|_| from > 0)
            .and_then(|format| Scanner::resume(watch(from), format, from));
        // Without a format description in the index the file is read from its beginning.
        let mut scanner = resumed.unwrap_or_else(|| Scanner::new(watch(from)));
        while scanner.size() < place.end && !scanner.sink().done {
            let at = scanner.size();
            let len = STEP_BYTES.min(place.end - at);
            let bytes = self.reader.read(&place.segment, at, len).await?;
            if bytes.is_empty() || scanner.push(&bytes).is_err() || scanner.damage().is_some() {
                break;
            }
        }
        let watch = scanner.sink();
        Ok(watch.hit.map(|position| EventAt {
            position,
            inside: watch.inside.clone(),
        }))
    }
}

impl Sink for Watch {
    fn event(&mut self, event: &EventRef) {
        let looked_at = event.position >= self.from || event.position == FORMAT_AT;
        if self.hit.is_none() && looked_at && event.timestamp >= self.second {
            self.hit = Some(event.position);
        }
    }

    fn transaction(&mut self, transaction: &Transaction) {
        let Some(hit) = self.hit else { return };
        if self.done || transaction.end <= hit {
            return;
        }
        self.done = true;
        if transaction.start < hit {
            self.inside = Some(Found::from(transaction));
        }
    }
}

/// Where the format description stands.
const FORMAT_AT: u64 = 4;

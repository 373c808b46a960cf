//! Questions about one segment, whose place in the history is known.

use super::Located;
use super::executed::{Executed, Step};
use super::locator::{LocateError, Locator};
use super::search::Wanted;
use crate::model::{GtidSet, Seq};

impl Locator {
    /// The transaction of an entry that holds the byte at `offset`; between two, the one behind it; behind the last, none.
    ///
    /// # Errors
    /// [`LocateError`].
    pub async fn at(&self, seq: Seq, offset: u64) -> Result<Located, LocateError> {
        let place = self.place(seq).await?;
        let index = self.reader.index(&place.segment).await?;
        if let Some(sighting) = self.search(&place, index, Wanted::At(offset)).await? {
            return Ok(place.before(sighting));
        }
        let last = self.last_of(&place).await?;
        Ok(last.unwrap_or_else(|| place.empty(offset.min(place.end))))
    }

    /// The end of the last transaction of an entry that can be read; `None` if it has none.
    ///
    /// # Errors
    /// [`LocateError`].
    pub async fn last_in(&self, seq: Seq) -> Result<Option<Located>, LocateError> {
        let place = self.place(seq).await?;
        self.last_of(&place).await
    }

    /// The first transaction of an entry with one of `gtids`.
    ///
    /// # Errors
    /// [`LocateError`].
    pub async fn first_of(&self, seq: Seq, gtids: GtidSet) -> Result<Option<Located>, LocateError> {
        let place = self.place(seq).await?;
        let index = self.reader.index(&place.segment).await?;
        let found = self.search(&place, index, Wanted::OneOf(gtids)).await?;
        Ok(found.map(|sighting| place.before(sighting)))
    }

    /// What of `gtids`, all that an entry has, stands before `position` in it.
    ///
    /// # Errors
    /// [`LocateError`].
    pub async fn executed_in_file(
        &self,
        seq: Seq,
        position: u64,
        gtids: &GtidSet,
    ) -> Result<GtidSet, LocateError> {
        let place = self.place(seq).await?;
        let index = self.reader.index(&place.segment).await?;
        let frame_size = place.segment.layout().recorded().frame_size;
        let mut executed = Executed::new(index, gtids, position, place.end, frame_size);
        loop {
            match executed.step() {
                Step::Done(found) => return Ok(found),
                Step::Need(range) => {
                    let len = range.end - range.start;
                    let bytes = self.reader.read(&place.segment, range.start, len).await?;
                    executed.give(&bytes);
                }
            }
        }
    }
}

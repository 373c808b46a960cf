//! The order of the files that are shown, for what reads them one after the other.

use super::view::{Errno, View};
use crate::cache::{ArchivedSegment, Succession};
use crate::index::asking::ask;
use crate::ledger::{Entry, EntryState};
use crate::model::Seq;
use async_trait::async_trait;
use std::sync::Weak;

/// Replay order: of a timeline, as the view shows it at the moment.
pub(super) struct ReplayOrder(pub(super) Weak<View>);

#[async_trait]
impl Succession for ReplayOrder {
    async fn after(&self, place: Seq) -> Option<(Seq, ArchivedSegment)> {
        let view = self.0.upgrade()?;
        let found = view.in_time("cannot read ahead", next(&view, place)).await;
        let (next, entry) = found.ok()??;
        Some((next, ArchivedSegment::of_entry(&entry).ok()?))
    }
}

/// The entry after the one at `place`, if a replay goes on in it.
async fn next(view: &View, place: Seq) -> Result<Option<(Seq, Entry)>, Errno> {
    let history = view.history();
    // Parts of the history may have to be read first.
    let found = ask(move || {
        let (timeline, _) = history.by_seq(place)?;
        let next = history.timeline(timeline)?.after(place).next()?;
        // A replay stops at anything else.
        (next.state == EntryState::Archived).then_some(next.seq)
    });
    match found.await {
        Ok(Some(next)) => Ok(Some((next, view.entry(next).await?))),
        Ok(None) | Err(_) => Ok(None),
    }
}

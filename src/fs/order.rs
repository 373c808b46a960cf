//! The order of the files that are shown, for what reads them one after the other.

use super::view::View;
use crate::cache::{ArchivedSegment, Succession};
use crate::ledger::EntryState;
use crate::model::Seq;
use async_trait::async_trait;
use std::sync::Weak;

/// Replay order: of a timeline, as the view shows it at the moment.
pub(super) struct ReplayOrder(pub(super) Weak<View>);

#[async_trait]
impl Succession for ReplayOrder {
    async fn after(&self, place: Seq) -> Option<(Seq, ArchivedSegment)> {
        let view = self.0.upgrade()?;
        let history = view.history();
        // Parts of the history may have to be read first.
        let found = tokio::task::spawn_blocking(move || {
            let (timeline, _) = history.by_seq(place)?;
            let next = history.timeline(timeline)?.after(place).next()?;
            // A replay stops at anything else.
            (next.state == EntryState::Archived).then_some(next.seq)
        });
        let next = found.await.ok()??;
        let entry = view.entry(next).await.ok()?;
        Some((next, ArchivedSegment::of_entry(&entry).ok()?))
    }
}

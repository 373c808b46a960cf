//! One record at the end of a ledger: created only if nobody else created one at that place.

use crate::ledger::record::{Body, MovedRecord};
use crate::ledger::{LedgerState, Line};
use crate::store::SharedStore;
use crate::stream::{self, Followed, Stream};
use anyhow::{Result, bail};
use std::sync::Arc;

/// Follows the ledger of `stream` to its end, which must be one that can be appended to.
///
/// # Errors
/// When the ledger cannot be followed, went backwards, or ends in a damaged record.
pub async fn followed(stream: &Stream) -> Result<Arc<LedgerState>> {
    appendable(stream.follow().await?)
}

/// What the ledger says, if it can be appended to.
pub(super) fn appendable(followed: Followed) -> Result<Arc<LedgerState>> {
    let state = followed.whole()?;
    if let Some(moved) = &state.moved {
        bail!(moved_away(moved));
    }
    Ok(state)
}

/// What is said to whoever would write to a stream that has moved.
pub fn moved_away(moved: &MovedRecord) -> String {
    format!(
        "this stream has moved to {}: nothing is archived here any more; archive there, with a state directory of its own",
        moved.to
    )
}

/// Creates the record after `state` with `body`. `None` if somebody else's is there: it may be ours after a lost reply, and who
/// follows the ledger sees which.
///
/// # Errors
/// When the record would break a rule of the ledger, or the store fails.
pub async fn create(
    store: &SharedStore,
    state: &LedgerState,
    body: Body,
) -> Result<Option<(Line, LedgerState)>> {
    let (line, next) = state.followed_by(body)?;
    let ours = stream::append(store, &line).await?;
    Ok(ours.then_some((line, next)))
}

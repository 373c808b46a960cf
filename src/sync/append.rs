//! One record at the end of a ledger: created only if nobody else created one at that place.

use crate::ledger::record::{Body, MovedRecord, Record};
use crate::ledger::{FORMAT, LedgerState, Line, record_key};
use crate::store::SharedStore;
use crate::stream::{Followed, Stream};
use anyhow::{Context as _, Result, bail};
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
    let state = whole(followed)?;
    if let Some(moved) = &state.moved {
        bail!(moved_away(moved));
    }
    Ok(state)
}

/// What the ledger says, if its newest record could be read.
pub(super) fn whole(followed: Followed) -> Result<Arc<LedgerState>> {
    if let Some(seq) = followed.tail_damaged {
        bail!(
            "the newest ledger record, {}, cannot be read, so nothing can be appended after it; restore {} from a copy of the bucket",
            seq,
            record_key(seq)
        );
    }
    Ok(followed.state)
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
    let prev = state
        .last_hash
        .context("the hash of the newest ledger record is unknown")?;
    let line = Line::write(Record {
        format: FORMAT,
        seq: state.next_seq(),
        prev,
        body,
    })
    .context("this segment's ledger record")?;
    // A record that breaks a rule could never be removed again, and nobody could read past it.
    let mut next = state.clone();
    next.accept(&line).context(
        "the record to be created would break the ledger's rules, so it was not; this is a bug: report it with the output of 'binlogfs ls --json'",
    )?;
    let mut bytes = line.text().as_bytes().to_vec();
    bytes.push(b'\n');
    match store.create(&record_key(line.seq()), bytes.into()).await {
        Ok(()) => Ok(Some((line, next))),
        Err(error) if error.already_exists() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

//! Filling a hole: the segment of a file that was put aside, and can be read after all.

use super::archive::Settings;
use super::begin::{Begun, begin, makers};
use super::commit::{Committer, closed_by, segment_record};
use super::dead_letter::DeadLetter;
use super::footing::Footing;
use super::listed::{Batch, HeadOfFile};
use super::pipeline::Uploaded;
use super::place::{Arrival, Place, Provenance, Signature};
use super::plan::Seen;
use super::run::upload_one;
use crate::ledger::record::{Body, SupersedeReason, SupersedeRecord};
use crate::ledger::{Entry, EntryState, Line};
use crate::model::{FileName, GtidSet, Seq};
use crate::source::Source;
use crate::store::SharedStore;
use crate::stream::RacesLost;
use anyhow::{Context as _, Result, bail};
use std::sync::Arc;

/// Lost races for a record after which something else is going on.
const RACES_MAX: u32 = 100;

/// What became of a dead letter that was tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retried {
    /// Its hole is filled, by this record.
    Filled(Seq),
    /// There was no hole yet: the next run archives it at its place.
    Released,
    /// The server no longer has it: the hole stays.
    Gone,
}

/// Tries a file again that was put aside.
///
/// # Errors
/// When it still cannot be read, or is not the file that belongs into the hole; it then stays put aside.
pub async fn retry(
    source: &Source,
    batch: &Batch,
    store: SharedStore,
    settings: &Settings,
    letter: &DeadLetter,
) -> Result<Retried> {
    let closed: Vec<&HeadOfFile> = batch.heads.iter().filter(|file| file.0.closed).collect();
    if closed.is_empty() {
        bail!("no file of {} is closed", source.index_path().display());
    }
    let Begun {
        committer,
        lock: _lock,
        ..
    } = begin(store, settings, &closed, Footing::default()).await?;
    let file: FileName = letter.file.parse()?;
    let listed = batch
        .listing
        .files
        .iter()
        .find(|listed| letter.is(listed) && listed.closed);
    let hole = hole_of(&committer, &file)?;
    if let Some(hole) = &hole
        && committer.index.is_pruned(hole.timeline, &hole.mount_name)?
    {
        bail!(
            "the history no longer reaches back to {}: its place was pruned, and nothing is to be filled there",
            hole.mount_name
        );
    }
    let (Some(listed), Some(hole)) = (listed, &hole) else {
        committer.journal.forget_failure(letter)?;
        return Ok(match listed {
            Some(_) => Retried::Released,
            None => Retried::Gone,
        });
    };
    let opened = source.open_listed(listed)?;
    let Some(opened) = opened else {
        committer.journal.forget_failure(letter)?;
        return Ok(Retried::Gone);
    };
    let seen = Seen {
        listed: listed.clone(),
        head: opened.head()?,
        size: opened.size(),
        archived: None,
    };
    drop(opened);
    let (pool, format) = makers(settings)?;
    let progress = Arc::clone(&settings.progress);
    let on_read = Arc::new(move |bytes| progress.read(bytes));
    let uploaded = upload_one(&committer, source, &pool, None, &format, &seen, on_read).await?;
    let Some(uploaded) = uploaded else {
        committer.journal.forget_failure(letter)?;
        return Ok(Retried::Gone);
    };
    if let Err(error) = check_belongs(&committer, hole, &uploaded) {
        committer.discard(&uploaded.key).await?;
        return Err(error);
    }
    let server_uuid = batch.listing.server_uuid;
    let seq = supersede(&committer, hole, &file, server_uuid, &uploaded, settings).await?;
    committer.journal.forget_failure(letter)?;
    Ok(Retried::Filled(seq))
}

/// The newest hole that was left by this file.
fn hole_of(committer: &Committer, file: &FileName) -> Result<Option<Entry>> {
    for row in committer.index.unsound_ever()? {
        if row.state != EntryState::Hole || row.number != file.number() {
            continue;
        }
        let line = committer.index.line(row.seq)?;
        let line = line.and_then(|text| Line::read(text.as_bytes()).ok());
        let is_its = line.is_some_and(|line| match &line.record().body {
            Body::Hole(hole) => hole.file == *file,
            _ => false,
        });
        if is_its {
            return Ok(committer.index.entry_by_seq(row.seq)?);
        }
    }
    Ok(None)
}

/// What comes after the hole must have been written after what is in this file: else it is another file of that name.
fn check_belongs(committer: &Committer, hole: &Entry, uploaded: &Uploaded) -> Result<()> {
    let after = committer
        .index
        .entries(hole.timeline, Some(&hole.mount_name), 1)?
        .pop();
    let Some(next) = after.and_then(|entry| entry.previous_gtids) else {
        return Ok(());
    };
    let mut executed = uploaded.summary.gtids.clone();
    executed.union_with(
        uploaded
            .summary
            .previous_gtids
            .as_ref()
            .unwrap_or(&GtidSet::new()),
    );
    let strange = executed.into_position_form().minus(&next);
    if !strange.is_empty() {
        bail!(
            "{} is not the file that is missing at {}: it has {strange}, which the file after it knows nothing of",
            uploaded.key,
            hole.mount_name
        );
    }
    Ok(())
}

async fn supersede(
    committer: &Committer,
    hole: &Entry,
    file: &FileName,
    server_uuid: Option<uuid::Uuid>,
    uploaded: &Uploaded,
    settings: &Settings,
) -> Result<Seq> {
    let history = GtidSet::new();
    let arrival = Arrival {
        file,
        previous: uploaded.summary.previous_gtids.as_ref(),
        server_uuid,
        created: uploaded.summary.created,
        history: &history,
        follows: Some(hole.incarnation),
        put_aside: &[],
        provenance: Provenance::Server,
    };
    let placed = Place {
        before: Vec::new(),
        timeline: hole.timeline,
        incarnation: hole.incarnation,
        branch: None,
        mount_name: hole.mount_name.clone(),
        previous_gtids: uploaded.summary.previous_gtids.clone(),
        previous_gtids_sha256: None,
        notices: Vec::new(),
    };
    let (closed_by, _) = closed_by(&uploaded.summary, file, None);
    for _ in 0..RACES_MAX {
        let state = committer.state().await?;
        let now = committer
            .index
            .entry_by_seq(hole.seq)?
            .context("the hole is in the index")?;
        if let Some(segment) = now.segment {
            // Ours, whose reply was lost, or somebody else's: then the journal keeps what may not be removed.
            match segment.object.key == uploaded.key {
                true => committer.journal.end(&uploaded.key)?,
                false => committer.discard(&uploaded.key).await?,
            }
            let by = committer.index.record_naming(&segment.object.key)?;
            return Ok(by.unwrap_or(state.last_seq));
        }
        committer.check_object(uploaded).await?;
        let by = Signature {
            archiver: &committer.archiver,
            now: (committer.clock)(),
        };
        let segment = segment_record(
            &state,
            &placed,
            &arrival,
            uploaded,
            closed_by,
            &settings.consent,
            &by,
        );
        let seq = state.next_seq();
        committer.journal.recording(&uploaded.key, seq)?;
        let body = Body::Supersede(Box::new(SupersedeRecord {
            supersedes: hole.seq,
            reason: SupersedeReason::DeadLetter,
            made_at: None,
            made_by: None,
            segment,
        }));
        if committer.append(&state, body).await? {
            committer.journal.end(&uploaded.key)?;
            return Ok(seq);
        }
    }
    bail!(RacesLost(RACES_MAX))
}

//! The files of one run: uploaded several at a time, committed in order.

use super::archive::{Outcome, Settings};
use super::commit::{Committed, Committer, closed_by};
use super::compress::CompressPool;
use super::gate::Pass;
use super::manifest::write_manifest;
use super::pace::Pace;
use super::pipeline::{self, Format, OnRead, Uploaded};
use super::place::{Arrival, Provenance};
use super::plan::{Plan, Seen};
use crate::ledger::SEGMENTS_PREFIX;
use crate::model::{FileName, GtidSet, Incarnation, ObjectKey};
use crate::source::{Listing, Origin};
use crate::telemetry::message;
use anyhow::Result;
use futures::StreamExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One run, with all that it uses.
pub(super) struct Run<'a> {
    pub(super) origin: &'a dyn Origin,
    pub(super) settings: &'a Settings,
    pub(super) committer: Committer,
    pub(super) pool: CompressPool,
    pub(super) format: Format,
    pub(super) listing: Listing,
    pub(super) put_aside: Vec<(FileName, String)>,
    pub(super) provenance: Provenance,
    /// What the first file of the listing follows, where it is not alone in telling.
    pub(super) after: Option<Incarnation>,
    pub(super) outcome: Outcome,
}

impl Run<'_> {
    /// Notes what will not be archived because its place in the history is past.
    pub(super) fn note_older(&mut self, seen: &[Seen], plan: &Plan) {
        for file in plan.older.iter().filter_map(|n| seen.get(*n)) {
            self.outcome.notices.push(format!(
                "{} is older than what this stream begins with, or a hole in it: left alone",
                file.listed.file
            ));
        }
    }

    /// Uploads several files at a time, and commits them in order. After a failure nothing more begins or is committed,
    /// and what was in flight is waited for and removed: an upload that is merely dropped might still land.
    pub(super) async fn archive(&mut self, seen: &[Seen], plan: &Plan) -> Result<()> {
        let on_read = self.announce(seen, plan);
        let (committer, pool, format, origin) =
            (&self.committer, &self.pool, &self.format, self.origin);
        let stop = &AtomicBool::new(false);
        let (ending, hold) = (&self.settings.stop, &self.settings.hold);
        let flags: [&AtomicBool; 3] = [stop, ending, hold];
        let upload = |n: usize| {
            let on_read = Arc::clone(&on_read);
            async move {
                let Some(pass) = turn(flags, pool.pace(), seen[n].size).await else {
                    // For good: a file after one that was left out would pass it over.
                    stop.store(true, Ordering::Relaxed);
                    return (n, Ok(Upload::NotBegun));
                };
                let file = &seen[n];
                let uploaded =
                    upload_one(committer, origin, pool, pass, format, file, on_read).await;
                (n, uploaded.map(Upload::of))
            }
        };
        let mut uploads = futures::stream::iter(plan.next.iter().copied())
            .map(upload)
            .buffered(self.settings.transfers.max(1));
        let mut commits = Commits {
            committer,
            settings: self.settings,
            files: Files {
                listing: &self.listing,
                put_aside: &self.put_aside,
                provenance: self.provenance,
                after: self.after,
            },
            seen,
            plan,
            outcome: &mut self.outcome,
            failed: None,
        };
        // Side by side: else the files after one would stand still while its record is written.
        let (done_in, mut done_out) = tokio::sync::mpsc::channel(1);
        let uploads = async move {
            while let Some(done) = uploads.next().await {
                if done_in.send(done).await.is_err() {
                    break;
                }
            }
        };
        let commit = async {
            while let Some((n, uploaded)) = done_out.recv().await {
                commits.take(n, uploaded).await;
                if commits.failed.is_some() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
        };
        futures::join!(uploads, commit);
        let Commits { failed, files, .. } = commits;
        self.provenance = files.provenance;
        let Some(e) = failed else {
            return Ok(());
        };
        if let Err(tidy) = committer.tidy_up().await {
            tracing::warn!(
                "objects of interrupted uploads are removed by the next run: {}",
                message(&tidy)
            );
        }
        Err(e)
    }

    /// Says how much there is to do, and gives what tells how much of it is done.
    fn announce(&self, seen: &[Seen], plan: &Plan) -> OnRead {
        let progress = Arc::clone(&self.settings.progress);
        let files = plan.next.iter().filter_map(|n| seen.get(*n));
        progress.planned(plan.next.len(), files.map(|file| file.size).sum());
        Arc::new(move |bytes| progress.read(bytes))
    }

    /// Brings `state.json` up to date.
    pub(super) fn write_manifest(&self) -> Result<()> {
        write_manifest(&self.committer.index, self.settings)
    }
}

/// What is known of all files of a run together.
#[derive(Clone, Copy)]
struct Files<'a> {
    listing: &'a Listing,
    put_aside: &'a [(FileName, String)],
    provenance: Provenance,
    after: Option<Incarnation>,
}

/// The files that are uploaded, committed as they come.
struct Commits<'a> {
    committer: &'a Committer,
    settings: &'a Settings,
    files: Files<'a>,
    seen: &'a [Seen],
    plan: &'a Plan,
    outcome: &'a mut Outcome,
    /// The first failure: nothing is committed after it.
    failed: Option<anyhow::Error>,
}

impl Commits<'_> {
    async fn take(&mut self, n: usize, uploaded: Result<Upload>) {
        let file = &self.seen[n];
        let committed = match uploaded {
            Ok(Upload::Purged) => return,
            Ok(Upload::NotBegun) => {
                self.outcome.left += 1;
                return;
            }
            Ok(Upload::Done(uploaded)) if self.failed.is_some() || self.outcome.left > 0 => {
                let discarded = self.committer.discard(&uploaded.key).await;
                discarded.unwrap_or_else(|e| {
                    tracing::warn!("removed by the next run: {}", message(&e));
                });
                return;
            }
            Ok(Upload::Done(uploaded)) => self.commit(n, &uploaded).await,
            Err(e) => Err(e),
        };
        if let Err(e) = committed {
            let what = format!("archiving {}", file.listed.path.display());
            self.failed.get_or_insert(e.context(what));
        }
    }

    async fn commit(&mut self, n: usize, uploaded: &Uploaded) -> Result<()> {
        let (file, committer) = (&self.seen[n], self.committer);
        let committed =
            commit_one(committer, self.files, self.seen, self.plan, n, uploaded).await?;
        if let Provenance::Pile { behind, .. } = &mut self.files.provenance {
            *behind = Some(committed.seq);
        }
        self.outcome.add(file, uploaded, committed);
        write_manifest(&committer.index, self.settings)?;
        let name = file.listed.file.to_string();
        self.settings.progress.archived(&name);
        Ok(())
    }
}

/// What became of a file whose turn it was.
enum Upload {
    /// The run is to stop, or to hold.
    NotBegun,
    /// It was purged before it could be opened.
    Purged,
    /// It is in the store.
    Done(Box<Uploaded>),
}

impl Upload {
    fn of(uploaded: Option<Uploaded>) -> Upload {
        uploaded.map_or(Upload::Purged, |uploaded| Upload::Done(Box::new(uploaded)))
    }
}

impl Outcome {
    fn add(&mut self, file: &Seen, uploaded: &Uploaded, committed: Committed) {
        let name = file.listed.file.to_string();
        self.notices.extend(committed.notices);
        self.missing.extend(committed.missing);
        self.branches.extend(committed.branch);
        if committed.by_another {
            self.by_another += 1;
            return;
        }
        if let Some(damage) = &uploaded.summary.damage {
            self.notices.push(format!(
                "{name} is damaged at {}: {}; archived as it is",
                damage.first_bad_position, damage.reason
            ));
            self.damaged.push(name.clone());
        }
        self.archived.push((name, committed.seq.0));
        self.bytes += uploaded.summary.size;
        self.stored_bytes += uploaded.facts.size;
    }
}

/// Waits for the turn of a file of `bytes` among the files of all streams, in which much may happen. `None` if by one of the
/// `flags` none is to begin any more: then none waits, either.
async fn turn(flags: [&AtomicBool; 3], pace: &Pace, bytes: u64) -> Option<Option<Pass>> {
    let is_over = || flags.iter().any(|flag| flag.load(Ordering::Relaxed));
    if is_over() {
        return None;
    }
    let pass = pace.before_file(bytes).await;
    (!is_over()).then_some(pass)
}

/// Uploads one file under a fresh, journaled key. `None` when it was purged before it could be opened.
pub(super) async fn upload_one(
    committer: &Committer,
    origin: &dyn Origin,
    pool: &CompressPool,
    pass: Option<Pass>,
    format: &Format,
    file: &Seen,
    on_read: OnRead,
) -> Result<Option<Uploaded>> {
    let Some(opened) = origin.open(&file.listed, &file.head)? else {
        return Ok(None);
    };
    let key = fresh_key(&file.listed.file.to_string(), !format.recipients.is_empty())?;
    committer
        .journal
        .begin(&key, &file.listed.file.to_string(), (committer.clock)())?;
    let store = &committer.store;
    let uploaded = pipeline::upload(store, opened, key, format, pool, pass, on_read).await?;
    Ok(Some(uploaded))
}

/// A key that nobody else draws: 128 random bits.
pub(super) fn fresh_key(file: &str, encrypted: bool) -> Result<ObjectKey> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|e| anyhow::anyhow!("the system has no random numbers: {e}"))?;
    let suffix = if encrypted { ".age" } else { "" };
    Ok(format!(
        "{SEGMENTS_PREFIX}{file}-{}.zst{suffix}",
        hex::encode(random)
    )
    .parse()?)
}

async fn commit_one(
    committer: &Committer,
    files: Files<'_>,
    seen: &[Seen],
    plan: &Plan,
    n: usize,
    uploaded: &Uploaded,
) -> Result<Committed> {
    let file = &seen[n].listed.file;
    let before = n.checked_sub(1).and_then(|before| seen.get(before));
    let follows = match before {
        Some(before) => incarnation_of(committer, before)?,
        None => files.after,
    };
    let provenance = match (files.provenance, before) {
        (Provenance::Pile { behind, .. }, Some(_)) => Provenance::Pile {
            begins: false,
            behind,
        },
        (provenance, _) => provenance,
    };
    let mut history: GtidSet = plan.history.clone();
    history.union_with(&uploaded.summary.gtids);
    let arrival = Arrival {
        file,
        previous: uploaded.summary.previous_gtids.as_ref(),
        server_uuid: files.listing.server_uuid,
        created: uploaded.summary.created,
        history: &history,
        follows,
        put_aside: files.put_aside,
        provenance,
    };
    let successor = match provenance {
        Provenance::Server => seen.get(n + 1).map(|next| &next.listed.file),
        // What is missing in a pile is told as a hole.
        Provenance::Pile { .. } => None,
    };
    let (closed_by, notice) = closed_by(&uploaded.summary, file, successor);
    let mut committed = committer.commit(&arrival, uploaded, closed_by).await?;
    committed.notices.extend(notice);
    Ok(committed)
}

fn incarnation_of(committer: &Committer, file: &Seen) -> Result<Option<Incarnation>> {
    let found = committer
        .index
        .find(&file.head.head, file.listed.file.number())?;
    Ok(found.last().map(|entry| entry.incarnation))
}

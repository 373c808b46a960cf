//! The second pass: the ordered files go through the archiver's machinery, one life after the other.

use super::found::Left;
use super::names;
use super::order::{Life, Order};
use super::pile::Pile;
use super::pile_origin::PileOrigin;
use super::place_in_stream::compare;
use crate::model::{FileName, Incarnation};
use crate::source::Listing;
use crate::store::SharedStore;
use crate::sync::Footing;
use crate::sync::archive::{Outcome, Settings};
use crate::sync::begin::{Begun, begin, finish, new_run};
use crate::sync::listed::HeadOfFile;
use crate::sync::place::{Consent, HOLES_WITHOUT_CONSENT, Provenance};
use crate::sync::plan::{Seen, plan};
use crate::sync::run::Run;
use anyhow::{Result, bail};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use uuid::Uuid;

/// What is imported.
pub struct Job<'a> {
    /// The pile.
    pub pile: &'a Arc<Pile>,
    /// Its files, in order.
    pub order: &'a Order,
    /// What is, or may be, a binlog, and cannot be imported: it explains holes.
    pub refused: &'a [Left],
    /// The UUID of the server that the newest files are from, where it is known.
    pub server_uuid: Option<Uuid>,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Imported {
    /// What every run tells.
    pub outcome: Outcome,
    /// How many files the stream had already.
    pub already: usize,
    /// Paths of files of which the stream has more.
    pub surpassed: Vec<String>,
    /// Holes, gaps and damaged segments that were recorded.
    pub flaws: usize,
}

/// Imports what the stream in `store` does not have.
///
/// # Errors
/// When anything cannot be imported; what was archived before it stays archived, and the next run goes on.
pub async fn run(job: &Job<'_>, store: SharedStore, settings: &Settings) -> Result<Imported> {
    check_holes(job.order, &settings.consent)?;
    let heads: Vec<HeadOfFile> = compare(job.pile, job.order, None)?
        .lives
        .into_iter()
        .flatten()
        .map(|file| (file.listed, file.head, file.size))
        .collect();
    if heads.is_empty() {
        return Ok(Imported::default());
    }
    let Begun {
        committer,
        state,
        orphans_removed,
        lock: _lock,
    } = begin(
        store,
        settings,
        &heads.iter().collect::<Vec<_>>(),
        Footing::default(),
    )
    .await?;
    drop(heads);
    let compared = compare(job.pile, job.order, Some((&committer.index, &state)))?;
    let origin = PileOrigin::new(job.pile, job.order.files().map(|file| &file.found));
    let (already, index) = (compared.archived(), Arc::clone(&committer.index));
    let flaws = index.unsound()?.len();
    let mut run = new_run(&origin, settings, committer, orphans_removed)?;
    run.provenance = Provenance::Pile {
        begins: false,
        behind: state.newest_segment(),
    };
    run.put_aside = job
        .refused
        .iter()
        .filter_map(|left| {
            let reason = format!("{}: {}", left.path, left.reason);
            Some((names::of_path(&left.path)?, reason))
        })
        .collect();
    let mut before: Option<(&Life, Vec<Seen>)> = None;
    for (life, seen) in job.order.lives.iter().zip(compared.lives) {
        if settings.stop.load(Ordering::Relaxed) || run.outcome.left > 0 {
            run.outcome.left += seen.iter().filter(|file| file.archived.is_none()).count();
            continue;
        }
        prepare(
            &mut run,
            job,
            life,
            before.as_ref().map(|(life, seen)| (*life, seen.as_slice())),
        )?;
        run.archive(&seen, &plan(&seen)).await?;
        before = Some((life, seen));
    }
    let (outcome, _) = finish(run).await?;
    Ok(Imported {
        outcome,
        already,
        surpassed: compared.surpassed,
        flaws: index.unsound()?.len().saturating_sub(flaws),
    })
}

/// Tells the run what is known of a life as a whole.
fn prepare(
    run: &mut Run<'_>,
    job: &Job<'_>,
    life: &Life,
    before: Option<(&Life, &[Seen])>,
) -> Result<()> {
    let newest = job.order.lives.last().map(server_id);
    let server_uuid = job.server_uuid.filter(|_| newest == Some(server_id(life)));
    run.listing = Listing {
        files: Vec::new(),
        server_uuid,
    };
    if let Provenance::Pile { begins, .. } = &mut run.provenance {
        *begins = before.is_some();
    }
    run.after = None;
    run.committer.consent = run.settings.consent.clone();
    let Some((other, seen)) = before else {
        return Ok(());
    };
    if server_id(other) == server_id(life) {
        // The same server in the same pile, one life after the other: no stranger, whatever its GTIDs say.
        let own = server_uuid.map_or("none".to_owned(), |uuid| uuid.to_string());
        run.committer.consent.server = Some(own);
        if basename(other) != basename(life) {
            run.after = last_incarnation(run, seen)?;
        }
    }
    Ok(())
}

fn server_id(life: &Life) -> Option<u32> {
    life.files.last().map(|file| file.found.summary.server_id)
}

fn basename(life: &Life) -> Option<&crate::model::Basename> {
    life.files.last().map(|file| file.name.basename())
}

fn last_incarnation(run: &Run<'_>, seen: &[Seen]) -> Result<Option<Incarnation>> {
    let Some(last) = seen.last() else {
        return Ok(None);
    };
    let number = last.listed.file.number();
    let found = run.committer.index.find(&last.head.head, number)?;
    Ok(found.last().map(|entry| entry.incarnation))
}

/// What is missing is a person's to confirm, before anything is written.
fn check_holes(order: &Order, consent: &Consent) -> Result<()> {
    if consent.holes {
        return Ok(());
    }
    for life in &order.lives {
        let Some((missing, before, after)) = life.widest_hole() else {
            continue;
        };
        if missing > HOLES_WITHOUT_CONSENT {
            let (first, last): (FileName, FileName) = (before.name.clone(), after.name.clone());
            bail!(
                "{missing} files in a row are missing between {first} ({}) and {last} ({}): look for them first; if they are lost, pass --accept-holes to \
                 record them as holes. Nothing was written",
                before.found.item.path,
                after.found.item.path
            );
        }
    }
    Ok(())
}

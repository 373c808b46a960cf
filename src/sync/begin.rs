//! What every run begins and ends with, whatever its files come from.

use super::archive::{Outcome, Settings, check_encryption, check_not_behind, open_stream};
use super::commit::Committer;
use super::compress::CompressPool;
use super::footing::Footing;
use super::listed::HeadOfFile;
use super::lock::lock;
use super::pages;
use super::pipeline::Format;
use super::place::Provenance;
use super::run::Run;
use crate::ledger::LedgerState;
use crate::source::{Listing, Origin};
use crate::store::SharedStore;
use anyhow::{Context as _, Result};
use std::sync::Arc;

/// A stream that is about to be added to.
pub(super) struct Begun {
    pub(super) committer: Committer,
    pub(super) state: Arc<LedgerState>,
    pub(super) orphans_removed: u64,
    /// Held until the run ends.
    pub(super) lock: std::fs::File,
}

/// Takes the state directory, opens or begins the stream, checks that it is the one it was, and tidies up.
pub(super) async fn begin(
    store: SharedStore,
    settings: &Settings,
    closed: &[&HeadOfFile],
    footing: Footing,
) -> Result<Begun> {
    std::fs::create_dir_all(&settings.state_dir).with_context(|| {
        format!(
            "cannot create the state directory {}; pass --state-dir",
            settings.state_dir.display()
        )
    })?;
    let lock = lock(&settings.state_dir, || {
        format!(
            "another binlogfs archives with the state directory {}; wait for it, or give this one its own --state-dir",
            settings.state_dir.display()
        )
    })?;
    let mut committer = open_stream(store, settings, closed, footing).await?;
    let state = committer.state_at_first().await?;
    committer.lost = committer.index.lost(usize::MAX)?.into_iter().collect();
    check_not_behind(settings, &committer.index, &state)?;
    check_encryption(settings, &committer.index, &state)?;
    let orphans_removed = committer.tidy_up().await?.removed;
    Ok(Begun {
        committer,
        state,
        orphans_removed,
        lock,
    })
}

/// What makes objects of files.
pub(super) fn makers(settings: &Settings) -> std::io::Result<(CompressPool, Format)> {
    let (frame_size, pace) = (settings.frame_size, &settings.pace);
    let pool = CompressPool::start(settings.threads, settings.level, frame_size, pace)?;
    let recipients = settings.recipients.clone();
    let format = Format {
        frame_size,
        recipients,
    };
    Ok((pool, format))
}

/// A run without files yet.
pub(super) fn new_run<'a>(
    origin: &'a dyn Origin,
    settings: &'a Settings,
    committer: Committer,
    orphans_removed: u64,
) -> Result<Run<'a>> {
    let (pool, format) = makers(settings)?;
    Ok(Run {
        origin,
        settings,
        committer,
        pool,
        format,
        listing: Listing {
            files: Vec::new(),
            server_uuid: None,
        },
        put_aside: Vec::new(),
        provenance: Provenance::Server,
        after: None,
        outcome: Outcome {
            orphans_removed,
            ..Outcome::default()
        },
    })
}

/// What is left to do when the files are archived; and what the next run may stand on.
pub(super) async fn finish(mut run: Run<'_>) -> Result<(Outcome, Footing)> {
    let settings = run.settings;
    // Objects whose record had an unknown outcome could not go before another record stood at its place.
    let tidied = run.committer.tidy_up().await?;
    run.outcome.orphans_removed += tidied.removed;
    run.outcome.orphans_left = tidied.left.iter().map(ToString::to_string).collect();
    run.write_manifest()?;
    pages::write_due(&run.committer, &settings.stop).await;
    Ok((run.outcome, run.committer.footing_after()))
}

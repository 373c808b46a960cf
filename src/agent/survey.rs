//! A look at one stream: its files, what of them waits, what is wrong with its history, and what its server says.

use super::alarm::{Alarm, AlarmKind, Severity};
use super::health::{Backlog, Blemishes};
use super::schedule::Decision;
use super::sight::{FileSeen, Sight};
use super::stream::{Seen, Tending};
use crate::index::{EntryRow, Index};
use crate::ledger::EntryState;
use crate::model::{GtidSet, Micros, Timeline};
use crate::source::Source;
use crate::sync::archive::INDEX_NAME;
use crate::sync::dead_letter::{self, Patience};
use crate::sync::journal::Journal;
use crate::sync::{Batch, read_batch_with};
use crate::telemetry;
use anyhow::{Context as _, Result};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

/// The server is asked at most this often, and a stream is looked at this often while a run lasts; more often only where a
/// shorter `poll` asks for it.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// For this long after it was recorded, a hole, a gap, damage or a branch is alarming. `status` names it for ever.
const FRESH_MICROS: i64 = 24 * 3600 * 1_000_000;
/// Most recent findings looked at for their age; the counts are of all.
const FRESH_MAX: usize = 1000;

impl Tending {
    /// While a run lasts: looks again, and tells how it is. When danger comes, the limits fall; when the moment is no longer a good
    /// one, no further file is begun. A run may take hours, and none of that must wait for its end.
    pub(super) async fn keep_looking(&mut self) -> Infallible {
        let pause = self.look_every();
        loop {
            tokio::time::sleep(pause).await;
            if let Err(error) = self.look_again().await {
                // The run meets the same, and is told of.
                tracing::debug!(
                    stream = self.agent.name,
                    error = telemetry::message(&error),
                    "a look failed"
                );
            }
            let waits = matches!(self.decide(), Decision::Wait { .. });
            self.agent.settings.hold.store(waits, Ordering::Relaxed);
            self.note_breaker();
            self.tell(pause);
        }
    }

    async fn look_again(&mut self) -> Result<()> {
        let source = Source::open(&self.agent.source)?;
        let letters = self.journal()?.dead_letters()?;
        let batch = read_batch_with(&source, &mut self.heads, &letters)?;
        self.take_in(&batch).await
    }

    /// Lists the files, counts what waits, and asks the server.
    pub(super) async fn look(&mut self) -> Result<Seen> {
        let source = Source::open(&self.agent.source)?;
        let state_dir = &self.agent.settings.state_dir;
        std::fs::create_dir_all(state_dir).with_context(|| {
            format!("cannot create the state directory {}", state_dir.display())
        })?;
        let journal = self.journal()?;
        let letters = journal.dead_letters()?;
        self.health.dead_letters = letters.len() as u64;
        let batch = match read_batch_with(&source, &mut self.heads, &letters) {
            Ok(batch) => batch,
            Err(error) => return Err(self.blame(&journal, error)),
        };
        self.take_in(&batch).await?;
        Ok(Seen { source, batch })
    }

    /// What the files, the server and the disk tell.
    async fn take_in(&mut self, batch: &Batch) -> Result<()> {
        let files: Vec<FileSeen> = batch
            .files()
            .map(|(file, size, closed)| (file.clone(), size, closed))
            .collect();
        // The only wait comes first: whoever is dropped in it has changed no finding, and clears no alarm.
        self.ask(&files).await;
        self.count(batch)?;
        self.note_sight();
        let now = self.now();
        if let Some(dir) = batch.dir() {
            self.disk.look(dir, now);
        }
        self.health.time_to_disk_full_seconds = self.disk.full_in_seconds();
        self.expire(now);
        Ok(())
    }

    pub(super) fn journal(&self) -> Result<Journal> {
        let settings = &self.agent.settings;
        Ok(Journal::open(
            &settings.state_dir,
            Arc::clone(&settings.interrupt),
        )?)
    }

    pub(super) fn index(&self) -> Result<Index> {
        let path = self.agent.settings.state_dir.join(INDEX_NAME);
        Ok(Index::open(&path)?.0)
    }

    /// Notes which file a failed run is to be blamed on, if any.
    pub(super) fn blame(&self, journal: &Journal, error: anyhow::Error) -> anyhow::Error {
        let Some(at_fault) = dead_letter::fault_of_file(&error) else {
            return error;
        };
        let patience = Patience {
            runs: self.agent.policy.dead_letter_runs,
            time: self.agent.policy.dead_letter_after,
        };
        let (path, reason) = (at_fault.0, at_fault.1.as_str());
        let now = self.now();
        let blamed = self
            .index()
            .and_then(|index| dead_letter::blame(journal, &index, (path, reason), patience, now));
        match blamed {
            Ok(Some(letter)) => {
                tracing::error!(
                    stream = self.agent.name,
                    file = letter.file,
                    reason = letter.reason,
                    "put aside: its place becomes a hole; 'binlogfs dlq retry' fills it"
                );
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "which file failed could not be noted"),
        }
        error
    }

    /// Counts what waits, and what is wrong with the history, by the local index.
    fn count(&mut self, batch: &Batch) -> Result<()> {
        let index = self.index()?;
        self.health.backlog = Backlog::of(batch, &index)?;
        self.put_aside_since = batch.put_aside_since();
        let mut blemishes = Blemishes {
            timelines: index.state()?.map_or(0, |state| state.timelines().count()) as u64,
            ..Blemishes::default()
        };
        let unsound = index.unsound()?;
        for row in &unsound {
            *match row.state {
                EntryState::Hole => &mut blemishes.holes,
                EntryState::Gap => &mut blemishes.gaps,
                EntryState::Damaged => &mut blemishes.damaged,
                EntryState::Lost => &mut blemishes.lost_records,
                EntryState::Archived => continue,
            } += 1;
        }
        self.health.blemishes = blemishes;
        self.health.findings = fresh(&index, &unsound, self.now())?;
        Ok(())
    }

    /// What waits after a run: the server may have closed binlogs for as long as it lasted.
    pub(super) fn closed_since(&mut self) -> Result<Backlog> {
        let source = Source::open(&self.agent.source)?;
        let letters = self.journal()?.dead_letters()?;
        let batch = read_batch_with(&source, &mut self.heads, &letters)?;
        Backlog::of(&batch, &self.index()?)
    }

    async fn ask(&mut self, files: &[FileSeen]) {
        let Some(ask) = self.agent.ask.clone() else {
            return;
        };
        let every = self.look_every();
        let asked_lately = |(at, _): &(Instant, _)| at.elapsed() < every;
        if !self.sight.as_ref().is_some_and(asked_lately) {
            let seen = ask.look(files).await;
            if let Ok(sight) = &seen {
                self.purges_after = sight.expire_after;
                self.server_alarms.clone_from(&sight.alarms);
            }
            self.sight = Some((Instant::now(), seen));
        }
    }

    /// Adds what the server said last to the findings, whether or not it answers now.
    fn note_sight(&mut self) {
        let Some((_, sight)) = &self.sight else {
            return;
        };
        self.health.server_up = Some(sight.is_ok());
        let findings = &mut self.health.findings;
        findings.extend(self.server_alarms.iter().cloned());
        if let Err(error) = sight {
            findings.push(Alarm {
                kind: AlarmKind::ServerUnreachable,
                severity: Severity::Warning,
                text: format!(
                    "the server cannot be asked ({error}): archiving goes on from its files; nothing is rotated, and its settings are not watched"
                ),
            });
        }
    }

    fn look_every(&self) -> Duration {
        LOOK_EVERY.min(self.agent.policy.poll)
    }

    pub(super) fn sight(&self) -> Option<&Sight> {
        self.sight.as_ref()?.1.as_ref().ok()
    }

    fn expire_after(&self) -> Option<Duration> {
        self.purges_after.or(self.agent.expire_after)
    }

    pub(super) fn expire(&mut self, now: Micros) {
        let after = self.expire_after();
        self.health.expire(after, now);
    }

    /// Whether waiting would endanger what waits.
    pub(super) fn is_urgent(&self) -> bool {
        let under = |left: Option<i64>, limit: Duration| {
            left.is_some_and(|left| left < i64::try_from(limit.as_secs()).unwrap_or(i64::MAX))
        };
        let (health, limits) = (&self.health, &self.agent.thresholds);
        health.backlog.segments > 0
            && (under(health.time_to_expiry_seconds, limits.expiry_warning)
                || under(health.time_to_disk_full_seconds, limits.disk_full_warning))
    }
}

/// Alarms for what was recorded lately.
pub(super) fn fresh(index: &Index, unsound: &[EntryRow], now: Micros) -> Result<Vec<Alarm>> {
    let mut found: Vec<Alarm> = Vec::new();
    for row in unsound.iter().take(FRESH_MAX) {
        let Some(recorded_at) = index.recorded_at(row.seq)? else {
            continue;
        };
        if now.0.saturating_sub(recorded_at.0) > FRESH_MICROS {
            continue;
        }
        let kind = match row.state {
            EntryState::Hole => AlarmKind::Hole,
            EntryState::Gap | EntryState::Lost => AlarmKind::Gap,
            EntryState::Damaged => AlarmKind::Damage,
            EntryState::Archived => continue,
        };
        if found.iter().any(|alarm| alarm.kind == kind) {
            continue;
        }
        let entry = index.entry_by_seq(row.seq)?;
        let reason = entry.map(|entry| entry.reason).unwrap_or_default();
        found.push(Alarm {
            kind,
            severity: Severity::Critical,
            text: format!(
                "{} is a {} in the history: {reason}; 'binlogfs status' names all, and recovery stops there",
                row.mount_name,
                kind.name()
            ),
        });
    }
    found.extend(fresh_branch(index, now)?);
    Ok(found)
}

/// Timelines looked at, from the newest: more that began within a day are no failovers.
const BRANCHES_MAX: usize = 10;

/// An alarm for timelines that began lately.
fn fresh_branch(index: &Index, now: Micros) -> Result<Option<Alarm>> {
    let Some(state) = index.state()? else {
        return Ok(None);
    };
    let (mut texts, mut severity) = (Vec::new(), Severity::Warning);
    for (id, known) in state.timelines().rev().take(BRANCHES_MAX) {
        let first = index.entries(id, None, 1)?.pop();
        let Some(segment) = first.and_then(|entry| entry.segment) else {
            continue;
        };
        let is_fresh = now.0.saturating_sub(segment.archived_at.0) <= FRESH_MICROS;
        let (Some(branch), true) = (segment.branch, is_fresh) else {
            continue;
        };
        let only_here = state.only_in(id);
        if !known.late || !only_here.is_empty() {
            severity = Severity::Critical;
        }
        texts.push(match known.late {
            false => left(id, branch.timeline, &branch.lost),
            true => late_tail(id, branch.timeline, &only_here),
        });
    }
    Ok((!texts.is_empty()).then(|| Alarm {
        kind: AlarmKind::Branch,
        severity,
        text: texts.join("; "),
    }))
}

fn left(newer: Timeline, older: Timeline, lost: &GtidSet) -> String {
    let lost = match lost.is_empty() {
        true => "none known".to_owned(),
        false => lost.to_string(),
    };
    format!(
        "timeline {newer} has left timeline {older}: the server does not have all that is archived (RESET, a restore, or a failover that \
         lost transactions: {lost}); the old timeline stays readable under .timeline/{older}/"
    )
}

fn late_tail(tail: Timeline, of: Timeline, only_here: &GtidSet) -> String {
    let what = match only_here.is_empty() {
        true => "no GTIDs that the history lacks".to_owned(),
        false => format!("{only_here}, which is in no other timeline"),
    };
    format!(
        "timeline {tail} is what an old primary wrote that timeline {of} does not go on from: it has {what}; it is kept under .timeline/{tail}/"
    )
}

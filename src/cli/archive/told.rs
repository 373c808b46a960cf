//! What one run by hand tells of the server: its settings, where it may be asked, and how soon it purges what is not archived.

use super::agent;
use crate::agent::alarm::{Alarm, AlarmKind, Severity, alarms};
use crate::agent::health::{Backlog, Health};
use crate::agent::sight::{FileSeen, Sight};
use crate::config::StreamConfig;
use crate::index::Index;
use crate::source::Source;
use crate::sync::archive::INDEX_NAME;
use crate::sync::{Batch, Heads, Settings, read_batch_with};
use crate::telemetry;
use anyhow::Result;

/// What the server says, where it may be asked.
pub async fn ask(stream: &StreamConfig, batch: &Batch) -> Result<Sight> {
    let Some(ask) = agent::ask(stream)? else {
        return Ok(Sight::default());
    };
    let files: Vec<FileSeen> = batch
        .files()
        .map(|(file, size, closed)| (file.clone(), size, closed))
        .collect();
    Ok(match ask.look(&files).await {
        Ok(sight) => sight,
        Err(error) => Sight {
            alarms: vec![Alarm {
                kind: AlarmKind::ServerUnreachable,
                severity: Severity::Warning,
                text: format!(
                    "the server cannot be asked ({error}): its binlogs are archived all the same, its settings are not known"
                ),
            }],
            ..Sight::default()
        },
    })
}

/// What is alarming of that after a run, which has failed by `error` or not at all.
pub fn alarming(
    sight: Sight,
    source: &Source,
    heads: &mut Heads,
    stream: &StreamConfig,
    settings: &Settings,
    error: Option<String>,
) -> Vec<Alarm> {
    let now = (settings.clock)();
    let mut health = Health {
        findings: sight.alarms,
        last_error: error,
        ..Health::default()
    };
    if let Some(after) = sight.expire_after.or(stream.expire_after) {
        match backlog(source, heads, settings) {
            Ok(backlog) => {
                health.backlog = backlog;
                health.expire(Some(after), now);
            }
            Err(error) => tracing::warn!(
                "how soon the server purges what is not archived cannot be told: {}",
                telemetry::message(&error)
            ),
        }
    }
    let mut found = alarms(&health, &stream.thresholds, now);
    // How long something waits is for whoever stays to tell.
    found.retain(|alarm| alarm.kind != AlarmKind::Lag);
    found
}

/// What still waits.
fn backlog(source: &Source, heads: &mut Heads, settings: &Settings) -> Result<Backlog> {
    std::fs::create_dir_all(&settings.state_dir)?;
    let letters = super::dead_letters(settings)?;
    let batch = read_batch_with(source, heads, &letters)?;
    let (index, _) = Index::open(&settings.state_dir.join(INDEX_NAME))?;
    Backlog::of(&batch, &index)
}

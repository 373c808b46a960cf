//! `binlogfs prune`: what is too old goes, what a backup needs stays.

mod print;

use super::agent::host_name;
use super::exit::Exit;
use super::reading::{self, Reading};
use super::{Global, output};
use crate::config;
use crate::model::url::Location;
use crate::model::{Micros, StoreUrl};
use crate::prune::{Pruner, Recorded, Removal, Replaced, Survey, Wanted};
use crate::store::{self, OpenMode, Protection, Writers};
use crate::stream;
use crate::telemetry;
use anyhow::{Context as _, Result, bail};
use std::sync::Arc;
use std::time::Duration;

/// Clocks further apart than this are told of: certificates and signatures begin to fail.
const CLOCK_SKEW_MICROS: u64 = 5 * 60 * 1_000_000;

#[derive(clap::Args, Debug)]
pub struct PruneArgs {
    /// The stream, such as s3://bucket/prod/orders.
    url: StoreUrl,
    /// Keep what happened in the last so long, such as 35d.
    #[arg(long, value_name = "TIME", value_parser = config::duration, group = "rule")]
    keep: Option<Duration>,
    /// Keep what the newest N registered backups need.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), group = "rule")]
    keep_backups: Option<u32>,
    /// Keep what happened since TIME, such as 2026-10-01T00:00:00Z. Without a zone it is UTC.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, group = "rule")]
    before: Option<String>,
    /// Only the objects that later records have replaced (rekey --rewrite, verify --repair). Needs no backup: what they hold is in the
    /// objects that replaced them.
    #[arg(long, group = "rule")]
    superseded: bool,
    /// What fences took out, too: the objects of what stands before the point that its timeline was pruned up to. They are the only copy.
    #[arg(long, conflicts_with = "superseded")]
    fenced: bool,
    /// Do it. Without this it is only told what would go.
    #[arg(long)]
    execute: bool,
    /// How long after it was recorded that a segment is gone, or has another object, its old object is deleted.
    #[arg(long, value_name = "TIME", value_parser = config::duration, default_value = "24h")]
    grace: Duration,
    /// Write to a store that ignores conditional creates: you promise that no archiver is writing now.
    #[arg(long)]
    single_writer: bool,
}

/// What a run came to.
pub(super) struct Done {
    pub(super) now: Micros,
    /// What was asked for, if anything was.
    pub(super) wanted: Option<Wanted>,
    pub(super) zone_assumed: bool,
    pub(super) execute: bool,
    pub(super) grace: Duration,
    pub(super) survey: Option<Survey>,
    pub(super) recorded: Vec<Recorded>,
    pub(super) removal: Removal,
    pub(super) replaced: Replaced,
    /// Why the run ended before its end, if it did.
    pub(super) failed: Option<String>,
}

impl Done {
    /// Whether anything is otherwise than before.
    fn is_change(&self) -> bool {
        let deleted = self.removal.objects > 0 || self.replaced.objects > 0;
        !self.recorded.is_empty() || (self.execute && deleted)
    }
}

pub async fn run(global: &Global, args: &PruneArgs) -> Result<Exit> {
    let now = clock(&args.url).await;
    let (wanted, zone_assumed) = args.wanted(now)?;
    let reading = open(global, args).await?;
    let pruner = Pruner {
        store: Arc::clone(&reading.store),
        stream: Arc::clone(&reading.stream),
        index: Arc::clone(&reading.index),
        archiver: format!("binlogfs {} on {}", env!("CARGO_PKG_VERSION"), host_name()),
        now,
        fenced: args.fenced,
    };
    let mut done = Done {
        now,
        wanted,
        zone_assumed,
        execute: args.execute,
        grace: args.grace,
        survey: None,
        recorded: Vec::new(),
        removal: Removal::default(),
        replaced: Replaced::default(),
        failed: None,
    };
    let worked = work(&pruner, args, &mut done).await;
    if let Err(error) = worked {
        // What was done stays, and is told whatever came after it.
        if done.is_change() {
            done.failed = Some(telemetry::message(&error));
            print::done(global, &done)?;
        }
        return Err(error);
    }
    print::done(global, &done)?;
    let is_in_the_way = !done.removal.blocked.is_empty()
        || !done.removal.kept.is_empty()
        || done.replaced.is_held_up();
    Ok(match is_in_the_way {
        true => Exit::Findings,
        false => reading.exit(),
    })
}

/// Does what is asked for, and notes in `done` what came of it so far.
async fn work(pruner: &Pruner, args: &PruneArgs, done: &mut Done) -> Result<()> {
    if let Some(wanted) = &done.wanted {
        if args.execute {
            let probed = stream::probe_condition(&pruner.store, pruner.stream.file_bytes()).await;
            probed.context("nothing was pruned")?;
        }
        // What is told is what was there before.
        done.survey = Some(pruner.survey(wanted).await?);
        if args.execute {
            pruner.record(wanted, &mut done.recorded).await?;
        }
    } else if !args.superseded {
        // Without a backup nothing is deleted either, whatever was recorded.
        pruner.survey(&Wanted::Backups(1)).await?;
    }
    let bar = output::byte_bar(0);
    let removed = remove(pruner, args, &bar, done).await;
    bar.finish_and_clear();
    removed
}

async fn remove(
    pruner: &Pruner,
    args: &PruneArgs,
    bar: &indicatif::ProgressBar,
    done: &mut Done,
) -> Result<()> {
    let progress = |bytes: u64| {
        bar.inc_length(bytes);
        bar.inc(bytes);
    };
    let (grace, execute) = (args.grace, args.execute);
    if !args.superseded {
        pruner
            .remove(grace, execute, &progress, &mut done.removal)
            .await?;
    }
    pruner
        .remove_superseded(grace, execute, &progress, &mut done.replaced)
        .await
}

async fn open(global: &Global, args: &PruneArgs) -> Result<Reading> {
    let writers = match args.single_writer {
        true => Writers::One,
        false => Writers::Many,
    };
    let none = Protection::default();
    let store = store::open_for(&args.url, OpenMode::Existing, writers, None, none).await?;
    let reading = reading::open_in(global, &args.url, store).await?;
    if let Some(alarm) = &reading.alarm {
        bail!("{alarm}. Nothing is pruned from a ledger that cannot be followed");
    }
    Ok(reading)
}

/// The store's time, or this host's where the store has none.
pub(super) async fn clock(url: &StoreUrl) -> Micros {
    let own = Micros::now();
    let Some(theirs) = store::server_time(url).await else {
        if !matches!(url.location, Location::File { .. }) {
            eprintln!(
                "binlogfs: warning: the store does not tell its time; this host's counts, {own}"
            );
        }
        return own;
    };
    if own.0.abs_diff(theirs.0) > CLOCK_SKEW_MICROS {
        eprintln!(
            "binlogfs: warning: this host's clock says {own}, and the store's {theirs}: the store's is gone by"
        );
    }
    theirs
}

impl PruneArgs {
    /// What is asked for, and whether a zone had to be assumed.
    fn wanted(&self, now: Micros) -> Result<(Option<Wanted>, bool)> {
        if let Some(keep) = self.keep {
            let micros = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
            let cut = Micros(now.0.saturating_sub(micros));
            let asked = format!("--keep {}", span(keep));
            return Ok((Some(Wanted::Since(cut, asked)), false));
        }
        if let Some(text) = &self.before {
            let parsed = Micros::parse(text, now)?;
            if parsed.time > now {
                bail!("--before {text} has not come yet; it is now {now}");
            }
            let asked = format!("--before {}", parsed.time);
            return Ok((Some(Wanted::Since(parsed.time, asked)), parsed.zone_assumed));
        }
        Ok((self.keep_backups.map(Wanted::Backups), false))
    }
}

/// A time as it is asked for.
pub(super) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    for (unit, seconds_of_unit) in [("d", 86_400), ("h", 3600), ("m", 60)] {
        if seconds > 0 && seconds.is_multiple_of(seconds_of_unit) {
            return format!("{}{unit}", seconds / seconds_of_unit);
        }
    }
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_as_it_is_asked_for() {
        for (seconds, text) in [
            (0, "0s"),
            (35 * 86_400, "35d"),
            (7200, "2h"),
            (90, "90s"),
            (120, "2m"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }
}

//! `binlogfs replicate`: another store filled with a copy of a stream, once or for as long as the process lives.

use super::agent::open_replica;
use super::exit::Exit;
use super::reading::{self, Reading};
use super::signals::Signals;
use super::{Global, output};
use crate::config::{self, ReplicaConfig, StreamConfig};
use crate::index::Index;
use crate::model::{Seq, StoreUrl};
use crate::store::{self, OpenMode, SharedStore};
use crate::stream::{Stream, StreamError};
use crate::sync::archive::INDEX_NAME;
use crate::sync::replica::{Checked, Pass, counts_through};
use crate::sync::{Pace, Replicator, Settings, manifest};
use crate::telemetry;
use anyhow::{Result, bail};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

#[derive(clap::Args, Debug)]
pub struct ReplicateArgs {
    /// The stream, such as s3://bucket/prod/orders.
    url: StoreUrl,
    /// The store that gets the copy; a directory is made if it does not exist.
    #[arg(long, value_name = "URL")]
    to: StoreUrl,
    /// Go on until SIGTERM: copy what is archived from now on, too.
    #[arg(long, conflicts_with = "check")]
    follow: bool,
    /// Between looks for new records.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = config::duration, requires = "follow")]
    poll: Duration,
    /// Compare what the replica has as well: every record, and the size and checksums of every object. Where the store keeps no
    /// checksums, objects are read.
    #[arg(long)]
    check: bool,
    /// Remove what is wrong in the replica, and copy it again. Takes the right to delete there.
    #[arg(long, requires = "check")]
    replace: bool,
    /// Bytes per second sent to the replica at most, such as 20MB.
    #[arg(long, value_name = "RATE", value_parser = config::rate)]
    rate: Option<u64>,
}

#[derive(Serialize)]
struct Report {
    replica: String,
    checked: bool,
    findings: Vec<Checked>,
    /// What was copied; nothing of it where the run failed before.
    #[serde(flatten)]
    pass: Option<Pass>,
    /// Why the run ended before its end, if it did.
    failed: Option<String>,
}

impl Report {
    /// Whether there is something to tell of a run that failed.
    fn is_something(&self) -> bool {
        let copied = |pass: &Pass| pass.records + pass.segments > 0;
        !self.findings.is_empty() || self.pass.as_ref().is_some_and(copied)
    }
}

pub async fn run(global: &Global, args: &ReplicateArgs) -> Result<Exit> {
    if args.url.place() == args.to.place() {
        bail!("the replica is the stream itself: name another place with --to");
    }
    // The first store alone says what the history is.
    let mut alone = global.clone();
    alone.replica.clear();
    let reading = reading::open(&alone, &args.url).await?;
    if let Some(alarm) = &reading.alarm {
        bail!("{alarm}; nothing is copied from a ledger that is not whole");
    }
    let to = store::open(&args.to, OpenMode::Create).await?;
    let pace = Arc::new(Pace::new(None, args.rate, None));
    let mut replicator = Replicator::new(Arc::clone(&reading.stream), to, pace);
    if args.follow {
        return follow(global, replicator, args.poll).await;
    }
    let mut report = Report {
        replica: args.to.to_string(),
        checked: args.check,
        findings: Vec::new(),
        pass: None,
        failed: None,
    };
    let filled = check_and_fill(&mut replicator, &reading, args, &mut report).await;
    if let Err(error) = filled {
        // Some of it may be replaced or copied by now: that is told whatever came after it.
        if report.is_something() {
            report.failed = Some(telemetry::message(&error));
            print(global, &report)?;
        }
        return Err(error);
    }
    print(global, &report)?;
    let healed = report.findings.iter().all(|finding| finding.healed);
    let all = report
        .pass
        .as_ref()
        .is_some_and(|pass| pass.passed_over_count == 0);
    Ok(match healed && all {
        true => Exit::Done,
        false => Exit::Findings,
    })
}

/// Does what is asked for, and notes in `report` what came of it so far.
async fn check_and_fill(
    replicator: &mut Replicator,
    reading: &Reading,
    args: &ReplicateArgs,
    report: &mut Report,
) -> Result<()> {
    if args.check {
        replicator.check(args.replace, &mut report.findings).await?;
    }
    let bar = output::count_bar(reading.state().last_seq.0);
    let pass = replicator.pass(|seq| bar.set_position(seq.0)).await;
    bar.finish_and_clear();
    match pass {
        Ok(pass) => report.pass = Some(pass),
        Err(error) => {
            report.pass = Some(replicator.so_far());
            return Err(error);
        }
    }
    Ok(())
}

/// Copies what comes, until it is told to end. A store that fails is asked again at the next look. With `--json` each pass that copied
/// something is a document in a line of its own.
async fn follow(global: &Global, mut replicator: Replicator, poll: Duration) -> Result<Exit> {
    let mut signals = Signals::listen()?;
    loop {
        let pass = tokio::select! {
            pass = replicator.pass(|_| {}) => pass,
            () = signals.any() => return Ok(Exit::Done),
        };
        match pass {
            Ok(pass) if pass.records + pass.segments > 0 => output::print(&match global.json {
                true => format!("{}\n", serde_json::to_string(&pass)?),
                false => line(&pass),
            })?,
            Ok(_) => {}
            Err(error) => tracing::error!("not copied: {}", telemetry::message(&error)),
        }
        tokio::select! {
            () = tokio::time::sleep(poll) => {}
            () = signals.any() => return Ok(Exit::Done),
        }
    }
}

fn line(pass: &Pass) -> String {
    format!(
        "copied {}, {} ({}): the replica has the history up to record {}\n",
        output::count(pass.records, "record"),
        output::count(pass.segments, "segment"),
        output::size(pass.bytes),
        pass.through
    )
}

/// What was found, and what became of it.
fn told(finding: &Checked) -> String {
    let done = match (finding.healed, finding.removed) {
        (true, false) => "replaced",
        (true, true) => "removed",
        (false, true) => "removed, and not replaced",
        (false, false) => "not replaced",
    };
    format!("{}: {}: {done}", finding.key, finding.detail)
}

fn print(global: &Global, report: &Report) -> Result<()> {
    if global.json {
        return output::print_json(report);
    }
    let mut text = String::new();
    for finding in &report.findings {
        text += &format!("{}\n", told(finding));
    }
    if let Some(pass) = &report.pass {
        for why in &pass.passed_over {
            text += &format!("not copied: {why}\n");
        }
        // How far one is that failed is known only after it has compared.
        if report.failed.is_none() || pass.through > 0 {
            text += &line(pass);
        }
    }
    if report.failed.is_some() {
        text += "that is what was done before this run failed; a run that is repeated goes on from there\n";
    }
    output::print(&text)
}

/// What became of one replica of an archiver that runs once.
#[derive(Serialize)]
pub struct Filled {
    replica: String,
    #[serde(flatten)]
    pass: Option<Pass>,
    /// Why it is not filled.
    error: Option<String>,
}

impl Filled {
    /// Whether it has all that it can have, and holds nothing back.
    pub fn is_whole(&self) -> bool {
        let held = self.pass.as_ref().and_then(|pass| pass.held.as_ref());
        self.error.is_none() && held.is_none()
    }

    /// For people.
    pub fn lines(&self) -> String {
        match (&self.error, &self.pass) {
            (Some(error), _) => format!("{}: not filled: {error}\n", self.replica),
            (None, Some(pass)) => {
                let mut text = format!("{}: {}", self.replica, line(pass));
                for why in &pass.passed_over {
                    text += &format!("{}: not copied: {why}\n", self.replica);
                }
                text
            }
            (None, None) => format!("{}: nothing to copy yet\n", self.replica),
        }
    }
}

/// Fills the replicas of an archiver that runs once. One that fails is told of, and disturbs no other.
pub async fn fill_all(
    store: &SharedStore,
    stream: &StreamConfig,
    settings: &Settings,
) -> Vec<Filled> {
    let mut all = Vec::new();
    let mut through = Some(u64::MAX);
    let settled = match settings.archived_through.load(Ordering::Relaxed) {
        0 => {
            let given_up = stream.give_up_through.unwrap_or(Seq(0));
            manifest::counted(&settings.state_dir).max(given_up)
        }
        // No replica is waited for.
        _ => Seq(u64::MAX),
    };
    for replica in &stream.replicas {
        let filled = fill(store, replica, settings, settled).await;
        let pass = filled.as_ref().ok().and_then(Option::as_ref);
        let reached = pass.map(|pass| counts_through(pass.through, pass.held.as_ref()));
        through = through.zip(reached).map(|(all, this)| all.min(this));
        let (pass, error) = match filled {
            Ok(pass) => (pass, None),
            Err(error) => (None, Some(telemetry::message(&error))),
        };
        all.push(Filled {
            replica: replica.url.to_string(),
            pass,
            error,
        });
    }
    if let Some(through) =
        through.filter(|_| settings.archived_through.load(Ordering::Relaxed) == 0)
    {
        settings.archived_through.store(through, Ordering::Relaxed);
        if let Err(error) = rewrite_manifest(settings) {
            tracing::warn!("state.json: {}", telemetry::message(&error));
        }
    }
    all
}

async fn fill(
    store: &SharedStore,
    replica: &ReplicaConfig,
    settings: &Settings,
    settled: Seq,
) -> Result<Option<Pass>> {
    let path = settings.state_dir.join(INDEX_NAME);
    if !path.exists() {
        return Ok(None);
    }
    let index = Arc::new(Index::open(&path)?.0);
    let has_begun = index.state()?.is_some();
    let stream = match Stream::open(Arc::clone(store), index).await {
        // An archiver has looked here before, and no file was closed.
        Err(StreamError::NoStream { .. }) if !has_begun => return Ok(None),
        opened => opened?,
    };
    let to = open_replica(replica).await?;
    let mut replicator = Replicator::new(Arc::new(stream), to, Arc::clone(&settings.pace));
    replicator.settled_through(settled);
    Ok(Some(replicator.pass(|_| {}).await?))
}

fn rewrite_manifest(settings: &Settings) -> Result<()> {
    let (index, _) = Index::open(&settings.state_dir.join(INDEX_NAME))?;
    manifest::write_manifest(&index, settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_removed_is_not_told_as_if_it_were_still_there() {
        for (healed, removed, end) in [
            (true, false, ": damaged: replaced"),
            (true, true, ": damaged: removed"),
            (false, true, ": damaged: removed, and not replaced"),
            (false, false, ": damaged: not replaced"),
        ] {
            let text = told(&Checked {
                record: 2,
                key: "segments/x".to_owned(),
                detail: "damaged".to_owned(),
                healed,
                removed,
            });
            assert_eq!(text, format!("segments/x{end}"));
        }
    }
}

//! Where a recovery begins and where it ends, as options of a command.

use super::namesakes;
use super::reading::Reading;
use crate::backup::{self, Backup, BackupId, Coordinates, UnusableKind, Verdict};
use crate::locate::FilePosition;
use crate::model::{Gtid, GtidSet, Micros, Timeline};
use crate::recover::{Question, Refusal, RefusalKind, Start, Target};
use anyhow::{Context as _, Result};

/// The options. A command says whether one of the group `target` is required.
#[derive(clap::Args, Debug)]
pub struct RouteArgs {
    /// Up to this moment: everything committed by then, such as 2026-11-22T18:30:00Z or -15m. It needs a zone.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = moment)]
    to: Option<Target>,
    /// Up to right before this transaction.
    #[arg(long, value_name = "GTID")]
    before_gtid: Option<Gtid>,
    /// Up to and with this transaction.
    #[arg(long, value_name = "GTID")]
    after_gtid: Option<Gtid>,
    /// Up to this place between two transactions, such as binlog.000042:1234.
    #[arg(long, value_name = "FILE:POS")]
    to_position: Option<FilePosition>,
    /// Up to the last transaction that is archived.
    #[arg(long)]
    to_end: bool,
    /// The base: a registered backup, as 'binlogfs backup list' shows it [default: the beginning of the history].
    #[arg(long, value_name = "ID", conflicts_with_all = ["from_gtid_set", "from_position"])]
    backup: Option<BackupId>,
    /// The same as what the server to recover has: its gtid_executed.
    #[arg(long, value_name = "SET", conflicts_with = "from_position")]
    from_gtid_set: Option<GtidSet>,
    /// The same as a place: the server has all before it.
    #[arg(long, value_name = "FILE:POS")]
    from_position: Option<FilePosition>,
}

/// The options of which one says where a recovery ends.
pub const TARGETS: [&str; 5] = ["to", "before_gtid", "after_gtid", "to_position", "to_end"];

/// All of the options.
pub const ROUTE: [&str; 8] = [
    "to",
    "before_gtid",
    "after_gtid",
    "to_position",
    "to_end",
    "backup",
    "from_gtid_set",
    "from_position",
];

fn moment(text: &str) -> std::result::Result<Target, String> {
    Target::time(text, Micros::now()).map_err(|error| error.to_string())
}

impl RouteArgs {
    /// Where it ends, if that was said.
    pub fn target(&self) -> Option<Target> {
        let before = || self.before_gtid.clone().map(Target::Before);
        let after = || self.after_gtid.clone().map(Target::After);
        let position = || self.to_position.clone().map(Target::Position);
        let end = || self.to_end.then_some(Target::End);
        let to = self.to.clone();
        to.or_else(before)
            .or_else(after)
            .or_else(position)
            .or_else(end)
    }

    /// The registered backup that was named.
    pub fn backup(&self) -> Option<&BackupId> {
        self.backup.as_ref()
    }

    /// Whether anything was said.
    pub fn is_given(&self) -> bool {
        let base =
            self.backup.is_some() || self.from_gtid_set.is_some() || self.from_position.is_some();
        base || self.target().is_some()
    }

    /// Where it ends; what was not said is the end.
    pub fn goal(&self) -> Target {
        self.target().unwrap_or(Target::End)
    }

    /// The whole question; what was not said is the beginning and the end. Or why nothing can be planned from the backup that was
    /// named.
    pub async fn question(
        &self,
        reading: &Reading,
        timeline: Timeline,
    ) -> Result<Result<Question, Box<Refusal>>> {
        let start = self.start(reading, timeline).await?;
        Ok(start.map(|start| Question {
            timeline,
            start,
            target: self.goal(),
            skip: GtidSet::new(),
        }))
    }

    /// What is to be known of the files that its positions name.
    pub fn notes(&self, reading: &Reading, timeline: Timeline) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        for position in self.to_position.iter().chain(&self.from_position) {
            if let Some(note) = namesakes::note(reading, timeline, position)?
                && !notes.contains(&note)
            {
                notes.push(note);
            }
        }
        Ok(notes)
    }

    async fn start(
        &self,
        reading: &Reading,
        timeline: Timeline,
    ) -> Result<Result<Start, Box<Refusal>>> {
        if let Some(id) = &self.backup {
            let stream_id = reading.stream.file().stream_id;
            let registered = backup::backups(&reading.store, stream_id).await?;
            let found = registered.get(id).with_context(|| {
                format!("no backup {id} can be read; 'binlogfs backup list' shows those that can")
            })?;
            let start = start_of(&found.coordinates)
                .with_context(|| format!("backup {id} does not say where it stands"))?;
            return match start {
                Start::Position(position) => placed(reading, timeline, found, position),
                start => Ok(Ok(start)),
            };
        }
        let gtids = self.from_gtid_set.clone().map(Start::Gtids);
        let position = || self.from_position.clone().map(Start::Position);
        Ok(Ok(gtids.or_else(position).unwrap_or(Start::Beginning)))
    }
}

/// Where a backup stands. Its GTIDs mean the same on every server; its position, on the one it was made on.
fn start_of(coordinates: &Coordinates) -> Option<Start> {
    let gtids = coordinates.gtids.clone();
    match (gtids, &coordinates.position) {
        (Some(gtids), position) if !gtids.is_empty() || position.is_none() => {
            Some(Start::Gtids(gtids))
        }
        (_, Some(position)) => Some(Start::Position(position.clone())),
        (_, None) => None,
    }
}

/// The place that the position of a backup means. Names of files come again after a RESET, and mean another place in another timeline.
fn placed(
    reading: &Reading,
    timeline: Timeline,
    backup: &Backup,
    position: FilePosition,
) -> Result<Result<Start, Box<Refusal>>> {
    let (index, id) = (&reading.index, &backup.id);
    match backup::entry_of_position(index, &backup.coordinates, &position)? {
        Ok((of, file)) if of == timeline => Ok(Ok(Start::Position(FilePosition {
            file: file.to_string(),
            ..position
        }))),
        Ok((of, _)) => {
            let reason = format!(
                "backup {id} stands at {position} of timeline {of}, and what follows it there is not in timeline {timeline}"
            );
            let instead = format!("recover it along its own timeline: --timeline {of}");
            Ok(Err(refused(RefusalKind::Timeline, reason, instead)))
        }
        Err(verdict) => {
            let file = &position.file;
            let by_name = match file.parse() {
                Ok(name) => index.entry(timeline, &name)?.is_some(),
                Err(_) => false,
            };
            let by_file = match file.parse() {
                Ok(file) => !index.of_file(timeline, &file)?.is_empty(),
                Err(_) => false,
            };
            Ok(match by_name || by_file {
                true => Err(another_file(timeline, backup, file, &verdict)),
                // That it is not there is told as of any other place.
                false => Ok(Start::Position(position)),
            })
        }
    }
}

/// The file of that name in the timeline is not the one that the backup names, or cannot be told to be: `verdict` says why.
fn another_file(
    timeline: Timeline,
    backup: &Backup,
    file: &str,
    verdict: &Verdict,
) -> Box<Refusal> {
    let not_its = format!(
        "{file} of timeline {timeline} is not the one that backup {} names",
        backup.id
    );
    match verdict {
        Verdict::Unusable(why) => {
            let kind = match why.kind {
                UnusableKind::Foreign | UnusableKind::Diverged => RefusalKind::BaseForeign,
                UnusableKind::TooEarly => RefusalKind::BaseTooOld,
                UnusableKind::Missing => RefusalKind::Missing,
                UnusableKind::NoPlace | UnusableKind::Ambiguous => RefusalKind::Unknown,
            };
            refused(kind, format!("{not_its}: {}", why.reason), why.next.clone())
        }
        Verdict::Ahead { .. } | Verdict::Usable(_) => {
            let why = verdict.reason().unwrap_or_default();
            let instead = "take an older backup, or archive first what it has";
            refused(
                RefusalKind::BaseTooNew,
                format!("{not_its}: {why}"),
                instead.to_owned(),
            )
        }
    }
}

fn refused(kind: RefusalKind, reason: String, instead: String) -> Box<Refusal> {
    let mut refusal = Refusal::new(kind, reason);
    refusal.instead.push(instead);
    Box::new(refusal)
}

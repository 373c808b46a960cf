//! `binlogfs backup`: registers base backups, and tells what each can recover.

mod print;

use super::agent::host_name;
use super::exit::Exit;
use super::reading::{self, Reading};
use super::recoverable::{Checked, checked};
use super::{Global, output};
use crate::backup::{self, Backup, BackupId, Coordinates, Registered, Tool, Unreadable, Verdict};
use crate::locate::FilePosition;
use crate::model::{GtidSet, Micros, StoreUrl};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};

#[derive(clap::Subcommand, Debug)]
pub enum BackupCommand {
    /// Registers a backup, if what follows it can be replayed; the backup itself stays where it is.
    Add(AddArgs),
    /// Lists the registered backups, and what each can recover.
    List(ListArgs),
    /// Tells all that is known of one.
    Show(OneArgs),
    /// Takes one off the list, for good; the backup itself stays where it is.
    Remove(OneArgs),
    /// Checks whether what follows each can be replayed: exit code 3 where a hole ends that early, 4 where it cannot.
    Check(CheckArgs),
}

#[derive(clap::Args, Debug)]
pub struct AddArgs {
    /// The stream, such as s3://bucket/prod/orders.
    url: StoreUrl,
    /// A dump file, or the directory of a backup of mydumper, MySQL Shell, xtrabackup, mariadb-backup or the clone plugin.
    #[arg(long, value_name = "PATH", required_unless_present_any = ["gtid_set", "position"])]
    from: Option<PathBuf>,
    /// Every GTID that it holds, where that cannot be read from it; MariaDB: the last of each domain.
    #[arg(long, value_name = "SET", conflicts_with = "from", requires = "place")]
    gtid_set: Option<GtidSet>,
    /// The end of what it holds, where that cannot be read from it, such as binlog.000042:1234.
    #[arg(
        long,
        value_name = "FILE:POS",
        conflicts_with = "from",
        requires = "place"
    )]
    position: Option<FilePosition>,
    /// Where it is kept, a path or URL [default: PATH].
    #[arg(long, value_name = "TEXT")]
    place: Option<String>,
    /// What to call it [default: the time and the tool].
    #[arg(long)]
    id: Option<BackupId>,
    /// When it was made, such as 2026-11-22T18:30:00Z or -15m. Without a zone it is UTC.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    taken: Option<String>,
    /// What else is to be known of it.
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
}

#[derive(clap::Args, Debug)]
pub struct ListArgs {
    /// The stream, such as s3://bucket/prod/orders.
    url: StoreUrl,
}

#[derive(clap::Args, Debug)]
pub struct OneArgs {
    /// The stream, such as s3://bucket/prod/orders.
    url: StoreUrl,
    /// The backup, as 'binlogfs backup list' calls it.
    id: BackupId,
}

#[derive(clap::Args, Debug)]
pub struct CheckArgs {
    /// The stream, such as s3://bucket/prod/orders.
    url: StoreUrl,
    /// Only this backup.
    id: Option<BackupId>,
}

pub async fn run(global: &Global, command: &BackupCommand) -> Result<Exit> {
    match command {
        BackupCommand::Add(args) => add(global, args).await,
        BackupCommand::List(args) => list(global, args).await,
        BackupCommand::Show(args) => show(global, args).await,
        BackupCommand::Remove(args) => remove(global, args).await,
        BackupCommand::Check(args) => check(global, args).await,
    }
}

async fn add(global: &Global, args: &AddArgs) -> Result<Exit> {
    let now = Micros::now();
    let mut coordinates = args.coordinates()?;
    let mut zone_assumed = false;
    if let Some(text) = &args.taken {
        let parsed = Micros::parse(text, now)?;
        if parsed.time > now {
            bail!("--taken {text} has not come yet; it is now {now}");
        }
        coordinates.taken_at = Some(parsed.time);
        zone_assumed = parsed.zone_assumed;
    }
    let reading = reading::open(global, &args.url).await?;
    let tool = coordinates.tool.name().replace(' ', "-");
    let backup = Backup {
        format: backup::FORMAT,
        id: match &args.id {
            Some(id) => id.clone(),
            None => default_id(coordinates.taken_at.unwrap_or(now), &tool)?,
        },
        stream_id: reading.stream.file().stream_id,
        coordinates,
        place: args.place()?,
        note: args.note.clone(),
        added_at: now,
        added_by: format!("{}, binlogfs {}", host_name(), env!("CARGO_PKG_VERSION")),
    };
    let checked = checked(global, &reading, backup).await?;
    let usable = !matches!(checked.verdict, Verdict::Unusable(_));
    if usable {
        backup::add(&reading.store, &checked.backup).await?;
    }
    print::added(global, &checked, usable, zone_assumed)?;
    Ok(match usable {
        true => reading.exit(),
        false => Exit::NotRecoverable,
    })
}

impl AddArgs {
    fn coordinates(&self) -> Result<Coordinates> {
        match &self.from {
            Some(path) => Ok(backup::read(path)?),
            None => Ok(Coordinates {
                gtids: self.gtid_set.clone(),
                position: self.position.clone(),
                ..Coordinates::of(Tool::ByHand)
            }),
        }
    }

    /// As given, or where `--from` is on every host that sees it.
    fn place(&self) -> Result<String> {
        match (&self.place, &self.from) {
            (Some(place), _) => Ok(place.clone()),
            (None, Some(from)) => Ok(absolute(from)?.display().to_string()),
            (None, None) => bail!("--place is missing"),
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path).with_context(|| format!("cannot find {}", path.display()))
}

/// The time to the second and the tool: ids then sort by time.
fn default_id(time: Micros, tool: &str) -> Result<BackupId> {
    let digits: String = output::time(Some(time))
        .chars()
        .filter(|c| !matches!(c, '-' | ':'))
        .collect();
    Ok(format!("{digits}-{tool}").parse()?)
}

async fn list(global: &Global, args: &ListArgs) -> Result<Exit> {
    let reading = reading::open(global, &args.url).await?;
    let registered = registered(&reading).await?;
    let mut all = Vec::new();
    for backup in registered.backups {
        all.push(checked(global, &reading, backup).await?);
    }
    print::list(global, &all, &registered.unreadable)?;
    Ok(match registered.unreadable.is_empty() {
        true => reading.exit(),
        false => Exit::Findings,
    })
}

async fn show(global: &Global, args: &OneArgs) -> Result<Exit> {
    let reading = reading::open(global, &args.url).await?;
    let backup = one(&reading, &args.id).await?;
    let checked = checked(global, &reading, backup).await?;
    print::one(global, &checked)?;
    Ok(reading.exit())
}

async fn remove(global: &Global, args: &OneArgs) -> Result<Exit> {
    let store = crate::store::open(&args.url, crate::store::OpenMode::Existing).await?;
    backup::remove(&store, &args.id, Micros::now(), &host_name()).await?;
    match global.json {
        true => output::print_json(&serde_json::json!({"id": args.id, "removed": true}))?,
        false => output::print(&format!(
            "{} is off the list; the backup itself is where it was\n",
            args.id
        ))?,
    }
    Ok(Exit::Done)
}

async fn check(global: &Global, args: &CheckArgs) -> Result<Exit> {
    let reading = reading::open(global, &args.url).await?;
    let (backups, unreadable) = match &args.id {
        Some(id) => (vec![one(&reading, id).await?], Vec::new()),
        None => {
            let found = registered(&reading).await?;
            (found.backups, found.unreadable)
        }
    };
    let mut all = Vec::new();
    for backup in backups {
        all.push(checked(global, &reading, backup).await?);
    }
    print::checks(global, &all, &unreadable)?;
    Ok(exit_of(&all, &unreadable, reading.exit()))
}

/// The worst that was found.
fn exit_of(all: &[Checked], unreadable: &[Unreadable], otherwise: Exit) -> Exit {
    let unusable = |one: &Checked| matches!(one.verdict, Verdict::Unusable(_));
    let cut = |one: &Checked| one.verdict.window().is_some_and(|w| w.ends_at.is_some());
    if all.iter().any(unusable) {
        Exit::NotRecoverable
    } else if all.iter().any(cut) || !unreadable.is_empty() {
        Exit::Findings
    } else {
        otherwise
    }
}

async fn registered(reading: &Reading) -> Result<Registered> {
    let stream_id = reading.stream.file().stream_id;
    Ok(backup::backups(&reading.store, stream_id).await?)
}

async fn one(reading: &Reading, id: &BackupId) -> Result<Backup> {
    let registered = registered(reading).await?;
    if let Some(backup) = registered.get(id) {
        return Ok(backup.clone());
    }
    let unreadable = registered.unreadable.iter().find(|bad| bad.id == *id);
    match unreadable {
        Some(bad) => bail!("the record of backup {id} {}", bad.reason),
        None => Err(backup::RegistryError::NoSuch {
            id: id.clone(),
            store: reading.store.describe(),
        }
        .into()),
    }
}

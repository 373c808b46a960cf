//! `binlogfs cat`: archived segments on standard output, in replay order.

use super::exit::Exit;
use super::reading::{self, Reading};
use super::route::{ROUTE, RouteArgs, TARGETS};
use super::{Global, cache, output, plan};
use crate::cache::disk::{self, DiskCache, DiskLimits, KeepFree};
use crate::cache::{ArchivedSegment, SegmentReader};
use crate::index::{Index, Prune};
use crate::ledger::{Entry, EntryState};
use crate::model::{MountName, StoreUrl, Timeline};
use crate::recover::{PlanError, Planner, Target};
use anyhow::{Context as _, Result, anyhow, bail};
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("target").args(TARGETS)))]
pub struct CatArgs {
    /// The stream, such as file:///srv/binlogs/orders.
    url: StoreUrl,
    /// Names as 'binlogfs ls' shows them; without any, the whole timeline.
    #[arg(conflicts_with_all = ROUTE)]
    names: Vec<String>,
    #[command(flatten)]
    route: RouteArgs,
    /// Another timeline than the newest.
    #[arg(long, value_name = "N")]
    timeline: Option<u32>,
    /// Give damaged segments with their damage, instead of ending at it.
    #[arg(long, conflicts_with_all = ROUTE)]
    raw: bool,
    /// What fences took out of the timeline, instead of what belongs to it: whole files, the one that a fence cuts first.
    #[arg(long, conflicts_with_all = ROUTE)]
    fenced: bool,
    /// Keep on disk what is fetched, up to this size; without it, what mounts have kept is used and nothing is kept.
    #[arg(long, value_name = "SIZE", value_parser = cache::size)]
    cache_size: Option<u64>,
    /// What it leaves free of its file system.
    #[arg(long, default_value_t = disk::DEFAULT_FREE, value_name = "SIZE|PERCENT", value_parser = cache::keep_free)]
    cache_free: KeepFree,
}

/// Entries of a whole timeline that are held at a time: each has the GTIDs of its segment, and there may be a million.
const PAGE_ENTRIES: usize = 1000;
/// Segments that a refusal names one by one.
const NAMED_MAX: usize = 4;
/// How long the end may wait for what is to be written to disk.
const DISK_GRACE: Duration = Duration::from_secs(10);

impl CatArgs {
    /// The disk cache to use: a single pass through a whole history pushes nothing out of it, unless asked to.
    fn disk(&self, global: &Global) -> Option<DiskCache> {
        let cache_dir = global.cache_dir.as_deref();
        match self.cache_size {
            None => Some(DiskCache::look_only(&cache::frames_dir(cache_dir))),
            Some(size_bytes) => {
                let keep_free = self.cache_free;
                let limits = DiskLimits {
                    size_bytes,
                    keep_free,
                };
                cache::open(cache_dir, limits)
            }
        }
    }

    fn reader(
        &self,
        global: &Global,
        reading: &Reading,
        disk: Option<&DiskCache>,
    ) -> Result<SegmentReader> {
        let id = reading.stream.file().stream_id;
        let own = disk.map(|disk| disk.stream(id, &self.url.to_string()));
        reading.reader_with(global, own)
    }
}

pub async fn run(global: &Global, args: &CatArgs) -> Result<Exit> {
    if std::io::stdout().is_terminal() {
        bail!("binlogs are binary: pipe them into 'mysqlbinlog -', or into a file");
    }
    let reading = reading::open(global, &args.url).await?;
    let timeline = reading.timeline(args.timeline)?;
    if args.route.is_given() {
        return planned(global, args, &reading, timeline).await;
    }
    if let (true, Some(alarm)) = (args.names.is_empty(), &reading.alarm) {
        bail!(
            "where the history ends is not known ({alarm}); name the segments to read; nothing was written"
        );
    }
    // All are looked at before the first byte goes out: what follows a hole must not be replayed over it.
    let chosen = chosen(args, &reading, timeline)?;
    let last = match &chosen {
        None => last_of(&reading.index, timeline)?,
        Some(entries) => {
            if let Some(entry) = entries.iter().find(|entry| entry.segment.is_none()) {
                return Err(unreadable(&entry.mount_name, &entry.reason));
            }
            None
        }
    };
    let chosen = chosen.unwrap_or_default();
    if args.fenced {
        check_there(&reading, &chosen).await?;
    }
    let disk = args.disk(global);
    let reader = args.reader(global, &reading, disk.as_ref())?;
    for entry in &chosen {
        write_out(&reader, entry, args.raw || args.fenced).await?;
    }
    if let Some(last) = last {
        let mut after = None;
        while let Some(entries) = page(&reading.index, timeline, after.as_ref(), &last)? {
            for entry in &entries {
                write_out(&reader, entry, args.raw).await?;
            }
            after = entries.last().map(|entry| entry.mount_name.clone());
        }
    }
    flush(disk);
    Ok(reading.exit())
}

fn unreadable(name: &MountName, reason: &str) -> anyhow::Error {
    anyhow!("{name} cannot be read: {reason}; nothing was written")
}

/// The last name of a timeline all of whose entries can be read; `None` if it has none.
fn last_of(index: &Index, timeline: Timeline) -> Result<Option<MountName>> {
    let mut last: Option<MountName> = None;
    loop {
        let rows = index.rows(timeline, last.as_ref(), PAGE_ENTRIES)?;
        for row in &rows {
            match row.state {
                EntryState::Archived | EntryState::Damaged => {}
                EntryState::Hole | EntryState::Gap | EntryState::Lost => {
                    return Err(unreadable(&row.mount_name, row.reason()));
                }
            }
        }
        match rows.last() {
            Some(row) => last = Some(row.mount_name.clone()),
            None => return Ok(last),
        }
    }
}

/// The next entries of a timeline up to `last`: what comes behind it was archived meanwhile, and not looked at. `None` after that.
fn page(
    index: &Index,
    timeline: Timeline,
    after: Option<&MountName>,
    last: &MountName,
) -> Result<Option<Vec<Entry>>> {
    let mut entries = index.entries(timeline, after, PAGE_ENTRIES)?;
    entries.retain(|entry| entry.mount_name <= *last);
    Ok((!entries.is_empty()).then_some(entries))
}

/// What is to be written, in order; `None`: the whole timeline.
fn chosen(args: &CatArgs, reading: &Reading, timeline: Timeline) -> Result<Option<Vec<Entry>>> {
    let fenced = match args.fenced {
        true => Some(reading.fenced(timeline)?),
        false => None,
    };
    if args.names.is_empty() {
        return Ok(fenced);
    }
    let find = |name: &String| {
        let wanted = name.parse()?;
        let entry = match &fenced {
            Some(fenced) => fenced.iter().find(|e| e.mount_name == wanted).cloned(),
            None => reading.index.entry(timeline, &wanted)?,
        };
        if entry.is_none()
            && let Some(row) = reading.index.pruned_named(timeline, name)?
            && let Some(prune) = reading.index.pruned_by(&row)?
        {
            bail!(
                "{name} was {prune}; 'binlogfs ls --pruned' shows all that was, and 'binlogfs ls' what there is"
            );
        }
        entry.with_context(|| match args.fenced {
            true => format!(
                "no fence took {name} out of timeline {timeline}; 'binlogfs ls --fenced' shows what is behind one"
            ),
            false => format!("timeline {timeline} has no {name}; 'binlogfs ls' shows what there is"),
        })
    };
    args.names.iter().map(find).collect::<Result<_>>().map(Some)
}

/// What a fence took out has no object any more where its timeline was pruned past it and 'prune --fenced' has been there. That
/// too is told before the first byte goes out.
async fn check_there(reading: &Reading, entries: &[Entry]) -> Result<()> {
    let (mut gone, mut there) = (Vec::new(), Vec::new());
    for entry in entries {
        match deleted_by(reading, entry).await? {
            Some(prune) => gone.push((entry, prune)),
            None => there.push(entry.mount_name.as_str()),
        }
    }
    let Some((first, prune)) = gone.first() else {
        return Ok(());
    };
    let others = match gone.len() - 1 {
        0 => String::new(),
        more => format!(" ({more} more likewise)"),
    };
    let left = match there.len() {
        0 => "nothing of what was asked for is left here".to_owned(),
        1..=NAMED_MAX => format!("still there, and given out by name: {}", there.join(", ")),
        _ => format!(
            "still there, and given out by name: {} to {}, {} in all",
            there.first().copied().unwrap_or_default(),
            there.last().copied().unwrap_or_default(),
            there.len()
        ),
    };
    bail!(
        "{} cannot be read{others}: a fence took it out of timeline {}, which was {prune} past it, and 'binlogfs prune --fenced' has deleted its \
         object. A replica that was not pruned like that may have it (--replica URL); {left}; nothing was written",
        first.mount_name,
        first.timeline
    )
}

/// The prune that let the object of an entry behind a fence be deleted, if it is gone. What is missing and was not pruned is
/// lost: that is told when it is read.
async fn deleted_by(reading: &Reading, entry: &Entry) -> Result<Option<Prune>> {
    let Some(segment) = &entry.segment else {
        return Ok(None);
    };
    let key = &segment.object.key;
    let index = &reading.index;
    let Some(row) = index.entry_of_object(key)? else {
        return Ok(None);
    };
    let Some(prune) = index.pruned_by(&row)? else {
        return Ok(None);
    };
    match reading.store.head(key).await {
        Ok(_) => Ok(None),
        Err(error) if error.is_not_found() => Ok(Some(prune)),
        Err(error) => Err(error.into()),
    }
}

/// Ends what is written to disk.
fn flush(disk: Option<DiskCache>) {
    if let Some(disk) = disk {
        tokio::task::block_in_place(|| disk.flush(DISK_GRACE));
    }
}

/// Writes what a plan replays, cut at its exact transactions.
async fn planned(
    global: &Global,
    args: &CatArgs,
    reading: &Reading,
    timeline: Timeline,
) -> Result<Exit> {
    let question = match args.route.question(reading, timeline).await? {
        Ok(question) => question,
        Err(refusal) => {
            plan::warn(&refusal);
            return Ok(Exit::NotRecoverable);
        }
    };
    for note in args.route.notes(reading, timeline)? {
        eprintln!("binlogfs: note: {note}");
    }
    if let (Target::End, Some(alarm)) = (&question.target, &reading.alarm) {
        bail!(
            "where the history ends is not known ({alarm}); say where to stop; nothing was written"
        );
    }
    let disk = args.disk(global);
    let reader = args.reader(global, reading, disk.as_ref())?;
    let planner = Planner::new(Arc::clone(&reading.index), Arc::new(reader));
    let plan = match planner.plan(&question).await {
        Ok(plan) => plan,
        Err(PlanError::Refused(refusal)) => {
            // What is on standard output goes to mysqlbinlog: a refusal never does.
            plan::warn(&refusal);
            return Ok(Exit::NotRecoverable);
        }
        Err(PlanError::Failed(error)) => return Err(error.into()),
    };
    let mut stream = planner.stream(&plan);
    while let Some(bytes) = stream.next().await {
        let bytes = bytes?;
        tokio::task::block_in_place(|| output::print_bytes(&bytes))?;
    }
    flush(disk);
    Ok(reading.exit())
}

async fn write_out(reader: &SegmentReader, entry: &Entry, raw: bool) -> Result<()> {
    let segment = if raw {
        reading::raw(entry)?
    } else {
        ArchivedSegment::of_entry(entry)?
    };
    let mut stream = reader.stream(&segment).await?;
    while let Some(bytes) = stream.next().await {
        let bytes = bytes?;
        // Writing blocks; a slow consumer must not hold up the fetches that run meanwhile.
        tokio::task::block_in_place(|| output::print_bytes(&bytes))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Step;
    use crate::ledger::testing;

    #[test]
    fn of_a_long_timeline_a_page_is_held_at_a_time_and_what_is_archived_meanwhile_is_left_out() {
        let timeline = Timeline(1);
        let index = Index::in_memory().expect("opens");
        let file = testing::stream_file();
        index.begin(&file, &file.write()).expect("begins");
        let steps: Vec<Step> = testing::chain(2510).map(Step::Line).collect();
        index.apply(&steps[..2500]).expect("applies");
        let last = last_of(&index, timeline).expect("all can be read");
        let last = last.expect("there are some");
        index.apply(&steps[2500..]).expect("applies");
        let (mut names, mut after) = (Vec::new(), None);
        while let Some(entries) = page(&index, timeline, after.as_ref(), &last).expect("reads") {
            assert!(entries.len() <= PAGE_ENTRIES);
            names.extend(entries.iter().map(|entry| entry.mount_name.to_string()));
            after = entries.last().map(|entry| entry.mount_name.clone());
        }
        let expected: Vec<_> = (1..=2500).map(|n| format!("binlog.{n:06}")).collect();
        assert_eq!(names, expected);
    }
}

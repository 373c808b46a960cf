//! `binlogfs plan`: what a recovery replays, from where, and up to which byte.

use super::exit::Exit;
use super::route::{RouteArgs, TARGETS};
use super::{Global, output, plan_json, reading};
use crate::locate::Found;
use crate::model::{GtidSet, Micros, StoreUrl};
use crate::recover::{Plan, PlanError, Planner, Refusal, StopDatetime, Target};
use anyhow::Result;
use std::sync::Arc;

/// Files that are listed; of more, the first and the last half of them. `--json` and `--script` have all.
const LISTED_FILES: usize = 8;
/// Characters of a GTID set that are shown.
const GTIDS_CHARS: usize = 200;
/// Where the commands expect the mount.
pub const MOUNT_DIR: &str = "/mnt/binlogs";

#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("target").required(true).args(TARGETS)))]
pub struct PlanArgs {
    /// The stream, such as file:///srv/binlogs/orders.
    url: StoreUrl,
    #[command(flatten)]
    route: RouteArgs,
    /// Leave out this transaction, or this set of them; may be repeated.
    #[arg(long, value_name = "GTID")]
    skip_gtid: Vec<GtidSet>,
    /// Another timeline than the newest.
    #[arg(long, value_name = "N")]
    timeline: Option<u32>,
    /// Print a shell script that does it with mysqlbinlog and mysql.
    #[arg(long, conflicts_with = "json")]
    script: bool,
}

pub async fn run(global: &Global, args: &PlanArgs) -> Result<Exit> {
    let reading = reading::open(global, &args.url).await?;
    let timeline = reading.timeline(args.timeline)?;
    let reader = Arc::new(reading.reader(global)?);
    let planner = Planner::new(Arc::clone(&reading.index), reader);
    let mut question = match args.route.question(&reading, timeline).await? {
        Ok(question) => question,
        Err(refusal) => {
            refuse(global, &args.route.goal(), &refusal)?;
            return Ok(Exit::NotRecoverable);
        }
    };
    for set in &args.skip_gtid {
        question.skip.union_with(set);
    }
    let notes = args.route.notes(&reading, timeline)?;
    match planner.plan(&question).await {
        Ok(plan) => {
            let url = args.url.to_string();
            match (args.script, global.json) {
                (true, _) => {
                    tell(&notes);
                    output::print(&plan.script(&url))?;
                }
                (false, true) => {
                    let mut json = plan_json::plan(&plan, &url, MOUNT_DIR);
                    json["notes"] = notes.into();
                    output::print_json(&json)?;
                }
                (false, false) => output::print(&text(&plan, &url, &notes))?,
            }
            Ok(reading.exit())
        }
        Err(PlanError::Refused(refusal)) => {
            tell(&notes);
            refuse(global, &question.target, &refusal)?;
            Ok(Exit::NotRecoverable)
        }
        Err(PlanError::Failed(error)) => Err(error.into()),
    }
}

/// Notes that stand in no table.
fn tell(notes: &[String]) {
    for note in notes {
        eprintln!("binlogfs: note: {note}");
    }
}

/// Tells why there is no plan.
pub fn refuse(global: &Global, target: &Target, refusal: &Refusal) -> Result<()> {
    if global.json {
        return output::print_json(&plan_json::refusal(target, refusal));
    }
    warn(refusal);
    Ok(())
}

/// The same for people.
pub fn warn(refusal: &Refusal) {
    eprintln!("binlogfs: not recoverable: {}", refusal.reason);
    if let Some(before) = &refusal.before {
        eprintln!("  the last point before it: {before}");
    }
    if let Some(after) = &refusal.after {
        eprintln!("  the first point after it: {after}");
    }
    for sentence in &refusal.instead {
        eprintln!("  {sentence}");
    }
}

/// The rule by which a target is a place.
pub fn rule(target: &Target) -> &'static str {
    match target {
        Target::Time(_) => {
            "by commit time: it ends before the first transaction that was committed after that moment"
        }
        Target::Before(_) => "that transaction is the first that is left out",
        Target::After(_) => "that transaction is the last that is replayed",
        Target::Position(_) => "no byte from there on is replayed",
        Target::End => "it ends with the last transaction that is archived",
    }
}

fn text(plan: &Plan, url: &str, notes: &[String]) -> String {
    let notes: Vec<_> = notes.iter().map(|note| ("note", note.clone())).collect();
    let told = text_of(plan) + &aligned(&notes);
    let commands = plan.commands(url, MOUNT_DIR);
    if commands.is_empty() {
        return told;
    }
    let commands: String = commands.iter().map(|line| format!("  {line}\n")).collect();
    format!("{told}\nwith plain tools:\n{commands}")
}

/// The plan for people, without commands.
pub fn text_of(plan: &Plan) -> String {
    let mut lines: Vec<(&str, String)> = vec![
        ("target", plan.question.target.to_string()),
        ("rule", rule(&plan.question.target).to_owned()),
        ("base", output::short(&plan.base_in_words(), GTIDS_CHARS)),
    ];
    if !plan.is_root {
        lines.push(("timeline", plan.question.timeline.to_string()));
    }
    if plan.segments.is_empty() {
        lines.push(("replay", "nothing: the base has all of it".to_owned()));
        lines.push(("left out", left_out(plan)));
        return aligned(&lines);
    }
    let (begin, stop) = (&plan.begin, &plan.stop);
    let at = |place: &crate::recover::Place| format!("{}:{}", place.file, place.position);
    let transaction = |found: &Option<Found>| found.as_ref().map(in_words);
    let first = transaction(&begin.first).map(|found| format!(", with {found}"));
    lines.push(("begin", at(&begin.place) + &first.unwrap_or_default()));
    let last = transaction(&stop.last).map(|found| format!(", behind {found}"));
    lines.push(("stop", at(&stop.place) + &last.unwrap_or_default()));
    if stop.place.server_file.to_string() != stop.place.file.to_string() {
        let server = format!("{}:{}", stop.place.server_file, stop.place.position);
        lines.push(("", format!("which the server called {server}")));
    }
    if let Some(latest) = stop.latest
        && stop
            .last
            .as_ref()
            .is_some_and(|last| last.commit_time < latest)
    {
        lines.push((
            "",
            format!("the latest commit in that file before it: {latest}"),
        ));
    }
    lines.extend(stop_datetime(plan).map(|text| ("", text)));
    lines.push(("left out", left_out(plan)));
    if !plan.question.skip.is_empty() {
        lines.push(("skipped", plan.question.skip.to_string()));
    }
    lines.push(("adds", adds(plan)));
    lines.push((
        "files",
        format!(
            "{}, {} to replay, {} to fetch",
            output::count(plan.segments.len() as u64, "file"),
            output::size(plan.segments.bytes()),
            output::size(plan.fetch_bytes)
        ),
    ));
    lines.extend(files(plan).into_iter().map(|file| ("", file)));
    aligned(&lines)
}

fn aligned(lines: &[(&str, String)]) -> String {
    lines
        .iter()
        .map(|(name, value)| format!("{name:<10}{value}\n"))
        .collect()
}

fn in_words(found: &Found) -> String {
    let gtid = found.gtid.as_ref();
    let gtid = gtid.map_or_else(|| "a transaction".to_owned(), ToString::to_string);
    format!("{gtid} committed at {}", found.commit_time)
}

fn sized(set: &GtidSet) -> String {
    let text = output::short(&set.to_string(), GTIDS_CHARS);
    format!("{}: {text}", output::count(set.count(), "transaction"))
}

fn adds(plan: &Plan) -> String {
    match (plan.adds.is_empty(), plan.by_gtid) {
        (false, true) => sized(&plan.adds),
        (false, false) => format!("{} (not every transaction has a GTID)", sized(&plan.adds)),
        (true, _) => "transactions without GTIDs".to_owned(),
    }
}

fn left_out(plan: &Plan) -> String {
    let Some(next) = &plan.stop.next else {
        return "nothing that is archived".to_owned();
    };
    let gtids = match plan.left_out.gtids.is_empty() {
        true => String::new(),
        false => format!("; in all {}", sized(&plan.left_out.gtids)),
    };
    let through = plan.left_out.last_commit;
    let through = through.map_or_else(String::new, |time: Micros| format!(", up to {time}"));
    format!("from {} on{through}{gtids}", in_words(next))
}

/// What the usual way would have done, where that is something else.
fn stop_datetime(plan: &Plan) -> Option<String> {
    let told = match plan.stop_datetime.as_ref()? {
        StopDatetime::Same => return None,
        StopDatetime::Beyond => "would have gone on into later files".to_owned(),
        StopDatetime::Unknown => "may end elsewhere: it was not looked through that far".to_owned(),
        StopDatetime::Elsewhere {
            file,
            position,
            inside,
            early,
        } => {
            let when = if *early { "too early" } else { "too late" };
            let inside = inside.as_ref().map(in_words);
            let inside = inside.map(|found| format!(", in the middle of {found}"));
            format!(
                "would have ended {when}, at {file}:{position}{}",
                inside.unwrap_or_default()
            )
        }
    };
    Some(format!("mysqlbinlog --stop-datetime {told}"))
}

fn files(plan: &Plan) -> Vec<String> {
    let count = plan.segments.len();
    let mut shown = Vec::new();
    for (place, piece) in plan.segments.iter().enumerate() {
        let middle = place >= LISTED_FILES / 2 && place < count - LISTED_FILES.min(count) / 2;
        // One that is left out would take as much room as saying so.
        if count > LISTED_FILES + 1 && middle {
            if place == LISTED_FILES / 2 {
                shown.push(format!("... {} more, whole ...", count - LISTED_FILES));
            }
            continue;
        }
        let range = &piece.range;
        let part = match (range.start == 0, range.end == piece.size) {
            (true, true) => String::new(),
            (false, true) => format!(" from {}", range.start),
            (true, false) => format!(" up to {}", range.end),
            (false, false) => format!(" from {} up to {}", range.start, range.end),
        };
        shown.push(format!("{}{part}", piece.file));
    }
    shown
}

//! `binlogfs history`: what happened, and where: how one finds the DROP TABLE.

use super::exit::Exit;
use super::reading::{self, Reading};
use super::{Global, output};
use crate::ledger::Entry;
use crate::locate::{Boundary, Chapter, Extent, Found, LocateError, Locator, Target, read_tails};
use crate::model::{Gtid, Micros, StoreUrl, Timeline};
use anyhow::Result;
use serde_json::{Value, json};
use std::sync::Arc;

/// Characters of a statement that a table shows; `--json` has all that is kept.
const DETAIL_COLUMN_CHARS: usize = 100;
/// Characters of a GTID set that a table shows.
const GTID_COLUMN_CHARS: usize = 60;
/// Entries fetched from the index at a time.
const PAGE_ENTRIES: usize = 1000;
/// What counts as a big transaction: every one of this length is in a segment's index.
const BIG_BYTES: u64 = crate::binlog::POINT_SPACING_BYTES;

#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["ddl", "table", "big_transactions", "gtid"])))]
pub struct HistoryArgs {
    /// The stream, such as file:///srv/binlogs/orders.
    url: StoreUrl,
    /// Every statement that changed a schema.
    #[arg(long)]
    ddl: bool,
    /// The files in which rows of this table were changed.
    #[arg(long, value_name = "DB.TABLE")]
    table: Option<String>,
    /// Every transaction of 1 MiB or more.
    #[arg(long)]
    big_transactions: bool,
    /// What is known of one transaction.
    #[arg(long, value_name = "GTID")]
    gtid: Option<Gtid>,
    /// Only between these two: times, GTIDs or positions, each as 'binlogfs locate' finds it.
    #[arg(long, num_args = 2, conflicts_with = "gtid", value_names = ["FROM", "TO"], allow_hyphen_values = true)]
    between: Option<Vec<String>>,
    /// Only what was committed at or after this moment.
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        conflicts_with = "gtid"
    )]
    from: Option<String>,
    /// Only what was committed at or before this moment.
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        conflicts_with = "gtid"
    )]
    to: Option<String>,
    /// Another timeline than the newest.
    #[arg(long, value_name = "N")]
    timeline: Option<u32>,
}

/// What was found, in replay order.
#[derive(Default)]
struct Findings {
    rows: Vec<[String; 5]>,
    json: Vec<Value>,
    /// Files of which not everything is known.
    incomplete: Vec<String>,
}

pub async fn run(global: &Global, args: &HistoryArgs) -> Result<Exit> {
    let reading = reading::open(global, &args.url).await?;
    let timeline = reading.timeline(args.timeline)?;
    let reader = Arc::new(reading.reader(global)?);
    let locator = Locator::new(Arc::clone(&reading.index), Arc::clone(&reader));
    let mut findings = Findings::default();
    let extent = match &args.gtid {
        Some(gtid) => of_one(&locator, timeline, gtid)
            .await
            .map(|(place, found, extent)| {
                findings.add_transaction(&place, &found);
                extent
            }),
        None => extent(args, timeline, &locator).await,
    };
    let extent = match extent {
        Ok(extent) => extent,
        Err(Unreachable::Refused(why)) => {
            match global.json {
                true => output::print_json(&json!({ "recoverable": false, "reason": why }))?,
                false => eprintln!("binlogfs: {why}"),
            }
            return Ok(Exit::NotRecoverable);
        }
        Err(Unreachable::Failed(error)) => return Err(error),
    };
    let mut entries = entries(&reading, timeline, &extent)?;
    let unreadable: Vec<Entry> = entries.extract_if(.., |e| e.segment.is_none()).collect();
    for entry in &unreadable {
        findings
            .incomplete
            .push(format!("{} ({})", entry.mount_name, entry.reason));
    }
    read_tails(&reader, entries, |chapter| {
        findings.take(args, &extent, &chapter);
        Ok::<_, anyhow::Error>(())
    })
    .await?;
    findings.print(global)?;
    match findings.incomplete.is_empty() {
        true => Ok(reading.exit()),
        false => Ok(Exit::Findings),
    }
}

/// Why there is no extent.
enum Unreachable {
    Refused(String),
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Unreachable {
    fn from(error: anyhow::Error) -> Unreachable {
        Unreachable::Failed(error)
    }
}

async fn extent(
    args: &HistoryArgs,
    timeline: Timeline,
    locator: &Locator,
) -> Result<Extent, Unreachable> {
    let now = Micros::now();
    let times = [&args.from, &args.to].into_iter().flatten();
    let parsed = times.chain(args.between.iter().flatten());
    let mut parsed = parsed.filter_map(|text| Micros::parse(text, now).ok());
    if parsed.any(|parsed| parsed.zone_assumed) {
        eprintln!("binlogfs: note: a time without a zone is read as UTC");
    }
    let time = |text: &Option<String>| -> Result<Option<Micros>, Unreachable> {
        let parsed = text.as_deref().map(|text| Micros::parse(text, now));
        let parsed = parsed.transpose().map_err(anyhow::Error::from)?;
        Ok(parsed.map(|parsed| parsed.time))
    };
    let mut extent = Extent {
        since: time(&args.from)?,
        until: time(&args.to)?,
        ..Extent::default()
    };
    if let Some([from, to]) = args.between.as_deref() {
        let mut edges = Vec::new();
        for text in [from, to] {
            let target = Target::parse(text, Some(now)).map_err(anyhow::Error::from)?;
            match locator.boundary(timeline, &target).await {
                Ok(boundary) => edges.push(boundary),
                Err(LocateError::Refused(refusal)) => {
                    let why = format!("{target} cannot be reached: {refusal}");
                    return Err(Unreachable::Refused(why));
                }
                Err(error) => return Err(Unreachable::Failed(error.into())),
            }
        }
        extent.to = edges.pop();
        extent.from = edges.pop();
    }
    Ok(extent)
}

/// The one transaction: what it is, and the extent that holds nothing else.
async fn of_one(
    locator: &Locator,
    timeline: Timeline,
    gtid: &Gtid,
) -> Result<(Boundary, Found, Extent), Unreachable> {
    let target = Target::Gtid(gtid.clone());
    let located = match locator.find(timeline, &target).await {
        Ok(located) => located,
        Err(LocateError::Refused(refusal)) => {
            return Err(Unreachable::Refused(refusal.to_string()));
        }
        Err(error) => return Err(Unreachable::Failed(error.into())),
    };
    let found = located
        .transaction
        .ok_or_else(|| anyhow::anyhow!("{gtid} was found without its transaction"))?;
    let extent = Extent {
        from: Some(located.boundary.clone()),
        to: Some(Boundary {
            position: found.end,
            ..located.boundary.clone()
        }),
        ..Extent::default()
    };
    Ok((located.boundary, found, extent))
}

/// The entries to look at, those that cannot be read among them.
fn entries(reading: &Reading, timeline: Timeline, extent: &Extent) -> Result<Vec<Entry>> {
    let index = &reading.index;
    let mut after = match &extent.from {
        Some(from) => index
            .neighbours(timeline, &from.mount_name)?
            .0
            .map(|row| row.mount_name),
        None => None,
    };
    let mut found = Vec::new();
    loop {
        let page = index.entries(timeline, after.as_ref(), PAGE_ENTRIES)?;
        let Some(last) = page.last() else {
            return Ok(found);
        };
        after = Some(last.mount_name.clone());
        let ends = extent.to.as_ref().is_some_and(|to| last.seq >= to.seq);
        found.extend(page.into_iter().filter(|entry| extent.touches(entry)));
        if ends {
            return Ok(found);
        }
    }
}

impl Findings {
    fn take(&mut self, args: &HistoryArgs, extent: &Extent, chapter: &Chapter) {
        let name = chapter.entry.mount_name.to_string();
        if args.ddl || args.gtid.is_some() {
            for ddl in chapter.ddl(extent) {
                self.add(
                    &name,
                    (ddl.position, ddl.time, ddl.gtid.as_ref()),
                    "ddl",
                    &ddl.sql,
                );
                self.detail(json!({ "database": ddl.database, "sql": ddl.sql, "cut": ddl.cut }));
            }
            if chapter.index.ddl_incomplete {
                self.incomplete
                    .push(format!("{name} (more statements than are kept)"));
            }
        }
        if args.big_transactions {
            for point in chapter.long(extent, BIG_BYTES) {
                let bytes = point.end - point.position;
                let at = (point.position, point.time, point.gtid.as_ref());
                self.add(&name, at, "big", &output::size(bytes));
                self.detail(json!({ "bytes": bytes, "end": point.end }));
            }
        }
        if let Some(table) = &args.table {
            match chapter.touched(table) {
                Some(true) => self.add_file(&chapter.entry, table),
                Some(false) => {}
                None => self
                    .incomplete
                    .push(format!("{name} (not all of its tables are known)")),
            }
        }
    }

    fn add_transaction(&mut self, place: &Boundary, found: &Found) {
        let bytes = found.end - found.start;
        let at = (found.start, found.commit_time, found.gtid.as_ref());
        let file = place.mount_name.to_string();
        self.add(&file, at, "transaction", &output::size(bytes));
        self.detail(json!({ "bytes": bytes, "end": found.end }));
    }

    fn add(&mut self, file: &str, at: (u64, Micros, Option<&Gtid>), what: &str, detail: &str) {
        let (position, time, gtid) = at;
        let gtid = gtid.map(ToString::to_string);
        self.json.push(json!({
            "what": what, "file": file, "position": position, "time": time.to_string(), "gtid": gtid,
        }));
        let one_line = detail.split_whitespace().collect::<Vec<_>>().join(" ");
        self.rows.push([
            time.to_string(),
            format!("{file}:{position}"),
            gtid.unwrap_or_else(|| "-".to_owned()),
            what.to_owned(),
            output::short(&one_line, DETAIL_COLUMN_CHARS),
        ]);
    }

    /// More members for the finding added last.
    fn detail(&mut self, more: Value) {
        if let (Some(Value::Object(last)), Value::Object(more)) = (self.json.last_mut(), more) {
            last.extend(more);
        }
    }

    fn add_file(&mut self, entry: &Entry, table: &str) {
        let segment = entry.segment.as_deref();
        let time = |time: Option<Micros>| time.map(|time| time.to_string());
        let (first, last) = (
            time(segment.and_then(|s| s.first_time)),
            time(entry.last_time()),
        );
        let gtids = entry.gtids().map(ToString::to_string).unwrap_or_default();
        self.json.push(json!({
            "what": "table", "file": entry.mount_name, "table": table, "first_time": first, "last_time": last, "gtids": gtids,
        }));
        self.rows.push([
            first.unwrap_or_else(|| "-".to_owned()),
            entry.mount_name.to_string(),
            output::short(&gtids, GTID_COLUMN_CHARS),
            "table".to_owned(),
            table.to_owned(),
        ]);
    }

    fn print(&self, global: &Global) -> Result<()> {
        for file in &self.incomplete {
            eprintln!("binlogfs: warning: not all is known of {file}");
        }
        if global.json {
            return output::print_json(
                &json!({ "found": self.json, "incomplete": self.incomplete }),
            );
        }
        let header = ["TIME", "PLACE", "GTID", "WHAT", "DETAIL"];
        let rows = self.rows.iter().map(|row| row.to_vec());
        output::print(&output::table(&header, &[], rows))
    }
}

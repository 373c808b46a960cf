//! `binlogfs fence`: ends a timeline, by an operator's word.

use super::agent::host_name;
use super::exit::Exit;
use super::reading::Reading;
use super::{Global, output, reading};
use crate::ledger::record_key;
use crate::locate::{FilePosition, Target};
use crate::model::{Gtid, Micros, Seq, StoreUrl};
use crate::store::{self, OpenMode};
use crate::sync::fence::{Edge, FencePlan, Fencing};
use anyhow::{Context as _, Result, bail};
use std::sync::Arc;

#[derive(clap::Args, Debug)]
#[command(group(clap::ArgGroup::new("edge").required(true).args(["gtid", "position", "time", "end"])))]
pub struct FenceArgs {
    /// The stream, such as s3://bucket/prod/orders.
    url: StoreUrl,
    /// Another timeline than the newest.
    #[arg(long, value_name = "N")]
    timeline: Option<u32>,
    /// The first transaction that no longer belongs to the timeline.
    #[arg(long, value_name = "GTID")]
    gtid: Option<Gtid>,
    /// The place where the timeline ends, such as binlog.000042:1234.
    #[arg(long, value_name = "FILE:POS")]
    position: Option<FilePosition>,
    /// The moment after which it ends: what was committed later leaves. With its zone: 2026-11-22T18:30:00Z, or -15m.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    time: Option<String>,
    /// Everything that is archived stays, and nothing that the same server writes later comes in.
    #[arg(long)]
    end: bool,
    /// Why: it stands in the ledger for ever.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Set the fence; without it, what it would do is told.
    #[arg(long)]
    execute: bool,
}

impl FenceArgs {
    fn edge(&self) -> Result<Edge> {
        if self.end {
            return Ok(Edge::End);
        }
        if let Some(gtid) = &self.gtid {
            return Ok(Edge::Before(Target::Gtid(gtid.clone())));
        }
        if let Some(position) = &self.position {
            return Ok(Edge::Before(Target::Position(position.clone())));
        }
        let text = self.time.as_deref().context("nothing is asked for")?;
        let parsed = Micros::parse(text, Micros::now())?;
        if parsed.zone_assumed {
            bail!(
                "{text:?} has no zone: write {text}Z if it is UTC, or with its offset, as in {text}+01:00"
            );
        }
        Ok(Edge::Before(Target::Time(parsed.time)))
    }
}

pub async fn run(global: &Global, args: &FenceArgs) -> Result<Exit> {
    let edge = args.edge()?;
    if args.reason.trim().is_empty() {
        bail!(
            "--reason is empty: say why the timeline ends, for whoever reads the ledger in years"
        );
    }
    let reading = reading::open(global, &args.url).await?;
    if let Some(alarm) = &reading.alarm {
        bail!("{alarm}; nothing is ended on the word of a ledger that is not whole");
    }
    let timeline = reading.timeline(args.timeline)?;
    let fencing = Fencing {
        stream: &reading.stream,
        reader: Arc::new(reading.reader(global)?),
        reason: args.reason.clone(),
        archiver: format!("binlogfs {} on {}", env!("CARGO_PKG_VERSION"), host_name()),
    };
    let (seq, plan) = match args.execute {
        true => {
            check_first(global, args, &reading).await?;
            let (seq, plan) = fencing.execute(timeline, &edge).await?;
            (Some(seq), plan)
        }
        false => (None, fencing.plan(timeline, &edge).await?),
    };
    print(global, &edge, &plan, seq)?;
    Ok(Exit::Done)
}

/// Records are appended to the first store: what only a replica has of its ledger must be put back before.
async fn check_first(global: &Global, args: &FenceArgs, reading: &Reading) -> Result<()> {
    let newest = reading.state().last_seq;
    if global.replica.is_empty() || newest.0 == 0 {
        return Ok(());
    }
    let first = store::open(&args.url, OpenMode::Existing).await?;
    match first.head(&record_key(newest)).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => bail!(
            "{url} lacks ledger record {newest}, which a replica has: 'binlogfs verify {url} --replica URL --repair' puts it back; nothing \
             is recorded before that",
            url = args.url
        ),
        Err(error) => Err(error.into()),
    }
}

fn print(global: &Global, edge: &Edge, plan: &FencePlan, seq: Option<Seq>) -> Result<()> {
    if global.json {
        return output::print_json(&serde_json::json!({
            "timeline": plan.timeline,
            "file": plan.mount_name,
            "position": plan.position,
            "leaves": {
                "segments": plan.segments,
                "part_of_a_segment": plan.position < plan.file_end,
                "transactions": plan.transactions,
                "bytes": plan.bytes,
                "gtids": plan.lost.to_string(),
            },
            "stays": { "gtids": plan.stays.to_string() },
            "executed": seq.is_some(),
            "record": seq,
        }));
    }
    let place = match edge {
        Edge::Before(target @ (Target::Gtid(_) | Target::Time(_))) => format!(" ({target})"),
        Edge::Before(Target::Position(_)) | Edge::End => String::new(),
    };
    let set = |set: &crate::model::GtidSet| match set.is_empty() {
        true => "none".to_owned(),
        false => set.to_string(),
    };
    let ends = if seq.is_some() { "ends" } else { "would end" };
    let mut text = format!(
        "timeline {} {ends} in {} at byte {} of {}{place}\n",
        plan.timeline, plan.mount_name, plan.position, plan.file_end
    );
    text += &format!("leaves     {}\n", leaves(plan));
    text += &format!("           GTIDs {}\n", set(&plan.lost));
    text += &format!("stays      GTIDs {}\n", set(&plan.stays));
    text += &match seq {
        Some(seq) => format!("recorded   as ledger record {seq}\n"),
        None => "recorded   nothing: --execute does it\n".to_owned(),
    };
    output::print(&text)
}

/// What leaves the timeline, in words.
fn leaves(plan: &FencePlan) -> String {
    if plan.bytes == 0 && plan.segments == 0 {
        return "nothing that is archived".to_owned();
    }
    let part = (plan.position < plan.file_end).then(|| format!("the rest of {}", plan.mount_name));
    let whole = (plan.segments > 0).then(|| output::count(plan.segments, "later segment"));
    let what: Vec<String> = part.into_iter().chain(whole).collect();
    format!(
        "{}, {}: {}",
        output::count(plan.transactions, "transaction"),
        output::size(plan.bytes),
        what.join(" and ")
    )
}

//! `binlogfs cat`: archived segments on standard output, in replay order.

use super::exit::Exit;
use super::{Global, output, reading};
use crate::cache::{ArchivedSegment, SegmentReader};
use crate::ledger::Entry;
use crate::model::StoreUrl;
use anyhow::{Context as _, Result, bail};
use std::io::IsTerminal as _;

#[derive(clap::Args, Debug)]
pub struct CatArgs {
    /// The stream, such as file:///srv/binlogs/orders.
    url: StoreUrl,
    /// Names as 'binlogfs ls' shows them; without any, the whole timeline.
    names: Vec<String>,
    /// Another timeline than the newest.
    #[arg(long, value_name = "N")]
    timeline: Option<u32>,
    /// Give damaged segments with their damage, instead of ending at it.
    #[arg(long)]
    raw: bool,
}

pub async fn run(global: &Global, args: &CatArgs) -> Result<Exit> {
    if std::io::stdout().is_terminal() {
        bail!("binlogs are binary: pipe them into 'mysqlbinlog -', or into a file");
    }
    let reading = reading::open(global, &args.url).await?;
    let timeline = reading.timeline(args.timeline)?;
    if let (true, Some(alarm)) = (args.names.is_empty(), &reading.alarm) {
        bail!(
            "where the history ends is not known ({alarm}); name the segments to read; nothing was written"
        );
    }
    let entries = if args.names.is_empty() {
        reading.entries(timeline)?
    } else {
        let find = |name: &String| {
            let entry = reading.index.entry(timeline, &name.parse()?)?;
            entry.with_context(|| {
                format!("timeline {timeline} has no {name}; 'binlogfs ls' shows what there is")
            })
        };
        args.names.iter().map(find).collect::<Result<Vec<_>>>()?
    };
    // All are looked at before the first byte goes out: what follows a hole must not be replayed over it.
    if let Some(entry) = entries.iter().find(|entry| entry.segment.is_none()) {
        bail!(
            "{} cannot be read: {}; nothing was written",
            entry.mount_name,
            entry.reason
        );
    }
    let reader = reading.reader(global)?;
    for entry in &entries {
        write_out(&reader, entry, args.raw).await?;
    }
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

//! How long an index takes to answer, for measurements: `questions URL INDEX` asks a stream that `ledger` made up, and prints
//! the median of each kind in milliseconds.

use anyhow::{Context as _, Result, bail, ensure};
use binlogfs::cache::{CacheOptions, SegmentReader};
use binlogfs::index::Index;
use binlogfs::ledger::testing::{SEGMENT_SECONDS, TRANSACTIONS, source};
use binlogfs::locate::{FilePosition, Locator, Target};
use binlogfs::model::{Gtid, GtidSet, Micros, Timeline};
use binlogfs::recover::{self, Planner, Question, Start};
use binlogfs::segment::Identities;
use binlogfs::store::{OpenMode, open};
use binlogfs::stream::Stream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rounds of each kind.
const ROUNDS: usize = 15;
const TIMELINE: Timeline = Timeline(1);

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, index] = arguments.as_slice() else {
        bail!("usage: questions URL INDEX");
    };
    let store = open(&url.parse()?, OpenMode::Existing).await?;
    let index = Arc::new(Index::open(Path::new(index))?.0);
    Stream::open(store.clone(), Arc::clone(&index))
        .await?
        .follow()
        .await?;
    let last = index.extent(TIMELINE)?.1.context("it has segments")?;
    let segments = last.number.0;
    // Nothing is kept from one question to the next but what the index keeps of tails.
    let reader = || {
        let tails = Some(Arc::clone(&index) as Arc<_>);
        let reader = SegmentReader::new(
            store.clone(),
            Identities::none(),
            tails,
            CacheOptions::default(),
        );
        (Arc::clone(&index), Arc::new(reader))
    };
    let gtid = |number: u64| Gtid {
        source: source(),
        number,
    };
    let middle = segments.div_ceil(2);
    let time = last.latest_commit.context("it has transactions")?;
    let time = Micros(time.0 - SEGMENT_SECONDS * 500_000);
    let mut locating = Vec::new();
    for _ in 0..ROUNDS {
        let offset = last.size / 2;
        let position = FilePosition {
            file: last.mount_name.to_string(),
            offset,
        };
        for target in [
            Target::Time(time),
            Target::Gtid(gtid(middle * TRANSACTIONS - 500)),
            Target::Position(position),
        ] {
            let (index, reader) = reader();
            let begun = Instant::now();
            Locator::new(index, reader).find(TIMELINE, &target).await?;
            locating.push(begun.elapsed());
        }
    }
    let (mut part, mut all) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let mut base = GtidSet::new();
        base.insert_run(source(), 1, segments * TRANSACTIONS - TRANSACTIONS / 2);
        for (start, times, expected) in [
            (Start::Gtids(base), &mut part, 1),
            (Start::Beginning, &mut all, usize::try_from(segments)?),
        ] {
            let question = Question {
                timeline: TIMELINE,
                start,
                target: recover::Target::After(gtid(segments * TRANSACTIONS - 1)),
                skip: GtidSet::new(),
            };
            let (index, reader) = reader();
            let begun = Instant::now();
            let plan = Planner::new(index, reader).plan(&question).await?;
            times.push(begun.elapsed());
            ensure!(
                plan.segments.len() == expected,
                "{} files",
                plan.segments.len()
            );
        }
    }
    println!("locate {}", median_milliseconds(locating));
    println!("plan_part {}", median_milliseconds(part));
    println!("plan_all {}", median_milliseconds(all));
    Ok(())
}

fn median_milliseconds(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times
        .get(times.len() / 2)
        .map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

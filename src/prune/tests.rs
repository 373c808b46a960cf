//! Whatever the history, the backups and the rule: what a backup could recover before, it can recover after.

use super::*;
use crate::backup::{self, Backup, Coordinates, Need, Tool, Verdict};
use crate::ledger::testing::{self, BEGINNING, SEGMENT_SECONDS, TRANSACTIONS, Writer, moved};
use crate::ledger::{Body, Line, record_key};
use crate::model::{GtidSet, ObjectKey, Timeline};
use crate::store::{LockMode, MemoryStore, Retain, Store};
use crate::stream;
use anyhow::Result;
use proptest::prelude::*;
use std::time::Duration;

mod steps;

/// A stream in memory, and an index of it in a file.
struct Bucket {
    memory: MemoryStore,
    writer: Writer,
    temp: tempfile::TempDir,
}

impl Bucket {
    async fn with(bodies: Vec<Body>) -> Bucket {
        let memory = MemoryStore::new();
        let shared: SharedStore = Arc::new(memory.clone());
        let begun = stream::create(&shared, &testing::stream_file()).await;
        begun.expect("creates");
        let mut bucket = Bucket {
            memory,
            writer: Writer::default(),
            temp: tempfile::tempdir().expect("a directory"),
        };
        for body in bodies {
            bucket.append(body);
        }
        bucket
    }

    fn append(&mut self, body: Body) -> Line {
        if let Body::Segment(segment) = &body {
            self.memory.tamper(&segment.object.key, "its bytes");
        }
        let line = self.writer.write(body);
        let text = format!("{}\n", line.text());
        self.memory.tamper(&record_key(line.seq()), text);
        line
    }

    async fn backup(&self, id: &str, coordinates: Coordinates) {
        let backup = Backup {
            format: backup::FORMAT,
            id: id.parse().expect("an id"),
            stream_id: testing::stream_file().stream_id,
            coordinates,
            place: "tape".to_owned(),
            note: String::new(),
            added_at: BEGINNING,
            added_by: "me".to_owned(),
        };
        let shared: SharedStore = Arc::new(self.memory.clone());
        backup::add(&shared, &backup).await.expect("registers");
    }

    async fn pruner(&self) -> Pruner {
        let path = self.temp.path().join("index.db");
        let (index, _) = Index::open(&path).expect("opens");
        let (store, index): (SharedStore, _) = (Arc::new(self.memory.clone()), Arc::new(index));
        let stream = Stream::open(Arc::clone(&store), Arc::clone(&index)).await;
        let stream = stream.expect("opens");
        stream.follow().await.expect("follows");
        Pruner {
            store,
            stream: Arc::new(stream),
            index,
            archiver: "test".to_owned(),
            now: Micros::now(),
            fenced: false,
        }
    }

    fn segments(&self) -> Vec<ObjectKey> {
        let keys = self.memory.keys().into_iter();
        keys.filter(|key| key.as_str().starts_with("segments/"))
            .collect()
    }
}

fn segment(number: u64) -> Body {
    Body::Segment(Box::new(testing::segment(number)))
}

/// The segment as it stands behind a hole.
fn full(number: u64) -> Body {
    let mut segment = testing::segment(number);
    segment.previous_gtids = Some(testing::executed(number - 1));
    segment.previous_gtids_sha256 = None;
    Body::Segment(Box::new(segment))
}

fn branched(number: u64) -> Body {
    Body::Segment(Box::new(moved(number, 2, 2)))
}

/// A backup after this many transactions.
fn after(transactions: u64) -> Coordinates {
    let mut gtids = GtidSet::new();
    if transactions > 0 {
        gtids.insert_run(testing::source(), 1, transactions);
    }
    Coordinates {
        gtids: Some(gtids),
        ..Coordinates::of(Tool::Mysqldump)
    }
}

/// The end of the made-up segment `number`, by its time.
fn end_of(number: u64) -> Micros {
    Micros(BEGINNING.0 + number as i64 * SEGMENT_SECONDS * 1_000_000)
}

fn since(time: Micros) -> Wanted {
    Wanted::Since(time, "--before then".to_owned())
}

fn names(index: &Index, timeline: u32) -> Vec<String> {
    let rows = index.rows(Timeline(timeline), None, 1000).expect("lists");
    rows.iter().map(|row| row.mount_name.to_string()).collect()
}

async fn record(pruner: &Pruner, wanted: &Wanted) -> Result<(Vec<Recorded>, Survey)> {
    let mut recorded = Vec::new();
    let survey = pruner.record(wanted, &mut recorded).await?;
    Ok((recorded, survey))
}

/// What was deleted, and whether that was all.
async fn try_remove(pruner: &Pruner, grace: Duration) -> (Removal, Result<()>) {
    let mut removal = Removal::default();
    let removed = pruner.remove(grace, true, &|_| {}, &mut removal).await;
    (removal, removed)
}

async fn remove(pruner: &Pruner, grace: Duration) -> Removal {
    let (removal, removed) = try_remove(pruner, grace).await;
    removed.expect("the store answers");
    removal
}

const NO_GRACE: Duration = Duration::ZERO;
const DAY: Duration = Duration::from_secs(86_400);

/// What every backup can do: the best of all, and what it needs of each timeline.
type Can = Vec<(Verdict, Vec<(Timeline, Need)>)>;

fn can(index: &Index, backups: &[Coordinates]) -> Can {
    let flavour = testing::stream_file().flavour;
    let one = |backup: &Coordinates| {
        let verdict = backup::check(index, flavour, backup).expect("answers");
        let needs = backup::needs(index, flavour, backup).expect("answers");
        (verdict, needs)
    };
    backups.iter().map(one).collect()
}

/// Segments 1 to `n` with holes, and from `branch` on the same numbers once more in a second timeline.
fn history(n: u64, holes: &[u64], branch: Option<u64>) -> Vec<Body> {
    let is_hole = |number: u64| number > 1 && holes.contains(&number);
    let body = |number: u64| match (is_hole(number), is_hole(number - 1)) {
        (true, _) => Body::Hole(testing::hole(number)),
        (false, true) => full(number),
        (false, false) => segment(number),
    };
    let mut bodies: Vec<Body> = (1..=n).map(body).collect();
    if let Some(first) = branch.filter(|first| *first > 1 && *first <= n) {
        bodies.extend((first..=n).map(branched));
    }
    bodies
}

/// A backup that is too old for a timeline is told so in the words of before, where nothing counts as pruned.
#[tokio::test]
async fn seen_as_if_nothing_had_been_pruned_no_answer_speaks_of_a_prune() {
    let bucket = Bucket::with(history(8, &[2], Some(4))).await;
    let backups = [after(5000), after(1000)];
    for (id, backup) in ["usable", "too-old"].into_iter().zip(&backups) {
        bucket.backup(id, backup.clone()).await;
    }
    let pruner = bucket.pruner().await;
    let before = can(&pruner.index, &backups);
    let (recorded, _) = record(&pruner, &since(end_of(4))).await.expect("prunes");
    assert_eq!(recorded.len(), 1);
    assert_ne!(can(&pruner.index, &backups), before);
    let unpruned = pruner.index.unpruned().expect("opens");
    assert_eq!(can(&unpruned, &backups), before);
    assert_eq!(unpruned.prunes().expect("reads"), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn no_backup_loses_anything_that_it_could_recover(
        n in 2u64..12,
        holes in proptest::collection::vec(2u64..12, 0..3),
        branch in proptest::option::of(2u64..12),
        backups in proptest::collection::vec(0u64..12_500, 0..4),
        positions in proptest::collection::vec((1u64..12, prop_oneof![Just(157u64), Just(1 << 40)]), 0..2),
        cut in 0u64..14,
        keep in proptest::option::of(1u32..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let bodies = history(n, &holes, branch);
            let bucket = Bucket::with(bodies.clone()).await;
            let mut all: Vec<Coordinates> = backups.iter().map(|made| after(*made)).collect();
            for (number, offset) in positions {
                let size = testing::segment(number).size;
                let position = format!("binlog.{number:06}:{}", size.min(offset));
                let place = Coordinates { position: position.parse().ok(), ..Coordinates::of(Tool::ByHand) };
                all.push(place);
            }
            for (at, coordinates) in all.iter().enumerate() {
                bucket.backup(&format!("b{at}"), coordinates.clone()).await;
            }
            let mut pruner = bucket.pruner().await;
            let before = can(&pruner.index, &all);
            let visible = |pruner: &Pruner, timeline| names(&pruner.index, timeline);
            let was = [visible(&pruner, 1), visible(&pruner, 2)];
            let wanted = match keep {
                Some(count) => Wanted::Backups(count),
                None => since(end_of(cut)),
            };
            let recorded = match record(&pruner, &wanted).await {
                Ok((recorded, _)) => recorded,
                Err(error) => {
                    prop_assert!(error.downcast_ref::<Refusal>().is_some(), "{error:#}");
                    prop_assert_eq!(can(&pruner.index, &all), before);
                    return Ok(());
                }
            };
            // Everything that could be recovered can be, from the same place, for the same time, on each timeline.
            for ((verdict, needs), (verdict_now, needs_now)) in before.iter().zip(can(&pruner.index, &all)) {
                if verdict.window().is_some() {
                    prop_assert_eq!(verdict, &verdict_now);
                }
                for need in needs {
                    if let (_, Need::From { .. } | Need::Unknown(_)) = need {
                        prop_assert!(needs_now.contains(need), "{need:?} of {needs_now:?}");
                    }
                }
            }
            // A prefix of each timeline went, and never the newest segment of the one that goes on.
            for (timeline, was) in [1, 2].into_iter().zip(&was) {
                let is = visible(&pruner, timeline);
                prop_assert!(was.ends_with(&is), "{was:?} became {is:?}");
            }
            let newest = pruner.index.state().expect("reads").and_then(|state| state.newest_segment());
            let newest = newest.and_then(|seq| pruner.index.entry_by_seq(seq).expect("reads"));
            let newest = newest.expect("there is a segment");
            prop_assert!(visible(&pruner, newest.timeline.0).contains(&newest.mount_name.to_string()));
            // Seen as if nothing had been pruned, all is as it was.
            let unpruned = pruner.index.unpruned().expect("opens");
            prop_assert_eq!(can(&unpruned, &all), before);
            drop(unpruned);
            // What is deleted is what was pruned, and nothing stops it.
            pruner.now = Micros(Micros::now().0 + 1_000_000);
            let removal = remove(&pruner, NO_GRACE).await;
            prop_assert_eq!(removal.blocked.len() + removal.kept.len(), 0, "{:?}", removal);
            let mut kept = Vec::new();
            for timeline in [1, 2] {
                for entry in pruner.index.entries(Timeline(timeline), None, 1000).expect("lists") {
                    kept.extend(entry.segment.map(|segment| segment.object.key));
                }
            }
            kept.sort();
            prop_assert_eq!(bucket.segments(), kept);
            prop_assert!(recorded.len() <= 2);
            Ok(())
        })?;
    }
}

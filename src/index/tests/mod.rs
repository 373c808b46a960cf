//! What an index must know and survive.

mod applying;
mod fences;
mod file;
mod lost;
mod pages;
mod questions;
mod unsynced;

use super::*;
use crate::ledger::record::{SegmentRecord, SupersedeReason};
use crate::ledger::testing::{self, SEGMENT_SECONDS, TRANSACTIONS, Writer, moved, segment};
use crate::ledger::{Body, EntryState, Line};
use crate::model::{
    Gtid, GtidSet, GtidSource, Micros, MountName, SegmentNumber, Seq, Sha256, Timeline,
};
use proptest::prelude::*;

const T1: Timeline = Timeline(1);

fn begun() -> Index {
    let index = Index::in_memory().expect("opens");
    begin(&index);
    index
}

fn begin(index: &Index) {
    let file = testing::stream_file();
    index.begin(&file, &file.write()).expect("begins");
}

fn with(bodies: Vec<Body>) -> Index {
    let index = begun();
    index.apply(&steps(bodies)).expect("applies");
    index
}

fn steps(bodies: Vec<Body>) -> Vec<Step> {
    let mut writer = Writer::default();
    bodies
        .into_iter()
        .map(|body| Step::Line(writer.write(body)))
        .collect()
}

/// The steps with some places lost.
fn losing(bodies: Vec<Body>, lost: &[u64]) -> Vec<Step> {
    steps(bodies)
        .into_iter()
        .map(|step| match step.seq() {
            seq if lost.contains(&seq.0) => Step::Lost {
                seq,
                reason: "bits".to_owned(),
            },
            _ => step,
        })
        .collect()
}

fn seg(number: u64) -> Body {
    Body::Segment(Box::new(segment(number)))
}

fn boxed(segment: SegmentRecord) -> Body {
    Body::Segment(Box::new(segment))
}

fn superseding(old: u64, number: u64, reason: SupersedeReason) -> Body {
    Body::Supersede(Box::new(testing::supersede(old, number, reason)))
}

fn name(text: &str) -> MountName {
    text.parse().expect("a name")
}

fn names(index: &Index, timeline: u32) -> Vec<String> {
    let rows = index
        .rows(Timeline(timeline), None, usize::MAX)
        .expect("lists");
    listing_agrees(index, &rows, Timeline(timeline));
    rows.iter()
        .map(|row| match row.state {
            EntryState::Archived => row.mount_name.to_string(),
            state => format!("{} {state:?}", row.mount_name),
        })
        .collect()
}

/// The chunks of a timeline say what its rows say, and leave only its ends out.
fn listing_agrees(index: &Index, rows: &[EntryRow], timeline: Timeline) {
    let chunks = index.listing(timeline).expect("reads");
    let mut found = Vec::new();
    for chunk in &chunks {
        let mut listed = Vec::new();
        index
            .listed(chunk, |row| listed.push(format!("{row:?}")))
            .expect("reads");
        assert_eq!(listed.len() as u64, chunk.entries);
        found.append(&mut listed);
    }
    let said: Vec<String> = rows
        .iter()
        .map(|row| {
            let row = ListedRow {
                seq: row.seq,
                name: row.mount_name.as_str(),
                state: row.state,
                size: row.size,
                stored_size: row.stored_size,
                time: row.last_time.or(row.first_time),
            };
            format!("{row:?}")
        })
        .collect();
    let Some(first) = chunks.first() else {
        return assert!(said.len() < 8, "{} entries in no chunk", said.len());
    };
    let before = rows.partition_point(|row| row.mount_name < first.first_name);
    assert_eq!(said[before..before + found.len()], found);
    let after = said.len() - before - found.len();
    assert!(
        before < 8 && after < 8,
        "{before} before the chunks, {after} after them"
    );
    let ends = |row: Option<&EntryRow>| row.map(|row| (row.seq, row.mount_name.clone()));
    for chunk in &chunks {
        let at = |name: &MountName| ends(rows.iter().find(|row| row.mount_name == *name));
        assert_eq!(
            at(&chunk.first_name),
            Some((chunk.first_seq, chunk.first_name.clone()))
        );
        assert_eq!(
            at(&chunk.last_name),
            Some((chunk.last_seq, chunk.last_name.clone()))
        );
    }
}

fn gtid(number: u64) -> Gtid {
    Gtid {
        source: testing::source(),
        number,
    }
}

/// The tables that do not depend on whether records came in pages or singly.
const MADE_OF_RECORDS: [&str; 9] = [
    "entries",
    "aliases",
    "objects",
    "sources",
    "runs",
    "bounds",
    "breaks",
    "positions",
    "listing",
];

/// Everything the tables hold, as text.
fn dump(index: &Index) -> String {
    dump_of(
        index,
        &[
            "lines", "entries", "aliases", "objects", "sources", "runs", "bounds", "breaks", "meta",
        ],
    )
}

fn dump_of(index: &Index, tables: &[&str]) -> String {
    let inner = index.lock();
    let mut text = String::new();
    for table in tables {
        // No two indexes are of one making.
        let which = match *table {
            "meta" => " WHERE name <> 'made'",
            _ => "",
        };
        let mut query = inner
            .conn
            .prepare(
                &format!("SELECT * FROM {table}{which} ORDER BY 1, 2, 3")
                    .replace(", 3", if *table == "runs" { ", 3, 4" } else { "" }),
            )
            .expect("a query");
        let columns = query.column_count();
        let mut rows = query.query([]).expect("rows");
        while let Some(row) = rows.next().expect("a row") {
            for column in 0..columns {
                text.push_str(&format!("{:?}|", row.get_ref(column).expect("a value")));
            }
            text.push('\n');
        }
    }
    text
}

/// A closed index file with five segments, and its dump.
fn file_index(dir: &std::path::Path) -> (std::path::PathBuf, String) {
    let path = dir.join("deep/er/index.db");
    let (index, opened) = Index::open(&path).expect("opens");
    assert_eq!(opened, Opened::Fresh);
    begin(&index);
    index
        .apply(&steps((1..=50).map(seg).collect()))
        .expect("applies");
    let full = dump(&index);
    drop(index);
    let (index, opened) = Index::open(&path).expect("opens");
    assert_eq!(opened, Opened::Existing);
    assert_eq!(dump(&index), full);
    (path, full)
}

fn rebuilt(path: &std::path::Path) -> (Opened, String) {
    let (index, opened) = Index::open(path).expect("opens");
    begin(&index);
    index
        .apply(&steps((1..=50).map(seg).collect()))
        .expect("applies");
    (opened, dump(&index))
}

fn arbitrary_segments() -> impl Strategy<Value = Vec<GtidSet>> {
    let run = (0u32..3, 0u64..400, prop_oneof![0u64..3, 0u64..300]);
    let set = proptest::collection::vec(run, 0..6).prop_map(|runs| {
        let mut set = GtidSet::new();
        for (server, first, more) in runs {
            set.insert_run(
                GtidSource::MariaDb { domain: 0, server },
                first,
                first + more,
            );
        }
        set
    });
    proptest::collection::vec(set, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn holding_finds_what_a_look_at_every_set_finds(sets in arbitrary_segments()) {
        let bodies = sets.iter().zip(1..).map(|(set, number)| {
            let mut segment = segment(number);
            segment.gtids = set.clone();
            (segment.previous_gtids, segment.previous_gtids_sha256) = (None, None);
            boxed(segment)
        });
        let index = with(bodies.collect());
        for server in 0..3 {
            for number in (0..710).step_by(7) {
                let gtid = Gtid { source: GtidSource::MariaDb { domain: 0, server }, number };
                let expected: Vec<u64> = sets.iter().zip(1..).filter(|(s, _)| s.contains(&gtid)).map(|(_, n)| n).collect();
                let found: Vec<u64> = index.holding(&gtid).expect("reads").iter().map(|e| e.seq.0).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn overlapping_finds_what_a_look_at_every_time_finds(
        spans in proptest::collection::vec((-500i64..500, prop_oneof![0i64..4, 0i64..900]), 1..12),
        from in -600i64..600,
        length in 0i64..400,
    ) {
        let bodies = spans.iter().zip(1..).map(|((first, more), number)| {
            let mut segment = segment(number);
            segment.min_time = Some(Micros(*first));
            segment.max_time = Some(Micros(first + more));
            boxed(segment)
        });
        let index = with(bodies.collect());
        let to = from + length;
        let expected: Vec<u64> = spans.iter().zip(1..).filter(|((f, m), _)| *f <= to && f + m >= from).map(|(_, n)| n).collect();
        let rows = index.overlapping(T1, Micros(from), Micros(to)).expect("reads");
        prop_assert_eq!(rows.iter().map(|r| r.seq.0).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_moment_is_found_as_by_looking_at_every_entry(
        shape in proptest::collection::vec(proptest::option::weighted(0.8, 0i64..40), 1..30),
        pruned in 0usize..30,
        filled in 0usize..30,
        late in 0i64..60,
        time in -1i64..61,
    ) {
        // Every seventh is a hole at first; one of them may be filled later.
        let is_hole = |number: u64| number.is_multiple_of(7);
        let mut times: Vec<Option<i64>> = shape.clone();
        let made = |number: u64, latest: Option<i64>| {
            let mut segment = segment(number);
            segment.latest_commit = latest.map(Micros);
            segment.previous_gtids = Some(testing::executed(number - 1));
            segment.previous_gtids_sha256 = None;
            segment
        };
        let mut bodies: Vec<Body> = times.iter().zip(1..).map(|(latest, number)| match is_hole(number) {
            true => Body::Hole(testing::hole(number)),
            false => boxed(made(number, *latest)),
        }).collect();
        for (number, latest) in (1..).zip(&mut times) {
            if is_hole(number) {
                *latest = None;
            }
        }
        let hole = (filled as u64 / 7) * 7;
        if hole > 0 && hole <= times.len() as u64 {
            let mut supersede = testing::supersede(hole, hole, SupersedeReason::HoleFilled);
            supersede.segment.latest_commit = Some(Micros(late));
            times[hole as usize - 1] = Some(late);
            bodies.push(Body::Supersede(Box::new(supersede)));
        }
        if pruned > 0 && pruned < times.len() {
            bodies.push(Body::Prune(testing::prune(pruned as u64)));
        }
        let visible = if pruned < times.len() { pruned } else { 0 };
        let index = with(bodies);
        let moment = index.moment(T1, Micros(time)).expect("reads");
        let at = |row: &Option<EntryRow>| row.as_ref().map(|row| row.number.0 as usize - 1);
        let after = (visible..times.len()).find(|n| times[*n].is_some_and(|t| t > time));
        prop_assert_eq!(at(&moment.after), after);
        let end = after.unwrap_or(times.len());
        let unsound = |n: &usize| is_hole(*n as u64 + 1) && *n as u64 + 1 != hole;
        let before = (visible..end).rev().find(|n| times[*n].is_some() || unsound(n));
        prop_assert_eq!(at(&moment.before), before);
        let earlier = before.and_then(|end| (visible..end).rev().find(|n| times[*n].is_some()));
        prop_assert_eq!(at(&moment.earlier), earlier);
        // The row tells the latest commit so far, of pruned ones too.
        let through = |n: usize| times[..=n].iter().flatten().max().map(|t| Micros(*t));
        for row in [moment.before, moment.after].into_iter().flatten() {
            prop_assert_eq!(row.latest_through, through(row.number.0 as usize - 1));
        }
    }

    #[test]
    fn random_damage_to_the_file_never_panics_and_a_rebuild_is_equal(
        places in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, full) = file_index(dir.path());
        let mut bytes = std::fs::read(&path).expect("reads");
        for (at, value) in &places {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        std::fs::write(&path, &bytes).expect("writes");
        // Whatever is found is told as an error; what is found right must be right.
        if let Ok((index, opened)) = Index::open(&path) {
            if opened == Opened::Existing {
                for number in 1..=50 {
                    let expected = segment(number);
                    if let Ok(Some(entry)) = index.entry(T1, &expected.mount_name) {
                        prop_assert_eq!(entry.segment.as_deref(), Some(&expected));
                    }
                }
            }
            drop(index);
        }
        for file in std::fs::read_dir(path.parent().expect("a parent")).expect("lists") {
            std::fs::remove_file(file.expect("an entry").path()).expect("deletes");
        }
        prop_assert_eq!(rebuilt(&path), (Opened::Fresh, full));
    }
}

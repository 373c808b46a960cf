//! Random bases and targets in a real server's history: each plan is the one that a look at every transaction gives.

mod aim;

use crate::locate::reference::{glob, printed, replayed};
use crate::locate::{History, created, history, opened};
use crate::mysql::mysqlbinlog;
use crate::random::Random;
use crate::tools;
use aim::{Aim, aim, before_hole, borders, nearest};
use binlogfs::locate::FilePosition;
use binlogfs::model::{GtidSet, Micros, Timeline};
use binlogfs::recover::{
    Plan, PlanError, Planner, Question, RefusalKind, Start, StopDatetime, Target,
};
use std::path::{Path, PathBuf};

/// Targets that are asked for.
const TARGETS: usize = 200;
/// Of so many plans, one is handed to the real mysqlbinlog.
const REPLAYED_ONE_IN: u64 = 6;

/// What a plan should be: which transactions of the history it replays, or why there is none.
#[derive(Debug, PartialEq)]
enum Wanted {
    /// Those from one place up to another, by their places in the history; what the base has among them is passed over.
    Replay(std::ops::Range<usize>),
    Nothing(usize),
    Refused(RefusalKind),
}

#[test]
fn two_hundred_random_targets_are_planned_as_by_looking_at_every_transaction() {
    let history = history();
    let mut random = Random::seeded();
    let mounted = history.archive.mount();
    let counts = ask_all(&history, &mut random, mounted.dir());
    println!("{counts:?}");
    assert!(
        counts.planned > TARGETS / 4 && counts.replayed > 0 && counts.refused > 20,
        "{counts:?}"
    );
}

#[derive(Debug, Default)]
struct Counts {
    planned: usize,
    nothing: usize,
    refused: usize,
    replayed: usize,
    /// Where `--stop-datetime` would have ended elsewhere.
    elsewhere: usize,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn ask_all(history: &History, random: &mut Random, mount: &Path) -> Counts {
    let (index, reader, _) = opened(&history.archive).await;
    let planner = Planner::new(index, reader);
    let created = created(history);
    let mut counts = Counts::default();
    let borders = borders(history);
    assert!(borders.len() > 2, "{} borders", borders.len());
    let random_ones = std::iter::repeat_with(|| None).take(TARGETS);
    for border in borders.into_iter().map(Some).chain(random_ones) {
        let (aim, (start, has)) =
            border.unwrap_or_else(|| (aim(history, random, created), base(history, random)));
        let question = Question {
            timeline: Timeline(1),
            start,
            target: aim.target.clone(),
            skip: GtidSet::new(),
        };
        let wanted = wanted(history, &question.start, &has, &aim);
        match (wanted, planner.plan(&question).await) {
            (Wanted::Replay(range), Ok(plan)) => {
                counts.planned += 1;
                check(history, &plan, range.clone(), &has);
                if random.one_in(REPLAYED_ONE_IN) {
                    counts.replayed += 1;
                    replay(history, &plan, range.clone(), mount);
                    clock(history, &plan, range, mount, &mut counts);
                }
            }
            (Wanted::Nothing(end), Ok(plan)) => {
                counts.nothing += 1;
                assert!(plan.segments.is_empty(), "{question:?}: {plan:?}");
                // Of the file that the target stands in: before the first transaction of a file there is none.
                let last = end.checked_sub(1).map(|n| &history.told[n]);
                let last = last.filter(|last| last.file == plan.stop.place.file.as_str());
                assert_eq!(
                    plan.stop.last.map(|found| found.end),
                    last.map(|last| last.end),
                    "{question:?}"
                );
            }
            (Wanted::Refused(kind), Err(PlanError::Refused(refusal))) => {
                counts.refused += 1;
                assert_eq!(refusal.kind, kind, "{question:?}: {refusal}");
                nearest(&planner, &question, &refusal).await;
            }
            (wanted, got) => panic!("{question:?}: {got:?} instead of {wanted:?}"),
        }
    }
    counts
}

/// A base, and the places of what it has: those of the hole come behind all others.
fn base(history: &History, random: &mut Random) -> (Start, Vec<bool>) {
    let (told, hole) = (&history.told, before_hole(history));
    let all = told.len() + history.lost.len();
    let mut has = vec![false; all];
    match random.below(4) {
        0 => (Start::Beginning, has),
        1 => {
            let n = random.below(told.len() as u64) as usize;
            has[..n].fill(true);
            has[told.len()..].fill(n >= hole);
            let at = FilePosition {
                file: told[n].file.clone(),
                offset: told[n].start,
            };
            (Start::Position(at), has)
        }
        kind => {
            // All up to somewhere, in or out of the hole; sometimes without a few of them.
            let n = random.below(told.len() as u64 + 1) as usize;
            has[..n].fill(true);
            if n > hole {
                has[told.len()..].fill(true);
            } else if n == hole {
                let some = random.below(history.lost.len() as u64 + 1) as usize;
                has[told.len()..told.len() + some].fill(true);
            }
            if kind == 3 && n > 3 {
                for _ in 0..random.below(3) {
                    has[random.below(n as u64) as usize] = false;
                }
            }
            let mut set = GtidSet::new();
            let everything = told.iter().chain(&history.lost);
            let gtids = everything.zip(&has).filter(|(_, has)| **has);
            set.extend(gtids.map(|(told, _)| told.gtid.parse().expect("a GTID")));
            (Start::Gtids(set), has)
        }
    }
}

fn wanted(history: &History, start: &Start, has: &[bool], aim: &Aim) -> Wanted {
    let (told, hole) = (&history.told, before_hole(history));
    let (end, in_next) = match aim.end {
        Ok(end) => end,
        Err(kind) => return Wanted::Refused(kind),
    };
    // Behind the hole: the boundary stands in a file that comes after it.
    let end_behind = end > hole || (end == hole && in_next);
    let lost_had = has[told.len()..].iter().all(|has| *has);
    let first = has[..told.len()].iter().position(|has| !has);
    let by_set = matches!(start, Start::Gtids(set) if !set.is_empty());
    // A base that lacks something of the hole begins before it.
    let begin = match first {
        Some(first) if by_set && first >= hole && !lost_had => hole,
        Some(first) => first,
        None if by_set && !lost_had => hole,
        None => told.len(),
    };
    let begin_behind = match start {
        Start::Position(_) => begin >= hole,
        _ => begin > hole || (begin == hole && lost_had),
    };
    let beyond = has[..told.len()].iter().skip(end).any(|has| *has)
        || (!end_behind && has[told.len()..].iter().any(|has| *has));
    if beyond {
        return Wanted::Refused(RefusalKind::BaseTooNew);
    }
    let backwards = (end_behind, end) < (begin_behind, begin);
    if !backwards && end_behind && !begin_behind {
        return Wanted::Refused(RefusalKind::Missing);
    }
    if backwards {
        return Wanted::Nothing(end);
    }
    match begin == end {
        true => Wanted::Nothing(end),
        false => Wanted::Replay(begin..end),
    }
}

fn check(history: &History, plan: &Plan, range: std::ops::Range<usize>, has: &[bool]) {
    let told = &history.told;
    let (first, last) = (&told[range.start], &told[range.end - 1]);
    let found = plan.begin.first.as_ref().expect("there is a first");
    assert_eq!(
        found.gtid.as_ref().map(ToString::to_string).as_ref(),
        Some(&first.gtid)
    );
    assert_eq!(
        (plan.begin.place.file.as_str(), plan.begin.place.position),
        (first.file.as_str(), first.start)
    );
    let stop = (plan.stop.place.file.as_str(), plan.stop.place.position);
    let next = told.get(range.end);
    let stops = [
        Some((last.file.as_str(), last.end)),
        next.map(|next| (next.file.as_str(), next.start)),
    ];
    assert!(stops.contains(&Some(stop)), "{stop:?} is none of {stops:?}");
    if let Some(found) = &plan.stop.last {
        assert_eq!((found.start, found.end), (last.start, last.end));
        assert_eq!(found.commit_time, last.committed);
    }
    // What is left out first; behind a hole it is not known.
    if let (Some(found), Some(next)) = (&plan.stop.next, next) {
        assert_eq!(
            found.gtid.as_ref().map(ToString::to_string).as_ref(),
            Some(&next.gtid)
        );
    }
    let mut adds = GtidSet::new();
    let lacking = range.clone().filter(|n| !has[*n]);
    adds.extend(lacking.map(|n| told[n].gtid.parse().expect("a GTID")));
    assert_eq!(plan.adds, adds);
    let mut files: Vec<&str> = told[range].iter().map(|told| told.file.as_str()).collect();
    files.push(stop.0);
    files.dedup();
    let pieces: Vec<&str> = plan.segments.iter().map(|piece| piece.file).collect();
    assert_eq!(pieces, files);
}

/// What mysqlbinlog prints between the plan's positions is what the plan says.
fn replay(history: &History, plan: &Plan, range: std::ops::Range<usize>, mount: &Path) {
    let files: Vec<_> = plan
        .segments
        .iter()
        .map(|piece| mount.join(piece.file))
        .collect();
    let mut command = mysqlbinlog();
    command.args(["--verify-binlog-checksum", "--base64-output=DECODE-ROWS"]);
    if !plan.begin.at_first {
        command.arg(format!("--start-position={}", plan.begin.place.position));
    }
    command
        .arg(format!("--stop-position={}", plan.stop.place.position))
        .args(&files);
    let replayed_here = tools::run_text(&mut command);
    let told: Vec<&str> = history.told[range]
        .iter()
        .map(|told| told.gtid.as_str())
        .collect();
    assert_eq!(gtids(&replayed_here), told);
    // And so is what the mount's directory for it holds.
    let (begin, stop) = (&plan.begin.place, &plan.stop.place);
    let part = mount.join(format!(
        ".range/{}:{}/{}:{}",
        begin.file, begin.position, stop.file, stop.position
    ));
    assert_eq!(replayed(&glob(&part)), told);
}

/// Where the real `mysqlbinlog --stop-datetime` ends is where the plan says.
fn clock(
    history: &History,
    plan: &Plan,
    range: std::ops::Range<usize>,
    mount: &Path,
    counts: &mut Counts,
) {
    let (Target::Time(time), Some(said)) = (&plan.question.target, &plan.stop_datetime) else {
        return;
    };
    let first = mount.join(plan.begin.place.file.as_str());
    let files: Vec<PathBuf> = glob(mount)
        .into_iter()
        .filter(|path| *path >= first && path.metadata().is_ok_and(|file| file.len() > 0))
        .collect();
    let start = match plan.begin.at_first {
        true => 4,
        false => plan.begin.place.position,
    };
    let datetime = Micros(time.seconds() * 1_000_000).to_string();
    let datetime = datetime.trim_end_matches('Z').replace('T', " ");
    let mut command = mysqlbinlog();
    command
        .arg("--base64-output=DECODE-ROWS")
        .arg(format!("--start-position={start}"))
        .arg(format!("--stop-datetime={datetime}"))
        .args(&files);
    let stopped = tools::run_text(&mut command);
    match said {
        StopDatetime::Same => {
            let told: Vec<&str> = history.told[range]
                .iter()
                .map(|told| told.gtid.as_str())
                .collect();
            assert_eq!(gtids(&stopped), told, "{time}");
        }
        StopDatetime::Elsewhere { file, position, .. } => {
            counts.elsewhere += 1;
            // Each file by itself, so that it is known which an event stands in.
            let all: Vec<(&PathBuf, u64)> = files
                .iter()
                .flat_map(|file| {
                    let events = positions(&printed(std::slice::from_ref(file)));
                    events.into_iter().map(move |at| (file, at))
                })
                .filter(|(file, at)| **file != first || *at >= start || *at == 4)
                .collect();
            let wanted = (&mount.join(file.as_str()), *position);
            let ends = all.iter().position(|at| *at == wanted);
            let ends = ends.unwrap_or_else(|| panic!("no event at {file}:{position}"));
            // The last event that was printed is the one before that.
            let before = ends.checked_sub(1).map_or(4, |before| all[before].1);
            let stopped = positions(&stopped);
            // Told where to start, mysqlbinlog gives the format description a position that it does not have.
            match ends <= 1 && start > 4 {
                true => assert_eq!(stopped.len(), ends, "{time}: {said:?}"),
                false => assert_eq!(
                    stopped.last().copied().unwrap_or(4),
                    before,
                    "{time}: {said:?}"
                ),
            }
        }
        StopDatetime::Beyond => {}
        StopDatetime::Unknown => panic!("it is a small history"),
    }
}

/// Offsets of the events that mysqlbinlog printed.
fn positions(printed: &str) -> Vec<u64> {
    let at = printed
        .lines()
        .filter_map(|line| line.strip_prefix("# at "));
    at.map(|position| position.parse().expect("a position"))
        .collect()
}

/// GTIDs of the transactions that mysqlbinlog printed.
fn gtids(printed: &str) -> Vec<&str> {
    printed
        .lines()
        .filter_map(|line| {
            line.strip_prefix("SET @@SESSION.GTID_NEXT= '")?
                .split('\'')
                .next()
        })
        .filter(|gtid| *gtid != "AUTOMATIC")
        .collect()
}

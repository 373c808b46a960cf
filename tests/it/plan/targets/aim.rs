//! Bases and targets to draw, and what is to be had of each.

use crate::locate::reference::Told;
use crate::locate::{Expected, History, expected};
use crate::random::Random;
use binlogfs::locate::{FilePosition, RefusalKind as Refused};
use binlogfs::model::{GtidSet, Micros};
use binlogfs::recover::{PlanError, Planner, Question, Refusal, RefusalKind, Start, Target};

/// A target, and where its boundary is: the number of transactions before it, and whether it stands in the file of the one
/// behind it.
pub struct Aim {
    pub target: Target,
    pub end: Result<(usize, bool), RefusalKind>,
}

/// Where one file ends and the next begins, to a base that has all before it: seldom met at random.
pub fn borders(history: &History) -> Vec<(Aim, (Start, Vec<bool>))> {
    let (told, hole) = (&history.told, before_hole(history));
    let firsts = (1..told.len()).filter(|n| told[*n].file != told[n - 1].file);
    let both = |n: usize| {
        let mut has = vec![false; told.len() + history.lost.len()];
        has[..n].fill(true);
        has[told.len()..].fill(n >= hole);
        let mut set = GtidSet::new();
        let everything = told.iter().chain(&history.lost);
        let gtids = everything.zip(&has).filter(|(_, has)| **has);
        set.extend(gtids.map(|(told, _)| told.gtid.parse().expect("a GTID")));
        let at = FilePosition {
            file: told[n].file.clone(),
            offset: told[n].start,
        };
        let starts = [Start::Position(at), Start::Gtids(set)];
        starts.map(|start| {
            let gtid = told[n].gtid.parse().expect("a GTID");
            let aim = Aim {
                target: Target::Before(gtid),
                end: Ok((n, true)),
            };
            (aim, (start, has.clone()))
        })
    };
    firsts.flat_map(both).collect()
}

/// The number of transactions before the hole.
pub fn before_hole(history: &History) -> usize {
    let lost = &history.lost[0].file;
    history.told.iter().take_while(|t| t.file < *lost).count()
}

pub fn aim(history: &History, random: &mut Random, created: Micros) -> Aim {
    let told = &history.told;
    let pick = |random: &mut Random| random.below(told.len() as u64) as usize;
    match random.below(10) {
        // Moments: on, right beside and anywhere around transactions.
        0..=4 => {
            let all: Vec<&Told> = told.iter().chain(&history.lost).collect();
            let near = all[random.below(all.len() as u64) as usize].committed;
            let time = match random.below(4) {
                0 => near,
                1 => Micros(near.0 - 1),
                2 => Micros(near.0 + random.below(400_000) as i64),
                _ => {
                    let (from, to) = (created.0 - 2_000_000, told[told.len() - 1].committed.0);
                    Micros(from + random.below((to - from) as u64 + 1_000_000) as i64)
                }
            };
            Aim {
                target: Target::Time(time),
                end: of_time(history, created, time),
            }
        }
        5 => {
            let n = pick(random);
            let gtid = told[n].gtid.parse().expect("a GTID");
            Aim {
                target: Target::Before(gtid),
                end: Ok((n, true)),
            }
        }
        6 => {
            let n = pick(random);
            let gtid = told[n].gtid.parse().expect("a GTID");
            Aim {
                target: Target::After(gtid),
                end: Ok((n + 1, false)),
            }
        }
        7 => {
            let n = random.below(history.lost.len() as u64) as usize;
            let gtid = history.lost[n].gtid.parse().expect("a GTID");
            Aim {
                target: Target::After(gtid),
                end: Err(RefusalKind::Missing),
            }
        }
        8 => {
            let n = pick(random);
            let inside = random.below(2) * (1 + random.below(told[n].end - told[n].start - 1));
            Aim {
                target: Target::Position(FilePosition {
                    file: told[n].file.clone(),
                    offset: told[n].start + inside,
                }),
                end: match inside {
                    0 => Ok((n, true)),
                    _ => Err(RefusalKind::Inside),
                },
            }
        }
        _ => Aim {
            target: Target::End,
            end: Ok((told.len(), false)),
        },
    }
}

pub fn of_time(
    history: &History,
    created: Micros,
    time: Micros,
) -> Result<(usize, bool), RefusalKind> {
    let place = |told: &Told| {
        let found = history.told.iter().position(|t| t.gtid == told.gtid);
        found.expect("it is one of them")
    };
    match expected(history, created, time) {
        Expected::Before(told) => Ok((place(&told), true)),
        Expected::Behind(told) => Ok((place(&told) + 1, false)),
        Expected::Refused(Refused::TooEarly) => Err(RefusalKind::TooEarly),
        Expected::Refused(Refused::TooLate) => Err(RefusalKind::TooLate),
        Expected::Refused(Refused::Missing) => Err(RefusalKind::Missing),
        Expected::Refused(other) => panic!("{other:?}"),
    }
}

/// What a refusal offers can be had.
pub async fn nearest(planner: &Planner, question: &Question, refusal: &Refusal) {
    if let Some(time) = refusal.before.as_ref().and_then(|before| before.time) {
        let instead = Question {
            target: Target::Time(time),
            ..question.clone()
        };
        match planner.plan(&instead).await {
            Ok(plan) => {
                let before = refusal.before.as_ref().expect("there is one");
                assert_eq!(plan.stop.place.position, before.position, "{question:?}");
            }
            // The base may be newer than that, which is another matter.
            Err(PlanError::Refused(other)) => {
                assert_ne!(other.kind, refusal.kind, "{question:?}: {refusal}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

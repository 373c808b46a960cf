//! An import that is killed again and again: what is left converges to every file once and in order.

use super::name_of;
use super::pile::{Pile, STORED};
use crate::archive::Archive;
use crate::kill::{check_converged, killed_after, rotate};
use crate::random::Random;
use crate::synthetic::SyntheticServer;
use std::time::{Duration, Instant};

/// Runs that are really killed.
const KILLS: u32 = 15;
/// Files in the pile: more than are imported by all the runs that are killed.
const FILES: usize = 60;
/// Runs that may end before their kill comes, for each kill.
const ESCAPES_PER_KILL_MAX: u32 = 7;

/// How long an import of all takes, and one that finds all there.
fn unharmed(pile: &Pile) -> (Duration, Duration) {
    let archive = Archive::encrypted();
    let timed = || {
        let begun = Instant::now();
        pile.json(&archive, &[], 0);
        begun.elapsed()
    };
    (timed(), timed())
}

#[test]
fn an_import_that_is_killed_at_random_moments_archives_everything_once() {
    let mut random = Random::seeded();
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..FILES).for_each(|_| rotate(&mut server));
    let mut pile = Pile::new(archive.path("pile"));
    for (n, path) in server.closed().iter().enumerate() {
        let dir = random.below(7);
        pile.add(
            &format!("{dir}/{}", name_of(path)),
            path,
            STORED[n % STORED.len()],
        );
    }
    let (whole, survey) = unharmed(&pile);
    let step = whole.saturating_sub(survey) / KILLS;
    let (mut kills, mut escapes, mut progressed) = (0, 0, 0);
    while kills < KILLS {
        let before = archive.keys("ledger").len();
        if before >= FILES {
            break;
        }
        // In the survey, or in what a part of the files takes.
        let delay = survey.mul_f64(0.3 + random.fraction()) + step.mul_f64(random.fraction());
        if killed_after(&mut pile.import(&archive), delay) {
            kills += 1;
            progressed += usize::from(archive.keys("ledger").len() > before);
        } else {
            escapes += 1;
            assert!(
                escapes < KILLS * ESCAPES_PER_KILL_MAX,
                "{kills} kills in {escapes} runs: the measured time is wrong"
            );
        }
    }
    println!(
        "unharmed {whole:?}, survey {survey:?}; {kills} kills, {progressed} after a record, {escapes} escaped"
    );
    assert!(
        progressed > 0,
        "some runs came far enough to be worth killing"
    );
    pile.json(&archive, &[], 0);
    check_converged(&archive, &server);
    let again = pile.json(&archive, &[], 0);
    assert_eq!(again["archived"], serde_json::json!([]));
    assert_eq!(again["already_archived"], FILES);
}

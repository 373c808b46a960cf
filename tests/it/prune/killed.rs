//! Killed at any moment and run again, it comes to the same end.

use super::*;
use crate::random::Random;
use std::process::Stdio;
use std::time::Instant;

/// Files of each archive: enough that deleting takes as long as all else.
const FILES: usize = 150;
/// Kills that must hit.
const KILLS: usize = 12;
/// Runs that may end before their kill.
const ESCAPES_MAX: usize = 100;

fn command(archive: &Archive) -> std::process::Command {
    let url = archive.url();
    let mut command =
        archive.command(&["prune", &url, "--keep", "1s", "--execute", "--grace", "0s"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// How far it had come: nothing, recorded, some deleted, all deleted.
fn stage(archive: &Archive) -> usize {
    match (archive.keys("ledger").len() - FILES, objects(archive).len()) {
        (0, _) => 0,
        (_, FILES) => 1,
        (_, 2) => 3,
        _ => 2,
    }
}

#[test]
fn killed_at_any_moment_and_run_again_it_deletes_what_it_was_to_delete() {
    let mut random = Random::seeded();
    let (mut hit, mut escaped, mut stages) = (0, 0, [0; 4]);
    while hit < KILLS {
        let (archive, _) = archived(Archive::in_memory(false), FILES);
        backup(&archive, "late", FILES as u64 * TRANSACTIONS - 5, 0);
        // An index that is there, so that the run itself is what is killed.
        names(&archive, &[]);
        let begun = Instant::now();
        prune(&archive, &["--keep", "1s"], 0);
        let look = begun.elapsed();
        for _ in 0..10 {
            let mut child = command(&archive).spawn().expect("starts");
            std::thread::sleep(look.mul_f64(2.0 * random.fraction()).min(LONG));
            child.kill().expect("can be killed, or has ended");
            let status = child.wait().expect("is our child");
            let stage = stage(&archive);
            if status.code().is_some() {
                assert_eq!(status.code(), Some(0));
                escaped += 1;
                assert!(
                    escaped < ESCAPES_MAX,
                    "{hit} kills: the measured time is wrong"
                );
                break;
            }
            hit += 1;
            stages[stage] += 1;
            // Whatever was done, nothing is missed and nothing is too much.
            archive.json("verify", &["--orphans"], 0);
        }
        // A record is there at most once, and everything else goes.
        prune(&archive, &["--keep", "1s", "--execute", "--grace", "0s"], 0);
        assert_eq!(archive.keys("ledger").len(), FILES + 1);
        assert_eq!(objects(&archive).len(), 2);
        assert_eq!(names(&archive, &[]).len(), 2);
        archive.verify();
    }
    println!(
        "{hit} kills: {stages:?} before the record, before, while and after deleting; {escaped} escaped"
    );
}

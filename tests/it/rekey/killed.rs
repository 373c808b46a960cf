//! Killed at random moments beside an archiver that goes on: every segment is re-keyed once, and the chain holds.

use super::Scene;
use crate::random::Random;
use crate::tools;
use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;
use std::time::Duration;

/// Segments in the beginning.
const SEGMENTS: usize = 120;
/// Runs that are killed at most.
const KILLS: usize = 12;

#[test]
fn killed_beside_an_archiver_it_goes_on_and_re_keys_every_segment_once() {
    let mut random = Random::seeded();
    let mut scene = Scene::new(0);
    (0..SEGMENTS).for_each(|_| scene.server.rotate(1, 2000));
    scene.archive.archive(scene.server.dir());
    let (old, new) = (scene.old(), scene.key("new"));
    let mut interrupted = 0;
    for kill in 0..KILLS {
        scene.server.rotate(1, 2000);
        let before = scene.records();
        let mut archiver = scene
            .archive
            .archive_command(scene.server.dir())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut rekey = scene
            .rekey_command(&old, &[&new], &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        // At once, after a record that may be the archiver's, or after one that is not.
        let wanted = before + kill % 3;
        while scene.records() < wanted && rekey.try_wait().expect("is our child").is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(10).mul_f64(random.fraction()));
        rekey.kill().expect("can be killed, or has ended");
        let killed = rekey.wait().expect("is our child").code().is_none();
        interrupted += u32::from(killed && scene.records() > before + 1);
        assert!(archiver.wait().expect("is our child").success());
    }
    scene.rekey(&old, &[&new], &[], 0);
    let files = scene.server.closed().len();
    assert_eq!(
        scene.records(),
        2 * files,
        "{interrupted} runs were interrupted"
    );
    assert!(interrupted > 0, "no run was killed at work");
    let mut replaced = BTreeMap::<u64, u32>::new();
    for path in scene.archive.keys("ledger") {
        let record: serde_json::Value =
            serde_json::from_slice(&fs::read(path).expect("readable")).expect("JSON");
        if record["kind"] == "supersede" {
            assert_eq!(record["reason"], "rekeyed");
            *replaced
                .entry(record["supersedes"].as_u64().expect("a number"))
                .or_default() += 1;
        }
    }
    assert_eq!(replaced.len(), files);
    assert!(replaced.values().all(|times| *times == 1), "{replaced:?}");
    assert!(scene.cat(&new).stdout == scene.plain());
    let url = scene.archive.url();
    let mut verify = scene.command(&new, "cache", &["verify", "--deep", "--orphans", &url]);
    tools::run(&mut verify);
}

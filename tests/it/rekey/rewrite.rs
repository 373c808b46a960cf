//! Objects stored again for other keys: who opens them then, and what becomes of the old ones.

use super::{Scene, numbers};
use crate::agent::daemon::until;
use crate::random::Random;
use crate::tools;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Segments in the beginning, of the test that kills.
const SEGMENTS: usize = 60;
/// Runs that are killed.
const KILLS: usize = 8;

/// The segments' objects, by their paths.
fn objects(scene: &Scene) -> Vec<PathBuf> {
    scene.archive.keys("segments")
}

#[test]
fn a_rewritten_object_opens_with_the_new_key_alone_and_the_old_one_goes_with_a_prune() {
    let scene = Scene::new(4);
    let (old, new) = (scene.old(), scene.key("new"));
    let before = objects(&scene);
    let report = scene.rekey(&old, &[&new], &["--rewrite", "--dry-run"], 0);
    assert_eq!(numbers(&report), [4, 4, 0, 0]);
    assert_eq!(objects(&scene), before);
    // One was re-keyed by its record alone before: its object is still for the old key.
    scene.rekey(&old, &[&new], &["--since", "binlog.000004"], 0);
    let both = scene.key("both");
    fs::write(
        &both.file,
        [&old, &new]
            .map(|key| fs::read_to_string(&key.file).expect("readable"))
            .concat(),
    )
    .expect("writable");
    let output =
        tools::output(&mut scene.rekey_command(&both, &[&new], &["--rewrite", "--level", "5"]));
    let said = tools::excerpt(&output.stdout) + &tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    for words in ["rewrote 4 segments", "--superseded --execute"] {
        assert!(said.contains(words), "{words} is not in: {said}");
    }
    let report = scene.rekey(&both, &[&new], &["--rewrite"], 0);
    assert_eq!(
        numbers(&report),
        [4, 0, 4, 0],
        "a second run finds nothing to do"
    );
    let made: Vec<_> = objects(&scene)
        .into_iter()
        .filter(|path| !before.contains(path))
        .collect();
    assert_eq!((made.len(), objects(&scene).len()), (4, 8));

    let opened = |key: &super::Key, object: &PathBuf| {
        let script = format!(
            "set -o pipefail; age -d -i {} {} | zstd -d",
            key.file.display(),
            object.display()
        );
        tools::output(Command::new("bash").args(["-c", &script]))
    };
    let listed = scene.archive.ls(&[]);
    for (file, entry) in scene.server.closed().iter().zip(&listed) {
        assert_eq!(
            entry["header"],
            Value::Null,
            "no record carries a header for it"
        );
        let object = scene
            .archive
            .bucket()
            .join(entry["object"].as_str().expect("a key"));
        assert!(made.contains(&object));
        assert!(opened(&new, &object).stdout == fs::read(file).expect("readable"));
        let refused = opened(&old, &object);
        assert!(tools::excerpt(&refused.stderr).contains("no identity matched"));
    }
    assert_eq!(scene.cat(&old).status.code(), Some(1));
    assert!(scene.cat(&new).stdout == scene.plain());

    // The old ones are told, and go: not before the grace is over, and without a backup being asked for.
    let url = scene.archive.url();
    let run = |what: &str, more: &[&str]| -> Value {
        let all = [&[what, &url, "--json"], more].concat();
        let printed = tools::run(&mut scene.command(&new, "prune-cache", &all));
        serde_json::from_slice(&printed).expect("JSON")
    };
    let report = run("verify", &["--orphans"]);
    assert_eq!(report["orphans"], json!([]));
    let superseded = report["superseded"].as_array().expect("a list");
    assert_eq!(superseded.len(), 4, "{report:#}");
    assert_eq!(superseded[0]["replaced_by"], listed[0]["object"]);
    let told = run("prune", &["--superseded", "--execute"]);
    assert_eq!(told["superseded"]["waiting"], 4, "{told:#}");
    let told = run("prune", &["--superseded", "--grace", "0s"]);
    assert_eq!(told["superseded"]["objects"], 4, "{told:#}");
    assert_eq!(objects(&scene).len(), 8, "nothing was executed");
    let told = run("prune", &["--superseded", "--grace", "0s", "--execute"]);
    assert_eq!(told["superseded"]["objects"], 4, "{told:#}");
    assert_eq!(objects(&scene), made);
    let report = run("verify", &["--orphans", "--deep"]);
    assert_eq!(
        [&report["orphans"], &report["superseded"]],
        [&json!([]), &json!([])]
    );
    assert!(scene.cat(&new).stdout == scene.plain());
}

#[test]
fn killed_beside_an_archiver_it_goes_on_and_leaves_nothing_that_no_record_names() {
    let mut random = Random::seeded();
    let mut scene = Scene::new(0);
    (0..SEGMENTS).for_each(|_| scene.server.rotate(2, 20_000));
    scene.archive.archive(scene.server.dir());
    let (old, new) = (scene.old(), scene.key("new"));
    for _ in 0..KILLS {
        scene.server.rotate(1, 2000);
        let mut archiver = scene
            .archive
            .archive_command(scene.server.dir())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let before = objects(&scene).len();
        let mut rekey = scene
            .rekey_command(&old, &[&new], &["--rewrite"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let wanted = before + 1 + random.below(2) as usize;
        until("an object is made, or all are", || {
            objects(&scene).len() >= wanted || rekey.try_wait().expect("is our child").is_some()
        });
        std::thread::sleep(Duration::from_millis(30).mul_f64(random.fraction()));
        rekey.kill().expect("can be killed, or has ended");
        rekey.wait().expect("is our child");
        assert!(archiver.wait().expect("is our child").success());
    }
    scene.rekey(&old, &[&new], &["--rewrite"], 0);
    let files = scene.server.closed().len();
    let mut replaced = BTreeMap::<u64, u32>::new();
    for path in scene.archive.keys("ledger") {
        let record: Value =
            serde_json::from_slice(&fs::read(path).expect("readable")).expect("JSON");
        if record["kind"] == "supersede" {
            let seq = record["supersedes"].as_u64().expect("a number");
            *replaced.entry(seq).or_default() += 1;
        }
    }
    assert_eq!((replaced.len(), scene.records()), (files, 2 * files));
    assert!(replaced.values().all(|times| *times == 1), "{replaced:?}");
    assert_eq!(
        objects(&scene).len(),
        2 * files,
        "an old and a new one of each"
    );
    assert!(scene.cat(&new).stdout == scene.plain());
    let url = scene.archive.url();
    let arguments = ["verify", &url, "--deep", "--orphans", "--json"];
    let printed = tools::run(&mut scene.command(&new, "cache", &arguments));
    let report: Value = serde_json::from_slice(&printed).expect("JSON");
    assert_eq!(report["orphans"], json!([]), "{report:#}");
}

//! What else becomes of what was re-keyed: behind a fence, and healed from the server's own file.

use super::{Key, Scene, numbers};
use crate::tools;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

impl Scene {
    /// `binlogfs WHAT URL --json` with `key`, which must end with `code`.
    #[track_caller]
    fn run(&self, key: &Key, what: &str, more: &[&str], code: i32) -> Value {
        let url = self.archive.url();
        let all = [&[what, &url, "--json"], more].concat();
        let output = tools::output(&mut self.command(key, "cache", &all));
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{what} {more:?}: {said}");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{what} {more:?}: no JSON ({e}): {said}"))
    }

    /// What `age` and `zstd` make with `key` of the object that `entry` names.
    fn opened(&self, key: &Key, entry: &Value) -> Output {
        let object = self.object(entry);
        let script = format!(
            "set -o pipefail; age -d -i {} {} | zstd -d",
            key.file.display(),
            object.display()
        );
        tools::output(Command::new("bash").args(["-c", &script]))
    }

    fn object(&self, entry: &Value) -> PathBuf {
        let key = entry["object"].as_str().expect("a key");
        self.archive.bucket().join(key)
    }
}

#[test]
fn what_a_fence_took_out_is_rewritten_and_its_old_object_goes_with_a_prune() {
    let scene = Scene::new(3);
    let (old, new) = (scene.old(), scene.key("new"));
    let url = scene.archive.url();
    scene.fence();
    let before = scene.archive.keys("segments");
    let report = scene.rekey(&old, &[&new], &["--rewrite"], 0);
    assert_eq!(numbers(&report), [3, 3, 0, 0], "{report:#}");
    assert_eq!(scene.archive.keys("segments").len(), 6);
    let report = scene.rekey(&new, &[&new], &["--rewrite"], 0);
    assert_eq!(numbers(&report), [3, 0, 3, 0], "{report:#}");

    // Both that the fence concerns: the one that it cuts, and the one behind.
    let truth = scene.server.truth();
    let fenced = scene.run(&new, "ls", &["--fenced"], 0);
    let fenced = fenced.as_array().expect("a list");
    assert_eq!(fenced.len(), 2);
    for (entry, file) in fenced.iter().zip(&truth[1..]) {
        assert!(!before.contains(&scene.object(entry)), "{entry:#}");
        assert_eq!(entry["header"], Value::Null, "{entry:#}");
        assert!(scene.opened(&new, entry).stdout == *file);
        let refused = scene.opened(&old, entry);
        assert!(tools::excerpt(&refused.stderr).contains("no identity matched"));
    }
    let given = || {
        let arguments = ["cat", &url, "--fenced"];
        tools::run(&mut scene.command(&new, "cache", &arguments))
    };
    assert!(given() == truth[1..].concat());
    let report = scene.run(&new, "verify", &["--orphans"], 0);
    assert_eq!(report["orphans"], json!([]), "{report:#}");
    let superseded = report["superseded"].as_array().expect("a list");
    assert_eq!(superseded.len(), 3, "{report:#}");
    assert_eq!(report["fenced"]["objects"], 1, "the new one: {report:#}");

    let now = ["--superseded", "--grace", "0s", "--execute"];
    let did = scene.run(&new, "prune", &now, 0);
    assert_eq!(did["superseded"]["objects"], 3, "{did:#}");
    let left = scene.archive.keys("segments");
    assert!(left.len() == 3 && left.iter().all(|key| !before.contains(key)));
    assert!(given() == truth[1..].concat());
    let report = scene.run(&new, "verify", &["--deep", "--orphans"], 0);
    assert_eq!(report["segments_read"], 3, "{report:#}");
}

#[test]
fn what_is_lost_or_rots_of_a_re_keyed_segment_is_made_anew_for_its_new_keys() {
    for way in [&[][..], &["--rewrite"]] {
        let scene = Scene::new(3);
        let (old, new) = (scene.old(), scene.key("new"));
        scene.rekey(&old, &[&new], way, 0);
        let listed = scene.run(&new, "ls", &[], 0);
        let carried = way.is_empty();
        assert_eq!(listed[0]["header"].is_string(), carried, "{listed:#}");
        let (lost, rotten) = (scene.object(&listed[0]), scene.object(&listed[1]));
        fs::remove_file(&lost).expect("removable");
        let mut bytes = fs::read(&rotten).expect("readable");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(&rotten).expect("removable");
        fs::write(&rotten, bytes).expect("writable");

        // Without the new key all that is known is that one is lost, and its file needs no key.
        let dir = scene.server.dir().to_str().expect("text");
        let repair = ["--repair-from", dir];
        let report = scene.run(&old, "verify", &repair, 0);
        let findings = report["findings"].as_array().expect("a list");
        assert!(!findings.is_empty() && findings.len() <= 2, "{report:#}");
        let repair = ["--repair-from", dir, "--deep"];
        scene.run(&new, "verify", &repair, 0);
        let report = scene.run(&new, "verify", &["--deep", "--orphans"], 0);
        assert_eq!(report["findings"], json!([]), "{way:?}");
        assert_eq!(report["orphans"], json!([]), "{way:?}");

        // The new objects have headers of their own, for the new key and nobody else.
        let healed = scene.run(&new, "ls", &[], 0);
        let truth = scene.server.truth();
        for n in [0, 1] {
            let (was, is) = (&listed[n], &healed[n]);
            assert_ne!(is["object"], was["object"], "{way:?}");
            assert_eq!(is["recipients"], json!([new.public]), "{way:?}");
            assert_eq!(is["header"], Value::Null, "{way:?}");
            assert!(scene.opened(&new, is).stdout == truth[n], "{way:?}");
            let refused = scene.opened(&old, is);
            assert!(tools::excerpt(&refused.stderr).contains("no identity matched"));
        }
        assert_eq!(healed[2], listed[2], "{way:?}");
        assert!(scene.cat(&new).stdout == scene.plain(), "{way:?}");
        assert_eq!(scene.cat(&old).status.code(), Some(1), "{way:?}");
        let report = scene.rekey(&new, &[&new], way, 0);
        assert_eq!(numbers(&report), [3, 0, 3, 0], "{way:?}: {report:#}");
    }
}

//! A stream to another place for another key, at another level: every object is made anew.

use super::{Scene, check, check_once, migrated_under_load, number, said, text};
use crate::archive::{Archive, on_a_server};
use crate::synthetic::uuid_of;
use crate::tools;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// A stream, and another key's place.
fn for_another_key(files: usize) -> Scene {
    Scene::of(Archive::encrypted(), Archive::encrypted(), files)
}

/// The options that make it for that key.
fn anew(scene: &Scene) -> [String; 4] {
    let recipient = scene.new.recipient().to_owned();
    [
        "--recipient".to_owned(),
        recipient,
        "--level".to_owned(),
        "7".to_owned(),
    ]
}

fn strs(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

/// What the records say, their objects aside.
fn said_but_for_objects(archive: &Archive) -> Vec<Value> {
    let mut records = said(archive);
    for record in &mut records {
        let segment = match record["kind"] == "supersede" {
            true => &mut record["segment"],
            false => record,
        };
        segment.as_object_mut().expect("an object").remove("object");
    }
    records
}

fn object(record: &Value) -> &Value {
    match record["kind"].as_str() {
        Some("supersede") => &record["segment"]["object"],
        _ => &record["object"],
    }
}

/// `age -d | zstd -d` of an object.
fn by_stock_tools(key: &Path, object: &Path) -> Output {
    let script = format!(
        "set -o pipefail; age -d -i {} {} | zstd -d",
        key.display(),
        object.display()
    );
    tools::output(Command::new("bash").args(["-c", &script]))
}

#[test]
fn under_load_and_killed_at_random_the_copy_for_another_key_has_every_file_once() {
    let mut scene = for_another_key(10);
    let options = anew(&scene);
    let pause = if on_a_server() { 1000 } else { 200 };
    let closing = (40, Duration::from_millis(pause));
    let report = migrated_under_load(&mut scene, &strs(&options), closing);
    assert_eq!(number(&report, "objects_copied"), 0, "{report:#}");
    assert_eq!(report["made_anew"], true);
    let (old, new) = (
        said_but_for_objects(&scene.old),
        said_but_for_objects(&scene.new),
    );
    let (last, carried) = old.split_last().expect("records");
    assert_eq!(last["kind"], "moved");
    assert_eq!(carried, new, "record by record, but for the objects");
    let wanted = json!([scene.new.recipient()]);
    for (was, is) in said(&scene.old).iter().zip(&said(&scene.new)) {
        assert_ne!(object(was)["key"], object(is)["key"]);
        assert_eq!(object(is)["recipients"], wanted);
    }
    // The archiver goes on at the new place; by the new key alone all of it is read, and nothing was left that no record names.
    let dir = scene.server.dir().to_owned();
    tools::run(&mut scene.new.archive_command(&dir));
    check(&scene.new, &scene.server);
    check_once(&scene.new, &scene.server);
    scene.old.verify();
}

#[test]
fn stock_age_opens_the_copy_with_the_new_key_and_the_old_key_opens_none_of_it() {
    let scene = for_another_key(3);
    let options = anew(&scene);
    let dry = scene.migrate(&[&["--dry-run"], &strs(&options)[..]].concat());
    assert_eq!(number(&dry, "objects_made"), 3, "{dry:#}");
    assert!(
        !scene.new.bucket().join("stream.json").exists(),
        "a dry run writes nothing"
    );
    // Both keys: the old one reads, the new one reads back.
    let mut both = scene.with_key(&[&["--json"], &strs(&options)[..]].concat());
    let printed = tools::run(both.arg("--identity").arg(scene.new.key()));
    let report: Value = serde_json::from_slice(&printed).expect("JSON");
    let counts = ["carried", "objects_made", "read_back", "checksums_only"];
    let counts = counts.map(|name| number(&report, name));
    assert_eq!(counts, [3, 3, 3, 0], "{report:#}");
    assert_eq!(report["bytes_read"], dry["bytes_read"]);
    assert_eq!(
        said_but_for_objects(&scene.old),
        said_but_for_objects(&scene.new)
    );
    for (file, record) in scene.server.closed().iter().zip(said(&scene.new)) {
        let key = object(&record)["key"].as_str().expect("a key");
        let object = scene.new.bucket().join(key);
        let opened = by_stock_tools(&scene.new.key(), &object);
        assert!(opened.status.success(), "{}", text(&opened));
        assert!(opened.stdout == fs::read(file).expect("readable"));
        let refused = by_stock_tools(&scene.old.key(), &object);
        assert!(!refused.status.success());
        assert!(
            text(&refused).contains("no identity matched"),
            "{}",
            text(&refused)
        );
    }
    let url = scene.new.url();
    let refused = scene.old.output(&["cat", &url]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty());
    // The old place is as it was, and the copy is brought up to date in the same way only.
    scene.old.verify();
    check(&scene.new, &scene.server);
    for (more, words) in [
        (vec![], "says the same of an object that was made anew"),
        (
            vec!["--recipient", scene.old.recipient()],
            "a copy is for the same recipients",
        ),
    ] {
        let refused = tools::output(&mut scene.with_key(&more));
        assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
        assert!(
            text(&refused).contains(words),
            "{words} is not in: {}",
            text(&refused)
        );
    }
    assert_eq!(scene.new.keys("ledger").len(), 3);
}

#[test]
fn plaintext_becomes_encrypted_and_what_is_encrypted_becomes_plaintext_only_if_that_is_said() {
    let scene = Scene::of(Archive::plain(), Archive::encrypted(), 2);
    // No key is needed to read it, and none to write it.
    let mut command = scene.command(&["--recipient", scene.new.recipient()]);
    let said_so = tools::run_text(command.env_remove("BINLOGFS_IDENTITY"));
    for words in [
        "2 objects made anew",
        "2 copies not read back",
        "recorded SHA-256",
    ] {
        assert!(said_so.contains(words), "{words} is not in: {said_so}");
    }
    check(&scene.new, &scene.server);
    let back = Scene {
        old: scene.new,
        new: Archive::plain(),
        server: scene.server,
    };
    for more in [&["--level", "3"][..], &["--level", "3", "--dry-run"]] {
        let refused = tools::output(&mut back.with_key(more));
        assert_eq!(refused.status.code(), Some(1));
        let said_so = text(&refused);
        for words in ["is encrypted", "--recipient", "--allow-unencrypted"] {
            assert!(said_so.contains(words), "{words} is not in: {said_so}");
        }
    }
    assert!(
        !back.new.bucket().join("stream.json").exists(),
        "nothing was written"
    );
    let report = back.migrate(&["--allow-unencrypted", "--cut-over"]);
    assert_eq!(
        [
            number(&report, "objects_made"),
            number(&report, "read_back")
        ],
        [2, 2]
    );
    check(&back.new, &back.server);
    for (file, object) in back.server.closed().iter().zip(back.new.keys("segments")) {
        let plain = tools::run(Command::new("zstd").args(["-d", "-c"]).arg(object));
        assert!(plain == fs::read(file).expect("readable"));
    }
}

#[test]
fn what_was_re_keyed_rewritten_and_pruned_is_made_of_what_is_in_force() {
    let mut scene = for_another_key(4);
    scene.server.rotate(2, 1000);
    scene.server.purge(5);
    (0..2).for_each(|_| scene.server.rotate(2, 1000));
    scene.old.archive(scene.server.dir());
    let url = scene.old.url();
    // Up to the end of the file behind the hole.
    let set = format!("{}:1-12", uuid_of(1));
    let mut add = scene
        .old
        .command(&["backup", "add", &url, "--gtid-set", &set]);
    tools::run(add.args(["--place", "tape 7", "--id", "one"]));
    // The last is rewritten for a key that the old one cannot read, the others are re-keyed for it, and those before the hole pruned.
    let other = scene.old.path("other.txt");
    let public = tools::run_text(tools::binlogfs().arg("keygen").arg("-o").arg(&other));
    let rekey = |more: &[&str]| {
        let all = [&["rekey", &url, "--recipient", public.trim()], more].concat();
        tools::run(&mut scene.old.command(&all));
    };
    rekey(&["--since", "binlog.000007", "--rewrite"]);
    rekey(&[]);
    tools::run(
        &mut scene
            .old
            .command(&["prune", &url, "--keep", "1s", "--execute"]),
    );
    let options = anew(&scene);
    let mut command = scene.command(&[&["--json", "--cut-over"], &strs(&options)[..]].concat());
    let printed = tools::run(command.arg("--identity").arg(&other));
    let report: Value = serde_json::from_slice(&printed).expect("JSON");
    // The four that were pruned, and the old object of the one that was rewritten.
    let counts = ["objects_made", "objects_gone"].map(|name| number(&report, name));
    assert_eq!(counts, [2, 5], "{report:#}");
    let listed = scene.new.ls(&[]);
    assert_eq!(listed.len(), 2);
    let mut old = said_but_for_objects(&scene.old);
    old.pop();
    assert_eq!(old, said_but_for_objects(&scene.new));
    for kind in ["hole", "supersede", "prune"] {
        assert!(old.iter().any(|record| record["kind"] == kind), "{kind}");
    }
    // By the new key alone everything that the history shows is read.
    scene.new.verify();
    let name = |entry: &Value| entry["name"].clone();
    let names: Vec<_> = scene.old.ls(&[]).iter().map(name).collect();
    assert_eq!(listed.iter().map(name).collect::<Vec<_>>(), names);
    let new_url = scene.new.url();
    let last = scene.server.closed().pop().expect("a file");
    let file = last
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let cat = scene.new.output(&["cat", &new_url, &file]);
    assert!(
        cat.stdout == fs::read(&last).expect("readable"),
        "{}",
        text(&cat)
    );
}

#[test]
fn a_damaged_object_stops_it_and_nothing_is_left_that_no_record_names() {
    let scene = for_another_key(3);
    let object = scene.old.keys("segments").remove(1);
    let right = fs::read(&object).expect("readable");
    let mut wrong = right.clone();
    wrong[right.len() / 2] ^= 1;
    fs::write(&object, wrong).expect("writable");
    let options = anew(&scene);
    let output = tools::output(&mut scene.with_key(&strs(&options)));
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output).contains("record 2, binlog.000002"),
        "{}",
        text(&output)
    );
    assert_eq!(
        scene.new.keys("ledger").len(),
        1,
        "nothing after it was recorded"
    );
    fs::write(&object, right).expect("writable");
    let report = scene.migrate(&strs(&options));
    assert_eq!(
        [number(&report, "compared"), number(&report, "objects_made")],
        [1, 2]
    );
    check(&scene.new, &scene.server);
}

#[test]
fn two_at_once_on_one_host_wait_for_each_other_and_a_copy_as_it_is_stays_one() {
    let scene = for_another_key(1);
    scene.migrate(&[]);
    let options = anew(&scene);
    let refused = tools::output(&mut scene.with_key(&strs(&options)));
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused).contains("was copied as it is"),
        "{}",
        text(&refused)
    );
    let scene = for_another_key(1);
    let options = anew(&scene);
    let mut follower = scene
        .with_key(&[&["--follow"], &strs(&options)[..]].concat())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("starts");
    crate::agent::daemon::until("the first is there", || scene.new.keys("ledger").len() == 1);
    let refused = tools::output(&mut scene.with_key(&strs(&options)));
    tools::run(Command::new("kill").arg(follower.id().to_string()));
    assert_eq!(follower.wait().expect("is our child").code(), Some(0));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused).contains("wait for it"), "{}", text(&refused));
}

//! Backups that are taken off the list: what a migration carried over goes with them, and nothing else.

use super::{Scene, number};
use crate::archive::Archive;
use crate::synthetic::uuid_of;
use crate::tools;
use serde_json::Value;

fn register(archive: &Archive, id: &str) {
    let (url, set) = (archive.url(), format!("{}:1-3", uuid_of(1)));
    let add = ["backup", "add", &url, "--gtid-set", &set, "--id", id];
    tools::run(archive.command(&add).args(["--place", "tape 7"]));
}

fn remove(archive: &Archive, id: &str) {
    tools::run(&mut archive.command(&["backup", "remove", &archive.url(), id]));
}

/// The ids of those that are registered.
fn listed(archive: &Archive) -> Vec<String> {
    let mut list = archive.command(&["backup", "list", &archive.url(), "--json"]);
    let list: Value = serde_json::from_slice(&tools::run(&mut list)).expect("JSON");
    let id = |backup: &Value| backup["id"].as_str().expect("text").to_owned();
    let backups = list["backups"].as_array().expect("a list");
    backups.iter().map(id).collect()
}

#[test]
fn a_backup_that_was_removed_at_the_old_place_goes_from_the_copy_and_one_of_the_copy_stays() {
    let scene = Scene::new(3);
    for id in ["one", "two", "three"] {
        register(&scene.old, id);
    }
    remove(&scene.old, "three");
    assert_eq!(number(&scene.migrate(&[]), "backups"), 2);
    // One of its own, and one of its own whose id the old place has used for another.
    register(&scene.new, "four");
    register(&scene.new, "three");
    remove(&scene.old, "one");
    let printed = tools::run_text(&mut scene.with_key(&[]));
    let told = "1 backup taken off the list, as in the old place";
    assert!(printed.contains(told), "{printed}");
    assert_eq!(listed(&scene.new), ["two", "four", "three"]);
    let again = scene.migrate(&[]);
    let changes = ["backups", "backups_removed"].map(|name| number(&again, name));
    assert_eq!(changes, [0, 0], "{again:#}");
    // What was removed stays so, and what is removed before the cut-over goes with it; after it, the old list counts no more.
    register(&scene.old, "five");
    assert_eq!(number(&scene.migrate(&[]), "backups"), 1);
    remove(&scene.old, "five");
    let closed = scene.migrate(&["--cut-over"]);
    assert_eq!(number(&closed, "backups_removed"), 1, "{closed:#}");
    remove(&scene.old, "two");
    let after = scene.migrate(&["--cut-over"]);
    assert_eq!(number(&after, "backups_removed"), 0, "{after:#}");
    assert_eq!(listed(&scene.new), ["two", "four", "three"]);
}

//! What cannot be read: a stream does not go to another place without it.

use super::{Scene, said, text};
use crate::synthetic::uuid_of;
use crate::tools;
use std::fs;

#[test]
fn a_dry_run_says_what_would_stop_the_migration() {
    let scene = Scene::new(3);
    fs::write(&scene.old.keys("ledger")[1], "{}").expect("writable");
    for more in [&["--dry-run"][..], &[]] {
        let output = tools::output(&mut scene.with_key(more));
        let said = text(&output);
        assert_eq!(output.status.code(), Some(1), "{more:?}: {said}");
        let told = said.contains("ledger record 2 of");
        assert!(told && said.contains("cannot be carried over"), "{said}");
    }
}

#[test]
fn a_registered_backup_that_cannot_be_read_is_not_left_behind() {
    let scene = Scene::new(3);
    let (url, set) = (scene.old.url(), format!("{}:1-3", uuid_of(1)));
    for id in ["one", "two"] {
        let add = ["backup", "add", &url, "--gtid-set", &set, "--id", id];
        let mut add = scene.old.command(&add);
        tools::run(add.args(["--place", "tape 7"]));
    }
    let records = scene.old.keys("backups");
    let one = records.iter().find(|path| path.ends_with("one.json"));
    fs::write(one.expect("it is registered"), "{}").expect("writable");
    let output = tools::output(&mut scene.with_key(&["--cut-over"]));
    let told = text(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("backup one"), "{told}");
    assert!(told.contains("backup remove"), "{told}");
    assert_eq!(said(&scene.old).len(), 3, "the old place is open");
    tools::run(&mut scene.old.command(&["backup", "remove", &url, "one"]));
    let report = scene.migrate(&["--cut-over"]);
    assert_eq!(report["cut_over"], true, "{report:#}");
    let listed = scene
        .new
        .output(&["backup", "list", &scene.new.url(), "--json"]);
    assert!(text(&listed).contains("\"two\""), "{}", text(&listed));
    assert!(!text(&listed).contains("\"one\""), "{}", text(&listed));
}

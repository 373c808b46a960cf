//! A record that cannot be read: nothing of a stream goes to another place without it.

use super::{Scene, text};
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

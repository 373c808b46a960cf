//! A file that cannot be read is put aside, what follows is archived, and its hole is filled when it can be read after all.

use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use std::fs;
use std::path::PathBuf;
use std::process::Output;

struct Scene {
    archive: Archive,
    server: SyntheticServer,
    config: PathBuf,
}

/// A stream of one segment; the next file is none, and one more is closed after it.
fn scene() -> (Scene, PathBuf, Vec<u8>) {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 1000);
    archive.archive(server.dir());
    (0..3).for_each(|_| server.rotate(2, 1000));
    let poisoned = server.closed()[1].clone();
    let right = fs::read(&poisoned).expect("readable");
    fs::write(&poisoned, vec![0; right.len()]).expect("writable");
    let config = archive.path("binlogfs.toml");
    let text = format!(
        "[archive]\nrecipients = [\"{}\"]\ndead_letter_after = \"0s\"\n\
         [[stream]]\nname = \"orders\"\nsource = \"{}\"\nto = \"{}\"\nstate_dir = \"{}\"\n",
        archive.recipient(),
        server.dir().display(),
        archive.url(),
        archive.path("state").display(),
    );
    fs::write(&config, text).expect("writable");
    let scene = Scene {
        archive,
        server,
        config,
    };
    (scene, poisoned, right)
}

impl Scene {
    fn once(&self) -> Output {
        let mut command = tools::binlogfs();
        command
            .args(["archive", "--once", "--config"])
            .arg(&self.config);
        tools::output(&mut command)
    }

    fn dlq(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = tools::binlogfs();
        command.arg("dlq").args(arguments);
        let output = tools::output(&mut command);
        let said = tools::excerpt(&output.stdout) + &tools::excerpt(&output.stderr);
        (output.status.code(), said)
    }

    fn list(&self) -> (Option<i32>, String) {
        let state = self.archive.path("state");
        let state = state.to_str().expect("text");
        self.dlq(&["list", &self.archive.url(), "--state-dir", state])
    }

    fn retry(&self) -> (Option<i32>, String) {
        self.dlq(&["retry", "--config", self.config.to_str().expect("text")])
    }

    fn states(&self) -> Vec<String> {
        let listed = self.archive.ls(&[]);
        let state = |entry: &serde_json::Value| entry["state"].as_str().expect("text").to_owned();
        listed.iter().map(state).collect()
    }

    fn cat(&self) -> Vec<u8> {
        let url = self.archive.url();
        tools::run(&mut self.archive.command(&["cat", &url]))
    }
}

#[test]
fn a_poisoned_file_blocks_for_a_while_is_put_aside_and_fills_its_hole_later() {
    let (scene, poisoned, right) = scene();
    for _ in 0..2 {
        let output = scene.once();
        assert_eq!(output.status.code(), Some(1), "it blocks, and says why");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("binlog.000002"), "{said}");
        assert_eq!(scene.states(), ["archived"]);
    }
    // The third failure puts it aside; then what follows is archived, with an alarm.
    assert_eq!(scene.once().status.code(), Some(1));
    let output = scene.once();
    assert_eq!(output.status.code(), Some(3));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("dead_letter") && said.contains("hole"),
        "{said}"
    );
    assert_eq!(scene.states(), ["archived", "hole", "archived", "archived"]);
    let (code, said) = scene.list();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("binlog.000002"), "{said}");
    // It still cannot be read: it stays aside.
    let (code, said) = scene.retry();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("still fails"), "{said}");
    fs::write(&poisoned, &right).expect("writable");
    let (code, said) = scene.retry();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("fills its hole"), "{said}");
    assert_eq!(scene.states(), ["archived"; 4]);
    assert_eq!(scene.list().0, Some(0));
    assert!(scene.cat() == scene.server.truth().concat());
    scene.archive.verify();
    assert_eq!(scene.once().status.code(), Some(0));
}

#[test]
fn what_came_of_each_file_is_one_json_document() {
    let (scene, poisoned, right) = scene();
    (0..4).for_each(|_| drop(scene.once()));
    let retry = || {
        let mut command = tools::binlogfs();
        command
            .args(["--json", "dlq", "retry", "--config"])
            .arg(&scene.config);
        let output = tools::output(&mut command);
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code(), told)
    };
    let (code, told) = retry();
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(told[0]["file"], "binlog.000002", "{told}");
    assert_eq!(told[0]["outcome"], "failed", "{told}");
    fs::write(&poisoned, &right).expect("writable");
    let (code, told) = retry();
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(told[0]["outcome"], "filled", "{told}");
    assert!(told[0]["record"].is_u64(), "{told}");
    assert_eq!(retry(), (Some(0), serde_json::json!([])));
}

#[test]
fn another_file_under_its_name_does_not_fill_the_hole() {
    let (scene, poisoned, _) = scene();
    (0..4).for_each(|_| drop(scene.once()));
    assert_eq!(scene.states()[1], "hole");
    let dir = scene.archive.path("stranger");
    fs::create_dir(&dir).expect("writable");
    let mut stranger = SyntheticServer::new(&dir, 7, "binlog");
    stranger.rotate(1, 100);
    let bytes = fs::read(&stranger.closed()[0]).expect("readable");
    fs::write(&poisoned, bytes).expect("writable");
    let (code, said) = scene.retry();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("is not the file that is missing"), "{said}");
    assert_eq!(scene.states()[1], "hole");
    // What was uploaded of it is gone again.
    assert_eq!(scene.archive.keys("segments").len(), 3);
}

#[test]
fn a_recipient_that_is_forgotten_puts_no_plaintext_into_the_hole() {
    let (scene, poisoned, right) = scene();
    (0..4).for_each(|_| drop(scene.once()));
    fs::write(&poisoned, &right).expect("writable");
    let (url, state) = (scene.archive.url(), scene.archive.path("state"));
    let source = scene.server.dir().to_str().expect("text");
    let state = state.to_str().expect("text");
    let plainly = [
        "retry",
        "--source",
        source,
        "--to",
        &url,
        "--state-dir",
        state,
    ];
    let (code, said) = scene.dlq(&plainly);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no --recipient was given"), "{said}");
    assert_eq!(scene.states()[1], "hole");
    assert_eq!(scene.archive.keys("segments").len(), 3);
    let (code, said) =
        scene.dlq(&[&plainly[..], &["--recipient", scene.archive.recipient()]].concat());
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(scene.states(), ["archived"; 4]);
}

#[test]
fn a_file_the_server_no_longer_has_leaves_its_hole_and_no_dead_letter() {
    let (mut scene, _, _) = scene();
    (0..4).for_each(|_| drop(scene.once()));
    scene.server.purge(3);
    let (code, said) = scene.retry();
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("gone from the server"), "{said}");
    assert_eq!(scene.list().0, Some(0));
    assert_eq!(scene.states()[1], "hole");
}

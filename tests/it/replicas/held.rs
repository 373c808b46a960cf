//! With `archived_when = "all"`: what the first store could not give to a replica does not count as archived, nor does what follows.

use super::Replicated;
use super::archiving::{Working, last_archived};
use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use binlogfs::agent::alarm::{AlarmKind, Severity};
use binlogfs::agent::replicas::ArchivedWhen;
use binlogfs::agent::stream::Stop;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// The object of a file, by the name that its key begins with.
fn object_of(archive: &Archive, file: &str) -> PathBuf {
    let objects = fs::read_dir(archive.bucket().join("segments")).expect("readable");
    let mut paths = objects.map(|entry| entry.expect("an entry").path());
    let is_of = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(file))
    };
    paths.find(is_of).expect("archived")
}

#[test]
fn with_all_what_the_first_store_cannot_give_holds_back_itself_and_what_follows() {
    let mut pair = Replicated::of(Archive::encrypted(), 0);
    (0..2).for_each(|_| pair.server.rotate(3, 1000));
    let (state, replica) = (pair.archive.path("state"), pair.replica());
    let run = |pair: &Replicated, more: &[&str], code: i32| {
        let mut command = pair.archive.archive_command(pair.server.dir());
        command.args(["--replica", &replica, "--archived-when", "all"]);
        let output = tools::output(command.args(more));
        let said = tools::excerpt(&output.stdout) + &tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {said}");
        said
    };
    let counts = || last_archived(&state);
    // The first store has both before the replica has any, and the second rots.
    fs::write(pair.replica_dir(), b"in the way").expect("writable");
    run(&pair, &[], 3);
    let object = object_of(&pair.archive, "binlog.000002");
    let bytes = fs::read(&object).expect("readable");
    let mut rotten = bytes.clone();
    rotten[bytes.len() / 2] ^= 1;
    let put = |bytes: &[u8]| {
        fs::remove_file(&object).expect("removable");
        fs::write(&object, bytes).expect("writable");
    };
    put(&rotten);
    fs::remove_file(pair.replica_dir()).expect("removable");
    pair.server.rotate(3, 1000);
    for _ in 0..2 {
        let said = run(&pair, &[], 3);
        assert!(said.contains("not copied"), "{said}");
        assert_eq!(counts().as_deref(), Some("binlog.000001"));
    }
    // An earlier record given up changes nothing.
    run(&pair, &["--give-up-through", "1"], 3);
    assert_eq!(counts().as_deref(), Some("binlog.000001"));
    put(&bytes);
    run(&pair, &[], 0);
    assert_eq!(counts().as_deref(), Some("binlog.000003"));
    pair.check_same();
    // What counted holds nothing back, whatever becomes of it.
    let gone = object_of(&pair.archive, "binlog.000001");
    let name = gone.file_name().expect("a name");
    let copy = pair.replica_dir().join("segments").join(name);
    for path in [&gone, &copy] {
        fs::remove_file(path).expect("removable");
    }
    pair.server.rotate(3, 1000);
    run(&pair, &[], 0);
    assert_eq!(counts().as_deref(), Some("binlog.000004"));
    // A new state directory does not know that it counted: a person has to give it up.
    fs::remove_dir_all(&state).expect("removable");
    run(&pair, &[], 3);
    assert_eq!(counts(), None);
    run(&pair, &["--give-up-through", "1"], 0);
    assert_eq!(counts().as_deref(), Some("binlog.000004"));
    run(&pair, &[], 0);
}

#[test]
fn an_object_that_is_made_anew_from_the_servers_file_holds_nothing_back_any_more() {
    for (archive, is_lost) in [
        (Archive::encrypted(), false),
        (Archive::encrypted(), true),
        (Archive::plain(), false),
    ] {
        let mut pair = Replicated::of(archive, 3);
        let (url, replica, state) = (
            pair.archive.url(),
            pair.replica(),
            pair.archive.path("other-state"),
        );
        let object = object_of(&pair.archive, "binlog.000002");
        let mut bytes = fs::read(&object).expect("readable");
        fs::remove_file(&object).expect("removable");
        if !is_lost {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&object, bytes).expect("writable");
        }
        let archive = |pair: &Replicated, code: i32| {
            let mut command = pair.archive.archive_command_to(&url, pair.server.dir());
            command.args(["--replica", &replica, "--archived-when", "all"]);
            let output = tools::output(command.arg("--state-dir").arg(&state));
            let said = tools::excerpt(&output.stdout) + &tools::excerpt(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{is_lost}: {said}");
        };
        archive(&pair, 3);
        assert_eq!(last_archived(&state).as_deref(), Some("binlog.000001"));

        // Another server's file of that name heals nothing.
        let dir = pair.archive.path("another");
        fs::create_dir(&dir).expect("writable");
        let mut another = SyntheticServer::new(&dir, 2, "binlog");
        (0..3).for_each(|_| another.rotate(5, 5000));
        let repair = |dir: &Path, code: i32| {
            let dir = dir.to_str().expect("text");
            let verify = ["verify", &url, "--deep", "--repair-from", dir];
            let output = pair.archive.output(&verify);
            let said = tools::excerpt(&output.stdout) + &tools::excerpt(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{is_lost}: {said}");
            said
        };
        let before = pair.archive.keys("ledger").len();
        let said = repair(another.dir(), 3);
        assert!(
            said.contains("another file than the one archived"),
            "{said}"
        );
        assert_eq!(pair.archive.keys("ledger").len(), before);
        let said = repair(pair.server.dir(), 0);
        assert!(said.contains("made anew from"), "{said}");
        repair(pair.server.dir(), 0);
        assert_eq!(pair.archive.keys("ledger").len(), before + 1);

        pair.server.rotate(5, 5000);
        archive(&pair, 0);
        assert_eq!(last_archived(&state).as_deref(), Some("binlog.000004"));
        pair.reads_the_truth();
        let deep = ["verify", &replica, "--deep", "--orphans"];
        tools::run(&mut pair.archive.command(&deep));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_back_is_an_alarm_that_names_it_and_what_to_do() {
    let (working, down) = Working::with_replica_down(ArchivedWhen::All).await;
    let keys = working.first.keys();
    let key = keys
        .iter()
        .find(|key| key.as_str().contains("binlog.000002"));
    working.first.tamper(key.expect("archived"), "rotten");
    down.store(false, Ordering::Relaxed);
    working
        .until("it is told of, and what is before it counts", |working| {
            working.alarms().contains(&AlarmKind::Replica)
                && working.health.borrow().replicas[0].held.is_some()
                && working.state_names().as_deref() == Some("binlog.000001")
        })
        .await;
    assert_eq!(
        Working::records(&working.replica),
        3,
        "what follows is copied"
    );
    let health = working.health.borrow().clone();
    let mut raised = health.alarms.iter().map(|raised| &raised.alarm);
    let alarm = raised.find(|alarm| alarm.kind == AlarmKind::Replica);
    let alarm = alarm.expect("raised");
    assert_eq!(alarm.severity, Severity::Critical);
    for part in [
        "binlog.000002 (record 2)",
        "--repair",
        "give_up_through = 2",
    ] {
        assert!(alarm.text.contains(part), "{part}: {}", alarm.text);
    }
    working.stop.send_replace(Stop::Now);
}

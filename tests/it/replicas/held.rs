//! With `archived_when = "all"`: what the first store could not give to a replica does not count as archived, nor does what follows.

use super::Replicated;
use super::archiving::{Working, last_archived};
use crate::archive::Archive;
use crate::tools;
use binlogfs::agent::alarm::{AlarmKind, Severity};
use binlogfs::agent::replicas::ArchivedWhen;
use binlogfs::agent::stream::Stop;
use binlogfs::store::ErrorKind;
use binlogfs::store::fault::Fault;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

#[tokio::test(flavor = "multi_thread")]
async fn what_holds_back_is_an_alarm_that_names_it_and_what_to_do() {
    let down = Arc::new(AtomicBool::new(true));
    let is_down = Arc::clone(&down);
    let mut working = Working::begin(ArchivedWhen::All, move || {
        match is_down.load(Ordering::Relaxed) {
            true => Fault::ErrorBefore(ErrorKind::Timeout),
            false => Fault::None,
        }
    });
    (0..3).for_each(|_| working.server.rotate(2, 500));
    working
        .until("all is archived", |working| {
            Working::records(&working.first) == 3
        })
        .await;
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

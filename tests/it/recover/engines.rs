//! Both engines make the same server of the same history, and it is the one that was.

use super::state::{State, events, executed};
use super::{ENGINES, Recovery, history, target, text};
use crate::archive::Archive;
use crate::mysql::Server;

/// A history with everything that can be in one, archived: what the server that made it held in its middle, and at its end.
fn archived() -> (Archive, [State; 2]) {
    let archive = Archive::encrypted();
    let source = Server::new();
    history::first(&source);
    let middle = State::of(&source);
    history::second(&source, true);
    archive.archive(&source.index_file());
    (archive, [middle, State::of(&source)])
}

#[test]
fn either_engine_makes_the_server_that_was() {
    let (archive, [_, truth]) = archived();
    assert!(
        truth.executed.contains(":nightly:1-3"),
        "{}",
        truth.executed
    );
    for engine in ENGINES {
        let target = target();
        let recovery = Recovery::onto(&archive, &target);
        let done = recovery.run_by(engine, &["--to-end"]);
        assert_eq!(State::of(&target), truth, "{engine}");
        let told: String = text(&done, "gtid_executed").split_whitespace().collect();
        assert_eq!(told, truth.executed, "{engine}");
        assert_eq!(recovery.left_behind(&target), [""; 0], "{engine}");
        // Run again it finds that all is done.
        recovery.has_nothing_to_do(&["--to-end", "--engine", engine]);
        assert_eq!(executed(&target), truth.executed, "{engine}");
    }
}

#[test]
fn events_are_as_on_the_source_or_it_is_told_that_they_are_disabled() {
    let archive = Archive::encrypted();
    let source = Server::new();
    source.sql(
        "CREATE DATABASE d; CREATE TABLE d.t (id INT);
         CREATE EVENT d.runs ON SCHEDULE EVERY 1 DAY DO DELETE FROM d.t;
         CREATE EVENT d.rests ON SCHEDULE EVERY 1 DAY DISABLE DO DELETE FROM d.t",
    );
    source.flush_logs();
    archive.archive(&source.index_file());
    let truth = events(&source);
    assert_eq!(
        truth,
        [["d", "rests", "DISABLED"], ["d", "runs", "ENABLED"]]
    );
    let target_of_pipe = target();
    let done = Recovery::onto(&archive, &target_of_pipe).run_by("pipe", &["--to-end"]);
    assert_eq!(events(&target_of_pipe), truth);
    assert_eq!(done["disabled_events"], serde_json::json!([]));
    // An applier disables them, whatever they were. Which they are is told.
    let target = target();
    let done = Recovery::onto(&archive, &target).run_by("parallel", &["--to-end"]);
    assert_eq!(
        events(&target),
        [
            ["d", "rests", "REPLICA_SIDE_DISABLED"],
            ["d", "runs", "REPLICA_SIDE_DISABLED"]
        ]
    );
    let disabled = serde_json::json!(["`d`.`rests`", "`d`.`runs`"]);
    assert_eq!(done["disabled_events"], disabled);
}

#[test]
fn either_engine_goes_on_from_where_the_other_ended() {
    let (archive, [middle, truth]) = archived();
    let (uuid, last) = middle.executed.split_once(":1-").expect("one source");
    let gtid = format!("{uuid}:{last}");
    for engines in [ENGINES, [ENGINES[1], ENGINES[0]]] {
        let target = target();
        let recovery = Recovery::onto(&archive, &target);
        recovery.run_by(engines[0], &["--after-gtid", &gtid]);
        assert_eq!(State::of(&target), middle, "{engines:?}");
        recovery.run_by(engines[1], &["--to-end"]);
        assert_eq!(State::of(&target), truth, "{engines:?}");
        assert_eq!(recovery.left_behind(&target), [""; 0], "{engines:?}");
    }
}

#[test]
fn a_setting_that_is_changed_for_a_recovery_is_what_it_was_after_it() {
    let (archive, [_, truth]) = archived();
    let target = target();
    target.sql("SET GLOBAL relay_log_purge = OFF");
    let recovery = Recovery::onto(&archive, &target);
    recovery.run_by("parallel", &["--to-end"]);
    assert_eq!(State::of(&target), truth);
    assert_eq!(recovery.left_behind(&target), ["relay_log_purge is off"]);
}

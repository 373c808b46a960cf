//! Targets whose start options are in the way of their own applier: restarted with others by a command, and at the end as they were.

mod script;

use super::gate::{self, archived};
use super::state::{State, executed};
use super::{Recovery, text};
use crate::archive::Archive;
use crate::mysql::{Options, Server};
use crate::tools;
use script::{Script, gate_hook, open_gate};
use serde_json::json;
use std::fs;

const TO_END: [&str; 1] = ["--to-end"];
const PARALLEL: [&str; 3] = ["--to-end", "--engine", "parallel"];
/// What was left out of a replay of this target would be seen.
const SKIPS: &str = "--replica-skip-errors=1062";
const FILTERS: &str = "--replicate-ignore-db=d";
/// What follows the transaction at the gate, for a filter to leave out.
const THEN: &str = "USE d; INSERT INTO d.t (v) VALUES (8)";

/// A server that tells its filters, as servers do unless they are told not to.
fn with_schema(option: &str) -> Options {
    Options::new()
        .server_id(2)
        .extra("--performance-schema=ON")
        .extra(option)
}

/// What a start decides, as the server tells it.
fn started_with(server: &Server) -> Vec<String> {
    let variables = "SELECT @@GLOBAL.replica_skip_errors, @@GLOBAL.skip_replica_start, @@GLOBAL.replica_exec_mode, @@GLOBAL.server_id";
    let filters = "SELECT filter_name, filter_rule FROM performance_schema.replication_applier_global_filters WHERE filter_rule <> ''";
    [server.sql(variables).concat(), server.sql(filters).concat()].concat()
}

/// Notes of restarts that are not forgotten.
fn notes(archive: &Archive) -> usize {
    let dir = fs::read_dir(archive.path("recovery-state"))
        .into_iter()
        .flatten();
    let names = dir.map(|entry| entry.expect("an entry").file_name());
    names
        .filter(|name| name.to_string_lossy().starts_with("restart-"))
        .count()
}

#[test]
fn a_target_is_restarted_for_its_applier_and_ends_as_it_is_configured() {
    let (archive, source) = archived(THEN);
    for (option, reason) in [
        (SKIPS, "replica_skip_errors=1062"),
        (FILTERS, "REPLICATE_IGNORE_DB=d"),
    ] {
        let target = with_schema(option).start();
        let script = Script::of(&target);
        let recovery = Recovery::onto(&archive, &target);
        let (before, configured) = (State::of(&target), started_with(&target));
        // Without the command it is said what the command is good for.
        let told = recovery.dry(&TO_END);
        assert_eq!(told["engine"], "pipe", "{told:#}");
        for words in [reason, "--restart COMMAND", "--skip-replica-start=ON"] {
            assert!(text(&told, "why").contains(words), "{words}: {told:#}");
        }
        let refusal = recovery.leaves_alone(&target, &PARALLEL, "engine");
        assert!(
            text(&refusal, "reason").contains("--restart"),
            "{refusal:#}"
        );

        let command = script.command();
        let route = ["--to-end", "--restart", &command];
        let told = recovery.dry(&route);
        assert_eq!(
            (&told["engine"], &told["restart_at_end"]),
            (&json!("parallel"), &json!(true)),
            "{told:#}"
        );
        assert_eq!(told["restart"]["command"], command);
        assert!(text(&told["restart"], "why").contains(reason), "{told:#}");
        let options = text(&told["restart"], "options").to_owned();
        let said = tools::run_text(&mut recovery.command(&route));
        for words in [
            "restart   before anything is applied",
            "restart   at the end",
            options.as_str(),
        ] {
            assert!(said.contains(words), "{words}: {said}");
        }
        assert_eq!(script.runs(), [""; 0], "a dry run restarts nothing");
        assert_eq!((State::of(&target), notes(&archive)), (before, 0));

        let done = recovery.run(&route);
        assert_eq!(
            (&done["engine"], &done["restarts"]),
            (&json!("parallel"), &json!(2)),
            "{done:#}"
        );
        assert_eq!(script.runs(), [options.as_str(), ""]);
        assert_eq!(State::of(&target), State::of(&source), "{option}");
        assert_eq!(
            (started_with(&target), notes(&archive)),
            (configured, 0),
            "{option}"
        );
        assert_eq!(recovery.left_behind(&target), [""; 0], "{option}");
        // There is nothing to do, and nothing to restart for.
        recovery.has_nothing_to_do(&route);
        assert_eq!(script.runs(), [""; 0], "{option}");
    }
}

#[test]
fn what_was_set_while_it_runs_stays_for_the_replay_and_it_is_told_that_the_end_undoes_it() {
    let (archive, source) = archived(THEN);
    // The source's number: an applier passes over what has its own.
    let target = Options::new().server_id(1).extra(SKIPS).start();
    let script = Script::of(&target);
    let recovery = Recovery::onto(&archive, &target);
    let command = script.command();
    let route = ["--to-end", "--restart", &command];
    let told = recovery.dry(&route);
    assert_eq!(
        (&told["engine"], &told["restart"]),
        (&json!("pipe"), &json!(null)),
        "{told:#}"
    );
    target.sql("SET GLOBAL server_id = 7");
    let told = recovery.dry(&route);
    assert_eq!(
        told["restart"]["undone_at_end"],
        json!(["server_id"]),
        "{told:#}"
    );
    let done = recovery.run(&route);
    assert_eq!(done["engine"], "parallel", "{done:#}");
    assert!(script.runs()[0].contains("--server-id=7"));
    assert_eq!(State::of(&target), State::of(&source));
    assert_eq!(target.sql_value("SELECT @@GLOBAL.server_id"), "1");
}

#[test]
fn a_run_that_was_killed_between_its_restarts_is_gone_on_with_and_the_last_one_is_not_forgotten() {
    let (archive, source) = archived(THEN);
    let target = Options::new().server_id(2).extra(SKIPS).start();
    let script = Script::of(&target);
    let recovery = Recovery::onto(&archive, &target);
    let configured = started_with(&target);
    let command = script.command();
    let route = ["--to-end", "--engine", "parallel", "--restart", &command];
    recovery.run_by("pipe", &["--after-gtid", &format!("{}:4", source.uuid())]);
    let base = executed(&target);
    script.hook(&gate_hook(&target));
    let mut running = recovery.spawn(&route);
    tools::eventually("it has restarted the server", || {
        assert!(running.is_running(), "{:?}", running.end());
        fs::read_to_string(target.path("gate")).is_ok_and(|text| text.contains("shut"))
    });
    gate::is_reached(&target, || running.is_running());
    running.kill();
    assert_eq!(script.runs().len(), 1);
    assert_eq!(notes(&archive), 1);
    open_gate(&target);
    // Whatever is left of the replay, the server has options that are not its own.
    let told = recovery.dry(&route);
    assert_eq!(
        (&told["restart"], &told["restart_at_end"]),
        (&json!(null), &json!(true)),
        "{told:#}"
    );
    assert!(text(&told, "options_left").contains("--skip-replica-start=ON"));
    assert_eq!(recovery.dry(&PARALLEL)["restart_at_end"], false);
    // Who does not give the command is told, and what is missing is done.
    let said = tools::output(recovery.command(&PARALLEL).arg("--execute"));
    assert_eq!(
        said.status.code(),
        Some(0),
        "{}",
        tools::excerpt(&said.stderr)
    );
    let said = tools::excerpt(&said.stderr);
    assert!(
        said.contains("--skip-replica-start=ON") && said.contains("--restart"),
        "{said}"
    );
    assert_ne!(executed(&target), base);
    assert_eq!(State::of(&target), State::of(&source));
    assert_ne!(started_with(&target), configured);

    let done = recovery.run(&route);
    assert_eq!(
        (&done["engine"], &done["restarts"]),
        (&json!(null), &json!(1)),
        "{done:#}"
    );
    assert_eq!(script.runs(), [""]);
    assert_eq!((started_with(&target), notes(&archive)), (configured, 0));
    assert_eq!(State::of(&target), State::of(&source));
    assert_eq!(recovery.left_behind(&target), [""; 0]);
}

#[test]
fn a_run_that_was_killed_by_its_own_restart_is_gone_on_with() {
    let (archive, source) = archived(THEN);
    let target = Options::new().server_id(2).extra(SKIPS).start();
    let script = Script::of(&target);
    let recovery = Recovery::onto(&archive, &target);
    let configured = started_with(&target);
    let command = format!("exec {}", script.command());
    let route = ["--to-end", "--engine", "parallel", "--restart", &command];
    // The script is what the recovery has started: its parent.
    script.hook(&format!(
        "kill -9 $PPID; rm '{}'\n",
        target.path("restart.hook").display()
    ));
    let mut running = recovery.spawn(&route);
    let (code, _) = running.end();
    assert_eq!(code, None, "it was killed");
    script.is_up();
    assert_eq!(script.runs().len(), 1);
    assert_ne!(started_with(&target), configured);
    let done = recovery.run(&route);
    assert_eq!(
        (&done["engine"], &done["restarts"]),
        (&json!("parallel"), &json!(1)),
        "{done:#}"
    );
    assert_eq!(script.runs(), [""]);
    assert_eq!((started_with(&target), notes(&archive)), (configured, 0));
    assert_eq!(State::of(&target), State::of(&source));
}

#[test]
fn a_command_that_does_not_do_its_work_is_told_and_nothing_is_applied() {
    let (archive, source) = archived(THEN);
    let target = Options::new().server_id(2).extra(SKIPS).start();
    let script = Script::of(&target);
    let recovery = Recovery::onto(&archive, &target);
    let (before, configured) = (State::of(&target), started_with(&target));
    let own = script.command();
    for (command, words) in [
        (
            "echo it is broken; exit 7".to_owned(),
            &["exit status: 7", "it is broken", "the target answers"][..],
        ),
        ("true".to_owned(), &["was not restarted"]),
        (
            format!("env -u MYSQLD_OPTS {own}"),
            &[
                "without the options",
                "replica_skip_errors is 1062, not OFF",
                "MYSQLD_OPTS",
            ],
        ),
        (
            format!("MYSQLD_OPTS='--no-such-option=1' {own}"),
            &["does not answer after its restart", "no-such-option"],
        ),
    ] {
        let route = ["--to-end", "--engine", "parallel", "--restart", &command];
        let (code, said) = recovery.spawn(&route).end();
        assert_eq!(code, Some(1), "{command}: {said}");
        assert!(said.contains("nothing was applied"), "{command}: {said}");
        for words in words {
            assert!(said.contains(words), "{command}: {words}: {said}");
        }
        if target.try_sql("DO 1").is_err() {
            // The note stays until somebody sees that the server is what it was.
            assert_eq!(notes(&archive), 1, "{command}");
            script.run();
        }
        assert_eq!(
            (State::of(&target), started_with(&target)),
            (before.clone(), configured.clone()),
            "{command}"
        );
        assert_eq!(recovery.left_behind(&target), [""; 0], "{command}");
    }
    let done = recovery.run(&["--to-end", "--restart", &own]);
    assert_eq!(done["restarts"], 2, "{done:#}");
    assert_eq!(
        (State::of(&target), notes(&archive)),
        (State::of(&source), 0)
    );
}

#[test]
fn a_command_that_keeps_the_options_fails_the_end_and_the_right_one_makes_up_for_it() {
    let (archive, source) = archived(THEN);
    let target = Options::new().server_id(2).extra(SKIPS).start();
    let script = Script::of(&target);
    let recovery = Recovery::onto(&archive, &target);
    let configured = started_with(&target);
    let own = script.command();
    let keeps = format!("MYSQLD_OPTS='--skip-replica-start --replica-skip-errors=OFF' {own}");
    let (code, said) = recovery
        .spawn(&["--to-end", "--engine", "parallel", "--restart", &keeps])
        .end();
    assert_eq!(code, Some(1), "{said}");
    for words in [
        "the server has everything up to",
        "has not ended that",
        "systemctl set-environment",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(
        (State::of(&target), notes(&archive)),
        (State::of(&source), 1)
    );
    let done = recovery.run(&["--to-end", "--restart", &own]);
    assert_eq!(done["restarts"], 1, "{done:#}");
    assert_eq!((started_with(&target), notes(&archive)), (configured, 0));
}

#[test]
fn a_replay_that_fails_gives_the_server_back_as_it_is_configured() {
    let (archive, source) = archived(THEN);
    let target = Options::new().server_id(2).extra(SKIPS).start();
    let script = Script::of(&target);
    let recovery = Recovery::onto(&archive, &target);
    let configured = started_with(&target);
    // It says that it has the database that the second transaction needs, and has not.
    target.sql(&format!("SET GLOBAL gtid_purged = '{}:1'", source.uuid()));
    let command = script.command();
    let (code, said) = recovery
        .spawn(&["--to-end", "--engine", "parallel", "--restart", &command])
        .end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the target's applier stopped"), "{said}");
    let runs = script.runs();
    assert_eq!(
        (runs.len(), runs.last().map(String::as_str)),
        (2, Some("")),
        "{runs:?}"
    );
    assert_eq!((started_with(&target), notes(&archive)), (configured, 0));
    assert_eq!(recovery.left_behind(&target), [""; 0]);
}

#[test]
fn a_channel_that_a_restart_would_start_is_in_the_way_of_one() {
    let (archive, _source) = archived(THEN);
    let target = Options::new().server_id(2).extra(SKIPS).start();
    let script = Script::of(&target);
    let recovery = Recovery::onto(&archive, &target);
    target.sql("CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'db.example', SOURCE_USER = 'x' FOR CHANNEL 'old'");
    let command = script.command();
    let route = ["--to-end", "--engine", "parallel", "--restart", &command];
    let refusal = recovery.leaves_alone(&target, &route, "engine");
    let reason = text(&refusal, "reason");
    assert!(
        reason.contains("'old'") && reason.contains("RESET REPLICA ALL"),
        "{refusal:#}"
    );
    assert_eq!(script.runs(), [""; 0]);
}

#[test]
fn a_server_that_went_on_with_its_own_filters_in_the_middle_is_not_believed() {
    let (archive, source) = archived(THEN);
    let target = with_schema(FILTERS).start();
    let script = Script::of(&target);
    let recovery = Recovery::onto(&archive, &target);
    let command = script.command();
    let route = ["--to-end", "--engine", "parallel", "--restart", &command];
    recovery.run_by("pipe", &["--after-gtid", &format!("{}:4", source.uuid())]);
    script.hook(&gate_hook(&target));
    let mut running = recovery.spawn(&route);
    tools::eventually("it has restarted the server", || {
        assert!(running.is_running(), "{:?}", running.end());
        fs::read_to_string(target.path("gate")).is_ok_and(|text| text.contains("shut"))
    });
    gate::is_reached(&target, || running.is_running());
    running.kill();
    script.run_after_a_crash();
    tools::eventually("it has gone on by itself", || {
        executed(&target) == executed(&source)
    });
    // All GTIDs, and not all rows: nobody else would see it.
    assert_ne!(State::of(&target), State::of(&source));
    let refusal = recovery.refused(&route, "unfinished");
    assert!(
        text(&refusal, "reason").contains("REPLICATE_IGNORE_DB=d"),
        "{refusal:#}"
    );
    // Its mount is this test's to take away.
    assert_eq!(recovery.mounts().len(), 1);
}

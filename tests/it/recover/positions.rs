//! Histories without GTIDs: one pipe, from a place to a place, and never twice.

use super::gate::{self, Gate};
use super::state::State;
use super::{Recovery, history, restore, target_without_gtids, text};
use crate::archive::Archive;
use crate::mysql::{Options, Server};
use crate::tools;

/// Where the server writes next.
fn place(server: &Server) -> String {
    let at = server.sql("SHOW BINARY LOG STATUS");
    format!("{}:{}", at[0][0], at[0][1])
}

#[test]
fn without_gtids_the_pipe_goes_from_place_to_place() {
    let archive = Archive::encrypted();
    let source = Options::new().no_gtids().start();
    history::first(&source);
    let (middle, half) = (place(&source), State::of(&source));
    history::second(&source, false);
    archive.archive(&source.index_file());
    let truth = State::of(&source);
    drop(source);

    let target = target_without_gtids();
    let recovery = Recovery::onto(&archive, &target);
    let refusal = recovery.leaves_alone(&target, &["--to-end", "--engine", "parallel"], "engine");
    assert!(text(&refusal, "reason").contains("GTID"), "{refusal:#}");
    let plan = recovery.dry(&["--to-end"]);
    assert_eq!(plan["engine"], "pipe", "{plan:#}");
    assert!(text(&plan, "why").contains("GTID"), "{plan:#}");

    let done = recovery.run(&["--to-position", &middle]);
    assert_eq!(done["engine"], "pipe", "{done:#}");
    assert_eq!(
        format!("{}:{}", text(&done, "file"), done["position"]),
        middle
    );
    assert_eq!(State::of(&target), half);
    // From the beginning once more would be everything twice.
    recovery.leaves_alone(&target, &["--to-end"], "target_not_empty");
    recovery.run(&["--to-end", "--from-position", &middle]);
    assert_eq!(State::of(&target), truth);
    assert_eq!(recovery.left_behind(&target), [""; 0]);
}

#[test]
fn without_gtids_a_run_that_was_killed_is_not_gone_on_with() {
    let archive = Archive::encrypted();
    let source = Options::new().no_gtids().start();
    source.sql(
        "CREATE DATABASE k; CREATE TABLE k.t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB);
         CREATE TABLE k.gate (id INT PRIMARY KEY)",
    );
    let dump = archive.path("full.sql");
    source.dump(&["--set-gtid-purged=OFF"], &dump);
    let base = place(&source);
    let insert = "INSERT INTO k.t (v) VALUES (RANDOM_BYTES(1000)); ".repeat(1000);
    source.sql(&format!(
        "{insert} INSERT INTO {} VALUES (1); {insert}",
        gate::TABLE
    ));
    source.flush_logs();
    archive.archive(&source.index_file());
    let truth = State::of(&source);
    drop(source);

    let route = ["--to-end", "--from-position", &base];
    {
        let target = target_without_gtids();
        restore(&dump, &target);
        let recovery = Recovery::onto(&archive, &target);
        let gate = Gate::shut(&target);
        let mut running = recovery.spawn(&route);
        gate::is_reached(&target, || running.is_running());
        running.kill();
        // The client that it started ends when it can.
        gate.open();
        tools::eventually("no session is left but this", || {
            let sessions = target.sql("SHOW PROCESSLIST").concat();
            sessions.iter().filter(|field| *field == "root").count() == 1
        });
        let refusal = recovery.leaves_alone(&target, &route, "unfinished");
        let said = refusal.to_string().to_lowercase();
        assert!(said.contains("restore"), "{refusal:#}");
    }
    let target = target_without_gtids();
    restore(&dump, &target);
    Recovery::onto(&archive, &target).run(&route);
    assert_eq!(State::of(&target), truth);
}

#[test]
fn a_server_behind_a_hole_is_not_taken_to_be_at_a_target_before_it() {
    let archive = Archive::encrypted();
    let source = Options::new().no_gtids().start();
    source.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY)");
    let before = place(&source);
    source.flush_logs();
    archive.archive(&source.index_file());
    source.sql("INSERT INTO d.t VALUES (1)");
    source.flush_logs();
    let behind = place(&source);
    source.sql("INSERT INTO d.t VALUES (2)");
    source.flush_logs();
    let (third, _) = behind.split_once(':').expect("a place");
    source.sql(&format!("PURGE BINARY LOGS TO '{third}'"));
    archive.archive(&source.index_file());
    let listed = archive.ls(&[]);
    let states: Vec<&str> = listed.iter().map(|e| text(e, "state")).collect();
    assert!(
        states.ends_with(&["archived", "hole", "archived"]),
        "{states:?}"
    );
    drop(source);

    // What was lost in the hole is in the tables, and was committed after the target.
    let target = target_without_gtids();
    target.sql(
        "CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY); INSERT INTO d.t VALUES (1)",
    );
    let recovery = Recovery::onto(&archive, &target);
    let route = ["--to-position", &before, "--from-position", &behind];
    let refusal = recovery.leaves_alone(&target, &route, "target_diverged");
    assert!(text(&refusal, "reason").contains(third), "{refusal:#}");
    // To the place where it stands there is nothing to do.
    recovery.has_nothing_to_do(&["--to-position", &behind, "--from-position", &behind]);
}

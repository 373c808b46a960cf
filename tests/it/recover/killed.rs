//! Runs that end in their middle: the same command goes on from there, and at its end nothing of any of them is left.

use super::gate::{self, Gate};
use super::state::{State, executed};
use super::{Recovery, Running, restore, target};
use crate::archive::Archive;
use crate::mysql::Server;
use crate::tools;

/// Transactions before the gate, and behind it.
const TRANSACTIONS: usize = 1500;

/// A history with a gate in its middle, a server that its base was restored into, and what it is to become.
struct Scene {
    archive: Archive,
    target: Server,
    base: String,
    truth: State,
}

impl Scene {
    fn new() -> Scene {
        let archive = Archive::encrypted();
        let source = Server::new();
        source.sql(&format!(
            "CREATE DATABASE k; CREATE TABLE k.t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB); CREATE TABLE {} (id INT PRIMARY KEY)",
            gate::TABLE
        ));
        let dump = archive.path("full.sql");
        source.dump(&[], &dump);
        let insert = "INSERT INTO k.t (v) VALUES (RANDOM_BYTES(1000)); ";
        source.sql(&insert.repeat(TRANSACTIONS));
        source.flush_logs();
        source.sql(&format!("INSERT INTO {} VALUES (1)", gate::TABLE));
        // More than pipes and clients have room for: none of them has read all when one is killed.
        let update = "UPDATE k.t SET v = RANDOM_BYTES(1024) WHERE id = ";
        let updates = (1..=TRANSACTIONS).map(|id| format!("{update}{id}; "));
        source.sql(&updates.collect::<String>());
        source.flush_logs();
        archive.archive(&source.index_file());
        let truth = State::of(&source);
        drop(source);
        let target = target();
        restore(&dump, &target);
        let base = executed(&target);
        Scene {
            archive,
            target,
            base,
            truth,
        }
    }

    fn recovery(&self) -> Recovery<'_> {
        Recovery::onto(&self.archive, &self.target)
    }

    /// A recovery that is in its middle, and cannot go on.
    fn stuck(&self, recovery: &Recovery<'_>, engine: &str) -> (Running, Gate) {
        self.stuck_with(recovery, engine, &[])
    }

    /// The same with more options.
    fn stuck_with(&self, recovery: &Recovery<'_>, engine: &str, more: &[&str]) -> (Running, Gate) {
        let gate = Gate::shut(&self.target);
        let mut running = recovery.spawn(&[more, &["--to-end", "--engine", engine]].concat());
        gate::is_reached(&self.target, || running.is_running());
        // It comes to the gate before what stands before it is all committed.
        tools::eventually("some of it was applied", || {
            executed(&self.target) != self.base
        });
        assert_ne!(executed(&self.target), self.truth.executed);
        (running, gate)
    }

    /// The same command again brings the server to where it was to be, and leaves nothing.
    #[track_caller]
    fn ends_well(&self, recovery: &Recovery<'_>, engine: &str) {
        // If the server went on by itself, there may be nothing to do.
        recovery.run(&["--to-end", "--engine", engine]);
        assert_eq!(State::of(&self.target), self.truth);
        assert_eq!(recovery.left_behind(&self.target), [""; 0]);
    }
}

fn killed(engine: &str) {
    let scene = Scene::new();
    let recovery = scene.recovery();
    let (mut running, gate) = scene.stuck(&recovery, engine);
    running.kill();
    gate.open();
    scene.ends_well(&recovery, engine);
}

#[test]
fn a_pipe_that_was_killed_is_gone_on_with() {
    killed("pipe");
}

#[test]
fn a_recovery_by_the_servers_applier_that_was_killed_is_gone_on_with() {
    killed("parallel");
}

#[test]
fn what_a_killed_run_left_is_taken_away_by_the_other_engine_and_a_setting_is_what_it_was() {
    let scene = Scene::new();
    scene.target.sql("SET GLOBAL relay_log_purge = OFF");
    let recovery = scene.recovery();
    let (mut running, gate) = scene.stuck(&recovery, "parallel");
    running.kill();
    gate.open();
    recovery.run(&["--to-end", "--engine", "pipe"]);
    assert_eq!(State::of(&scene.target), scene.truth);
    let left = recovery.left_behind(&scene.target);
    assert_eq!(left, ["relay_log_purge is off"]);
}

/// A run that leaves out the last transaction of all is killed long before that, and gone on with, with or `without` the option.
fn killed_before_what_is_left_out(engine: &str, without: bool) {
    let scene = Scene::new();
    let recovery = scene.recovery();
    let all = scene.truth.executed.as_str();
    let (uuid, _) = all.split_once(':').expect("a set");
    let (_, last) = all.rsplit_once('-').expect("a set of one run");
    let bad = format!("{uuid}:{last}");
    let skip = ["--skip-gtid", bad.as_str()];
    let (mut running, gate) = scene.stuck_with(&recovery, engine, &skip);
    running.kill();
    gate.open();
    let again: &[&str] = if without { &[] } else { &skip };
    // If the server went on by itself, there may be nothing to do.
    recovery.run(&[again, &["--to-end", "--engine", engine]].concat());
    assert_eq!(executed(&scene.target), all);
    let lengths = "SELECT LENGTH(v), COUNT(*) FROM k.t GROUP BY 1 ORDER BY 1";
    let updated = (TRANSACTIONS - 1).to_string();
    assert_eq!(
        scene.target.sql(lengths),
        [["1000", "1"], ["1024", updated.as_str()]]
    );
    assert_eq!(recovery.left_behind(&scene.target), [""; 0]);
}

#[test]
fn what_a_killed_pipe_was_to_leave_out_is_left_out_by_a_run_that_does_not_say_so() {
    killed_before_what_is_left_out("pipe", true);
}

#[test]
fn what_a_killed_run_of_the_applier_was_to_leave_out_is_left_out_by_a_run_that_does_not_say_so() {
    killed_before_what_is_left_out("parallel", true);
}

#[test]
fn a_killed_run_that_leaves_something_out_is_gone_on_with_by_the_same_command() {
    killed_before_what_is_left_out("pipe", false);
}

fn asked_to_end(engine: &str) {
    let scene = Scene::new();
    let recovery = scene.recovery();
    let (mut running, gate) = scene.stuck(&recovery, engine);
    running.terminate();
    gate.open();
    running.end();
    assert_eq!(recovery.left_behind(&scene.target), [""; 0]);
    scene.ends_well(&recovery, engine);
}

#[test]
fn a_pipe_that_was_asked_to_end_is_gone_on_with() {
    asked_to_end("pipe");
}

#[test]
fn a_recovery_by_the_servers_applier_takes_its_things_away_when_it_is_asked_to_end() {
    asked_to_end("parallel");
}

#[test]
fn a_client_that_was_killed_fails_the_run_and_the_next_one_goes_on() {
    let scene = Scene::new();
    let recovery = scene.recovery();
    // What the one killed left is what the other begins with.
    for tool in ["mysql", "mysqlbinlog"] {
        let (mut running, gate) = scene.stuck(&recovery, "pipe");
        let client = recovery.client(tool);
        rustix::process::kill_process(client, rustix::process::Signal::KILL).expect("it runs");
        gate.open();
        let (code, said) = running.end();
        assert_eq!(code, Some(1), "{tool}: {said}");
        assert!(said.contains(tool), "{said}");
        assert_ne!(executed(&scene.target), scene.truth.executed, "{tool}");
    }
    scene.ends_well(&recovery, "pipe");
}

fn server_killed(engine: &str) {
    let mut scene = Scene::new();
    let archive = &scene.archive;
    let recovery = Recovery::onto(archive, &scene.target);
    let (mut running, gate) = scene.stuck(&recovery, engine);
    scene.target.kill9();
    let (code, said) = running.end();
    assert_eq!(code, Some(1), "{said}");
    drop(gate);
    assert!(recovery.mounts().is_empty(), "{:?}", recovery.mounts());
    scene.target.restart();
    scene.ends_well(&recovery, engine);
}

#[test]
fn a_pipe_whose_server_was_killed_fails_and_the_next_one_goes_on() {
    server_killed("pipe");
}

#[test]
fn a_recovery_by_the_applier_of_a_server_that_was_killed_fails_and_the_next_one_goes_on() {
    server_killed("parallel");
}

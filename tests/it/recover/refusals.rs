//! What a plan refuses is refused here too, before anything is applied; so is what is in the way of an engine.

use super::state::{State, executed, gtids};
use super::{Recovery, restore, target, target_without_gtids, text};
use crate::archive::Archive;
use crate::backup;
use crate::failover::with_a_late_tail;
use crate::mysql::{Options, Server};
use crate::synthetic::{SyntheticServer, uuid_of};
use crate::tools;
use binlogfs::binlog::testing::mysql_gtid;

/// Transactions of a file.
const EACH: u64 = 10;

/// A server with a table: its first two transactions.
fn started(options: Options) -> Server {
    let server = options.start();
    server
        .sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB)");
    server
}

/// Closes a file with [`EACH`] transactions more.
fn rotate(server: &Server) {
    server.sql(&"INSERT INTO d.t (v) VALUES (RANDOM_BYTES(1000)); ".repeat(EACH as usize));
    server.flush_logs();
}

/// A source of three files, archived.
fn archived() -> (Archive, Server) {
    let archive = Archive::encrypted();
    let source = started(Options::new());
    (0..3).for_each(|_| rotate(&source));
    archive.archive(&source.index_file());
    (archive, source)
}

#[test]
fn what_no_plan_leads_to_is_refused_and_nothing_is_applied() {
    let (archive, source) = archived();
    let uuid = source.uuid();
    let gtid = |number: u64| format!("{uuid}:{number}");
    drop(source);
    let inside = archive.json("plan", &["--after-gtid", &gtid(15)], 0);
    let stop = &inside["stop"];
    let inside = stop["last"]["start"].as_u64().expect("a place") + 1;
    let inside = format!("{}:{inside}", text(stop, "file"));
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    let (unknown, beyond) = (gtid(999), gtid(40));
    for (route, kind) in [
        (vec!["--to", "2001-01-01T00:00:00Z"], "too_early"),
        (vec!["--to", "2099-01-01T00:00:00Z"], "too_late"),
        (vec!["--after-gtid", &unknown], "unknown"),
        (vec!["--to-position", "binlog.000077:4"], "unknown"),
        (vec!["--to-position", &inside], "inside"),
        (vec!["--to-end", "--skip-gtid", &beyond], "skip"),
    ] {
        recovery.leaves_alone(&target, &route, kind);
    }
    // For people, and without --execute as well.
    for more in [&["--execute"][..], &[]] {
        let route = [&["--after-gtid", &unknown], more].concat();
        let output = tools::output(&mut recovery.command(&route));
        assert_eq!(output.status.code(), Some(4), "{more:?}");
        let said = tools::excerpt(&output.stderr);
        assert!(said.contains("binlogfs: not recoverable: "), "{said}");
    }
}

#[test]
fn what_the_target_has_itself_cannot_be_left_out_any_more() {
    let (archive, source) = archived();
    let had = format!("{}:15", source.uuid());
    drop(source);
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    recovery.run(&["--to-end"]);
    let route = ["--to-end", "--skip-gtid", &had];
    let refusal = recovery.leaves_alone(&target, &route, "skip");
    let instead = refusal["instead"].to_string();
    assert!(instead.contains("needs no --skip-gtid"), "{refusal:#}");
}

#[test]
fn a_base_that_lacks_the_beginning_of_the_history_is_refused() {
    let archive = Archive::encrypted();
    let source = started(Options::new());
    (0..3).for_each(|_| rotate(&source));
    source.sql("PURGE BINARY LOGS TO 'binlog.000003'");
    archive.archive(&source.index_file());
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    recovery.leaves_alone(&target, &["--to-end"], "base_too_old");
}

#[test]
fn a_hole_is_not_recovered_over_and_the_point_before_it_is_reached() {
    let archive = Archive::encrypted();
    let source = started(Options::new());
    (0..2).for_each(|_| rotate(&source));
    archive.archive(&source.index_file());
    let before_it = State::of(&source);
    (0..3).for_each(|_| rotate(&source));
    source.sql("PURGE BINARY LOGS TO 'binlog.000004'");
    archive.archive(&source.index_file());
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    let refusal = recovery.leaves_alone(&target, &["--to-end"], "missing");
    assert!(
        text(&refusal, "reason").contains("binlog.000003"),
        "{refusal:#}"
    );
    let planned = archive.json("plan", &["--to-end"], 4);
    recovery.run(&["--after-gtid", text(&planned["before"], "gtid")]);
    assert_eq!(State::of(&target), before_it);
    // There it stands.
    recovery.leaves_alone(&target, &["--to-end"], "missing");
}

#[test]
fn a_gap_of_unknown_extent_is_not_recovered_over() {
    let archive = Archive::encrypted();
    let mut first = SyntheticServer::new(&archive.data(), 1, "binlog");
    first.rotate(4, 100);
    archive.archive(first.dir());
    // The next server executed what no file here has.
    let dir = archive.path("second");
    std::fs::create_dir(&dir).expect("writable");
    let mut executed = first.executed().clone();
    (1..=5).for_each(|number| executed.insert(&mysql_gtid(9, number)));
    let mut second = SyntheticServer::starting_at(&dir, 2, "binlog", 7, executed);
    second.rotate(2, 100);
    archive.archive(second.dir());
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    let refusal = recovery.leaves_alone(&target, &["--to-end"], "missing");
    assert!(text(&refusal, "reason").contains("a gap"), "{refusal:#}");
    assert!(!text(&refusal["before"], "gtid").is_empty(), "{refusal:#}");
}

#[test]
fn another_timeline_is_not_crossed_into() {
    let archive = Archive::encrypted();
    let (first, _second) = with_a_late_tail(&archive);
    tools::output(&mut archive.archive_command(first.dir()));
    let lost = format!("{}:6", uuid_of(1));
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    let refusal = recovery.leaves_alone(&target, &["--after-gtid", &lost], "timeline");
    assert!(
        refusal["instead"].to_string().contains("--timeline 2"),
        "{refusal:#}"
    );
    // A server that has one of them is of the other history.
    let held = format!("{}:1-6", uuid_of(1));
    target.sql(&format!("SET GLOBAL gtid_purged = '{held}'"));
    recovery.leaves_alone(&target, &["--to-end"], "target_diverged");
}

#[test]
fn what_was_restored_must_have_what_the_backup_has_and_nothing_else() {
    let (archive, source) = archived();
    let dump = archive.path("full.sql");
    source.dump(&[], &dump);
    rotate(&source);
    archive.archive(&source.index_file());
    backup::add(&archive, &dump, "nightly", 0);
    let route = ["--to-end", "--backup", "nightly"];
    {
        // Another cluster's, and one that was never restored.
        let stranger = started(Options::new().server_id(3));
        let target = target();
        let recovery = Recovery::onto(&archive, &target);
        let refusal = recovery.leaves_alone(&target, &route, "target_lacks_backup");
        assert!(text(&refusal, "reason").contains("backup"), "{refusal:#}");
        let foreign = archive.path("foreign.sql");
        stranger.dump(&[], &foreign);
        restore(&foreign, &target);
        let refusal = recovery.leaves_alone(&target, &["--to-end"], "target_diverged");
        let own = stranger.uuid();
        assert!(text(&refusal, "reason").contains(&own), "{refusal:#}");
    }
    let target = target();
    restore(&dump, &target);
    let recovery = Recovery::onto(&archive, &target);
    // What the server wrote itself never was in the history.
    target.sql("CREATE DATABASE mine");
    recovery.leaves_alone(&target, &route, "target_diverged");
    target.sql("DROP DATABASE mine; RESET BINARY LOGS AND GTIDS");
    let held = text(&archive.json("plan", &route, 0)["base"], "gtids").to_owned();
    target.sql(&format!("SET GLOBAL gtid_purged = '{held}'"));
    recovery.run(&route);
    let last = gtids(&executed(&target)).count();
    assert_eq!(last, 2 + 4 * EACH);
    // It has what lies behind the stop.
    let earlier = format!("{}:{}", source.uuid(), last - 5);
    recovery.leaves_alone(&target, &["--after-gtid", &earlier], "target_diverged");
    recovery.leaves_alone(&target, &["--before-gtid", &earlier], "target_diverged");
}

#[test]
fn without_the_key_nothing_is_applied_and_the_key_is_asked_for() {
    let (archive, _source) = archived();
    let target = target();
    let before = State::of(&target);
    let recovery = Recovery::onto(&archive, &target);
    for engine in super::ENGINES {
        let mut command = tools::binlogfs();
        command
            .args(recovery.words(&["--to-end", "--execute", "--engine", engine]))
            .arg("--cache-dir")
            .arg(archive.path("blind"))
            .env_remove("BINLOGFS_IDENTITY");
        let output = tools::output(&mut command);
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(4), "{engine}: {said}");
        assert!(said.contains("--identity"), "{engine}: {said}");
        assert_eq!(State::of(&target), before, "{engine}");
        assert_eq!(recovery.left_behind(&target), [""; 0], "{engine}");
    }
}

#[test]
fn gtid_modes_must_fit() {
    let (archive, _source) = archived();
    {
        let target = target_without_gtids();
        let recovery = Recovery::onto(&archive, &target);
        recovery.leaves_alone(&target, &["--to-end"], "target_gtid_mode");
    }
    let archive = Archive::encrypted();
    let source = started(Options::new().no_gtids());
    rotate(&source);
    archive.archive(&source.index_file());
    drop(source);
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    recovery.leaves_alone(&target, &["--to-end"], "target_gtid_mode");
}

#[test]
fn an_applier_would_pass_over_what_has_its_servers_own_id() {
    let archive = Archive::encrypted();
    let source = started(Options::new().server_id(2));
    (0..2).for_each(|_| rotate(&source));
    archive.archive(&source.index_file());
    let truth = State::of(&source);
    drop(source);
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    let asked = ["--to-end", "--engine", "parallel"];
    let refusal = recovery.leaves_alone(&target, &asked, "engine");
    assert!(
        text(&refusal, "reason").contains("server_id"),
        "{refusal:#}"
    );
    let told = recovery.dry(&["--to-end"]);
    assert_eq!(told["engine"], "pipe", "{told:#}");
    assert!(text(&told, "why").contains("server_id"), "{told:#}");
    let done = recovery.run(&["--to-end"]);
    assert_eq!(done["engine"], "pipe", "{done:#}");
    assert_eq!(State::of(&target), truth);
}

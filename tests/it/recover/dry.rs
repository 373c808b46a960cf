//! What would be done is told, and nothing is done.

use super::state::{State, executed};
use super::{ENGINES, Recovery, target, text};
use crate::archive::Archive;
use crate::mysql::Server;
use crate::tools;

/// A source with a schema change among its rows, archived.
fn archived() -> (Archive, Server) {
    let archive = Archive::encrypted();
    let source = Server::new();
    source.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)");
    let insert = "INSERT INTO d.t (v) VALUES (1); ";
    source.sql(&insert.repeat(10));
    source.flush_logs();
    source.sql(&insert.repeat(5));
    source.sql("ALTER TABLE d.t ADD COLUMN w INT");
    source.sql(&insert.repeat(5));
    source.flush_logs();
    archive.archive(&source.index_file());
    (archive, source)
}

#[test]
fn without_execute_everything_is_told_and_nothing_is_changed() {
    let (archive, source) = archived();
    let target = target();
    let before = State::of(&target);
    let recovery = Recovery::onto(&archive, &target);
    let plan = archive.json("plan", &["--to-end", "--from-gtid-set", ""], 0);
    for engine in ENGINES {
        let route = ["--to-end", "--engine", engine];
        let told = recovery.dry(&route);
        assert_eq!(told["engine"], engine, "{told:#}");
        let why = text(&told, "why");
        assert!(!why.is_empty() && told["notes"].is_array(), "{told:#}");
        for member in ["begin", "stop", "segments", "gtids", "bytes"] {
            assert_eq!(told["plan"][member], plan[member], "{member}: {told:#}");
        }
        // For people.
        let said = tools::run_text(&mut recovery.command(&route));
        let stop = format!(
            "{}:{}",
            text(&plan["stop"], "file"),
            plan["stop"]["position"]
        );
        for words in [stop.as_str(), engine, why] {
            assert!(said.contains(words), "{words:?} is not in: {said}");
        }
        assert_eq!(State::of(&target), before, "{engine}");
        assert_eq!(recovery.left_behind(&target), [""; 0], "{engine}");
    }
    // Here it can be the server's own applier, so it is.
    let told = recovery.dry(&["--to-end"]);
    assert_eq!(told["engine"], "parallel", "{told:#}");
    // What was told is what comes of it.
    let done = recovery.run(&["--to-end"]);
    assert_eq!(done["engine"], told["engine"]);
    assert_eq!(done["file"], plan["stop"]["file"]);
    assert_eq!(done["position"], plan["stop"]["position"]);
    assert_eq!(State::of(&target), State::of(&source));
}

#[test]
fn a_plan_begins_where_the_server_is() {
    let (archive, source) = archived();
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    let gtid = format!("{}:7", source.uuid());
    recovery.run(&["--after-gtid", &gtid]);
    let held = executed(&target);
    assert_eq!(held, format!("{}:1-7", source.uuid()));
    let told = recovery.dry(&["--to-end"]);
    let plan = archive.json("plan", &["--to-end", "--from-gtid-set", &held], 0);
    for member in ["begin", "stop", "segments", "gtids"] {
        assert_eq!(told["plan"][member], plan[member], "{member}: {told:#}");
    }
}

#[test]
fn a_recovery_ends_before_the_first_schema_change_if_it_is_told_to() {
    let (archive, source) = archived();
    let uuid = source.uuid();
    let gtid = |number: u64| format!("{uuid}:{number}");
    for engine in ENGINES {
        let target = target();
        let recovery = Recovery::onto(&archive, &target);
        // CREATE DATABASE is one: there is nothing before it.
        recovery.has_nothing_to_do(&["--to-end", "--stop-before-ddl", "--engine", engine]);
        assert_eq!(executed(&target), "");
        recovery.run_by(engine, &["--after-gtid", &gtid(2)]);
        // An end that comes earlier stays the end.
        recovery.run_by(engine, &["--after-gtid", &gtid(9), "--stop-before-ddl"]);
        assert_eq!(executed(&target), format!("{uuid}:1-9"));
        let route = ["--to-end", "--stop-before-ddl"];
        let told = recovery.dry(&route);
        assert_eq!(told["plan"]["stop"]["next"]["gtid"], gtid(18), "{told:#}");
        recovery.run_by(engine, &route);
        assert_eq!(executed(&target), format!("{uuid}:1-17"));
        // At the change it stands still; without the option it goes over it.
        recovery.has_nothing_to_do(&route);
        recovery.run_by(engine, &["--to-end"]);
        assert_eq!(State::of(&target), State::of(&source), "{engine}");
    }
}

#[test]
fn wrong_options_are_refused_before_anything_is_asked() {
    let (archive, _source) = archived();
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    for wrong in [
        vec![],
        vec!["--to-end", "--to", "-1m"],
        vec!["--to-end", "--engine", "magic"],
        vec![
            "--to-end",
            "--backup",
            "a",
            "--from-position",
            "binlog.000001:4",
        ],
    ] {
        let output = tools::output(recovery.command(&wrong).arg("--execute"));
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
    // Neither --target nor --defaults-file.
    let url = archive.url();
    let output = archive.output(&["recover", &url, "--to-end", "--execute"]);
    assert_ne!(output.status.code(), Some(0));
    assert_eq!(executed(&target), "");
}

#[test]
fn an_option_file_names_the_server_as_well() {
    let (archive, source) = archived();
    let target = target();
    let file = archive.path("my.cnf");
    let text = format!(
        "[client]\nuser = root\nsocket = {}\n",
        target.socket().display()
    );
    std::fs::write(&file, text).expect("writable");
    let recovery = Recovery::onto(&archive, &target);
    let words = recovery.words(&["--to-end", "--execute", "--engine=pipe", "--defaults-file"]);
    let words = words.iter().filter(|word| !word.starts_with("--target="));
    let mut words: Vec<&str> = words.map(String::as_str).collect();
    words.push(file.to_str().expect("text"));
    tools::run(&mut archive.command(&words));
    assert_eq!(State::of(&target), State::of(&source));
}

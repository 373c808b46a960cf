//! `binlogfs prune`: what is too old goes in two steps, and everything that reads knows of it.

mod afterwards;
mod beside;
mod fenced;
mod killed;
mod locks;
mod retention;
mod superseded;

use crate::archive::Archive;
use crate::synthetic::{SyntheticServer, uuid_of};
use crate::tools;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

/// Transactions of each file.
const TRANSACTIONS: u64 = 10;

/// An archive of `files` files of one server.
fn archived(archive: Archive, files: usize) -> (Archive, SyntheticServer) {
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..files).for_each(|_| server.rotate(TRANSACTIONS, 200));
    archive.archive(server.dir());
    (archive, server)
}

/// Runs a command that must end with `code`; what it printed as JSON, or else as text.
#[track_caller]
fn run(archive: &Archive, arguments: &[&str], code: i32) -> Value {
    let output = archive.output(arguments);
    let said = tools::excerpt(&output.stderr) + &tools::excerpt(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or(Value::String(said))
}

/// `binlogfs prune URL ... --json`.
#[track_caller]
fn prune(archive: &Archive, more: &[&str], code: i32) -> Value {
    run(
        archive,
        &[&["prune", &archive.url(), "--json"], more].concat(),
        code,
    )
}

/// Registers a backup that holds the first `transactions`.
#[track_caller]
fn backup(archive: &Archive, id: &str, transactions: u64, code: i32) -> Value {
    let set = format!("{}:1-{transactions}", uuid_of(1));
    let url = archive.url();
    let all = [
        "backup",
        "add",
        &url,
        "--gtid-set",
        &set,
        "--place",
        "tape",
        "--id",
        id,
    ];
    run(archive, &all, code)
}

#[track_caller]
fn names(archive: &Archive, more: &[&str]) -> Vec<String> {
    let name = |entry: &Value| {
        let state = entry["state"].as_str().expect("text");
        let name = entry["name"].as_str().expect("text");
        format!("{}{}", &name[12..], &state[..1])
    };
    archive.ls(more).iter().map(name).collect()
}

/// What a refused command said on stderr.
#[track_caller]
fn refused(archive: &Archive, arguments: &[&str], code: i32) -> String {
    let output = archive.output(arguments);
    let said = tools::excerpt(&output.stderr) + &tools::excerpt(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

#[test]
fn what_is_too_old_goes_in_two_steps_and_everything_that_reads_knows_of_it() {
    let (archive, server) = archived(Archive::encrypted(), 9);
    let url = archive.url();
    backup(&archive, "old", 45, 0);
    backup(&archive, "new", 75, 0);
    let rule = ["--before", "-1s"];
    // By default it is only told what would go, and why no more.
    let told = prune(&archive, &rule, 0);
    let plan = &told["timelines"][0];
    assert_eq!(plan["goes"]["through"], "binlog.000003", "{told:#}");
    assert_eq!(plan["stays_from"], "binlog.000004");
    assert_eq!(plan["limits"][0]["backup"], "old");
    assert_eq!(told["executed"], false);
    let text = refused(&archive, &[&["prune", &url], &rule[..]].concat(), 0);
    assert!(
        text.contains("goes    binlog.000001 to binlog.000003: 3 entries"),
        "{text}"
    );
    assert!(text.contains("backup old: keeps binlog.000004"), "{text}");
    assert!(text.contains("--execute does it"), "{text}");
    assert_eq!(archive.keys("ledger").len(), 9);

    // Recorded first: the history begins later, and every object is still there.
    let did = prune(&archive, &[&rule[..], &["--execute"]].concat(), 0);
    assert_eq!(did["recorded"][0]["through"], "binlog.000003", "{did:#}");
    assert_eq!(did["removal"]["waiting"], 3, "{did:#}");
    assert_eq!(archive.keys("segments").len(), 9);
    let all = ["1p", "2p", "3p", "4a", "5a", "6a", "7a", "8a", "9a"];
    assert_eq!(names(&archive, &["--pruned"]), all);
    assert_eq!(names(&archive, &[]), all[3..]);
    archive.verify();

    // Then deleted, in a later run, without anything new.
    let did = prune(&archive, &["--execute", "--grace", "0s"], 0);
    assert_eq!(did["removal"]["objects"], 3, "{did:#}");
    assert_eq!(archive.keys("segments").len(), 6);
    archive.verify();
    let again = prune(
        &archive,
        &[&rule[..], &["--execute", "--grace", "0s"]].concat(),
        0,
    );
    assert_eq!(again["recorded"], serde_json::json!([]), "{again:#}");
    assert_eq!(again["removal"]["objects"], 0);

    // Both backups can do what they could.
    run(&archive, &["backup", "check", &url], 0);
    let plan = archive.json("plan", &["--to-end", "--backup", "old"], 0);
    assert_eq!(
        plan["gtids"]["after"],
        server.executed().to_string(),
        "{plan:#}"
    );

    // What is gone is refused by name, with the day and the rule.
    let pruned = "was pruned on 2";
    let gtid = format!("{}:25", uuid_of(1));
    for target in [
        ["--gtid", gtid.as_str()],
        ["--position", "binlog.000002:157"],
        ["--time", "2023-11-14T22:13:30Z"],
    ] {
        let arguments = [&["locate", &url], &target[..]].concat();
        let said = refused(&archive, &arguments, 4);
        assert!(
            said.contains(pruned) && said.contains("--before"),
            "{target:?}: {said}"
        );
    }
    let before = ["plan", &url, "--before-gtid", &gtid, "--backup", "old"];
    let said = refused(&archive, &before, 4);
    assert!(said.contains(pruned), "{said}");
    let from_set = format!("{}:1-5", uuid_of(1));
    let from = ["plan", &url, "--to-end", "--from-gtid-set", &from_set];
    let said = refused(&archive, &from, 4);
    assert!(said.contains(pruned), "{said}");
    let late = backup(&archive, "late", 15, 4);
    assert!(late.to_string().contains(pruned), "{late}");
    let status = archive.json("status", &[], 0);
    let timeline = &status["timelines"][0];
    assert_eq!(timeline["pruned"]["through"], "binlog.000003", "{status:#}");
    assert_eq!(timeline["first"], "binlog.000004");
    let text = refused(&archive, &["status", &url], 0);
    assert!(
        text.contains("pruned        up to binlog.000003, on 2"),
        "{text}"
    );

    // An object that nobody pruned is missed.
    let gone = archive.ls(&[])[2]["object"]
        .as_str()
        .expect("a key")
        .to_owned();
    fs::remove_file(archive.bucket().join(&gone)).expect("removed");
    let report = archive.json("verify", &[], 3);
    let findings = report["findings"].as_array().expect("a list");
    assert_eq!(findings.len(), 1, "{report:#}");
    assert!(
        findings[0]["detail"]
            .as_str()
            .is_some_and(|text| text.contains(&gone)),
        "{report:#}"
    );
    assert_eq!(report["pruned"], 3);
}

#[test]
fn a_backup_that_was_registered_in_between_stops_the_deletion_with_an_alarm() {
    let (archive, _) = archived(Archive::plain(), 6);
    backup(&archive, "early", 15, 0);
    backup(&archive, "late", 55, 0);
    let url = archive.url();
    run(&archive, &["backup", "remove", &url, "early"], 0);
    let did = prune(&archive, &["--keep", "1s", "--execute"], 0);
    assert_eq!(did["recorded"][0]["through"], "binlog.000004", "{did:#}");
    // As a host would have done that looked before the record was there.
    let record = |id: &str| archive.bucket().join(format!("backups/{id}.json"));
    let text = fs::read_to_string(record("early")).expect("there");
    let text = text.replace("\"early\"", "\"raced\"");
    fs::write(record("raced"), text).expect("writable");
    let did = prune(&archive, &["--execute", "--grace", "0s"], 3);
    assert_eq!(did["removal"]["objects"], 0, "{did:#}");
    let blocked = &did["removal"]["blocked"][0];
    assert_eq!(blocked["backup"], "raced");
    assert_eq!(blocked["from"], "binlog.000002");
    assert_eq!(blocked["objects"], 4);
    let text = refused(&archive, &["prune", &url, "--execute", "--grace", "0s"], 3);
    assert!(text.contains("backup raced needs binlog.000002"), "{text}");
    assert_eq!(archive.keys("segments").len(), 6);
    run(&archive, &["backup", "remove", &url, "raced"], 0);
    let did = prune(&archive, &["--execute", "--grace", "0s"], 0);
    assert_eq!(did["removal"]["objects"], 4, "{did:#}");
    archive.verify();
}

#[test]
fn a_mount_sees_what_was_pruned_go_and_a_new_one_begins_later() {
    let (archive, mut server) = archived(Archive::encrypted(), 6);
    backup(&archive, "late", 55, 0);
    let listed = |dir: &std::path::Path| -> Vec<String> {
        let entries = fs::read_dir(dir).expect("readable");
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        };
        let mut names: Vec<String> = entries.map(name).collect();
        names.sort();
        names
    };
    let mounted = archive.mount_with(&["--refresh", "1"]);
    assert_eq!(listed(mounted.dir()).len(), 6);
    // The kernel knows every name, and each by a second directory.
    let ways = ["", ".timeline/1"].map(|way| mounted.dir().join(way));
    for name in listed(mounted.dir()) {
        assert!(ways.iter().all(|way| way.join(&name).metadata().is_ok()));
    }
    // One that is open reads on: its object is there until the grace is over.
    let open = fs::File::open(mounted.dir().join("binlog.000002")).expect("opens");
    let did = prune(&archive, &["--keep", "1s", "--execute"], 0);
    assert_eq!(did["recorded"][0]["through"], "binlog.000004", "{did:#}");
    tools::eventually("the pruned files are gone from the mount", || {
        listed(mounted.dir()) == ["binlog.000005", "binlog.000006"]
    });
    for (way, n) in ways.iter().flat_map(|way| (1..=4).map(move |n| (way, n))) {
        let name = way.join(format!("binlog.{n:06}"));
        tools::eventually(
            "the kernel has forgotten the name",
            || matches!(name.metadata(), Err(error) if error.kind() == std::io::ErrorKind::NotFound),
        );
    }
    let truth = fs::read(&server.closed()[1]).expect("readable");
    assert_eq!(open.metadata().expect("open").len(), truth.len() as u64);
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut &open, &mut bytes).expect("reads on");
    assert!(bytes == truth);
    prune(&archive, &["--execute", "--grace", "0s"], 0);
    server.rotate(TRANSACTIONS, 200);
    archive.archive(server.dir());
    tools::eventually("what is archived after that is seen", || {
        listed(mounted.dir())
            .last()
            .is_some_and(|last| last == "binlog.000007")
    });
    drop(open);
    drop(mounted);
    let mounted = archive.mount();
    assert_eq!(
        listed(mounted.dir()),
        ["binlog.000005", "binlog.000006", "binlog.000007"]
    );
    let gone = fs::File::open(mounted.dir().join("binlog.000002"));
    assert_eq!(tools::errno(gone), libc::ENOENT);
    let bytes = fs::read(mounted.dir().join("binlog.000005")).expect("readable");
    assert!(bytes == fs::read(&server.closed()[4]).expect("readable"));
}

/// The archiver goes on beside it, with files on its server that the archive has no more.
#[test]
fn an_archiver_beside_it_loses_nothing_and_archives_nothing_again() {
    let archive = Archive::in_memory(false);
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(TRANSACTIONS, 200);
    archive.archive(server.dir());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pruning = scope.spawn(|| {
            let (mut runs, mut records) = (0, 0);
            while !done.load(std::sync::atomic::Ordering::Acquire) || runs < 3 {
                // No backup is registered before the first that can be.
                let output = archive.output(&[
                    "prune",
                    &archive.url(),
                    "--keep-backups",
                    "1",
                    "--execute",
                    "--grace",
                    "0s",
                    "--json",
                ]);
                let said = tools::excerpt(&output.stderr);
                let code = output.status.code();
                assert!(
                    code == Some(0) || said.contains("no registered backup"),
                    "{said}"
                );
                if let Ok(told) = serde_json::from_slice::<Value>(&output.stdout) {
                    records += told["recorded"].as_array().map_or(0, Vec::len);
                }
                runs += 1;
            }
            records
        });
        for round in 1..=12u64 {
            server.rotate(TRANSACTIONS, 200);
            server.rotate(TRANSACTIONS, 200);
            archive.archive(server.dir());
            backup(&archive, &format!("b{round}"), round * 20 - 5, 0);
            if round > 1 {
                let before = format!("b{}", round - 1);
                run(&archive, &["backup", "remove", &archive.url(), &before], 0);
            }
        }
        done.store(true, std::sync::atomic::Ordering::Release);
        let records = pruning.join().expect("ends");
        assert!(records > 0, "something was pruned meanwhile");
    });
    let closed = server.closed().len();
    assert_eq!(names(&archive, &["--pruned"]).len(), closed);
    let kept = names(&archive, &[]).len();
    assert!(kept < closed, "{kept} of {closed}");
    assert_eq!(archive.keys("segments").len(), kept);
    archive.verify();
    run(&archive, &["backup", "check", &archive.url()], 0);
    assert!(
        archive
            .archive(server.dir())
            .contains("archived 0 segments")
    );
}

/// What the archive of a directory is told of locks.
#[test]
fn a_directory_locks_nothing_and_says_so() {
    let archive = Archive::plain();
    if crate::archive::on_a_server() {
        return locks::refused_on_a_server(&archive);
    }
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(TRANSACTIONS, 200);
    let mut command = archive.archive_command(server.dir());
    command.args(["--object-lock", "governance", "--retain", "35d"]);
    let output = tools::output(&mut command);
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("a directory locks nothing"), "{said}");
    archive.archive(server.dir());
    let url = archive.url();
    let told: &[&str] = &[];
    for execute in [told, &["--execute"]] {
        let all = [&["retain", &url, "--for", "1d"], execute].concat();
        let said = refused(&archive, &all, 1);
        assert!(said.contains("it has no locks"), "{said}");
    }
    let said = refused(
        &archive,
        &["retain", &url, "--until", "2020-01-01T00:00:00Z"],
        1,
    );
    assert!(said.contains("a lock ends in the future"), "{said}");
    refused(&archive, &["retain", &url], 2);
    let status = archive.json("status", &["--locks"], 0);
    let oldest = &status["timelines"][0]["locks"]["oldest"];
    assert_eq!(oldest["lock"], Value::Null, "{status:#}");
    let report = archive.json("verify", &["--locks"], 0);
    assert_eq!(report["locks"]["not_locked"], 1, "{report:#}");
}

/// A path of a program's run that is longer than any takes.
const LONG: Duration = Duration::from_secs(60);

/// The segments' objects, by name.
fn objects(archive: &Archive) -> Vec<PathBuf> {
    archive.keys("segments")
}

//! `binlogfs doctor`: what it finds on a host, a stream and a mount, and that it is right.

use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use serde_json::Value;

fn archived() -> Archive {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 100);
    server.rotate(2, 100);
    archive.archive(server.dir());
    archive
}

/// The exit code and the report.
fn report(command: &mut std::process::Command) -> (Option<i32>, Value) {
    let output = tools::output(command.arg("--json"));
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", tools::excerpt(&output.stderr)));
    (output.status.code(), report)
}

/// The check `name` of a report.
fn check<'a>(report: &'a Value, name: &str) -> &'a Value {
    let sections = report["sections"].as_array().expect("sections");
    let mut checks = sections
        .iter()
        .flat_map(|s| s["checks"].as_array().expect("checks"));
    checks
        .find(|check| check["name"] == name)
        .unwrap_or_else(|| panic!("no check {name}: {report:#}"))
}

#[test]
fn a_sound_stream_is_found_sound() {
    let archive = archived();
    let (code, report) = report(&mut archive.command(&["doctor", &archive.url()]));
    for name in [
        "/dev/fuse",
        "kernel",
        "user",
        "ledger",
        "history",
        "key",
        "latency",
    ] {
        assert_eq!(check(&report, name)["level"], "ok", "{report:#}");
    }
    assert_eq!(code, Some(0), "{report:#}");
    let text = tools::run_text(&mut archive.command(&["doctor", &archive.url()]));
    assert!(text.contains("nothing has to be changed"), "{text}");
}

#[test]
fn a_missing_key_is_a_note_and_a_wrong_one_a_failure() {
    let archive = archived();
    let mut command = tools::binlogfs();
    command.args(["doctor", &archive.url(), "--cache-dir"]);
    let (code, told) = report(command.arg(archive.path("cache")));
    assert_eq!(check(&told, "key")["level"], "note", "{told:#}");
    assert_eq!(code, Some(0));
    let wrong = archive.path("wrong.txt");
    tools::run(tools::binlogfs().args(["keygen", "-o"]).arg(&wrong));
    let mut command = tools::binlogfs();
    command.args(["doctor", &archive.url(), "--cache-dir"]);
    command.arg(archive.path("cache")).arg("--identity");
    let (code, told) = report(command.arg(wrong));
    assert_eq!(check(&told, "key")["level"], "failure", "{told:#}");
    let advice = check(&told, "key")["advice"].as_str().expect("text");
    assert!(advice.contains("--identity"), "{advice}");
    assert_eq!(code, Some(3));
}

#[test]
fn a_hole_and_an_object_that_is_gone_are_found() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 100);
    archive.archive(server.dir());
    server.rotate(2, 100);
    server.purge(2);
    server.rotate(2, 100);
    archive.archive(server.dir());
    let (code, told) = report(&mut archive.command(&["doctor", &archive.url()]));
    assert_eq!(check(&told, "history")["level"], "warning", "{told:#}");
    assert_eq!(code, Some(3));
    let newest = archive.keys("segments").pop().expect("an object");
    std::fs::remove_file(newest).expect("removes");
    std::fs::remove_dir_all(archive.path("cache")).expect("removes");
    let (_, told) = report(&mut archive.command(&["doctor", &archive.url()]));
    assert_eq!(check(&told, "key")["level"], "failure", "{told:#}");
}

#[test]
fn a_mount_is_looked_at_while_it_lives_and_when_its_process_is_dead() {
    let archive = archived();
    let mounted = archive.mount();
    let dir = mounted.dir().to_str().expect("text").to_owned();
    let (code, told) = report(&mut archive.command(&["doctor", &dir]));
    assert_eq!(check(&told, "mount")["level"], "ok", "{told:#}");
    assert_eq!(check(&told, "read-ahead")["level"], "ok", "{told:#}");
    assert_eq!(check(&told, "ledger")["level"], "ok", "{told:#}");
    assert_eq!(code, Some(0));
    rustix::process::kill_process(mounted.process(), rustix::process::Signal::KILL).expect("kills");
    let begun = std::time::Instant::now();
    let dead = loop {
        let (code, told) = report(&mut archive.command(&["doctor", &dir]));
        if check(&told, "mount")["level"] != "ok" {
            assert_eq!(code, Some(3));
            break told;
        }
        // A process takes a moment to die.
        assert!(begun.elapsed().as_secs() < 10, "{told:#}");
    };
    let advice = check(&dead, "mount")["advice"].as_str().expect("text");
    assert!(advice.contains("umount -l"), "{advice}");
}

#[test]
fn a_mount_by_a_configuration_file_is_looked_at_and_so_is_the_disk_cache() {
    let archive = archived();
    let file = archive.path("orders.toml");
    std::fs::write(&file, format!("url = \"{}\"\n", archive.url())).expect("writes");
    let file = file.to_str().expect("text");
    let mounted = archive.mount_at(file, archive.path("mnt"), &[]);
    let dir = mounted.dir().to_str().expect("text").to_owned();
    let (code, told) = report(&mut archive.command(&["doctor", &dir]));
    assert_eq!(check(&told, "mount")["level"], "ok", "{told:#}");
    assert_eq!(check(&told, "ledger")["level"], "ok", "{told:#}");
    let cache = check(&told, "cache")["found"].as_str().expect("text");
    let frames = archive.path("cache").join("frames");
    assert!(cache.contains(frames.to_str().expect("text")), "{cache}");
    assert_eq!(code, Some(0), "{told:#}");
}

#[test]
fn what_is_no_mount_and_no_stream_is_refused_or_a_failure() {
    let archive = Archive::plain();
    let dir = archive.data();
    let output = archive.output(&["doctor", dir.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("nothing of binlogfs is mounted"), "{error}");
    let url = format!("file://{}/nothing", dir.display());
    let (code, told) = report(&mut archive.command(&["doctor", &url]));
    assert_eq!(check(&told, "open")["level"], "failure", "{told:#}");
    assert_eq!(code, Some(3));
}

//! The daemon beside a real server: it knows its settings, closes a quiet file, and loses nothing silently to PURGE, RESET or a
//! flipped byte.

use super::daemon::{Daemon, until};
use crate::archive::Archive;
use crate::mysql::{Options, mysqlbinlog};
use crate::tools::{self, Sysbench};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub(super) fn configuration(
    archive: &Archive,
    server: &crate::mysql::Server,
    more: &str,
) -> std::path::PathBuf {
    let login = archive.path("mysql.cnf");
    let text = format!(
        "[client]\nuser = root\nsocket = {}\n",
        server.socket().display()
    );
    fs::write(&login, text).expect("writable");
    let config = archive.path("binlogfs.toml");
    let text = format!(
        "[agent]\nlisten = \"127.0.0.1:0\"\n[archive]\nrecipients = [\"{}\"]\npoll = \"1s\"\n\
         [[stream]]\nname = \"live\"\nsource = \"{}\"\nto = \"{}\"\nstate_dir = \"{}\"\n\
         mysql_defaults_file = \"{}\"\n{more}",
        archive.recipient(),
        server.datadir().display(),
        archive.url(),
        archive.path("state").display(),
        login.display(),
    );
    fs::write(&config, text).expect("writable");
    config
}

pub(super) fn start(config: &std::path::Path, more: &[&str]) -> Daemon {
    let mut command = tools::binlogfs();
    command
        .arg("archive")
        .arg("--config")
        .arg(config)
        .args(more);
    Daemon::start(command, true)
}

#[test]
fn a_quiet_server_is_rotated_once_for_what_it_holds_and_its_settings_are_watched() {
    let archive = Archive::encrypted();
    let server = Options::new().start();
    server
        .sql("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY); INSERT INTO d.t VALUES (1)");
    let daemon = start(
        &configuration(&archive, &server, "rotate_after = \"10s\"\n"),
        &[],
    );
    until("the active file is closed and archived", || {
        archive.keys("ledger").len() == 1
    });
    assert_eq!(server.binlogs().len(), 2);
    until("the server is known", || {
        let (_, metrics) = daemon.get("/metrics");
        metrics.contains("binlogfs_server_up{stream=\"live\"} 1.0")
            && metrics.contains("binlogfs_time_to_expiry_seconds{stream=\"live\"} 2592000.0")
    });
    server.sql("SET GLOBAL binlog_error_action = 'IGNORE_ERROR'");
    until("a dangerous setting is alarming", || {
        daemon
            .get("/metrics")
            .1
            .contains("alarm=\"ignore_error\",severity=\"critical\"} 1")
    });
    server.sql("SET GLOBAL binlog_error_action = 'ABORT_SERVER'");
    until("the alarm is over", || {
        !daemon.get("/metrics").1.contains("ignore_error")
    });
    // Longer than rotate_after: an empty file is not closed.
    assert_eq!(server.binlogs().len(), 2);
    assert_eq!(daemon.stop(), Some(0));
    archive.verify();
}

#[test]
fn purging_beside_a_daemon_leaves_every_file_archived_or_a_hole_with_an_alarm() {
    let archive = Archive::encrypted();
    let server = Options::new().max_binlog_size(256 << 10).start();
    let load = Sysbench::write_only().seconds(12);
    load.prepare(&server);
    let daemon = start(&configuration(&archive, &server, ""), &["--accept-holes"]);
    until("the first is archived", || {
        !archive.keys("ledger").is_empty()
    });
    let number = |entry: &serde_json::Value| -> Option<u64> {
        entry["name"].as_str()?.rsplit_once('.')?.1.parse().ok()
    };
    let first = number(&archive.ls(&[])[0]);
    let mut running = load.spawn(&server);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                if let Some(newest) = server.binlogs().last() {
                    let newest = newest.file_name().expect("a name").to_string_lossy();
                    let _ = server.try_sql(&format!("PURGE BINARY LOGS TO '{newest}'"));
                }
                std::thread::sleep(Duration::from_millis(30));
            }
        });
        running.wait().expect("the load ends");
        over.store(true, Ordering::Relaxed);
    });
    server.flush_logs();
    let active = server.binlogs().pop().expect("one is active");
    let active: u64 = active
        .extension()
        .and_then(|number| number.to_str()?.parse().ok())
        .expect("a number");
    until("all that is closed has a record", || {
        let newest = archive.ls(&[]).pop();
        newest.as_ref().and_then(number) == Some(active - 1)
    });
    let listed = archive.ls(&[]);
    let numbers: Vec<_> = listed.iter().filter_map(number).collect();
    let want: Vec<_> = (first.expect("a number")..active).collect();
    assert_eq!(numbers, want, "no file is passed over in silence");
    let holes = listed
        .iter()
        .filter(|entry| entry["state"] == "hole")
        .count();
    eprintln!(
        "{} files, {holes} of them purged before they were archived",
        want.len()
    );
    if holes > 0 {
        until("the holes are alarming", || {
            daemon.get("/metrics").1.contains("alarm=\"hole\"")
        });
    }
    assert_eq!(daemon.stop(), Some(0));
    let deep = archive.output(&["verify", &archive.url(), "--deep", "--orphans", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&deep.stdout).expect("a report");
    assert_eq!(report["orphans"], serde_json::json!([]));
    assert_eq!(
        report["findings"].as_array().map(Vec::len),
        Some(holes),
        "{report:#}"
    );
}

#[test]
fn a_reset_beside_a_daemon_begins_a_timeline_with_an_alarm_and_loses_nothing_that_was_closed() {
    let archive = Archive::encrypted();
    let server = Options::new().start();
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT)");
    let daemon = start(&configuration(&archive, &server, ""), &[]);
    let mut written = Vec::new();
    for timeline in 1..=2 {
        let mut closed = Vec::new();
        for _ in 0..3 {
            server.sql("INSERT INTO d.t VALUES ()");
            server.flush_logs();
            let names = server.binlogs();
            let file = &names[names.len() - 2];
            let name = file.file_name().expect("named").to_string_lossy();
            closed.push((name.into_owned(), fs::read(file).expect("readable")));
        }
        until("all that is closed is archived", || {
            archive.keys("ledger").len() == 3 * timeline
        });
        written.push(closed);
        // The same names again, and the same GTIDs for other transactions.
        server.sql("RESET BINARY LOGS AND GTIDS");
    }
    until("the branch is alarming", || {
        let (_, metrics) = daemon.get("/metrics");
        metrics.contains("alarm=\"branch\",severity=\"critical\"} 1")
            && metrics.contains("binlogfs_timelines{stream=\"live\"} 2.0")
    });
    assert_eq!(daemon.stop(), Some(0));
    let mounted = archive.mount();
    let roots = [mounted.dir().join(".timeline/1"), mounted.dir().to_owned()];
    for (root, closed) in roots.iter().zip(&written) {
        for (name, bytes) in closed {
            assert!(
                fs::read(root.join(name)).expect("readable") == *bytes,
                "{name}"
            );
        }
    }
    archive.verify();
}

#[test]
fn a_byte_flipped_in_a_closed_file_is_alarming_and_the_mount_stops_mysqlbinlog_there() {
    let archive = Archive::encrypted();
    let server = Options::new().start();
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(200))");
    for file in 0..3 {
        for row in 0..20 {
            let id = file * 100 + row;
            server.sql(&format!(
                "INSERT INTO d.t VALUES ({id}, REPEAT('row {id} ', 20))"
            ));
        }
        server.flush_logs();
    }
    let damaged = server.binlogs()[1].clone();
    let mut bytes = fs::read(&damaged).expect("readable");
    // In the text of a row: no header tells of it, only the event's checksum.
    let place = bytes
        .windows(8)
        .position(|w| w == b"row 110 ")
        .expect("it is there");
    bytes[place] ^= 1;
    fs::write(&damaged, &bytes).expect("writable");
    let daemon = start(&configuration(&archive, &server, ""), &[]);
    until("all three are archived, with an alarm", || {
        let (_, metrics) = daemon.get("/metrics");
        archive.keys("ledger").len() == 3
            && metrics.contains("alarm=\"damage\",severity=\"critical\"} 1")
    });
    server.sql("INSERT INTO d.t VALUES (1000, 'later')");
    server.flush_logs();
    until("what comes later is archived", || {
        archive.keys("ledger").len() == 4
    });
    assert_eq!(daemon.stop(), Some(0));
    let states: Vec<_> = archive
        .ls(&[])
        .iter()
        .map(|entry| entry["state"].clone())
        .collect();
    assert_eq!(states, ["archived", "damaged", "archived", "archived"]);

    let mounted = archive.mount();
    let replay = |file: &std::path::Path| {
        let output = tools::output(mysqlbinlog().args(["-v", "-v"]).arg(file));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (
            output.status.success(),
            text,
            tools::excerpt(&output.stderr),
        )
    };
    let name = damaged.file_name().expect("named");
    let (good, local, _) = replay(&damaged);
    assert!(
        good && local.contains("row 119"),
        "mysqlbinlog itself replays over it: that is what the mount is to prevent"
    );
    let (good, text, said) = replay(&mounted.dir().join(name));
    assert!(!good, "{said}");
    assert!(
        text.contains("row 109") && !text.contains("row 111"),
        "all before the bad event, and nothing behind it"
    );
    assert!(fs::read(mounted.dir().join(".raw").join(name)).expect("readable") == bytes);
}

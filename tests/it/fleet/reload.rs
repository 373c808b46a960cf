//! SIGHUP: a configuration that has changed is taken up without a transfer being dropped.

use super::{Fleet, records};
use crate::agent::daemon::{Daemon, until};
use crate::agent::outage::{agent_of, simulated_clock};
use crate::sweep::memory_dir;
use crate::synthetic::SyntheticServer;
use crate::tools;
use binlogfs::agent::stream::{Stop, Tending};
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{Breaker, BreakerPolicy, MemoryStore, SharedStore};
use binlogfs::sync::Settings;
use std::fs;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

fn stream(fleet: &Fleet, name: &str, more: &str) -> String {
    format!(
        "[[stream]]\nname = \"{name}\"\nsource = \"{}\"\nto = \"file://{}\"\nallow_unencrypted = true\n{more}",
        fleet.path("servers").join(name).display(),
        fleet.path("store").join(name).display(),
    )
}

/// When the archiver of a stream was begun, in microseconds, if it has told.
fn started_at(fleet: &Fleet, name: &str) -> Option<i64> {
    let dirs = fs::read_dir(fleet.state()).ok()?;
    let end = format!("-store-{name}-");
    let dir = dirs
        .filter_map(Result::ok)
        .find(|dir| dir.file_name().to_string_lossy().contains(&end))?;
    let health = fs::read(dir.path().join("health.json")).ok()?;
    let health: serde_json::Value = serde_json::from_slice(&health).ok()?;
    health["started_at"].as_i64()
}

#[test]
fn a_reload_adds_removes_and_changes_streams_and_leaves_the_others_alone() {
    let fleet = Fleet::new();
    let mut servers: Vec<SyntheticServer> = (1..)
        .zip(["stays", "leaves", "changes", "comes"])
        .map(|(number, name)| fleet.server(name, number, 6, 300_000))
        .collect();
    let slow = "read_limit = \"150kB\"\n";
    let before = stream(&fleet, "stays", slow) + &stream(&fleet, "leaves", slow);
    let before = before + &stream(&fleet, "changes", slow);
    let config = fleet.configure(&before);
    let daemon = Daemon::start(fleet.agent(&config), true);
    let archived = |name: &str| records(&fleet.path("store").join(name));
    until("all are at it", || {
        ["stays", "leaves", "changes"]
            .iter()
            .all(|name| archived(name) >= 1)
    });
    // A mistake changes nothing.
    let streams = || {
        daemon
            .get("/metrics")
            .1
            .matches("binlogfs_runs_total{")
            .count()
    };
    fs::write(&config, "[agnet]\n").expect("writable");
    daemon.hang_up();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(streams(), 3);
    // What is right does, at once, in the middle of transfers.
    let after = stream(&fleet, "stays", slow) + &stream(&fleet, "changes", "level = 3\n");
    fleet.configure(&(after + &stream(&fleet, "comes", "")));
    let reloaded_at = jiff::Timestamp::now().as_microsecond();
    daemon.hang_up();
    until("what is to be is archived", || {
        ["stays", "changes", "comes"]
            .iter()
            .all(|name| archived(name) == 6)
    });
    until("what is gone is gone", || {
        let (_, metrics) = daemon.get("/metrics");
        !metrics.contains("stream=\"leaves\"") && metrics.contains("stream=\"comes\"")
    });
    let begun = |name: &str| started_at(&fleet, name);
    until("all have told", || {
        ["stays", "changes"]
            .iter()
            .all(|name| begun(name).is_some())
    });
    assert!(begun("stays") < Some(reloaded_at), "it was begun again");
    until("the changed one was begun again", || {
        begun("changes") > Some(reloaded_at)
    });
    let left = archived("leaves");
    assert!((1..6).contains(&left), "{left} of 6 files");
    for server in &mut servers {
        server.rotate(1, 1000);
    }
    until("what is closed later is archived", || {
        ["stays", "changes", "comes"]
            .iter()
            .all(|name| archived(name) == 7)
    });
    assert_eq!(archived("leaves"), left);
    assert_eq!(daemon.get("/healthz").0, 200);
    assert_eq!(daemon.stop(), Some(0));
    for name in ["stays", "leaves", "changes", "comes"] {
        let url = format!("file://{}", fleet.path("store").join(name).display());
        let mut verify = tools::binlogfs();
        verify.args(["verify", &url, "--deep", "--orphans", "--json"]);
        let report = tools::run_text(
            verify
                .arg("--cache-dir")
                .arg(fleet.path("cache").join(name)),
        );
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        assert_eq!(
            report["orphans"],
            serde_json::json!([]),
            "{name}: {report:#}"
        );
    }
}

/// A stream whose every write to its store takes ten minutes, and the store.
fn slow_stream(temp: &std::path::Path) -> (Tending, MemoryStore) {
    let data = temp.join("data");
    fs::create_dir(&data).expect("writable");
    let mut server = SyntheticServer::new(&data, 1, "binlog");
    for _ in 0..3 {
        server.rotate(1, 1000);
    }
    let memory = MemoryStore::default();
    let faults = FaultClock::new(|op| match op.what {
        "write" => Fault::Delay(Duration::from_secs(600)),
        _ => Fault::None,
    });
    let store: SharedStore = Arc::new(FaultStore::new(Arc::new(memory.clone()), faults));
    let mut settings = Settings::new(temp.join("state"));
    settings.consent.unencrypted = true;
    settings.transfers = 1;
    settings.clock = simulated_clock();
    let breaker = Arc::new(Breaker::new(BreakerPolicy::default()));
    let agent = agent_of("orders", &data, store, breaker, settings);
    (Tending::new(agent).0, memory)
}

fn records_of(memory: &MemoryStore) -> usize {
    let in_ledger = |key: &binlogfs::model::ObjectKey| key.as_str().starts_with("ledger/");
    memory.keys().iter().filter(|key| in_ledger(key)).count()
}

#[tokio::test(start_paused = true)]
async fn what_leaves_ends_its_file_however_long_that_takes_unless_the_process_ends_meanwhile() {
    const FILE: Duration = Duration::from_secs(600);
    for (process_ends, records) in [(false, 1), (true, 0)] {
        let temp = memory_dir();
        let (tending, memory) = slow_stream(temp.path());
        let (stop, stopped) = watch::channel(Stop::No);
        let begun = Instant::now();
        let task = tokio::spawn(tending.run(stopped));
        tokio::time::sleep(Duration::from_secs(10)).await;
        stop.send_replace(Stop::AfterFiles);
        if process_ends {
            tokio::time::sleep(Duration::from_secs(10)).await;
            stop.send_replace(Stop::Now);
        }
        task.await.expect("no panic");
        assert_eq!(begun.elapsed() < FILE, process_ends);
        assert_eq!(records_of(&memory), records, "and no other file is begun");
    }
}

#[test]
fn a_configuration_that_was_taken_up_holds_though_a_stream_of_it_cannot_begin() {
    let fleet = Fleet::new();
    for (number, name) in (1..).zip(["stays", "comes", "cannot"]) {
        fleet.server(name, number, 1, 1000);
    }
    let config = fleet.configure(&stream(&fleet, "stays", ""));
    let mut command = fleet.agent(&config);
    let log = fleet.path("log");
    let daemon = Daemon::start_logging(command.arg("--verbose"), &log);
    let archived = |name: &str| records(&fleet.path("store").join(name));
    until("it is at work", || archived("stays") == 1);
    // Its option file is in order when the configuration is checked, and no more when it is to begin.
    let login = fleet.path("mysql.cnf");
    tools::run(std::process::Command::new("mkfifo").arg(&login));
    let writer = login.clone();
    std::thread::spawn(move || {
        for port in ["3306", "no port"]
            .into_iter()
            .chain(std::iter::repeat("no port"))
        {
            let text = format!("[client]\nuser = u\nhost = 127.0.0.1\nport = {port}\n");
            if fs::write(&writer, text).is_err() {
                return;
            }
            // Else whoever reads one would be given the next as well.
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    let option = format!("mysql_defaults_file = \"{}\"\n", login.display());
    let cannot = stream(&fleet, "cannot", &option);
    let streams = stream(&fleet, "stays", "") + &cannot + &stream(&fleet, "comes", "");
    fleet.configure(&streams);
    daemon.hang_up();
    until("the one that can begin has", || archived("comes") == 1);
    let said = || fs::read_to_string(&log).expect("a log");
    until("the other is named", || {
        said().contains("a stream cannot begin") && said().contains("stream cannot")
    });
    assert!(
        said().contains("the configuration was read again"),
        "{}",
        said()
    );
    assert!(!said().contains("stays as it was"), "{}", said());
    assert_eq!(archived("cannot"), 0);
    assert_eq!(daemon.stop(), Some(0));
}

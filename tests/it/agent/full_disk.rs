//! Disks that are full, as small file systems in memory: that of the binlogs, and that of the state directory.

use super::daemon::{Daemon, daemon_command, until};
use super::outage::simulated_clock;
use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use binlogfs::agent::alarm::{AlarmKind, Event, Thresholds};
use binlogfs::agent::schedule::Policy;
use binlogfs::agent::stream::{StreamAgent, Tending};
use binlogfs::store::{Breaker, BreakerPolicy, MemoryStore, SharedStore};
use binlogfs::sync::Settings;
use futures::FutureExt as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

const MIB: usize = 1 << 20;
const MINUTE: Duration = Duration::from_secs(60);

/// A file system of its own, gone with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(dir: &Path, mebibytes: usize) -> SmallDisk {
        fs::create_dir_all(dir).expect("writable");
        let mut mount = Command::new("mount");
        mount
            .args([
                "-t",
                "tmpfs",
                "-o",
                &format!("size={mebibytes}m"),
                "binlogfs-test",
            ])
            .arg(dir);
        tools::run(&mut mount);
        SmallDisk(dir.to_owned())
    }

    /// Takes so much of it, or all that is left. What it takes, `free` gives back.
    fn take(&self, name: &str, bytes: usize) -> bool {
        fs::write(self.0.join(name), vec![1; bytes]).is_ok()
    }

    fn free(&self, name: &str) {
        fs::remove_file(self.0.join(name)).expect("it was taken");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// An agent that would be quiet all day, and what it tells.
fn quiet_agent(
    data: &Path,
    memory: &MemoryStore,
    state: &Path,
) -> (Tending, mpsc::Receiver<binlogfs::agent::hooks::Message>) {
    let store: SharedStore = Arc::new(memory.clone());
    let mut settings = Settings::new(state);
    settings.consent.unencrypted = true;
    settings.clock = simulated_clock();
    let (notices, heard) = mpsc::channel(1000);
    let quiet = ["00:00-12:00", "12:00-00:00"];
    let (tending, _) = Tending::new(StreamAgent {
        name: "orders".to_owned(),
        url: "memory".to_owned(),
        source: data.to_owned(),
        open: Box::new(move || futures::future::ready(Ok(Arc::clone(&store))).boxed()),
        breaker: Arc::new(Breaker::new(BreakerPolicy::default())),
        settings,
        policy: Policy {
            quiet: quiet.iter().map(|w| w.parse().expect("a window")).collect(),
            ..Policy::default()
        },
        thresholds: Thresholds {
            disk_full_warning: 120 * MINUTE,
            disk_full_critical: 30 * MINUTE,
            lag_warning: 600 * MINUTE,
            lag_critical: 600 * MINUTE,
            ..Thresholds::default()
        },
        expire_after: None,
        ask: None,
        repeat: Duration::from_secs(48 * 3600),
        notices: Some(notices),
        host: "here".to_owned(),
        replicas: Default::default(),
    });
    (tending, heard)
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fills_is_alarming_before_it_is_full_and_as_long_as_it_is() {
    let temp = tempfile::tempdir().expect("a directory");
    let data = temp.path().join("data");
    let disk = SmallDisk::mount(&data, 64);
    let mut server = SyntheticServer::new(&data, 1, "binlog");
    server.rotate(2, 500);
    let memory = MemoryStore::default();
    let (mut tending, mut heard) = quiet_agent(&data, &memory, &temp.path().join("state"));
    let mut events = Vec::new();
    let mut listen = move || {
        while let Ok(message) = heard.try_recv() {
            assert_eq!(message.notice.alarm.kind, AlarmKind::DiskFull);
            events.push(message.notice.event);
        }
        events.clone()
    };
    tending.cycle().await;
    assert_eq!((listen(), memory.keys().len()), (vec![], 0), "it is quiet");
    // 4 MiB in five minutes, of 64.
    let mut taken = 0;
    let mut told_at = Vec::new();
    loop {
        tokio::time::sleep(5 * MINUTE).await;
        let had_room = disk.take(&format!("ballast-{taken}"), 4 * MIB);
        taken += 1;
        tending.cycle().await;
        if told_at.len() < listen().len() {
            told_at.push(taken);
        }
        if !had_room {
            break;
        }
    }
    assert_eq!(listen(), [Event::Raised, Event::Escalated]);
    // 60 MiB were left when a rate could first be told: 75 minutes. A little less than 24 are a little less than half an hour.
    assert_eq!(told_at, [1, 10]);
    assert!(!memory.keys().is_empty(), "then nothing is waited for");
    // Full, it fills no more, and stays alarming.
    for _ in 0..30 {
        tokio::time::sleep(5 * MINUTE).await;
        tending.cycle().await;
    }
    assert_eq!(listen(), [Event::Raised, Event::Escalated]);
    (0..taken).for_each(|n| disk.free(&format!("ballast-{n}")));
    tokio::time::sleep(5 * MINUTE).await;
    tending.cycle().await;
    assert_eq!(listen(), [Event::Raised, Event::Escalated, Event::Cleared]);
}

#[test]
fn a_state_directory_without_room_is_told_of_and_costs_nothing_but_time() {
    let archive = Archive::encrypted();
    let disk = SmallDisk::mount(&archive.path("state"), 2);
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 1000);
    let daemon = Daemon::start(daemon_command(&archive, server.dir()), true);
    let archived = || archive.keys("ledger").len();
    until("the first is archived", || archived() == 1);
    while disk.take("ballast", 2 * MIB) {}
    (0..3).for_each(|_| server.rotate(2, 100_000));
    until("it fails", || daemon.get("/readyz").0 == 503);
    until("it is alarming", || {
        // What it gave back meanwhile, of a log or of a file that it could not write, it does not get again.
        disk.take("rest", 2 * MIB);
        let (_, metrics) = daemon.get("/metrics");
        metrics.contains("alarm=\"run_failing\",severity=\"critical\"} 1")
    });
    disk.free("ballast");
    disk.free("rest");
    until("it goes on by itself", || {
        archived() == 4 && daemon.get("/readyz").0 == 200
    });
    assert_eq!(daemon.stop(), Some(0));
    archive.verify();
}

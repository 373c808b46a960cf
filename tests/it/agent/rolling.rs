//! An upgrade of the agent, and its move to another host: the old one and the new one side by side, killed at any moment, and then
//! the new one alone.

use super::daemon::{Daemon, until};
use crate::archive::Archive;
use crate::mysql::{Options, Server};
use crate::random::Random;
use crate::synthetic::SyntheticServer;
use crate::tools::{self, Sysbench};
use binlogfs::model::Sha256;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Agents that are killed while both run.
const KILLS: u32 = 10;

/// An agent of `source` with a state directory of its own.
fn agent(archive: &Archive, source: &Path, state: &str) -> Command {
    let mut command = tools::binlogfs();
    command
        .args([
            "archive",
            "--to",
            &archive.url(),
            "--poll",
            "1s",
            "--source",
        ])
        .arg(source)
        .arg("--state-dir")
        .arg(archive.path(state))
        .args(["--recipient", archive.recipient()]);
    command
}

fn start(archive: &Archive, source: &Path, state: &str) -> Daemon {
    Daemon::start(agent(archive, source, state), false)
}

fn name(path: &Path) -> Option<&str> {
    path.file_name().and_then(|name| name.to_str())
}

/// Every closed file has one record and one object, in order and with its bytes; nothing else is there.
fn check(archive: &Archive, closed: &[PathBuf]) {
    let listed = archive.ls(&[]);
    let names: Vec<_> = listed.iter().map(|entry| entry["name"].as_str()).collect();
    let want: Vec<_> = closed.iter().map(|path| name(path)).collect();
    assert_eq!(names, want, "each once, and in order");
    for (entry, path) in listed.iter().zip(closed) {
        let sha256 = Sha256::of(&fs::read(path).expect("readable")).to_string();
        assert_eq!(entry["sha256"], sha256.as_str(), "{}", path.display());
    }
    assert_eq!(
        archive.keys("ledger").len(),
        closed.len(),
        "no record but theirs"
    );
    assert_eq!(
        archive.keys("segments").len(),
        closed.len(),
        "no object but theirs"
    );
    archive.verify();
}

fn closed(server: &Server) -> Vec<PathBuf> {
    let mut files = server.binlogs();
    files.pop();
    files
}

#[test]
fn a_rolling_upgrade_under_load_with_kills_archives_every_file_once() {
    let archive = Archive::encrypted();
    let server = Options::new().max_binlog_size(128 << 10).start();
    let load = Sysbench::write_only();
    load.prepare(&server);
    let mut running = load.spawn(&server);
    let source = server.index_file();
    let old = start(&archive, &source, "state-old");
    until("the old one is at it", || archive.keys("ledger").len() >= 5);
    let new = start(&archive, &source, "state-new");
    let mut agents = [Some(old), Some(new)];
    let mut random = Random::seeded();
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(100).mul_f64(1.0 + 6.0 * random.fraction()));
        let one = usize::from(random.fraction() < 0.5);
        agents[one].take().expect("it runs").kill();
        agents[one] = Some(start(&archive, &source, ["state-old", "state-new"][one]));
    }
    let before = archive.keys("ledger").len();
    until("both go on", || archive.keys("ledger").len() > before + 5);
    let [old, new] = agents.map(|agent| agent.expect("it runs"));
    assert_eq!(old.stop(), Some(0));
    let before = archive.keys("ledger").len();
    until("the new one goes on alone", || {
        archive.keys("ledger").len() > before + 5
    });
    running.kill().expect("our own child can be killed");
    running.wait().expect("our own child can be waited for");
    server.flush_logs();
    let files = closed(&server);
    until("all is archived", || {
        archive.keys("ledger").len() == files.len()
    });
    assert_eq!(new.stop(), Some(0));
    println!("{} files, {KILLS} kills", files.len());
    check(&archive, &files);
}

#[test]
fn an_agent_on_another_host_goes_on_where_the_old_one_ended_with_an_empty_state() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..3).for_each(|_| server.rotate(3, 1000));
    let old = start(&archive, server.dir(), "state-old");
    until("it is archived", || archive.keys("ledger").len() == 3);
    assert_eq!(old.stop(), Some(0));
    // The host is gone, with its state; the files are on another one.
    fs::remove_dir_all(archive.path("state-old")).expect("removed");
    (0..2).for_each(|_| server.rotate(3, 1000));
    let new = start(&archive, server.dir(), "state-new");
    until("what came meanwhile is archived", || {
        archive.keys("ledger").len() == 5
    });
    let manifest = archive.path("state-new").join("state.json");
    until("the state is whole again", || {
        let text = fs::read(&manifest).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        state["last_archived"]["file"] == "binlog.000005"
    });
    assert_eq!(new.stop(), Some(0));
    check(&archive, &server.closed());
}

#[test]
fn two_agents_with_one_state_directory_take_turns() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(3, 1000);
    let old = start(&archive, server.dir(), "state");
    until("the old one has begun", || {
        archive.keys("ledger").len() == 1
    });
    let new = start(&archive, server.dir(), "state");
    for n in 2..=15 {
        server.rotate(3, 20_000);
        until("one of them archives it", || {
            archive.keys("ledger").len() == n
        });
    }
    assert_eq!(old.stop(), Some(0));
    server.rotate(3, 1000);
    until("the new one goes on", || archive.keys("ledger").len() == 16);
    assert_eq!(new.stop(), Some(0));
    check(&archive, &server.closed());
}

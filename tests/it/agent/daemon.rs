//! The daemon as a process, and what watches it.

use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long something that happens by itself is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon, ended with the test.
pub struct Daemon {
    child: Child,
    /// Where its endpoint is, if it says so.
    pub address: Option<String>,
}

impl Daemon {
    /// Starts `command`, and waits for the address that it logs if `listens`.
    pub fn start(mut command: Command, listens: bool) -> Daemon {
        let mut child = command
            .args(["--log-format", "json"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let mut address = None;
        let mut line = String::new();
        while listens && address.is_none() {
            line.clear();
            assert!(log.read_line(&mut line).expect("text") > 0, "it has ended");
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            address = event["fields"]["address"].as_str().map(str::to_owned);
        }
        // What it says later must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Daemon { child, address }
    }

    /// Starts `command`, which logs to the file `log`.
    pub fn start_logging(command: &mut Command, log: &Path) -> Daemon {
        let file = fs::File::create(log).expect("writable");
        let child = command.stdout(Stdio::null()).stderr(file).spawn();
        Daemon {
            child: child.expect("it starts"),
            address: None,
        }
    }

    /// A GET of its endpoint: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        let address = self.address.as_deref().expect("it listens");
        let mut stream = TcpStream::connect(address).expect("it accepts");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        )
        .expect("sent");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("text");
        let status = reply.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = reply.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status.expect("a status"), body.to_owned())
    }

    /// SIGTERM; its exit code.
    pub fn stop(mut self) -> Option<i32> {
        tools::run(Command::new("kill").arg(self.child.id().to_string()));
        self.child.wait().expect("it ends").code()
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        tools::run(Command::new("kill").args(["-HUP", &self.child.id().to_string()]));
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `done` says so.
pub fn until(what: &str, done: impl FnMut() -> bool) {
    until_within(PATIENCE, what, done);
}

/// The same for what takes longer on a busy host.
pub fn until_within(patience: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < patience, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub fn daemon_command(archive: &Archive, source: &Path) -> Command {
    let mut command = tools::binlogfs();
    command
        .args(["archive", "--to", &archive.url(), "--poll", "1h"])
        .args(["--listen", "127.0.0.1:0"])
        .arg("--source")
        .arg(source)
        .arg("--state-dir")
        .arg(archive.path("state"))
        .args(["--recipient", archive.recipient()]);
    command
}

fn archived(archive: &Archive) -> usize {
    archive.keys("ledger").len()
}

#[test]
fn a_daemon_archives_what_the_server_closes_at_once_and_ends_when_asked_to() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 1000);
    let daemon = Daemon::start(daemon_command(&archive, server.dir()), true);
    until("the backlog is archived", || archived(&archive) == 1);
    for n in 2..=4 {
        // The poll interval is an hour: it is the kernel that tells.
        server.rotate(2, 1000);
        until("a new file is archived", || archived(&archive) == n);
    }
    until("it says so", || {
        let (_, metrics) = daemon.get("/metrics");
        metrics.contains("binlogfs_archived_segments_total{stream=") && metrics.contains("} 4\n")
    });
    assert_eq!(daemon.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(daemon.get("/readyz"), (200, "ready\n".to_owned()));
    assert_eq!(daemon.get("/nothing").0, 404);
    assert_eq!(daemon.stop(), Some(0));
    archive.verify();
}

#[test]
fn a_daemon_that_is_killed_again_and_again_archives_everything_once() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 1000);
    for n in 1..=4 {
        let daemon = Daemon::start(daemon_command(&archive, server.dir()), true);
        server.rotate(2, 100_000);
        if n % 2 == 0 {
            until("it is at it", || archived(&archive) > n - 1);
        }
        daemon.kill();
    }
    let daemon = Daemon::start(daemon_command(&archive, server.dir()), true);
    until("all is archived", || archived(&archive) == 5);
    assert_eq!(daemon.stop(), Some(0));
    archive.verify();
}

#[test]
fn a_daemon_that_is_asked_to_end_as_soon_as_it_is_up_ends_in_order() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 1000);
    for _ in 0..10 {
        let daemon = Daemon::start(daemon_command(&archive, server.dir()), true);
        assert_eq!(daemon.stop(), Some(0));
    }
}

#[test]
fn an_agent_of_two_streams_archives_one_while_the_other_fails_and_says_which() {
    let archive = Archive::encrypted();
    let mut good = SyntheticServer::new(&archive.data(), 1, "binlog");
    good.rotate(2, 1000);
    let other = archive.path("other");
    fs::create_dir(&other).expect("writable");
    let mut bad = SyntheticServer::new(&other, 2, "binlog");
    bad.rotate(2, 1000);
    // What is a file there cannot become a directory: that store never opens.
    fs::write(archive.path("nothing"), "").expect("writable");
    let config = archive.path("binlogfs.toml");
    let text = format!(
        "[agent]\nlisten = \"127.0.0.1:0\"\n[archive]\nrecipients = [\"{}\"]\n\
         [[stream]]\nname = \"good\"\nsource = \"{}\"\nto = \"{}\"\nstate_dir = \"{}\"\n\
         [[stream]]\nname = \"bad\"\nsource = \"{}\"\nto = \"file://{}\"\nstate_dir = \"{}\"\n",
        archive.recipient(),
        good.dir().display(),
        archive.url(),
        archive.path("state").display(),
        other.display(),
        archive.path("nothing").join("x").display(),
        archive.path("state-bad").display(),
    );
    fs::write(&config, text).expect("writable");
    let mut command = tools::binlogfs();
    command.arg("archive").arg("--config").arg(&config);
    let daemon = Daemon::start(command, true);
    until("the good one is archived", || archived(&archive) == 1);
    until("the bad one alone has failed", || {
        let (status, text) = daemon.get("/readyz");
        status == 503 && text.starts_with("bad: ") && !text.contains("good")
    });
    let (_, metrics) = daemon.get("/metrics");
    assert!(
        metrics.contains("binlogfs_lag_segments{stream=\"bad\"} 1.0"),
        "{metrics}"
    );
    assert_eq!(daemon.stop(), Some(0));
    let mut once = tools::binlogfs();
    once.args(["archive", "--once", "--config"]).arg(&config);
    let output = tools::output(&mut once);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        said.contains("bad  failed: ") && said.contains("good  archived 0 segments"),
        "{said}"
    );
}

#[test]
fn a_run_for_a_timer_says_why_it_failed_once() {
    let archive = Archive::plain();
    let state = archive.path("state");
    fs::create_dir_all(&state).expect("writable");
    let config = archive.path("binlogfs.toml");
    let (source, url) = (archive.path("nowhere"), archive.url());
    let text = format!(
        "[archive]\nallow_unencrypted = true\n[[stream]]\nname = \"orders\"\nsource = \"{}\"\nto = \"{url}\"\n\
         state_dir = \"{}\"\n",
        source.display(),
        state.display(),
    );
    fs::write(&config, text).expect("writable");
    let once = |more: &[&str]| {
        let mut command = tools::binlogfs();
        command.args(["archive", "--once", "--config"]).arg(&config);
        let output = tools::output(command.args(more));
        assert_eq!(output.status.code(), Some(1));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    for more in [&[][..], &["--json"]] {
        let (result, log) = once(more);
        let all = format!("{result}{log}");
        for once in ["No such file", "cannot open", "check the path"] {
            assert_eq!(all.matches(once).count(), 1, "{once}: {all}");
        }
        assert!(result.contains("cannot open"), "{all}");
    }
}

#[test]
fn a_run_for_a_timer_archives_what_comes_behind_a_stream_that_cannot_begin() {
    let archive = Archive::encrypted();
    let mut good = SyntheticServer::new(&archive.data(), 1, "binlog");
    good.rotate(2, 1000);
    let other = archive.path("other");
    fs::create_dir(&other).expect("writable");
    SyntheticServer::new(&other, 2, "binlog").rotate(2, 1000);
    let config = archive.path("binlogfs.toml");
    let text = format!(
        "[archive]\nrecipients = [\"{}\"]\n\
         [[stream]]\nname = \"bad\"\nsource = \"{}\"\nto = \"file://{}\"\nstate_dir = \"{}\"\n\
         mysql_defaults_file = \"{}\"\n\
         [[stream]]\nname = \"good\"\nsource = \"{}\"\nto = \"{}\"\nstate_dir = \"{}\"\n",
        archive.recipient(),
        other.display(),
        archive.path("elsewhere").display(),
        archive.path("state-bad").display(),
        archive.path("removed.cnf").display(),
        good.dir().display(),
        archive.url(),
        archive.path("state").display(),
    );
    fs::write(&config, text).expect("writable");
    let mut once = tools::binlogfs();
    once.args(["archive", "--once", "--config"]).arg(&config);
    let output = tools::output(&mut once);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    for words in ["bad  failed: ", "removed.cnf", "good  archived 1 segment"] {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
}

#[test]
fn status_on_the_archivers_host_shows_its_alarms_and_ends_with_three() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 1000);
    let daemon = Daemon::start(daemon_command(&archive, server.dir()), true);
    until("it is archived", || archived(&archive) == 1);
    server.rotate(2, 1000);
    server.rotate(2, 1000);
    until("all is archived", || archived(&archive) == 3);
    // Gone before they were archived: holes.
    assert_eq!(daemon.stop(), Some(0));
    server.rotate(2, 1000);
    server.rotate(2, 1000);
    server.purge(4);
    let daemon = Daemon::start(daemon_command(&archive, server.dir()), true);
    let url = archive.url();
    let state = archive.path("state");
    let status = || {
        let mut command = archive.command(&["status", &url]);
        let output = tools::output(command.arg("--state-dir").arg(&state));
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    until("the alarm is raised", || status().1.contains("critical"));
    let (code, text) = status();
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains("archiver of this host") && text.contains("hole (critical)"),
        "{text}"
    );
    until("metrics have it", || {
        daemon
            .get("/metrics")
            .1
            .contains("alarm=\"hole\",severity=\"critical\"} 1")
    });
    assert_eq!(daemon.stop(), Some(0));
}

#[test]
fn a_configuration_with_mistakes_names_all_of_them_and_the_example_is_right() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("binlogfs.toml");
    let example = tools::run(tools::binlogfs().args(["config", "example"]));
    fs::write(&path, example).expect("writable");
    let said = tools::run_text(tools::binlogfs().args(["config", "check"]).arg(&path));
    assert!(
        said.contains("is right: 3 streams (orders, billing, acme/orders)"),
        "{said}"
    );
    fs::write(&path, "[agnet]\n[[stream]]\nname = \"x y\"\n").expect("writable");
    for command in [&["config", "check"][..], &["archive", "--config"]] {
        let output = tools::output(tools::binlogfs().args(command).arg(&path));
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        for part in [
            "line 1",
            "did you mean agent?",
            "line 3",
            "lacks source",
            "lacks to",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}

#[test]
fn a_daemon_waits_for_a_server_that_has_not_begun() {
    let archive = Archive::encrypted();
    let daemon = Daemon::start(daemon_command(&archive, &archive.data()), true);
    until("it says what it waits for", || {
        daemon.get("/readyz").1.contains("has no binlog index file")
    });
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 1000);
    until("what begins is archived", || archived(&archive) == 1);
    assert_eq!(daemon.stop(), Some(0));
}

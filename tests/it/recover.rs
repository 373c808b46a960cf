//! `binlogfs recover`: servers brought to a point of an archived history, by both engines, on real servers.

mod applier;
mod cut_off;
mod damage;
mod dry;
mod engines;
mod gate;
mod history;
mod host;
mod killed;
mod maria;
mod mixed;
mod positions;
mod refusals;
mod restart;
mod runbook;
pub mod state;
mod story;
mod targets;

use crate::archive::Archive;
use crate::mariadb::server::MariaDb;
use crate::mysql::{Options, Server, program, share};
use crate::tools;
use binlogfs::fs::mountinfo;
use rustix::process::Pid;
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What applies a plan.
const ENGINES: [&str; 2] = ["pipe", "parallel"];

/// A source of two files, archived.
fn two_files() -> (Archive, Server) {
    let archive = Archive::encrypted();
    let source = Server::new();
    source.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY)");
    source.flush_logs();
    source.sql("INSERT INTO d.t VALUES (1); INSERT INTO d.t VALUES (2)");
    source.flush_logs();
    archive.archive(&source.index_file());
    (archive, source)
}

/// A server to recover. It has another id than the sources: an applier passes over what has its own.
pub fn target() -> Server {
    Options::new().server_id(2).start()
}

/// The same without GTIDs.
fn target_without_gtids() -> Server {
    Options::new().no_gtids().server_id(2).start()
}

/// Feeds a server the file that its `mysqldump` made of another.
pub fn restore(dump: &Path, target: &Server) {
    let file = File::open(dump).expect("the dump is there");
    tools::run(target.client().stdin(file));
}

/// Recoveries of one archive onto one server.
pub struct Recovery<'a> {
    archive: &'a Archive,
    socket: PathBuf,
    mount_dir: PathBuf,
    /// A directory with `mysqlbinlog` and `mysql`; without one they are found in `PATH`.
    clients: Option<PathBuf>,
}

impl<'a> Recovery<'a> {
    /// Onto a MySQL server, by the clients of its own version.
    pub fn onto(archive: &'a Archive, target: &Server) -> Recovery<'a> {
        Recovery::new(archive, target.socket(), Some(clients(archive)))
    }

    /// Onto a MariaDB server, by the clients that are installed.
    fn onto_maria(archive: &'a Archive, target: &MariaDb) -> Recovery<'a> {
        Recovery::new(archive, target.socket(), None)
    }

    fn new(archive: &'a Archive, socket: PathBuf, clients: Option<PathBuf>) -> Recovery<'a> {
        let mount_dir = socket.with_file_name("mounted");
        fs::create_dir_all(&mount_dir).expect("the server's directory is writable");
        Recovery {
            archive,
            socket,
            mount_dir,
            clients,
        }
    }

    /// The words of `binlogfs recover`, without options of every command.
    fn words(&self, more: &[&str]) -> Vec<String> {
        let mut words: Vec<String> = vec!["recover".to_owned(), self.archive.url()];
        let socket = self.socket.display();
        words.push(format!("--target=mysql://root@localhost/?socket={socket}"));
        words.push(format!("--mount-dir={}", self.mount_dir.display()));
        // Without it what a run notes would outlive the test.
        let state_dir = self.archive.path("recovery-state");
        words.push(format!("--state-dir={}", state_dir.display()));
        for tool in ["mysqlbinlog", "mysql"] {
            let path = self.clients.as_ref().map(|dir| dir.join(tool));
            words.extend(path.map(|path| format!("--{tool}={}", path.display())));
        }
        words.extend(more.iter().map(|word| (*word).to_owned()));
        words
    }

    /// `binlogfs recover`, not run yet.
    fn command(&self, more: &[&str]) -> Command {
        let words = self.words(more);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.archive.command(&words)
    }

    /// With `--json`, which must end with `code`; what it printed.
    #[track_caller]
    fn json(&self, more: &[&str], code: i32) -> Value {
        let output = tools::output(self.command(more).arg("--json"));
        let said = tools::excerpt(&output.stderr) + &tools::excerpt(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {said}");
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{more:?}: no JSON ({e}): {said}"))
    }

    /// Recovers, which must work.
    #[track_caller]
    fn run(&self, more: &[&str]) -> Value {
        let done = self.json(&[more, &["--execute"]].concat(), 0);
        assert_eq!(done["recovered"], true, "{more:?}: {done:#}");
        done
    }

    /// Recovers by this engine, which must work.
    #[track_caller]
    pub fn run_by(&self, engine: &str, more: &[&str]) -> Value {
        let done = self.run(&[more, &["--engine", engine]].concat());
        assert_eq!(done["engine"], engine, "{more:?}: {done:#}");
        done
    }

    /// What would be done.
    #[track_caller]
    fn dry(&self, more: &[&str]) -> Value {
        let plan = self.json(more, 0);
        assert_eq!(plan["recoverable"], true, "{more:?}: {plan:#}");
        plan
    }

    /// Is refused for this reason.
    #[track_caller]
    fn refused(&self, more: &[&str], kind: &str) -> Value {
        let refusal = self.json(&[more, &["--execute"]].concat(), 4);
        assert_eq!(refusal["recoverable"], false, "{more:?}: {refusal:#}");
        assert_eq!(refusal["kind"], kind, "{more:?}: {refusal:#}");
        let reason = refusal["reason"].as_str().unwrap_or_default();
        assert!(!reason.is_empty(), "{more:?}: {refusal:#}");
        assert!(refusal["instead"].is_array(), "{more:?}: {refusal:#}");
        refusal
    }

    /// Is refused for this reason, and the server is what it was.
    #[track_caller]
    fn leaves_alone(&self, target: &Server, more: &[&str], kind: &str) -> Value {
        let before = state::State::of(target);
        let refusal = self.refused(more, kind);
        assert_eq!(state::State::of(target), before, "{more:?}: {refusal:#}");
        assert_eq!(self.left_behind(target), [""; 0], "{more:?}");
        refusal
    }

    /// There is nothing to do, which it says.
    #[track_caller]
    pub fn has_nothing_to_do(&self, more: &[&str]) {
        let said = tools::run_text(self.command(more).arg("--execute"));
        assert!(said.contains("nothing to do"), "{more:?}: {said}");
    }

    /// Starts to recover.
    fn spawn(&self, more: &[&str]) -> Running {
        let log = self.archive.path("recover.log");
        let file = File::create(&log).expect("the temporary directory is writable");
        let mut command = self.command(more);
        command.arg("--execute").stdin(Stdio::null());
        command
            .stdout(file.try_clone().expect("a file"))
            .stderr(file);
        let child = command.spawn().expect("binlogfs starts");
        Running { child, log }
    }

    /// The process that runs `mysqlbinlog` or `mysql`, or ran it last.
    fn client(&self, tool: &str) -> Pid {
        let dir = self.clients.as_ref().expect("they are the test's");
        let text = fs::read_to_string(dir.join(format!("{tool}.pid"))).expect("it was started");
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        pid.unwrap_or_else(|| panic!("no process: {text:?}"))
    }

    /// Channels, relay logs, settings and mounts that a recovery must not leave.
    fn left_behind(&self, target: &Server) -> Vec<String> {
        let channels = target.sql(
            "SELECT channel_name FROM performance_schema.replication_connection_configuration WHERE channel_name = 'binlogfs'",
        );
        let mut left = channels.concat();
        if target.sql_value("SELECT @@GLOBAL.relay_log_purge") != "1" {
            left.push("relay_log_purge is off".to_owned());
        }
        let files = fs::read_dir(target.datadir()).expect("readable");
        let names = files.map(|entry| entry.expect("an entry").file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        left.extend(names.filter(|name| name.contains("relay-bin-binlogfs")));
        let mounts = self.mounts();
        left.extend(mounts.iter().map(|dir| dir.display().to_string()));
        left
    }

    /// What is mounted for the server.
    fn mounts(&self) -> Vec<PathBuf> {
        let table = fs::read(mountinfo::PATH).expect("proc is mounted");
        let mounts = mountinfo::parse(&table).into_iter();
        let points = mounts.map(|mount| mount.mount_point);
        points
            .filter(|dir| dir.starts_with(&self.mount_dir))
            .collect()
    }
}

impl Drop for Recovery<'_> {
    fn drop(&mut self) {
        // Those of a test that failed.
        for dir in self.mounts() {
            let _ = Command::new("umount").arg("-l").arg(dir).status();
        }
    }
}

/// A recovery that runs; dropped, it is killed.
struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    fn kill(&mut self) {
        self.child.kill().expect("our own child can be killed");
        self.child.wait().expect("our own child can be waited for");
    }

    fn terminate(&self) {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    }

    /// Whether it has not ended.
    fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended by itself, and what it said.
    #[track_caller]
    fn end(&mut self) -> (Option<i32>, String) {
        tools::eventually("the recovery ends", || !self.is_running());
        let status = self.child.wait().expect("our own child can be waited for");
        let said = fs::read(&self.log).expect("its log is there");
        (status.code(), tools::excerpt(&said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory with `mysqlbinlog` and `mysql` of the servers' version, for options that begin with `--no-defaults`. Each tells its
/// process in a file beside it.
pub fn clients(archive: &Archive) -> PathBuf {
    let dir = archive.path("clients");
    if dir.exists() {
        return dir;
    }
    fs::create_dir(&dir).expect("the temporary directory is writable");
    for tool in ["mysqlbinlog", "mysql"] {
        let command = program(tool);
        let words: Vec<String> = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| format!("'{}'", word.to_str().expect("text")))
            .collect();
        let path = dir.join(tool);
        let script = format!(
            "#!/bin/sh\necho $$ >'{}.pid'\nexec {} \"$@\" '--character-sets-dir={}'\n",
            path.display(),
            words.join(" "),
            share("charsets")
        );
        tools::write_program(&path, &script);
    }
    dir
}

/// A member that is text.
#[track_caller]
fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member]
        .as_str()
        .unwrap_or_else(|| panic!("no {member} in {value:#}"))
}

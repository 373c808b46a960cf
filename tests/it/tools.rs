//! Programs the tests run: each checked, each failure told with the command line and what the program said.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Where the scripts keep what is expensive to make; they export it, and make the same choice when it is unset.
pub fn cache_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("BINLOGFS_CACHE") {
        return PathBuf::from(dir);
    }
    let base = std::env::var_os("XDG_CACHE_HOME").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache"),
        PathBuf::from,
    );
    base.join("binlogfs")
}

/// The directory `path`, made by `make` unless it is there already. Of many processes one makes it, the others wait.
///
/// It is made beside its place and renamed, so that it is whole or absent whenever a test is killed.
pub fn make_once(path: &Path, make: impl FnOnce(&Path)) -> PathBuf {
    if path.exists() {
        return path.to_owned();
    }
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    fs::create_dir_all(path.parent().expect("it has a parent")).expect("the cache is writable");
    let lock = File::create(beside(".lock")).expect("the cache is writable");
    lock.lock().expect("the cache's file system has locks");
    if !path.exists() {
        let building = beside(".tmp");
        let _ = fs::remove_dir_all(&building);
        fs::create_dir(&building).expect("the cache is writable");
        make(&building);
        fs::rename(&building, path).expect("it moves within its directory");
    }
    path.to_owned()
}

/// Runs `command` to its end; its output, whatever its exit code. Panics if it cannot be started.
pub fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|e| {
        panic!("cannot run {command:?}: {e}; 'scripts/test' installs what the tests need")
    })
}

/// Runs `command` to its end and returns its standard output. Panics unless it exits with 0.
pub fn run(command: &mut Command) -> Vec<u8> {
    let output = output(command);
    assert!(
        output.status.success(),
        "{command:?} ended with {}\nstderr: {}\nstdout: {}",
        output.status,
        excerpt(&output.stderr),
        excerpt(&output.stdout),
    );
    output.stdout
}

/// Like [`run`], for programs that print text.
pub fn run_text(command: &mut Command) -> String {
    String::from_utf8(run(command)).unwrap_or_else(|e| panic!("{command:?} printed no UTF-8: {e}"))
}

/// Runs `command`, which must end with `code` and say all of `says` on standard error. Returns what it said there.
#[track_caller]
pub fn refused(command: &mut Command, code: i32, says: &[&str]) -> String {
    let output = output(command);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
    for words in says {
        assert!(said.contains(words), "{words:?} is not in: {said}");
    }
    said
}

/// The errno that a call failed with; it must have.
#[track_caller]
pub fn errno<T>(result: std::io::Result<T>) -> i32 {
    let error = result.err().expect("fails");
    error.raw_os_error().expect("an errno")
}

/// Waits until `check` says so, 20 s at most.
#[track_caller]
pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !check() {
        assert!(begun.elapsed() < Duration::from_secs(20), "not yet: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The same where a runtime must go on meanwhile, 60 s at most.
pub async fn eventually_async(what: &str, mut check: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !check() {
        assert!(begun.elapsed() < Duration::from_secs(60), "not yet: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Ends `child` by SIGTERM, or, if it has not ended within `patience`, by SIGKILL. Whether the first was enough.
pub fn terminate(child: &mut Child, patience: Duration) -> bool {
    // It is not reaped yet, so the pid is still its own.
    let pid = rustix::process::Pid::from_child(child);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        if matches!(child.try_wait(), Ok(Some(_))) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    false
}

/// Enough of an output to see what is wrong.
pub fn excerpt(bytes: &[u8]) -> String {
    const MAX_BYTES: usize = 4000;
    let from = bytes.len().saturating_sub(MAX_BYTES);
    String::from_utf8_lossy(&bytes[from..]).into_owned()
}

/// The program under test.
pub fn binlogfs() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_binlogfs"));
    command.envs(crate::s3::credentials());
    command
}

/// A load of sysbench against one server.
pub struct Sysbench {
    script: &'static str,
    tables: u32,
    rows: u32,
    threads: u32,
    events: Option<u64>,
    seconds: Option<u32>,
}

impl Sysbench {
    /// The write-only OLTP load, the one that fills binlogs.
    pub fn write_only() -> Sysbench {
        Sysbench {
            script: "oltp_write_only",
            tables: 2,
            rows: 1000,
            threads: 4,
            events: None,
            seconds: None,
        }
    }

    /// How many tables, and rows in each.
    pub fn tables(mut self, tables: u32, rows: u32) -> Sysbench {
        (self.tables, self.rows) = (tables, rows);
        self
    }

    /// Stops after so many transactions.
    pub fn events(mut self, events: u64) -> Sysbench {
        self.events = Some(events);
        self
    }

    /// Stops after so many seconds.
    pub fn seconds(mut self, seconds: u32) -> Sysbench {
        self.seconds = Some(seconds);
        self
    }

    /// Creates database `sbtest` and its tables.
    pub fn prepare(&self, server: &crate::mysql::Server) {
        server.sql("CREATE DATABASE IF NOT EXISTS sbtest");
        run(self.command(&server.socket()).arg("prepare"));
    }

    /// Runs the load to its end.
    pub fn run(&self, server: &crate::mysql::Server) {
        run(self.command(&server.socket()).arg("run"));
    }

    /// Starts the load and returns: the caller waits for it, or kills it.
    pub fn spawn(&self, server: &crate::mysql::Server) -> Child {
        let mut command = self.command(&server.socket());
        command
            .arg("run")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"))
    }

    fn command(&self, socket: &Path) -> Command {
        let mut command = Command::new("sysbench");
        command
            .arg(self.script)
            .arg(format!("--mysql-socket={}", socket.display()))
            .args([
                "--db-driver=mysql",
                "--mysql-user=root",
                "--mysql-db=sbtest",
            ])
            .arg(format!("--tables={}", self.tables))
            .arg(format!("--table-size={}", self.rows))
            .arg(format!("--threads={}", self.threads))
            // Without a limit of its own sysbench stops after ten seconds; 0 is "no limit".
            .arg(format!("--events={}", self.events.unwrap_or(0)))
            .arg(format!("--time={}", self.seconds.unwrap_or(0)));
        command
    }
}

/// The files below `dir` that have this extension.
pub fn files_below(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let (mut found, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("the directory is readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|its| its == extension) {
                found.push(path);
            }
        }
    }
    found
}

/// Writes a script that can be run.
pub fn write_program(path: &Path, text: &str) {
    std::fs::write(path, text).expect("the directory is writable");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path, mode).expect("the file is ours");
}

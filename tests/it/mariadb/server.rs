//! A real MariaDB server of the test's own, reachable by its socket only, gone when the test is.
//!
//! It comes from the Debian packages that `scripts/test` installs. Its data directory is a copy of a template that is
//! initialised once per version. It lies in memory where there is room, and the server syncs nothing: a killed *process*
//! loses no write. It ends with its `MariaDb`, with the thread that started it (`setpriv --pdeathsig`), and with the process
//! group, which nextest ends.

use super::template;
use crate::mysql::{listed_in, scratch_parent};
use crate::tools;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A start takes half a second on an idle machine; a loaded one gets much longer.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// A clean shutdown takes less than a second.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// How often a server that comes or goes is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A running (or stopped) server and its directory.
pub struct MariaDb {
    dir: tempfile::TempDir,
    options: Vec<String>,
    child: Option<Child>,
}

impl MariaDb {
    /// Starts a server on a new data directory, with `options` after the usual ones.
    pub fn start(options: &[&str]) -> MariaDb {
        let dir = tempfile::Builder::new()
            .prefix("binlogfs-mariadb-")
            .tempdir_in(scratch_parent())
            .expect("a directory for a server");
        fs::create_dir(dir.path().join("tmp")).expect("the directory is ours");
        template::copy_to(&dir.path().join("data"));
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut server = MariaDb {
            dir,
            options,
            child: None,
        };
        server.launch();
        server
    }

    /// Ends it cleanly (SIGTERM) and starts it again.
    pub fn restart(&mut self) {
        self.shutdown();
        self.launch();
    }

    /// Ends it cleanly: the last binlog gets a STOP event.
    pub fn shutdown(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        if !tools::terminate(&mut child, STOP_DEADLINE) {
            panic!("mariadbd did not shut down:\n{}", self.log());
        }
    }

    /// Ends it as a crash would (SIGKILL).
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child can be killed");
            child.wait().expect("our own child can be waited for");
        }
    }

    /// Starts the stopped server again, with other options from now on.
    pub fn launch_with(&mut self, options: &[&str]) {
        self.options = options.iter().map(|option| (*option).to_owned()).collect();
        self.launch();
    }

    /// The data directory.
    pub fn datadir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A path beside the data directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The binlogs its index file lists, in order; the last is the active one while it runs.
    pub fn binlogs(&self) -> Vec<PathBuf> {
        listed_in(&self.datadir().join("binlog.index"), &self.datadir())
    }

    /// The binlogs that have a successor.
    pub fn closed(&self) -> Vec<PathBuf> {
        let mut files = self.binlogs();
        files.pop();
        files
    }

    /// Runs statements in one session; the rows of all of them, fields separated by tabs. Panics if any fails.
    pub fn sql(&self, statements: &str) -> Vec<String> {
        let mut client = Command::new("mariadb")
            .args(["--no-defaults", "--user=root", "--batch"])
            .args(["--skip-column-names", "--local-infile=1"])
            .arg(format!("--socket={}", self.socket().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run mariadb: {e}; 'scripts/test' installs it"));
        let mut stdin = client.stdin.take().expect("stdin is piped");
        // None of the tests' statements answers with more than a pipe holds.
        stdin
            .write_all(statements.as_bytes())
            .expect("the client reads");
        drop(stdin);
        let output = client.wait_with_output().expect("the client ends");
        assert!(
            output.status.success(),
            "{}\nin: {}",
            tools::excerpt(&output.stderr),
            tools::excerpt(statements.as_bytes())
        );
        String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The first row.
    pub fn sql_value(&self, query: &str) -> String {
        let row = self.sql(query).into_iter().next();
        row.unwrap_or_else(|| panic!("no row: {query}"))
    }

    /// PURGE BINARY LOGS until `name` is the oldest that is listed: the server keeps files that its engines may still need
    /// in crash recovery, and says nothing of them.
    pub fn purge_to(&self, name: &str) {
        let deadline = Instant::now() + START_DEADLINE;
        while !self.binlogs()[0].ends_with(name) {
            assert!(Instant::now() < deadline, "{:?}", self.binlogs());
            self.sql(&format!("PURGE BINARY LOGS TO '{name}'"));
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Copies the index file and every file it lists into `dir`. Exact if the server is idle or stopped.
    pub fn snapshot(&self, dir: &Path) {
        let files = self.binlogs();
        for file in &files {
            let name = file.file_name().expect("a binlog has a name");
            fs::copy(file, dir.join(name)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        }
        let index = "binlog.index";
        fs::copy(self.datadir().join(index), dir.join(index)).expect("the snapshot is writable");
        assert_eq!(files, self.binlogs(), "the server rotated meanwhile");
    }

    /// The end of the error log.
    pub fn log(&self) -> String {
        tools::excerpt(&fs::read(self.path("error.log")).unwrap_or_default())
    }

    /// The socket.
    pub fn socket(&self) -> PathBuf {
        self.path("server.sock")
    }

    fn launch(&mut self) {
        let dir = self.dir.path().display();
        // setpriv becomes mariadbd: the pid stays.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", "mariadbd"])
            .args(["--no-defaults", "--user=root", "--skip-networking"])
            .arg(format!("--datadir={dir}/data"))
            .arg(format!("--tmpdir={dir}/tmp"))
            .arg(format!("--socket={dir}/server.sock"))
            .arg(format!("--pid-file={dir}/server.pid"))
            .arg(format!("--log-error={dir}/error.log"))
            .args(["--log-bin=binlog", "--server-id=1", "--local-infile=ON"])
            .args(["--binlog-checksum=CRC32", "--binlog-format=ROW"])
            .args([
                "--innodb-buffer-pool-size=32M",
                "--innodb-log-file-size=4M",
                // Written at each commit, never synced.
                "--innodb-flush-log-at-trx-commit=2",
                "--innodb-flush-method=nosync",
                "--sync-binlog=0",
                "--key-buffer-size=1M",
                "--aria-pagecache-buffer-size=8M",
            ])
            .args(&self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
        self.child = Some(child);
        self.wait_until_ready();
    }

    /// Ready is when it answers a query; it listens earlier.
    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + START_DEADLINE;
        loop {
            let child = self.child.as_mut().expect("just started");
            if let Ok(Some(status)) = child.try_wait() {
                panic!(
                    "mariadbd ended with {status}; its error log:\n{}",
                    self.log()
                );
            }
            let mut ping = Command::new("mariadb-admin");
            ping.args(["--no-defaults", "--user=root", "--silent", "ping"])
                .arg(format!("--socket={}", self.socket().display()));
            if self.socket().exists() && tools::output(&mut ping).status.success() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "mariadbd is not ready after {START_DEADLINE:?}:\n{}",
                self.log()
            );
            std::thread::sleep(POLL_INTERVAL);
        }
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.kill9();
    }
}

/// `mariadb-binlog`, reading no option files, in UTC.
pub fn mariadb_binlog() -> Command {
    let mut command = Command::new("mariadb-binlog");
    command.arg("--no-defaults").env("TZ", "UTC");
    command
}

//! A real MySQL server of the test's own, gone when the test is.
//!
//! The server comes from a root directory of its own (`scripts/lib.sh`, `mysql_root`) and runs through that root's
//! loader. Its data directory is a copy of a template that is initialised once per version, so that a start costs a
//! copy and about a second. It lives in memory where there is room, and syncs nothing: a killed *process* loses no
//! write, and the tests cut no power.
//!
//! A server ends with its `Server`; with the thread that started it if the test is killed (`setpriv --pdeathsig`), so a
//! server must not be started on a thread that ends before it; and with the process group, which nextest ends.

mod lifetime;
mod options;
mod place;
mod root;
mod template;

use crate::tools;
use place::{free_port, unescape};
use root::{BoundRoot, base_arguments, loader, mysql_root};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use options::Options;
pub use place::{listed_in, scratch_parent, server_uuid};
pub use root::{mysqlbinlog, mysqld_wrapper, program, share};
pub use template::{copy_tree, copying_wrapper, version_of};

/// A start takes one to three seconds on an idle machine; a loaded one gets much longer.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// A clean shutdown takes less than a second.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
/// How often a server that comes or goes is looked at.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// A free port may be taken between looking and binding; then the start is tried again.
const START_TRIES: u32 = 3;
/// Below this a memory file system is left alone: a server with a test's binlogs stays under half of it.
const MEMORY_MIN_BYTES: u64 = 2 << 30;

/// A running (or stopped) server and its directory.
pub struct Server {
    options: Options,
    /// Where it finds its programs, if not where they are. Gone before the directory that it lies in.
    root: Option<BoundRoot>,
    dir: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
    /// A process in whose mount namespace it runs.
    beside: Option<u32>,
}

impl Server {
    /// Starts a server with default options.
    pub fn new() -> Server {
        Options::new().start()
    }

    /// Starts a server on the data directory that `prepare` makes.
    fn start(options: Options, prepare: impl FnOnce(&Path)) -> Server {
        let parent = scratch_parent();
        let dir = tempfile::Builder::new()
            .prefix("binlogfs-mysql-")
            .tempdir_in(&parent)
            .unwrap_or_else(|e| panic!("no directory for a server in {}: {e}", parent.display()));
        fs::create_dir(dir.path().join("tmp")).expect("the directory is ours");
        prepare(&dir.path().join("data"));
        let root = options.account.map(|account| {
            give_away(dir.path(), account);
            BoundRoot::at(dir.path().join("root"))
        });
        let mut server = Server {
            options,
            root,
            dir,
            port: 0,
            child: None,
            beside: None,
        };
        server.launch();
        server
    }

    /// Starts the stopped server again, with the options it has.
    pub fn restart(&mut self) {
        self.shutdown();
        self.launch();
    }

    /// Starts it again in the mount namespace of the process `pid`, which was made since its first start.
    pub fn restart_beside(&mut self, pid: u32) {
        self.shutdown();
        self.beside = Some(pid);
        self.launch();
    }

    /// Ends it cleanly (SIGTERM): the last binlog gets a STOP event.
    pub fn shutdown(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        if !tools::terminate(&mut child, STOP_DEADLINE) && !std::thread::panicking() {
            panic!(
                "mysqld did not shut down in {STOP_DEADLINE:?}:\n{}",
                self.log()
            );
        }
    }

    /// Ends it as a crash would (SIGKILL).
    pub fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("our own child can be killed");
            child.wait().expect("our own child can be waited for");
        }
    }

    /// The data directory.
    pub fn datadir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// The socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("mysql.sock")
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process, if it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// A path beside the data directory, on the same file system.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `mysqldump` of all its databases, with its coordinates, into `file`.
    pub fn dump(&self, more: &[&str], file: &Path) {
        let mut command = program("mysqldump");
        command
            .args(["--no-defaults", "--user=root", "--all-databases"])
            .args([
                "--single-transaction",
                "--source-data=2",
                "--set-gtid-purged=ON",
            ])
            .arg(format!("--character-sets-dir={}", share("charsets")))
            .arg(format!("--socket={}", self.socket().display()))
            .args(more)
            .arg(format!("--result-file={}", file.display()));
        tools::run(&mut command);
    }

    /// `server_uuid`, from auto.cnf.
    pub fn uuid(&self) -> String {
        server_uuid(&self.datadir().join("auto.cnf"))
    }

    /// The binlog index file.
    pub fn index_file(&self) -> PathBuf {
        self.datadir()
            .join(format!("{}.index", self.options.log_bin))
    }

    /// The binlogs its index file lists, in order, as absolute paths; the last is the active one while it runs.
    pub fn binlogs(&self) -> Vec<PathBuf> {
        listed_in(&self.index_file(), &self.datadir())
    }

    /// FLUSH BINARY LOGS: the active file is closed and a new one begun.
    pub fn flush_logs(&self) {
        self.sql("FLUSH BINARY LOGS");
    }

    /// Runs statements in one session and returns the rows of all of them, NULL as `NULL`.
    /// Panics if any fails.
    pub fn sql(&self, statements: &str) -> Vec<Vec<String>> {
        self.try_sql(statements)
            .unwrap_or_else(|e| panic!("{e}\nin: {}", tools::excerpt(statements.as_bytes())))
    }

    /// The first column of the first row.
    pub fn sql_value(&self, query: &str) -> String {
        let rows = self.sql(query);
        let value = rows
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next());
        value.unwrap_or_else(|| panic!("no row: {query}"))
    }

    /// Like [`Server::sql`]; what the client said on stderr if a statement fails. What follows it is not run.
    pub fn try_sql(&self, statements: &str) -> Result<Vec<Vec<String>>, String> {
        let mut client = self
            .client()
            .args(["--batch", "--skip-column-names"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the mysql client starts");
        let mut stdin = client.stdin.take().expect("stdin is piped");
        let text = statements.to_owned();
        // On a thread of its own: a client that has much to say stops reading until we do.
        let writer = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
        let output = client.wait_with_output().expect("the mysql client ends");
        let _ = writer.join();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| line.split('\t').map(unescape).collect())
            .collect())
    }

    /// The `mysql` client, connected to this server as root.
    pub fn client(&self) -> Command {
        let mut command = program("mysql");
        command
            .args([
                "--no-defaults",
                "--user=root",
                "--default-character-set=utf8mb4",
            ])
            .arg(format!("--character-sets-dir={}", share("charsets")))
            .arg(format!("--socket={}", self.socket().display()));
        command
    }

    /// Copies auto.cnf, the binlog index file (names made relative) and every file it lists into `dir`.
    ///
    /// The copy is exact if the server is idle or stopped: closed files are final, and a committed transaction is whole
    /// in the active one.
    pub fn snapshot(&self, dir: &Path) {
        fs::create_dir_all(dir).expect("the snapshot directory can be made");
        let binlogs = self.binlogs();
        let mut index = String::new();
        for file in &binlogs {
            let name = file.file_name().expect("a binlog has a name");
            fs::copy(file, dir.join(name)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            index.push_str(&format!("./{}\n", name.to_string_lossy()));
        }
        assert_eq!(
            binlogs,
            self.binlogs(),
            "the server rotated during a snapshot"
        );
        let name = self.index_file();
        fs::write(
            dir.join(name.file_name().expect("an index file has a name")),
            index,
        )
        .expect("the snapshot directory is writable");
        fs::copy(self.datadir().join("auto.cnf"), dir.join("auto.cnf"))
            .expect("there is an auto.cnf");
    }

    /// The end of the error log.
    pub fn log(&self) -> String {
        tools::excerpt(&fs::read(self.dir.path().join("error.log")).unwrap_or_default())
    }

    fn launch(&mut self) {
        for attempt in 1..=START_TRIES {
            // A restarted server keeps its port: its clients know it.
            if self.port == 0 || attempt > 1 {
                self.port = free_port();
            }
            let mut child = self.spawn();
            match self.wait_until_ready(&mut child) {
                Ok(()) => {
                    self.child = Some(child);
                    return;
                }
                Err(reason) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    let port_taken = self.log().contains("Address already in use");
                    assert!(
                        attempt < START_TRIES && port_taken,
                        "mysqld {reason}; its error log:\n{}",
                        self.log()
                    );
                }
            }
        }
    }

    /// The words that start its mysqld, for who starts it by himself.
    pub fn words(&self) -> Vec<String> {
        let dir = self.dir.path().display();
        let gtid = if self.options.gtid { "ON" } else { "OFF" };
        let root = self.root.as_ref().map_or(mysql_root(), BoundRoot::path);
        let mut words: Vec<String> = loader(root)
            .map(|word| word.into_string().expect("text"))
            .into();
        words.push(format!("{}/usr/sbin/mysqld", root.display()));
        words.extend(base_arguments(root, &self.datadir()));
        words.extend([
            format!("--tmpdir={dir}/tmp"),
            format!("--socket={dir}/mysql.sock"),
            format!("--pid-file={dir}/mysqld.pid"),
            format!("--log-error={dir}/error.log"),
            format!("--port={}", self.port),
            "--bind-address=127.0.0.1".to_owned(),
            "--skip-name-resolve".to_owned(),
            "--mysqlx=OFF".to_owned(),
            format!("--gtid-mode={gtid}"),
            format!("--enforce-gtid-consistency={gtid}"),
            format!("--log-bin={}", self.options.log_bin),
            format!("--server-id={}", self.options.server_id),
        ]);
        words.extend(self.options.extra.iter().cloned());
        words
    }

    fn spawn(&self) -> Child {
        // nsenter becomes setpriv, setpriv the loader, and the loader mysqld: the pid stays.
        let mut command = match self.beside {
            Some(pid) => {
                let mut command = Command::new("nsenter");
                command.args(["--mount", "--target", &pid.to_string(), "--", "setpriv"]);
                command
            }
            None => Command::new("setpriv"),
        };
        if let Some(account) = self.options.account {
            command
                .arg(format!("--reuid={account}"))
                .arg(format!("--regid={account}"))
                .arg("--clear-groups");
        }
        command
            .args(["--pdeathsig", "KILL", "--"])
            .args(self.words())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
            .spawn()
            .unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"))
    }

    /// Ready is when the server greets a client; it listens earlier.
    fn wait_until_ready(&self, child: &mut Child) -> Result<(), String> {
        let deadline = Instant::now() + START_DEADLINE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(format!("ended with {status}"));
            }
            if self.greets() {
                return Ok(());
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Err(format!("is not ready after {START_DEADLINE:?}"))
    }

    fn greets(&self) -> bool {
        let Ok(mut stream) = UnixStream::connect(self.socket()) else {
            return false;
        };
        let _ = stream.set_read_timeout(Some(START_DEADLINE));
        let mut packet_header = [0; 5];
        // Protocol version 10 opens the greeting; an error packet (0xFF) would not.
        stream.read_exact(&mut packet_header).is_ok() && packet_header[4] == 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The directory goes with it: nobody needs a clean shutdown.
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Makes `path`, with all that is in it, belong to `account`.
pub fn give_away(path: &Path, account: u32) {
    std::os::unix::fs::chown(path, Some(account), Some(account)).expect("root may");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("readable") {
            give_away(&entry.expect("an entry").path(), account);
        }
    }
}

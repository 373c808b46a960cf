//! A MySQL server of a drill's own: made, used, and gone with its directory.

use super::leftovers::{self, PREFIX};
use crate::source::server::{Password, ServerOptions};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A restored server may have to recover InnoDB's log first.
const START_DEADLINE: Duration = Duration::from_secs(600);
/// After that it is killed: nobody needs what it would still write.
const STOP_DEADLINE: Duration = Duration::from_secs(60);
/// A server that accepts a connection and says nothing is not ready.
const GREETING_DEADLINE: Duration = Duration::from_secs(5);
/// How often one that comes or goes is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Lines of the error log that an error repeats.
const LOG_LINES: usize = 3;
/// Server ids of drills: above what people give their servers.
const SERVER_ID_BASE: u32 = 4_000_000_000;

/// The account of a drill.
const ACCOUNT: &str = "binlogfs_drill";

/// Why there is no scratch server.
#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    /// Its directory cannot be made or written.
    #[error("{}: {error}", .path.display())]
    Dir {
        /// Its path.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The program does not run.
    #[error("cannot run {}: {error}; install the MySQL server, or name its program with --mysqld", .program.display())]
    Program {
        /// Its path.
        program: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It ended, or does not answer.
    #[error("the scratch server {what}: {log}")]
    Server {
        /// What it did.
        what: String,
        /// The end of its error log.
        log: String,
    },
}

/// How to make one.
#[derive(Clone, Debug)]
pub struct ScratchOptions {
    /// `mysqld`.
    pub program: PathBuf,
    /// Where its directory is made.
    pub parent: PathBuf,
    /// Options of mysqld besides.
    pub extra: Vec<String>,
}

/// A server that nobody else knows of: it listens on a socket in its own directory and nowhere else.
pub struct Scratch {
    options: ScratchOptions,
    dir: PathBuf,
    password: String,
    child: Option<Child>,
    /// Locked as long as we live.
    _lock: Option<File>,
}

impl Scratch {
    /// Its directory, without a server in it yet.
    ///
    /// # Errors
    /// [`ScratchError::Dir`].
    pub fn new(options: ScratchOptions) -> Result<Scratch, ScratchError> {
        leftovers::sweep(&options.parent);
        let dir = options
            .parent
            .join(format!("{PREFIX}{}", uuid::Uuid::new_v4().simple()));
        let failed = |error| ScratchError::Dir {
            path: dir.clone(),
            error,
        };
        fs::create_dir_all(&options.parent).map_err(failed)?;
        // Whoever reaches the socket is root there at first.
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&dir)
            .map_err(failed)?;
        // Made here, so that it is removed from here on.
        let scratch = Scratch {
            options,
            dir: dir.clone(),
            // As validate_password likes it.
            password: format!("Aa1!{}", uuid::Uuid::new_v4().simple()),
            child: None,
            _lock: leftovers::lock(&dir),
        };
        // A restored server has its own accounts, whose passwords are nobody's business: each start makes one for us.
        let password = &scratch.password;
        scratch.write(
            "init.sql",
            &format!(
                "CREATE USER IF NOT EXISTS '{ACCOUNT}'@'localhost' IDENTIFIED BY '{password}';\n\
                 ALTER USER '{ACCOUNT}'@'localhost' IDENTIFIED BY '{password}' ACCOUNT UNLOCK;\n\
                 GRANT ALL ON *.* TO '{ACCOUNT}'@'localhost' WITH GRANT OPTION;\n"
            ),
        )?;
        let tmp = scratch.dir.join("tmp");
        fs::create_dir(&tmp).map_err(|error| ScratchError::Dir { path: tmp, error })?;
        Ok(scratch)
    }

    /// Its data directory, which whoever restores files makes himself.
    pub fn datadir(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("mysql.sock")
    }

    /// How to connect to it.
    pub fn server_options(&self) -> ServerOptions {
        ServerOptions {
            socket: Some(self.socket()),
            user: Some(ACCOUNT.to_owned()),
            password: Some(Password::new(self.password.clone())),
            ..ServerOptions::default()
        }
    }

    /// How a client connects to it while it is empty.
    pub fn first_login(&self) -> [String; 2] {
        [
            "--user=root".to_owned(),
            format!("--socket={}", self.socket().display()),
        ]
    }

    /// Ends it; it can be started again.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            end(&mut child);
        }
    }

    /// A file that only we can read.
    fn write(&self, name: &str, text: &str) -> Result<(), ScratchError> {
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = self.dir.join(name);
        let mut file = fs::OpenOptions::new();
        let file = file.write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| ScratchError::Dir { path, error })
    }

    /// Makes an empty data directory, unless there is one.
    ///
    /// # Errors
    /// [`ScratchError`].
    pub fn initialise(&self) -> Result<(), ScratchError> {
        self.check_program()?;
        if self.datadir().exists() {
            return Ok(());
        }
        let mut command = self.command();
        command.arg("--initialize-insecure");
        let status = command.status().map_err(|error| self.program(error))?;
        match status.success() {
            true => Ok(()),
            false => Err(self.failed(format!("could not be initialised ({status})"))),
        }
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// [`ScratchError`].
    pub fn start(&mut self) -> Result<(), ScratchError> {
        // What a copy of a server brings along of that server's name.
        let _ = fs::remove_file(self.datadir().join("auto.cnf"));
        let mut command = self.command();
        command
            // What the restored server was told at run time is not for this one.
            .arg("--persisted-globals-load=OFF")
            .arg(format!("--socket={}", self.socket().display()))
            .arg(format!(
                "--pid-file={}",
                self.dir.join("mysqld.pid").display()
            ))
            .arg(format!(
                "--init-file={}",
                self.dir.join("init.sql").display()
            ))
            .arg(format!("--tmpdir={}", self.dir.join("tmp").display()))
            .args([
                "--skip-networking",
                "--loose-mysqlx=OFF",
                "--loose-skip-replica-start",
                "--loose-skip-slave-start",
                "--event-scheduler=OFF",
            ])
            .args([
                "--gtid-mode=ON",
                "--enforce-gtid-consistency=ON",
                "--skip-log-bin",
            ])
            // A server that is thrown away need not survive anything.
            .args([
                "--innodb-flush-log-at-trx-commit=0",
                "--innodb-doublewrite=OFF",
                "--sync-binlog=0",
            ])
            .args([
                "--loose-innodb-redo-log-capacity=1G",
                "--max-allowed-packet=1G",
            ])
            .arg(format!(
                "--server-id={}",
                SERVER_ID_BASE + std::process::id() % 100_000_000
            ))
            .args(&self.options.extra);
        let _ = fs::remove_file(self.socket());
        let mut child = command.spawn().map_err(|error| self.program(error))?;
        let begun = Instant::now();
        let ended = loop {
            match child.try_wait() {
                Ok(None) => {}
                Ok(Some(status)) => break Some(format!("ended with {status}")),
                Err(error) => break Some(error.to_string()),
            }
            if greets(&self.socket()) {
                break None;
            }
            if begun.elapsed() > START_DEADLINE {
                break Some("does not answer".to_owned());
            }
            std::thread::sleep(LOOK_EVERY);
        };
        self.child = Some(child);
        ended.map_or(Ok(()), |what| Err(self.failed(what)))
    }

    /// The server is started by another program, which would not say well that there is none.
    fn check_program(&self) -> Result<(), ScratchError> {
        let probe = Command::new(&self.options.program)
            .args(["--no-defaults", "--version"])
            .stdin(Stdio::null())
            .output();
        match probe {
            Ok(_) => Ok(()),
            Err(error) => Err(self.program(error)),
        }
    }

    fn command(&self) -> Command {
        let uid = rustix::process::geteuid();
        let mut command = leftovers::leashed(&self.options.program);
        command
            .arg("--no-defaults")
            .arg(format!("--datadir={}", self.datadir().display()))
            .arg(format!("--log-error={}", self.log_path().display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if uid.is_root() {
            // It refuses to be root's unless that is said; the directory is root's.
            command.arg("--user=root");
        }
        command
    }

    fn log_path(&self) -> PathBuf {
        self.dir.join("error.log")
    }

    fn program(&self, error: io::Error) -> ScratchError {
        ScratchError::Program {
            program: self.options.program.clone(),
            error,
        }
    }

    fn failed(&self, what: String) -> ScratchError {
        let log = fs::read_to_string(self.log_path()).unwrap_or_default();
        let mut lines: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("[ERROR]"))
            .rev()
            .take(LOG_LINES)
            .collect();
        lines.reverse();
        ScratchError::Server {
            what,
            log: match lines.is_empty() {
                true => "its error log says nothing".to_owned(),
                false => lines.join("; "),
            },
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.stop();
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "the directory of a drill is left: remove it");
        }
    }
}

/// Whether a server answers there: it listens earlier, and may yet find an option that it does not know.
fn greets(socket: &Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(socket) else {
        return false;
    };
    let timeout = stream.set_read_timeout(Some(GREETING_DEADLINE));
    timeout.is_ok() && stream.read_exact(&mut [0]).is_ok()
}

/// Ends it by its own process id: nothing else is ever sent a signal.
fn end(child: &mut Child) {
    // One that has ended already was waited for, and its number may be another's.
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    let pid = rustix::process::Pid::from_child(child);
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    let begun = Instant::now();
    while begun.elapsed() < STOP_DEADLINE {
        match child.try_wait() {
            Ok(Some(_)) => return,
            Ok(None) => std::thread::sleep(LOOK_EVERY),
            Err(_) => break,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Copies a directory of a server, as backup tools that copy files leave it.
///
/// # Errors
/// As the system calls have them.
pub fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, into) = (entry.path(), to.join(entry.file_name()));
        match entry.file_type()?.is_dir() {
            true => copy_dir(&path, &into)?,
            false => drop(fs::copy(&path, &into)?),
        }
    }
    Ok(())
}

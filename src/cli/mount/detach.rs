//! The process that mounts, apart from the one that was called: how it is started, waited for, and told of.

use super::failure::{Failure, Kind};
use super::{IDENTITY, Request, told};
use crate::cli::signals::Signals;
use anyhow::{Context as _, anyhow};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

/// Set in the environment of the detached process.
const DETACHED: &str = "BINLOGFS_DETACHED";
/// What it writes when the mount works. Before it there is only text, which has no such byte.
const READY: u8 = 0;
/// How long it may take to end after it was told to.
const END_GRACE: Duration = Duration::from_secs(10);

/// Whether this is the detached process.
pub fn is_detached() -> bool {
    std::env::var_os(DETACHED).is_some()
}

/// This program's file.
///
/// # Errors
/// [`Kind::System`].
pub fn own_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| {
        let error = anyhow!(error).context("cannot find this program's own file (is /proc there?)");
        Failure::new(Kind::System, error)
    })
}

/// Starts the process that mounts, and waits until its mount works.
///
/// # Errors
/// What it ended with; it has said why.
pub fn detach(request: &Request, environment: Vec<(String, String)>) -> Result<(), Failure> {
    let system = |what: &'static str| {
        move |error: io::Error| Failure::new(Kind::System, anyhow!(error).context(what))
    };
    let (reader, writer) = io::pipe().map_err(system("cannot make a pipe"))?;
    let errors = writer.try_clone().map_err(system("cannot make a pipe"))?;
    let mut command = Command::new(own_program()?);
    command
        // Also when the helper was called: the arguments that follow are the command's.
        .arg0("binlogfs")
        .args(arguments(request))
        .env(DETACHED, "1")
        // Told already, with paths that mean the same from `/`.
        .env_remove(IDENTITY)
        .env_remove("NOTIFY_SOCKET")
        .envs(environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(errors);
    let child = command
        .spawn()
        .map_err(system("cannot start the mount's process"))?;
    // It has the pipe's other end, and only its own may be left: the end of the pipe is the end of that process.
    drop(command);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("cannot wait for the mount's process"))?;
    let outcome = runtime.block_on(wait(reader.into(), child));
    if outcome.is_ok() && request.says_mounted {
        println!("{}: mounted on {}", request.spec, request.dir.display());
    }
    outcome
}

/// Paths as they are: one that is no UTF-8 text has no other spelling.
fn arguments(request: &Request) -> Vec<OsString> {
    let mut list: Vec<OsString> = vec![
        "mount".into(),
        request.spec.to_string().into(),
        request.dir.clone().into(),
    ];
    if !request.told.is_empty() {
        list.push("-o".into());
        list.push(told::write(&request.told).into());
    }
    if let Some(namespace) = &request.namespace {
        list.push("--namespace".into());
        list.push(namespace.clone().into());
    }
    if request.json {
        list.push("--json".into());
    }
    list
}

/// Passes on what the process says, until it is ready or ends.
async fn wait(report: OwnedFd, mut child: Child) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(|error| Failure::new(Kind::System, error))?;
    let mut report = pipe::Receiver::from_owned_fd(report)
        .map_err(|error| Failure::new(Kind::System, anyhow!(error)))?;
    let mut buffer = vec![0; 4096];
    let mut said = 0;
    loop {
        let read = tokio::select! {
            read = report.read(&mut buffer) => read,
            () = signals.any() => return Err(interrupt(child).await),
        };
        let len = read.context("cannot hear the mount's process")?;
        let text = buffer.get(..len).unwrap_or_default();
        let ready = text.iter().position(|byte| *byte == READY);
        let text = text.get(..ready.unwrap_or(len)).unwrap_or_default();
        // A terminal that is gone is no reason not to mount.
        let _ = io::stderr().write_all(text);
        said += text.len();
        if ready.is_some() {
            return Ok(());
        }
        if len == 0 {
            break;
        }
    }
    let status = child
        .wait()
        .context("cannot wait for the mount's process")?;
    match said {
        0 => Err(Failure::text(
            Kind::of_code(status.code()),
            format!("the mount's process ended with {status} and said nothing"),
        )),
        _ => Err(Failure::said(Kind::of_code(status.code()))),
    }
}

/// Tells the process to end; it undoes what it has done.
async fn interrupt(mut child: Child) -> Failure {
    let process = rustix::process::Pid::from_child(&child);
    let _ = rustix::process::kill_process(process, rustix::process::Signal::TERM);
    let begun = tokio::time::Instant::now();
    while let Ok(None) = child.try_wait() {
        if begun.elapsed() > END_GRACE {
            let _ = child.kill();
            return Failure::text(
                Kind::Interrupted,
                "interrupted, and the mount's process had to be killed: see whether it left a mount, and run 'umount -l' on it",
            );
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Failure::interrupted()
}

/// Where the detached process tells whoever waits for it.
#[derive(Clone)]
pub struct Report(Arc<Mutex<Option<File>>>);

/// Lets go of everything that keeps a terminal, a pipe or a file system busy: all file descriptors and the directory.
///
/// The session is left only when the mount is made ([`Report::ready`]): systemd's automount lets through to the directory only
/// processes of its own process group.
///
/// # Errors
/// When there is no `/dev/null`.
pub fn let_go_of_the_terminal() -> io::Result<Report> {
    close_what_was_inherited();
    let report = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    std::env::set_current_dir("/")?;
    Ok(Report(Arc::new(Mutex::new(Some(File::from(report))))))
}

/// Whoever started mount(8) may wait for the end of a pipe that all of its children have.
#[expect(
    unsafe_code,
    reason = "no safe wrapper closes file descriptors that nobody here has opened"
)]
fn close_what_was_inherited() {
    // SAFETY: nothing of this process is open yet but 0, 1 and 2. Where the call is missing (before Linux 5.9), they stay.
    unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, 0) };
}

impl Report {
    fn file(&self) -> std::sync::MutexGuard<'_, Option<File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another way to the same ears.
    ///
    /// # Errors
    /// When no file can be opened any more.
    pub fn copy(&self) -> Result<File, Failure> {
        let copy = self.file().as_ref().map(File::try_clone).transpose();
        let copy = copy.map_err(|error| Failure::new(Kind::System, error))?;
        copy.ok_or_else(|| Failure::text(Kind::Internal, "the report is closed"))
    }

    /// Says something, as long as somebody listens.
    pub fn say(&self, text: &str) {
        if let Some(file) = &mut *self.file() {
            let _ = file.write_all(text.as_bytes());
        }
    }

    /// Says that the mount works, and leaves the session of whoever waited.
    ///
    /// # Errors
    /// When nobody listens any more.
    pub fn ready(&self) -> io::Result<()> {
        // It is the leader of no group, having been spawned; if it is one all the same, it has left already.
        let _ = rustix::process::setsid();
        match self.file().take() {
            Some(mut file) => file.write_all(&[READY]),
            None => Ok(()),
        }
    }
}

/// Enters a mount namespace. No thread may exist yet: they have one together.
///
/// # Errors
/// [`Kind::System`] when it cannot be entered.
pub fn enter(namespace: Option<&Path>) -> Result<(), Failure> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    let Some(path) = namespace else {
        return Ok(());
    };
    let enter = || {
        let file = File::open(path)?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Mount))?;
        std::env::set_current_dir("/")
    };
    enter().map_err(|error: io::Error| {
        let what = format!("cannot enter the mount namespace {}", path.display());
        Failure::new(Kind::System, anyhow!(error).context(what))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Manner;
    use super::*;
    use std::os::unix::ffi::OsStringExt as _;

    #[test]
    fn a_directory_whose_name_is_no_text_is_handed_on_as_it_is() {
        let path = |end: u8| PathBuf::from(OsString::from_vec(vec![b'/', b'm', end]));
        let request = Request {
            spec: "s3://b/p".parse().expect("a URL"),
            dir: path(0xff),
            told: Vec::new(),
            manner: Manner::Detach,
            namespace: Some(path(0xfe)),
            says_mounted: false,
            json: true,
        };
        let expected: [OsString; 6] = [
            "mount".into(),
            "s3://b/p".into(),
            path(0xff).into(),
            "--namespace".into(),
            path(0xfe).into(),
            "--json".into(),
        ];
        assert_eq!(arguments(&request), expected);
    }
}

//! The process of a mount: signals, systemd, death, other mounts of the same stream or on the same directory.

use crate::archive::Archive;
use crate::s3::{self, server::S3Server};
use crate::synthetic::SyntheticServer;
use crate::tools::{self, eventually};
use binlogfs::fs::mountinfo::{self, Mount};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, Signal};
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn archived() -> (Archive, SyntheticServer) {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(40, 20_000);
    archive.archive(server.dir());
    (archive, server)
}

fn truth(server: &SyntheticServer) -> Vec<u8> {
    fs::read(&server.closed()[0]).expect("readable")
}

fn mounts_at(path: &Path) -> Vec<Mount> {
    let mut mounts = mountinfo::parse(&fs::read(mountinfo::PATH).expect("reads"));
    mounts.retain(|mount| mount.mount_point == path);
    mounts
}

/// A mount in the foreground; dropped, it is killed and unmounted.
struct Foreground {
    process: Child,
    dir: PathBuf,
}

impl Foreground {
    /// Mounts `url` on the archive's directory, and waits until it is there.
    fn start(archive: &Archive, url: &str, options: &[&str]) -> Foreground {
        Foreground::spawn(archive, url, options, |_| {})
    }

    fn spawn(
        archive: &Archive,
        url: &str,
        options: &[&str],
        change: impl FnOnce(&mut Command),
    ) -> Foreground {
        let dir = archive.path("mnt");
        let mount = dir.to_str().expect("text");
        let mut command = archive.command(&["mount", "--foreground", url, mount]);
        command.args(options).stderr(Stdio::piped());
        change(&mut command);
        let process = command.spawn().expect("starts");
        let mounted = Foreground { process, dir };
        eventually("it is mounted", || !mounts_at(&mounted.dir).is_empty());
        mounted
    }

    fn file(&self) -> PathBuf {
        self.dir.join("binlog.000001")
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).expect("sends");
    }

    /// How it ended, and what it said.
    fn end(&mut self) -> (Option<i32>, String) {
        let status = self.process.wait().expect("is our child");
        let mut said = String::new();
        let stderr = self.process.stderr.as_mut().expect("piped");
        stderr.read_to_string(&mut said).expect("text");
        (status.code(), said)
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        for _ in mounts_at(&self.dir) {
            let _ = rustix::mount::unmount(&self.dir, UnmountFlags::DETACH);
        }
    }
}

/// Passes connections on, until it is told to pass nothing on any more.
struct Stalling {
    endpoint: String,
    stalls: Arc<AtomicBool>,
}

impl Stalling {
    fn before(server: &S3Server) -> Stalling {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let target = server.endpoint().replace("http://", "");
        let stalls = Arc::new(AtomicBool::new(false));
        let stalling = Arc::clone(&stalls);
        // Ends with the test's process.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(&target).expect("the server listens");
                for stream in [&client, &server] {
                    stream.set_nodelay(true).expect("settable");
                }
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone(), to.try_clone());
                    let (from, to) = (from.expect("clones"), to.expect("clones"));
                    let stalling = Arc::clone(&stalling);
                    std::thread::spawn(move || pass_on(from, to, &stalling));
                }
            }
        });
        Stalling { endpoint, stalls }
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, stalls: &AtomicBool) {
    let mut buffer = [0; 16 << 10];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        while stalls.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
        }
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn sigterm_fails_reads_on_their_way_with_eio_and_ends_with_0() {
    let (archive, server) = archived();
    let store = S3Server::start(&archive.path("stalling"));
    let prefix = "prod/orders";
    let mut command = archive.archive_command_to(&store.url(prefix), server.dir());
    tools::run(
        command
            .arg("--state-dir")
            .arg(archive.path("stalling-state")),
    );
    let proxy = Stalling::before(&store);
    let url = s3::server::url(&proxy.endpoint, prefix);
    let mut mounted = Foreground::start(&archive, &url, &[]);
    let file = File::open(mounted.file()).expect("opens");
    proxy.stalls.store(true, Ordering::SeqCst);
    let reading = std::thread::spawn(move || file.read_at(&mut [0; 100], 0));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!reading.is_finished(), "the store does not answer");
    let begun = Instant::now();
    mounted.signal(Signal::TERM);
    let error = reading.join().expect("runs").expect_err("fails");
    assert_eq!(error.raw_os_error(), Some(libc::EIO));
    let (code, said) = mounted.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    assert!(mounts_at(&mounted.dir).is_empty());
}

#[test]
fn sigint_and_sighup_unmount_and_end_with_0_as_sigterm_does() {
    let (archive, server) = archived();
    for signal in [Signal::INT, Signal::HUP] {
        let mut mounted = Foreground::start(&archive, &archive.url(), &[]);
        assert!(fs::read(mounted.file()).expect("reads") == truth(&server));
        mounted.signal(signal);
        let (code, said) = mounted.end();
        assert_eq!(code, Some(0), "{signal:?}: {said}");
        assert!(mounts_at(&mounted.dir).is_empty(), "{signal:?}");
    }
}

#[test]
fn a_mount_whose_connection_is_cut_is_taken_away_and_is_a_failure() {
    let (archive, _server) = archived();
    let mut mounted = Foreground::start(&archive, &archive.url(), &[]);
    // Busy, so that it cannot be unmounted.
    let file = File::open(mounted.file()).expect("opens");
    let forced = Command::new("umount").arg("-f").arg(&mounted.dir).output();
    assert!(!forced.expect("runs").status.success());
    let (code, said) = mounted.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("was cut"), "{said}");
    assert!(mounts_at(&mounted.dir).is_empty());
    drop(file);
}

#[test]
fn systemd_is_told_when_the_mount_works_and_when_it_ends() {
    let (archive, server) = archived();
    let path = archive.path("notify");
    let socket = UnixDatagram::bind(&path).expect("binds");
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("sets");
    let mut mounted = Foreground::spawn(&archive, &archive.url(), &[], |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    let heard = || {
        let mut buffer = [0; 256];
        let len = socket.recv(&mut buffer).expect("told in time");
        String::from_utf8_lossy(&buffer[..len]).trim().to_owned()
    };
    assert_eq!(heard(), "READY=1");
    assert!(fs::read(mounted.file()).expect("works") == truth(&server));
    mounted.signal(Signal::TERM);
    assert_eq!(heard(), "STOPPING=1");
    let (code, said) = mounted.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("mounted "), "{said}");
}

#[test]
fn a_mount_killed_while_it_is_read_says_what_to_do_and_is_mounted_again() {
    let (archive, server) = archived();
    let mut mounted = Foreground::start(&archive, &archive.url(), &[]);
    let file = mounted.file();
    let reading = std::thread::spawn(move || -> io::Error {
        loop {
            let read = File::open(&file).and_then(|file| {
                // So that every read is one of the mount's.
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
                file.read_at(&mut [0; 4096], 0)
            });
            if let Err(error) = read {
                return error;
            }
        }
    });
    std::thread::sleep(Duration::from_millis(200));
    mounted.process.kill().expect("runs");
    mounted.process.wait().expect("is our child");
    let error = reading.join().expect("it ends, too");
    let codes = [libc::ENOTCONN, libc::ECONNABORTED, libc::EIO];
    assert!(
        codes.contains(&error.raw_os_error().expect("an errno")),
        "{error}"
    );
    let dir = mounted.dir.clone();
    let again = |archive: &Archive| {
        let mount = dir.to_str().expect("text");
        archive.output(&["mount", &archive.url(), mount])
    };
    let refused = again(&archive);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    let advice = format!("'umount -l {}' if its process is dead", dir.display());
    assert!(said.contains(&advice), "{said}");
    tools::run(Command::new("umount").arg("-l").arg(&dir));
    assert!(again(&archive).status.success());
    assert!(fs::read(dir.join("binlog.000001")).expect("works") == truth(&server));
    tools::run(Command::new("umount").arg(&dir));
}

#[test]
fn two_mounts_of_one_stream_share_their_index_and_do_not_disturb_each_other() {
    let (archive, mut server) = archived();
    let first = Foreground::start(&archive, &archive.url(), &["--refresh", "1"]);
    let other = archive.path("other");
    fs::create_dir(&other).expect("creates");
    let mount = other.to_str().expect("text");
    tools::run(&mut archive.command(&["mount", &archive.url(), mount, "--refresh", "1"]));
    server.rotate(2, 100);
    archive.archive(server.dir());
    for dir in [&first.dir, &other] {
        let file = dir.join("binlog.000002");
        eventually("the new segment", || file.exists());
        let expected = fs::read(&server.closed()[1]).expect("readable");
        assert!(fs::read(&file).expect("works") == expected);
    }
    tools::run(Command::new("umount").arg(&other));
    assert!(fs::read(first.file()).expect("works") == truth(&server));
}

#[test]
fn a_busy_mount_is_not_unmounted_unless_lazily_and_open_files_stay_readable_until_then() {
    let (archive, server) = archived();
    let mut mounted = Foreground::start(&archive, &archive.url(), &[]);
    let mut file = File::open(mounted.file()).expect("opens");
    let Output { status, stderr, .. } = tools::output(Command::new("umount").arg(&mounted.dir));
    let said = String::from_utf8_lossy(&stderr);
    assert_eq!(status.code(), Some(32), "{said}");
    assert!(said.contains("busy"), "{said}");
    tools::run(Command::new("umount").arg("-l").arg(&mounted.dir));
    let mut read = Vec::new();
    file.read_to_end(&mut read).expect("it is still open");
    assert!(read == truth(&server));
    drop(file);
    let (code, said) = mounted.end();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_foreign_mount_over_ours_survives_our_end() {
    let (archive, _server) = archived();
    let mut mounted = Foreground::start(&archive, &archive.url(), &[]);
    let no_flags = MountFlags::empty();
    let data = None::<&std::ffi::CStr>;
    rustix::mount::mount("none", &mounted.dir, "tmpfs", no_flags, data).expect("mounts a tmpfs");
    fs::write(mounted.dir.join("precious"), "x").expect("writes");
    mounted.signal(Signal::TERM);
    let (code, said) = mounted.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("something else is mounted on"), "{said}");
    let left = mounts_at(&mounted.dir);
    assert_eq!(left.last().expect("there").fs_type, "tmpfs");
    assert_eq!(fs::read(mounted.dir.join("precious")).expect("there"), b"x");
}

#[test]
fn a_failed_read_is_logged_once_with_segment_object_offset_and_reason() {
    let (archive, _server) = archived();
    let log = archive.path("log");
    let mounted = archive.mount_with(&["--log-file", log.to_str().expect("text")]);
    for object in archive.keys("segments") {
        fs::remove_file(object).expect("removes");
    }
    for _ in 0..5 {
        let error = fs::read(mounted.dir().join("binlog.000001")).expect_err("it is gone");
        assert_eq!(error.raw_os_error(), Some(libc::ESTALE));
    }
    drop(mounted);
    let text = fs::read_to_string(&log).expect("it is there");
    let lines: Vec<_> = text.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    for part in [
        "reading at offset 0 of segment binlog.000001 (object segments/binlog.000001-",
        "no such object",
    ] {
        assert!(lines[0].contains(part), "{text}");
    }
}

/// What systemd is for `x-systemd.automount`: whoever enters the directory waits until it is mounted.
struct Automount {
    dir: PathBuf,
    root: OwnedFd,
    packets: File,
}

/// `AUTOFS_IOC_READY` of linux/auto_fs.h.
const AUTOFS_READY: libc::c_ulong = 0x9360;

impl Automount {
    fn on(dir: &Path) -> Automount {
        let (packets, kernels) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("a pipe");
        let group = rustix::process::getpgrp();
        let data = format!(
            "fd={},pgrp={group},minproto=5,maxproto=5,direct",
            kernels.as_raw_fd()
        );
        let data = std::ffi::CString::new(data).expect("no NUL");
        let flags = MountFlags::empty();
        rustix::mount::mount("test", dir, "autofs", flags, data.as_c_str()).expect("mounts autofs");
        Automount {
            dir: dir.to_owned(),
            root: File::open(dir).expect("the daemon may").into(),
            packets: packets.into(),
        }
    }

    /// Waits until somebody wants in; the token that lets them.
    fn wanted(&mut self) -> u32 {
        let mut packet = [0; 512];
        let len = self.packets.read(&mut packet).expect("a packet");
        assert!(len > 12, "{len} bytes");
        u32::from_ne_bytes(packet[8..12].try_into().expect("four bytes"))
    }

    #[expect(
        unsafe_code,
        reason = "no safe wrapper has this ioctl; its argument is a number"
    )]
    fn let_in(&self, token: u32) {
        let done = unsafe {
            libc::ioctl(
                self.root.as_raw_fd(),
                AUTOFS_READY,
                libc::c_ulong::from(token),
            )
        };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
    }
}

impl Drop for Automount {
    fn drop(&mut self) {
        for _ in mounts_at(&self.dir) {
            let _ = rustix::mount::unmount(&self.dir, UnmountFlags::DETACH);
        }
    }
}

#[test]
fn an_automount_is_mounted_over_for_whoever_enters_it() {
    let (archive, server) = archived();
    let dir = archive.path("mnt").canonicalize().expect("there");
    let mut automount = Automount::on(&dir);
    for _ in 0..2 {
        let mut visitor = Command::new("cat")
            .arg(dir.join("binlog.000001"))
            // Who is in the group of the automounter is let through.
            .process_group(0)
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let token = automount.wanted();
        let output = archive.output(&["mount", &archive.url(), dir.to_str().expect("text")]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        automount.let_in(token);
        let mut read = Vec::new();
        let stdout = visitor.stdout.as_mut().expect("piped");
        stdout.read_to_end(&mut read).expect("reads");
        assert!(visitor.wait().expect("is our child").success());
        assert!(read == truth(&server));
        let types: Vec<_> = mounts_at(&dir).into_iter().map(|m| m.fs_type).collect();
        assert_eq!(types, ["autofs", "fuse.binlogfs"]);
        tools::run(Command::new("umount").arg(&dir));
    }
}

//! The process of a mount: signals, systemd, death, other mounts of the same stream or on the same directory.

mod automount;
pub mod foreground;
mod stalling;

use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools::{self, eventually};
use foreground::{Foreground, mounts_at};
use rustix::mount::MountFlags;
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};
use std::time::Duration;

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

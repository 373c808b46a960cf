//! `mount.binlogfs` under the real mount(8) and umount(8): /etc/fstab lines, exit codes and what is said on the terminal.

mod host;

use crate::archive::Archive;
use crate::s3::{self, server::S3Server};
use crate::synthetic::SyntheticServer;
use crate::tools::{self, eventually};
use host::{Ended, Host, ended, write_secret};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// One closed file, archived.
fn archived(archive: &Archive) -> Vec<u8> {
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(10, 20_000);
    archive.archive(server.dir());
    fs::read(&server.closed()[0]).expect("readable")
}

#[test]
fn a_line_of_fstab_is_mounted_and_unmounted_and_mounted_again() {
    let host = Host::new();
    let (url, options) = (host.archive.url(), host.options());
    let options = format!("_netdev,nofail,x-systemd.automount,relatime,{options}");
    for _ in 0..2 {
        assert_eq!(
            host.mount(&url, &options, &[]),
            Ended(Some(0), String::new())
        );
        let mounts = host.namespace.mounts_at(&host.dir());
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].fs_type, "fuse.binlogfs");
        // What mount -a compares with fstab.
        assert_eq!(mounts[0].source.to_str(), Some(url.as_str()));
        host.reads();
        host.mount(&url, &options, &[])
            .is(32, "mounted there already; run 'umount ");
        let fstab = host.fstab(&url, &options);
        let mut all = host.namespace.command("mount");
        let all = all.args(["--all", "--verbose", "--fstab"]).arg(fstab);
        ended(all).is(0, "already mounted");
        assert_eq!(host.namespace.mounts_at(&host.dir()).len(), 1);
        assert_eq!(host.umount(), Ended(Some(0), String::new()));
        assert!(!host.is_mounted());
        eventually("its process has ended", || host.process().is_none());
    }
    host.umount().is(32, "not mounted");
}

#[test]
fn the_process_of_a_mount_keeps_nothing_of_whoever_called() {
    let host = Host::new();
    assert_eq!(
        host.mount(&host.archive.url(), &host.options(), &[]).0,
        Some(0)
    );
    let pid = host.process().expect("there is one");
    let proc = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
    let link = |name: &str| fs::read_link(proc(name)).expect("there");
    assert_eq!(link("cwd"), Path::new("/"));
    for descriptor in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(link(descriptor), Path::new("/dev/null"));
    }
    let pipes = fs::read_dir(proc("fd"))
        .expect("there")
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("pipe:"));
    assert_eq!(pipes.count(), 0, "somebody would wait for its end");
    let stat = fs::read_to_string(proc("stat")).expect("there");
    let fields: Vec<_> = stat
        .rsplit(") ")
        .next()
        .expect("fields")
        .split(' ')
        .collect();
    assert_eq!(fields[3], pid.to_string(), "it leads a session");
    assert_eq!(fields[4], "0", "it has no terminal");
    // systemd's automount and mount(8) give neither.
    let environment = fs::read(proc("environ")).expect("there");
    let environment = String::from_utf8_lossy(&environment);
    assert!(environment.contains("\0HOME=/"), "{environment:?}");
    assert!(environment.contains("PATH="), "{environment:?}");
    let process = rustix::process::Pid::from_raw(i32::try_from(pid).expect("small"));
    let begun = Instant::now();
    rustix::process::kill_process(process.expect("not 0"), rustix::process::Signal::TERM)
        .expect("sends");
    eventually("SIGTERM unmounts", || !host.is_mounted());
    eventually("it has ended", || host.process().is_none());
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn what_cannot_be_mounted_says_why_and_is_not_mounted() {
    let host = Host::new();
    let (url, options) = (host.archive.url(), host.options());
    let nothing = host.namespace.path("nothing");
    fs::create_dir(&nothing).expect("creates");
    let other_key = host.namespace.path("other.txt");
    tools::run(tools::binlogfs().arg("keygen").arg("-o").arg(&other_key));
    let without_key = options.split_once(',').expect("more").1;
    let missing = host.namespace.path("missing.txt");
    let cases = [
        (
            format!("file://{}", nothing.display()),
            options.clone(),
            32,
            "stream",
        ),
        (
            format!("file://{}", missing.display()),
            options.clone(),
            32,
            "does not exist",
        ),
        (
            url.clone(),
            format!("identity={},{without_key}", missing.display()),
            32,
            "missing.txt",
        ),
        (
            url.clone(),
            format!("identity={},{without_key}", other_key.display()),
            32,
            "is not encrypted for",
        ),
        (
            url.clone(),
            format!("{options},bogus"),
            1,
            "there is no option \"bogus\"",
        ),
        (
            url.clone(),
            format!("{options},refersh=9"),
            1,
            "did you mean refresh?",
        ),
        (
            url.clone(),
            format!("{options},mode=0666"),
            1,
            "option mode: the mount is read-only",
        ),
        (
            url.clone(),
            format!("{options},env_file={}", missing.display()),
            32,
            "environment file",
        ),
        ("ftp://host/x".to_owned(), options.clone(), 1, "ftp"),
    ];
    for (spec, options, code, part) in &cases {
        host.mount(spec, options, &[]).is(*code, part);
        assert!(!host.is_mounted(), "{spec} {options}");
    }
    host.mount(&url, &format!("{options},remount"), &[])
        .is(32, "");
    let mut remount = host.helper(&[&url, "/", "-o", "rw,remount"]);
    ended(&mut remount).is(32, "cannot be remounted");
    let file = host.namespace.path("file");
    fs::write(&file, "").expect("writes");
    let file = file.to_str().expect("text");
    ended(&mut host.helper(&[&url, file, "-o", &options])).is(32, "not a directory");
    let absent = host.namespace.path("absent");
    let absent = absent.to_str().expect("text");
    ended(&mut host.helper(&[&url, absent, "-o", &options])).is(32, "create the directory");
    ended(&mut host.helper(&[&url])).is(1, "--help");
    ended(&mut host.helper(&["--help"])).is(0, "cache_dir=DIR");
}

#[test]
fn sloppy_mounts_are_warned_and_faked_ones_are_checked_and_not_made() {
    let host = Host::new();
    let (url, options) = (host.archive.url(), host.options());
    let sloppy = format!("{options},bogus,refersh=9");
    let faked = host.mount(&url, &options, &["-f"]);
    assert_eq!(faked, Ended(Some(0), String::new()));
    assert!(!host.is_mounted());
    host.mount(&url, &options, &["-f", "-v"])
        .is(0, "can be mounted");
    let wrong = format!("{options},identity=/nonexistent");
    host.mount(&url, &wrong, &["-f"]).is(32, "/nonexistent");
    host.mount(&url, &sloppy, &["-f"]).is(1, "bogus");
    let warned = host.mount(&url, &sloppy, &["-s"]);
    warned.is(0, "ignored: there is no option \"bogus\"");
    warned.is(0, "did you mean refresh?");
    host.reads();
    host.mount(&url, &options, &["-f"])
        .is(32, "mounted there already");
}

#[test]
fn credentials_are_checked_before_anything_is_mounted() {
    let host = Host::new();
    let server = S3Server::start(&host.namespace.path("s3"));
    let url = server.url("prod/orders");
    let mut archive = host.archive.archive_command_to(&url, &host.archive.data());
    tools::run(archive.arg("--state-dir").arg(host.namespace.path("state")));
    let (options, environment) = (host.options(), host.namespace.path("wrong"));
    let mount = |text: &str| {
        write_secret(&environment, text);
        let options = format!("{options},env_file={}", environment.display());
        host.mount(&url, &options, &[])
    };
    let common = "AWS_EC2_METADATA_DISABLED=true\nAWS_CONFIG_FILE=/dev/null\nHOME=/nonexistent\n";
    mount(common).is(32, "credentials");
    let wrong = format!("{common}AWS_ACCESS_KEY_ID=nobody\nAWS_SECRET_ACCESS_KEY=topsecret\n");
    let refused = mount(&wrong);
    refused.is(32, "credentials");
    assert!(!refused.1.contains("topsecret"), "{}", refused.1);
    server.deny("GetObject");
    host.mount(&url, &options, &[]).is(32, "permission denied");
    server.allow_all();
    assert!(!host.is_mounted());
    assert_eq!(
        host.mount(&url, &options, &[]),
        Ended(Some(0), String::new())
    );
    host.reads();
}

#[test]
fn a_configuration_file_can_be_mounted() {
    let host = Host::new();
    let file = host.namespace.path("orders.toml");
    let options = host.options();
    let mut lines = format!("url = \"{}\"\n", host.archive.url());
    for option in options.split(',') {
        let (name, value) = option.split_once('=').expect("all have values");
        writeln!(lines, "{name} = \"{value}\"").expect("writes");
    }
    let spec = file.to_str().expect("text");
    fs::write(&file, format!("{lines}refersh = 1\n")).expect("writes");
    host.mount(spec, "nofail", &[])
        .is(32, "did you mean refresh?");
    fs::write(&file, lines).expect("writes");
    assert_eq!(
        host.mount(spec, "nofail,mode=0400", &[]),
        Ended(Some(0), String::new())
    );
    host.reads();
    let mounted = host.namespace.inside(&host.dir().join("binlog.000001"));
    let mode = fs::metadata(mounted).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o400);
    assert_eq!(host.namespace.mounts_at(&host.dir())[0].source, spec);
}

#[test]
fn a_mount_is_made_in_the_namespace_that_is_named() {
    let host = Host::new();
    let (url, options) = (host.archive.url(), host.options());
    let (pid, dir) = (host.namespace.pid().to_string(), host.dir());
    // mount(8) of this host does not know our helper: it is called as mount(8) would.
    let link = host.namespace.path("mount.binlogfs");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_binlogfs"), &link).expect("links");
    let mut command = Command::new(&link);
    command
        .arg(&url)
        .arg(&dir)
        .args(["-N", &pid, "-o", &options]);
    assert_eq!(ended(&mut command), Ended(Some(0), String::new()));
    assert!(host.is_mounted());
    host.reads();
    let here = fs::read_to_string("/proc/self/mountinfo").expect("reads");
    assert!(!here.contains(dir.to_str().expect("text")));
    let mut command = Command::new(&link);
    command
        .arg(&url)
        .arg(&dir)
        .args(["-N", "/nonexistent", "-o", &options]);
    ended(&mut command).is(2, "mount namespace");
}

#[test]
fn an_interrupted_mount_leaves_nothing() {
    let host = Host::new();
    // It takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let endpoint = format!("http://{}", silent.local_addr().expect("bound"));
    let (url, options) = (s3::server::url(&endpoint, "prod/orders"), host.options());
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let dir = host.dir();
        let arguments = [&url, dir.to_str().expect("text"), "-o", &options];
        let mut helper = host
            .helper(&arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("starts");
        silent.accept().expect("it asks the store");
        let process = rustix::process::Pid::from_child(&helper);
        rustix::process::kill_process(process, signal).expect("sends");
        let begun = Instant::now();
        let status = helper.wait().expect("is our child");
        assert_eq!(status.code(), Some(8));
        assert!(
            begun.elapsed() < Duration::from_secs(3),
            "{:?}",
            begun.elapsed()
        );
        assert!(!host.is_mounted());
        assert_eq!(host.process(), None);
    }
}

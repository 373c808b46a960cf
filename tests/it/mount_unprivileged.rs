//! Mounting without root, through fusermount3, as an account that can do nothing else.

use crate::archive::Archive;
use crate::mysql::give_away;
use crate::namespace::Namespace;
use crate::s3;
use crate::synthetic::SyntheticServer;
use crate::tools;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// `nobody`: an account that has nothing but a name, which fusermount3 asks for.
const ACCOUNT: u32 = 65_534;

/// What belongs to that account: the program, a stream, a key, a directory to mount on.
struct Home {
    namespace: Namespace,
    archive: Archive,
    truth: Vec<u8>,
}

impl Home {
    fn new() -> Home {
        let archive = Archive::encrypted();
        let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
        server.rotate(10, 20_000);
        archive.archive(server.dir());
        let truth = fs::read(&server.closed()[0]).expect("readable");
        give_away(&archive.path(""), ACCOUNT);
        let namespace = Namespace::new();
        let home = Home {
            namespace,
            archive,
            truth,
        };
        fs::create_dir(home.dir()).expect("creates");
        give_away(&home.dir(), ACCOUNT);
        home.namespace.open_device();
        home
    }

    fn program(&self) -> PathBuf {
        self.namespace.program()
    }

    fn dir(&self) -> PathBuf {
        self.namespace.path("mnt")
    }

    /// A command as that account.
    fn command(&self, program: &Path) -> Command {
        self.namespace.command_as(ACCOUNT, program)
    }

    fn mount(&self, options: &[&str]) -> Output {
        let mut command = self.command(&self.program());
        command
            .args(["mount", &self.archive.url()])
            .arg(self.dir())
            .arg("--identity")
            .arg(self.archive.key())
            .arg("--cache-dir")
            .arg(self.archive.path("cache"))
            .args(options);
        tools::output(&mut command)
    }

    #[track_caller]
    fn mounts(&self, options: &[&str]) {
        let output = self.mount(options);
        assert!(output.status.success(), "{}", text(&output));
    }

    fn is_mounted(&self) -> bool {
        !self.namespace.mounts_at(&self.dir()).is_empty()
    }

    fn unmount(&self) {
        let fusermount = Path::new("/usr/bin/fusermount3");
        tools::run(self.command(fusermount).arg("-u").arg(self.dir()));
        assert!(!self.is_mounted());
    }

    fn file(&self) -> PathBuf {
        self.dir().join("binlog.000001")
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn an_account_without_rights_mounts_reads_and_unmounts_and_nobody_else_comes_in() {
    let home = Home::new();
    home.mounts(&[]);
    let mounts = home.namespace.mounts_at(&home.dir());
    assert_eq!(mounts.len(), 1);
    assert_eq!(mounts[0].fs_type, "fuse.binlogfs");
    assert_eq!(mounts[0].source.to_str(), Some(home.archive.url().as_str()));
    let read = tools::run(home.command(Path::new("/bin/cat")).arg(home.file()));
    assert!(read == home.truth);
    // Not even root, unless allow_other says so.
    let error = fs::read(home.namespace.inside(&home.file())).expect_err("root stays outside");
    assert_eq!(error.raw_os_error(), Some(libc::EACCES));
    let again = home.mount(&[]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        text(&again).contains("mounted there already"),
        "{}",
        text(&again)
    );
    home.unmount();
    home.mounts(&["-o", "mode=0400"]);
    home.unmount();
}

#[test]
fn sigterm_unmounts_what_an_account_has_mounted() {
    let home = Home::new();
    let mut command = home.command(&home.program());
    command
        .args(["mount", "--foreground", &home.archive.url()])
        .arg(home.dir())
        .arg("--cache-dir")
        .arg(home.archive.path("cache"))
        .stderr(std::process::Stdio::null());
    let mut process = command.spawn().expect("starts");
    let begun = std::time::Instant::now();
    while !home.is_mounted() {
        assert!(begun.elapsed().as_secs() < 20, "it is not mounted");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // Signals are listened to before anything is mounted.
    let pid = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sends");
    let status = process.wait().expect("is our child");
    assert_eq!(status.code(), Some(0));
    assert!(!home.is_mounted());
}

#[test]
fn others_come_in_where_fuse_conf_allows_it_and_as_far_as_the_modes_do() {
    let home = Home::new();
    let conf = home.namespace.path("fuse.conf");
    fs::write(&conf, "").expect("writes");
    let bind = |from: &Path, to: &str| {
        tools::run(
            home.namespace
                .command("mount")
                .arg("--bind")
                .arg(from)
                .arg(to),
        );
    };
    bind(&conf, "/etc/fuse.conf");
    let refused = home.mount(&["--allow-other"]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused));
    assert!(
        text(&refused).contains("user_allow_other"),
        "{}",
        text(&refused)
    );
    assert!(!home.is_mounted());
    fs::write(&conf, "user_allow_other\n").expect("writes");
    home.mounts(&[
        "--allow-other",
        "--uid",
        "7",
        "--gid",
        "8",
        "--mode",
        "0444",
    ]);
    let seen = home.namespace.inside(&home.file());
    let meta = fs::metadata(&seen).expect("others come in");
    assert_eq!((meta.uid(), meta.gid()), (7, 8));
    assert_eq!(meta.mode() & 0o777, 0o444);
    assert!(fs::read(&seen).expect("root reads") == home.truth);
    let mut other = home.namespace.command("setpriv");
    other
        .args([
            "--reuid",
            "61235",
            "--regid",
            "61235",
            "--clear-groups",
            "--",
            "cat",
        ])
        .arg(home.file());
    assert!(tools::run(&mut other) == home.truth);
    home.unmount();
    // default_permissions: the kernel holds others to the modes.
    home.mounts(&["--allow-other", "--mode", "0400"]);
    let refused = tools::output(&mut other);
    assert!(
        text(&refused).contains("Permission denied"),
        "{}",
        text(&refused)
    );
    home.unmount();
}

#[test]
fn what_fusermount_refuses_is_said_with_its_words() {
    let home = Home::new();
    chown(home.dir(), Some(0), Some(0)).expect("root may");
    let refused = home.mount(&[]);
    assert_eq!(refused.status.code(), Some(2));
    let said = text(&refused);
    assert!(
        said.contains("fusermount3") && said.contains("no write access"),
        "{said}"
    );
    let mut without = home.command(Path::new("/usr/bin/env"));
    without
        .arg("PATH=/nonexistent")
        .arg(home.program())
        .args(["mount", &home.archive.url()])
        .arg(home.dir())
        .arg("--cache-dir")
        .arg(home.archive.path("cache"));
    let refused = tools::output(&mut without);
    assert!(
        text(&refused).contains("package fuse3"),
        "{}",
        text(&refused)
    );
}

#[test]
fn a_root_that_may_not_mount_is_told_what_its_container_needs() {
    let home = Home::new();
    let mut command = home.namespace.command("setpriv");
    command
        .args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--"])
        .arg("/sbin/mount.binlogfs")
        .arg(home.archive.url())
        .arg(home.dir())
        .arg("-o")
        .arg(format!(
            "cache_dir={}",
            home.archive.path("cache").display()
        ))
        .envs(s3::credentials());
    let refused = tools::output(&mut command);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused));
    assert!(
        text(&refused).contains("--cap-add SYS_ADMIN"),
        "{}",
        text(&refused)
    );
    assert!(!home.is_mounted());
}

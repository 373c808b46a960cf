//! What the server's own applier needs of this host: said before anything is applied, and what to do.

use super::state::State;
use super::{Recovery, archived, target, text};
use crate::mysql::{Options, give_away};
use crate::namespace::Namespace;
use crate::{s3, tools};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

/// `nobody`: an account that has nothing but a name, which fusermount3 asks for.
const ACCOUNT: u32 = 65_534;
/// One that has not even that.
const STRANGER: u32 = 61_235;
const PARALLEL: [&str; 3] = ["--to-end", "--engine", "parallel"];

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("root may");
}

/// What a recovery prints with `--json`, which must end with `code`.
#[track_caller]
fn printed(command: &mut Command, code: i32) -> Value {
    let output = tools::output(command.arg("--json"));
    let said = tools::excerpt(&output.stderr) + &tools::excerpt(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {said}"))
}

#[test]
fn without_the_device_of_fuse_it_is_said_what_to_do() {
    let (archive, source) = archived();
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    let namespace = Namespace::new();
    let dev = namespace.path("dev");
    fs::create_dir(&dev).expect("ours");
    let script = "mount -t tmpfs none $0 && mknod -m 666 $0/null c 1 3 && mknod -m 666 $0/urandom c 1 9 && mkdir $0/shm \
        && mount --rbind /dev/shm $0/shm && mount --rbind $0 /dev";
    tools::run(namespace.command("sh").args(["-c", script]).arg(&dev));
    let inside = |more: &[&str]| {
        let outside = recovery.command(more);
        let mut command = namespace.command(outside.get_program());
        command.args(outside.get_args()).envs(s3::credentials());
        command
    };
    let before = State::of(&target);
    for execute in [&["--execute"][..], &[]] {
        let refusal = printed(&mut inside(&[&PARALLEL[..], execute].concat()), 4);
        assert_eq!(refusal["kind"], "engine", "{refusal:#}");
        let reason = text(&refusal, "reason");
        assert!(
            reason.contains("/dev/fuse is missing: load the kernel module fuse"),
            "{reason}"
        );
    }
    assert_eq!(State::of(&target), before);
    let told = printed(&mut inside(&["--to-end"]), 0);
    assert_eq!(told["engine"], "pipe", "{told:#}");
    assert!(text(&told, "why").contains("/dev/fuse"), "{told:#}");
    printed(&mut inside(&["--to-end", "--execute"]), 0);
    assert_eq!(State::of(&target), State::of(&source));
}

#[test]
fn a_directory_that_the_servers_account_may_not_enter_is_named_and_so_is_what_to_do() {
    let (archive, source) = archived();
    let target = Options::new().server_id(2).account(ACCOUNT).start();
    let recovery = Recovery::onto(&archive, &target);
    allow(&recovery.mount_dir, 0o700);
    let refusal = recovery.leaves_alone(&target, &PARALLEL, "engine");
    let dir = recovery.mount_dir.display();
    let words = format!("may not enter {dir}: chmod o+x {dir}");
    assert!(text(&refusal, "reason").contains(&words), "{refusal:#}");
    assert!(text(&recovery.dry(&["--to-end"]), "why").contains(&words));
    allow(&recovery.mount_dir, 0o711);
    recovery.run_by("parallel", &["--to-end"]);
    assert_eq!(State::of(&target), State::of(&source));
}

/// An access list that gives nobody but its owner anything, and a stranger the right to enter: the mode does not tell.
const LIST: &[u8] = &[
    2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 1, 0, 51, 239, 0, 0, 4, 0, 0, 0, 255, 255,
    255, 255, 16, 0, 1, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255,
];

#[test]
fn a_server_that_cannot_read_its_mount_after_all_is_told_before_anything_is_applied() {
    let (archive, source) = archived();
    let target = Options::new().server_id(2).account(ACCOUNT).start();
    let recovery = Recovery::onto(&archive, &target);
    let flags = rustix::fs::XattrFlags::empty();
    rustix::fs::setxattr(&recovery.mount_dir, "system.posix_acl_access", LIST, flags)
        .expect("it has such lists");
    let before = State::of(&target);
    let (code, said) = recovery.spawn(&PARALLEL).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("the target cannot read ") && said.contains("which is mounted for it"),
        "{said}"
    );
    assert_eq!(State::of(&target), before);
    assert_eq!(recovery.left_behind(&target), [""; 0]);
    // A client can do it.
    let done = recovery.run(&["--to-end"]);
    assert_eq!(done["engine"], "pipe", "{done:#}");
    assert_eq!(State::of(&target), State::of(&source));
    assert_eq!(recovery.left_behind(&target), [""; 0]);
}

#[test]
fn the_account_of_the_server_recovers_by_its_applier_without_root() {
    let (archive, source) = archived();
    let mut target = Options::new().server_id(2).account(ACCOUNT).start();
    let recovery = Recovery::onto(&archive, &target);
    give_away(&archive.path(""), ACCOUNT);
    give_away(&recovery.mount_dir, ACCOUNT);
    let namespace = Namespace::new();
    namespace.open_device();
    // What is mounted there is for who is there.
    target.restart_beside(namespace.pid());
    let outside = recovery.command(&[&PARALLEL[..], &["--execute"]].concat());
    let words = || outside.get_args();
    let as_account = || {
        let mut command = namespace.command_as(ACCOUNT, "/usr/bin/env");
        command.arg(namespace.program());
        command
    };
    // Where root mounts it may not.
    let is_other = |word: &&OsStr| !word.to_string_lossy().starts_with("--mount-dir");
    let refusal = printed(as_account().args(words().filter(is_other)), 4);
    let reason = text(&refusal, "reason");
    assert!(
        reason.contains("without root it needs --mount-dir"),
        "{reason}"
    );
    let mut without = namespace.command_as(ACCOUNT, "/usr/bin/env");
    without.arg("PATH=/nonexistent").arg(namespace.program());
    let refusal = printed(without.args(words()), 4);
    let reason = text(&refusal, "reason");
    assert!(
        reason.contains("fusermount3: install the package fuse3"),
        "{reason}"
    );

    let done = printed(as_account().args(words()), 0);
    assert_eq!(done["engine"], "parallel", "{done:#}");
    assert_eq!(State::of(&target), State::of(&source));
    assert_eq!(recovery.left_behind(&target), [""; 0]);
    let left = namespace.mounts_below(&recovery.mount_dir);
    assert!(left.is_empty(), "{left:?}");
    let again = printed(as_account().args(words()), 0);
    assert_eq!(again["engine"], Value::Null, "{again:#}");
}

#[test]
fn an_account_that_is_not_the_servers_is_refused_before_anything_is_applied() {
    let (archive, _source) = archived();
    let target = target();
    let recovery = Recovery::onto(&archive, &target);
    let before = State::of(&target);
    give_away(&archive.path(""), STRANGER);
    give_away(&recovery.mount_dir, STRANGER);
    // It gets at the socket, as anybody does.
    allow(&target.path(""), 0o755);
    let namespace = Namespace::new();
    namespace.open_device();
    for execute in [&["--execute"][..], &[]] {
        let outside = recovery.command(&[&PARALLEL[..], execute].concat());
        let mut command = namespace.command_as(STRANGER, namespace.program());
        let refusal = printed(command.args(outside.get_args()), 4);
        assert_eq!(refusal["kind"], "engine", "{refusal:#}");
        let reason = text(&refusal, "reason");
        assert!(
            reason.contains("auto.cnf cannot be read here")
                && reason.contains("as root or as the account that mysqld runs as"),
            "{reason}"
        );
    }
    assert_eq!(State::of(&target), before);
    assert_eq!(recovery.left_behind(&target), [""; 0]);
}

//! Whether the target is on this host, and can read what we mount.

use super::super::target::TargetFacts;
use super::confined;
use super::reach::Account;
use rustix::fs::Access;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Where mounts are made: on tmpfs, and seen by services that have a /tmp of their own.
const MOUNT_BASE: &str = "/run/binlogfs";
/// What mounts for who is not root.
const FUSERMOUNT: &str = "fusermount3";
/// What lets others than root see a mount that is not root's.
const FUSE_CONF: &str = "/etc/fuse.conf";

/// Where the mount of a recovery is made, unless that was said.
pub fn mount_base() -> &'static Path {
    Path::new(MOUNT_BASE)
}

/// Why the server's applier cannot be used from here; `None` if it seems that it can.
pub fn obstacle(facts: &TargetFacts, mount_dir: Option<&Path>) -> Option<String> {
    let Some(datadir) = &facts.datadir else {
        return Some("the target does not say where its data directory is".to_owned());
    };
    let auto_cnf = datadir.join("auto.cnf");
    let here = std::fs::read_to_string(&auto_cnf);
    let uuid = facts.uuid.map(|uuid| uuid.to_string()).unwrap_or_default();
    match here {
        Ok(text) if !uuid.is_empty() && text.contains(&uuid) => {}
        Ok(_) => {
            return Some(format!(
                "the data directory {} of this host is another server's: run it on the target's own host",
                datadir.display()
            ));
        }
        Err(error) => {
            return Some(format!(
                "{} cannot be read here ({error}): run it on the target's own host, as root or as the account that mysqld runs as",
                auto_cnf.display()
            ));
        }
    }
    let Some(index) = channel_index(facts) else {
        return Some("the target does not say where its relay logs are".to_owned());
    };
    let dir = index.parent().unwrap_or(Path::new("/"));
    if rustix::fs::access(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return Some(format!(
            "{}, where the target's relay logs are, cannot be written: run it as root or as the account that mysqld runs as",
            dir.display()
        ));
    }
    if !Path::new("/dev/fuse").exists() {
        return Some(
            "/dev/fuse is missing: load the kernel module fuse, or give it to the container"
                .to_owned(),
        );
    }
    let base = mount_dir.unwrap_or(mount_base());
    let pid = pid(facts);
    pid.and_then(|pid| confined::obstacle(pid, base))
        .or_else(|| cannot_show(datadir, mount_dir))
        .or_else(|| out_of_reach(Account::of(pid?)?, base))
}

/// The mount has its own modes; the way to it has those that it has.
fn out_of_reach(account: Account, base: &Path) -> Option<String> {
    let base = std::path::absolute(base).ok()?;
    let stop = account.is_stopped_at(&base)?;
    Some(format!(
        "the account that mysqld runs as may not enter {}: chmod o+x {}, or name a directory that it reaches with --mount-dir",
        stop.display(),
        stop.display()
    ))
}

fn cannot_show(datadir: &Path, mount_dir: Option<&Path>) -> Option<String> {
    let we = rustix::process::geteuid();
    if we.is_root() {
        return None;
    }
    if mount_dir.is_none() {
        return Some(
            "without root it needs --mount-dir, a directory of yours that mysqld can reach"
                .to_owned(),
        );
    }
    let is_there = |dir: PathBuf| dir.join(FUSERMOUNT).is_file();
    if !std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).any(is_there) {
        return Some(format!(
            "without root it needs {FUSERMOUNT}: install the package fuse3"
        ));
    }
    if std::fs::metadata(datadir).is_ok_and(|datadir| datadir.uid() == we.as_raw()) {
        return None;
    }
    let allowed = std::fs::read_to_string(FUSE_CONF)
        .is_ok_and(|text| text.lines().any(|line| line.trim() == "user_allow_other"));
    (!allowed).then(|| {
        format!(
            "mysqld could not read the mount: write user_allow_other into {FUSE_CONF}, or run it as root or as the account that mysqld \
             runs as"
        )
    })
}

/// The server's process, if it is one of this host.
pub(super) fn pid(facts: &TargetFacts) -> Option<u32> {
    let path = facts.pid_file.as_ref()?;
    let path = match path.is_absolute() {
        true => path.clone(),
        false => facts.datadir.as_ref()?.join(path),
    };
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The file that lists the relay logs of our channel: the server writes the channel's name before the extension.
pub(super) fn channel_index(facts: &TargetFacts) -> Option<PathBuf> {
    let index = facts.relay_log_index.as_ref()?;
    let index = match index.is_absolute() {
        true => index.clone(),
        false => facts.datadir.as_ref()?.join(index),
    };
    let name = index.file_name()?.to_str()?;
    let (stem, extension) = name.rsplit_once('.')?;
    Some(index.with_file_name(format!("{stem}-{}.{extension}", super::CHANNEL)))
}

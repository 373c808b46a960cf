//! Whether the target is on this host, and can read what we mount.

use super::super::target::TargetFacts;
use rustix::fs::Access;
use std::path::{Path, PathBuf};

/// Where mounts are made: on tmpfs, and seen by services that have a /tmp of their own.
const MOUNT_BASE: &str = "/run/binlogfs";
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
    confined(facts).or_else(|| cannot_show(mount_dir))
}

/// AppArmor and SELinux let mysqld read what its packager thought of, and that is no mount of ours.
fn confined(facts: &TargetFacts) -> Option<String> {
    let label = std::fs::read_to_string(format!("/proc/{}/attr/current", pid(facts)?)).ok()?;
    let label = label.trim_end_matches(['\0', '\n']);
    label.ends_with("(enforce)").then(|| {
        format!(
            "AppArmor confines mysqld ({label}): add '{MOUNT_BASE}/** r,' to its profile (/etc/apparmor.d/local/), reload it, and try \
             again"
        )
    })
}

fn cannot_show(mount_dir: Option<&Path>) -> Option<String> {
    if rustix::process::geteuid().is_root() {
        return None;
    }
    if mount_dir.is_none() {
        return Some(
            "without root it needs --mount-dir, a directory of yours that mysqld can reach"
                .to_owned(),
        );
    }
    let allowed = std::fs::read_to_string(FUSE_CONF)
        .is_ok_and(|text| text.lines().any(|line| line.trim() == "user_allow_other"));
    (!allowed).then(|| {
        format!("mysqld could not read the mount: write user_allow_other into {FUSE_CONF}, or run it as root")
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

//! Whether the target is on this host, and can read what we mount.

use super::super::target::TargetFacts;
use rustix::fs::Access;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Where mounts are made: on tmpfs, and seen by services that have a /tmp of their own.
const MOUNT_BASE: &str = "/run/binlogfs";
/// What lets others than root see a mount that is not root's.
const FUSE_CONF: &str = "/etc/fuse.conf";
/// `1` where SELinux is enforced; there is none elsewhere.
const SELINUX_ENFORCE: &str = "/sys/fs/selinux/enforce";
/// What its policies call the domain of mysqld, which may not read FUSE file systems.
const SELINUX_DOMAIN: &str = "mysqld_t";

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
    confined(facts).or_else(|| cannot_show(datadir, mount_dir))
}

/// Why mysqld may not read a mount of ours although the modes of its files let it.
fn confined(facts: &TargetFacts) -> Option<String> {
    let label = std::fs::read_to_string(format!("/proc/{}/attr/current", pid(facts)?)).ok()?;
    let enforced = std::fs::read_to_string(SELINUX_ENFORCE).is_ok_and(|text| text.trim() == "1");
    confinement(label.trim_end_matches(['\0', '\n']), enforced)
}

/// AppArmor and SELinux let mysqld read what its packager thought of, and that is no mount of ours.
fn confinement(label: &str, selinux_is_enforced: bool) -> Option<String> {
    if label.ends_with("(enforce)") {
        return Some(format!(
            "AppArmor confines mysqld ({label}): add '{MOUNT_BASE}/** r,' to its profile (/etc/apparmor.d/local/), reload it, and try \
             again"
        ));
    }
    // user:role:type:level
    let domain = label.split(':').nth(2)?;
    (selinux_is_enforced && domain == SELINUX_DOMAIN).then(|| {
        format!(
            "SELinux confines mysqld ({label}): run 'semanage permissive -a {domain}', try again, and undo it with 'semanage permissive \
             -d {domain}'"
        )
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_confined_is_told_of_with_what_to_do() {
        let told = |label, enforced| confinement(label, enforced).unwrap_or_default();
        let selinux = "system_u:system_r:mysqld_t:s0";
        assert!(told("/usr/sbin/mysqld (enforce)", false).contains("'/run/binlogfs/** r,'"));
        assert!(told(selinux, true).contains("semanage permissive -a mysqld_t"));
        for (label, enforced) in [
            ("", false),
            ("unconfined", true),
            ("/usr/sbin/mysqld (complain)", false),
            (selinux, false),
            (
                "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023",
                true,
            ),
        ] {
            assert_eq!(confinement(label, enforced), None, "{label}");
        }
    }
}

//! Whether the account of mysqld gets to a directory.

use rustix::io::Errno;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Where a directory keeps what its mode does not say.
const ACL: &str = "system.posix_acl_access";
/// A longer one is there as well.
const ACL_MAX_BYTES: usize = 256;

/// Who a process is to file systems.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    uid: u32,
    groups: Vec<u32>,
}

impl Account {
    /// That of a process; `None` if it cannot be asked.
    pub(super) fn of(pid: u32) -> Option<Account> {
        Account::parse(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    /// From `/proc/PID/status`: of the four numbers of `Uid:` and `Gid:` the last counts for files.
    fn parse(status: &str) -> Option<Account> {
        let numbers = |name: &str| -> Option<Vec<u32>> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace()
                .map(|word| word.parse().ok())
                .collect()
        };
        let uid = *numbers("Uid:")?.get(3)?;
        let mut groups = vec![*numbers("Gid:")?.get(3)?];
        groups.extend(numbers("Groups:").unwrap_or_default());
        Some(Account { uid, groups })
    }

    /// Whether it may look up names in a directory of these.
    fn may_enter(&self, uid: u32, gid: u32, mode: u32) -> bool {
        let bit = match (uid == self.uid, self.groups.contains(&gid)) {
            (true, _) => 0o100,
            (false, true) => 0o010,
            (false, false) => 0o001,
        };
        self.uid == 0 || mode & bit != 0
    }

    /// The first directory on the way to `dir`, and `dir` itself, that it may not enter. What is not there yet is made so that it may.
    pub(super) fn is_stopped_at(&self, dir: &Path) -> Option<PathBuf> {
        let mut way: Vec<&Path> = dir.ancestors().collect();
        way.reverse();
        let stop = way.into_iter().find(|step| {
            let Ok(metadata) = std::fs::metadata(step) else {
                return false;
            };
            let may = self.may_enter(metadata.uid(), metadata.gid(), metadata.mode());
            !may && !has_acl(step)
        });
        stop.map(Path::to_owned)
    }
}

/// Lists of access say more than modes do; the server itself will tell then.
fn has_acl(dir: &Path) -> bool {
    let mut list = [0_u8; ACL_MAX_BYTES];
    match rustix::fs::getxattr(dir, ACL, &mut list[..]) {
        Ok(bytes) => bytes > 0,
        Err(error) => error == Errno::RANGE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const STATUS: &str = "Name:\tmysqld\nUmask:\t0027\nState:\tS (sleeping)\nUid:\t112\t112\t112\t112\nGid:\t120\t120\t120\t120\n\
        FDSize:\t256\nGroups:\t4 120 \n";

    #[test]
    fn an_account_is_its_user_and_all_its_groups() {
        let account = Account::parse(STATUS).expect("a status");
        assert_eq!(account.uid, 112);
        for (uid, gid, mode, may) in [
            (0, 0, 0o755, true),
            (0, 0, 0o750, false),
            (0, 4, 0o710, true),
            (0, 120, 0o701, false),
            (112, 0, 0o700, true),
            (112, 0, 0o077, false),
        ] {
            assert_eq!(
                account.may_enter(uid, gid, mode),
                may,
                "{uid} {gid} {mode:o}"
            );
        }
        assert_eq!(Account::parse("Name:\tmysqld\n"), None);
        let ours = Account::of(std::process::id()).expect("we have one");
        assert_eq!(ours.uid, rustix::process::geteuid().as_raw());
    }

    #[test]
    fn the_first_directory_that_stops_it_is_told_and_what_is_not_there_does_not() {
        let temp = tempfile::tempdir().expect("a directory");
        let (shut, below) = (temp.path().join("shut"), temp.path().join("shut/below"));
        std::fs::create_dir_all(&below).expect("writable");
        let open = |path: &Path, mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(path, mode).expect("ours");
        };
        open(temp.path(), 0o755);
        open(&shut, 0o755);
        let stranger = Account {
            uid: 4_000_000_001,
            groups: vec![4_000_000_001],
        };
        assert_eq!(stranger.is_stopped_at(&below.join("not there")), None);
        open(&shut, 0o700);
        assert_eq!(stranger.is_stopped_at(&below), Some(shut.clone()));
        open(&shut, 0o755);
    }
}

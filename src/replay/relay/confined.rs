//! What keeps mysqld from files although their modes let it read them: AppArmor and SELinux.

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// What distributions let administrators add to profiles of AppArmor.
const APPARMOR_LOCAL: &str = "/etc/apparmor.d/local";
/// Where SELinux is asked; there is none elsewhere.
const SELINUX: &str = "/sys/fs/selinux";
/// What its policies call the domain of mysqld.
const SELINUX_DOMAIN: &str = "mysqld_t";
/// What its policies call files of FUSE.
const SELINUX_FUSE: &str = "system_u:object_r:fusefs_t:s0";
/// Of a domain that is permissive all is let through, and logged (SELINUX_AVD_FLAGS_PERMISSIVE).
const SELINUX_PERMISSIVE: u32 = 1;

/// Why the process `pid` may not read what is mounted below `base`.
pub(super) fn obstacle(pid: u32, base: &Path) -> Option<String> {
    let label = label(&PathBuf::from(format!("/proc/{pid}/attr")))?;
    let local = || local_rules(Path::new(APPARMOR_LOCAL));
    apparmor(&label, base, local).or_else(|| selinux(&label, || may_read_fuse(&label)))
}

/// The label of a process: AppArmor has a file of its own where several modules are stacked.
fn label(attributes: &Path) -> Option<String> {
    let read = |name: &str| std::fs::read_to_string(attributes.join(name));
    let label = read("apparmor/current").or_else(|_| read("current")).ok()?;
    Some(label.trim_end_matches(['\0', '\n']).to_owned())
}

/// The text of all that was added to profiles.
fn local_rules(dir: &Path) -> String {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    let files = entries.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    files.collect::<Vec<_>>().join("\n")
}

/// A profile lets mysqld read what its packager thought of, and what was added to it.
fn apparmor(label: &str, base: &Path, local: impl FnOnce() -> String) -> Option<String> {
    let profile = label.strip_suffix(" (enforce)")?;
    if allows(&local(), base) {
        return None;
    }
    let file = profile.trim_start_matches('/').replace('/', ".");
    Some(format!(
        "AppArmor confines mysqld ({label}): add '{}/** r,' to {APPARMOR_LOCAL}/{file}, or to the file that this profile includes, run \
         'apparmor_parser -r' on the profile, and try again",
        base.display()
    ))
}

/// Whether a rule lets everything below `base` be read.
fn allows(rules: &str, base: &Path) -> bool {
    let below = format!("{}/", base.display());
    let mut lines = rules
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'));
    lines.any(|line| {
        let rule = line
            .split(" #")
            .next()
            .unwrap_or(line)
            .trim()
            .trim_end_matches(',');
        let mut words = rule.split_whitespace().rev();
        let (rights, path) = (words.next(), words.next());
        let is_qualifier = |word: &str| matches!(word, "allow" | "file");
        let covers = path
            .and_then(|path| path.trim_matches('"').strip_suffix("**"))
            .is_some_and(|dir| below.starts_with(dir));
        covers && rights.is_some_and(|rights| rights.contains('r')) && words.all(is_qualifier)
    })
}

/// `is_let` is what the kernel says, if it says anything.
fn selinux(label: &str, is_let: impl FnOnce() -> Option<bool>) -> Option<String> {
    // user:role:type:level
    let domain = label.split(':').nth(2)?;
    let enforced = || {
        let path = Path::new(SELINUX).join("enforce");
        std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
    };
    let is_let = is_let().unwrap_or_else(|| domain != SELINUX_DOMAIN || !enforced());
    (!is_let).then(|| {
        format!(
            "SELinux confines mysqld ({label}): run 'semanage permissive -a {domain}', try again, and undo it with 'semanage permissive \
             -d {domain}'"
        )
    })
}

/// Asks SELinux as `compute_av(3)` does.
fn may_read_fuse(label: &str) -> Option<bool> {
    let read = |name: &str| std::fs::read_to_string(Path::new(SELINUX).join(name)).ok();
    if read("enforce")?.trim() != "1" {
        return Some(true);
    }
    let class: u16 = read("class/file/index")?.trim().parse().ok()?;
    let bit = |right: &str| -> Option<u32> {
        let number: u32 = read(&format!("class/file/perms/{right}"))?
            .trim()
            .parse()
            .ok()?;
        1_u32.checked_shl(number.checked_sub(1)?)
    };
    let wanted = bit("read")? | bit("open")?;
    let mut access = OpenOptions::new()
        .read(true)
        .write(true)
        .open(Path::new(SELINUX).join("access"))
        .ok()?;
    let question = format!("{label} {SELINUX_FUSE} {class} {wanted:x}");
    access.write_all(question.as_bytes()).ok()?;
    let mut answer = String::new();
    access.read_to_string(&mut answer).ok()?;
    answered(&answer, wanted)
}

/// `allowed decided auditallow auditdeny seqno flags`, all but the last but one in hexadecimal.
fn answered(answer: &str, wanted: u32) -> Option<bool> {
    let mut words = answer.trim_end_matches('\0').split_whitespace();
    let allowed = u32::from_str_radix(words.next()?, 16).ok()?;
    // Kernels before 2.6.32 tell no flags.
    let flags = words
        .nth(4)
        .and_then(|word| u32::from_str_radix(word, 16).ok());
    let is_permissive = flags.unwrap_or(0) & SELINUX_PERMISSIVE != 0;
    Some(is_permissive || allowed & wanted == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: &str = "/run/binlogfs";

    #[test]
    fn a_server_that_apparmor_confines_is_told_of_until_its_profile_has_the_rule() {
        let told = |label: &str, local: &str| apparmor(label, Path::new(BASE), || local.to_owned());
        // As Ubuntu ships the file.
        let empty = "# Site-specific additions and overrides for usr.sbin.mysqld.\n# For more details, please see /etc/apparmor.d/local/README.\n";
        let said = told("/usr/sbin/mysqld (enforce)", empty).expect("an obstacle");
        assert!(
            said.contains("'/run/binlogfs/** r,' to /etc/apparmor.d/local/usr.sbin.mysqld"),
            "{said}"
        );
        for rule in [
            "/run/binlogfs/** r,",
            "  /run/binlogfs/** rk, # for recoveries",
            "allow /run/** r,",
        ] {
            let local = format!("{empty}{rule}\n");
            assert_eq!(told("/usr/sbin/mysqld (enforce)", &local), None, "{rule}");
        }
        for rule in [
            "# /run/binlogfs/** r,",
            "/run/binlogfs/ r,",
            "/run/binlogfs/** w,",
            "deny /run/binlogfs/** r,",
            "/run/binlogfs2/** r,",
            "/run/binlogfs/recover-1/** r,",
        ] {
            assert!(told("mysqld (enforce)", rule).is_some(), "{rule}");
        }
        for label in [
            "",
            "unconfined",
            "/usr/sbin/mysqld (complain)",
            "mysqld (unconfined)",
        ] {
            assert_eq!(told(label, empty), None, "{label}");
        }
    }

    #[test]
    fn rules_are_gathered_from_all_files_of_a_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(local_rules(&dir.path().join("none")), "");
        for (name, text) in [
            ("README", "# read me"),
            ("usr.sbin.mysqld", "/run/binlogfs/** r,"),
        ] {
            std::fs::write(dir.path().join(name), text).expect("writable");
        }
        assert!(allows(&local_rules(dir.path()), Path::new(BASE)));
    }

    #[test]
    fn the_label_of_apparmor_is_read_where_modules_are_stacked() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(label(dir.path()), None);
        std::fs::write(dir.path().join("current"), "unconfined\n").expect("writable");
        assert_eq!(label(dir.path()).as_deref(), Some("unconfined"));
        std::fs::create_dir(dir.path().join("apparmor")).expect("writable");
        let stacked = dir.path().join("apparmor/current");
        std::fs::write(stacked, "/usr/sbin/mysqld (enforce)\n").expect("writable");
        assert_eq!(
            label(dir.path()).as_deref(),
            Some("/usr/sbin/mysqld (enforce)")
        );
    }

    #[test]
    fn a_server_that_selinux_confines_is_told_of_unless_the_kernel_lets_it() {
        let domain = "system_u:system_r:mysqld_t:s0\0".trim_end_matches('\0');
        let said = selinux(domain, || Some(false)).expect("an obstacle");
        assert!(said.contains("semanage permissive -a mysqld_t"), "{said}");
        assert_eq!(selinux(domain, || Some(true)), None);
        // Without SELinux here, nothing is enforced.
        assert_eq!(
            selinux(
                "unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023",
                || None
            ),
            None
        );
        assert_eq!(selinux("unconfined", || Some(false)), None);
    }

    #[test]
    fn the_kernels_answer_is_what_is_let_or_that_all_is() {
        let wanted = 0x0010_0002;
        for (answer, is_let) in [
            ("100002 ffffffff 0 ffffffff 5 0", Some(true)),
            ("2 ffffffff 0 ffffffff 5 0", Some(false)),
            ("0 ffffffff 0 ffffffff 5 1\0", Some(true)),
            ("0 ffffffff 0 ffffffff 5", Some(false)),
            ("", None),
            ("no answer", None),
        ] {
            assert_eq!(answered(answer, wanted), is_let, "{answer:?}");
        }
    }
}

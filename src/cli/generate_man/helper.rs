//! `mount.binlogfs(8)`: the options are those of the one table, the exit codes those of the other.

use super::page::Page;
use crate::cli::mount::{FLAGS, FailureKind, OPTIONS};

const EXAMPLES: &str = "
s3://acme-binlogs/prod/orders  /mnt/binlogs  binlogfs  _netdev,nofail,x-systemd.automount,identity=/etc/binlogfs/key.txt  0 0
/etc/binlogfs/orders.toml      /mnt/orders   binlogfs  _netdev,nofail,x-systemd.automount  0 0
";

const FILE: &str = r#"
# /etc/binlogfs/orders.toml
url = "s3://acme-binlogs/prod/orders"
identity = "/etc/binlogfs/key.txt"
env_file = "/etc/binlogfs.env"
refresh = 10
allow_other = true
mode = "0440"
"#;

/// The page.
pub fn page(date: &str) -> Page {
    let mut page = Page::new(
        "mount.binlogfs",
        8,
        date,
        "Mounts the archived history of MySQL binary logs",
    );
    page.section("SYNOPSIS");
    page.paragraph("`mount -t binlogfs` [`-o` OPTIONS] URL|FILE DIR");
    page.paragraph("`mount.binlogfs` URL|FILE DIR [`-sfnv`] [`-o` OPTIONS] [`-N` NAMESPACE]");
    description(&mut page);
    options(&mut page);
    fstab(&mut page);
    page.section("EXIT STATUS");
    page.item(&["0"], "It is mounted, and it works.");
    for kind in FailureKind::ALL {
        page.item(&[kind.code().to_string().as_str()], kind.meaning());
    }
    page.section("FILES");
    page.item(
        &["/etc/binlogfs/"],
        "By convention: private keys (mode 0600) and configuration files of mounts.",
    );
    page.item(
        &["/var/cache/binlogfs/"],
        "The index of each stream, and what was fetched. It can be deleted while nothing is mounted.",
    );
    page.item(
        &["DIR/.status.json"],
        "How the mount is doing. It is not listed.",
    );
    page.see_also(&[
        ("binlogfs", 1),
        ("binlogfs-mount", 1),
        ("mount", 8),
        ("fstab", 5),
        ("systemd.automount", 5),
    ]);
    page
}

fn description(page: &mut Page) {
    page.section("DESCRIPTION");
    page.paragraph(
        "`mount`(8) calls it for file systems of the type binlogfs; it is `binlogfs-mount`(1) under another name. A stream, which is \
         the archived binlog history of one MySQL cluster, is shown as a read-only directory of binlogs that `mysqlbinlog` replays in \
         the order of their names. URL is `s3://bucket/prefix`, `gs://bucket/prefix` or `file:///dir`; FILE is a configuration file \
         that has it.",
    );
    page.paragraph(
        "It returns when the mount works: the directory, the credentials, the bucket, the key and the format have been checked by then. \
         What is wrong is said, and nothing is mounted. `umount`(8) ends a mount; `umount -l` takes away one whose process was killed.",
    );
}

fn options(page: &mut Page) {
    page.section("OPTIONS");
    for (flag, help) in FLAGS {
        page.item(&[flag], &format!("{}.", capitalised(help)));
    }
    page.section("MOUNT OPTIONS");
    page.paragraph(
        "Separated by commas; a comma in a value is written `\\,` and a backslash `\\\\`. Durations are seconds, or have a unit (`90s`, \
         `5m`); sizes are MiB, or have a unit (`512MiB`, `2GiB`). What `mount`(8) hands on and means nothing here (`rw`, `_netdev`, \
         `nosuid`, `relatime` and the like) is ignored; the mount is read-only, `nosuid` and `nodev` all the same. `user` and `users` \
         imply `noexec`, and a later `exec` takes it back.",
    );
    for option in OPTIONS {
        page.item(
            &[option.usage().as_str()],
            &format!("{}. Without it: {}.", option.help, option.default),
        );
    }
}

fn fstab(page: &mut Page) {
    page.section("FSTAB");
    page.literal(EXAMPLES);
    page.paragraph(
        "`_netdev` is needed: neither `mount`(8) nor systemd takes binlogfs for a network file system. With `x-systemd.automount` it is \
         mounted when somebody enters the directory, so that a store that does not answer delays no boot. Such a mount has no login: \
         credentials come from `env_file`, from root's `~/.aws/credentials` or from the host's role.",
    );
    page.section("CONFIGURATION FILE");
    page.paragraph("A URL, and any of the mount options. What is told on the command line wins.");
    page.literal(FILE);
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::mount::read_options;

    #[test]
    fn the_page_has_every_option_and_its_examples_are_right() {
        let page = page("");
        for option in OPTIONS {
            let name = option.name();
            assert!(page.text().contains(&name), "{name}");
        }
        for line in EXAMPLES.trim().lines() {
            let fields: Vec<_> = line.split_whitespace().collect();
            assert!(read_options(fields[3], false).is_ok(), "{line}");
        }
        let file: toml::Table = FILE.parse().expect("TOML");
        let known = |key: &str| key == "url" || OPTIONS.iter().any(|o| o.name() == key);
        assert!(file.keys().all(|key| known(key)), "{file:?}");
    }
}

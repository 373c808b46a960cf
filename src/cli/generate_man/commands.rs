//! Section 1: a page for binlogfs, and one for each command.

use super::page::Page;
use crate::cli::config_check::CONFIG_PATH;
use crate::cli::exit::Exit;

/// How commands are called, by the name of their page. A test reads them as the program would.
const EXAMPLES: &[(&str, &str)] = &[
    (
        "binlogfs",
        "
binlogfs keygen -o /etc/binlogfs/key.txt
binlogfs archive --once --source /var/lib/mysql --to s3://acme-binlogs/prod/orders --recipient age12ld6r2vl7jpp3mt88zstkf7jqr3drf2y3ntgxg3wr5rtjxgs5gysw2c37x
binlogfs status s3://acme-binlogs/prod/orders
binlogfs mount s3://acme-binlogs/prod/orders /mnt/binlogs --identity /etc/binlogfs/key.txt
",
    ),
    (
        "binlogfs-archive",
        "
binlogfs archive --config /etc/binlogfs.toml
binlogfs archive --once --source /var/lib/mysql --to file:///srv/binlogs/orders --recipient age12ld6r2vl7jpp3mt88zstkf7jqr3drf2y3ntgxg3wr5rtjxgs5gysw2c37x
",
    ),
    (
        "binlogfs-backup-add",
        "
binlogfs backup add s3://acme-binlogs/prod/orders --from /srv/backups/orders.sql.zst --id nightly
",
    ),
    (
        "binlogfs-cat",
        "
binlogfs cat s3://acme-binlogs/prod/orders binlog.000002 binlog.000003
binlogfs cat s3://acme-binlogs/prod/orders --to 2026-11-26T13:55:52.354Z --backup nightly
",
    ),
    (
        "binlogfs-fence",
        "
binlogfs fence s3://acme-binlogs/prod/orders --gtid 8b8ad922-e97a-11f1-9d39-02fc00000001:174 --reason db1-was-lost
binlogfs fence s3://acme-binlogs/prod/orders --end --reason db1-is-left --execute
",
    ),
    (
        "binlogfs-history",
        "
binlogfs history s3://acme-binlogs/prod/orders --ddl --from -24h
binlogfs history s3://acme-binlogs/prod/orders --table shop.orders
",
    ),
    (
        "binlogfs-import",
        "
binlogfs import /srv/old-binlogs --to s3://acme-binlogs/prod/orders --dry-run
binlogfs import s3://acme-wal-g/orders/binlog_005 --to s3://acme-binlogs/prod/orders --recipient age12ld6r2vl7jpp3mt88zstkf7jqr3drf2y3ntgxg3wr5rtjxgs5gysw2c37x
",
    ),
    (
        "binlogfs-locate",
        "
binlogfs locate s3://acme-binlogs/prod/orders --time 2026-11-26T09:20:00.5Z
binlogfs locate s3://acme-binlogs/prod/orders --gtid 8b8ad922-e97a-11f1-9d39-02fc00000001:174
",
    ),
    (
        "binlogfs-migrate",
        "
binlogfs migrate file:///srv/binlogs/orders s3://acme-binlogs/prod/orders --identity /etc/binlogfs/key.txt --follow
binlogfs migrate file:///srv/binlogs/orders s3://acme-binlogs/prod/orders --identity /etc/binlogfs/key.txt --cut-over
binlogfs migrate s3://acme-binlogs/prod/orders s3://acme-archive/orders --identity /root/old.key --recipient age12ld6r2vl7jpp3mt88zstkf7jqr3drf2y3ntgxg3wr5rtjxgs5gysw2c37x --level 9
",
    ),
    (
        "binlogfs-mount",
        "
binlogfs mount s3://acme-binlogs/prod/orders /mnt/binlogs --identity /etc/binlogfs/key.txt
binlogfs mount --check /etc/binlogfs/orders.toml /mnt/orders
",
    ),
    (
        "binlogfs-plan",
        "
binlogfs plan s3://acme-binlogs/prod/orders --to 2026-11-26T13:55:52.354Z --backup nightly
",
    ),
    (
        "binlogfs-prune",
        "
binlogfs prune s3://acme-binlogs/prod/orders --keep 35d
binlogfs prune s3://acme-binlogs/prod/orders --keep 35d --execute
binlogfs prune s3://acme-binlogs/prod/orders --superseded --execute
",
    ),
    (
        "binlogfs-recover",
        "
binlogfs recover s3://acme-binlogs/prod/orders --before-gtid a93e0f39-e9c6-11f1-ac82-02fc00000001:904 --backup nightly --target mysql://root@localhost/
binlogfs recover s3://acme-binlogs/prod/orders --before-gtid a93e0f39-e9c6-11f1-ac82-02fc00000001:904 --backup nightly --target mysql://root@localhost/ --execute
",
    ),
    (
        "binlogfs-rekey",
        "
binlogfs rekey s3://acme-binlogs/prod/orders --identity /root/old.key --recipient age12ld6r2vl7jpp3mt88zstkf7jqr3drf2y3ntgxg3wr5rtjxgs5gysw2c37x --dry-run
binlogfs rekey s3://acme-binlogs/prod/orders --identity /root/old.key --recipient age12ld6r2vl7jpp3mt88zstkf7jqr3drf2y3ntgxg3wr5rtjxgs5gysw2c37x
binlogfs rekey s3://acme-binlogs/prod/orders --identity /root/old.key --recipient age12ld6r2vl7jpp3mt88zstkf7jqr3drf2y3ntgxg3wr5rtjxgs5gysw2c37x --rewrite
",
    ),
    (
        "binlogfs-replicate",
        "
binlogfs replicate s3://acme-binlogs/prod/orders --to gs://acme-binlogs-copy/prod/orders
binlogfs replicate s3://acme-binlogs/prod/orders --to gs://acme-binlogs-copy/prod/orders --check --replace
",
    ),
    (
        "binlogfs-retain",
        "
binlogfs retain s3://acme-binlogs/prod/orders --for 35d --execute
",
    ),
    (
        "binlogfs-verify",
        "
binlogfs verify --deep --orphans s3://acme-binlogs/prod/orders --identity /etc/binlogfs/key.txt
binlogfs verify --deep --budget 50GiB --rate 50MB --json s3://acme-binlogs/prod/orders --identity /etc/binlogfs/key.txt
binlogfs verify --repair s3://acme-binlogs/prod/orders --replica gs://acme-binlogs-copy/prod/orders
",
    ),
];

/// What is read from the environment, beside what the SDKs of the stores read.
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "BINLOGFS_IDENTITY",
        "Files with private keys, separated by commas; `--identity` comes before it.",
    ),
    (
        "BINLOGFS_MYSQL_USER, BINLOGFS_MYSQL_PASSWORD",
        "The account with which a server is asked, where neither its DSN nor an option file has it.",
    ),
    (
        "BINLOGFS_WEBHOOK",
        "The URL that the archiver posts alarms to, where the configuration names no file with it.",
    ),
    (
        "BINLOGFS_LOG",
        "What is logged, such as `warn,binlogfs=debug`; it comes before `--verbose`.",
    ),
    (
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL_S3",
        "Credentials, region and endpoint of S3, as every SDK reads them; and all others that those read.",
    ),
    (
        "GOOGLE_APPLICATION_CREDENTIALS",
        "A file with credentials of Google Cloud Storage.",
    ),
    (
        "SSL_CERT_FILE",
        "Certificates of authorities that are trusted, instead of the system's.",
    ),
];

const FILES: &[(&str, &str)] = &[
    (
        CONFIG_PATH,
        "The configuration of the archiver: `binlogfs.toml`(5).",
    ),
    (
        "/etc/binlogfs.env",
        "Secrets for the units of systemd, one NAME=value a line. Mode 0600.",
    ),
    (
        "/etc/binlogfs/",
        "By convention: private keys, option files, configuration files of mounts.",
    ),
    (
        "/var/lib/binlogfs/",
        "The state of archivers that run as root or by systemd. If it is lost, it is rebuilt from the store.",
    ),
    (
        "/var/cache/binlogfs/",
        "What readers that run as root keep. It can be deleted while nothing is mounted.",
    ),
    (
        "/usr/share/doc/binlogfs/",
        "The documentation; examples of the configuration and of units for mounts.",
    ),
];

/// The pages.
pub fn pages(date: &str) -> Vec<Page> {
    let mut root = crate::cli::offered().disable_help_subcommand(true);
    root.build();
    let mut pages = Vec::new();
    add(&root, date, &mut pages);
    pages
}

fn add(command: &clap::Command, date: &str, pages: &mut Vec<Page>) {
    pages.push(page(command, date));
    for below in command.get_subcommands() {
        add(below, date, pages);
    }
}

fn name_of(command: &clap::Command) -> &str {
    command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
}

fn page(command: &clap::Command, date: &str) -> Page {
    let name = name_of(command);
    let is_root = name == "binlogfs";
    let text = |text: Option<&clap::builder::StyledStr>| text.map(ToString::to_string);
    let about = text(command.get_about()).unwrap_or_default();
    let mut page = Page::new(name, 1, date, &about);
    page.section("SYNOPSIS");
    let usage = command.clone().render_usage().to_string();
    for usage in usage.trim_start_matches("Usage:").trim().lines() {
        page.paragraph(&usage_of(command, usage.trim()));
    }
    page.section("DESCRIPTION");
    let long = text(command.get_long_about()).unwrap_or(about);
    for paragraph in long.split("\n\n") {
        page.paragraph(&format!("{}.", paragraph.trim_end_matches('.')));
    }
    if is_root {
        streams(&mut page);
    }
    rendered(&mut page, command);
    if let Some((_, examples)) = EXAMPLES.iter().find(|(of, _)| *of == name) {
        page.section("EXAMPLES");
        page.literal(examples);
    }
    page.section("EXIT STATUS");
    for exit in Exit::ALL {
        page.item(&[exit.code().to_string().as_str()], exit.meaning());
    }
    if is_root {
        surroundings(&mut page);
    }
    page.see_also(related(name));
    page
}

/// What clap_mangen makes of the options, and of the commands below.
fn rendered(page: &mut Page, command: &clap::Command) {
    let man = clap_mangen::Man::new(command.clone());
    let mut roff = Vec::new();
    man.render_options_section(&mut roff)
        .expect("memory can be written");
    if command.has_subcommands() {
        man.render_subcommands_section(&mut roff)
            .expect("memory can be written");
    }
    page.rendered(&String::from_utf8_lossy(&roff));
}

/// A line of usage, the command bold.
fn usage_of(command: &clap::Command, usage: &str) -> String {
    let called = command.get_bin_name().unwrap_or_else(|| command.get_name());
    match usage.strip_prefix(called) {
        Some(rest) => format!("`{called}`{rest}"),
        None => usage.to_owned(),
    }
}

fn streams(page: &mut Page) {
    page.paragraph(
        "A stream is the binlog history of one MySQL cluster, and is named by its URL: `s3://bucket/prefix`, `gs://bucket/prefix` or \
         `file:///dir`. After a `?` may follow `endpoint=`, and for S3 `region=`, `path_style=true`, `profile=`, `storage_class=`, \
         `sse=aws:kms`, `sse_kms_key=` and `requester_pays=true`. Credentials are no part of it: they come from where every SDK looks.",
    );
    page.paragraph(
        "Results are on standard output, everything else on standard error. Times are RFC 3339; one without a zone is read as UTC, and \
         refused where a recovery depends on it; `-15m` counts from now.",
    );
}

fn surroundings(page: &mut Page) {
    for (title, items) in [("ENVIRONMENT", ENVIRONMENT), ("FILES", FILES)] {
        page.section(title);
        for (name, text) in items {
            let names: Vec<_> = name.split(", ").collect();
            page.item(&names, text);
        }
    }
}

fn related(name: &str) -> &'static [(&'static str, u8)] {
    match name {
        "binlogfs" => &[
            ("mount.binlogfs", 8),
            ("binlogfs.toml", 5),
            ("mysqlbinlog", 1),
        ],
        "binlogfs-archive" => &[("binlogfs", 1), ("binlogfs.toml", 5)],
        "binlogfs-mount" => &[("binlogfs", 1), ("mount.binlogfs", 8), ("fusermount3", 1)],
        name if name.starts_with("binlogfs-config") => &[("binlogfs", 1), ("binlogfs.toml", 5)],
        _ => &[("binlogfs", 1)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_read_by_the_program_and_belong_to_a_page() {
        let names: Vec<_> = pages("").iter().map(Page::file_name).collect();
        for (name, examples) in EXAMPLES {
            assert!(names.contains(&format!("{name}.1")), "{name}");
            for line in examples.trim().lines() {
                let command = crate::cli::offered().try_get_matches_from(line.split(' '));
                command.unwrap_or_else(|e| panic!("{line}: {e}"));
            }
        }
    }

    #[test]
    fn a_page_has_the_options_of_its_command_and_those_of_every_command() {
        let pages = pages("");
        let page = pages
            .iter()
            .find(|page| page.file_name() == "binlogfs-archive.1");
        let text = page.expect("there").text();
        for part in [
            "\\fBbinlogfs archive\\fR",
            "\\-\\-source",
            "\\-\\-identity",
            "BINLOGFS_IDENTITY",
            "OPTIONS OF EVERY COMMAND",
            "binlogfs.toml\\fR(5)",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

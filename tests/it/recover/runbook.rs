//! The runbook of the README, line by line.

use super::{clients, target};
use crate::archive::Archive;
use crate::backup;
use crate::mysql::Server;
use crate::tools;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Where the runbook begins in the README.
const HEADING: &str = "### The bad night";

/// The shell lines of the runbook, without those that say what is where.
fn runbook() -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = fs::read_to_string(readme).expect("there is a README");
    let (_, after) = readme.split_once(HEADING).expect("it has a runbook");
    let (_, block) = after.split_once("```bash\n").expect("of shell");
    let (block, _) = block.split_once("\n```").expect("that ends");
    let lines: Vec<String> = block.lines().map(str::to_owned).collect();
    let is_place = |line: &String| {
        let name = line.trim_start_matches("export ").split('=').next();
        name.is_some_and(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
    };
    let work: Vec<String> = lines.into_iter().filter(|line| !is_place(line)).collect();
    assert!(work.len() >= 5, "{work:#?}");
    work
}

/// A directory with `binlogfs` and clients that reach `target`, as a shell finds them.
fn programs(archive: &Archive, target: &Server) -> std::path::PathBuf {
    let (dir, of_version) = (archive.path("bin"), clients(archive));
    // What a store on a server of the test's own needs to be known.
    let ours = tools::binlogfs();
    let environment: String = ours
        .get_envs()
        .filter_map(|(name, value)| Some((name.to_str()?, value?.to_str()?)))
        .map(|(name, value)| format!("{name}='{value}' "))
        .collect();
    fs::create_dir(&dir).expect("writable");
    let socket = target.socket();
    for (name, text) in [
        (
            "binlogfs",
            format!(
                "exec env {environment}'{}' --cache-dir '{}' --state-dir '{}' \"$@\"",
                ours.get_program().to_str().expect("text"),
                archive.path("cache").display(),
                archive.path("recovery-state").display()
            ),
        ),
        (
            "mysqlbinlog",
            format!("exec '{}' \"$@\"", of_version.join("mysqlbinlog").display()),
        ),
        (
            "mysql",
            format!(
                "case \"$1\" in --no-defaults) ;; *) set -- --no-defaults --user=root --socket='{}' \"$@\" ;; esac\nexec '{}' \"$@\"",
                socket.display(),
                of_version.join("mysql").display()
            ),
        ),
    ] {
        tools::write_program(&dir.join(name), &format!("#!/bin/sh\n{text}\n"));
    }
    dir
}

#[test]
fn the_runbook_of_the_readme_brings_the_table_back() {
    let archive = Archive::encrypted();
    let source = Server::new();
    source.sql(
        "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, v INT)",
    );
    source.sql(&"INSERT INTO shop.orders (v) VALUES (1); ".repeat(20));
    let dump = archive.path("nightly.sql");
    source.dump(&[], &dump);
    source.sql(&"INSERT INTO shop.orders (v) VALUES (2); ".repeat(30));
    let wanted = source.sql("CHECKSUM TABLE shop.orders EXTENDED");
    source.sql("DROP TABLE shop.orders");
    let bad = source.sql_value("SELECT @@GLOBAL.gtid_executed");
    let bad = format!(
        "{}:{}",
        source.uuid(),
        bad.rsplit('-').next().expect("a number")
    );
    source.sql("CREATE TABLE shop.later (id INT)");
    source.flush_logs();
    archive.archive(&source.index_file());
    backup::add(&archive, &dump, "nightly", 0);

    let target = target();
    let bin = programs(&archive, &target);
    let script = format!(
        "set -euo pipefail\nA='{}'\nT='mysql://root@localhost/?socket={}'\nBACKUP=nightly\nDUMP='{}'\nBAD={bad}\n{}\n",
        archive.url(),
        target.socket().display(),
        dump.display(),
        runbook().join("\n")
    );
    let path = std::env::var("PATH").expect("there is one");
    let said = tools::run_text(
        Command::new("bash")
            .args(["-c", &script])
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("BINLOGFS_IDENTITY", archive.key()),
    );
    assert!(said.contains("DROP TABLE") && said.contains(&bad), "{said}");
    assert!(said.contains("recovered: "), "{said}");
    assert_eq!(target.sql("CHECKSUM TABLE shop.orders EXTENDED"), wanted);
    assert_eq!(target.sql("SHOW TABLES FROM shop").concat(), ["orders"]);
}

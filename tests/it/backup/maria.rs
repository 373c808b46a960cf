//! Backups of a real MariaDB: mariadb-backup, mydumper and mariadb-dump.

use super::{add, backup, mydumper};
use crate::archive::Archive;
use crate::mariadb::server::MariaDb;
use crate::tools;
use std::path::Path;
use std::process::Command;

fn client(program: &str, server: &MariaDb) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--no-defaults", "--user=root"])
        .arg(format!("--socket={}", server.socket().display()));
    command
}

fn dump(server: &MariaDb, more: &[&str], file: &Path) {
    let mut command = client("mariadb-dump", server);
    command
        .args(["--single-transaction", "--master-data=2", "--all-databases"])
        .args(more)
        .arg(format!("--result-file={}", file.display()));
    tools::run(&mut command);
}

#[test]
fn each_of_mariadbs_tools_tells_its_place_in_the_history() {
    let archive = Archive::plain();
    let server = MariaDb::start(&[]);
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)");
    let insert = "INSERT INTO d.t (v) VALUES (1); ";
    server.sql(&insert.repeat(5));
    server.sql(&format!("SET gtid_domain_id = 3; {}", insert.repeat(4)));
    let physical = archive.path("physical");
    let mut command = client("mariadb-backup", &server);
    // Its first argument counts; options of files come right after the program's name.
    command
        .arg("--backup")
        .arg(format!("--datadir={}", server.datadir().display()))
        .arg(format!("--target-dir={}", physical.display()));
    tools::run(&mut command);
    let logical = archive.path("logical");
    mydumper(server.socket().as_ref(), &logical);
    let (by_gtid, by_place) = (archive.path("gtid.sql"), archive.path("place.sql"));
    dump(&server, &["--gtid"], &by_gtid);
    dump(&server, &[], &by_place);
    let at = server.sql("SHOW MASTER STATUS");
    let position = at[0].split('\t').take(2).collect::<Vec<_>>().join(":");
    let mut gtids: Vec<String> = server
        .sql_value("SELECT @@gtid_binlog_pos")
        .split(',')
        .map(str::to_owned)
        .collect();
    gtids.sort();
    server.sql(&insert.repeat(6));
    server.sql("FLUSH BINARY LOGS");
    archive.archive(&server.datadir().join("binlog.index"));

    let mut earliest = Vec::new();
    for (path, tool) in [
        (&physical, "mariadb_backup"),
        (&logical, "mydumper"),
        (&by_gtid, "mariadb_dump"),
        (&by_place, "mariadb_dump"),
    ] {
        let id = path.file_name().and_then(|n| n.to_str()).expect("text");
        let added = add(&archive, path, id, 0);
        assert_eq!(added["tool"], tool, "{added:#}");
        assert_eq!(added["position"], position.as_str(), "{added:#}");
        assert_eq!(added["gtids"], gtids.join(","), "{added:#}");
        assert_eq!(added["verdict"]["state"], "usable", "{added:#}");
        assert_eq!(added["verdict"]["earliest_is_exact"], true, "{added:#}");
        earliest.push(added["verdict"]["earliest"].clone());
    }
    // All of the same moment: nothing was written between them.
    assert!(
        earliest.iter().all(|time| *time == earliest[0]),
        "{earliest:?}"
    );
    backup(&archive, "check", &[], 0);
}

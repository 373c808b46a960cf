//! A stream of one flavour and a server of the other.

use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use std::fs;
use std::path::Path;

#[test]
fn neither_flavour_joins_a_stream_of_the_other_and_both_are_named() {
    let joins = |first: &Path, second: &Path, says: &str| {
        let archive = Archive::plain();
        archive.archive(first);
        let before = (archive.keys("ledger"), archive.keys("segments"));
        let mut command = archive.archive_command(second);
        // Whoever says that the server belongs here is not believed either.
        tools::refused(command.args(["--accept-server", "none"]), 1, &[says]);
        let after = (archive.keys("ledger"), archive.keys("segments"));
        assert_eq!(after, before, "nothing was added");
    };
    let mariadb = super::corpus::snapshot("row").dir;
    let mysql = crate::corpus::snapshot("row").dir;
    joins(&mysql, &mariadb, "MariaDB's and this stream is MySQL's");
    joins(&mariadb, &mysql, "MySQL's and this stream is MariaDB's");
}

#[test]
fn a_server_that_was_exchanged_for_the_other_flavour_is_refused_though_its_numbers_go_on() {
    let archive = Archive::plain();
    let mut mysql = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..2).for_each(|_| mysql.rotate(2, 100));
    for archived_before in [false, true] {
        if archived_before {
            archive.archive(mysql.dir());
        }
        let index = fs::read_to_string(mysql.index_file()).expect("readable");
        let mut both = index.clone();
        for (n, file) in super::corpus::snapshot("domains")
            .files()
            .iter()
            .enumerate()
        {
            let name = format!("binlog.{:06}", 4 + n);
            fs::copy(file, archive.data().join(&name)).expect("writable");
            both.push_str(&format!("./{name}\n"));
        }
        fs::write(mysql.index_file(), &both).expect("writable");
        let says = "binlog.000004 is MariaDB's and this stream is MySQL's";
        tools::refused(&mut archive.archive_command(mysql.dir()), 1, &[says]);
        let archived = if archived_before { 2 } else { 0 };
        assert_eq!(archive.keys("ledger").len(), archived, "nothing was added");
        let begun = archive.bucket().join("stream.json").exists();
        assert_eq!(begun, archived_before, "no stream was begun");
        fs::write(mysql.index_file(), index).expect("writable");
    }
}

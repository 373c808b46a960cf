//! What cannot be archived or read is refused: by name, with the reason, with the right exit code, and nothing is written.

use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::{corpus, tools};
use binlogfs::binlog::testing::BinlogBuilder;
use binlogfs::binlog::{ChecksumAlgorithm, Flavour};
use std::fs;
use std::path::Path;

/// Archives `source`; it must fail with `code`, say all of `says`, and leave no bucket behind.
fn refused(archive: &Archive, source: &Path, code: i32, says: &[&str]) {
    tools::refused(&mut archive.archive_command(source), code, says);
    assert!(!archive.bucket().exists(), "something was written");
}

/// A data directory whose second file has `bytes`.
fn with_second_file(bytes: &[u8], says: &[&str]) {
    let archive = Archive::plain();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(1, 100);
    server.rotate(1, 100);
    fs::write(archive.data().join("binlog.000002"), bytes).expect("writable");
    let says: Vec<&str> = ["binlog.000002"].iter().chain(says).copied().collect();
    refused(&archive, server.dir(), 1, &says);
}

/// A server that has encrypted its second file, its last closed one, or the active one: what is before it is archived, and no more.
fn encrypted_from(bytes: &[u8], says: &[&str]) {
    for (number, archived) in [(2, 1), (3, 2), (4, 3)] {
        let archive = Archive::plain();
        let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
        (0..3).for_each(|_| server.rotate(1, 100));
        let name = format!("binlog.{number:06}");
        fs::write(archive.data().join(&name), bytes).expect("writable");
        let says: Vec<&str> = [name.as_str()].iter().chain(says).copied().collect();
        for _ in 0..2 {
            tools::refused(&mut archive.archive_command(server.dir()), 1, &says);
            assert_eq!(archive.keys("ledger").len(), archived, "before {name}");
            assert_eq!(archive.keys("segments").len(), archived, "before {name}");
        }
    }
}

/// The first bytes of a file that MySQL has encrypted.
const ENCRYPTED: &[u8] = b"\xfdbin\x01\x01\x00\x00\x00\x00\x00\x00";

#[test]
fn a_binlog_encrypted_by_the_server_is_refused_and_what_is_before_it_is_archived() {
    encrypted_from(ENCRYPTED, &["encrypted", "binlog_encryption"]);
}

#[test]
fn a_binlog_encrypted_by_mariadb_or_percona_is_refused_and_what_is_before_it_is_archived() {
    let mut builder = BinlogBuilder::mariadb();
    builder.event(164, 0, &[1; 17]);
    encrypted_from(&builder.finish(), &["encrypt"]);
}

#[test]
fn a_server_that_has_encrypted_all_its_binlogs_begins_no_stream() {
    let archive = Archive::plain();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(1, 100);
    fs::write(&server.closed()[0], ENCRYPTED).expect("writable");
    refused(&archive, server.dir(), 1, &["binlog.000001", "encrypted"]);
}

#[test]
fn of_another_server_nothing_is_placed_while_what_it_has_executed_is_encrypted() {
    let archive = Archive::plain();
    let mut first = SyntheticServer::new(&archive.data(), 1, "binlog");
    first.rotate(2, 100);
    let before = first.executed().clone();
    first.rotate(2, 100);
    archive.archive(first.dir());
    let dir = archive.path("second");
    fs::create_dir(&dir).expect("writable");
    // It may have the rest of the history in its active file, and then leaves no timeline.
    let mut second = SyntheticServer::starting_at(&dir, 2, "binlog", 1, before);
    second.rotate(1, 100);
    fs::write(dir.join("binlog.000002"), ENCRYPTED).expect("writable");
    let says = [
        "binlog.000002",
        "what this server has executed cannot be told",
    ];
    tools::refused(&mut archive.archive_command(&dir), 1, &says);
    assert_eq!(archive.keys("ledger").len(), 2, "nothing was added");
}

#[test]
fn a_relay_log_is_refused() {
    let mut builder = BinlogBuilder::mysql();
    builder.event(4, 0x40, b"\x04\0\0\0\0\0\0\0binlog.000001");
    let mut bytes = builder.finish();
    // LOG_EVENT_RELAY_LOG_F in the format description; its checksum follows.
    bytes[4 + 17] |= 0x40;
    let end = u32::from_le_bytes(bytes[13..17].try_into().expect("four bytes")) as usize + 4;
    let crc = crc32fast::hash(&bytes[4..end - 4]);
    bytes[end - 4..end].copy_from_slice(&crc.to_le_bytes());
    with_second_file(&bytes, &["relay log"]);
}

#[test]
fn a_text_file_is_refused() {
    with_second_file(b"SET GLOBAL everything = 'lost';\n", &["not a"]);
}

#[test]
fn a_file_of_mysql_4_is_refused() {
    // START_EVENT_V3: header, version 3, server version, created.
    let mut event = Vec::new();
    event.extend_from_slice(&1_000_000_000_u32.to_le_bytes());
    event.push(1);
    event.extend_from_slice(&1_u32.to_le_bytes());
    event.extend_from_slice(&75_u32.to_le_bytes());
    event.extend_from_slice(&79_u32.to_le_bytes());
    event.extend_from_slice(&[0, 0]);
    event.extend_from_slice(&3_u16.to_le_bytes());
    event.extend_from_slice(&[0; 54]);
    with_second_file(&[b"\xfebin".to_vec(), event].concat(), &["version"]);
}

#[test]
fn an_empty_index_file_and_a_binlog_given_as_source_are_refused() {
    let archive = Archive::plain();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(1, 100);
    let empty = archive.path("empty.index");
    fs::write(&empty, b"").expect("writable");
    refused(&archive, &empty, 1, &["empty.index", "is empty"]);
    refused(
        &archive,
        &archive.data().join("binlog.000001"),
        1,
        &["binlog.000001", "is a binlog, not"],
    );
}

#[test]
fn a_directory_that_is_none_or_cannot_be_read_is_refused() {
    let archive = Archive::plain();
    refused(
        &archive,
        &archive.path("nowhere"),
        1,
        &["nowhere", "check the path"],
    );
    refused(
        &archive,
        &archive.data(),
        1,
        &["no binlog index file", "--source"],
    );
    // As a user without rights: root may read everything.
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(1, 100);
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(archive.path("."), fs::Permissions::from_mode(0o755)).expect("ours");
    fs::set_permissions(archive.data(), fs::Permissions::from_mode(0o700)).expect("ours");
    let program = archive.path("binlogfs");
    fs::copy(tools::binlogfs().get_program(), &program).expect("copied");
    let mut command = std::process::Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program);
    command
        .args([
            "archive",
            "--once",
            "--to",
            &archive.url(),
            "--state-dir",
            "/tmp/never",
            "--source",
        ])
        .arg(archive.data());
    let says = ["ermission denied", "data", "run as a user"];
    tools::refused(&mut command, 1, &says);
}

#[test]
fn a_listed_file_that_is_missing_stops_everything() {
    let archive = Archive::plain();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(1, 100);
    server.rotate(1, 100);
    fs::remove_file(archive.data().join("binlog.000001")).expect("removable");
    refused(
        &archive,
        server.dir(),
        1,
        &["binlog.000001", "listed in", "does not exist"],
    );
}

#[test]
fn wrong_words_on_the_command_line_are_wrong_usage() {
    let archive = Archive::plain();
    let usage = |arguments: &[&str], says: &str| {
        tools::refused(tools::binlogfs().args(arguments), 2, &[says]);
    };
    let data = archive.data();
    let source = data.to_str().expect("text");
    usage(
        &[
            "archive",
            "--once",
            "--source",
            source,
            "--to",
            "ftp://host/dir",
        ],
        "unknown scheme",
    );
    usage(
        &[
            "archive",
            "--once",
            "--source",
            source,
            "--to",
            &archive.url(),
            "--recipient",
            "age1nonsense",
        ],
        "age1nonsense",
    );
    usage(&["ls", "relative/dir"], "no scheme");
    usage(&["mount", "file:///x"], "<DIR>");
    usage(&["frobnicate"], "frobnicate");
    usage(&["archive", "--source", source], "--to");
    usage(
        &["archive", "--config", "/x", "--to", &archive.url()],
        "cannot be used with",
    );
}

#[test]
fn a_wrong_a_missing_and_a_broken_identity_are_told_apart() {
    let archive = Archive::encrypted();
    archive.archive(&corpus::snapshot("row").dir);
    let other = archive.path("other.txt");
    tools::run(tools::binlogfs().arg("keygen").arg("-o").arg(&other));
    let broken = archive.path("broken.txt");
    fs::write(&broken, "AGE-SECRET-KEY-1NOTAKEY\n").expect("writable");
    let cache = archive.path("cache");
    let cat = |identity: Option<&Path>, says: &[&str]| {
        let mut command = tools::binlogfs();
        command
            .args(["cat", &archive.url()])
            .arg("--cache-dir")
            .arg(&cache);
        if let Some(path) = identity {
            command.arg("--identity").arg(path);
        }
        let output = tools::output(&mut command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(output.stdout.is_empty(), "nothing goes out");
        for words in says {
            assert!(said.contains(words), "{words:?} is not in: {said}");
        }
        assert!(
            !said.contains("NOTAKEY"),
            "a secret, even a broken one, is not printed: {said}"
        );
    };
    cat(None, &["--identity"]);
    cat(Some(&other), &["binlog.000001"]);
    cat(Some(&broken), &["broken.txt", "line 1"]);
    cat(Some(&archive.path("nowhere.txt")), &["nowhere.txt"]);
    // A key is never overwritten.
    let again = tools::output(tools::binlogfs().arg("keygen").arg("-o").arg(&other));
    assert_eq!(again.status.code(), Some(1));
}

#[test]
fn a_url_with_a_secret_in_it_is_refused_without_repeating_it() {
    for url in [
        "s3://bucket/p?secret_key=XYZ",
        "s3://key:XYZ@bucket/p",
        "s3://bucket/p?endpoint=http://key:XYZ@host",
        "file:///d?password=XYZ",
    ] {
        let said = tools::refused(tools::binlogfs().args(["ls", url]), 2, &["store URL"]);
        assert!(!said.contains("XYZ"), "{said}");
    }
}

#[test]
fn a_mariadb_server_cannot_join_a_mysql_stream_nor_a_foreign_server_any() {
    let archive = Archive::plain();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 100);
    archive.archive(server.dir());
    let ledger = archive.keys("ledger");

    let foreign_dir = archive.path("foreign");
    fs::create_dir(&foreign_dir).expect("writable");
    let mut foreign = SyntheticServer::new(&foreign_dir, 2, "binlog");
    foreign.rotate(2, 100);
    let says = ["shares no history", "--accept-server"];
    tools::refused(&mut archive.archive_command(&foreign_dir), 1, &says);

    let maria_dir = archive.path("maria");
    fs::create_dir(&maria_dir).expect("writable");
    let mut builder = BinlogBuilder::new(
        Flavour::MariaDb,
        "10.11.14-MariaDB-log",
        ChecksumAlgorithm::Crc32,
        1_700_000_000,
    );
    builder.rotate("binlog.000002");
    fs::write(maria_dir.join("binlog.000001"), builder.finish()).expect("writable");
    fs::write(
        maria_dir.join("binlog.000002"),
        BinlogBuilder::mariadb().finish(),
    )
    .expect("writable");
    fs::write(
        maria_dir.join("binlog.index"),
        "./binlog.000001\n./binlog.000002\n",
    )
    .expect("writable");
    let says = ["MariaDB's and this stream is MySQL's"];
    tools::refused(&mut archive.archive_command(&maria_dir), 1, &says);

    assert_eq!(archive.keys("ledger"), ledger, "no record was added");
    assert_eq!(archive.keys("segments").len(), 1, "no object was left");
}

#[test]
fn a_forgotten_recipient_puts_no_plaintext_into_an_encrypted_stream() {
    let archive = Archive::encrypted();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(1, 100);
    archive.archive(server.dir());
    server.rotate(1, 100);
    let without = || {
        let mut command = tools::binlogfs();
        command.args(["archive", "--once", "--to", &archive.url(), "--state-dir"]);
        command
            .arg(archive.path("state"))
            .arg("--source")
            .arg(server.dir());
        command
    };
    tools::refused(&mut without(), 1, &["--recipient", "--allow-unencrypted"]);
    assert_eq!(archive.keys("segments").len(), 1, "nothing was written");
    tools::run(without().arg("--allow-unencrypted"));
    assert_eq!(archive.keys("segments").len(), 2);
}

#[test]
fn a_binlog_inside_innodb_is_refused() {
    let archive = Archive::plain();
    let index = archive.data().join("binlog.index");
    fs::write(archive.data().join("binlog-000000.ibb"), [0; 16384]).expect("writable");
    fs::write(&index, "./binlog-000000.ibb\n./binlog-000001.ibb\n").expect("writable");
    refused(
        &archive,
        &index,
        1,
        &["binlog-000000.ibb", "InnoDB", "line 1"],
    );
}

#[test]
fn a_replica_that_would_have_no_effect_is_refused_and_nothing_is_written() {
    let archive = Archive::plain();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(1, 100);
    let replica = format!("file://{}", archive.path("copy").display());
    let data = archive.data();
    let url = archive.url();
    let import = ["import", data.to_str().expect("text"), "--to", &url];
    for more in [&[][..], &["--dry-run"]] {
        let mut command =
            archive.command(&[&import[..], more, &["--replica", replica.as_str()]].concat());
        let says = ["--replica has no effect", "binlogfs replicate"];
        tools::refused(&mut command, 1, &says);
    }
    assert!(archive.keys("ledger").is_empty(), "nothing was imported");

    archive.archive(server.dir());
    let to = format!("file://{}", archive.path("moved").display());
    let migrate = ["migrate", &url, &to];
    for more in [&[][..], &["--dry-run"], &["--cut-over"]] {
        let mut command =
            archive.command(&[&migrate[..], more, &["--replica", replica.as_str()]].concat());
        let says = ["--replica has no effect", "verify --repair"];
        tools::refused(&mut command, 1, &says);
    }
    assert!(!archive.path("moved").exists(), "nothing was copied");
    assert_eq!(archive.keys("ledger").len(), 1, "the stream is open");
}

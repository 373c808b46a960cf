//! Damaged files and objects: recovered up to the damage, and never over it.

use super::state::{State, executed, gtids};
use super::{ENGINES, Recovery, target, text};
use crate::archive::Archive;
use crate::mysql::Server;
use crate::tools;
use std::fs;

/// A server with three closed files of some frames each.
fn source() -> Server {
    let source = Server::new();
    source
        .sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB)");
    // 32 KB that do not compress, in a hundred transactions: a file of 3 MiB.
    let row = vec!["RANDOM_BYTES(1024)"; 32].join(", ");
    let insert = format!("INSERT INTO d.t (v) VALUES (CONCAT({row})); ");
    for _ in 0..3 {
        source.sql(&insert.repeat(100));
        source.flush_logs();
    }
    source
}

#[test]
fn a_file_that_was_damaged_on_the_source_is_recovered_up_to_its_damage() {
    let archive = Archive::encrypted();
    let source = source();
    let path = &source.binlogs()[1];
    let mut bytes = fs::read(path).expect("readable");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("writable");
    let output = tools::output(&mut archive.archive_command(&source.index_file()));
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let planned = archive.json("plan", &["--to-end"], 4);
    let last = text(&planned["before"], "gtid").to_owned();
    for engine in ENGINES {
        let target = target();
        let recovery = Recovery::onto(&archive, &target);
        let route = ["--to-end", "--engine", engine];
        let refusal = recovery.leaves_alone(&target, &route, "missing");
        assert!(text(&refusal, "reason").contains("damaged"), "{refusal:#}");
        recovery.run_by(engine, &["--after-gtid", &last]);
        let rows = target.sql_value("SELECT COUNT(*) FROM d.t");
        let rows: u64 = rows.parse().expect("a number");
        assert!((101..200).contains(&rows), "{engine}: {rows} rows");
        let same = format!(
            "SELECT SHA2(GROUP_CONCAT(SHA2(v, 256) ORDER BY id), 256) FROM d.t WHERE id <= {rows}"
        );
        let sized = format!("SET SESSION group_concat_max_len = 1000000; {same}");
        assert_eq!(target.sql(&sized), source.sql(&sized), "{engine}");
        assert_eq!(recovery.left_behind(&target), [""; 0], "{engine}");
    }
}

#[test]
fn an_object_that_was_damaged_in_the_store_ends_the_run_and_no_wrong_byte_is_applied() {
    let archive = Archive::encrypted();
    let source = source();
    archive.archive(&source.index_file());
    let truth = State::of(&source);
    let object = text(&archive.ls(&[])[1], "object").to_owned();
    let object = archive.bucket().join(object);
    let whole = fs::read(&object).expect("readable");
    let mut bytes = whole.clone();
    let at = bytes.len() / 2;
    bytes[at] ^= 0x04;
    for engine in ENGINES {
        fs::write(&object, &bytes).expect("writable");
        let target = target();
        let recovery = Recovery::onto(&archive, &target);
        let route = ["--to-end", "--engine", engine];
        let (code, said) = recovery.spawn(&route).end();
        assert_eq!(code, Some(1), "{engine}: {said}");
        // An applier tells the file as its own relay log.
        let named = engine == "parallel" || said.contains("binlog.000002");
        assert!(named, "{engine}: {said}");
        let held = executed(&target);
        let prefix = gtids(&held).into_hull();
        assert_eq!(prefix, gtids(&held), "{engine}: nothing is left out");
        assert!(held != truth.executed, "{engine}");
        assert_eq!(recovery.left_behind(&target), [""; 0], "{engine}");
        // Whole again, it is gone on with.
        fs::write(&object, &whole).expect("writable");
        recovery.run_by(engine, &["--to-end"]);
        assert_eq!(State::of(&target), truth, "{engine}");
        assert_eq!(recovery.left_behind(&target), [""; 0], "{engine}");
        // A mount that is going away may still write there.
        let cache = archive.path("cache");
        tools::eventually("nothing of it is kept", || {
            let _ = fs::remove_dir_all(&cache);
            !cache.exists()
        });
    }
}

#[test]
fn what_is_damaged_in_the_store_comes_from_a_replica_by_both_engines() {
    let archive = Archive::encrypted();
    let source = source();
    archive.archive(&source.index_file());
    let truth = State::of(&source);
    let (url, copy) = (archive.url(), archive.path("copy"));
    let copy = format!("file://{}", copy.display());
    tools::run(&mut archive.command(&["replicate", &url, "--to", &copy]));
    let object = text(&archive.ls(&[])[1], "object").to_owned();
    let object = archive.bucket().join(object);
    let mut bytes = fs::read(&object).expect("readable");
    let at = bytes.len() / 2;
    bytes[at] ^= 0x04;
    fs::write(&object, &bytes).expect("writable");
    for engine in ENGINES {
        let target = target();
        let recovery = Recovery::onto(&archive, &target);
        recovery.run_by(engine, &["--to-end", "--replica", &copy]);
        assert_eq!(State::of(&target), truth, "{engine}");
        assert_eq!(recovery.left_behind(&target), [""; 0], "{engine}");
    }
}

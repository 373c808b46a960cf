//! A data directory that is an older one, or a copy of another server's: recognised, recorded, and nothing lost.

use crate::archive::Archive;
use crate::mysql::{Options, Server};
use crate::tools;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A server with a table, and three closed files.
fn server() -> Server {
    let server = Options::new().start();
    server.sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v INT)");
    files(&server, 3);
    server
}

/// Closes `count` files of two transactions.
fn files(server: &Server, count: usize) {
    for _ in 0..count {
        server.sql("INSERT INTO d.t (v) VALUES (1); INSERT INTO d.t (v) VALUES (2)");
        server.flush_logs();
    }
}

fn copy(from: &Path, to: &Path) {
    tools::run(Command::new("cp").arg("-a").arg(from).arg(to));
}

/// The closed files of a server, by name.
fn closed(server: &Server) -> Vec<(String, Vec<u8>)> {
    let mut files = server.binlogs();
    files.pop();
    let name = |path: &PathBuf| {
        let name = path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        (name, fs::read(path).expect("readable"))
    };
    files.iter().map(name).collect()
}

/// What `archive` says on stderr; it must work. Its exit code is that of a finding if a timeline begins, and only then.
#[track_caller]
fn archived(archive: &Archive, server: &Server, state: &str) -> String {
    let mut command = archive.archive_command_to(&archive.url(), &server.index_file());
    let output = tools::output(command.arg("--state-dir").arg(archive.path(state)));
    let said = tools::excerpt(&output.stderr);
    let code = if said.contains(" begins timeline ") {
        3
    } else {
        0
    };
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// Every file that was closed in either life is there, byte for byte.
fn check(archive: &Archive, timelines: [&[(String, Vec<u8>)]; 2]) {
    let mounted = archive.mount();
    for (timeline, files) in (1..).zip(timelines) {
        let dir = mounted.dir().join(format!(".timeline/{timeline}"));
        for (name, bytes) in files {
            let read =
                fs::read(dir.join(name)).unwrap_or_else(|e| panic!("{timeline}/{name}: {e}"));
            assert!(read == *bytes, "{timeline}/{name}");
        }
    }
    drop(mounted);
    archive.verify();
}

#[test]
fn a_server_that_is_restored_from_an_older_copy_begins_a_timeline_and_the_old_one_stays() {
    let archive = Archive::plain();
    let mut server = server();
    server.shutdown();
    let older = server.path("older");
    copy(&server.datadir(), &older);
    server.restart();
    files(&server, 2);
    assert!(!archived(&archive, &server, "state").contains("timeline 2"));
    let first = closed(&server);
    server.kill9();
    // Files tell lives apart by the second in which they began.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    fs::remove_dir_all(server.datadir()).expect("removed");
    fs::rename(&older, server.datadir()).expect("moved");
    server.restart();
    files(&server, 2);
    let said = archived(&archive, &server, "state");
    assert!(said.contains("timeline 2 begins"), "{said}");
    let second: Vec<_> = closed(&server)
        .into_iter()
        .filter(|file| !first.contains(file))
        .collect();
    assert!(second.len() >= 2, "names come again with other bytes");
    check(&archive, [&first, &second]);
    // It goes on there.
    files(&server, 1);
    assert!(!archived(&archive, &server, "state").contains("timeline"));
    let status = archive.output(&["status", &archive.url()]);
    let said = tools::excerpt(&status.stdout);
    // It gives the same GTIDs to other transactions: by them nothing is lacking.
    assert!(said.contains("branch        has left timeline 1"), "{said}");
}

#[test]
fn a_copy_that_goes_on_archiving_into_its_sources_stream_gets_a_timeline_of_its_own() {
    let archive = Archive::plain();
    let mut server = server();
    server.shutdown();
    let cloned = server.path("cloned");
    copy(&server.datadir(), &cloned);
    fs::remove_file(cloned.join("auto.cnf")).expect("removed");
    server.restart();
    files(&server, 2);
    archived(&archive, &server, "state");
    let copied = Options::new().server_id(2).start_on(&cloned);
    assert_ne!(copied.uuid(), server.uuid());
    files(&copied, 2);
    let said = archived(&archive, &copied, "state-of-the-copy");
    assert!(said.contains("timeline 2 begins"), "{said}");
    assert!(said.contains(&copied.uuid()), "{said}");
    // The source goes on where it was.
    files(&server, 1);
    assert!(!archived(&archive, &server, "state").contains("timeline"));
    let first = closed(&server);
    let second: Vec<_> = closed(&copied)
        .into_iter()
        .filter(|file| !first.contains(file))
        .collect();
    check(&archive, [&first, &second]);
}

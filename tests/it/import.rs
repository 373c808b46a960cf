//! Importing piles of binlogs: whatever lies in them, in whatever order and form, a stream comes out that is the server's history.

mod beside;
mod bucket;
mod killed;
mod lives;
mod pile;
mod refused;

use crate::archive::Archive;
use crate::mysql::Server;
use crate::random::Random;
use crate::tools;
use binlogfs::model::Sha256;
use pile::{Pile, STORED};
use std::fs;
use std::path::{Path, PathBuf};

/// Binlogs that the real server is made to close.
const FILES: usize = 1000;

/// The last part of a path.
fn name_of(path: &Path) -> String {
    let name = path.file_name().expect("it has a name");
    name.to_str().expect("text").to_owned()
}

/// What the stream holds: names, states, incarnations, and SHA-256 where there is one.
fn listed(archive: &Archive) -> Vec<(String, String, Option<String>)> {
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let entry = |entry: &serde_json::Value| {
        (
            text(&entry["name"]).expect("a name"),
            text(&entry["state"]).expect("a state"),
            text(&entry["sha256"]),
        )
    };
    archive.ls(&[]).iter().map(entry).collect()
}

/// What it should hold: these files, and holes where there is none any more.
fn expected(files: &[PathBuf], missing: &[PathBuf]) -> Vec<(String, String, Option<String>)> {
    let entry = |path: &PathBuf| {
        if missing.contains(path) {
            return (name_of(path), "hole".to_owned(), None);
        }
        let sha256 = Sha256::of(&fs::read(path).expect("readable"));
        (
            name_of(path),
            "archived".to_owned(),
            Some(sha256.to_string()),
        )
    };
    files.iter().map(entry).collect()
}

/// Every file of `dir` whose name is that of one of `files` has its bytes, but the `missing` ones: those cannot be read.
fn same_bytes(dir: &Path, files: &[PathBuf], missing: &[PathBuf]) {
    for path in files {
        let read = fs::read(dir.join(name_of(path)));
        match missing.contains(path) {
            true => assert_eq!(tools::errno(read), libc::EIO, "{}", path.display()),
            false => assert!(
                read.expect("readable") == fs::read(path).expect("readable"),
                "{}",
                path.display()
            ),
        }
    }
}

/// A server that has closed `FILES` binlogs, each with a transaction.
fn busy_server() -> Server {
    let server = Server::new();
    server.sql(
        "CREATE DATABASE d; CREATE TABLE d.t (id INT AUTO_INCREMENT PRIMARY KEY, x VARCHAR(100))",
    );
    let statements = "INSERT INTO d.t (x) VALUES (UUID()); FLUSH BINARY LOGS;\n".repeat(FILES);
    server.sql(&statements);
    server
}

#[test]
fn a_thousand_shuffled_binlogs_of_a_real_server_come_into_order_and_it_goes_on_live() {
    let mut random = Random::seeded();
    let server = busy_server();
    let mut files = server.binlogs();
    files.pop();
    assert!(files.len() >= FILES, "{}", files.len());
    let archive = Archive::encrypted();
    let mut pile = Pile::new(archive.path("pile"));
    // Not at the ends, and no two together.
    let third = files.len() as u64 / 3;
    let missing: Vec<PathBuf> = (0..3)
        .map(|n| files[(n * third + 1 + random.below(third - 3)) as usize].clone())
        .collect();
    let mut copies = 0;
    for (n, path) in files.iter().enumerate() {
        if missing.contains(path) {
            continue;
        }
        let stored = STORED[n % STORED.len()];
        let dir = format!("{:02}/{}", random.below(40), random.below(5));
        pile.add(&format!("{dir}/{}", name_of(path)), path, stored);
        if random.one_in(20) {
            copies += 1;
            let other = STORED[random.below(STORED.len() as u64) as usize];
            pile.add(&format!("copies/{:016x}", random.next()), path, other);
        }
    }
    pile.write("binlog.index", b"./binlog.000001\n");
    pile.write("notes/README.txt", b"moved here in March");

    let plan = pile.json(&archive, &["--dry-run"], 3);
    let order: Vec<_> = plan["order"].as_array().expect("a list").iter().collect();
    let planned: Vec<_> = order
        .iter()
        .map(|file| file["file"].as_str().expect("text").to_owned())
        .collect();
    let there = files.iter().filter(|path| !missing.contains(path));
    let truth: Vec<_> = there.map(|path| name_of(path)).collect();
    assert_eq!(planned, truth, "in the server's order");
    assert!(order.iter().all(|file| file["life"] == 1));
    let holes: Vec<_> = missing.iter().map(|path| name_of(path)).collect();
    assert_eq!(plan["holes"], serde_json::json!(holes));
    assert_eq!(plan["copies"].as_array().map(Vec::len), Some(copies));
    assert_eq!(
        plan["foreign"].as_array().map(Vec::len),
        Some(2),
        "{}",
        plan["foreign"]
    );
    assert_eq!(plan["refused"], serde_json::json!([]));
    assert!(archive.keys("ledger").is_empty(), "nothing was written");

    let told = pile.json(&archive, &[], 3);
    assert_eq!(told["archived"].as_array().map(Vec::len), Some(truth.len()));
    assert_eq!(told["holes"], serde_json::json!(holes));
    let notices = told["notices"].to_string();
    for hole in &holes {
        assert!(notices.contains(hole), "{hole} is named: {notices}");
    }
    assert_eq!(listed(&archive), expected(&files, &missing));
    let verified = archive.json("verify", &["--deep", "--orphans"], 3);
    assert_eq!(verified["orphans"], serde_json::json!([]), "{verified:#}");
    let mounted = archive.mount();
    same_bytes(mounted.dir(), &files, &missing);

    // A second import finds everything there.
    let again = pile.json(&archive, &[], 3);
    assert_eq!(again["archived"], serde_json::json!([]));
    assert_eq!(again["already_archived"], truth.len());

    // The server goes on, and so does its archiver.
    server.sql("INSERT INTO d.t (x) VALUES ('live'); FLUSH BINARY LOGS; INSERT INTO d.t (x) VALUES ('live'); FLUSH BINARY LOGS");
    let said = archive.archive(&server.datadir());
    assert!(said.contains("archived 2 segments"), "{said}");
    let mut files = server.binlogs();
    files.pop();
    assert_eq!(listed(&archive), expected(&files, &missing));
    tools::eventually("the new files are in the mount", || {
        files
            .iter()
            .all(|path| mounted.dir().join(name_of(path)).exists())
    });
    same_bytes(mounted.dir(), &files, &missing);
}

//! Second copies: a replica is a stream by itself, is filled behind the archiver and in nobody's way, and serves what the first store
//! cannot.

mod archiving;
mod credentials;
mod filling;
mod held;
mod incremental;
mod reading;
mod stores;

use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A stream, its server, and a directory for a replica.
struct Replicated {
    archive: Archive,
    server: SyntheticServer,
}

impl Replicated {
    /// One of `count` archived segments, and no replica yet.
    fn of(archive: Archive, count: usize) -> Replicated {
        let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
        (0..count).for_each(|_| server.rotate(5, 5000));
        if count > 0 {
            archive.archive(server.dir());
        }
        Replicated { archive, server }
    }

    fn replica_dir(&self) -> PathBuf {
        self.archive.path("replica")
    }

    fn replica(&self) -> String {
        format!("file://{}", self.replica_dir().display())
    }

    /// `binlogfs replicate --json` to the directory, which must end with `code`.
    fn replicate(&self, more: &[&str], code: i32) -> Value {
        let (url, replica) = (self.archive.url(), self.replica());
        let fixed = ["replicate", &url, "--to", &replica, "--json"];
        let output = self.archive.output(&[&fixed[..], more].concat());
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{more:?}: {said}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    /// Both have the same objects with the same bytes.
    fn check_same(&self) {
        let (own, copy) = (
            objects(&self.archive.bucket()),
            objects(&self.replica_dir()),
        );
        let keys = |all: &BTreeMap<PathBuf, Vec<u8>>| all.keys().cloned().collect::<Vec<_>>();
        assert_eq!(keys(&own), keys(&copy));
        assert!(own == copy, "the bytes are the same");
    }

    /// `binlogfs cat` of all of it, past the replica as well.
    fn cat(&self) -> Output {
        let (url, replica) = (self.archive.url(), self.replica());
        self.archive.output(&["cat", &url, "--replica", &replica])
    }

    /// That gives out all that the server has closed. Returns what it says beside it.
    #[track_caller]
    fn reads_the_truth(&self) -> String {
        let output = self.cat();
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(output.stdout == self.truth());
        said
    }

    /// What the server has closed, one file after the other.
    fn truth(&self) -> Vec<u8> {
        self.server.truth().concat()
    }
}

/// All objects below a directory, by key.
fn objects(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut dirs) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).expect("readable") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => dirs.push(path),
                false => {
                    let key = path.strip_prefix(root).expect("below").to_owned();
                    found.insert(key, fs::read(&path).expect("readable"));
                }
            }
        }
    }
    found
}

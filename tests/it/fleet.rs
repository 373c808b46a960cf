//! Many streams in one agent: each tenant with its place, its credentials and its share, and none in another's way.

mod fair;
mod isolation;
mod many;
mod reload;
mod requests;
mod status;

use crate::synthetic::SyntheticServer;
use std::fs;
use std::path::{Path, PathBuf};

/// The servers, the store and the configuration of a test, below one directory.
pub struct Fleet {
    temp: tempfile::TempDir,
}

impl Fleet {
    fn new() -> Fleet {
        Fleet {
            temp: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    /// A server that has closed `files` files of one transaction of `bytes` each.
    fn server(&self, name: &str, number: u8, files: usize, bytes: usize) -> SyntheticServer {
        let dir = self.path("servers").join(name);
        fs::create_dir_all(&dir).expect("writable");
        let mut server = SyntheticServer::new(&dir, number, "binlog");
        for _ in 0..files {
            server.rotate(1, bytes);
        }
        server
    }

    /// Writes the configuration: what is in `text`, and who listens where.
    fn configure(&self, text: &str) -> PathBuf {
        let path = self.path("binlogfs.toml");
        let agent = "[agent]\nlisten = \"127.0.0.1:0\"\n";
        fs::write(&path, format!("{agent}{text}")).expect("writable");
        path
    }

    /// Where an agent keeps the state of its streams.
    fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// `binlogfs archive --config` on it, not run yet.
    fn agent(&self, config: &Path) -> std::process::Command {
        let mut command = crate::tools::binlogfs();
        command.arg("archive").arg("--config").arg(config);
        command.arg("--state-dir").arg(self.state());
        command
    }
}

/// Records of the stream whose objects are in `dir`.
fn records(dir: &Path) -> usize {
    fs::read_dir(dir.join("ledger")).map_or(0, Iterator::count)
}

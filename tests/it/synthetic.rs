//! A server that never ran: its data directory, written file by file, for tests that need many binlogs or odd ones.

use binlogfs::binlog::testing::{BinlogBuilder, mysql_gtid};
use binlogfs::binlog::{ChecksumAlgorithm, Flavour};
use binlogfs::model::{Gtid, GtidSet, Micros};
use std::fs;
use std::path::{Path, PathBuf};

/// 2023-11-14T22:13:20Z, when every such server was started.
const BORN_SECONDS: u32 = 1_700_000_000;

/// The data directory of a server whose UUID is sixteen times the byte `server`.
#[derive(Clone)]
pub struct SyntheticServer {
    dir: PathBuf,
    server: u8,
    basename: String,
    files: Vec<String>,
    number: u64,
    executed: GtidSet,
    transaction: u64,
    seconds: u32,
}

impl SyntheticServer {
    /// A server that has just begun its first file in the existing directory `dir`.
    pub fn new(dir: &Path, server: u8, basename: &str) -> SyntheticServer {
        SyntheticServer::starting_at(dir, server, basename, 1, GtidSet::new())
    }

    /// A server that begins with file `number`, having executed `executed`.
    pub fn starting_at(
        dir: &Path,
        server: u8,
        basename: &str,
        number: u64,
        executed: GtidSet,
    ) -> SyntheticServer {
        let uuid = uuid_of(server);
        fs::write(
            dir.join("auto.cnf"),
            format!("[auto]\nserver-uuid={uuid}\n"),
        )
        .expect("the directory is writable");
        let transaction = executed
            .iter()
            .filter_map(|(_, runs)| runs.last())
            .max()
            .unwrap_or(0);
        let basename = basename.to_owned();
        let (dir, files, seconds) = (dir.to_owned(), Vec::new(), BORN_SECONDS + u32::from(server));
        let mut server = SyntheticServer {
            dir,
            server,
            basename,
            files,
            number,
            executed,
            transaction,
            seconds,
        };
        server.begin();
        server
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The binlog index file.
    pub fn index_file(&self) -> PathBuf {
        self.dir.join("binlog.index")
    }

    /// Everything executed.
    pub fn executed(&self) -> &GtidSet {
        &self.executed
    }

    /// Names of the closed files, oldest first.
    pub fn closed_names(&self) -> &[String] {
        &self.files[..self.files.len() - 1]
    }

    /// Their paths.
    pub fn closed(&self) -> Vec<PathBuf> {
        let names = self.closed_names().iter();
        names.map(|name| self.dir.join(name)).collect()
    }

    /// What the closed files hold, oldest first.
    pub fn truth(&self) -> Vec<Vec<u8>> {
        let read = |path| fs::read(path).expect("the file is there");
        self.closed().into_iter().map(read).collect()
    }

    /// Writes `transactions` transactions of `body_bytes` into the active file, and goes on in the next.
    pub fn rotate(&mut self, transactions: u64, body_bytes: usize) {
        let mut builder = self.builder();
        for _ in 0..transactions {
            self.transaction += 1;
            self.seconds += 1;
            let gtid = mysql_gtid(self.server, self.transaction);
            let commit = Micros::from_seconds(self.seconds);
            builder
                .time(self.seconds)
                .transaction(&gtid, Some(Micros(commit.0 + 123)), body_bytes);
            self.executed.insert(&gtid);
        }
        self.number += 1;
        builder.rotate(&self.name());
        self.write_active(&builder.finish());
        self.begin();
    }

    /// Replicates what is missing of `executed` into the active file, and goes on in the next.
    pub fn replicate(&mut self, executed: &GtidSet) {
        let mut builder = self.replicated(executed);
        self.number += 1;
        builder.rotate(&self.name());
        self.write_active(&builder.finish());
        self.begin();
    }

    /// The same into the active file, which stays open.
    pub fn replicate_into_active(&mut self, executed: &GtidSet) {
        let builder = self.replicated(executed);
        self.write_active(&builder.finish());
    }

    fn replicated(&mut self, executed: &GtidSet) -> BinlogBuilder {
        let mut builder = self.builder();
        for (source, runs) in executed.minus(&self.executed).iter() {
            for number in runs.runs().iter().flat_map(|(first, last)| *first..=*last) {
                let source = source.clone();
                let gtid = Gtid { source, number };
                self.seconds += 1;
                builder.time(self.seconds).transaction(&gtid, None, 100);
            }
        }
        self.executed.union_with(executed);
        builder
    }

    fn write_active(&self, bytes: &[u8]) {
        let active = self.files.last().expect("there is an active file");
        fs::write(self.dir.join(active), bytes).expect("the directory is writable");
    }

    /// PURGE BINARY LOGS: removes the first `count` files.
    pub fn purge(&mut self, count: usize) {
        for name in self.files.drain(..count) {
            fs::remove_file(self.dir.join(name)).expect("the file is there");
        }
        self.write_index();
    }

    /// Another `log_bin`: closes the active file, and begins again at number 1 under another name.
    pub fn rename(&mut self, basename: &str) {
        let mut builder = self.builder();
        builder.stop();
        self.write_active(&builder.finish());
        self.basename = basename.to_owned();
        self.number = 1;
        self.begin();
    }

    fn name(&self) -> String {
        format!("{}.{:06}", self.basename, self.number)
    }

    fn builder(&self) -> BinlogBuilder {
        let mut builder = BinlogBuilder::new(
            Flavour::MySql,
            "9.7.4",
            ChecksumAlgorithm::Crc32,
            self.seconds,
        );
        builder.previous_gtids(&self.executed);
        builder
    }

    /// Begins the file `number`, as the server does: format description and PREVIOUS_GTIDS.
    fn begin(&mut self) {
        let name = self.name();
        fs::write(self.dir.join(&name), self.builder().finish())
            .expect("the directory is writable");
        self.files.push(name);
        self.write_index();
    }

    fn write_index(&self) {
        let text: String = self
            .files
            .iter()
            .map(|name| format!("./{name}\n"))
            .collect();
        let beside = self.dir.join("binlog.index.new");
        fs::write(&beside, text).expect("the directory is writable");
        fs::rename(&beside, self.index_file()).expect("the directory is writable");
    }
}

/// The UUID of a synthetic server.
pub fn uuid_of(server: u8) -> String {
    format!(
        "{0}-{1}-{1}-{1}-{2}",
        hex(server, 4),
        hex(server, 2),
        hex(server, 6)
    )
}

fn hex(byte: u8, count: usize) -> String {
    format!("{byte:02x}").repeat(count)
}

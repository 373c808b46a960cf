//! How a test's server is to be started.

use super::{Server, template};
use std::path::Path;

/// How a server is to be started.
#[derive(Clone, Debug)]
pub struct Options {
    pub(super) gtid: bool,
    pub(super) log_bin: String,
    pub(super) server_id: u32,
    pub(super) extra: Vec<String>,
    pub(super) account: Option<u32>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            gtid: true,
            log_bin: "binlog".to_owned(),
            server_id: 1,
            extra: Vec::new(),
            account: None,
        }
    }
}

impl Options {
    /// GTIDs on, row format, CRC-32 checksums, no compression, basename `binlog`, server id 1.
    pub fn new() -> Options {
        Options::default()
    }

    /// `gtid_mode` OFF: transactions are anonymous.
    pub fn no_gtids(mut self) -> Options {
        self.gtid = false;
        self
    }

    /// `binlog_checksum`: `NONE` or `CRC32`.
    pub fn checksum(self, algorithm: &str) -> Options {
        self.extra(format!("--binlog-checksum={algorithm}"))
    }

    /// `binlog_transaction_compression` ON: transactions are payload events.
    pub fn compressed(self) -> Options {
        self.extra("--binlog-transaction-compression=ON")
    }

    /// `binlog_format`: `ROW`, `STATEMENT` or `MIXED`.
    pub fn format(self, format: &str) -> Options {
        self.extra(format!("--binlog-format={format}"))
    }

    /// `max_binlog_size` in bytes, at least 4096.
    pub fn max_binlog_size(self, bytes: u64) -> Options {
        self.extra(format!("--max-binlog-size={bytes}"))
    }

    /// `log_bin`: a basename in the data directory, or an absolute path.
    pub fn log_bin(mut self, basename: &str) -> Options {
        basename.clone_into(&mut self.log_bin);
        self
    }

    /// `server_id`.
    pub fn server_id(mut self, id: u32) -> Options {
        self.server_id = id;
        self
    }

    /// Runs it as the account and group of this number, to which its directory belongs then; else as who runs the tests.
    pub fn account(mut self, id: u32) -> Options {
        self.account = Some(id);
        self
    }

    /// Any other option of mysqld; the last of a kind wins.
    pub fn extra(mut self, option: impl Into<String>) -> Options {
        self.extra.push(option.into());
        self
    }

    /// Starts the server on a data directory that is there already, and is its own from now on.
    pub fn start_on(self, datadir: &Path) -> Server {
        Server::start(self, |place| {
            std::fs::rename(datadir, place)
                .unwrap_or_else(|e| panic!("{}: {e}", datadir.display()));
        })
    }

    /// Starts the server. Panics, with the end of its error log, if it does not come up.
    pub fn start(self) -> Server {
        Server::start(self, template::copy_to)
    }
}

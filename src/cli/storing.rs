//! The options that all commands have by which segments come into a stream.

use crate::config::{LEVEL_MAX, PARALLEL_MAX, StreamConfig};
use crate::segment::Recipients;
use crate::sync::archive::LEVEL_DEFAULT;
use crate::sync::place::Consent;

/// How segments are stored.
#[derive(clap::Args, Debug)]
pub struct StoringArgs {
    /// Public key (age1...) to encrypt to; may be repeated. Without one, segments are stored unencrypted.
    #[arg(long, value_name = "age1...", value_parser = recipient)]
    recipient: Vec<String>,
    /// zstd level, 1 to 19.
    #[arg(long, default_value_t = LEVEL_DEFAULT, value_parser = clap::value_parser!(i32).range(1..=i64::from(LEVEL_MAX)))]
    level: i32,
    /// Compression threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=i64::from(PARALLEL_MAX)))]
    threads: u16,
    /// Files in flight at a time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=i64::from(PARALLEL_MAX)))]
    pub transfers: u16,
}

/// What is not done unless it is asked for.
#[derive(clap::Args, Debug)]
pub struct ConsentArgs {
    /// Record any number of binlogs that are missing as holes, and go on.
    #[arg(long)]
    accept_holes: bool,
    /// Accept a server whose binlogs share no history with the stream, by its server_uuid ('none' if it has none, or it is not known).
    #[arg(long, value_name = "UUID")]
    accept_server: Option<String>,
    /// Write to a store that ignores conditional creates and would overwrite: you promise that nobody else writes to this stream.
    #[arg(long)]
    single_writer: bool,
    /// Store segments unencrypted in a stream whose newest segment is encrypted.
    #[arg(long)]
    allow_unencrypted: bool,
}

fn recipient(text: &str) -> Result<String, String> {
    Recipients::parse([text])
        .map(|_| text.to_owned())
        .map_err(|e| e.to_string())
}

impl StoringArgs {
    /// A stream that is stored so, and about which nothing else is said yet.
    pub fn stream(&self) -> StreamConfig {
        StreamConfig {
            recipients: self.recipient.clone(),
            level: self.level,
            threads: self.threads,
            transfers: self.transfers,
            ..StreamConfig::default()
        }
    }
}

impl ConsentArgs {
    /// What was agreed to.
    pub fn consent(&self) -> Consent {
        Consent {
            holes: self.accept_holes,
            unencrypted: self.allow_unencrypted,
            single_writer: self.single_writer,
            server: self.accept_server.clone(),
        }
    }
}

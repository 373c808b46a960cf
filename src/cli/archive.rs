//! `binlogfs archive`: a server's closed binlogs into a stream.

use super::exit::Exit;
use super::{Global, output, reading};
use crate::model::StoreUrl;
use crate::segment::Recipients;
use crate::source::Source;
use crate::store::{self, OpenMode, Writers};
use crate::sync::archive::Progress;
use crate::sync::place::Consent;
use crate::sync::{Outcome, Settings, archive_once, read_batch};
use anyhow::{Result, anyhow};
use std::path::PathBuf;
use std::sync::Arc;

/// Compression beyond this gains a few percent for several times the work of the database host.
const LEVEL_MAX: i64 = 19;

#[derive(clap::Args, Debug)]
pub struct ArchiveArgs {
    /// The server's data directory, or its binlog index file (BASENAME.index).
    #[arg(long, value_name = "DATADIR|BASENAME.index")]
    source: PathBuf,
    /// The stream to archive to, such as file:///srv/binlogs/orders; made if it does not exist.
    #[arg(long, value_name = "URL")]
    to: StoreUrl,
    /// Archive what is closed now, and end. Needed: this version has no daemon.
    #[arg(long)]
    once: bool,
    /// Public key (age1...) to encrypt to; may be repeated. Without one, segments are stored unencrypted.
    #[arg(long, value_name = "age1...", value_parser = recipient)]
    recipient: Vec<String>,
    /// zstd level, 1 to 19.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=LEVEL_MAX))]
    level: i32,
    /// Compression threads.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// Files in flight at a time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    transfers: u16,
    /// Record any number of files that vanished from the server as holes, and go on.
    #[arg(long)]
    accept_holes: bool,
    /// Accept a server that shares no history with the stream, by its server_uuid ('none' for one that has none).
    #[arg(long, value_name = "UUID")]
    accept_server: Option<String>,
    /// Archive to a store that ignores conditional creates and would overwrite: you promise that no other archiver writes here.
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

pub async fn run(global: &Global, args: ArchiveArgs) -> Result<Exit> {
    if !args.once {
        let error =
            anyhow!("this version archives once and ends: pass --once, and run it from a timer");
        output::print_error(&error, global.json);
        return Ok(Exit::Usage);
    }
    let source = Source::open(&args.source)?;
    let recipients = Recipients::parse(&args.recipient)?;
    let bar = output::byte_bar(0);
    let mut settings = Settings::new(reading::state_dir(global, &args.to));
    settings.recipients = recipients;
    settings.level = args.level;
    settings.threads = args.threads.into();
    settings.transfers = args.transfers.into();
    settings.consent = Consent {
        holes: args.accept_holes,
        unencrypted: args.allow_unencrypted,
        single_writer: args.single_writer,
        server: args.accept_server,
    };
    settings.archiver = format!("binlogfs {} on {}", env!("CARGO_PKG_VERSION"), host_name());
    settings.progress = Arc::new(Bar(bar.clone()));
    let batch = read_batch(&source)?;
    let writers = if args.single_writer {
        Writers::One
    } else {
        Writers::Many
    };
    let store = store::open_for(&args.to, OpenMode::Create, writers).await?;
    let outcome = archive_once(&source, batch, store, &settings).await;
    bar.finish_and_clear();
    print(global, &outcome?, settings.recipients.is_empty())
}

fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

struct Bar(indicatif::ProgressBar);

impl Progress for Bar {
    fn planned(&self, _files: usize, bytes: u64) {
        self.0.set_length(bytes);
    }
    fn read(&self, bytes: u64) {
        self.0.inc(bytes);
    }
    fn archived(&self, name: &str) {
        self.0.set_message(name.to_owned());
    }
}

fn print(global: &Global, outcome: &Outcome, unencrypted: bool) -> Result<Exit> {
    let exit = if !outcome.orphans_left.is_empty() {
        Exit::Failed
    } else if !outcome.damaged.is_empty() {
        Exit::Findings
    } else {
        Exit::Done
    };
    if let [first, ..] = outcome.orphans_left.as_slice() {
        eprintln!(
            "binlogfs: {} of interrupted uploads cannot be removed ({first}): this account may not delete. Grant s3:DeleteObject \
             below segments/ (on other stores its like) and run again, or let somebody remove what 'binlogfs verify --orphans' lists",
            output::count(outcome.orphans_left.len() as u64, "object")
        );
    }
    if global.json {
        output::print_json(&serde_json::json!({
            "archived": outcome.archived.iter().map(|(file, seq)| serde_json::json!({ "file": file, "seq": seq })).collect::<Vec<_>>(),
            "archived_by_another": outcome.by_another,
            "bytes": outcome.bytes,
            "stored_bytes": outcome.stored_bytes,
            "orphans_removed": outcome.orphans_removed,
            "orphans_left": outcome.orphans_left,
            "damaged": outcome.damaged,
            "notices": outcome.notices,
        }))?;
    } else {
        for notice in &outcome.notices {
            eprintln!("binlogfs: note: {notice}");
        }
        if unencrypted && !outcome.archived.is_empty() {
            eprintln!(
                "binlogfs: note: stored without encryption; 'binlogfs keygen' makes a key for --recipient"
            );
        }
        let names = match outcome.archived.as_slice() {
            [] => return output::print("archived 0 segments: nothing new\n").map(|()| exit),
            [(only, _)] => only.clone(),
            [(first, _), .., (last, _)] => format!("{first} to {last}"),
        };
        output::print(&format!(
            "archived {} ({names}): {} as {}\n",
            output::count(outcome.archived.len() as u64, "segment"),
            output::size(outcome.bytes),
            output::size(outcome.stored_bytes)
        ))?;
    }
    Ok(exit)
}

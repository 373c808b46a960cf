//! `binlogfs purge-safe`: which of a server's binlogs the archive covers, and with `--execute` their purge.

use super::exit::Exit;
use super::{Global, output, reading};
use crate::model::StoreUrl;
use crate::source::Source;
use crate::source::server::{Server, ServerOptions};
use crate::store::{self, OpenMode};
use crate::sync::purge::{Purge, PurgePlan, Purged};
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::sync::Arc;

/// Findings printed; `--json` has all.
const FINDINGS_SHOWN: usize = 20;

#[derive(clap::Args, Debug)]
pub struct PurgeSafeArgs {
    /// The server's data directory, or its binlog index file (BASENAME.index).
    #[arg(long, value_name = "DATADIR|BASENAME.index")]
    source: PathBuf,
    /// The stream that the binlogs are archived to.
    #[arg(long, value_name = "URL")]
    to: StoreUrl,
    /// The server: mysql://USER@HOST:PORT/ or mysql://USER@localhost/?socket=/PATH, never with a password.
    #[arg(long, value_name = "DSN", required_unless_present = "defaults_file", value_parser = dsn)]
    mysql: Option<String>,
    /// MySQL option file whose groups [client] and [binlogfs] name the server, the account and its password.
    #[arg(long, value_name = "FILE")]
    defaults_file: Option<PathBuf>,
    /// Run the PURGE BINARY LOGS that is printed otherwise.
    #[arg(long)]
    execute: bool,
    /// Newest binlogs, the active one among them, that stay in any case.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
}

/// Checked where it is parsed, so that what is wrong is an error of usage.
pub fn dsn(text: &str) -> Result<String, String> {
    ServerOptions::from_dsn(text)
        .map(|_| text.to_owned())
        .map_err(|e| e.to_string())
}

pub async fn run(global: &Global, args: &PurgeSafeArgs) -> Result<Exit> {
    let options =
        ServerOptions::from_command_line(args.mysql.as_deref(), args.defaults_file.as_deref())?;
    let source = Source::open(&args.source)?;
    let server = Server::new(options);
    // Each store by itself: what one lacks, another must not cover up here.
    let mut alone = global.clone();
    alone.replica.clear();
    let reading = reading::open(&alone, &args.to).await?;
    let mut replicas = Vec::new();
    for url in &global.replica {
        replicas.push(store::open(url, OpenMode::Existing).await?);
    }
    if let Some(alarm) = &reading.alarm {
        bail!("{alarm}; nothing is purged on the word of a ledger that is not whole");
    }
    let purge = Purge {
        source: &source,
        server: &server,
        store: Arc::clone(&reading.store),
        replicas,
        index: &reading.index,
        state: reading.state(),
        keep: args.keep as usize,
    };
    let (plan, purged) = if args.execute {
        let (plan, purged) = purge.execute().await?;
        (plan, Some(purged))
    } else {
        (purge.plan().await?.0, None)
    };
    print(global, &plan, purged.as_ref())?;
    Ok(if plan.not_covered.is_empty() {
        Exit::Done
    } else {
        Exit::Findings
    })
}

fn print(global: &Global, plan: &PurgePlan, purged: Option<&Purged>) -> Result<()> {
    if global.json {
        return output::print_json(&serde_json::json!({
            "purge_to": plan.to,
            "files": plan.files,
            "bytes": plan.bytes,
            "not_covered": plan.not_covered,
            "executed": purged.is_some(),
            "purged": purged.map(|purged| &purged.files),
            "notes": plan.notes.iter().chain(purged.iter().flat_map(|p| &p.notes)).collect::<Vec<_>>(),
        }));
    }
    for note in plan
        .notes
        .iter()
        .chain(purged.iter().flat_map(|p| &p.notes))
    {
        eprintln!("binlogfs: note: {note}");
    }
    for missing in plan.not_covered.iter().take(FINDINGS_SHOWN) {
        eprintln!("binlogfs: not covered: {} {}", missing.file, missing.reason);
    }
    if plan.not_covered.len() > FINDINGS_SHOWN {
        let more = plan.not_covered.len() - FINDINGS_SHOWN;
        eprintln!("binlogfs: and {more} more: --json shows all");
    }
    let files = output::count(plan.files.len() as u64, "binlog");
    let size = output::size(plan.bytes);
    output::print(&match (purged, &plan.to) {
        (None, None) => "-- nothing to purge\n".to_owned(),
        (None, Some(to)) => {
            format!("-- {files}, {size}, all in the archive\nPURGE BINARY LOGS TO '{to}';\n")
        }
        (Some(purged), _) => {
            let gone = output::count(purged.files.len() as u64, "binlog");
            match purged.files.as_slice() {
                [] => format!("purged {gone}\n"),
                [only] => format!("purged {gone} ({only})\n"),
                [first, .., last] => format!("purged {gone} ({first} to {last})\n"),
            }
        }
    })
}

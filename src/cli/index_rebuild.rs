//! `binlogfs index rebuild`: the index deleted, and built again from the bucket.

use super::exit::Exit;
use super::{Global, output, reading};
use crate::model::StoreUrl;
use anyhow::{Context as _, Result};
use std::path::Path;

#[derive(clap::Args, Debug)]
pub struct RebuildArgs {
    /// The stream, such as file:///srv/binlogs/orders.
    url: StoreUrl,
}

pub async fn run(global: &Global, args: &RebuildArgs) -> Result<Exit> {
    let path = reading::index_path(global, &args.url)?;
    // What is kept beside it belongs to the old one.
    for suffix in ["", "-wal", "-shm", "-unsynced"] {
        remove(Path::new(&format!("{}{suffix}", path.display())))?;
    }
    let reading = reading::open(global, &args.url).await?;
    let records = reading.state().last_seq;
    if global.json {
        output::print_json(&serde_json::json!({ "index": path, "records": records }))?;
    } else {
        let records = output::count(records.0, "record");
        output::print(&format!("{}: {records}\n", path.display()))?;
    }
    Ok(Exit::Done)
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

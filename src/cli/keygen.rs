//! `binlogfs keygen`: a new key pair.

use super::exit::Exit;
use super::{Global, output};
use anyhow::{Context as _, Result};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub struct KeygenArgs {
    /// File for the private key; it must not exist. Without it, the private key goes to stdout.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn run(global: &Global, args: &KeygenArgs) -> Result<Exit> {
    let pair = crate::segment::keygen();
    let identity = pair.identity_file();
    let text = age_core::secrecy::ExposeSecret::expose_secret(&identity);
    match &args.output {
        Some(path) => {
            // Mode at creation, not after it: nobody else may read the key even for an instant.
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .with_context(|| {
                    format!(
                        "cannot create {} (an existing key is never overwritten)",
                        path.display()
                    )
                })?;
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .with_context(|| format!("cannot write {}", path.display()))?;
            if global.json {
                output::print_json(
                    &serde_json::json!({ "recipient": pair.public, "identity_file": path }),
                )?;
            } else {
                output::print(&format!("{}\n", pair.public))?;
            }
        }
        None => output::print(text)?,
    }
    Ok(Exit::Done)
}

//! `binlogfs keygen`: a new key pair.

use super::exit::Exit;
use super::{Global, output};
use anyhow::{Context as _, Result, anyhow};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

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
                .map_err(|error| refusal(path, &error))?;
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
        None if global.json => {
            output::print_json(&serde_json::json!({ "recipient": pair.public, "identity": text }))?
        }
        None => output::print(text)?,
    }
    Ok(Exit::Done)
}

fn refusal(path: &Path, error: &std::io::Error) -> anyhow::Error {
    let path = path.display();
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        return anyhow!("{path} exists, and a key is never overwritten: name another file");
    }
    anyhow!("cannot create {path}: {error}")
}

//! `binlogfs config check`: everything that is wrong with a configuration file, at once.

use super::exit::Exit;
use super::{Global, output};
use crate::config::{CONFIG_MAX_BYTES, Config, Mistakes};
use anyhow::{Context as _, Result};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Where the configuration is if nobody says otherwise.
pub const CONFIG_PATH: &str = "/etc/binlogfs.toml";

/// The commented example.
pub const EXAMPLE: &str = include_str!("../../packaging/binlogfs.toml");

#[derive(clap::Args, Debug)]
pub struct CheckArgs {
    /// The configuration file.
    #[arg(default_value = CONFIG_PATH)]
    file: PathBuf,
}

/// Reads the text of a configuration file.
pub fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(CONFIG_MAX_BYTES).read_to_string(&mut text))
        .with_context(|| {
            format!(
                "cannot read the configuration {}; 'binlogfs config example' prints one to begin with",
                path.display()
            )
        })?;
    Ok(text)
}

/// Reads a configuration file that must be right.
pub fn load(path: &Path) -> Result<Config> {
    Config::parse(&read(path)?)
        .map_err(|Mistakes(mistakes)| anyhow::anyhow!(describe(path, &mistakes)))
}

fn describe(path: &Path, mistakes: &[crate::config::Mistake]) -> String {
    let mut text = format!(
        "{} in {}:",
        output::count(mistakes.len() as u64, "mistake"),
        path.display()
    );
    for mistake in mistakes {
        text += &format!("\n  line {}: {}", mistake.line, mistake.text);
    }
    text
}

pub fn run(global: &Global, args: &CheckArgs) -> Result<Exit> {
    match Config::parse(&read(&args.file)?) {
        Ok(config) => {
            let names: Vec<_> = config.streams.iter().map(|s| s.name.clone()).collect();
            if global.json {
                output::print_json(&serde_json::json!({ "mistakes": [], "streams": names }))?;
            } else {
                output::print(&format!(
                    "{} is right: {} ({})\n",
                    args.file.display(),
                    output::count(names.len() as u64, "stream"),
                    names.join(", ")
                ))?;
            }
            Ok(Exit::Done)
        }
        Err(Mistakes(mistakes)) => {
            if global.json {
                let mistakes: Vec<_> = mistakes
                    .iter()
                    .map(|m| serde_json::json!({ "line": m.line, "text": m.text }))
                    .collect();
                output::print_json(&serde_json::json!({ "mistakes": mistakes }))?;
            } else {
                eprintln!("binlogfs: {}", describe(&args.file, &mistakes));
            }
            Ok(Exit::Failed)
        }
    }
}

/// Prints the example.
pub fn example() -> Result<Exit> {
    output::print(EXAMPLE)?;
    Ok(Exit::Done)
}

//! Logs: on stderr, as text for people or as JSON for collectors.

use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line each.
    #[default]
    Text,
    /// One JSON object each.
    Json,
}

/// Starts logging. `verbosity` counts `-v`: warnings, then information, then debugging. `BINLOGFS_LOG` overrides it.
pub fn start(format: LogFormat, verbosity: u8) {
    let level = match verbosity {
        0 => "error,binlogfs=warn",
        1 => "warn,binlogfs=info",
        2 => "warn,binlogfs=debug",
        _ => "debug,binlogfs=trace",
    };
    let filter = EnvFilter::try_from_env("BINLOGFS_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // A journal or a file would keep the escape sequences.
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    // A second start (tests) keeps the first.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

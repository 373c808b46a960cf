//! Logs: on stderr, in a file or in the system's log; as text for people or as JSON for collectors.

pub mod sink;

use sink::Sink;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One readable line each.
    #[default]
    Text,
    /// One JSON object each.
    Json,
}

/// An error with its causes, each said once: many of ours repeat theirs, with the next step after it.
pub fn message(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text += &format!(": {cause}");
        }
    }
    text
}

/// Starts logging to stderr. `verbosity` counts `-v`: warnings, then information, then debugging. `BINLOGFS_LOG` overrides it.
pub fn start(format: LogFormat, verbosity: u8) {
    // A journal or a file would keep the escape sequences.
    let ansi = std::io::stderr().is_terminal();
    start_with(format, verbosity, std::io::stderr, ansi, true);
}

/// Starts logging to `sink`, for a process that has no stderr.
pub fn start_in(format: LogFormat, verbosity: u8, sink: Sink) {
    let timed = !sink.is_timed();
    start_with(format, verbosity, sink, false, timed);
}

fn start_with<W>(format: LogFormat, verbosity: u8, writer: W, ansi: bool, timed: bool)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let level = match verbosity {
        0 => "error,binlogfs=warn",
        1 => "warn,binlogfs=info",
        2 => "warn,binlogfs=debug",
        _ => "debug,binlogfs=trace",
    };
    let filter = EnvFilter::try_from_env("BINLOGFS_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(ansi)
        .with_target(false);
    // A second start (tests) keeps the first.
    let _ = match (format, timed) {
        (LogFormat::Text, true) => builder.try_init(),
        (LogFormat::Text, false) => builder.without_time().try_init(),
        (LogFormat::Json, _) => builder.json().try_init(),
    };
}

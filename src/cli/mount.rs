//! `binlogfs mount` and `mount.binlogfs`: the archived history as a directory.
//!
//! # Who does what
//! The command reads what it is told ([`options`] is the one table) and runs itself again, detached ([`detach`]): at that moment
//! it has no thread, so nothing is forked with threads alive. The detached process first lets go of the terminal, then checks
//! everything, mounts ([`serve`]), and tells the command through a pipe, which ends only then: with 0 when the mount works, else with
//! the reason and an exit code ([`failure`]). With `--foreground` there is one process, and with `--check` no mount.

mod detach;
mod environment;
mod failure;
mod helper;
mod options;
mod serve;
mod spec;
mod told;

use super::{Global, output, version};
use crate::model::StoreUrl;
use crate::telemetry;
use crate::telemetry::sink::Sink;
use failure::{Failure, Kind};
use helper::Asked;
use options::MountSettings;
use serve::Audience;
use spec::Spec;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use told::{Flags, Told};

pub use failure::Kind as FailureKind;
#[cfg(test)]
pub use helper::take as read_options;
pub use helper::{FLAGS, is_helper};
pub use options::OPTIONS;

/// Names the files with private keys, for all commands.
const IDENTITY: &str = "BINLOGFS_IDENTITY";
/// Set once the variables of `env_file` are in the environment.
const ENVIRONMENT_READ: &str = "BINLOGFS_ENV_FILE_READ";
/// Threads of the mount: fetching and decoding have their own, these only pass on.
const WORKER_THREADS: usize = 2;

#[derive(clap::Args, Debug)]
pub struct MountArgs {
    /// The stream, such as s3://bucket/prefix, or a configuration file with url = "..." and options.
    #[arg(value_name = "URL|FILE")]
    spec: Spec,
    /// An existing directory.
    dir: PathBuf,
    /// Stay in the foreground: for containers and services.
    #[arg(long)]
    foreground: bool,
    /// Check everything and mount nothing.
    #[arg(long, conflicts_with = "foreground")]
    check: bool,
    /// Options as mount(8) takes them, such as -o allow_other,refresh=10; may be repeated.
    #[arg(short = 'o', value_name = "OPTIONS")]
    options: Vec<String>,
    #[command(flatten)]
    flags: Flags,
    /// File of the mount namespace to mount in.
    #[arg(long, hide = true)]
    namespace: Option<PathBuf>,
}

/// How to mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// In a process of its own.
    Detach,
    /// In this process.
    Foreground,
    /// Not at all: everything is checked.
    Check,
}

/// A mount that is asked for.
#[derive(Clone, Debug)]
struct Request {
    spec: Spec,
    /// Absolute.
    dir: PathBuf,
    told: Vec<Told>,
    manner: Manner,
    namespace: Option<PathBuf>,
    /// Whether a mount that works is worth a word.
    says_mounted: bool,
    /// Whether errors are JSON.
    json: bool,
}

/// Runs `binlogfs mount`.
pub fn main(global: &Global, args: MountArgs) -> ExitCode {
    if detach::is_detached() {
        return failure::exit_of_helper(detached(global, args));
    }
    let outcome = request(global, args).and_then(|request| run(&request));
    failure::exit_of_command(outcome.map_err(|failure| say(failure, global.json)))
}

/// Runs `mount.binlogfs` with the arguments of this process.
pub fn helper_main() -> ExitCode {
    let outcome = match helper::read(std::env::args_os().skip(1)) {
        Ok(Asked::Help) => output::print(&helper::help()).map_err(Failure::from),
        Ok(Asked::Version) => {
            output::print(&version::line("mount.binlogfs")).map_err(Failure::from)
        }
        Ok(Asked::Mount(request)) => {
            let run = std::panic::AssertUnwindSafe(|| run(&request));
            // What it had to say, the panic has said.
            std::panic::catch_unwind(run).unwrap_or(Err(Failure::said(Kind::Internal)))
        }
        Err(failure) => Err(failure),
    };
    failure::exit_of_helper(outcome.map_err(|failure| say(failure, false)))
}

/// The URL of a mount that the table of mounts knows as `source`: that itself, or what the configuration file says.
///
/// # Errors
/// When it is neither, or the file cannot be read any more.
pub fn url_of(source: &str) -> anyhow::Result<StoreUrl> {
    let spec: Spec = source.parse().map_err(anyhow::Error::msg)?;
    let (url, _) = spec.resolve()?;
    Ok(url)
}

/// Says why, unless it was said.
fn say(failure: Failure, json: bool) -> Kind {
    if let Some(error) = &failure.error {
        output::print_error(error, json);
    }
    failure.kind
}

fn request(global: &Global, args: MountArgs) -> Result<Request, Failure> {
    let usage = |text: String| Failure::text(Kind::Usage, text);
    let mut told = told::of_global(global).map_err(usage)?;
    for options in &args.options {
        told.extend(helper::take(options, false)?);
    }
    told.extend(args.flags.0);
    let dir = std::path::absolute(&args.dir).map_err(|e| usage(format!("DIR: {e}")))?;
    Ok(Request {
        spec: args.spec,
        dir,
        told,
        manner: match (args.foreground, args.check) {
            (true, _) => Manner::Foreground,
            (_, true) => Manner::Check,
            (false, false) => Manner::Detach,
        },
        namespace: args.namespace,
        says_mounted: args.check,
        json: global.json,
    })
}

fn run(request: &Request) -> Result<(), Failure> {
    // What is told on the command line comes after what the file says, and wins.
    let (url, mut told) = request.spec.resolve()?;
    told.extend(request.told.iter().cloned());
    let settings = MountSettings::of(&told);
    let mut environment = Vec::new();
    if let Some(path) = &settings.env_file
        && std::env::var_os(ENVIRONMENT_READ).is_none()
    {
        environment = environment::read_file(path)?;
        environment.push((ENVIRONMENT_READ.to_owned(), "1".to_owned()));
    }
    environment.extend(environment::missing());
    match request.manner {
        Manner::Detach => detach::detach(request, environment),
        // A process cannot change its own environment safely, but it can begin again.
        Manner::Foreground | Manner::Check if !environment.is_empty() => {
            Err(begin_again(environment))
        }
        Manner::Foreground | Manner::Check => {
            detach::enter(request.namespace.as_deref())?;
            match &settings.log_file {
                Some(path) => {
                    telemetry::start_in(settings.log_format, settings.verbose, log_to(path)?);
                }
                None => telemetry::start(settings.log_format, settings.verbose),
            }
            serve::run(request, &url, &settings, Audience::Terminal)
        }
    }
}

fn log_to(path: &std::path::Path) -> Result<Sink, Failure> {
    Sink::file(path).map_err(|error| {
        let what = format!("cannot open the log file {}", path.display());
        Failure::new(Kind::Failed, anyhow::Error::new(error).context(what))
    })
}

/// Returns only when it fails.
fn begin_again(environment: Vec<(String, String)>) -> Failure {
    let mut arguments = std::env::args_os();
    let name = arguments
        .next()
        .unwrap_or_else(|| OsString::from("binlogfs"));
    match detach::own_program() {
        Ok(program) => {
            let mut command = Command::new(program);
            command.arg0(name).args(arguments).envs(environment);
            Failure::new(Kind::System, command.exec())
        }
        Err(failure) => failure,
    }
}

/// The life of the process that [`detach::detach`] starts.
fn detached(global: &Global, args: MountArgs) -> Result<(), Kind> {
    let report = detach::let_go_of_the_terminal().map_err(|_| Kind::System)?;
    let json = global.json;
    let outcome = request(global, args).and_then(|request| {
        detach::enter(request.namespace.as_deref())?;
        let (url, mut told) = request.spec.resolve()?;
        told.extend(request.told.iter().cloned());
        let settings = MountSettings::of(&told);
        let sink = match &settings.log_file {
            Some(path) => log_to(path)?,
            None => Sink::system(),
        };
        let sink = sink.with_witness(report.copy()?);
        telemetry::start_in(settings.log_format, settings.verbose, sink.clone());
        std::panic::set_hook(Box::new(|panic| {
            tracing::error!("{panic}: this is a bug, please report it")
        }));
        let audience = Audience::Waiting(report.clone(), sink);
        serve::run(&request, &url, &settings, audience)
    });
    outcome.map_err(|failure| {
        if let Some(error) = &failure.error {
            report.say(&output::error_line(error, json));
        }
        failure.kind
    })
}

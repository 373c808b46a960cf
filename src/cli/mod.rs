//! The commands: each parses, calls and prints.

mod agent;
mod archive;
mod backup;
mod cache;
mod cat;
mod completions;
mod config_check;
mod dlq;
mod doctor;
mod drill;
mod exit;
mod fence;
mod fleet;
mod fleet_status;
mod forest;
mod generate_man;
mod history;
mod import;
mod index_rebuild;
mod keygen;
mod local;
mod locate;
mod long_table;
mod ls;
mod migrate;
mod mount;
mod namesakes;
mod output;
mod plan;
mod plan_json;
mod prune;
mod purge_safe;
mod reading;
mod recover;
mod recoverable;
mod rekey;
mod replicate;
mod retain;
mod route;
mod signals;
mod status;
mod status_locks;
mod storing;
mod verify;
mod version;

use crate::model::StoreUrl;
use crate::model::url::printable;
use crate::telemetry::{self, LogFormat};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use exit::Exit;
use std::path::PathBuf;
use std::process::ExitCode;

/// Archives MySQL binary logs and mounts their whole history as a directory.
#[derive(Parser, Debug)]
#[command(
    name = "binlogfs",
    version,
    disable_version_flag = true,
    max_term_width = 100
)]
struct Cli {
    /// Print the version; with --verbose, all that is known of the build.
    #[arg(short = 'V', long, action = clap::ArgAction::Version)]
    version: Option<bool>,
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes.
#[derive(Args, Debug, Clone)]
#[command(next_help_heading = "Options of every command")]
struct Global {
    /// Print one JSON document instead of text.
    #[arg(long, global = true)]
    json: bool,
    /// File with the private key that decrypts the segments; may be repeated.
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "BINLOGFS_IDENTITY",
        value_delimiter = ','
    )]
    identity: Vec<PathBuf>,
    /// Another store with a copy of the stream: readers turn to it where the first one lacks an object, has a damaged one or does
    /// not answer, an archiver fills it, import and migrate refuse it; may be repeated.
    #[arg(long, global = true, value_name = "URL")]
    replica: Vec<StoreUrl>,
    /// Where an archiver keeps what must survive a restart [default for root: below /var/lib/binlogfs].
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// Where a reader keeps its index and what it fetched; can be deleted [default for root: below /var/cache/binlogfs].
    #[arg(long, global = true, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    /// Log more; -vv and -vvv still more.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// How log lines look.
    #[arg(long, global = true, value_enum, default_value_t)]
    log_format: LogFormat,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Archive a server's closed binlogs.
    Archive(archive::ArchiveArgs),
    /// Archive binlogs that were kept elsewhere: from a directory or a bucket, compressed or not, in any order.
    Import(import::ImportArgs),
    /// Show the archived history as a directory.
    Mount(mount::MountArgs),
    /// Write archived segments to standard output, in replay order.
    Cat(cat::CatArgs),
    /// List the archived history.
    Ls(ls::LsArgs),
    /// Tell what happened: schema changes, big transactions, the files that touched a table.
    History(history::HistoryArgs),
    /// Find the exact transaction that a moment, a GTID or a position means.
    Locate(locate::LocateArgs),
    /// Tell what a recovery replays, from where, and up to which byte; or why it cannot be done.
    Plan(plan::PlanArgs),
    /// Bring a server to a moment of its past: replay what it lacks up to there.
    Recover(recover::RecoverArgs),
    /// Prove that a backup can be recovered: restore it to a server of its own, replay, compare.
    Drill(drill::DrillArgs),
    /// Register base backups, and check what each can recover.
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Tell what a stream holds, and what is wrong with it; or how all streams of an agent are.
    Status(status::StatusArgs),
    /// Prove the chain, the objects and, with --deep, every byte.
    Verify(verify::VerifyArgs),
    /// Delete what is too old and no backup needs: recorded first, deleted a day later.
    Prune(prune::PruneArgs),
    /// Keep objects from being deleted for longer: Object Lock, legal hold.
    Retain(retain::RetainArgs),
    /// Give archived segments to other keys, without writing the objects again.
    Rekey(rekey::RekeyArgs),
    /// Copy a stream to another place record by record, and move its archivers there.
    Migrate(migrate::MigrateArgs),
    /// Fill or heal another store with a copy of a stream.
    Replicate(replicate::ReplicateArgs),
    /// Look at what reading and mounting need here, and say what to change.
    Doctor(doctor::DoctorArgs),
    /// Look at the files that were put aside, and try them again.
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// End a timeline: what is behind belongs to no history that is replayed.
    Fence(fence::FenceArgs),
    /// Check a configuration file, or print an example.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print, or run, the PURGE BINARY LOGS that the archive covers.
    PurgeSafe(purge_safe::PurgeSafeArgs),
    /// Look at the frames that are kept on disk, or remove them.
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Work on the local index.
    #[command(subcommand)]
    Index(IndexCommand),
    /// Make a key pair: the public key encrypts, the private key file decrypts.
    Keygen(keygen::KeygenArgs),
    /// Print a script with which a shell completes commands and options.
    Completions(completions::CompletionsArgs),
    /// Write the man pages to a directory: for packages.
    #[command(hide = true)]
    GenerateMan(generate_man::GenerateManArgs),
}

#[derive(Subcommand, Debug)]
enum IndexCommand {
    /// Delete the index and build it again from the bucket.
    Rebuild(index_rebuild::RebuildArgs),
}

#[derive(Subcommand, Debug)]
enum ConfigCommand {
    /// Find every mistake of a configuration file at once.
    Check(config_check::CheckArgs),
    /// Print a configuration with every option described.
    Example,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let name = std::env::args_os().next();
    if name.is_some_and(|name| mount::is_helper(&name)) {
        return mount::helper_main();
    }
    let (global, command) = match Cli::try_parse() {
        Ok(cli) => (cli.global, cli.command),
        Err(e) if e.kind() == ErrorKind::DisplayVersion => return exit_of(print_version(), false),
        Err(mut e) => {
            hide_options(&mut e);
            // Help goes to stdout with 0; errors to stderr with 2, as the exit table says.
            let _ = e.print();
            return if e.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Done.into()
            };
        }
    };
    let command = match command {
        // It runs itself again, so no thread may exist yet, and its exit codes may be mount(8)'s.
        Command::Mount(args) => return mount::main(&global, args),
        command => command,
    };
    let json = global.json;
    exit_of(run(global, command), json)
}

fn exit_of(outcome: anyhow::Result<Exit>, json: bool) -> ExitCode {
    match outcome {
        Ok(exit) => exit.into(),
        Err(e) if output::is_broken_pipe(&e) => Exit::Done.into(),
        Err(e) => {
            output::print_error(&e, json);
            Exit::Failed.into()
        }
    }
}

fn print_version() -> anyhow::Result<Exit> {
    output::print(&version::text(std::env::args_os().skip(1))?)?;
    Ok(Exit::Done)
}

/// The command line as people are shown it. clap takes no command away, so that it is made again of those that are not hidden.
fn offered() -> clap::Command {
    let all = Cli::command();
    let shown = all.get_subcommands().filter(|c| !c.is_hide_set());
    clap::Command::new("binlogfs")
        .version(version::VERSION)
        .about(all.get_about().cloned().unwrap_or_default())
        .disable_version_flag(true)
        .subcommand_required(true)
        .args(all.get_arguments())
        .subcommands(shown)
}

/// clap repeats the value it refuses; of a URL no more is printed than the URL's own errors do.
fn hide_options(error: &mut clap::Error) {
    if let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue)
        && value.contains("://")
    {
        let shown = ContextValue::String(printable(value));
        error.insert(ContextKind::InvalidValue, shown);
    }
}

fn run(global: Global, command: Command) -> anyhow::Result<Exit> {
    if let Command::Archive(args) = command {
        let (orders, once) = args.orders(&global.replica)?;
        // A service tells what it archives; a command says it on stdout.
        let verbosity = global.verbose.max(u8::from(!once));
        telemetry::start(global.log_format, verbosity);
        if orders.file.is_some() || !once {
            orders.be_nice();
        }
        return block_on(archive::run(&global, orders, once));
    }
    telemetry::start(global.log_format, global.verbose);
    match command {
        Command::Keygen(args) => keygen::run(&global, &args),
        Command::Completions(args) => completions::run(&args),
        Command::GenerateMan(args) => generate_man::run(&args),
        Command::Config(ConfigCommand::Check(args)) => config_check::run(&global, &args),
        Command::Config(ConfigCommand::Example) => config_check::example(),
        Command::Doctor(args) => block_on(doctor::run(&global, &args)),
        Command::Dlq(command) => block_on(dlq::run(&global, &command)),
        Command::Fence(args) => block_on(fence::run(&global, &args)),
        Command::Cache(command) => cache::run(&global, &command),
        Command::Import(args) => block_on(import::run(&global, &args)),
        Command::Cat(args) => block_on(cat::run(&global, &args)),
        Command::Ls(args) => block_on(ls::run(&global, &args)),
        Command::History(args) => block_on(history::run(&global, &args)),
        Command::Locate(args) => block_on(locate::run(&global, &args)),
        Command::Plan(args) => block_on(plan::run(&global, &args)),
        Command::Recover(args) => block_on(recover::run(&global, &args)),
        Command::Drill(args) => block_on(drill::run(&global, &args)),
        Command::Backup(command) => block_on(backup::run(&global, &command)),
        Command::Status(args) => block_on(status::run(&global, &args)),
        Command::Prune(args) => block_on(prune::run(&global, &args)),
        Command::Retain(args) => block_on(retain::run(&global, &args)),
        Command::PurgeSafe(args) => block_on(purge_safe::run(&global, &args)),
        Command::Migrate(args) => block_on(migrate::run(&global, &args)),
        Command::Rekey(args) => block_on(rekey::run(&global, &args)),
        Command::Verify(args) => block_on(verify::run(&global, &args)),
        Command::Replicate(args) => block_on(replicate::run(&global, &args)),
        Command::Index(IndexCommand::Rebuild(args)) => block_on(index_rebuild::run(&global, &args)),
        Command::Mount(_) | Command::Archive(_) => unreachable!("handled above"),
    }
}

fn block_on(command: impl Future<Output = anyhow::Result<Exit>>) -> anyhow::Result<Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let exit = runtime.block_on(command);
    // A blocking read of a store that hangs must not keep a finished command from ending.
    runtime.shutdown_background();
    exit
}

//! `binlogfs mount`: the archived history as a directory.
//!
//! Without `--foreground` the command runs itself again, detached, and waits until that says that the mount works or why
//! it does not. Nothing is forked with threads alive, and what the mount needs is checked before this returns.

use super::exit::Exit;
use super::{Global, reading};
use crate::cache::opening::TailCache;
use crate::cache::{CacheOptions, SegmentReader};
use crate::fs::StreamSource;
use crate::fs::{self, MountOptions, Ownership};
use crate::model::StoreUrl;
use crate::telemetry;
use anyhow::{Context as _, Result};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// What the detached process prints when its mount works.
const READY: &str = "ready\n";
/// Set in the environment of the detached process.
const DETACHED: &str = "BINLOGFS_DETACHED";
/// Its value when stderr is a log file.
const LOGS: &str = "logs";
/// Threads of the mount: fetching and decoding have their own, these only pass on.
const WORKER_THREADS: usize = 2;

#[derive(clap::Args, Debug)]
pub struct MountArgs {
    /// The stream, such as file:///srv/binlogs/orders.
    url: StoreUrl,
    /// An existing directory.
    dir: PathBuf,
    /// Stay in the foreground.
    #[arg(long)]
    foreground: bool,
    /// Seconds between looks for new segments.
    #[arg(long, default_value_t = 5, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    refresh: u64,
    /// Let other users in, as far as owner and mode allow.
    #[arg(long)]
    allow_other: bool,
    /// Owner of all files [default: who mounts].
    #[arg(long)]
    uid: Option<u32>,
    /// Group of all files [default: that of who mounts].
    #[arg(long)]
    gid: Option<u32>,
    /// Permissions of all files, octal.
    #[arg(long, default_value = "0440", value_parser = octal)]
    mode: u16,
    /// MiB of decompressed data kept in memory.
    #[arg(long, default_value_t = 64, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=65536))]
    memory: u32,
    /// Seconds after which a read that gets no answer fails.
    #[arg(long, default_value_t = 30, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    read_timeout: u64,
    /// File that log lines are appended to, when not in the foreground.
    #[arg(long, value_name = "FILE")]
    log_file: Option<PathBuf>,
}

fn octal(text: &str) -> Result<u16, String> {
    match u16::from_str_radix(text, 8) {
        Ok(mode) if mode & !0o555 == 0 => Ok(mode),
        Ok(_) => Err("the mount is read-only: use r and x bits only, such as 0444".to_owned()),
        Err(_) => Err("not an octal number".to_owned()),
    }
}

pub fn run(global: &Global, args: MountArgs) -> Result<Exit> {
    let detached = std::env::var_os(DETACHED).is_some();
    if !args.foreground && !detached {
        return detach(global, &args);
    }
    if detached {
        // No terminal can signal it then. It is no group leader, having just been spawned.
        rustix::process::setsid()?;
    }
    telemetry::start(global.log_format, global.verbose);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()?;
    let result = runtime.block_on(serve(global, args, detached));
    // A fetch from a store that hangs must not keep the process alive after its mount is gone.
    runtime.shutdown_background();
    result
}

async fn serve(global: &Global, args: MountArgs, detached: bool) -> Result<Exit> {
    let opened = reading::open(global, &args.url).await?;
    let options = CacheOptions {
        frame_bytes: (args.memory as usize) << 20,
        deadline: Duration::from_secs(args.read_timeout),
        ..CacheOptions::default()
    };
    let identities = reading::identities(&global.identity)?;
    let tails: Arc<dyn TailCache> = Arc::clone(&opened.index) as _;
    let reader = SegmentReader::new(Arc::clone(&opened.store), identities, Some(tails), options);
    let older: Vec<_> = opened
        .state()
        .timelines()
        .map(|(id, _)| id)
        .rev()
        .skip(1)
        .collect();
    let source = Arc::new(StreamSource::new(Arc::clone(&opened.stream)));
    let mount = MountOptions {
        target: args.dir.clone(),
        source: args.url.to_string(),
        allow_other: args.allow_other,
    };
    let ownership = Ownership {
        uid: args
            .uid
            .unwrap_or_else(|| rustix::process::geteuid().as_raw()),
        gid: args
            .gid
            .unwrap_or_else(|| rustix::process::getegid().as_raw()),
        mode: args.mode,
    };
    let refresh = Duration::from_secs(args.refresh);
    let handle = fs::mount(
        source,
        Arc::new(reader),
        fs::Options {
            mount,
            ownership,
            refresh,
        },
    )
    .await?;
    let mut message = String::new();
    let newest = opened.newest_segment()?.and_then(|entry| entry.segment);
    if global.identity.is_empty()
        && newest.is_some_and(|segment| !segment.object.recipients.is_empty())
    {
        message += "binlogfs: note: the segments are encrypted: without --identity FILE names, sizes and times are seen, and \
                    opening gives 'Required key not available'\n";
    }
    if !older.is_empty() {
        let list: Vec<_> = older
            .iter()
            .rev()
            .map(|id| format!("{}/.timeline/{id}", args.dir.display()))
            .collect();
        message += &format!(
            "binlogfs: note: this is the newest timeline; histories from before a RESET or failover are apart, and must not be replayed \
             together with it: {}\n",
            list.join(", ")
        );
    }
    if detached {
        print!("{message}{READY}");
        std::io::stdout().flush()?;
        let has_log = std::env::var_os(DETACHED).is_some_and(|how| how == LOGS);
        leave_terminal(has_log)?;
    } else {
        eprint!("{message}");
        eprintln!("binlogfs: mounted {} on {}", args.url, args.dir.display());
    }
    handle.run().await?;
    Ok(Exit::Done)
}

/// The parent waits for the end of our stdout: from here on it goes nowhere, and so do log lines without a file.
fn leave_terminal(has_log: bool) -> Result<()> {
    let null = std::fs::OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&null)?;
    if !has_log {
        rustix::stdio::dup2_stderr(&null)?;
    }
    Ok(())
}

/// Runs this command again in a session of its own, and waits until its mount works.
fn detach(global: &Global, args: &MountArgs) -> Result<Exit> {
    let log = match &args.log_file {
        Some(path) => {
            let file = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path);
            Some(file.with_context(|| format!("cannot open the log file {}", path.display()))?)
        }
        None => None,
    };
    let has_log = log.is_some();
    let mut child =
        Command::new(std::env::current_exe().context("cannot find this program's own file")?)
            .args(absolute_arguments(global, args)?)
            .env(DETACHED, if has_log { LOGS } else { "quiet" })
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.map_or_else(Stdio::piped, Stdio::from))
            .spawn()
            .context("cannot start the mount's process")?;
    // Both pipes at once: a child that has much to say on one must not wait for us to be done with the other.
    let warnings = child.stderr.take().map(|mut stderr| {
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::stderr()))
    });
    let mut said = String::new();
    if let Some(stdout) = child.stdout.as_mut() {
        stdout.read_to_string(&mut said)?;
    }
    let warned = warnings.map(std::thread::JoinHandle::join);
    if let Some(message) = said.strip_suffix(READY) {
        eprint!("{message}");
        return Ok(Exit::Done);
    }
    let silent = matches!(warned, Some(Ok(Ok(0))));
    let status = child.wait()?;
    if has_log {
        eprintln!("binlogfs: mounting failed ({status}); the log file tells why");
    } else if silent {
        eprintln!("binlogfs: the mount's process ended with {status} and said nothing");
    }
    Ok(Exit::Failed)
}

/// This command's arguments, with paths that mean the same from `/`.
fn absolute_arguments(global: &Global, args: &MountArgs) -> Result<Vec<std::ffi::OsString>> {
    // Not canonicalised: that would stat the mount point, which may be a dead mount.
    let absolute = |path: &Path| std::path::absolute(path).map(PathBuf::into_os_string);
    let mut list: Vec<std::ffi::OsString> = vec![
        "mount".into(),
        args.url.to_string().into(),
        absolute(&args.dir)?,
    ];
    for identity in &global.identity {
        list.extend(["--identity".into(), absolute(identity)?]);
    }
    for (option, dir) in [
        ("--state-dir", &global.state_dir),
        ("--cache-dir", &global.cache_dir),
    ] {
        if let Some(dir) = dir {
            list.extend([option.into(), absolute(dir)?]);
        }
    }
    let numbers = [
        ("--refresh", Some(args.refresh)),
        ("--memory", Some(args.memory.into())),
        ("--read-timeout", Some(args.read_timeout)),
        ("--uid", args.uid.map(u64::from)),
        ("--gid", args.gid.map(u64::from)),
    ];
    for (option, number) in numbers {
        list.extend(
            number
                .into_iter()
                .flat_map(|n| [option.into(), n.to_string().into()]),
        );
    }
    list.extend(["--mode".into(), format!("{:o}", args.mode).into()]);
    list.extend(args.allow_other.then(|| "--allow-other".into()));
    list.extend((0..global.verbose).map(|_| "-v".into()));
    if global.log_format == telemetry::LogFormat::Json {
        list.extend(["--log-format".into(), "json".into()]);
    }
    Ok(list)
}

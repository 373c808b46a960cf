//! The mount's own process: opens the stream, checks it, mounts it, and stays until it is unmounted.

use super::detach::Report;
use super::failure::{Failure, Kind};
use super::options::MountSettings;
use super::{Manner, Request, WORKER_THREADS};
use crate::cache::disk::DiskCache;
use crate::cache::opening::TailCache;
use crate::cache::{CacheOptions, SegmentReader};
use crate::cli::agent::Running;
use crate::cli::local::{self, Archiving};
use crate::cli::signals::Signals;
use crate::cli::{Global, cache, forest, reading};
use crate::fs::{self, MountOptions, Ownership, Prepared, StreamSource};
use crate::model::StoreUrl;
use crate::telemetry::sink::Sink;
use anyhow::Result;
use sd_notify::NotifyState;
use std::sync::Arc;
use std::time::Duration;

/// How long the end may wait for what is to be written to disk.
const DISK_GRACE: Duration = Duration::from_secs(1);

/// Who hears what there is to say.
pub enum Audience {
    /// Whoever reads stderr, for as long as the process lives; and systemd, if it started us.
    Terminal,
    /// A process that waits until the mount works; the log goes on without it.
    Waiting(Report, Sink),
}

impl Audience {
    fn say(&self, text: &str) {
        match self {
            Audience::Terminal => eprint!("{text}"),
            Audience::Waiting(report, _) => report.say(text),
        }
    }

    /// Says that the mount works.
    ///
    /// # Errors
    /// When whoever waited is gone: nobody would know of the mount.
    fn ready(&self) -> Result<(), Failure> {
        match self {
            Audience::Terminal => notify(NotifyState::Ready),
            Audience::Waiting(report, sink) => {
                sink.dismiss();
                report.ready().map_err(|error| {
                    let why = format!(
                        "whoever asked for the mount is gone ({error}): it is taken away again"
                    );
                    Failure::text(Kind::Interrupted, why)
                })?;
            }
        }
        Ok(())
    }
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd could not be notified");
    }
}

/// Does what `request` asks for, in this process and until it is over.
///
/// # Errors
/// Why there is no mount, or why it did not end well.
pub fn run(
    request: &Request,
    url: &StoreUrl,
    settings: &MountSettings,
    audience: Audience,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKER_THREADS)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Kind::System, error))?;
    let disk = match request.manner {
        Manner::Check => None,
        Manner::Detach | Manner::Foreground => {
            cache::open(settings.cache_dir.as_deref(), settings.disk)
        }
    };
    let outcome = runtime.block_on(serve(request, url, settings, disk.as_ref(), audience));
    // A fetch from a store that hangs must not keep the process alive after its mount is gone.
    runtime.shutdown_background();
    if let Some(disk) = disk {
        disk.flush(DISK_GRACE);
    }
    outcome
}

/// Serves the mount, beside the archiver of the same stream if that is asked for.
async fn serve(
    request: &Request,
    url: &StoreUrl,
    settings: &MountSettings,
    disk: Option<&DiskCache>,
    audience: Audience,
) -> Result<(), Failure> {
    if settings.archive && settings.local.is_none() {
        let why = "archive needs local=DATADIR: the files that it archives";
        return Err(Failure::text(Kind::Usage, why));
    }
    let archiver = match &settings.local {
        Some(local) if settings.archive && request.manner != Manner::Check => {
            let archiving = Archiving {
                recipients: settings.recipients.clone(),
                defaults_file: settings.defaults_file.clone(),
            };
            Some(archiving.begin(&global(settings), url, local)?)
        }
        Some(_) | None => None,
    };
    let outcome = serve_beside(request, url, settings, disk, archiver.as_ref(), audience).await;
    if let Some(archiver) = archiver {
        archiver.end().await;
    }
    outcome
}

async fn serve_beside(
    request: &Request,
    url: &StoreUrl,
    settings: &MountSettings,
    disk: Option<&DiskCache>,
    archiver: Option<&Running>,
    audience: Audience,
) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(|error| Failure::new(Kind::System, error))?;
    let (prepared, notes) = tokio::select! {
        prepared = prepare(request, url, settings, disk, archiver) => prepared?,
        () = signals.any() => return Err(Failure::interrupted()),
    };
    audience.say(&notes);
    let place = request.dir.display();
    if request.manner == Manner::Check {
        if request.says_mounted {
            audience.say(&format!(
                "binlogfs: {} can be mounted on {place}\n",
                request.spec
            ));
        }
        return Ok(());
    }
    // Not to be given up halfway: what is mounted has to be served or unmounted.
    let handle = prepared.mount().await?;
    if let Audience::Terminal = audience {
        audience.say(&format!("binlogfs: mounted {} on {place}\n", request.spec));
    }
    if let Err(failure) = audience.ready() {
        handle.unmount().await?;
        return Err(failure);
    }
    tokio::select! {
        outcome = handle.wait() => {
            let was_cut = handle.clear_away().await?;
            outcome?;
            return match was_cut {
                false => Ok(()),
                true => Err(cut(&request.dir)),
            };
        }
        () = signals.any() => {}
    }
    if let Audience::Terminal = audience {
        notify(NotifyState::Stopping);
    }
    Ok(handle.unmount().await?)
}

/// Nobody waits any more whom it could be said to.
fn cut(dir: &std::path::Path) -> Failure {
    let dir = dir.display();
    tracing::error!(
        "the connection of the mount on {dir} was cut, by 'umount -f' or by /sys/fs/fuse/connections: it was taken away"
    );
    Failure::said(Kind::System)
}

/// Checks everything that can be checked without mounting; also what there is to say of what was found.
async fn prepare(
    request: &Request,
    url: &StoreUrl,
    settings: &MountSettings,
    disk: Option<&DiskCache>,
    archiver: Option<&Running>,
) -> Result<(Prepared, String)> {
    // First, and again at the end: what is mounted already needs no store to be told.
    fs::check_target(&request.dir)?;
    let global = global(settings);
    let options = CacheOptions {
        memory_bytes: usize::try_from(settings.memory_bytes).unwrap_or(usize::MAX),
        deadline: settings.read_timeout,
        ..CacheOptions::default()
    };
    let opened = match local::open(&global, url, archiver).await {
        Err(error) if forest::is_above_streams(&error) && settings.local.is_none() => {
            let shown = fs_options(request, settings);
            let prepared = forest::prepare(&global, url, shown, disk, options).await?;
            return Ok((prepared, String::new()));
        }
        opened => opened?,
    };
    let identities = reading::identities(&settings.identity)?;
    let tails: Arc<dyn TailCache> = Arc::clone(&opened.index) as _;
    let id = opened.stream.file().stream_id;
    let own = disk.map(|disk| disk.stream(id, &url.to_string()));
    let store = Arc::clone(&opened.store);
    let reader = SegmentReader::with_disk(store, identities, Some(tails), own, options);
    let source = Arc::new(StreamSource::new(Arc::clone(&opened.stream)));
    let files = match &settings.local {
        Some(path) => Some(local::files(path, &opened)?),
        None => None,
    };
    let shown = fs_options(request, settings);
    let prepared = fs::prepare_with(source, Arc::new(reader), files, shown).await?;
    Ok((prepared, notes(request, settings, &opened)?))
}

/// What every command is told, out of what the mount is told.
fn global(settings: &MountSettings) -> Global {
    Global {
        json: false,
        identity: settings.identity.clone(),
        replica: settings.replicas.clone(),
        state_dir: settings.state_dir.clone(),
        cache_dir: settings.cache_dir.clone(),
        verbose: settings.verbose,
        log_format: settings.log_format,
    }
}

fn fs_options(request: &Request, settings: &MountSettings) -> fs::Options {
    fs::Options {
        mount: MountOptions {
            target: request.dir.clone(),
            source: request.spec.to_string(),
            allow_other: settings.allow_other,
            noexec: settings.noexec,
        },
        ownership: ownership(settings),
        refresh: settings.refresh,
    }
}

fn ownership(settings: &MountSettings) -> Ownership {
    use rustix::process::{getegid, geteuid};
    Ownership {
        uid: settings.uid.unwrap_or_else(|| geteuid().as_raw()),
        gid: settings.gid.unwrap_or_else(|| getegid().as_raw()),
        mode: settings.mode,
    }
}

/// What whoever mounts should know of the stream.
fn notes(request: &Request, settings: &MountSettings, opened: &reading::Reading) -> Result<String> {
    let mut notes = String::new();
    if let Some(alarm) = &opened.alarm {
        notes += &format!(
            "binlogfs: warning: {alarm}. What is mounted is the history as far as this host knows it\n"
        );
    }
    if let Some(moved) = &opened.state().moved {
        notes += &format!(
            "binlogfs: note: this stream has moved to {}; what was archived since is there\n",
            moved.to
        );
    }
    let newest = opened.newest_segment()?.and_then(|entry| entry.segment);
    if settings.identity.is_empty()
        && newest.is_some_and(|segment| !segment.object.recipients.is_empty())
    {
        notes += "binlogfs: note: the segments are encrypted: without --identity FILE (-o identity=FILE) names, sizes and times \
                  are seen, and opening gives 'Required key not available'\n";
    }
    let root = opened.state().newest_timeline().map(|(id, _)| id);
    let apart: Vec<_> = opened
        .state()
        .timelines()
        .filter(|(id, _)| Some(*id) != root)
        .map(|(id, _)| format!("{}/.timeline/{id}", request.dir.display()))
        .collect();
    if !apart.is_empty() {
        notes += &format!(
            "binlogfs: note: this is the history that goes on; those from before a RESET or failover, and late tails of old primaries, are \
             apart, and must not be replayed together with it: {}\n",
            apart.join(", ")
        );
    }
    Ok(notes)
}

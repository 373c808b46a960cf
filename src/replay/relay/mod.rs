//! The engine that lets the server apply binlogs itself, in parallel, as it applies those of its source.
//!
//! A replication channel of our own gets files of a mount as its relay logs, and only its applier is started: the server is not
//! restarted, nothing is copied, no link is made. The files are those of the mount's `.range/`, which begin and end where the plan does, so
//! that the applier cannot go further, whatever happens to us. (`START REPLICA UNTIL` is not enough: a server that is restarted starts
//! the channel by itself, without it. Measured on 9.7.4.)
//!
//! | if this dies | then |
//! |---|---|
//! | we | the target goes on to the end of the plan, from the mount, which is a process of its own; the next run takes all away |
//! | the mount | the applier stops with an error; we report it; what was applied stays |
//! | the target | we take the mount away; when it is back its channel finds no files; the next run takes the channel away |

mod channel;
mod confined;
pub mod host;
mod index_file;
mod mounted;
mod reach;

use super::Progress;
use super::only::TablePattern;
use super::target::{Channel, Target, TargetFacts};
use crate::model::GtidSet;
use crate::recover::{Plan, PlanError, Planner};
use crate::source::server::{Connection, ServerError};
use mounted::Mounted;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::sync::watch;

/// The name of the channel.
pub const CHANNEL: &str = "binlogfs";
/// How often the target is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// An applier that has read everything, and applies nothing any more, is asked so often before that is believed.
const IDLE_MAX: u32 = 10;

/// Why a replay through the server's applier ended early.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The archive could not be read.
    #[error(transparent)]
    Archive(#[from] PlanError),
    /// The server did not answer as it should.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The archive could not be mounted.
    #[error("cannot mount the archive for the target: {reason}")]
    Mount {
        /// Why not.
        reason: String,
    },
    /// The server does not see the mount.
    #[error(
        "the target's process does not see the mount: it has mounts of its own (a container, or a service with PrivateMounts)"
    )]
    Unseen,
    /// The server does not get at a file of the mount.
    #[error(
        "the target cannot read {}, which is mounted for it: {reason}. If its modes and AppArmor or SELinux let it, the server's error log \
         says more", .file.display()
    )]
    Unreadable {
        /// The first of the files.
        file: PathBuf,
        /// In the server's words.
        reason: String,
    },
    /// The server would leave transactions out.
    #[error("the target has replication filters, which would leave transactions out ({0})")]
    Filtered(String),
    /// The list of relay logs could not be written.
    #[error("cannot write {}: {error}", .path.display())]
    Index {
        /// Its path.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The applier stopped.
    #[error("the target's applier stopped: {0}")]
    Applier(String),
    /// The applier read everything, and something is missing.
    #[error(
        "the target's applier is at the end of all files ({place}) and {missing} are not applied: it passed over them. What came after them \
         is there, so restore the target before it is recovered again, with --engine pipe"
    )]
    Short {
        /// Where it is.
        place: String,
        /// What is missing.
        missing: GtidSet,
    },
    /// Somebody asked to stop.
    #[error("it was asked to stop")]
    Stopped,
}

/// How the archive is mounted for the target.
#[derive(Clone, Copy)]
pub struct Mounting<'a> {
    /// Below which directory, unless below `/run/binlogfs`.
    pub base: Option<&'a Path>,
    /// The command that mounts it on a directory, for a user.
    pub command: &'a (dyn Fn(&Path, Option<u32>) -> Command + Sync),
}

/// A replay that ended early.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub error: RelayError,
    /// The applier was started: something may have been applied.
    pub started: bool,
}

/// Whether an earlier run left its channel. One of that name with a source of its own is somebody else's.
pub fn is_left_behind(facts: &TargetFacts) -> bool {
    facts.channels.iter().any(is_ours)
}

/// Whether a channel is one that this made.
pub fn is_ours(channel: &Channel) -> bool {
    channel.name == CHANNEL && channel.source == channel::HOST
}

/// Filters of the server's own that the channel of an earlier run has, which took them all away: the server was started since, and the
/// applier may have gone on with them.
///
/// # Errors
/// [`ServerError`].
pub async fn filters_since(
    target: &mut Target,
    facts: &TargetFacts,
) -> Result<String, ServerError> {
    channel::filters_in_force(target.connection(), !facts.applier.skip_start).await
}

/// Takes away what an earlier run left.
///
/// # Errors
/// [`ServerError`].
pub async fn clean(target: &mut Target, facts: &TargetFacts) -> Result<(), ServerError> {
    // One that is stopped, or cannot be started, says so.
    if let Err(error) = channel::stop(target.connection()).await {
        tracing::debug!(%error, "the channel was not stopped");
    }
    let mounts = host::channel_index(facts).map(|index| index_file::mounts(&index));
    for dir in mounts.unwrap_or_default() {
        mounted::take_away(&dir);
    }
    channel::remove(target).await
}

/// Replays `plan` to `target`, which is on this host; of tables, only those of `only` if there are any.
///
/// Returns the events that were created, which the applier leaves disabled.
///
/// # Errors
/// [`Failed`]. What was committed stays; channel and mount are gone, unless the server is.
pub async fn run(
    planner: &Planner,
    plan: &Plan,
    target: &mut Target,
    facts: &TargetFacts,
    (mounting, only): (Mounting<'_>, &[TablePattern]),
    progress: &dyn Progress,
    mut stop: watch::Receiver<bool>,
) -> Result<Vec<String>, Failed> {
    let mut started = false;
    let done = async {
        let legs = planner.legs(plan).await?;
        // Its files are the server's to read, and nobody else's: they are decrypted.
        let owner = facts
            .datadir
            .as_ref()
            .and_then(|dir| std::fs::metadata(dir).ok());
        let owner = owner.map(|metadata| metadata.uid());
        let mounted = tokio::task::block_in_place(|| Mounted::mount(mounting, owner))?;
        let files = tokio::task::block_in_place(|| mounted.files(plan, &legs))?;
        let Some(first) = files.first() else {
            return Ok(Vec::new());
        };
        if host::pid(facts).is_some_and(|pid| !mounted.is_seen_by(pid)) {
            return Err(RelayError::Unseen);
        }
        if *stop.borrow() {
            return Err(RelayError::Stopped);
        }
        channel::make(target.connection(), facts.relay_log_purge).await?;
        let outcome = async {
            give(&files, first, target, facts, only).await?;
            started = true;
            channel::start(target.connection()).await?;
            watch(plan, target, progress, &mut stop).await
        }
        .await;
        // In this order: the server deletes the files of a channel with it, and must find none of ours.
        let stopped = channel::stop(target.connection()).await;
        drop(mounted);
        let removed = match stopped {
            Ok(()) => channel::remove(target).await,
            Err(error) => Err(error),
        };
        match (outcome, removed) {
            (Ok(()), removed) => {
                removed?;
                Ok(channel::events(target.connection()).await?)
            }
            (Err(error), Ok(())) => Err(error),
            (Err(error), Err(left)) => {
                tracing::warn!(
                    error = %left,
                    channel = CHANNEL,
                    "it is left on the target: the next run takes it away"
                );
                Err(error)
            }
        }
    }
    .await;
    done.map_err(|error| Failed { error, started })
}

/// Gives the channel the files, `first` first, and looks whether the server would read them, and apply all that is in them.
async fn give(
    files: &[PathBuf],
    first: &Path,
    target: &mut Target,
    facts: &TargetFacts,
    only: &[TablePattern],
) -> Result<(), RelayError> {
    let server = target.connection();
    channel::keep_files(server).await?;
    let mut filters = channel::filters(server).await?;
    if facts.applier.skip_start && !filters.is_empty() {
        channel::end_filters(server).await?;
        filters = channel::filters(server).await?;
    }
    if !filters.is_empty() {
        return Err(RelayError::Filtered(filters));
    }
    if !only.is_empty() {
        server.run(&TablePattern::filter(only, CHANNEL)).await?;
    }
    let index = host::channel_index(facts).unwrap_or_default();
    if let Err(error) = index_file::put_before(&index, files) {
        return Err(RelayError::Index { path: index, error });
    }
    let looked = point_to(server, first).await;
    if looked.is_err() {
        // With the channel the server deletes what it lists. Where it may not look it would not find them gone, and fail.
        let taken = match index_file::take_out(&index, files) {
            Ok(()) => { channel::read_list_again(server).await }.map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = taken {
            tracing::warn!(error, index = %index.display(), "the files cannot be taken out of the list again");
        }
    }
    looked
}

/// Has the channel begin with `first`, if the server can read that.
async fn point_to(server: &mut Connection, first: &Path) -> Result<(), RelayError> {
    channel::point_to(server, first).await?;
    match channel::unreadable(server, first).await? {
        None => Ok(()),
        Some(reason) => Err(RelayError::Unreadable {
            file: first.to_owned(),
            reason,
        }),
    }
}

/// Waits until everything is applied.
async fn watch(
    plan: &Plan,
    target: &mut Target,
    progress: &dyn Progress,
    stop: &mut watch::Receiver<bool>,
) -> Result<(), RelayError> {
    let total = plan.adds.count();
    let (mut before, mut idle) = (None, 0);
    loop {
        let missing = plan.adds.minus(&target.executed().await?);
        let left = missing.count();
        progress.done(total - left);
        if left == 0 {
            return Ok(());
        }
        let server = target.connection();
        let state = channel::state(server).await?;
        if !state.runs {
            return Err(RelayError::Applier(channel::failure(server).await?));
        }
        // The coordinator is at the end long before its workers are.
        let rests = state.at_end && before == Some(left) && channel::workers_rest(server).await?;
        idle = if rests { idle + 1 } else { 0 };
        if idle >= IDLE_MAX {
            let place = state.place;
            return Err(RelayError::Short { place, missing });
        }
        before = Some(left);
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            Ok(_) = stop.wait_for(|stop| *stop) => return Err(RelayError::Stopped),
        }
    }
}

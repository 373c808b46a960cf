//! A mount before it is made: everything that can be checked is, so that what is mounted works.

use super::forest::Forest;
use super::front::Front;
use super::fuse;
use super::handle::{Ended, MountHandle};
use super::history::History;
use super::local::{LocalFiles, Union};
use super::mounting::{MountError, MountOptions, MountPoint, check_target};
use super::read_ahead;
use super::refresh::{Refresher, blocking, load};
use super::source::{HistorySource, SourceError};
use super::tree::Ownership;
use super::view::View;
use crate::cache::{ArchivedSegment, Cause, SegmentReader};
use crate::ledger::EntryState;
use crate::model::Seq;
use crate::store::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How to mount and what to show.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where, and under which name.
    pub mount: MountOptions,
    /// Who owns what is seen.
    pub ownership: Ownership,
    /// How often to look for new segments.
    pub refresh: Duration,
}

/// A mount that only has to be made.
pub struct Prepared {
    front: Front,
    /// What keeps it up to date, unless it does so itself.
    refresher: Option<Arc<Refresher>>,
    options: Options,
}

/// Brings `source` up to date, and checks that it can be read and where it is to be mounted. Nothing is mounted.
///
/// # Errors
/// [`MountError`].
pub async fn prepare(
    source: Arc<dyn HistorySource>,
    reader: Arc<SegmentReader>,
    options: Options,
) -> Result<Prepared, MountError> {
    prepare_with(source, reader, None, options).await
}

/// The same with the files of its server that come after the archived ones, if any are given.
///
/// # Errors
/// [`MountError`].
pub async fn prepare_with(
    source: Arc<dyn HistorySource>,
    reader: Arc<SegmentReader>,
    local: Option<LocalFiles>,
    mut options: Options,
) -> Result<Prepared, MountError> {
    let refuse = refusal(&options);
    options.mount.target = checked_target(&options).await?;
    source.refresh().await.map_err(&refuse)?;
    let history = load(&source, History::default()).await.map_err(&refuse)?;
    check_newest(&source, &reader, &history)
        .await
        .map_err(&refuse)?;
    let patience = reader.options().deadline;
    let view = View::new(Arc::clone(&source), reader, history, options.ownership);
    let view = Arc::new(view);
    let refresher = Refresher::new(Arc::clone(&source), Arc::clone(&view));
    let refresher = Arc::new(refresher);
    let front = match local {
        None => Front::One(view),
        Some(files) => {
            let refresher = Arc::clone(&refresher);
            let (ownership, times) = (options.ownership, (patience, options.refresh));
            let union = Union::new(view, source, refresher, files, ownership, times).await;
            Front::Union(union.map_err(&refuse)?)
        }
    };
    Ok(Prepared {
        front,
        refresher: Some(refresher),
        options,
    })
}

/// Checks that `forest` has a stream, and where it is to be mounted. That some stream cannot be opened is no error.
///
/// # Errors
/// [`MountError`].
pub async fn prepare_forest(
    forest: Arc<Forest>,
    mut options: Options,
) -> Result<Prepared, MountError> {
    options.mount.target = checked_target(&options).await?;
    forest.find_any().await.map_err(refusal(&options))?;
    Ok(Prepared {
        front: Front::Many(forest),
        refresher: None,
        options,
    })
}

/// Why a stream cannot be mounted.
fn refusal(options: &Options) -> impl Fn(SourceError) -> MountError + use<> {
    let url = options.mount.source.clone();
    move |error| MountError::Stream {
        url: url.clone(),
        reason: error.to_string(),
    }
}

/// The directory to mount on, once it is known that it can be.
async fn checked_target(options: &Options) -> Result<PathBuf, MountError> {
    let wanted = options.mount.target.clone();
    let checked = blocking(move || Ok(check_target(&wanted))).await;
    checked.map_err(refusal(options))?
}

impl Prepared {
    /// Mounts it. When this returns, the mount works.
    ///
    /// # Errors
    /// [`MountError`]; nothing is mounted then.
    pub async fn mount(self) -> Result<MountHandle, MountError> {
        let (options, runtime) = (self.options.mount, Handle::current());
        let served = self.front.clone();
        let begun = tokio::task::spawn_blocking(move || begin(&options, served, runtime)).await;
        let (point, ended) = begun
            .map_err(|died| MountError::system("cannot mount", std::io::Error::other(died)))??;
        Ok(MountHandle::new(
            point,
            self.front,
            ended,
            self.refresher,
            self.options.refresh,
        ))
    }
}

/// [`prepare`] and [`Prepared::mount`] in one.
///
/// # Errors
/// [`MountError`]; nothing is mounted then.
pub async fn mount(
    source: Arc<dyn HistorySource>,
    reader: Arc<SegmentReader>,
    options: Options,
) -> Result<MountHandle, MountError> {
    prepare(source, reader, options).await?.mount().await
}

/// [`prepare_forest`] and [`Prepared::mount`] in one.
///
/// # Errors
/// [`MountError`]; nothing is mounted then.
pub async fn mount_forest(
    forest: Arc<Forest>,
    options: Options,
) -> Result<MountHandle, MountError> {
    prepare_forest(forest, options).await?.mount().await
}

/// Mounts, shakes hands, and starts the session on a thread of its own. Blocks.
fn begin(
    options: &MountOptions,
    front: Front,
    runtime: Handle,
) -> Result<(MountPoint, watch::Receiver<Ended>), MountError> {
    let (point, device) = MountPoint::mount(options)?;
    let started = fuse::serve(front, runtime, device).and_then(|session| {
        let (tell, ended) = watch::channel(None);
        std::thread::Builder::new()
            .name("binlogfs-fuse".to_owned())
            .spawn(move || {
                let outcome = session().map_err(|e| e.to_string());
                tell.send_replace(Some(outcome));
            })?;
        Ok(ended)
    });
    match started {
        Ok(ended) => {
            match read_ahead::raise(point.minor()) {
                Ok(kib) => tracing::info!(kib, "read-ahead of the kernel"),
                Err(error) => tracing::info!(
                    %error,
                    kib = read_ahead::effective_kib(point.minor()).ok(),
                    "read-ahead of the kernel stays short: cold reads will be slower"
                ),
            }
            Ok((point, ended))
        }
        Err(error) => {
            let what = "the kernel does not serve the new mount";
            let failed = MountError::system(what, error);
            match point.detach() {
                Ok(_) => Err(failed),
                Err(left) => {
                    tracing::error!(error = %left, "a dead mount is left: run umount -l");
                    Err(failed)
                }
            }
        }
    }
}

/// Opens the newest segment, so that wrong credentials and wrong keys are told by whoever mounts, and not by `cat`.
async fn check_newest(
    source: &Arc<dyn HistorySource>,
    reader: &SegmentReader,
    history: &History,
) -> Result<(), SourceError> {
    let Some(seq) = newest_archived(history) else {
        return Ok(());
    };
    let source = Arc::clone(source);
    let Some(entry) = blocking(move || source.entry(seq)).await? else {
        return Ok(());
    };
    let segment = ArchivedSegment::of_entry(&entry)?;
    if let Err(error) = reader.check_key(&segment) {
        tracing::warn!("{error}; names and attributes can be seen, contents cannot be read");
        return Ok(());
    }
    match reader.probe(&segment).await {
        Err(error) if is_fatal(&error.cause) => Err(error.into()),
        Err(error) => {
            tracing::error!("{error}");
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// Looks at the last entries only: whoever has lost the last thousand segments has seen alarms.
fn newest_archived(history: &History) -> Option<Seq> {
    let entries = history.timeline(history.newest()?)?;
    let last = entries.last()?.seq;
    let near = Seq(last.0.saturating_sub(1000));
    let archived = entries
        .after(near)
        .filter(|entry| entry.state == EntryState::Archived);
    archived.last().map(|entry| entry.seq)
}

/// Whether a failure of one segment means that none can be read. One that is lost or corrupt must not keep the others away.
fn is_fatal(cause: &Cause) -> bool {
    match cause {
        Cause::NoKey(_) | Cause::Newer(_) | Cause::Timeout(_) => true,
        Cause::Store(error) => match error.kind {
            ErrorKind::Credentials
            | ErrorKind::Expired
            | ErrorKind::Denied
            | ErrorKind::NoSuchBucket
            | ErrorKind::WrongRegion
            | ErrorKind::ClockSkew
            | ErrorKind::Tls
            | ErrorKind::Throttled
            | ErrorKind::Transient
            | ErrorKind::Timeout
            | ErrorKind::BreakerOpen
            | ErrorKind::Unsupported
            | ErrorKind::Permanent => true,
            ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::NoSpace
            | ErrorKind::Truncated
            | ErrorKind::TooLarge
            | ErrorKind::BadDigest => false,
        },
        Cause::Damaged { .. }
        | Cause::Hole { .. }
        | Cause::Corrupt(_)
        | Cause::Closing
        | Cause::Internal(_) => false,
    }
}

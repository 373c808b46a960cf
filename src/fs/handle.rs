//! A mount that works, from its making to its end.

use super::fuse;
use super::history::History;
use super::mounting::{Detached, MountError, MountOptions, MountPoint, check_target};
use super::source::{HistorySource, Refreshed, SourceError};
use super::tree::Ownership;
use super::view::View;
use crate::cache::{ArchivedSegment, Cause, SegmentReader};
use crate::ledger::EntryState;
use crate::model::{Micros, Seq};
use crate::store::ErrorKind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long open files may keep a detached mount alive before its connection is cut.
const BUSY_GRACE: Duration = Duration::from_millis(500);
/// How long a session may take to end once its connection is cut; then it is left to the end of the process.
const END_GRACE: Duration = Duration::from_secs(5);

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

/// How a mount is doing.
#[derive(Clone, Debug)]
pub struct MountStatus {
    /// When the history was last brought up to date.
    pub refreshed_at: Micros,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
    /// Number of entries in all timelines.
    pub entries: usize,
}

/// How the session ended: `None` while it has not.
type Ended = Option<Result<(), String>>;

/// A mount that works. Dropped, it is unmounted as far as that goes without waiting; [`MountHandle::unmount`] does it well.
pub struct MountHandle {
    point: MountPoint,
    view: Arc<View>,
    status: Arc<Mutex<MountStatus>>,
    ended: watch::Receiver<Ended>,
    refresher: JoinHandle<()>,
}

/// Brings `source` up to date, checks that it can be read, and mounts it. When this returns, the mount works.
///
/// # Errors
/// [`MountError`]; nothing is mounted then.
pub async fn mount(
    source: Arc<dyn HistorySource>,
    reader: Arc<SegmentReader>,
    options: Options,
) -> Result<MountHandle, MountError> {
    let refuse = |error: SourceError| MountError::Stream {
        url: options.mount.source.clone(),
        reason: error.to_string(),
    };
    let wanted = options.mount.target.clone();
    let target = blocking(move || Ok(check_target(&wanted)))
        .await
        .map_err(refuse)??;
    source.refresh().await.map_err(refuse)?;
    let history = load(&source, History::default()).await.map_err(refuse)?;
    check_newest(&source, &reader, &history)
        .await
        .map_err(refuse)?;
    let status = Arc::new(Mutex::new(MountStatus {
        refreshed_at: Micros::now(),
        last_error: None,
        entries: history.len(),
    }));
    let view = View::new(Arc::clone(&source), reader, history, options.ownership);
    let view = Arc::new(view);
    let mount_options = MountOptions {
        target,
        ..options.mount.clone()
    };
    let (runtime, served) = (Handle::current(), Arc::clone(&view));
    let begun = blocking(move || Ok(begin(&mount_options, served, runtime))).await;
    let (point, ended) = begun.map_err(refuse)??;
    let refresher = tokio::spawn(refresh_for_ever(
        source,
        Arc::clone(&view),
        Arc::clone(&status),
        options.refresh,
    ));
    Ok(MountHandle {
        point,
        view,
        status,
        ended,
        refresher,
    })
}

/// Mounts, shakes hands, and starts the session on a thread of its own. Blocks.
fn begin(
    options: &MountOptions,
    view: Arc<View>,
    runtime: Handle,
) -> Result<(MountPoint, watch::Receiver<Ended>), MountError> {
    let (point, device) = MountPoint::mount(options)?;
    let started = fuse::serve(view, runtime, device).and_then(|session| {
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
            if let Err(error) = point.raise_read_ahead() {
                tracing::info!(%error, "the kernel's read-ahead stays short: cold reads will be slower");
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

/// Work that blocks, off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work).await?
}

async fn load(
    source: &Arc<dyn HistorySource>,
    mut history: History,
) -> Result<History, SourceError> {
    let source = Arc::clone(source);
    blocking(move || {
        source.extend(&mut history)?;
        Ok(history)
    })
    .await
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

async fn refresh_for_ever(
    source: Arc<dyn HistorySource>,
    view: Arc<View>,
    status: Arc<Mutex<MountStatus>>,
    every: Duration,
) {
    loop {
        tokio::time::sleep(every).await;
        let outcome = refresh(&source, &view).await;
        let mut status = status.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => {
                status.refreshed_at = Micros::now();
                status.entries = view.history().len();
                if status.last_error.take().is_some() {
                    tracing::info!("the history is up to date again");
                }
            }
            Err(error) => {
                let error = error.to_string();
                // Once, and not every few seconds for as long as the store is down.
                if status.last_error.as_ref() != Some(&error) {
                    tracing::error!(%error, "cannot look for new segments; what is known stays readable");
                }
                status.last_error = Some(error);
            }
        }
    }
}

async fn refresh(source: &Arc<dyn HistorySource>, view: &View) -> Result<(), SourceError> {
    let history = match source.refresh().await? {
        Refreshed::Unchanged => return Ok(()),
        // Shares all full chunks with the one that is shown.
        Refreshed::Appended => load(source, History::clone(&view.history())).await?,
        Refreshed::Rewritten => load(source, History::default()).await?,
    };
    let known = view.history();
    for timeline in history.timelines() {
        if let Some(root) = view.root()
            && known.timeline(timeline).is_none()
        {
            tracing::warn!(
                "timeline {timeline} has begun: it is under .timeline/{timeline}; the root goes on to show timeline {root}. Mount again to \
                 have the newest in the root"
            );
        }
    }
    view.show(history);
    Ok(())
}

impl MountHandle {
    /// How it is doing.
    pub fn status(&self) -> MountStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.clone()
    }

    /// Where it is.
    pub fn target(&self) -> &std::path::Path {
        self.point.target()
    }

    /// The history that is shown.
    pub fn history(&self) -> Arc<History> {
        self.view.history()
    }

    /// Waits until the session has ended, whoever ended it.
    ///
    /// # Errors
    /// When it did not end by an unmount.
    pub async fn wait(&self) -> Result<(), MountError> {
        let mut ended = self.ended.clone();
        let outcome = match ended.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        let failed = |reason: String| {
            MountError::system("the FUSE session broke", std::io::Error::other(reason))
        };
        match outcome {
            Some(outcome) => outcome.map_err(failed),
            None => Err(failed("its thread died".to_owned())),
        }
    }

    /// Unmounts: reads on their way fail with EIO, the mount is detached, and what is still open in it is cut off.
    ///
    /// # Errors
    /// [`MountError::Covered`] if something else is mounted over it: nothing is unmounted then, reads fail from now on.
    pub async fn unmount(&self) -> Result<(), MountError> {
        self.view.close();
        self.refresher.abort();
        let point = self.point.clone();
        let detached = tokio::task::spawn_blocking(move || point.detach())
            .await
            .map_err(|died| MountError::system("cannot unmount", std::io::Error::other(died)))?;
        if let Ok(Detached::Now) = detached {
            tracing::debug!(target = %self.point.target().display(), "detached");
        }
        if tokio::time::timeout(BUSY_GRACE, self.wait()).await.is_err() {
            let point = self.point.clone();
            let aborted = tokio::task::spawn_blocking(move || point.abort()).await;
            if let Ok(Err(error)) = aborted {
                tracing::warn!(%error, "cannot cut off what is still open in the mount");
            }
            if tokio::time::timeout(END_GRACE, self.wait()).await.is_err() {
                tracing::warn!("the FUSE session goes on until the process ends");
            }
        }
        detached.map(|_| ())
    }

    /// Keeps the mount until it is unmounted by whoever, or SIGTERM, SIGINT or SIGHUP says to unmount it.
    ///
    /// # Errors
    /// As [`MountHandle::wait`] and [`MountHandle::unmount`].
    pub async fn run(self) -> Result<(), MountError> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen =
            |kind| signal(kind).map_err(|e| MountError::system("cannot wait for signals", e));
        let mut terminate = listen(SignalKind::terminate())?;
        let mut interrupt = listen(SignalKind::interrupt())?;
        let mut hangup = listen(SignalKind::hangup())?;
        tokio::select! {
            outcome = self.wait() => return outcome,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = hangup.recv() => {}
        }
        self.unmount().await
    }
}

impl Drop for MountHandle {
    fn drop(&mut self) {
        self.refresher.abort();
        if self.ended.borrow().is_some() {
            return;
        }
        self.view.close();
        let detached = self.point.detach();
        let aborted = self.point.abort();
        tracing::debug!(?detached, ?aborted, "a mount was dropped");
    }
}

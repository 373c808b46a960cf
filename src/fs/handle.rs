//! A mount that works, from its making to its end.

use super::history::History;
use super::mounting::{Detached, MountError, MountPoint};
use super::prepare::load;
use super::read_ahead;
use super::source::{HistorySource, Refreshed, SourceError};
use super::view::View;
use crate::model::Micros;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long open files may keep a detached mount alive before its connection is cut.
const BUSY_GRACE: Duration = Duration::from_millis(500);
/// How long a session may take to end once its connection is cut; then it is left to the end of the process.
const END_GRACE: Duration = Duration::from_secs(5);

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
pub(super) type Ended = Option<Result<(), String>>;

/// A mount that works. Dropped, it is unmounted as far as that goes without waiting; [`MountHandle::unmount`] does it well.
pub struct MountHandle {
    point: MountPoint,
    view: Arc<View>,
    status: Arc<Mutex<MountStatus>>,
    ended: watch::Receiver<Ended>,
    refresher: JoinHandle<()>,
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
        view.tell_left_out();
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
    /// A mount at `point` that shows `view`, whose session tells `ended`; looks for new segments from now on.
    pub(super) fn new(
        point: MountPoint,
        view: Arc<View>,
        ended: watch::Receiver<Ended>,
        source: Arc<dyn HistorySource>,
        refresh: Duration,
    ) -> MountHandle {
        let status = Arc::new(Mutex::new(MountStatus {
            refreshed_at: Micros::now(),
            last_error: None,
            entries: view.history().len(),
        }));
        view.report(Arc::clone(&status));
        let refresher = tokio::spawn(refresh_for_ever(
            source,
            Arc::clone(&view),
            Arc::clone(&status),
            refresh,
        ));
        MountHandle {
            point,
            view,
            status,
            ended,
            refresher,
        }
    }

    /// How it is doing.
    pub fn status(&self) -> MountStatus {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.clone()
    }

    /// Where it is.
    pub fn target(&self) -> &std::path::Path {
        self.point.target()
    }

    /// The kernel's read-ahead of it as it is now, in KiB; `None` where sysfs does not tell.
    pub fn read_ahead_kib(&self) -> Option<u32> {
        read_ahead::effective_kib(self.point.minor()).ok()
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

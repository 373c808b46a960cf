//! A mount that works, from its making to its end.

use super::front::Front;
use super::history::History;
use super::mounting::{Detached, MountError, MountPoint};
use super::read_ahead;
use super::refresh::{MountStatus, Refresher};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long open files may keep a detached mount alive before its connection is cut.
const BUSY_GRACE: Duration = Duration::from_millis(500);
/// How long a session may take to end once its connection is cut; then it is left to the end of the process.
const END_GRACE: Duration = Duration::from_secs(5);

/// How the session ended: `None` while it has not.
pub(super) type Ended = Option<Result<(), String>>;

/// A mount that works. Dropped, it is unmounted as far as that goes without waiting; [`MountHandle::unmount`] does it well.
pub struct MountHandle {
    point: MountPoint,
    front: Front,
    /// Of a single stream; a forest refreshes its streams itself.
    refresher: Option<(Arc<Refresher>, JoinHandle<()>)>,
    ended: watch::Receiver<Ended>,
}

impl MountHandle {
    /// A mount at `point` that shows `front`, whose session tells `ended`. What `refresher` keeps up to date is, from now on.
    pub(super) fn new(
        point: MountPoint,
        front: Front,
        ended: watch::Receiver<Ended>,
        refresher: Option<Arc<Refresher>>,
        refresh: Duration,
    ) -> MountHandle {
        let refresher = refresher.map(|refresher| {
            let running = Arc::clone(&refresher);
            let task = tokio::spawn(async move { running.run(refresh).await });
            (refresher, task)
        });
        MountHandle {
            point,
            front,
            refresher,
            ended,
        }
    }

    /// How up to date it is; of a forest nothing is known as a whole.
    pub fn status(&self) -> Option<MountStatus> {
        self.refresher
            .as_ref()
            .map(|(refresher, _)| refresher.status())
    }

    /// Nothing new is looked for any more, and reads fail.
    fn close(&self) {
        self.front.close();
        if let Some((_, task)) = &self.refresher {
            task.abort();
        }
    }

    /// The archived history that is shown; empty for a forest, whose streams have their own.
    pub fn history(&self) -> Arc<History> {
        match &self.front {
            Front::One(view) => view.history(),
            Front::Union(union) => union.view().history(),
            Front::Many(_) => Arc::default(),
        }
    }

    /// Where it is.
    pub fn target(&self) -> &std::path::Path {
        self.point.target()
    }

    /// The kernel's read-ahead of it as it is now, in KiB; `None` where sysfs does not tell.
    pub fn read_ahead_kib(&self) -> Option<u32> {
        read_ahead::effective_kib(self.point.minor()).ok()
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

    /// Once the session has ended, and not by [`MountHandle::unmount`]: takes away what is left of a mount whose connection was
    /// cut (`umount -f` does that first, and leaves a busy one where it is). Tells whether it was.
    ///
    /// # Errors
    /// As [`MountHandle::unmount`].
    pub async fn clear_away(&self) -> Result<bool, MountError> {
        if !self.is_dead().await? {
            return Ok(false);
        }
        // Whoever cut it may be about to unmount it.
        tokio::time::sleep(BUSY_GRACE).await;
        if !self.is_dead().await? {
            return Ok(false);
        }
        let point = self.point.clone();
        let detached = tokio::task::spawn_blocking(move || point.detach()).await;
        let died = |died| MountError::system("cannot unmount", std::io::Error::other(died));
        Ok(detached.map_err(died)?? == Detached::Now)
    }

    /// What is mounted there by now may be another's, and that may hang: it is not dead.
    async fn is_dead(&self) -> Result<bool, MountError> {
        let point = self.point.clone();
        let looking = tokio::task::spawn_blocking(move || point.is_dead());
        match tokio::time::timeout(END_GRACE, looking).await {
            Ok(Ok(is_dead)) => is_dead,
            Ok(Err(_)) | Err(_) => Ok(false),
        }
    }

    /// Unmounts: reads on their way fail with EIO, the mount is detached, and what is still open in it is cut off.
    ///
    /// # Errors
    /// [`MountError::Covered`] if something else is mounted over it: nothing is unmounted then, reads fail from now on.
    pub async fn unmount(&self) -> Result<(), MountError> {
        self.close();
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
        self.close();
        if self.ended.borrow().is_some() {
            return;
        }
        let detached = self.point.detach();
        let aborted = self.point.abort();
        tracing::debug!(?detached, ?aborted, "a mount was dropped");
    }
}

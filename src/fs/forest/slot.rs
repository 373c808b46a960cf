//! One stream of a forest: closed, being opened, open, or failed.

use crate::fs::refresh::Refresher;
use crate::fs::view::{Errno, View};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What a stream is at the moment.
enum State {
    Closed,
    Opening,
    Open(OpenStream),
    /// Why it could not be opened, and when.
    Failed(Errno, Instant),
}

/// A stream that is open, and refreshed for as long as it is.
pub(super) struct OpenStream {
    view: Arc<View>,
    refreshing: JoinHandle<()>,
    /// Open files. It is not closed while there are any.
    handles: AtomicUsize,
    /// When it was last asked for something, on the forest's clock.
    used_at: AtomicU64,
}

impl OpenStream {
    /// Shows `view` from `now` on, refreshed `every` so often. Inside a runtime.
    pub(super) fn new(
        view: Arc<View>,
        refresher: Refresher,
        every: Duration,
        now: u64,
    ) -> OpenStream {
        OpenStream {
            view,
            refreshing: tokio::spawn(async move { refresher.run(every).await }),
            handles: AtomicUsize::new(0),
            used_at: AtomicU64::new(now),
        }
    }

    /// What it shows.
    pub(super) fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Lets go of it. Whoever is the last to have its index closes that, which waits for the disk: so this is, once what refreshes
    /// it has let go of it as well.
    pub(super) async fn close(mut self) {
        self.refreshing.abort();
        let _ = (&mut self.refreshing).await;
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.refreshing.abort();
    }
}

/// A stream's state, which can be waited for.
pub(super) struct Slot(watch::Sender<State>);

impl Default for Slot {
    fn default() -> Slot {
        Slot(watch::Sender::new(State::Closed))
    }
}

impl State {
    fn view(&self, now: u64) -> Result<Arc<View>, Errno> {
        match self {
            State::Open(open) => {
                open.used_at.store(now, Ordering::Relaxed);
                Ok(Arc::clone(&open.view))
            }
            State::Failed(errno, _) => Err(*errno),
            State::Closed | State::Opening => Err(libc::ETIMEDOUT),
        }
    }
}

impl Slot {
    /// Whether a look at it must wait for an opening. A failure holds for `patience`.
    pub(super) fn must_wait(&self, patience: Duration) -> bool {
        match &*self.0.borrow() {
            State::Open(_) => false,
            State::Failed(_, at) => at.elapsed() >= patience,
            State::Closed | State::Opening => true,
        }
    }

    /// Claims the opening: true for the one who is to do it and to call [`Slot::opened`].
    pub(super) fn begin(&self, patience: Duration) -> bool {
        self.0.send_if_modified(|state| {
            let begins = match state {
                State::Closed => true,
                State::Failed(_, at) => at.elapsed() >= patience,
                State::Opening | State::Open(_) => false,
            };
            if begins {
                *state = State::Opening;
            }
            begins
        })
    }

    /// Ends the opening.
    pub(super) fn opened(&self, outcome: Result<OpenStream, Errno>) {
        self.0.send_replace(match outcome {
            Ok(open) => State::Open(open),
            Err(errno) => State::Failed(errno, Instant::now()),
        });
    }

    /// Waits until nobody is opening it.
    pub(super) async fn settled(&self) {
        let mut states = self.0.subscribe();
        // The sender is here.
        let _ = states
            .wait_for(|state| !matches!(state, State::Opening))
            .await;
    }

    /// The view, if it is open.
    ///
    /// # Errors
    /// Why it is not: ETIMEDOUT if it has not been opened yet.
    pub(super) fn view(&self, now: u64) -> Result<Arc<View>, Errno> {
        self.0.borrow().view(now)
    }

    /// The view, if it is open. That is no use of it.
    pub(super) fn peek(&self) -> Option<Arc<View>> {
        match &*self.0.borrow() {
            State::Open(open) => Some(Arc::clone(&open.view)),
            State::Closed | State::Opening | State::Failed(..) => None,
        }
    }

    /// The view, kept open until [`Slot::unpin`].
    ///
    /// # Errors
    /// As [`Slot::view`].
    pub(super) fn pin(&self, now: u64) -> Result<Arc<View>, Errno> {
        // Under the same lock as the look in `close_idle`.
        let state = self.0.borrow();
        let view = state.view(now)?;
        if let State::Open(open) = &*state {
            open.handles.fetch_add(1, Ordering::Relaxed);
        }
        Ok(view)
    }

    /// Ends one [`Slot::pin`] that succeeded.
    pub(super) fn unpin(&self) {
        if let State::Open(open) = &*self.0.borrow() {
            open.handles.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// When it was last used, if it is open and no file in it is.
    pub(super) fn idle_since(&self) -> Option<u64> {
        match &*self.0.borrow() {
            State::Open(open) if open.handles.load(Ordering::Relaxed) == 0 => {
                Some(open.used_at.load(Ordering::Relaxed))
            }
            State::Open(_) | State::Closed | State::Opening | State::Failed(..) => None,
        }
    }

    /// Whether it is open.
    pub(super) fn is_open(&self) -> bool {
        matches!(&*self.0.borrow(), State::Open(_))
    }

    /// Closes it unless a file in it is open. Returns what was open, so that what it showed can be shown again.
    pub(super) fn close_idle(&self) -> Option<OpenStream> {
        let mut closed = None;
        self.0.send_if_modified(|state| {
            if matches!(&*state, State::Open(open) if open.handles.load(Ordering::Relaxed) == 0)
                && let State::Open(open) = std::mem::replace(state, State::Closed)
            {
                closed = Some(open);
            }
            closed.is_some()
        });
        closed
    }
}

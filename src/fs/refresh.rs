//! Keeps a view up to date with its source.

use super::history::History;
use super::source::{HistorySource, Refreshed, SourceError};
use super::view::View;
use crate::model::Micros;
use futures::FutureExt as _;
use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How up to date a mount is.
#[derive(Clone, Debug)]
pub struct MountStatus {
    /// When the history was last brought up to date.
    pub refreshed_at: Micros,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
    /// Number of entries in all timelines.
    pub entries: usize,
}

/// A view and where its history comes from.
pub struct Refresher {
    source: Arc<dyn HistorySource>,
    view: Arc<View>,
    status: Arc<Mutex<MountStatus>>,
    /// One at a time: the older of two histories must not be shown last.
    running: tokio::sync::Mutex<()>,
}

impl Refresher {
    /// Of `view`, whose history was loaded from `source` just now.
    pub fn new(source: Arc<dyn HistorySource>, view: Arc<View>) -> Refresher {
        let status = MountStatus {
            refreshed_at: Micros::now(),
            last_error: None,
            entries: view.history().len(),
        };
        let status = Arc::new(Mutex::new(status));
        view.report(Arc::clone(&status));
        Refresher {
            source,
            view,
            status,
            running: tokio::sync::Mutex::default(),
        }
    }

    /// How the last attempt went.
    pub fn status(&self) -> MountStatus {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, MountStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refreshes after each such time, for as long as it is polled.
    pub async fn run(&self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            self.once().await;
        }
    }

    /// Refreshes, and notes and logs how it went.
    pub async fn once(&self) {
        let _alone = self.running.lock().await;
        // A panic in it must not end the task: nothing new would be shown any more, and nobody told.
        let refreshing = AssertUnwindSafe(self.refresh()).catch_unwind();
        let outcome = refreshing.await.unwrap_or_else(|panic| Err(died(&*panic)));
        self.view.tell_left_out();
        let mut status = self.lock();
        match outcome {
            Ok(()) => {
                status.refreshed_at = Micros::now();
                status.entries = self.view.history().len();
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

    async fn refresh(&self) -> Result<(), SourceError> {
        let (source, view) = (&self.source, &self.view);
        let refreshed = source.refresh().await?;
        let history = match refreshed {
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
                    "timeline {timeline} has begun: it is under .timeline/{timeline}; the root goes on to show timeline {root}. Mount again \
                     to have the newest in the root"
                );
            }
        }
        let before = view.show(history);
        if refreshed == Refreshed::Rewritten {
            view.recall().compare(view, before);
        }
        Ok(())
    }
}

/// The error of a refresh that ended in a panic.
fn died(panic: &(dyn Any + Send)) -> SourceError {
    let literal = panic.downcast_ref::<&str>().copied();
    let text = literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("without a word");
    format!("the last look ended in a panic ({text}): this is a bug, please report it").into()
}

/// Adds to `history` what `source` has after it.
pub(super) async fn load(
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

/// Work that blocks, off the async threads.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    tokio::task::spawn_blocking(work).await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::testing::{OWNERSHIP, reader};
    use crate::ledger::Entry;
    use crate::model::Seq;
    use async_trait::async_trait;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Panics the first time that it is refreshed.
    #[derive(Default)]
    struct PanicsOnce(AtomicBool);

    #[async_trait]
    impl HistorySource for PanicsOnce {
        async fn refresh(&self) -> Result<Refreshed, SourceError> {
            let number = 42;
            assert!(self.0.swap(true, Ordering::Relaxed), "record {number}");
            Ok(Refreshed::Unchanged)
        }

        fn extend(&self, _: &mut History) -> Result<(), SourceError> {
            Ok(())
        }

        fn entry(&self, _: Seq) -> Result<Option<Entry>, SourceError> {
            Ok(None)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_in_a_refresh_is_told_and_the_next_one_comes() {
        let source: Arc<dyn HistorySource> = Arc::new(PanicsOnce::default());
        let history = History::default();
        let view = View::new(Arc::clone(&source), reader(), history, OWNERSHIP);
        let refresher = Arc::new(Refresher::new(source, Arc::new(view)));
        let (every, running) = (Duration::from_secs(10), Arc::clone(&refresher));
        let task = tokio::spawn(async move { running.run(every).await });
        tokio::time::sleep(every * 3 / 2).await;
        let error = refresher.status().last_error.expect("told");
        assert!(error.contains("panic (record 42)"), "{error}");
        tokio::time::sleep(every).await;
        assert_eq!(refresher.status().last_error, None);
        assert!(!task.is_finished());
    }
}

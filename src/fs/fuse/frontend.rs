//! How handlers answer: at once, or from a task, and never by a panic.

use super::reply::guarded;
use crate::fs::front::Front;
use crate::fs::unloaded::Question;
use crate::fs::view::Errno;
use tokio::runtime::Handle;

/// The file system that fuser serves.
pub(super) struct Frontend {
    pub(super) front: Front,
    pub(super) runtime: Handle,
}

impl Frontend {
    /// Answers from a task.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Answers now, or from a task where something comes before. The answer is told if that failed.
    pub(super) fn answer(
        &self,
        question: &Question<'_>,
        answer: impl FnOnce(&Front, Result<(), Errno>) + Send + 'static,
    ) {
        // Before the look at what has to be read first: then nothing else is shown, or closed, between the two.
        let answering = self.front.recall().answering();
        let Some(before) = self.front.before(question) else {
            return guarded(|| answer(&self.front, Ok(())));
        };
        drop(answering);
        let front = self.front.clone();
        self.spawn(async move {
            let ready = before.await;
            let _answering = front.recall().answering();
            answer(&front, ready);
        });
    }
}

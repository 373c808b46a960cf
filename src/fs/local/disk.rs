//! Asking the server's disk from an async task, on a thread that may wait for it: it may not answer, as a directory of NFS.

use crate::fs::source::SourceError;
use crate::index::asking::ask_within;
use tokio::sync::Semaphore;

/// Threads that may wait for the server's disk at once. They are others than those for the index: what is archived is read on while
/// that disk does not answer.
static ASKING: Semaphore = Semaphore::const_new(64);

/// Work that waits for the server's disk, off the async threads. It goes on if nobody waits for it any more.
///
/// # Errors
/// The work's; when it panics.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    ask_within(&ASKING, work).await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::asking::leaves_threads_to_others;

    #[tokio::test]
    async fn however_many_ask_a_disk_that_is_silent_there_are_threads_for_others() {
        leaves_threads_to_others(|question| async move {
            blocking(move || Ok(question())).await.expect("works")
        })
        .await;
    }
}

//! Asking an index from an async task, on a thread that may wait for it: its disk may not answer.

use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

/// Threads that may wait for an index at once. Tokio has 512 for all that blocks: those that decode must not run out because a disk
/// does not answer, and nobody waits for it any more.
static ASKING: Semaphore = Semaphore::const_new(64);

/// The answer to `question`, which looks into an index.
///
/// # Errors
/// When it panics.
pub(crate) async fn ask<T: Send + 'static>(
    question: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    ask_within(&ASKING, question).await
}

/// The same of something else that may not answer: no more threads wait for it than `threads` has permits.
///
/// # Errors
/// When it panics.
pub(crate) async fn ask_within<T: Send + 'static>(
    threads: &'static Semaphore,
    question: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let permit = threads.acquire().await.expect("nobody closes it");
    let asked = spawn_blocking(move || {
        let answer = question();
        drop(permit);
        answer
    });
    asked.await
}

/// Asks by `ask` more often than there are threads, while no answer comes: others have threads all the same, and in the end all answers
/// come.
#[cfg(test)]
pub(crate) async fn leaves_threads_to_others<F>(
    ask: impl Fn(Box<dyn FnOnce() -> usize + Send>) -> F,
) where
    F: Future<Output = usize> + Send + 'static,
{
    use std::sync::{Arc, Mutex, mpsc};
    let (answers, silence) = mpsc::channel::<()>();
    let silence = Arc::new(Mutex::new(silence));
    let asked: Vec<_> = (0..600)
        .map(|n| {
            let silence = Arc::clone(&silence);
            tokio::spawn(ask(Box::new(move || {
                let _ = silence.lock().expect("nobody panics").recv();
                n
            })))
        })
        .collect();
    tokio::task::yield_now().await;
    let soon = std::time::Duration::from_secs(30);
    let other = tokio::time::timeout(soon, spawn_blocking(|| 7)).await;
    assert_eq!(other.expect("a thread").expect("works"), 7);
    drop(answers);
    for (n, asked) in asked.into_iter().enumerate() {
        assert_eq!(asked.await.expect("ends"), n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn however_many_ask_an_index_that_is_silent_there_are_threads_for_others() {
        leaves_threads_to_others(|question| async move { ask(question).await.expect("works") })
            .await;
    }
}

//! How long an answer may wait for the index, which can be on a disk that does not answer either.

use super::errno;
use super::view::{Errno, View, log};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

/// Threads that may wait for an index at once. Tokio has 512 for all that blocks: those that decode must not run out because a disk
/// does not answer, and nobody waits for it any more.
static ASKING: Semaphore = Semaphore::const_new(64);

/// Asks the index, on a thread that may wait for it.
pub(super) async fn ask<T: Send + 'static>(
    question: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    let permit = ASKING.acquire().await.expect("nobody closes it");
    let asked = spawn_blocking(move || {
        let answer = question();
        drop(permit);
        answer
    });
    asked.await
}

/// What `work` comes to, or ETIMEDOUT after `deadline`. `what` says in the log what has failed then.
pub(super) async fn in_time<T>(
    deadline: Duration,
    what: &str,
    work: impl Future<Output = Result<T, Errno>>,
) -> Result<T, Errno> {
    match tokio::time::timeout(deadline, work).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let verdict = errno::SILENT_INDEX;
            let seconds = deadline.as_secs_f64();
            log(
                verdict.level,
                &format!(
                    "{what}: the index, or the disk that it is on, did not answer within {seconds} s"
                ),
            );
            Err(verdict.errno)
        }
    }
}

impl View {
    /// The same with the deadline that reads have.
    pub(super) async fn in_time<T>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, Errno>>,
    ) -> Result<T, Errno> {
        in_time(self.reader().options().deadline, what, work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex, mpsc};

    #[tokio::test]
    async fn however_many_ask_an_index_that_is_silent_there_are_threads_for_others() {
        let (answers, silence) = mpsc::channel::<()>();
        let silence = Arc::new(Mutex::new(silence));
        let asked: Vec<_> = (0..600)
            .map(|n| {
                let silence = Arc::clone(&silence);
                tokio::spawn(ask(move || {
                    let _ = silence.lock().expect("nobody panics").recv();
                    n
                }))
            })
            .collect();
        tokio::task::yield_now().await;
        let other = tokio::time::timeout(Duration::from_secs(30), spawn_blocking(|| 7)).await;
        assert_eq!(other.expect("a thread").expect("works"), 7);
        drop(answers);
        for (n, asked) in asked.into_iter().enumerate() {
            assert_eq!(asked.await.expect("ends").expect("works"), n);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_in_time_is_the_outcome_and_what_does_not_is_a_timeout() {
        let deadline = Duration::from_secs(30);
        let comes = async {
            tokio::time::sleep(deadline / 2).await;
            Err::<(), _>(libc::ESTALE)
        };
        assert_eq!(in_time(deadline, "a test", comes).await, Err(libc::ESTALE));
        let begun = tokio::time::Instant::now();
        let never = std::future::pending::<Result<(), Errno>>();
        assert_eq!(
            in_time(deadline, "a test", never).await,
            Err(libc::ETIMEDOUT)
        );
        assert_eq!(begun.elapsed().as_secs(), deadline.as_secs());
    }
}

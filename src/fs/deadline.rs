//! How long an answer may wait: for the index, which can be on a disk that does not answer either, and in all for one thing after the
//! other.

use super::errno;
use super::view::{Errno, View, log};
use std::time::Duration;
use tokio::time::Instant;

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

/// What is left of the time that a call may take, which waits for one thing after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left(Option<Instant>);

impl Left {
    /// All of it: nothing was waited for, and what comes has a deadline of its own.
    pub(super) fn all() -> Left {
        Left(None)
    }

    /// What is left of `deadline`, which begins now.
    pub(super) fn of(deadline: Duration) -> Left {
        Left(Some(Instant::now() + deadline))
    }

    /// What `work` comes to, or ETIMEDOUT once nothing is left. `what` says in the log what has failed then.
    pub(super) async fn bound<T>(
        self,
        what: &str,
        work: impl Future<Output = Result<T, Errno>>,
    ) -> Result<T, Errno> {
        let Some(until) = self.0 else {
            return work.await;
        };
        match tokio::time::timeout_at(until, work).await {
            Ok(outcome) => outcome,
            Err(_) => {
                tracing::warn!(
                    "{what}: with what was waited for before, it took longer than a read may"
                );
                Err(libc::ETIMEDOUT)
            }
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

    #[tokio::test(start_paused = true)]
    async fn what_comes_one_after_the_other_ends_by_one_deadline() {
        let (deadline, begun) = (Duration::from_secs(30), tokio::time::Instant::now());
        let left = Left::of(deadline);
        let one = async {
            tokio::time::sleep(deadline * 2 / 3).await;
            Ok(1)
        };
        assert_eq!(left.bound("a test", one).await, Ok(1));
        let next = async {
            tokio::time::sleep(deadline * 2 / 3).await;
            Ok(2)
        };
        assert_eq!(left.bound("a test", next).await, Err(libc::ETIMEDOUT));
        assert_eq!(begun.elapsed().as_secs(), deadline.as_secs());
        // What is there already needs no time.
        assert_eq!(left.bound("a test", async { Ok(3) }).await, Ok(3));
        let alone = async {
            tokio::time::sleep(deadline * 2).await;
            Ok(4)
        };
        assert_eq!(Left::all().bound("a test", alone).await, Ok(4));
    }
}

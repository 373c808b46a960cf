//! How long an answer may wait for the index, which can be on a disk that does not answer either.

use super::errno;
use super::view::{Errno, View, log};
use std::time::Duration;

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

//! Work for later, on threads that let others go first.
//!
//! While a long history is taken in, more threads have work than there are processors, and the one that writes to the index is the
//! one that all others wait for. With the same priority as those that decode the next pages it stood still for a third of the time.

use rustix::process::setpriority_process;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot::{Receiver, channel};

/// How far behind others, as `nice` counts (setpriority(2)): with a ninth of their share where there is not enough for all.
const NICE: i32 = 10;

/// Does `work` on a thread of its own. What it returns is lost if it panics, and if nobody keeps the receiver.
pub(super) fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = channel();
    let job = Arc::new(Mutex::new(Some(move || {
        let _ = sender.send(work());
    })));
    let same = Arc::clone(&job);
    let take = |job: &Mutex<Option<_>>| job.lock().unwrap_or_else(PoisonError::into_inner).take();
    let begun = std::thread::Builder::new()
        .name("aside".to_owned())
        .spawn(move || {
            // Of Linux, 0 is the calling thread alone. If it is refused, the work is done all the same.
            let _ = setpriority_process(None, NICE);
            if let Some(job) = take(&same) {
                job();
            }
        });
    // No more threads may be had: then those that are there do it.
    if begun.is_err()
        && let Some(job) = take(&job)
    {
        tokio::task::spawn_blocking(job);
    }
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_behind_others_and_a_panic_is_an_error() {
        let nice = || rustix::process::getpriority_process(None).expect("tells");
        let before = nice();
        assert_eq!(aside(nice).await, Ok((before + NICE).min(19)));
        assert_eq!(nice(), before);
        assert!(aside(|| panic!("on purpose")).await.is_err());
    }
}

//! Leaving alone for a while what failed, and telling it once.

use super::REST;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Something that may fail, and is then left alone for [`REST`].
#[derive(Default)]
pub(super) struct Rest(Mutex<State>);

#[derive(Default)]
struct State {
    until: Option<Instant>,
    why: Option<String>,
}

impl Rest {
    /// Whether it is being left alone.
    pub(super) fn is_on(&self) -> bool {
        self.lock()
            .until
            .is_some_and(|until| Instant::now() < until)
    }

    /// It failed, because of `why`. Tells whether that is news: it worked before.
    pub(super) fn begin(&self, why: String) -> bool {
        let mut state = self.lock();
        state.until = Some(Instant::now() + REST);
        state.why.replace(why).is_none()
    }

    /// It worked. Tells whether that is news: it had failed before.
    pub(super) fn end(&self) -> bool {
        let mut state = self.lock();
        state.until = None;
        state.why.take().is_some()
    }

    /// Why it failed last, if it has not worked since.
    pub(super) fn why(&self) -> Option<String> {
        self.lock().why.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Two values that fit each other whenever they are seen: sound after a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_news_once_and_so_is_its_end() {
        let rest = Rest::default();
        assert!(!rest.is_on() && !rest.end());
        assert!(rest.begin("full".to_owned()));
        assert!(!rest.begin("still full".to_owned()));
        assert!(rest.is_on());
        assert_eq!(rest.why().as_deref(), Some("still full"));
        assert!(rest.end());
        assert!(!rest.is_on() && rest.why().is_none());
        assert!(rest.begin("full".to_owned()));
    }
}

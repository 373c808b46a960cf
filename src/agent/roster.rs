//! The streams that an agent looks after at the moment, each with its last word: for the status endpoint and the watchdog.

use super::health::Health;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

type ByName = BTreeMap<String, watch::Receiver<Health>>;

/// Who is there. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Roster(Arc<Mutex<ByName>>);

impl Roster {
    fn lock(&self) -> std::sync::MutexGuard<'_, ByName> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the stream `name` is heard of there.
    pub fn add(&self, name: &str, health: watch::Receiver<Health>) {
        self.lock().insert(name.to_owned(), health);
    }

    /// The stream `name` is looked after no more, as was wanted.
    pub fn remove(&self, name: &str) {
        self.lock().remove(name);
    }

    /// All of them, in the order of their names.
    pub fn healths(&self) -> Vec<watch::Receiver<Health>> {
        self.lock().values().cloned().collect()
    }

    /// Their last words.
    pub fn read(&self) -> Vec<Health> {
        let healths = self.healths();
        healths
            .iter()
            .map(|health| health.borrow().clone())
            .collect()
    }
}

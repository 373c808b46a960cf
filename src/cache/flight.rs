//! Single flight: one fetch for a thing, however many wait for it.

use super::error::Cause;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

type Outcome<V> = Option<Result<V, Cause>>;

/// The flights that are in the air, by what they fetch.
pub struct Flights<K, V>(Arc<Mutex<HashMap<K, watch::Receiver<Outcome<V>>>>>);

/// A place at the gate: waits for a flight.
pub struct Waiter<V>(watch::Receiver<Outcome<V>>);

/// The duty to land a flight. Dropped without, it lands with [`Cause::Internal`], so that nobody waits for ever.
pub struct Landing<K: Eq + Hash + Clone + Send + 'static, V: Clone + Send + Sync + 'static> {
    flights: Flights<K, V>,
    key: K,
    sender: Option<watch::Sender<Outcome<V>>>,
}

/// What [`Flights::join`] gives.
pub enum Joined<K: Eq + Hash + Clone + Send + 'static, V: Clone + Send + Sync + 'static> {
    /// Somebody fetches it already.
    Waiting(Waiter<V>),
    /// Nobody did: the caller starts it and must land it.
    Started(Waiter<V>, Landing<K, V>),
}

impl<K, V> Clone for Flights<K, V> {
    fn clone(&self) -> Self {
        Flights(Arc::clone(&self.0))
    }
}

impl<K: Eq + Hash + Clone + Send + 'static, V: Clone + Send + Sync + 'static> Default
    for Flights<K, V>
{
    fn default() -> Self {
        Flights(Arc::new(Mutex::new(HashMap::new())))
    }
}

impl<K: Eq + Hash + Clone + Send + 'static, V: Clone + Send + Sync + 'static> Flights<K, V> {
    /// Joins the flight for `key`, or starts it.
    pub fn join(&self, key: &K) -> Joined<K, V> {
        match self.lock().entry(key.clone()) {
            Entry::Occupied(flight) => Joined::Waiting(Waiter(flight.get().clone())),
            Entry::Vacant(place) => {
                let (sender, receiver) = watch::channel(None);
                place.insert(receiver.clone());
                let landing = Landing {
                    flights: self.clone(),
                    key: key.clone(),
                    sender: Some(sender),
                };
                Joined::Started(Waiter(receiver), landing)
            }
        }
    }

    /// How many are in the air.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, watch::Receiver<Outcome<V>>>> {
        // A map whose every change is one call is sound after a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash + Clone + Send + 'static, V: Clone + Send + Sync + 'static> Landing<K, V> {
    /// What it fetches.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Tells everyone who waits. Whoever caches the value must have done so before: after this, a newcomer starts anew.
    pub fn land(mut self, outcome: Result<V, Cause>) {
        self.finish(outcome);
    }

    fn finish(&mut self, outcome: Result<V, Cause>) {
        let Some(sender) = self.sender.take() else {
            return;
        };
        sender.send_replace(Some(outcome));
        self.flights.lock().remove(&self.key);
    }
}

impl<K: Eq + Hash + Clone + Send + 'static, V: Clone + Send + Sync + 'static> Drop
    for Landing<K, V>
{
    fn drop(&mut self) {
        self.finish(Err(Cause::Internal("a fetch was dropped".into())));
    }
}

impl<V: Clone> Waiter<V> {
    /// Waits for the flight, at most until `deadline`, which is `patience` after the reader's start.
    ///
    /// # Errors
    /// The flight's own, or [`Cause::Timeout`].
    pub async fn wait(mut self, deadline: Instant, patience: Duration) -> Result<V, Cause> {
        let landed = tokio::time::timeout_at(deadline, self.0.wait_for(Option::is_some)).await;
        match landed {
            Err(_) => Err(Cause::Timeout(patience)),
            Ok(Err(_)) => Err(Cause::Internal("a fetch was lost".into())),
            Ok(Ok(outcome)) => match &*outcome {
                Some(outcome) => outcome.clone(),
                None => Err(Cause::Internal("a fetch landed with nothing".into())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn start(flights: &Flights<u32, u32>) -> (Waiter<u32>, Landing<u32, u32>) {
        match flights.join(&7) {
            Joined::Started(waiter, landing) => (waiter, landing),
            Joined::Waiting(_) => panic!("nobody was there before"),
        }
    }

    fn deadline() -> Instant {
        Instant::now() + PATIENCE
    }

    #[tokio::test]
    async fn all_that_wait_get_what_one_fetched() {
        let flights = Flights::default();
        let (first, landing) = start(&flights);
        let Joined::Waiting(second) = flights.join(&7) else {
            panic!("a flight is in the air");
        };
        landing.land(Ok(42));
        assert_eq!(first.wait(deadline(), PATIENCE).await.expect("landed"), 42);
        assert_eq!(second.wait(deadline(), PATIENCE).await.expect("landed"), 42);
        assert!(flights.is_empty());
    }

    #[tokio::test]
    async fn a_failed_flight_fails_its_waiters_and_is_forgotten() {
        let flights = Flights::default();
        let (waiter, landing) = start(&flights);
        landing.land(Err(Cause::Closing));
        assert!(matches!(
            waiter.wait(deadline(), PATIENCE).await,
            Err(Cause::Closing)
        ));
        let (_, landing) = start(&flights);
        landing.land(Ok(1));
    }

    #[tokio::test]
    async fn a_flight_whose_task_dies_does_not_leave_anyone_waiting() {
        let flights = Flights::default();
        let (waiter, landing) = start(&flights);
        drop(landing);
        assert!(matches!(
            waiter.wait(deadline(), PATIENCE).await,
            Err(Cause::Internal(_))
        ));
        assert!(flights.is_empty());
    }
}

//! The door to what [`Slots`] divide: whoever wants a place waits here for its turn, task or thread.

use super::slots::{Slots, Ticket, Turn};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// A call to a store that has not ended by then makes no progress, as far as others are concerned: parts of 8 MiB at 2 MB/s end
/// before that.
const STALL: Duration = Duration::from_secs(5);

/// The door.
#[derive(Debug)]
pub struct Gate(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    slots: Slots,
    /// Whom to tell that it may begin.
    waiting: BTreeMap<Ticket, oneshot::Sender<()>>,
    /// Whom to tell that it is given up.
    held: BTreeMap<Ticket, oneshot::Sender<()>>,
}

impl Inside {
    /// Lets in whoever may.
    fn open(&mut self) {
        while let Some(turn) = self.slots.next_turn() {
            let told = match turn {
                Turn::Begin(ticket) => self.waiting.remove(&ticket),
                Turn::GiveUp(ticket) => self.held.remove(&ticket),
            };
            // Who has gone meanwhile says so itself, when its pass is dropped.
            let _ = told.map(|told| told.send(()));
        }
    }
}

/// Given up, because others need the place and the store does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the store has not answered for a while, and other tenants need the memory that this file takes; it is sent again later"
)]
pub struct GivenUp;

/// A place, or the wish for one, until it is dropped.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    ticket: Ticket,
    given_up: oneshot::Receiver<()>,
}

impl Gate {
    /// A gate to so many places.
    pub fn new(places: usize) -> Arc<Gate> {
        Arc::new(Gate(Mutex::new(Inside {
            slots: Slots::new(places),
            ..Inside::default()
        })))
    }

    fn with<T>(&self, change: impl FnOnce(&mut Inside) -> T) -> T {
        let mut inside = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut inside);
        inside.open();
        changed
    }

    /// From now on there are so many places.
    pub fn set_places(&self, places: usize) {
        self.with(|inside| inside.slots.set_places(places));
    }

    fn ask(self: &Arc<Gate>, tenant: &str, share: u32, cost: u64) -> (Pass, oneshot::Receiver<()>) {
        let (begin, begins) = oneshot::channel();
        let (give_up, given_up) = oneshot::channel();
        let ticket = self.with(|inside| {
            let ticket = inside.slots.ask(tenant, share, cost);
            inside.waiting.insert(ticket, begin);
            inside.held.insert(ticket, give_up);
            ticket
        });
        let gate = Arc::clone(self);
        let pass = Pass {
            gate,
            ticket,
            given_up,
        };
        (pass, begins)
    }

    /// Waits for a place.
    pub async fn enter(self: &Arc<Gate>, tenant: &str, share: u32, cost: u64) -> Pass {
        let (pass, begins) = self.ask(tenant, share, cost);
        let begun = begins.await;
        debug_assert!(begun.is_ok(), "a ticket is dropped by its pass alone");
        pass
    }

    /// The same for a thread. Not within a task.
    pub fn enter_blocking(self: &Arc<Gate>, tenant: &str, share: u32, cost: u64) -> Pass {
        let (pass, begins) = self.ask(tenant, share, cost);
        let begun = begins.blocking_recv();
        debug_assert!(begun.is_ok(), "a ticket is dropped by its pass alone");
        pass
    }
}

impl Pass {
    /// Runs a call to a store. While it does not end, the place is lent to others.
    ///
    /// # Errors
    /// When the place had to be given up; what became of the call is unknown.
    pub async fn around<T>(&mut self, call: impl Future<Output = T>) -> Result<T, GivenUp> {
        let mut call = std::pin::pin!(call);
        tokio::select! {
            done = &mut call => return Ok(done),
            () = tokio::time::sleep(STALL) => {}
        }
        let (gate, ticket) = (Arc::clone(&self.gate), self.ticket);
        gate.with(|inside| inside.slots.stall(ticket));
        tokio::select! {
            done = &mut call => {
                gate.with(|inside| inside.slots.resume(ticket));
                Ok(done)
            }
            _ = &mut self.given_up => Err(GivenUp),
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.gate.with(|inside| {
            inside.waiting.remove(&self.ticket);
            inside.held.remove(&self.ticket);
            inside.slots.done(self.ticket);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test(start_paused = true)]
    async fn a_call_that_hangs_lends_its_place_and_is_given_up_when_there_is_no_other() {
        let gate = Gate::new(1);
        let hang = |tenant: &'static str| {
            let gate = Arc::clone(&gate);
            async move {
                let mut pass = gate.enter(tenant, 1, 1).await;
                pass.around(std::future::pending::<()>()).await
            }
        };
        let first = tokio::spawn(hang("a"));
        tokio::task::yield_now().await;
        // It comes to the place that is lent when the first one stalls.
        let second = tokio::spawn(hang("b"));
        let mut third = gate.enter("c", 1, 1).await;
        assert_eq!(first.await.expect("no panic"), Err(GivenUp));
        assert_eq!(third.around(async { 7 }).await, Ok(7));
        drop(third);
        second.abort();
        assert!(second.await.is_err());
        let _free = gate.enter("b", 1, 1).await;
    }

    #[test]
    fn threads_take_turns_and_who_leaves_the_queue_keeps_nobody() {
        let gate = Gate::new(2);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for n in 0..8 {
                let (gate, inside, most) = (&gate, &inside, &most);
                scope.spawn(move || {
                    for _ in 0..50 {
                        let tenant = ["a", "b"][n % 2];
                        let _pass = gate.enter_blocking(tenant, 1, 1);
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 2);
        let held = [
            gate.enter_blocking("a", 1, 1),
            gate.enter_blocking("a", 1, 1),
        ];
        let (waits, _) = gate.ask("a", 1, 1);
        drop(waits);
        drop(held);
        drop(gate.enter_blocking("b", 1, 1));
        assert_eq!(gate.with(|inside| inside.slots.in_flight()), 0);
    }
}

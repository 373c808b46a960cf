//! Room for so many files in flight, divided between tenants. Pure: it is told what happens, and says who may begin.
//!
//! A file whose store does not answer is *stalled*: it makes no progress and takes memory all the same. Its place is lent to
//! others meanwhile, up to as many as there are places, so that memory stays bounded: at most twice as many files are in flight
//! as there are places. A tenant with a stalled file begins no other in a place that is lent. When nothing is left to lend, the
//! file that is stalled for longest is given up, and its tenant's next turn comes the later the more often that happens: each try
//! takes a place for as long as it takes to see that it stalls.

use super::fair::FairQueue;
use std::collections::BTreeMap;

/// Turns that a file that is given up costs its tenant, the first time; twice as many each time after that.
const PENALTY_TURNS: u64 = 16;
/// And no more: the store may be well again, and others have their turns meanwhile.
const PENALTY_DOUBLINGS_MAX: u32 = 6;

/// A file that waits for its place, or has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The places, and who waits for them.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    places: usize,
    queue: FairQueue<Ticket>,
    held: BTreeMap<Ticket, Held>,
    asked: BTreeMap<Ticket, Asked>,
    /// How often in a row a file of a tenant was given up.
    given_up: BTreeMap<String, u32>,
    count: u64,
    stalls: u64,
}

/// What was asked for.
#[derive(Clone, Debug)]
struct Asked {
    tenant: String,
    share: u32,
    cost: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    /// Its number among the stalls, if it is stalled.
    stalled: Option<u64>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It may begin.
    Begin(Ticket),
    /// It is given up.
    GiveUp(Ticket),
}

impl Slots {
    /// So many places.
    pub fn new(places: usize) -> Slots {
        Slots {
            places: places.max(1),
            ..Slots::default()
        }
    }

    /// From now on there are so many. Who has one keeps it.
    pub fn set_places(&mut self, places: usize) {
        self.places = places.max(1);
    }

    /// A file of `cost` units waits.
    pub fn ask(&mut self, tenant: &str, share: u32, cost: u64) -> Ticket {
        self.count += 1;
        let ticket = Ticket(self.count);
        let asked = Asked {
            tenant: tenant.to_owned(),
            share,
            cost,
        };
        self.asked.insert(ticket, asked);
        self.queue.push(tenant, share, cost, ticket);
        ticket
    }

    /// It has ended, or does not want its place any more.
    pub fn done(&mut self, ticket: Ticket) {
        match self.held.remove(&ticket) {
            None => self.queue.remove(&ticket),
            Some(Held { stalled: Some(_) }) => {}
            Some(Held { stalled: None }) => {
                if let Some(asked) = self.asked.get(&ticket) {
                    self.given_up.remove(&asked.tenant);
                }
            }
        }
        self.asked.remove(&ticket);
    }

    /// Takes its place from a file that stalls.
    fn give_up(&mut self, ticket: Ticket) {
        self.held.remove(&ticket);
        let Some(asked) = self.asked.remove(&ticket) else {
            return;
        };
        let times = self.given_up.entry(asked.tenant.clone()).or_default();
        let turns = PENALTY_TURNS << (*times).min(PENALTY_DOUBLINGS_MAX);
        *times += 1;
        let cost = asked.cost.max(1).saturating_mul(turns);
        self.queue.charge(&asked.tenant, asked.share, cost);
    }

    /// Its store does not answer.
    pub fn stall(&mut self, ticket: Ticket) {
        self.stalls += 1;
        let stalls = self.stalls;
        if let Some(held) = self.held.get_mut(&ticket) {
            held.stalled = Some(stalls);
        }
    }

    /// Its store has answered.
    pub fn resume(&mut self, ticket: Ticket) {
        if let Some(held) = self.held.get_mut(&ticket) {
            held.stalled = None;
        }
    }

    /// Who is next, one after the other until there is nobody.
    pub fn next_turn(&mut self) -> Option<Turn> {
        let stalled = |held: &&Held| held.stalled.is_some();
        let at_work = self.held.len() - self.held.values().filter(stalled).count();
        if at_work >= self.places {
            return None;
        }
        let (asked, held) = (&self.asked, &self.held);
        let is_stalled = |tenant: &str| {
            held.iter().any(|(ticket, held)| {
                held.stalled.is_some()
                    && asked
                        .get(ticket)
                        .is_some_and(|asked| asked.tenant == tenant)
            })
        };
        let has_free = held.len() < self.places;
        let may = |tenant: &str| has_free || !is_stalled(tenant);
        if held.len() >= 2 * self.places {
            // Nothing is left to lend.
            let longest = held
                .iter()
                .filter_map(|(ticket, held)| Some((held.stalled?, *ticket)))
                .min();
            let (_, ticket) = longest.filter(|_| self.queue.waits(may))?;
            self.give_up(ticket);
            return Some(Turn::GiveUp(ticket));
        }
        let ticket = self.queue.pop(may)?;
        self.held.insert(ticket, Held::default());
        Some(Turn::Begin(ticket))
    }

    /// Files in flight, the stalled included.
    pub fn in_flight(&self) -> usize {
        self.held.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BinaryHeap;

    /// Seconds after which a file that makes no progress is stalled.
    const STALL_SECONDS: u64 = 5;

    /// What happens to a file in the simulation.
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    enum Event {
        Done(Ticket),
        Stall(Ticket),
    }

    /// Runs `tenants` of (name, share, whether its store hangs), each with a backlog that never ends of files that take a second,
    /// through `places` for `seconds`. What each has archived, and the most files that were in flight.
    fn simulate(
        tenants: &[(&str, u32, bool)],
        places: usize,
        seconds: u64,
    ) -> (BTreeMap<String, u64>, usize) {
        let mut slots = Slots::new(places);
        let mut whose: BTreeMap<Ticket, usize> = BTreeMap::new();
        let mut archived: BTreeMap<String, u64> = BTreeMap::new();
        let mut events: BinaryHeap<std::cmp::Reverse<(u64, Event)>> = BinaryHeap::new();
        let (mut now, mut most) = (0, 0);
        for (n, (name, share, _)) in tenants.iter().enumerate() {
            for _ in 0..10 {
                whose.insert(slots.ask(name, *share, 1000), n);
            }
        }
        while now < seconds {
            while let Some(turn) = slots.next_turn() {
                match turn {
                    Turn::Begin(ticket) if tenants[whose[&ticket]].2 => {
                        events.push(std::cmp::Reverse((
                            now + STALL_SECONDS,
                            Event::Stall(ticket),
                        )));
                    }
                    Turn::Begin(ticket) => {
                        events.push(std::cmp::Reverse((now + 1, Event::Done(ticket))));
                    }
                    Turn::GiveUp(ticket) => {
                        let n = whose[&ticket];
                        whose.insert(slots.ask(tenants[n].0, tenants[n].1, 1000), n);
                    }
                }
                most = most.max(slots.in_flight());
            }
            let Some(std::cmp::Reverse((at, event))) = events.pop() else {
                break;
            };
            now = at;
            match event {
                Event::Stall(ticket) => slots.stall(ticket),
                Event::Done(ticket) => {
                    slots.done(ticket);
                    let n = whose[&ticket];
                    *archived.entry(tenants[n].0.to_owned()).or_default() += 1;
                    whose.insert(slots.ask(tenants[n].0, tenants[n].1, 1000), n);
                }
            }
        }
        (archived, most)
    }

    #[test]
    fn places_are_divided_by_shares() {
        let (archived, most) = simulate(&[("a", 1, false), ("b", 3, false)], 4, 1000);
        assert!(most <= 4);
        assert!(
            archived["b"].abs_diff(3 * archived["a"]) <= 20,
            "{archived:?}"
        );
        assert!(archived["a"] + archived["b"] > 3990, "{archived:?}");
    }

    #[test]
    fn tenants_whose_stores_hang_slow_no_other_down_and_memory_stays_bounded() {
        const NAMES: [&str; 20] = [
            "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q",
            "r", "s", "t",
        ];
        for hanging in [1, 5, 12] {
            for places in [1, 2, 4, 16] {
                let tenants = |hang: usize| {
                    let tenant = |n: usize| (NAMES[n], 1, n < hang);
                    (0..NAMES.len()).map(tenant).collect::<Vec<_>>()
                };
                let (without, _) = simulate(&tenants(0), places, 2000);
                let (with, most) = simulate(&tenants(hanging), places, 2000);
                assert!(most <= 2 * places, "{most} in flight in {places} places");
                for name in &NAMES[hanging..] {
                    assert!(
                        with[*name] * 10 >= without[*name] * 9,
                        "{hanging} hang, {places} places: {name} archived {} instead of {}",
                        with[*name],
                        without[*name]
                    );
                }
            }
        }
    }

    #[test]
    fn a_file_whose_store_answers_again_goes_on_and_one_that_left_the_queue_gets_no_place() {
        let mut slots = Slots::new(1);
        let (a, b) = (slots.ask("a", 1, 1), slots.ask("b", 1, 1));
        assert_eq!(slots.next_turn(), Some(Turn::Begin(a)));
        assert_eq!(slots.next_turn(), None);
        slots.stall(a);
        assert_eq!(slots.next_turn(), Some(Turn::Begin(b)));
        slots.resume(a);
        let c = slots.ask("c", 1, 1);
        slots.done(b);
        assert_eq!(slots.next_turn(), None, "a has its place back");
        slots.done(c);
        slots.done(a);
        assert_eq!((slots.next_turn(), slots.in_flight()), (None, 0));
    }

    #[test]
    fn alone_a_tenant_has_all_places_and_none_beyond_them() {
        let mut slots = Slots::new(2);
        let tickets: Vec<_> = (0..4).map(|_| slots.ask("a", 1, 1)).collect();
        assert_eq!(slots.next_turn(), Some(Turn::Begin(tickets[0])));
        assert_eq!(slots.next_turn(), Some(Turn::Begin(tickets[1])));
        slots.stall(tickets[0]);
        assert_eq!(slots.next_turn(), None, "it gets nothing for its own stall");
        slots.done(tickets[0]);
        assert_eq!(slots.next_turn(), Some(Turn::Begin(tickets[2])));
    }
}

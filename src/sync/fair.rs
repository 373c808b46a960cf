//! Whose turn it is when several tenants wait for the same thing: start-time fair queueing (Goyal, Vin and Cheng, 1996). Pure.
//!
//! What a tenant took makes its next turn come later, the less the larger its share. Who did not wait saves nothing up: a tenant
//! that comes anew begins where the others are. So over any time in which two wait, what they took differs from their shares by
//! no more than one turn of each.

use std::collections::{BTreeMap, VecDeque};

/// Virtual time that one unit takes at a share of one: fractions of it for larger shares.
const UNIT: u64 = 1 << 10;

/// Who waits, in the order of coming for each tenant.
#[derive(Clone, Debug)]
pub struct FairQueue<T> {
    /// The virtual time at which the last turn began.
    now: u64,
    tenants: BTreeMap<String, Account>,
    waiting: BTreeMap<String, VecDeque<Wish<T>>>,
}

/// What a tenant took so far.
#[derive(Clone, Copy, Debug)]
struct Account {
    share: u32,
    /// The virtual time at which its next turn may begin.
    next: u64,
}

#[derive(Clone, Debug)]
struct Wish<T> {
    item: T,
    cost: u64,
}

impl<T> Default for FairQueue<T> {
    fn default() -> FairQueue<T> {
        FairQueue {
            now: 0,
            tenants: BTreeMap::new(),
            waiting: BTreeMap::new(),
        }
    }
}

impl<T: PartialEq> FairQueue<T> {
    /// `item` of `tenant` waits from now on; its turn will take `cost` units. What holds is the share that came last.
    pub fn push(&mut self, tenant: &str, share: u32, cost: u64, item: T) {
        let now = self.now;
        let waits = self.waiting.contains_key(tenant);
        let account = self
            .tenants
            .entry(tenant.to_owned())
            .or_insert(Account { share, next: now });
        account.share = share.max(1);
        if !waits {
            account.next = account.next.max(now);
        }
        let queue = self.waiting.entry(tenant.to_owned()).or_default();
        queue.push_back(Wish { item, cost });
    }

    /// Whose turn it is, of the tenants that `may`.
    pub fn pop(&mut self, may: impl Fn(&str) -> bool) -> Option<T> {
        let next = |tenant: &String| self.tenants.get(tenant).map_or(0, |account| account.next);
        let tenant = self
            .waiting
            .keys()
            .filter(|tenant| may(tenant))
            .min_by_key(|tenant| next(tenant))?
            .clone();
        let queue = self.waiting.get_mut(&tenant)?;
        let wish = queue.pop_front()?;
        if queue.is_empty() {
            self.waiting.remove(&tenant);
        }
        if let Some(account) = self.tenants.get_mut(&tenant) {
            // Whoever might not have its turn is not owed the time of the others.
            self.now = self.now.max(account.next);
            let took = wish.cost.saturating_mul(UNIT) / u64::from(account.share);
            account.next = self.now.saturating_add(took.max(1));
        }
        self.forget();
        Some(wish.item)
    }

    /// The next turn of `tenant` comes later, as if it had taken `cost` units.
    pub fn charge(&mut self, tenant: &str, share: u32, cost: u64) {
        let now = self.now;
        let account = self
            .tenants
            .entry(tenant.to_owned())
            .or_insert(Account { share, next: now });
        let took = cost.saturating_mul(UNIT) / u64::from(share.max(1));
        account.next = account.next.max(now).saturating_add(took);
    }

    /// Whether one of the tenants that `may` waits.
    pub fn waits(&self, may: impl Fn(&str) -> bool) -> bool {
        self.waiting.keys().any(|tenant| may(tenant))
    }

    /// `item` waits no more.
    pub fn remove(&mut self, item: &T) {
        for queue in self.waiting.values_mut() {
            queue.retain(|wish| wish.item != *item);
        }
        self.waiting.retain(|_, queue| !queue.is_empty());
    }

    /// Tenants that do not wait and are owed nothing are as good as new ones.
    fn forget(&mut self) {
        let (now, waiting) = (self.now, &self.waiting);
        self.tenants
            .retain(|tenant, account| account.next > now || waiting.contains_key(tenant));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Units that each tenant got in `turns` turns, with `backlogs` of (tenant, share, cost) that never end.
    fn served(backlogs: &[(&str, u32, u64)], turns: usize) -> BTreeMap<String, u64> {
        let mut queue = FairQueue::default();
        let mut got: BTreeMap<String, u64> = BTreeMap::new();
        for (n, (tenant, share, cost)) in backlogs.iter().copied().enumerate() {
            queue.push(tenant, share, cost, n);
        }
        for _ in 0..turns {
            let n = queue.pop(|_| true).expect("all wait for ever");
            let (tenant, share, cost) = backlogs[n];
            *got.entry(tenant.to_owned()).or_default() += cost;
            queue.push(tenant, share, cost, n);
        }
        got
    }

    #[test]
    fn who_waits_gets_its_share_whatever_the_size_of_a_turn_and_the_number_of_wishes() {
        let got = served(&[("a", 1, 10), ("b", 1, 10)], 1000);
        assert_eq!(got["a"], got["b"]);
        let got = served(&[("a", 1, 10), ("b", 3, 10)], 1000);
        assert!(got["b"].abs_diff(3 * got["a"]) <= 40, "{got:?}");
        let got = served(&[("small", 1, 1), ("large", 1, 100)], 1010);
        assert!(got["small"].abs_diff(got["large"]) <= 100, "{got:?}");
        // Five that wait for one tenant get no more than one of another.
        let many = [("a", 1, 10); 5];
        let got = served(&[&many[..], &[("b", 1, 10)]].concat(), 1000);
        assert!(got["a"].abs_diff(got["b"]) <= 10, "{got:?}");
    }

    #[test]
    fn who_comes_late_gets_its_share_from_then_on_and_no_more() {
        let mut queue = FairQueue::default();
        for _ in 0..100 {
            queue.push("early", 1, 10, "early");
            assert_eq!(queue.pop(|_| true), Some("early"));
        }
        for _ in 0..10 {
            queue.push("early", 1, 10, "early");
            queue.push("late", 1, 10, "late");
        }
        let first: Vec<_> = (0..10).filter_map(|_| queue.pop(|_| true)).collect();
        assert_eq!(first.iter().filter(|who| **who == "late").count(), 5);
    }

    #[test]
    fn who_may_not_is_passed_over_and_who_gives_up_is_forgotten() {
        let mut queue = FairQueue::default();
        queue.push("a", 1, 10, 1);
        queue.push("b", 1, 10, 2);
        assert!(queue.waits(|tenant| tenant == "b") && !queue.waits(|tenant| tenant == "c"));
        assert_eq!(queue.pop(|tenant| tenant != "a"), Some(2));
        queue.remove(&1);
        assert_eq!(queue.pop(|_| true), None);
        queue.push("c", 1, 0, 3);
        assert_eq!(queue.pop(|_| true), Some(3));
        assert!(queue.tenants.len() <= 2, "{queue:?}");
    }
}

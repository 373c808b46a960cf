//! The directories that were made on demand, until they are forgotten. Pure.
//!
//! The kernel may look up any number of names and never tell which it still needs; it does tell what it has forgotten. So one
//! is dropped when the kernel forgets it, and the one used least when there are too many: whoever still stands in that gets
//! ESTALE, and finds it again by its name.

use super::made::{Made, MadeId};
use super::part::Part;
use crate::model::{Micros, Seq, Timeline};
use lru::LruCache;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most directories remembered: a kilobyte each at most, and far more than anybody stands in at once.
pub const VIEWS_MAX: usize = 4096;
/// The largest number given out: inode numbers of one stream stay below 2^48.
pub const ID_MAX: u64 = (1 << 42) - 1;

/// A place between two transactions, as a directory begins or ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Edge {
    /// The entry it stands in.
    pub seq: Seq,
    /// Where in it.
    pub position: u64,
    /// Where the head of that file ends, without which nothing in it can be read.
    pub head: u64,
    /// The time of what stands before it.
    pub time: Micros,
}

/// What a directory shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shown {
    /// `.range/<from>`: nothing; its names are where ranges end.
    From(Timeline, Edge),
    /// A part of a timeline: up to the second edge, and from the first if there is one.
    Part(Timeline, Option<Edge>, Edge),
}

/// The numbers of the directories of a stream, given out one after the other. Clones give out the same ones.
#[derive(Clone, Default)]
pub struct MadeNumbers(Arc<AtomicU64>);

impl MadeNumbers {
    /// The next number; `None` when all are used up.
    fn next(&self) -> Option<MadeId> {
        // Relaxed: only that no two get the same one matters.
        let before = self.0.fetch_add(1, Ordering::Relaxed);
        (before < ID_MAX).then_some(MadeId(before + 1))
    }
}

struct Held {
    shown: Shown,
    /// How often the kernel was told of it, less how often it has forgotten it.
    lookups: u64,
}

/// The table.
pub struct Views {
    held: LruCache<MadeId, Held>,
    ids: HashMap<Shown, MadeId>,
    numbers: MadeNumbers,
    max: usize,
}

impl Default for Views {
    fn default() -> Views {
        Views::of(VIEWS_MAX)
    }
}

impl Views {
    fn of(max: usize) -> Views {
        Views {
            held: LruCache::unbounded(),
            ids: HashMap::new(),
            numbers: MadeNumbers::default(),
            max,
        }
    }

    /// A table whose directories get their numbers from `numbers`.
    pub fn numbered(numbers: MadeNumbers) -> Views {
        Views {
            numbers,
            ..Views::default()
        }
    }

    /// The directory that shows `shown`, told to the kernel once more. `None` when all numbers are used up.
    pub fn enter(&mut self, shown: Shown) -> Option<MadeId> {
        if let Some(id) = self.ids.get(&shown)
            && let Some(held) = self.held.get_mut(id)
        {
            held.lookups += 1;
            return Some(*id);
        }
        let id = self.numbers.next()?;
        self.held.put(id, Held { shown, lookups: 1 });
        self.ids.insert(shown, id);
        while self.held.len() > self.max {
            if let Some((_, old)) = self.held.pop_lru() {
                self.ids.remove(&old.shown);
            }
        }
        Some(id)
    }

    /// What a directory shows, if it is remembered.
    pub fn get(&mut self, id: MadeId) -> Option<Shown> {
        self.held.get(&id).map(|held| held.shown)
    }

    /// The kernel has forgotten so many of its lookups.
    pub fn forget(&mut self, id: MadeId, lookups: u64) {
        let Some(held) = self.held.peek_mut(&id) else {
            return;
        };
        held.lookups = held.lookups.saturating_sub(lookups);
        if held.lookups == 0
            && let Some(old) = self.held.pop(&id)
        {
            self.ids.remove(&old.shown);
        }
    }

    /// The files of which only a part is shown, each with the record of its segment.
    pub fn cut_files(&self) -> impl Iterator<Item = (Seq, Made)> {
        self.held.iter().flat_map(|(id, held)| {
            let (first, last) = match held.shown {
                Shown::From(..) => (None, None),
                Shown::Part(_, from, to) => (from.map(|from| from.seq), Some(to.seq)),
            };
            let first = first.map(|seq| (seq, Made::First(*id)));
            first
                .into_iter()
                .chain(last.map(|seq| (seq, Made::Last(*id))))
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.held.len()
    }
}

/// Which file of a part of the history an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// None: it stands outside.
    Outside,
    /// All of it belongs to the part.
    Whole,
    /// The part begins in it; `Part` of a segment of so many bytes.
    First,
    /// The part ends in it.
    Last,
}

/// The role of the entry of record `seq` in what lies between two edges.
pub fn role(from: Option<&Edge>, to: &Edge, seq: Seq) -> Role {
    if seq > to.seq || from.is_some_and(|from| seq < from.seq) {
        Role::Outside
    } else if seq == to.seq {
        Role::Last
    } else if from.is_some_and(|from| from.seq == seq) {
        Role::First
    } else {
        Role::Whole
    }
}

/// What is shown of a segment of `size` bytes that has an edge in it: of the first file (`last` is false) or of the last.
pub fn part(from: Option<&Edge>, to: &Edge, last: bool, size: u64) -> Part {
    let end = if last { to.position.min(size) } else { size };
    match from {
        Some(from) if !last || from.seq == to.seq => Part::between(from.head, from.position, end),
        Some(_) | None => Part::until(end),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(seq: u64, position: u64) -> Edge {
        Edge {
            seq: Seq(seq),
            position,
            head: 157,
            time: Micros(1),
        }
    }

    fn up_to(seq: u64) -> Shown {
        Shown::Part(Timeline(1), None, edge(seq, 1000))
    }

    #[test]
    fn the_same_part_is_the_same_directory_until_it_is_forgotten() {
        let mut views = Views::default();
        let one = views.enter(up_to(1)).expect("a number");
        let two = views.enter(up_to(2)).expect("a number");
        assert_ne!(one, two);
        assert_eq!(views.enter(up_to(1)), Some(one));
        views.forget(one, 1);
        assert_eq!(views.get(one), Some(up_to(1)));
        views.forget(one, 1);
        assert_eq!(views.get(one), None);
        let again = views.enter(up_to(1)).expect("a number");
        assert!(again != one && again != two, "numbers are used once");
        views.forget(MadeId(77), 1);
        assert_eq!(views.len(), 2);
    }

    #[test]
    fn a_table_that_goes_on_from_another_gives_no_number_of_its() {
        let numbers = MadeNumbers::default();
        let mut closed = Views::numbered(numbers.clone());
        let one = closed.enter(up_to(1)).expect("a number");
        let mut opened = Views::numbered(numbers);
        let two = opened.enter(up_to(2)).expect("a number");
        assert_ne!(one, two);
        assert_eq!(opened.get(one), None);
        // Who still asks the closed one takes none away either.
        assert_ne!(closed.enter(up_to(3)).expect("a number"), two);
    }

    #[test]
    fn a_million_lookups_are_bounded_and_the_one_in_use_stays() {
        let mut views = Views::of(100);
        let used = views.enter(up_to(0)).expect("a number");
        for seq in 1..1_000_000 {
            views.enter(up_to(seq)).expect("a number");
            if seq % 50 == 0 {
                assert_eq!(views.get(used), Some(up_to(0)));
            }
        }
        assert_eq!(views.len(), 100);
        assert_eq!(views.ids.len(), 100);
        assert_eq!(views.get(MadeId(500)), None);
    }

    #[test]
    fn numbers_end_before_they_meet_those_of_another_stream() {
        let mut views = Views {
            numbers: MadeNumbers(Arc::new(AtomicU64::new(ID_MAX - 1))),
            ..Views::default()
        };
        assert!(views.enter(up_to(1)).is_some());
        assert_eq!(views.enter(up_to(2)), None);
        assert!(views.enter(up_to(1)).is_some());
    }

    #[test]
    fn an_entry_is_whole_cut_or_outside() {
        let (from, to) = (edge(3, 500), edge(6, 700));
        let roles: Vec<_> = (2..=7)
            .map(|seq| role(Some(&from), &to, Seq(seq)))
            .collect();
        assert_eq!(
            roles,
            [
                Role::Outside,
                Role::First,
                Role::Whole,
                Role::Whole,
                Role::Last,
                Role::Outside
            ]
        );
        assert_eq!(role(None, &to, Seq(1)), Role::Whole);
        assert_eq!(role(Some(&from), &edge(3, 700), Seq(3)), Role::Last);
    }

    #[test]
    fn a_part_has_its_head_and_what_lies_between_its_edges() {
        let (from, to) = (edge(3, 500), edge(6, 700));
        assert_eq!(part(None, &to, true, 1000).len(), 700);
        assert_eq!(part(Some(&from), &to, true, 1000).len(), 700);
        assert_eq!(part(Some(&from), &to, false, 1000).len(), 157 + 500);
        let same = part(Some(&from), &edge(3, 700), true, 1000);
        assert_eq!(same.len(), 157 + 200);
        assert_eq!(same.places(157, 200)[1], 500..700);
        // From the beginning of the file nothing is left out.
        assert_eq!(part(Some(&edge(3, 157)), &to, false, 1000).len(), 1000);
    }
}

//! Where parts of the history begin and end, once that was found: it stays so for as long as the history that is shown does.
//!
//! The kernel asks for a name again after a second. What was found holds no bytes, and to find it again takes segments: without
//! this, whoever looks into a part again would wait for a store that is away.

use super::history::History;
use super::view::{Errno, View};
use super::views::Edge;
use crate::locate::Target;
use crate::model::Timeline;
use lru::LruCache;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};

/// Most edges remembered: a few hundred bytes each, and more than anybody goes back to.
const EDGES_MAX: usize = 1024;

/// What was looked for, and whether the end of its file's head was looked for too.
type Sought = (Timeline, Target, bool);

/// What was found in one history.
pub struct Located {
    /// That history. It is not kept by this; and no other comes to its place in memory as long as this knows of it.
    history: Weak<History>,
    edges: LruCache<Sought, Edge>,
}

impl Default for Located {
    fn default() -> Located {
        Located {
            history: Weak::new(),
            edges: LruCache::unbounded(),
        }
    }
}

impl Located {
    fn is_of(&self, history: &Arc<History>) -> bool {
        std::ptr::eq(self.history.as_ptr(), Arc::as_ptr(history))
    }

    fn get(&mut self, history: &Arc<History>, sought: &Sought) -> Option<Edge> {
        match self.is_of(history) {
            true => self.edges.get(sought).copied(),
            false => None,
        }
    }

    fn put(&mut self, history: &Arc<History>, sought: Sought, edge: Edge) {
        if !self.is_of(history) {
            self.edges.clear();
            self.history = Arc::downgrade(history);
        }
        self.edges.put(sought, edge);
        while self.edges.len() > EDGES_MAX {
            self.edges.pop_lru();
        }
    }
}

impl View {
    /// Where `target` is, and if `with_head` where the head of its file ends.
    pub(super) async fn edge(
        &self,
        timeline: Timeline,
        target: &Target,
        with_head: bool,
    ) -> Result<Edge, Errno> {
        // Before it is looked for: if another history is shown meanwhile, it is not known of that one.
        let history = self.history();
        let sought = (timeline, target.clone(), with_head);
        let known = self.located().get(&history, &sought);
        if let Some(edge) = known {
            return Ok(edge);
        }
        let mut edge = self.locate(timeline, target).await?;
        if with_head {
            edge = self.with_head(edge).await?;
        }
        self.located().put(&history, sought, edge);
        Ok(edge)
    }

    fn located(&self) -> MutexGuard<'_, Located> {
        // Whatever a panic elsewhere left of it, each edge was found in that history.
        self.located.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Micros, Seq};

    fn sought(time: u64) -> Sought {
        (Timeline(1), Target::Time(Micros(time as i64)), false)
    }

    fn edge(seq: u64) -> Edge {
        Edge {
            seq: Seq(seq),
            position: 4,
            head: 0,
            time: Micros(1),
        }
    }

    #[test]
    fn an_edge_is_known_of_the_history_that_it_was_found_in_and_of_no_other() {
        let mut located = Located::default();
        let one = Arc::new(History::default());
        assert_eq!(located.get(&one, &sought(1)), None);
        located.put(&one, sought(1), edge(1));
        assert_eq!(located.get(&one, &sought(1)), Some(edge(1)));
        assert_eq!(located.get(&one, &(Timeline(2), sought(1).1, false)), None);
        assert_eq!(located.get(&one, &(Timeline(1), sought(1).1, true)), None);
        // The same entries, and another history all the same; also where the first one is gone.
        let other = Arc::new(History::clone(&one));
        assert_eq!(located.get(&other, &sought(1)), None);
        drop(one);
        for _ in 0..100 {
            let next = Arc::new(History::default());
            assert_eq!(located.get(&next, &sought(1)), None);
        }
        // A search that was begun in the one before ends late.
        located.put(&other, sought(2), edge(2));
        assert_eq!(located.get(&other, &sought(1)), None);
        assert_eq!(located.get(&other, &sought(2)), Some(edge(2)));
    }

    #[test]
    fn no_more_edges_are_remembered_than_there_may_be() {
        let (mut located, history) = (Located::default(), Arc::new(History::default()));
        let many = EDGES_MAX as u64 * 3;
        for n in 0..many {
            located.put(&history, sought(n), edge(n));
            located.get(&history, &sought(0)).expect("in use");
        }
        assert_eq!(located.edges.len(), EDGES_MAX);
        assert_eq!(located.get(&history, &sought(many / 2)), None);
    }
}

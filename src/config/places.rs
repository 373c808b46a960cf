//! No two streams in one place, and none inside of another's: whose segments, records and backups are whose is told by the prefix.

/// Pairs of places of which the second is the first or below it, by their numbers: for each place the nearest above it.
pub fn collisions(places: &[Vec<String>]) -> Vec<(usize, usize)> {
    let mut order: Vec<usize> = (0..places.len()).collect();
    // A place comes right before all that is below it; of two that are the same, the first one comes first.
    order.sort_by_key(|n| (&places[*n], *n));
    let mut found = Vec::new();
    let mut above: Vec<usize> = Vec::new();
    for n in order {
        while above
            .last()
            .is_some_and(|outer| !places[n].starts_with(&places[*outer]))
        {
            above.pop();
        }
        found.extend(above.last().map(|outer| (*outer, n)));
        above.push(n);
    }
    found
}

/// A place that a stream writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Written {
    /// The number of the stream.
    pub stream: usize,
    /// Which of its places: 0 is its own, the others are those of its replicas.
    pub which: usize,
}

impl Written {
    /// The option of the configuration that names it.
    pub fn key(self) -> &'static str {
        match self.which {
            0 => "to",
            _ => "replicas",
        }
    }
}

/// Pairs of places of which one is the other or is inside of it, the earlier one first. `places` are those that each stream writes to;
/// one that is not known meets no other.
pub fn meetings(places: &[Vec<Option<Vec<String>>>]) -> Vec<(Written, Written)> {
    let (mut written, mut known) = (Vec::new(), Vec::new());
    for (stream, places) in places.iter().enumerate() {
        for (which, place) in places.iter().enumerate() {
            if let Some(place) = place {
                written.push(Written { stream, which });
                known.push(place.clone());
            }
        }
    }
    let pairs = collisions(&known).into_iter();
    let in_order = |(outer, inner): (usize, usize)| {
        let (first, later) = (outer.min(inner), outer.max(inner));
        (written[first], written[later])
    };
    pairs.map(in_order).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_replica_meets_that_of_a_stream_and_what_is_not_known_meets_nothing() {
        let split = |place: &str| Some(place.split('/').map(str::to_owned).collect());
        let places = [
            vec![split("b/x"), split("c/x")],
            vec![None, split("c/x/1")],
            vec![split("c"), split("d/x")],
            vec![],
        ];
        let written = |stream, which| Written { stream, which };
        let mut found = meetings(&places);
        found.sort_unstable();
        assert_eq!(
            found,
            [
                (written(0, 1), written(1, 1)),
                (written(0, 1), written(2, 0))
            ]
        );
        assert_eq!(
            (written(0, 0).key(), written(0, 2).key()),
            ("to", "replicas")
        );
    }

    fn pairs(places: &[&str]) -> Vec<(usize, usize)> {
        let split = |place: &&str| place.split('/').map(str::to_owned).collect();
        let mut found = collisions(&places.iter().map(split).collect::<Vec<_>>());
        found.sort_unstable();
        found
    }

    #[test]
    fn each_place_inside_of_another_is_found_with_the_one_around_it() {
        assert_eq!(pairs(&["b/acme", "b/acme2", "b/globex", "c/acme"]), []);
        assert_eq!(pairs(&["b/x", "b/x"]), [(0, 1)]);
        assert_eq!(pairs(&["b/x/2", "b/x", "b/x/1"]), [(1, 0), (1, 2)]);
        assert_eq!(pairs(&["b", "b/x", "b/x/1", "b-x"]), [(0, 1), (1, 2)]);
        // What sorts between a place and what is below it does not hide it.
        assert_eq!(pairs(&["b/x", "b/x-y", "b/x/y"]), [(0, 2)]);
        assert_eq!(pairs(&[]), []);
    }
}

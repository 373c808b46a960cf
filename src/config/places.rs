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

#[cfg(test)]
mod tests {
    use super::*;

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

//! Several listings of the same keys as one. Pure.

use crate::model::ObjectKey;
use crate::store::Listing;
use std::collections::BTreeMap;

/// One page of all keys that any of `listings` has, which begin at the same place. What lies beyond the end of a page that goes
/// on is left to the next one: the store of that page may have keys there that it has not told yet. Of a key in several, the
/// first tells the size.
pub(super) fn merged(listings: impl Iterator<Item = Listing>) -> Listing {
    let mut all: BTreeMap<ObjectKey, u64> = BTreeMap::new();
    let mut until: Option<ObjectKey> = None;
    let mut more = false;
    for listing in listings {
        more |= listing.more;
        let last = listing.objects.last().map(|(key, _)| key.clone());
        if let Some(last) = last.filter(|_| listing.more) {
            until = Some(until.map_or(last.clone(), |until| until.min(last)));
        }
        for (key, size) in listing.objects {
            all.entry(key).or_insert(size);
        }
    }
    if let Some(until) = &until {
        all.retain(|key, _| key <= until);
    }
    Listing {
        objects: all.into_iter().collect(),
        more,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(keys: &[&str], more: bool) -> Listing {
        let objects = keys.iter().map(|key| (key.parse().expect("a key"), 1));
        Listing {
            objects: objects.collect(),
            more,
        }
    }

    fn keys(listings: Vec<Listing>) -> (Vec<String>, bool) {
        let merged = merged(listings.into_iter());
        let keys = merged.objects.iter().map(|(key, _)| key.to_string());
        (keys.collect(), merged.more)
    }

    #[test]
    fn a_page_ends_where_the_first_of_its_pages_ends() {
        let whole = keys(vec![listing(&["a", "c"], false), listing(&["b"], false)]);
        assert_eq!(whole, (vec!["a".into(), "b".into(), "c".into()], false));
        let cut = keys(vec![
            listing(&["a", "c"], true),
            listing(&["b", "d"], false),
        ]);
        assert_eq!(cut, (vec!["a".into(), "b".into(), "c".into()], true));
        let both = keys(vec![listing(&["a", "c"], true), listing(&["b"], true)]);
        assert_eq!(both, (vec!["a".into(), "b".into()], true));
        assert_eq!(keys(Vec::new()), (Vec::new(), false));
    }
}

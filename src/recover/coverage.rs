//! Which files a base has all of: a binary search, because what was executed before a file only grows.
//!
//! But for the first files of a server that took over, which may say again what others have said before: what was executed before them may be
//! less. Over several servers the search ends at one of several files of which it is true; so where it counts, each is looked at alone.

use crate::index::{Index, IndexError};
use crate::model::{GtidSet, MountName, Timeline};

/// Rows looked at in one round.
const PAGE_ROWS: usize = 2048;

/// The last file of a timeline, behind and up to files of these names if they are given, of which what was executed before it `is_had`;
/// `None` if there is no such file. What is had before a file must be had before all earlier ones of its server. Files of which it is not
/// known are passed over.
pub(super) fn last(
    index: &Index,
    timeline: Timeline,
    (behind, up_to): (Option<&MountName>, Option<&MountName>),
    is_had: impl Fn(&GtidSet) -> bool,
) -> Result<Option<MountName>, IndexError> {
    let is_in = |name: &MountName| {
        behind.is_none_or(|first| first < name) && up_to.is_none_or(|last| name <= last)
    };
    let had = |name: &MountName| -> Result<Option<bool>, IndexError> {
        let entry = index.entry(timeline, name)?;
        let previous = entry.and_then(|entry| entry.previous_gtids);
        Ok(previous.map(|previous| is_had(&previous)))
    };
    let chunks = index.listing(timeline)?;
    let coarse = chunks.into_iter().map(|chunk| chunk.first_name);
    let coarse: Vec<MountName> = coarse.filter(is_in).collect();
    let mut from = last_true(&coarse, had)?.map(|place| coarse[place].clone());
    loop {
        let rows = match &from {
            Some(name) => index.following(timeline, name, PAGE_ROWS)?,
            None => index.rows(timeline, behind, PAGE_ROWS)?,
        };
        let names = rows.into_iter().map(|row| row.mount_name);
        let names: Vec<MountName> = names.filter(is_in).collect();
        let Some(place) = last_true(&names, had)? else {
            return Ok(None);
        };
        // The last of a full page may be followed by more.
        if place + 1 < names.len() || names.len() < PAGE_ROWS {
            return Ok(names.into_iter().nth(place));
        }
        from = names.into_iter().nth(place);
    }
}

/// The same up to `last_name`, of the last server that has such a file: what is missing in the files of those that it took over from may
/// stand in its own.
pub(super) fn last_of_servers(
    index: &Index,
    timeline: Timeline,
    last_name: MountName,
    is_had: impl Fn(&GtidSet) -> bool,
) -> Result<Option<MountName>, IndexError> {
    let mut up_to = Some(last_name);
    while let Some(name) = up_to {
        let row = index.following(timeline, &name, 1)?.pop();
        let border = row.and_then(|row| row.mount_name.before_incarnation(row.incarnation));
        let found = last(index, timeline, (border.as_ref(), Some(&name)), &is_had)?;
        if found.is_some() {
            return Ok(found);
        }
        up_to = match border {
            Some(border) => index.neighbours(timeline, &border)?.0,
            None => None,
        }
        .map(|row| row.mount_name);
    }
    Ok(None)
}

/// The last place of which `is` says true, where it says true of all before it of which it says anything.
fn last_true<T, E>(
    items: &[T],
    is: impl Fn(&T) -> Result<Option<bool>, E>,
) -> Result<Option<usize>, E> {
    let (mut last, mut end) = (None, items.len());
    loop {
        let from = last.map_or(0, |last: usize| last + 1);
        if from >= end {
            return Ok(last);
        }
        let middle = from + (end - from) / 2;
        let mut known = None;
        for (place, item) in items.iter().enumerate().take(end).skip(middle) {
            if let Some(verdict) = is(item)? {
                known = verdict.then_some(place);
                break;
            }
        }
        match known {
            Some(place) => last = Some(place),
            None => end = middle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_the_one_that_a_look_at_each_finds(
            known in proptest::collection::vec(any::<bool>(), 0..40),
            had in 0usize..45,
        ) {
            let items: Vec<Option<bool>> =
                known.iter().enumerate().map(|(n, known)| known.then_some(n < had)).collect();
            let found = last_true(&items, |item| Ok::<_, ()>(*item)).expect("no error");
            prop_assert_eq!(found, items.iter().rposition(|item| *item == Some(true)));
        }
    }
}

//! Which files a base has all of: a binary search, because what was executed before a file only grows.
//!
//! But for the first files of a server that took over, which may say again what others have said before: what was executed before them may be
//! less. The search then ends at one of several files of which it is true, and each of them will do.

use crate::index::{Index, IndexError};
use crate::model::{GtidSet, MountName, Timeline};

/// Rows looked at in one round.
const PAGE_ROWS: usize = 2048;

/// The last file of a timeline, up to one of this name if it is given, of which what was executed before it `is_had`; `None` if there is
/// no such file. What is had before a file must be had before all earlier ones of its server. Files of which it is not known are passed
/// over.
pub(super) fn last(
    index: &Index,
    timeline: Timeline,
    up_to: Option<&MountName>,
    is_had: impl Fn(&GtidSet) -> bool,
) -> Result<Option<MountName>, IndexError> {
    let is_in = |name: &MountName| up_to.is_none_or(|last| name <= last);
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
            None => index.rows(timeline, None, PAGE_ROWS)?,
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

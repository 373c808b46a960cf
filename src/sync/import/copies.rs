//! Copies of one file: which of them is taken. Pure.
//!
//! The same bytes are one file, wherever they lie. Of two that differ, the one that is only the beginning of the other, or
//! that fails its own checks where the other does not, is left. Two that are both whole and claim one place are nothing
//! that a program may choose between.

use super::found::Found;
use super::names;
use super::order::{Dropped, OrderError, Why};
use crate::binlog::Ending;
use crate::model::{FileName, Sha256};
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// Pairs of (longer, shorter) files, as indexes into what was found.
pub type Pairs = Vec<(usize, usize)>;

/// A file that is taken, with its copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kept {
    /// Its index in what was found.
    pub(super) index: usize,
    /// The names that the paths of all its copies tell, best first.
    pub(super) path_names: Vec<FileName>,
}

/// Which files may be nothing but the beginning of others: whoever can read them finds out.
///
/// Only a file without an end can be the beginning of a longer one. One that was copied over the network may have its
/// IN_USE flag still set, which the server clears in its own.
pub fn may_be_beginnings(found: &[Arc<Found>]) -> Pairs {
    let (kept, _) = once(found);
    let mut pairs = Pairs::new();
    for group in by_head(found, &kept).values().filter(|g| g.len() > 1) {
        for short in group.iter().map(|n| kept[*n].index) {
            let longer = group.iter().map(|n| kept[*n].index).filter(|long| {
                let (long, short) = (&found[*long].summary, &found[short].summary);
                match long.size.cmp(&short.size) {
                    Ordering::Greater => short.ending == Ending::Open,
                    Ordering::Equal => short.in_use && !long.in_use,
                    Ordering::Less => false,
                }
            });
            pairs.extend(longer.map(|long| (long, short)));
        }
    }
    pairs
}

/// Takes each content once, and tells which paths are left for it.
pub(super) fn once(found: &[Arc<Found>]) -> (Vec<Kept>, Vec<Dropped>) {
    let mut contents: BTreeMap<(Sha256, Sha256), Vec<usize>> = BTreeMap::new();
    for (n, file) in found.iter().enumerate() {
        let content = (file.summary.head, file.sha256);
        contents.entry(content).or_default().push(n);
    }
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    for mut copies in contents.into_values() {
        copies.sort_by_key(|n| preference(&found[*n]));
        let index = copies[0];
        let mut path_names: Vec<FileName> = Vec::new();
        for name in copies
            .iter()
            .filter_map(|n| names::of_path(&found[*n].item.path))
        {
            if !path_names.contains(&name) {
                path_names.push(name);
            }
        }
        dropped.extend(copies[1..].iter().map(|copy| Dropped {
            path: found[*copy].item.path.clone(),
            of: found[index].item.path.clone(),
            why: Why::Duplicate,
        }));
        kept.push(Kept { index, path_names });
    }
    kept.sort_by_key(|kept| kept.index);
    dropped.sort_by(|a, b| a.path.cmp(&b.path));
    (kept, dropped)
}

/// Of the same bytes those are read that are named as the file says it is called, then those that cost least to read.
fn preference(file: &Found) -> (bool, bool, u64, usize, String) {
    let name = names::of_path(&file.item.path);
    let content = names::of_content(file);
    (
        name.is_none() || (content.is_some() && name != content),
        name.is_some_and(|name| !file.item.path.ends_with(&name.to_string()))
            && file.compression == super::compression::Compression::None,
        file.item.stored_bytes,
        file.item.path.len(),
        file.item.path.clone(),
    )
}

fn by_head(found: &[Arc<Found>], kept: &[Kept]) -> BTreeMap<Sha256, Vec<usize>> {
    let mut heads: BTreeMap<Sha256, Vec<usize>> = BTreeMap::new();
    for (n, file) in kept.iter().enumerate() {
        let head = found[file.index].summary.head;
        heads.entry(head).or_default().push(n);
    }
    heads
}

/// Leaves what is the beginning of another file, as `beginnings` of (longer, shorter) say.
pub(super) fn drop_beginnings(
    found: &[Arc<Found>],
    kept: &mut Vec<Kept>,
    beginnings: &HashSet<(usize, usize)>,
) -> Vec<Dropped> {
    let mut dropped = Vec::new();
    let all = kept.clone();
    kept.retain(|short| {
        let longest = all
            .iter()
            .filter(|long| beginnings.contains(&(long.index, short.index)))
            .filter(|long| is_same_file(found, long, short))
            .max_by_key(|long| {
                // A damaged copy has the same beginning as the whole one, and is left itself.
                let long = &found[long.index].summary;
                (long.size, long.damage.is_none(), !long.in_use)
            });
        let Some(longest) = longest else { return true };
        dropped.push(Dropped {
            path: found[short.index].item.path.clone(),
            of: found[longest.index].item.path.clone(),
            why: match found[longest.index].summary.size == found[short.index].summary.size {
                true => Why::InUse,
                false => Why::CutShort,
            },
        });
        false
    });
    dropped
}

/// Whether a beginning is one of that file. Without a transaction in it, it may be that of any file that was begun in the
/// same second: then the names decide.
fn is_same_file(found: &[Arc<Found>], long: &Kept, short: &Kept) -> bool {
    let names_agree = short.path_names.is_empty()
        || short.path_names.iter().any(|short_name| {
            let content = names::of_content(&found[long.index]);
            long.path_names.contains(short_name) || content.as_ref() == Some(short_name)
        });
    names_agree || found[short.index].summary.transactions > 0
}

/// Has each that is left name what is taken, where what stood for it was left in turn.
pub(super) fn name_what_is_taken(dropped: &mut [Dropped]) {
    let stands_for: BTreeMap<String, String> = dropped
        .iter()
        .map(|dropped| (dropped.path.clone(), dropped.of.clone()))
        .collect();
    for dropped in dropped {
        // Each is left for one that is better, so that this ends; the bound says so.
        for _ in 0..stands_for.len() {
            match stands_for.get(&dropped.of) {
                Some(of) => dropped.of.clone_from(of),
                None => break,
            }
        }
    }
}

/// Of files with one head and one name, takes the one that is right.
///
/// # Errors
/// When more than one is.
pub(super) fn drop_damaged(
    found: &[Arc<Found>],
    named: &mut Vec<(usize, FileName)>,
) -> Result<Vec<Dropped>, OrderError> {
    let mut places: BTreeMap<(Sha256, String), Vec<usize>> = BTreeMap::new();
    for (index, name) in named.iter() {
        let place = (found[*index].summary.head, name.to_string());
        places.entry(place).or_default().push(*index);
    }
    let (mut dropped, mut gone) = (Vec::new(), HashSet::new());
    for ((_, name), rivals) in places {
        let is_whole = |index: &&usize| found[**index].summary.damage.is_none();
        let best = rivals.iter().find(is_whole).unwrap_or(&rivals[0]);
        for other in rivals.iter().filter(|other| *other != best) {
            let (taken, left) = (&found[*best], &found[*other]);
            let broken_early = left.summary.damage.is_some() && left.summary.transactions == 0;
            if taken.summary.first_time != left.summary.first_time && !broken_early {
                // Two lives of a server that began in one second.
                continue;
            }
            if left.summary.damage.is_none() || taken.summary.damage.is_some() {
                return Err(OrderError::Contested {
                    name,
                    first: taken.item.path.clone(),
                    second: left.item.path.clone(),
                });
            }
            gone.insert(*other);
            dropped.push(Dropped {
                path: left.item.path.clone(),
                of: taken.item.path.clone(),
                why: Why::Damaged,
            });
        }
    }
    named.retain(|(index, _)| !gone.contains(index));
    Ok(dropped)
}

//! Numberings of servers: files that follow each other, and the order of those. Pure.
//!
//! Two files follow each other if the numbers do, what the second says was executed before it contains what was executed
//! at the end of the first, and, behind a ROTATE, the second begins when the first ended. Where a number is missing
//! between them, only GTIDs, the server id and times are left to tell. Names that repeat (RESET, another server) are told apart by
//! the same rules: each file has at most one before it and one behind.
//!
//! GTIDs repeat as well after a RESET; but a server writes one file at a time, so that of two files with a third one of its
//! own between them in time neither follows the other, unless a ROTATE says so. GTIDs that go on exactly say so only if
//! the second cannot stand behind the third: RESET may have brought the same server to the same GTIDs again, with the
//! files between lost. If it cannot, the third is of another server, which [`check_apart`] refuses.
//!
//! # What nothing tells
//! Times are whole seconds. Lives that began and rotated within [`ROTATION_MAX_MICROS`] of each other, without GTIDs that
//! differ, may fit each other's files equally well. Such a pile is refused by name: nothing is chosen.

use super::found::Found;
use super::names::{self, ROTATION_MAX_MICROS};
use super::order::OrderError;
use crate::binlog::Ending;
use crate::model::{FileName, GtidSet, Micros};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A file with its name.
#[derive(Clone, Debug)]
pub(super) struct Link<'a> {
    pub(super) index: usize,
    pub(super) name: FileName,
    pub(super) found: &'a Found,
    executed: Option<GtidSet>,
}

impl<'a> Link<'a> {
    pub(super) fn new(index: usize, name: FileName, found: &'a Found) -> Link<'a> {
        let executed = names::executed(found);
        Link {
            index,
            name,
            found,
            executed,
        }
    }

    fn created(&self) -> Micros {
        self.found.summary.created
    }

    /// When it was begun; of those of one second, the numbers tell.
    fn born(&self) -> (Micros, u64) {
        (self.created(), self.name.number().0)
    }

    /// When the server was done with it, as far as that is known: statements may carry any time, what ends a file does not.
    fn ended(&self) -> Micros {
        let summary = &self.found.summary;
        match (&summary.ending, summary.last_time) {
            (Ending::Rotate { time, .. }, _) => *time,
            (Ending::Stop, Some(time)) => time,
            (Ending::Stop, None) | (Ending::Open, _) => summary.created,
        }
    }
}

/// How well a file follows another; more is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// A server forgot GTIDs, as MariaDB's may, or executed some that are in no file.
    Differing,
    /// The GTIDs do not tell.
    Untold,
    /// It was executed what is in the files, and nothing else.
    Exact,
}

/// What the GTIDs tell of `b` behind `a`; `None` if it cannot be there.
fn fit(a: &Link<'_>, b: &Link<'_>, rotated: bool) -> Option<Fit> {
    match (&a.executed, &b.found.summary.previous_gtids) {
        (Some(executed), Some(previous)) if executed == previous => match executed.is_empty() {
            true => Some(Fit::Untold),
            false => Some(Fit::Exact),
        },
        (Some(executed), Some(previous)) if executed.is_subset(previous) => Some(Fit::Differing),
        (Some(executed), Some(_)) if executed.has_mariadb() && rotated => Some(Fit::Differing),
        (Some(_), Some(_)) => None,
        (None, _) | (_, None) => Some(Fit::Untold),
    }
}

/// When each server began files of each name, in order.
struct Births<'a>(BTreeMap<(&'a str, u32), Vec<&'a Link<'a>>>);

impl<'a> Births<'a> {
    fn of(links: &'a [Link<'_>]) -> Births<'a> {
        let mut births: BTreeMap<_, Vec<&Link<'_>>> = BTreeMap::new();
        for link in links {
            births.entry(key(link)).or_default().push(link);
        }
        for born in births.values_mut() {
            born.sort_by_key(|link| link.born());
        }
        Births(births)
    }

    /// What the server of `b` began after `a` and before `b`.
    fn between<'s>(&'s self, a: &Link<'_>, b: &'s Link<'_>) -> &'s [&'s Link<'s>] {
        let born = self.0.get(&key(b)).map_or(&[][..], Vec::as_slice);
        let after = &born[born.partition_point(|link| link.born() <= a.born())..];
        &after[..after.partition_point(|link| link.born() < b.born())]
    }

    /// Whether the server of `b` began another file after `a` and before `b`.
    fn any_between(&self, a: &Link<'_>, b: &Link<'_>) -> bool {
        !self.between(a, b).is_empty()
    }

    /// Whether one of those may be before `b`, in a life that began after `a`.
    fn any_before(&self, a: &Link<'_>, b: &Link<'_>) -> bool {
        self.between(a, b).iter().any(|between| {
            between.name.number() < b.name.number() && fit(between, b, false).is_some()
        })
    }
}

fn key<'l>(link: &'l Link<'_>) -> (&'l str, u32) {
    let server_id = link.found.summary.server_id;
    (link.name.basename().as_str(), server_id)
}

/// How well `b`, which has the next number, follows `a`, and how far apart in time they are.
fn follows(a: &Link<'_>, b: &Link<'_>, births: &Births<'_>) -> Option<(Fit, Reverse<i64>)> {
    let apart = b.created().0 - a.ended().0;
    let (rotated, in_time) = match names::next_of(a.found) {
        Some(next) => (true, next == b.name && apart.abs() <= ROTATION_MAX_MICROS),
        None => (false, apart >= -ROTATION_MAX_MICROS),
    };
    let fit = fit(a, b, rotated).filter(|_| in_time)?;
    let same_server = a.found.summary.server_id == b.found.summary.server_id;
    let told = match fit {
        _ if rotated => true,
        Fit::Exact => !births.any_before(a, b),
        Fit::Differing | Fit::Untold => same_server && !births.any_between(a, b),
    };
    told.then_some((fit, Reverse(apart.abs())))
}

/// Puts files into numberings, and those in the order in which they were lived.
///
/// # Errors
/// When two files claim one place, or two numberings one time.
pub(super) fn lives(links: Vec<Link<'_>>) -> Result<Vec<Vec<Link<'_>>>, OrderError> {
    let mut next: Vec<Option<usize>> = vec![None; links.len()];
    let mut has_before = vec![false; links.len()];
    let births = Births::of(&links);
    join_neighbours(&links, &births, &mut next, &mut has_before)?;
    join_over_holes(&links, &births, &mut next, &mut has_before);
    drop(births);
    let mut slots: Vec<Option<Link<'_>>> = links.into_iter().map(Some).collect();
    let mut lives = Vec::new();
    for first in (0..has_before.len()).filter(|n| !has_before[*n]) {
        let mut life = Vec::new();
        let mut at = Some(first);
        while let Some(n) = at {
            life.extend(slots[n].take());
            at = next[n];
        }
        lives.push(life);
    }
    lives.sort_by_key(|life: &Vec<Link<'_>>| life.first().map(Link::created));
    check_apart(&lives)?;
    Ok(lives)
}

fn join_neighbours(
    links: &[Link<'_>],
    births: &Births<'_>,
    next: &mut [Option<usize>],
    has_before: &mut [bool],
) -> Result<(), OrderError> {
    let mut places: BTreeMap<(&str, u64), Vec<usize>> = BTreeMap::new();
    for (n, link) in links.iter().enumerate() {
        let place = (link.name.basename().as_str(), link.name.number().0);
        places.entry(place).or_default().push(n);
    }
    for ((basename, number), at) in &places {
        let Some(behind) = places.get(&(*basename, number + 1)) else {
            continue;
        };
        let mut pairs: Vec<_> = at
            .iter()
            .flat_map(|a| behind.iter().map(move |b| (*a, *b)))
            .filter_map(|(a, b)| Some((follows(&links[a], &links[b], births)?, a, b)))
            .collect();
        pairs.sort_by_key(|(fit, a, b)| (Reverse(*fit), *a, *b));
        for (fit, a, b) in &pairs {
            match next[*a] {
                None if !has_before[*b] => {
                    next[*a] = Some(*b);
                    has_before[*b] = true;
                }
                Some(taken) if !has_before[*b] => {
                    let rival = pairs.iter().find(|pair| (pair.1, pair.2) == (*a, taken));
                    let equal = rival.is_some_and(|rival| rival.0.0 == fit.0);
                    if equal && names::next_of(links[*a].found).is_some() {
                        return Err(OrderError::Contested {
                            name: links[*b].name.to_string(),
                            first: links[taken].found.item.path.clone(),
                            second: links[*b].found.item.path.clone(),
                        });
                    }
                }
                None => {
                    let rival = pairs
                        .iter()
                        .find(|pair| pair.2 == *b && next[pair.1] == Some(*b));
                    if let Some((_, taken, _)) = rival.filter(|rival| rival.0 == *fit) {
                        return Err(OrderError::Forked {
                            name: links[*b].name.to_string(),
                            path: links[*b].found.item.path.clone(),
                            first: links[*taken].found.item.path.clone(),
                            second: links[*a].found.item.path.clone(),
                        });
                    }
                }
                Some(_) => {}
            }
        }
    }
    Ok(())
}

/// Joins what goes on behind missing numbers.
fn join_over_holes(
    links: &[Link<'_>],
    births: &Births<'_>,
    next: &mut [Option<usize>],
    has_before: &mut [bool],
) {
    let mut firsts: Vec<usize> = (0..links.len()).filter(|n| !has_before[*n]).collect();
    firsts.sort_by_key(|n| links[*n].created());
    for first in firsts {
        let b = &links[first];
        let fits = |n: &usize| {
            let a = &links[*n];
            next[*n].is_none()
                && a.name.basename() == b.name.basename()
                && a.name.number().0 + 1 < b.name.number().0
                && a.found.summary.server_id == b.found.summary.server_id
                && b.created().0 >= a.ended().0 - ROTATION_MAX_MICROS
                && fit(a, b, false).is_some()
                && !births.any_between(a, b)
        };
        let before = (0..links.len())
            .filter(fits)
            .max_by_key(|n| (links[*n].ended(), links[*n].name.number()));
        if let Some(before) = before {
            next[before] = Some(first);
            has_before[first] = true;
        }
    }
}

/// One server lives one life at a time: two at once are two servers', and which of them is the stream's is not for a program
/// to say.
fn check_apart(lives: &[Vec<Link<'_>>]) -> Result<(), OrderError> {
    let mut latest: Option<&Vec<Link<'_>>> = None;
    for life in lives {
        let (Some(first), Some(last)) = (life.first(), life.last()) else {
            continue;
        };
        let before = latest.and_then(|latest| latest.last().map(|end| (latest, end)));
        if let Some((before, end)) = before
            && end.ended().0 > first.created().0 + ROTATION_MAX_MICROS
        {
            return Err(OrderError::AtOnce {
                first: describe(before),
                second: describe(life),
            });
        }
        let later = before.is_none_or(|(_, end)| last.ended() >= end.ended());
        if later {
            latest = Some(life);
        }
    }
    Ok(())
}

fn describe(life: &[Link<'_>]) -> String {
    match life {
        [] => "nothing".to_owned(),
        [only] => format!(
            "{} (server id {}, {})",
            only.name, only.found.summary.server_id, only.found.item.path
        ),
        [first, .., last] => format!(
            "{} to {} (server id {}, {} to {})",
            first.name,
            last.name,
            first.found.summary.server_id,
            first.found.item.path,
            last.found.item.path
        ),
    }
}

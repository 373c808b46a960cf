//! The order in which a pile is imported: by what the files hold. Pure.

use super::copies::{self, Kept, drop_beginnings, drop_damaged, once};
use super::found::{Found, Left};
use super::lives::{Link, lives};
use super::names;
use crate::binlog::Ending;
use crate::model::{FileName, SegmentNumber};
use crate::sync::place::HOLES_MAX;
use serde::Serialize;
use std::collections::HashSet;
use std::sync::Arc;

/// What is done with a pile.
#[derive(Clone, Debug, Default)]
pub struct Order {
    /// The numberings, oldest first.
    pub lives: Vec<Life>,
    /// What is left because another file stands for it.
    pub dropped: Vec<Dropped>,
    /// The newest file, if its server may go on writing it: whoever archives it takes it when it is closed.
    pub unfinished: Option<Placed>,
    /// Binlogs that have no place, because nothing tells their number.
    pub nameless: Vec<Left>,
}

/// One numbering of one server.
#[derive(Clone, Debug, Default)]
pub struct Life {
    /// Its files, in order.
    pub files: Vec<Placed>,
}

/// A file at its place.
#[derive(Clone, Debug)]
pub struct Placed {
    /// What its server called it.
    pub name: FileName,
    /// The file.
    pub found: Arc<Found>,
}

/// A file that is left because another stands for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Its path below the pile's.
    pub path: String,
    /// The path of the other one.
    pub of: String,
    /// What it is of it.
    pub why: Why,
}

/// What a file that is left is of the one that is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The same bytes.
    Duplicate,
    /// The same bytes, but for the flag that a server sets while it writes a file.
    InUse,
    /// Its beginning.
    CutShort,
    /// The same file, and damaged.
    Damaged,
}

impl Why {
    /// What it is, before "of PATH".
    pub fn told(self) -> &'static str {
        match self {
            Why::Duplicate => "the same bytes as",
            Why::InUse => "but for its IN_USE flag the same as",
            Why::CutShort => "only the beginning of",
            Why::Damaged => "a damaged copy of",
        }
    }
}

/// What is taken of a pile.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// `--server-id`: only this server's files.
    pub server_id: Option<u32>,
    /// `--final`: the newest file too, even if its server may still write it.
    pub last: bool,
}

/// A pile that cannot be put in order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Two files claim one place.
    #[error(
        "{first} and {second} both claim to be {name} and differ, and neither is only the beginning or a damaged copy of the other: find out which \
         is right (mysqlbinlog --verify-binlog-checksum, the dates of the copies), and leave the other one out with --exclude; nothing was written"
    )]
    Contested {
        /// The name.
        name: String,
        /// One of the two.
        first: String,
        /// The other.
        second: String,
    },
    /// Two files may be before one.
    #[error(
        "{path} ({name}) goes on behind {first} as well as behind {second}, and neither GTIDs nor times tell which: find out which of the two was its server's \
         last before it (mysqlbinlog --verbose shows what was done), and leave the other one out with --exclude; nothing was written"
    )]
    Forked {
        /// What the server called the file behind them.
        name: String,
        /// Its path.
        path: String,
        /// One that may be before it.
        first: String,
        /// The other.
        second: String,
    },
    /// More are missing in a row than are recorded one by one.
    #[error(
        "{missing} files in a row are missing between {first} ({first_path}) and {last} ({last_path}), and no more than {max} are recorded as holes: \
         one of the two may be named after something else than its number, such as a date. Rename it to BASENAME.NNNNNN, or leave it out with \
         --exclude; nothing was written",
        max = HOLES_MAX
    )]
    TooFar {
        /// How many.
        missing: u64,
        /// The file before them.
        first: String,
        /// Its path.
        first_path: String,
        /// The file behind them.
        last: String,
        /// Its path.
        last_path: String,
    },
    /// Two servers wrote at the same time.
    #[error(
        "these were written at the same time, so that they are of two servers: {first}, and {second}. A stream has one server at a time: import one of the \
         two (--server-id, or --exclude with the paths of the other), and the other one into a stream of its own; nothing was written"
    )]
    AtOnce {
        /// One.
        first: String,
        /// The other.
        second: String,
    },
}

/// Puts a pile in order. `beginnings` are those of [`super::may_be_beginnings`] that are.
///
/// # Errors
/// When two files claim one place, or two servers one time, or a number is far off.
pub fn order(
    found: &[Arc<Found>],
    beginnings: &HashSet<(usize, usize)>,
    wanted: Wanted,
) -> Result<Order, OrderError> {
    let (mut kept, mut dropped) = once(found);
    dropped.extend(drop_beginnings(found, &mut kept, beginnings));
    kept.retain(|kept| {
        let server_id = found[kept.index].summary.server_id;
        wanted.server_id.is_none_or(|wanted| wanted == server_id)
    });
    let (mut named, nameless) = name(found, &kept);
    dropped.extend(drop_damaged(found, &mut named)?);
    copies::name_what_is_taken(&mut dropped);
    let links = named
        .into_iter()
        .map(|(index, name)| Link::new(index, name, &found[index]))
        .collect();
    let mut order = Order {
        dropped,
        nameless,
        ..Order::default()
    };
    for life in lives(links)? {
        let files = life.into_iter().map(|link| Placed {
            name: link.name,
            found: Arc::clone(&found[link.index]),
        });
        order.lives.push(Life {
            files: files.collect(),
        });
    }
    if !wanted.last {
        order.unfinished = take_unfinished(&mut order.lives);
    }
    order.lives.iter().try_for_each(check_width)?;
    Ok(order)
}

/// What is missing is counted one by one, and told by name.
fn check_width(life: &Life) -> Result<(), OrderError> {
    match life.widest_hole() {
        Some((missing, before, after)) if missing > HOLES_MAX => Err(OrderError::TooFar {
            missing,
            first: before.name.to_string(),
            first_path: before.found.item.path.clone(),
            last: after.name.to_string(),
            last_path: after.found.item.path.clone(),
        }),
        Some(_) | None => Ok(()),
    }
}

fn name(found: &[Arc<Found>], kept: &[Kept]) -> (Vec<(usize, FileName)>, Vec<Left>) {
    let files: Vec<_> = kept
        .iter()
        .map(|kept| (&*found[kept.index], kept.path_names.clone()))
        .collect();
    let (mut named, mut nameless) = (Vec::new(), Vec::new());
    for (kept, name) in kept.iter().zip(names::resolve(&files)) {
        match name {
            Some(name) => named.push((kept.index, name)),
            None => nameless.push(Left {
                path: found[kept.index].item.path.clone(),
                reason: "neither its path nor its last event tells its number, and no file here goes on in it: rename it to BASENAME.NNNNNN".to_owned(),
            }),
        }
    }
    (named, nameless)
}

/// The newest file, if nothing says that its server is done with it.
fn take_unfinished(lives: &mut Vec<Life>) -> Option<Placed> {
    let life = lives.last_mut()?;
    let last = life.files.last()?;
    if last.found.summary.ending != Ending::Open {
        return None;
    }
    let unfinished = life.files.pop();
    if life.files.is_empty() {
        lives.pop();
    }
    unfinished
}

impl Life {
    /// The files that are missing between those that are there.
    pub fn holes(&self) -> impl Iterator<Item = FileName> {
        self.files.windows(2).flat_map(|pair| {
            let (before, next) = (&pair[0].name, &pair[1].name);
            (before.number().0 + 1..next.number().0)
                .map(move |number| FileName::new(next.basename().clone(), SegmentNumber(number)))
        })
    }

    /// The most files that are missing in a row, with those around them.
    pub fn widest_hole(&self) -> Option<(u64, &Placed, &Placed)> {
        let gaps = self.files.windows(2).map(|pair| {
            let missing = pair[1].name.number().0 - pair[0].name.number().0 - 1;
            (missing, &pair[0], &pair[1])
        });
        gaps.max_by_key(|gap| gap.0)
    }
}

impl Order {
    /// All files, in order.
    pub fn files(&self) -> impl Iterator<Item = &Placed> {
        self.lives.iter().flat_map(|life| &life.files)
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;

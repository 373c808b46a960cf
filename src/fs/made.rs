//! What is reachable by name and listed nowhere: directories that are made when somebody asks for them. Pure.
//!
//! ```text
//! .at/<time>/                 the history up to a moment
//! .before/<gtid>/             the history before a transaction (also .before/<file>:<position>/)
//! .range/<from>/<to>/         the history between two of these: each a time, a GTID or a position
//! .status.json                how the mount is doing
//! ```

use super::tree::Node;
use crate::locate::Target;
use crate::model::Timeline;

/// A hidden thing that is always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hidden {
    /// `.at`
    At,
    /// `.before`
    Before,
    /// `.range`
    Range,
    /// `.status.json`
    Status,
}

/// Names a directory that was made. A number is used once: what it named does not change, and may be forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MadeId(pub u64);

/// A node that is made on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Made {
    /// A hidden thing: of the root (`None`), or of `.timeline/<n>`.
    Hidden(Option<Timeline>, Hidden),
    /// A directory: one end of a range, or a part of the history.
    Directory(MadeId),
    /// The file with which a part of the history begins, where that is in the middle of it.
    First(MadeId),
    /// The file with which it ends.
    Last(MadeId),
}

/// All of [`Hidden`], by the number each has in inodes.
const HIDDEN: [(&str, Hidden); 4] = [
    (".at", Hidden::At),
    (".before", Hidden::Before),
    (".range", Hidden::Range),
    (".status.json", Hidden::Status),
];
/// Bits of an inode number that tell which of four things it is.
const WHICH_BITS: u32 = 2;

impl Hidden {
    /// What `text` means as a name in this directory. A relative time means nothing: it would be another one each time it is
    /// looked up.
    pub fn target(self, text: &str) -> Option<Target> {
        let target = Target::parse(text, None).ok()?;
        let fits = match (self, &target) {
            (Hidden::At, Target::Time(_)) => true,
            (Hidden::Before, Target::Gtid(_) | Target::Position(_)) => true,
            (Hidden::Range, _) => true,
            (Hidden::At | Hidden::Before | Hidden::Status, _) => false,
        };
        fits.then_some(target)
    }
}

impl Made {
    /// The hidden thing called `name` in the root (`scope` is `None`) or in the directory of a timeline.
    pub fn named(scope: Option<Timeline>, name: &str) -> Option<Made> {
        let (_, hidden) = HIDDEN.iter().find(|(known, _)| *known == name)?;
        // There is one status, of the whole mount.
        let there = scope.is_none() || *hidden != Hidden::Status;
        there.then_some(Made::Hidden(scope, *hidden))
    }

    /// Its place among the inode numbers: number and kind.
    pub(super) fn number_and_kind(self) -> (u64, u64) {
        let of = |id: MadeId, which: u64| (id.0 << WHICH_BITS | which, 7);
        match self {
            Made::Hidden(scope, hidden) => {
                let scope = scope.map_or(0, |timeline| u64::from(timeline.0));
                let which = HIDDEN.iter().position(|(_, known)| *known == hidden);
                (scope << WHICH_BITS | which.unwrap_or_default() as u64, 6)
            }
            Made::Directory(id) => of(id, 0),
            Made::First(id) => of(id, 1),
            Made::Last(id) => of(id, 2),
        }
    }

    /// What has that place.
    pub(super) fn of_number_and_kind(number: u64, kind: u64) -> Option<Made> {
        let (rest, which) = (number >> WHICH_BITS, number & ((1 << WHICH_BITS) - 1));
        match (kind, which) {
            (6, which) => {
                let timeline = Timeline(u32::try_from(rest).ok()?);
                let scope = (rest > 0).then_some(timeline);
                let (name, _) = HIDDEN.get(usize::try_from(which).ok()?)?;
                Made::named(scope, name)
            }
            (7, 0) => Some(Made::Directory(MadeId(rest))),
            (7, 1) => Some(Made::First(MadeId(rest))),
            (7, 2) => Some(Made::Last(MadeId(rest))),
            _ => None,
        }
    }

    /// Whether it is a directory.
    pub fn is_directory(self) -> bool {
        match self {
            Made::Hidden(_, Hidden::Status) | Made::First(_) | Made::Last(_) => false,
            Made::Hidden(..) | Made::Directory(_) => true,
        }
    }

    /// The directory it is reached through, as far as that matters to `..`.
    pub(super) fn parent(self) -> Node {
        match self {
            Made::Hidden(Some(timeline), _) => Node::Timeline(timeline),
            Made::Hidden(None, _) | Made::Directory(_) => Node::Root,
            Made::First(id) | Made::Last(id) => Node::Made(Made::Directory(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inode_numbers_name_what_they_were_made_of_and_leave_the_upper_bits_free() {
        let mut seen = std::collections::BTreeSet::new();
        let scopes = [None, Some(Timeline(1)), Some(Timeline(u32::MAX))];
        let hidden = scopes.into_iter().flat_map(|scope| {
            let named = HIDDEN
                .iter()
                .filter_map(move |(name, _)| Made::named(scope, name));
            named.collect::<Vec<_>>()
        });
        let ids = [1, 2, super::super::views::ID_MAX].map(MadeId);
        let made = ids
            .into_iter()
            .flat_map(|id| [Made::Directory(id), Made::First(id), Made::Last(id)]);
        for made in hidden.chain(made) {
            let ino = Node::Made(made).ino();
            assert!(ino < 1 << 48, "{made:?}");
            assert_eq!(Node::of_ino(ino), Some(Node::Made(made)));
            assert!(seen.insert(ino), "{made:?}");
        }
        assert_eq!(Made::named(Some(Timeline(1)), ".status.json"), None);
        assert_eq!(Made::named(None, ".AT"), None);
    }

    #[test]
    fn each_directory_takes_its_own_kind_of_name() {
        let time = "2026-11-22T18:30:00Z";
        let gtid = "3e11fa47-71ca-11e1-9e33-c80aa9429562:17";
        let position = "binlog.000042:1234";
        for (hidden, takes) in [
            (Hidden::At, [true, false, false]),
            (Hidden::Before, [false, true, true]),
            (Hidden::Range, [true, true, true]),
            (Hidden::Status, [false, false, false]),
        ] {
            for (text, takes) in [time, gtid, position].into_iter().zip(takes) {
                assert_eq!(hidden.target(text).is_some(), takes, "{hidden:?} {text}");
            }
            assert_eq!(hidden.target("-15m"), None);
            assert_eq!(hidden.target("nonsense"), None);
        }
    }
}

//! A range of an object in the pieces it came in: joining them would be a copy of all that was fetched.

use bytes::{Bytes, BytesMut};
use std::ops::Range;

/// A part of an object as stored.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// Object offset of its first byte.
    pub(super) start: u64,
    pub(super) bytes: Bytes,
}

/// Pieces in the order of their places, whatever the order they came in. Each begins where the one before it ends, unless one is
/// missing or a store gave another length than it was asked for: what is made of several is then of another length as well, or not
/// what was archived, and is not proven.
#[derive(Debug, Default)]
pub(super) struct Pieces(Vec<Piece>);

impl Piece {
    /// Object offset after its last byte.
    pub(super) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Whether it is as long as `other`, and begins where that does.
    pub(super) fn is_range_of(&self, other: &Piece) -> bool {
        self.start == other.start && self.bytes.len() == other.bytes.len()
    }

    /// Whether it has all of `range`.
    pub(super) fn has(&self, range: &Range<u64>) -> bool {
        self.part(range).is_some()
    }

    /// Its part of `range`; `None` where it does not have all of it.
    pub(super) fn part(&self, range: &Range<u64>) -> Option<Bytes> {
        let at = |offset: u64| usize::try_from(offset.checked_sub(self.start)?).ok();
        let (from, to) = at(range.start).zip(at(range.end))?;
        (from <= to && to <= self.bytes.len()).then(|| self.bytes.slice(from..to))
    }
}

impl Pieces {
    /// Adds one where it belongs: mostly after the others.
    pub(super) fn push(&mut self, piece: Piece) {
        if piece.bytes.is_empty() {
            return;
        }
        let after = self.0.iter().rposition(|other| other.start <= piece.start);
        self.0.insert(after.map_or(0, |at| at + 1), piece);
    }

    /// A piece that has all of `range`: one of these, or one made of several. Empty where there is none.
    pub(super) fn with(&self, range: &Range<u64>) -> Piece {
        let whole = self.0.iter().find(|piece| piece.has(range));
        if let Some(whole) = whole {
            return whole.clone();
        }
        let mut joined = BytesMut::with_capacity((range.end - range.start) as usize);
        for piece in &self.0 {
            let common = piece.start.max(range.start)..piece.end().min(range.end);
            if let Some(part) = piece.part(&common) {
                joined.extend_from_slice(&part);
            }
        }
        Piece {
            start: range.start,
            bytes: joined.freeze(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(came: &[(u64, &'static str)]) -> Pieces {
        let mut pieces = Pieces::default();
        for (start, bytes) in came {
            let (start, bytes) = (*start, Bytes::from(*bytes));
            pieces.push(Piece { start, bytes });
        }
        pieces
    }

    fn pieces() -> Pieces {
        of(&[(103, "defg"), (100, "abc"), (103, ""), (107, "h")])
    }

    #[test]
    fn what_one_piece_has_is_not_copied() {
        let pieces = pieces();
        for range in [103..107, 104..105, 105..105] {
            let piece = pieces.with(&range);
            assert_eq!((piece.start, &piece.bytes[..]), (103, &b"defg"[..]));
            assert_eq!(piece.bytes.as_ptr(), pieces.0[1].bytes.as_ptr());
        }
    }

    #[test]
    fn what_several_have_is_joined_and_no_more_than_is_asked_for() {
        let joined = |range: Range<u64>| {
            let piece = pieces().with(&range);
            assert_eq!(piece.start, range.start);
            piece.bytes
        };
        assert_eq!(joined(100..108), "abcdefgh");
        assert_eq!(joined(102..104), "cd");
        assert_eq!(joined(101..108), "bcdefgh");
    }

    #[test]
    fn of_a_piece_that_is_shorter_than_it_was_asked_for_nothing_is_made_up() {
        let pieces = of(&[(100, "ab"), (104, "efgh")]);
        assert_eq!(pieces.with(&(100..108)).bytes.len(), 6);
        assert!(pieces.with(&(101..104)).bytes.len() < 3);
        let piece = pieces.with(&(105..108));
        assert_eq!((piece.start, &piece.bytes[..]), (104, &b"efgh"[..]));
    }

    #[test]
    fn what_is_not_there_is_too_short() {
        for range in [90..99, 99..101, 107..109, 120..130] {
            let length = range.end - range.start;
            assert!(
                (pieces().with(&range).bytes.len() as u64) < length,
                "{range:?}"
            );
        }
        assert!(Pieces::default().with(&(0..1)).bytes.is_empty());
    }
}

//! The segments of a plan, in replay order: a million of them in few allocations.

use crate::index::ListedRow;
use crate::model::Seq;
use std::ops::Range;

/// A segment of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The record that introduced it.
    pub seq: Seq,
    /// Its name in the mount.
    pub file: &'a str,
    /// Length of the file in bytes.
    pub size: u64,
    /// Length of its object in bytes.
    pub stored_size: u64,
    /// What of the file is replayed. Where that begins later than at 0, the file's head (up to its first transaction) is
    /// still needed to read it: mysqlbinlog's `--start-position` reads it by itself.
    pub range: Range<u64>,
}

impl Piece<'_> {
    /// Whether all of the file is replayed.
    pub fn is_whole(&self) -> bool {
        self.range == (0..self.size)
    }
}

/// The segments of a plan: all but the first and the last are replayed whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// All names, one after the other.
    names: String,
    rows: Vec<Row>,
    from: u64,
    to: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    seq: Seq,
    name_end: usize,
    size: u64,
    stored_size: u64,
}

impl Pieces {
    /// No segment yet: the first will be replayed from `from` on, the last up to `to`.
    pub fn between(from: u64, to: u64) -> Pieces {
        Pieces {
            from,
            to,
            ..Pieces::default()
        }
    }

    /// The next segment in replay order.
    pub fn push(&mut self, row: &ListedRow<'_>) {
        self.names.push_str(row.name);
        self.rows.push(Row {
            seq: row.seq,
            name_end: self.names.len(),
            size: row.size,
            stored_size: row.stored_size,
        });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is nothing to replay.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// One of them.
    pub fn get(&self, place: usize) -> Option<Piece<'_>> {
        let row = self.rows.get(place)?;
        let name_start = match place {
            0 => 0,
            _ => self.rows[place - 1].name_end,
        };
        let from = if place == 0 { self.from } else { 0 };
        let last = place + 1 == self.rows.len();
        let to = if last {
            self.to.min(row.size)
        } else {
            row.size
        };
        Some(Piece {
            seq: row.seq,
            file: &self.names[name_start..row.name_end],
            size: row.size,
            stored_size: row.stored_size,
            range: from.min(to)..to,
        })
    }

    /// All of them, in replay order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Piece<'_>> {
        (0..self.len()).map(|place| self.get(place).expect("it is one of them"))
    }

    /// Bytes of binlog to replay.
    pub fn bytes(&self) -> u64 {
        self.iter()
            .map(|piece| piece.range.end - piece.range.start)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::EntryState;

    fn pieces(names: &[&str]) -> Pieces {
        let mut pieces = Pieces::between(400, 700);
        for (n, name) in names.iter().enumerate() {
            pieces.push(&ListedRow {
                seq: Seq(n as u64 + 1),
                name,
                state: EntryState::Archived,
                size: 1000,
                stored_size: 300,
                time: None,
            });
        }
        pieces
    }

    #[test]
    fn the_first_piece_begins_late_and_the_last_ends_early() {
        let three = pieces(&["a.000001", "a.000002", "a.1000000"]);
        let ranges: Vec<_> = three
            .iter()
            .map(|p| (p.file.to_owned(), p.range.clone(), p.is_whole()))
            .collect();
        assert_eq!(
            ranges,
            [
                ("a.000001".to_owned(), 400..1000, false),
                ("a.000002".to_owned(), 0..1000, true),
                ("a.1000000".to_owned(), 0..700, false)
            ]
        );
        assert_eq!(three.bytes(), 600 + 1000 + 700);
        let one = pieces(&["a.000001"]);
        assert_eq!(one.get(0).map(|p| p.range), Some(400..700));
        assert_eq!(one.get(1), None);
        assert!(pieces(&[]).is_empty() && pieces(&[]).bytes() == 0);
    }
}

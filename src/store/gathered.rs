//! Bytes of an upload that wait until there are enough to send.

use bytes::Bytes;
use std::collections::VecDeque;

/// Pieces that wait until there are enough for a part.
#[derive(Default)]
pub(super) struct Gathered {
    pieces: VecDeque<Bytes>,
    bytes: u64,
}

impl Gathered {
    pub(super) fn push(&mut self, piece: Bytes) {
        self.bytes += piece.len() as u64;
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// Bytes waiting.
    pub(super) fn len(&self) -> u64 {
        self.bytes
    }

    /// The first `bytes` bytes, or all if there are fewer, in one piece. Each piece is freed as it is copied.
    pub(super) fn take(&mut self, bytes: u64) -> Bytes {
        let wanted = bytes.min(self.bytes) as usize;
        let mut part = Vec::with_capacity(wanted);
        while part.len() < wanted {
            let Some(mut piece) = self.pieces.pop_front() else {
                break;
            };
            let left = wanted - part.len();
            if piece.len() > left {
                part.extend_from_slice(&piece.split_to(left));
                self.pieces.push_front(piece);
            } else {
                part.extend_from_slice(&piece);
            }
        }
        self.bytes -= part.len() as u64;
        part.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_is_what_was_pushed_in_order() {
        let mut gathered = Gathered::default();
        for piece in ["abc", "", "defgh", "i"] {
            gathered.push(Bytes::from_static(piece.as_bytes()));
        }
        assert_eq!(gathered.len(), 9);
        assert_eq!(gathered.take(4), "abcd");
        assert_eq!(gathered.take(1), "e");
        assert_eq!(gathered.take(100), "fghi");
        assert_eq!(gathered.len(), 0);
        assert!(gathered.take(1).is_empty());
    }
}

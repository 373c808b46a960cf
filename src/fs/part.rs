//! A file that shows a part of a segment: where its bytes are in it. Pure.

use std::ops::Range;

/// The first `head` bytes of a segment, and behind them the bytes `from..to` of it.
///
/// The head is what every binlog begins with: without it the rest could not be read. So that a part is a whole binlog, its
/// positions are its own, and not those in the segment, where something was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    head: u64,
    from: u64,
    to: u64,
}

impl Part {
    /// The bytes up to `to`.
    pub fn until(to: u64) -> Part {
        Part {
            head: 0,
            from: 0,
            to,
        }
    }

    /// The first `head` bytes, and those from `from` up to `to`.
    pub fn between(head: u64, from: u64, to: u64) -> Part {
        match from <= head {
            true => Part::until(to),
            false => Part {
                head,
                from,
                to: to.max(from),
            },
        }
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.head + (self.to - self.from)
    }

    /// Where in the segment its bytes from `offset` on are, `len` of them or as many as there are: first in the head, then
    /// behind it.
    pub fn places(&self, offset: u64, len: u64) -> [Range<u64>; 2] {
        let offset = offset.min(self.len());
        let end = offset.saturating_add(len).min(self.len());
        let in_head = offset.min(self.head)..end.min(self.head);
        let shift = self.from - self.head;
        let behind = offset.max(self.head)..end.max(self.head);
        [in_head, behind.start + shift..behind.end + shift]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_read_of_a_part_is_that_of_its_bytes(
            head in 0usize..30,
            from in 0usize..60,
            to in 0usize..60,
            offset in 0u64..200,
            len in 0u64..200,
        ) {
            let segment: Vec<u8> = (0..60).collect();
            let to = to.max(from).max(head);
            let part = Part::between(head as u64, from as u64, to as u64);
            let bytes = match from <= head {
                true => segment[..to].to_vec(),
                false => [&segment[..head], &segment[from..to]].concat(),
            };
            prop_assert_eq!(part.len(), bytes.len() as u64);
            let read: Vec<u8> = part
                .places(offset, len)
                .into_iter()
                .flat_map(|place| segment[place.start as usize..place.end as usize].to_vec())
                .collect();
            let at = |n: u64| n.min(bytes.len() as u64) as usize;
            prop_assert_eq!(&read[..], &bytes[at(offset)..at(offset.saturating_add(len)).max(at(offset))]);
        }
    }

    #[test]
    fn no_offset_overflows() {
        let part = Part::between(10, 20, 30);
        assert!(part.places(u64::MAX, u64::MAX).iter().all(Range::is_empty));
        assert_eq!(part.places(0, u64::MAX), [0..10, 20..30]);
    }
}

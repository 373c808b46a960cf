//! The reads of a round, each compared with the model.

use super::face::Face;
use super::game::{Game, Open};
use super::{FAULTS, HEALED_WITHIN, Mood};
use crate::random::Random;
use std::time::Instant;

impl<F: Face> Game<F> {
    /// Whether a read may end with `errno` now that should give bytes.
    pub fn may_be(&self, errno: i32) -> bool {
        self.mood != Mood::Well && FAULTS.contains(&errno)
    }

    pub fn any_open(&mut self) -> Option<Open> {
        if self.open.is_empty() {
            return None;
        }
        let which = self.random.below(self.open.len() as u64);
        Some(self.open[which as usize].clone())
    }

    pub fn any_range(random: &mut Random, size: u64) -> (u64, usize) {
        let len = match random.below(4) {
            0 => random.below(100),
            1 => 8192,
            2 => random.below(20_000),
            _ => random.below(300_000),
        };
        let offset = match random.below(5) {
            0 => size.saturating_sub(random.below(5000)),
            1 => size + random.below(10_000),
            _ => random.below(size.max(1)),
        };
        (offset, len as usize)
    }

    pub fn read_one(&mut self) {
        let Some(open) = self.any_open() else {
            return;
        };
        let (offset, len) = Self::any_range(&mut self.random, open.plain.size());
        self.compare(&open, offset, len);
    }

    /// One read. A deadline can also run out on a host that has no time for us, and the kernel then gives the pages before the
    /// one that failed, without an error: the rest is read again, for so long.
    pub fn read(&self, handle: u64, offset: u64, len: usize) -> Result<Vec<u8>, i32> {
        let begun = Instant::now();
        let mut got = Vec::new();
        loop {
            let rest = self
                .face()
                .read(handle, offset + got.len() as u64, len - got.len());
            let again = self.mood == Mood::Well && begun.elapsed() < HEALED_WITHIN;
            match rest {
                Err(libc::ETIMEDOUT) if again => {}
                Err(errno) if got.is_empty() => return Err(errno),
                Err(_) => return Ok(got),
                Ok(rest) => {
                    let ended = rest.is_empty();
                    got.extend(rest);
                    if ended || got.len() == len || !again {
                        return Ok(got);
                    }
                }
            }
        }
    }

    /// One read, compared. Short before the end of what is readable only while the store fails: the kernel cuts at that page.
    pub fn compare(&self, open: &Open, offset: u64, len: usize) {
        let expected = open.plain.read(offset as usize, len);
        let (name, mood) = (&open.name, self.mood);
        let what = || format!("{name} at {offset}, {len} bytes, the store {mood:?}");
        match (self.read(open.handle, offset, len), expected) {
            (Ok(got), Ok(expected)) if self.mood == Mood::Well => {
                assert!(got == expected, "{}: {} bytes", what(), got.len());
            }
            (Ok(got), Ok(expected)) => {
                assert!(expected.starts_with(&got), "{}: other bytes", what());
                assert!(expected.is_empty() || !got.is_empty(), "{}: an end", what());
            }
            (Err(errno), Err(expected)) => {
                assert!(
                    errno == expected || self.may_be(errno),
                    "{}: errno {errno}",
                    what()
                );
            }
            (Err(errno), Ok(_)) => assert!(self.may_be(errno), "{}: errno {errno}", what()),
            (Ok(got), Err(errno)) => {
                panic!("{}: {} bytes instead of errno {errno}", what(), got.len())
            }
        }
    }

    /// As `cat` does: to the end, in pieces of one size.
    pub fn read_through(&mut self) {
        let Some(open) = self.any_open() else {
            return;
        };
        let piece = 1 + self.random.below(70_000);
        let mut at = 0;
        while at < open.plain.size() {
            self.compare(&open, at, piece as usize);
            at += piece;
        }
    }

    /// Several readers at once, some of the same file.
    pub fn read_many(&mut self) {
        let mut plans = Vec::new();
        for _ in 0..4 {
            let Some(open) = self.any_open() else {
                return;
            };
            let size = open.plain.size();
            let ranges: Vec<_> = (0..6)
                .map(|_| Self::any_range(&mut self.random, size))
                .collect();
            plans.push((open, ranges));
        }
        let game = &*self;
        let play = |(open, ranges): &(Open, Vec<(u64, usize)>)| {
            let name = &open.name;
            for (offset, len) in ranges {
                let got = game.read(open.handle, *offset, *len);
                let expected = open.plain.read(*offset as usize, *len);
                match (got, expected) {
                    (Ok(got), Ok(expected)) => assert!(expected.starts_with(&got), "{name}"),
                    (Err(errno), Err(expected)) => {
                        assert!(errno == expected || game.may_be(errno));
                    }
                    (Err(errno), Ok(_)) => assert!(game.may_be(errno), "{name}: errno {errno}"),
                    (Ok(_), Err(errno)) => panic!("{name}: bytes instead of errno {errno}"),
                }
            }
        };
        let play = &play;
        std::thread::scope(|scope| {
            for plan in &plans {
                scope.spawn(move || play(plan));
            }
        });
    }
}

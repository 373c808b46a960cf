//! A body of the length that its server announced: no byte less, none more.

use crate::blocks::Blocks;
use bytes::Bytes;

/// Memory for bodies as large as a run of frames with a chunk at each end. As many wait as one reader has on their way.
static RUNS: Blocks = Blocks::new((2 << 20) + (256 << 10), 3 << 19, 4);

/// What came of it so far. An error says how it differs.
pub(super) struct Body {
    bytes: Vec<u8>,
    length: u64,
}

impl Body {
    /// Of `length` bytes, which the caller has bounded.
    pub(super) fn of(length: u64) -> Body {
        Body {
            bytes: RUNS.room(length as usize),
            length,
        }
    }

    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), String> {
        if piece.len() as u64 > self.length - self.bytes.len() as u64 {
            return Err("the body is longer than announced".to_owned());
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    pub(super) fn whole(self) -> Result<Bytes, String> {
        let (came, length) = (self.bytes.len() as u64, self.length);
        if came != length {
            return Err(format!("the body ended after {came} of {length} bytes"));
        }
        Ok(RUNS.filled(self.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_longer_or_shorter_than_announced_is_none() {
        let of = |length: u64, pieces: &[&str]| {
            let mut body = Body::of(length);
            let mut pieces = pieces.iter();
            pieces.try_for_each(|piece| body.push(piece.as_bytes()))?;
            body.whole()
        };
        assert_eq!(of(0, &[]), Ok(Bytes::new()));
        assert_eq!(of(3, &["ab", "", "c"]), Ok(Bytes::from("abc")));
        let longer = of(3, &["ab", "cd"]).expect_err("too long");
        assert!(longer.contains("longer"), "{longer}");
        let shorter = of(3, &["ab"]).expect_err("too short");
        assert!(shorter.contains("2 of 3 bytes"), "{shorter}");
    }

    #[test]
    fn a_body_that_failed_leaves_nothing_behind() {
        const LENGTH: usize = 2 << 20;
        let mut body = Body::of(LENGTH as u64);
        body.push(b"too short").expect("fits");
        body.whole().expect_err("too short");
        let mut body = Body::of(LENGTH as u64);
        body.push(&[5; LENGTH]).expect("fits");
        assert!(body.whole().expect("whole").iter().all(|byte| *byte == 5));
    }
}

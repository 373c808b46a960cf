//! A body of the length that its server announced: no byte less, none more.

use bytes::Bytes;

/// What came of it so far. An error says how it differs.
pub(super) struct Body {
    bytes: Vec<u8>,
    length: u64,
}

impl Body {
    /// Of `length` bytes, which the caller has bounded.
    pub(super) fn of(length: u64) -> Body {
        Body {
            bytes: Vec::with_capacity(length as usize),
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
        Ok(self.bytes.into())
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
}

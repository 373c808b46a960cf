//! A body of the length that its server announced: no byte less, none more.

use super::{Result, Store};
use crate::model::ObjectKey;
use bytes::Bytes;
use std::ops::Range;

/// Room that is made before anything has come: several times what a run of frames has.
const ROOM_MAX_BYTES: u64 = 8 << 20;

/// How much of it is still to come. An error says how it differs.
pub(super) struct Announced {
    length: u64,
    came: u64,
}

/// A body that is held as a whole.
pub(super) struct Body(Vec<u8>);

impl Announced {
    /// So many bytes.
    pub(super) fn of(length: u64) -> Announced {
        Announced { length, came: 0 }
    }

    /// Counts `piece`, before anybody is given it.
    pub(super) fn count(&mut self, piece: &[u8]) -> std::result::Result<(), String> {
        let piece = piece.len() as u64;
        if piece > self.length - self.came {
            return Err("the body is longer than announced".to_owned());
        }
        self.came += piece;
        Ok(())
    }

    /// The body has ended.
    pub(super) fn end(self) -> std::result::Result<(), String> {
        let Announced { length, came } = self;
        if came != length {
            return Err(format!("the body ended after {came} of {length} bytes"));
        }
        Ok(())
    }
}

impl Body {
    /// With room for `length` bytes, as far as nobody has told yet that there are so many.
    pub(super) fn of(length: u64) -> Body {
        Body(Vec::with_capacity(length.min(ROOM_MAX_BYTES) as usize))
    }

    pub(super) fn push(&mut self, piece: &[u8]) {
        self.0.extend_from_slice(piece);
    }

    pub(super) fn whole(self) -> Bytes {
        self.0.into()
    }
}

/// The bytes `range` of `key`, as a whole, for a store that gives them in pieces.
pub(super) async fn gather(
    store: &impl Store,
    key: &ObjectKey,
    range: Range<u64>,
) -> Result<Bytes> {
    let mut body = Body::of(range.end.saturating_sub(range.start));
    let mut add = |piece: Bytes| body.push(&piece);
    store.get_in_pieces(key, range, &mut add).await?;
    Ok(body.whole())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_longer_or_shorter_than_announced_is_none() {
        let of = |length: u64, pieces: &[&str]| {
            let mut announced = Announced::of(length);
            let mut pieces = pieces.iter();
            pieces.try_for_each(|piece| announced.count(piece.as_bytes()))?;
            announced.end()
        };
        assert_eq!(of(0, &[]), Ok(()));
        assert_eq!(of(3, &["ab", "", "c"]), Ok(()));
        let longer = of(3, &["ab", "cd"]).expect_err("too long");
        assert!(longer.contains("longer"), "{longer}");
        let shorter = of(3, &["ab"]).expect_err("too short");
        assert!(shorter.contains("2 of 3 bytes"), "{shorter}");
    }
}

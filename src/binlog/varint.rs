//! The two variable-length integers of the format: mysql::serialization's, and the client protocol's "length-encoded".

/// The most bytes [`write`] appends.
pub const MAX_BYTES: usize = 9;

/// Takes a mysql::serialization unsigned integer off the front of `bytes`.
///
/// The number of trailing ones of the first byte is the number of bytes that follow; the value is what remains of
/// those bits, little-endian (`libs/mysql/serialization/variable_length_integers.h`). `None` if `bytes` ends inside.
pub fn read(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let length = first.trailing_ones() as usize + 1;
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    if length == MAX_BYTES {
        return Some(u64::from_le_bytes(taken[1..].try_into().ok()?));
    }
    let mut raw = [0; 8];
    raw[..length].copy_from_slice(taken);
    // With all eight bytes used the length's bits fill the first byte: 8 is the largest shift.
    Some(u64::from_le_bytes(raw) >> length)
}

/// Takes a mysql::serialization signed integer off the front of `bytes`: the sign is bit 0, and -1 is stored as 0.
pub fn read_signed(bytes: &mut &[u8]) -> Option<i64> {
    let raw = read(bytes)?;
    let magnitude = i64::try_from(raw >> 1).ok()?;
    Some(if raw & 1 == 0 { magnitude } else { !magnitude })
}

/// Appends a mysql::serialization unsigned integer.
pub fn write(out: &mut Vec<u8>, value: u64) {
    let bits = 64 - value.leading_zeros() as usize;
    // Seven bits of value fit in each byte, because each byte costs one bit of length.
    let length = bits.div_ceil(7).clamp(1, MAX_BYTES);
    if length == MAX_BYTES {
        out.push(0xff);
        out.extend_from_slice(&value.to_le_bytes());
        return;
    }
    let marked = (value << length) | ((1 << (length - 1)) - 1);
    out.extend_from_slice(&marked.to_le_bytes()[..length]);
}

/// Takes a length-encoded integer of the client protocol off the front of `bytes`.
///
/// One byte up to 250; 252, 253 and 254 announce 2, 3 and 8 bytes, little-endian. 251 and 255 are no integers.
pub fn read_length_encoded(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.first()?;
    let follow = match first {
        0..=250 => {
            *bytes = &bytes[1..];
            return Some(u64::from(first));
        }
        252 => 2,
        253 => 3,
        254 => 8,
        251 | 255 => return None,
    };
    let value = bytes.get(1..1 + follow)?;
    let mut raw = [0; 8];
    raw[..follow].copy_from_slice(value);
    *bytes = &bytes[1 + follow..];
    Some(u64::from_le_bytes(raw))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_documented_encodings_decode() {
        for (bytes, value) in [
            (&[0][..], 0),
            (&[0b1111_1110], 127),
            (&[0b0000_0001, 0b0000_0010], 128),
            (&[255, 255, 255, 255, 255, 255, 255, 255, 255], u64::MAX),
        ] {
            assert_eq!(read(&mut { bytes }), Some(value));
        }
        assert_eq!(read_signed(&mut &[0b0000_0010][..]), Some(-1));
        assert_eq!(read(&mut &[][..]), None);
        assert_eq!(read(&mut &[0b0000_0001][..]), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value: u64, tail: u8) {
            let mut bytes = Vec::new();
            write(&mut bytes, value);
            bytes.push(tail);
            let mut rest = &bytes[..];
            prop_assert_eq!(read(&mut rest), Some(value));
            prop_assert_eq!(rest, &[tail]);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            read(&mut &bytes[..]);
            read_signed(&mut &bytes[..]);
            read_length_encoded(&mut &bytes[..]);
        }
    }
}

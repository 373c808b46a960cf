//! The text of MariaDB's compressed statements.

use super::query::SQL_MAX_BYTES;
use flate2::{Decompress, FlushDecompress, Status};

/// Decompresses the front of a QUERY_COMPRESSED event's text, one byte more than is kept of a statement; and whether
/// there is more. `None` if it cannot be read.
///
/// `query_event_uncompress` in MariaDB's `sql/log_event.cc`: a byte with 1 in its top bit, the algorithm in bits 4 to 6
/// (0: zlib) and the number of length bytes in bits 0 to 2; the length, most significant byte first; a zlib stream.
pub(super) fn text(packed: &[u8]) -> Option<(Vec<u8>, bool)> {
    let (&first, rest) = packed.split_first()?;
    if first & 0xf0 != 0x80 {
        return None;
    }
    let (length, stream) = rest.split_at_checked(usize::from(first & 7))?;
    let length = length
        .iter()
        .fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    let mut out = vec![0; SQL_MAX_BYTES];
    let mut inflate = Decompress::new(true);
    loop {
        let read = usize::try_from(inflate.total_in()).ok()?;
        let written = usize::try_from(inflate.total_out()).ok()?;
        let status = inflate
            .decompress(
                stream.get(read..)?,
                out.get_mut(written..)?,
                FlushDecompress::None,
            )
            .ok()?;
        let now = usize::try_from(inflate.total_out()).ok()?;
        if status == Status::StreamEnd || now == out.len() || now == written {
            out.truncate(now);
            return Some((out, length > now as u64));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn packed(plain: &[u8]) -> Vec<u8> {
        let mut out = vec![0x84];
        out.extend_from_slice(&(plain.len() as u32).to_be_bytes());
        let mut encoder = flate2::write::ZlibEncoder::new(out, flate2::Compression::default());
        encoder.write_all(plain).expect("memory takes all");
        encoder.finish().expect("memory takes all")
    }

    #[test]
    fn a_text_comes_back_and_a_long_one_is_cut() {
        assert_eq!(
            text(&packed(b"CREATE TABLE t (a INT)")),
            Some((b"CREATE TABLE t (a INT)".to_vec(), false))
        );
        let long = vec![b'x'; 3 * SQL_MAX_BYTES];
        assert_eq!(
            text(&packed(&long)),
            Some((vec![b'x'; SQL_MAX_BYTES], true))
        );
        assert_eq!(text(b"\x84\0\0\0\x09not zlib"), None);
        assert_eq!(text(b""), None);
    }
}

//! What a stored file is compressed with, told by its first bytes, and its bytes before that.
//!
//! Decompressing streams: memory is bounded by the largest window or dictionary that is accepted, whatever the file says
//! of itself and however much comes out of it.

use serde::Serialize;
use std::io::{self, BufRead, Read};

/// First bytes that are looked at.
const LOOK_BYTES: usize = 16;
/// Memory for a dictionary of xz: that of `xz -9`, 64 MiB, and some more.
const XZ_MEMORY_BYTES: u64 = 96 << 20;
/// log2 of the largest window of zstd: 128 MiB, what `zstd -d` takes without `--long`.
const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// How a file is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// As the server wrote it.
    None,
    /// gzip.
    Gzip,
    /// Zstandard.
    Zstd,
    /// LZ4 frames.
    Lz4,
    /// xz.
    Xz,
    /// The format before xz (`.lzma`), which WAL-G writes.
    Lzma,
}

impl Compression {
    /// Tells it by a file's first bytes. What is none of them is taken as it is.
    pub fn of(first: &[u8]) -> Compression {
        match first {
            [0x1f, 0x8b, 8, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            // A skippable frame, as pzstd begins with; lz4 has them too, and does not begin with them.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
            [0x04, 0x22, 0x4d, 0x18, ..] => Compression::Lz4,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            // Properties lc=3 lp=0 pb=2 and a dictionary of whole KiB: not a magic number, but all that there is.
            [0x5d, 0, _, _, _, ..] if first.len() >= 13 => Compression::Lzma,
            _ => Compression::None,
        }
    }

    /// What messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
            Compression::Lz4 => "lz4",
            Compression::Xz => "xz",
            Compression::Lzma => "lzma",
        }
    }
}

/// A reader of a file's own bytes.
pub struct Plain<'a> {
    /// How it is stored.
    pub compression: Compression,
    /// What it begins with, as stored.
    pub first: Vec<u8>,
    reader: Box<dyn Read + 'a>,
}

impl<'a> Plain<'a> {
    /// Looks at what `stored` begins with, and reads on from there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn new(mut stored: Box<dyn Read + 'a>) -> io::Result<Plain<'a>> {
        let mut first = Vec::with_capacity(LOOK_BYTES);
        stored
            .as_mut()
            .take(LOOK_BYTES as u64)
            .read_to_end(&mut first)?;
        let compression = Compression::of(&first);
        let all = io::Cursor::new(first.clone()).chain(stored);
        let all = io::BufReader::with_capacity(64 << 10, all);
        let reader: Box<dyn Read + 'a> = match compression {
            Compression::None => Box::new(all),
            Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(all)),
            Compression::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(all)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Compression::Lz4 => {
                let behind: &'static [u8] = &LZ4_BEHIND;
                Box::new(Lz4Frames::new(all.chain(behind)))
            }
            Compression::Xz => {
                let several = liblzma::stream::CONCATENATED;
                let stream = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY_BYTES, several)?;
                Box::new(liblzma::bufread::XzDecoder::new_stream(all, stream))
            }
            Compression::Lzma => {
                let stream = liblzma::stream::Stream::new_lzma_decoder(XZ_MEMORY_BYTES)?;
                Box::new(Lzma(liblzma::bufread::XzDecoder::new_stream(all, stream)))
            }
        };
        Ok(Plain {
            compression,
            first,
            reader,
        })
    }

    /// Reads the next bytes into `buffer`: as many as fit and there are; none at the end.
    ///
    /// # Errors
    /// When they cannot be read, or cannot be decompressed.
    pub fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// A file in the format before xz, which ends where it says, whatever stands behind that: `xz -d` refuses such a file, and what
/// was compressed in pieces would be taken for its first piece.
struct Lzma<R: BufRead>(liblzma::bufread::XzDecoder<R>);

impl<R: BufRead> Read for Lzma<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(buffer)?;
        if n == 0 && !buffer.is_empty() && !self.0.get_mut().fill_buf()?.is_empty() {
            let more = "there is more behind the end of the lzma data: it may have been compressed in pieces";
            return Err(io::Error::new(io::ErrorKind::InvalidData, more));
        }
        Ok(n)
    }
}

/// What is put behind an LZ4 file. No frame begins with it, and as the size of a block it is refused: a frame that is cut
/// short, at whose end the decoder would see nothing but the end of the file, takes some of it.
const LZ4_BEHIND: [u8; 8] = [0xff; 8];

/// All LZ4 frames of a file, one after the other, as `lz4 -d` reads them: each by a decoder of its own, because one decoder
/// panics at a frame whose blocks have another size than those before.
struct Lz4Frames<R: Read> {
    /// `None` behind the end.
    decoder: Option<lz4_flex::frame::FrameDecoder<Again<R>>>,
}

impl<R: Read> Lz4Frames<R> {
    fn new(inner: R) -> Lz4Frames<R> {
        let nothing = Again {
            inner,
            again: LZ4_BEHIND,
            given: LZ4_BEHIND.len(),
        };
        Lz4Frames {
            decoder: Some(lz4_flex::frame::FrameDecoder::new(nothing)),
        }
    }
}

impl<R: Read> Read for Lz4Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(mut decoder) = self.decoder.take() {
            let n = decoder.read(buffer)?;
            if n > 0 || buffer.is_empty() {
                self.decoder = Some(decoder);
                return Ok(n);
            }
            let mut stored = decoder.into_inner();
            let mut behind = [0; LZ4_BEHIND.len()];
            // All of it is still there, or more of the file.
            stored.read_exact(&mut behind)?;
            if behind == LZ4_BEHIND {
                return Ok(0);
            }
            (stored.again, stored.given) = (behind, 0);
            self.decoder = Some(lz4_flex::frame::FrameDecoder::new(stored));
        }
        Ok(0)
    }
}

/// A reader of which some bytes were given back.
struct Again<R> {
    inner: R,
    again: [u8; LZ4_BEHIND.len()],
    /// How many of them were read again.
    given: usize,
}

impl<R: Read> Read for Again<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut again = self.again.get(self.given..).unwrap_or_default();
        if again.is_empty() {
            return self.inner.read(buffer);
        }
        let n = again.read(buffer)?;
        self.given += n;
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn text(seed: u8) -> Vec<u8> {
        (0..300_000u32).map(|n| (n / 5 * 7) as u8 ^ seed).collect()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("compresses");
        encoder.finish().expect("compresses")
    }

    fn lz4(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
        encoder.write_all(bytes).expect("compresses");
        encoder.finish().expect("compresses")
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(bytes).expect("compresses");
        encoder.finish().expect("compresses")
    }

    fn lzma(bytes: &[u8]) -> Vec<u8> {
        let options = liblzma::stream::LzmaOptions::new_preset(1).expect("a preset");
        let stream = liblzma::stream::Stream::new_lzma_encoder(&options).expect("an encoder");
        let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(bytes).expect("compresses");
        encoder.finish().expect("compresses")
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(bytes, 1).expect("compresses")
    }

    fn read(stored: &[u8]) -> io::Result<(Compression, Vec<u8>)> {
        let mut plain = Plain::new(Box::new(stored))?;
        let (mut all, mut buffer) = (Vec::new(), vec![0; 70_001]);
        loop {
            match plain.fill(&mut buffer)? {
                0 => return Ok((plain.compression, all)),
                n => all.extend_from_slice(&buffer[..n]),
            }
        }
    }

    type Compress = fn(&[u8]) -> Vec<u8>;

    const ALL: [(Compression, Compress); 5] = [
        (Compression::Gzip, gzip),
        (Compression::Zstd, zstd),
        (Compression::Lz4, lz4),
        (Compression::Xz, xz),
        (Compression::Lzma, lzma),
    ];

    #[test]
    fn each_is_told_by_its_first_bytes_and_read_to_its_end() {
        for (compression, compress) in ALL {
            let stored = compress(&text(1));
            let (told, plain) = read(&stored).expect("reads");
            assert_eq!(told, compression);
            assert!(plain == text(1), "{compression:?}");
        }
        assert_eq!(read(&text(2)).expect("reads"), (Compression::None, text(2)));
        assert_eq!(
            read(b"x").expect("reads"),
            (Compression::None, b"x".to_vec())
        );
        assert_eq!(read(b"").expect("reads"), (Compression::None, Vec::new()));
    }

    #[test]
    fn what_was_compressed_in_pieces_is_one_file() {
        for (compression, compress) in ALL {
            let stored = [compress(&text(1)), compress(b""), compress(&text(2))].concat();
            if compression == Compression::Lzma {
                // The format cannot: better no file than the first piece of one.
                assert!(read(&stored).is_err());
                continue;
            }
            let plain = read(&stored).expect("reads").1;
            assert!(plain == [text(1), text(2)].concat(), "{compression:?}");
        }
    }

    #[test]
    fn what_is_cut_short_is_an_error_and_no_end() {
        for (compression, compress) in ALL {
            let stored = compress(&text(1));
            for cut in [stored.len() / 2, stored.len() - 1] {
                assert!(read(&stored[..cut]).is_err(), "{compression:?} at {cut}");
            }
        }
    }

    #[test]
    fn a_dictionary_beyond_the_limit_is_refused_before_it_is_allocated() {
        // As lzma: 4 GiB of dictionary, an unknown length.
        let mut stored = vec![0x5d, 0, 0xff, 0xff, 0xff];
        stored.extend([0xff; 8]);
        stored.extend([0; 100]);
        assert!(read(&stored).is_err());
    }
}

//! Reads the head and the end of a dump, plain or compressed, whatever its size.

use super::super::Coordinates;
use super::dump::Dump;
use super::problem::{MetadataError, Problem};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// A head is longer than a few kilobytes only by its GTID set: as much as a record of the ledger may have.
const HEAD_MAX_BYTES: u64 = 32 << 20;
/// What stands behind the data of a dump: trailer, and GTID set.
const END_BYTES: u64 = 64 << 10;
/// What compressed files begin with.
const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// What begins files that hold a dump or backup inside, with what to do.
const OTHERS: [(&[u8], &str, &str); 5] = [
    (
        b"XBSTCK",
        "an xbstream archive",
        "extract it, and give the directory",
    ),
    (
        b"BZh",
        "compressed by bzip2",
        "decompress it, or compress it by gzip or zstd",
    ),
    (
        &[0xfd, b'7', b'z'],
        "compressed by xz",
        "decompress it, or compress it by gzip or zstd",
    ),
    (
        &[0x04, 0x22, 0x4d, 0x18],
        "compressed by lz4",
        "decompress it, or compress it by gzip or zstd",
    ),
    (
        b"age-encryption.org",
        "encrypted by age",
        "decrypt its first megabyte, or give its coordinates by --gtid-set or --position",
    ),
];

type Lines<'a> = BufReader<Box<dyn Read + 'a>>;

/// Reads the coordinates of the dump in `path`.
pub(super) fn read(path: &Path) -> Result<Coordinates, MetadataError> {
    let io = |e: std::io::Error| {
        Problem::new(
            format!("cannot be read: {e}"),
            "check the path and the file's mode",
        )
        .of(path)
    };
    let mut file = File::open(path).map_err(io)?;
    let mut magic = [0; 18];
    let known = file.read(&mut magic).map_err(io)?;
    file.rewind().map_err(io)?;
    let magic = &magic[..known];
    if let Some((_, what, next)) = OTHERS.iter().find(|(begin, ..)| magic.starts_with(begin)) {
        return Err(Problem::new(format!("it is {what}"), *next).of(path));
    }
    let mut dump = Dump::new();
    let packed = magic.starts_with(GZIP) || magic.starts_with(ZSTD);
    let read = match packed {
        true => decompressor(magic, &file)
            .and_then(|reader| packed_dump(&mut dump, BufReader::new(reader))),
        false => plain_dump(&mut dump, &mut file),
    };
    let found = match read {
        Ok(()) => Ok(()),
        Err(Failure::Problem(problem)) => Err(problem),
        Err(Failure::Io(e)) if packed => Err(Problem::new(
            format!("cannot be decompressed: {e}"),
            "look for the whole file: it may be cut off",
        )),
        Err(Failure::Io(e)) => return Err(io(e)),
    };
    found
        .and_then(|()| dump.finish())
        .map_err(|problem| problem.of(path))
}

enum Failure {
    Io(std::io::Error),
    Problem(Problem),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        Failure::Problem(problem)
    }
}

fn decompressor<'a>(magic: &[u8], file: &'a File) -> Result<Box<dyn Read + 'a>, Failure> {
    Ok(match magic.starts_with(GZIP) {
        true => Box::new(flate2::read::MultiGzDecoder::new(file)),
        false => Box::new(zstd::stream::read::Decoder::new(file)?),
    })
}

fn plain_dump(dump: &mut Dump, file: &mut File) -> Result<(), Failure> {
    head(dump, &mut BufReader::new(Box::new(&*file)))?;
    let len = file.metadata()?.len();
    let mut back = END_BYTES;
    if dump.lacks_gtids() {
        back = HEAD_MAX_BYTES;
    }
    file.seek(SeekFrom::Start(len.saturating_sub(back)))?;
    let mut end = vec![b'\n'];
    if back < len {
        end.clear();
    }
    file.take(back).read_to_end(&mut end)?;
    Ok(dump.end(&String::from_utf8_lossy(&end))?)
}

/// The end of a compressed dump is only found by reading all of it, which is done where GTIDs are looked for.
fn packed_dump(dump: &mut Dump, mut lines: Lines<'_>) -> Result<(), Failure> {
    head(dump, &mut lines)?;
    if !dump.lacks_gtids() {
        return Ok(());
    }
    let keep = HEAD_MAX_BYTES as usize;
    let mut end: Vec<u8> = vec![b'\n'];
    loop {
        let read = lines.by_ref().take(END_BYTES).read_to_end(&mut end)?;
        if read == 0 {
            return Ok(dump.end(&String::from_utf8_lossy(&end))?);
        }
        if end.len() >= 2 * keep {
            end.drain(..end.len() - keep);
        }
    }
}

fn head(dump: &mut Dump, lines: &mut Lines<'_>) -> Result<(), Failure> {
    let (mut left, mut line) = (HEAD_MAX_BYTES, Vec::new());
    loop {
        line.clear();
        let read = lines.by_ref().take(left).read_until(b'\n', &mut line)?;
        left -= read as u64;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        if read == 0 || !dump.head(text)? {
            return Ok(dump.head_is_over()?);
        }
    }
}

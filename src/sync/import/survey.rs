//! The first pass: each file of the pile is read once, and judged by what it holds.

use super::compression::{Compression, Plain};
use super::found::{Findings, Found, Left};
use super::names;
use super::pile::{Item, Pile, ReadFault};
use crate::binlog::{Refusal, Scanner, SegmentIndex};
use crate::ledger::SEGMENTS_PREFIX;
use crate::model::counted::count;
use crate::model::digest::Hasher;
use crate::segment::FRAME_SIZE_DEFAULT;
use crate::source::SourceError;
use anyhow::{Result, bail};
use futures::StreamExt as _;
use std::io;
use std::sync::Arc;
use tokio::runtime::Handle;

/// What files begin with that were encrypted with age.
const AGE_MAGIC: &[u8] = b"age-encryption";
/// The byte of a binlog with the flag IN_USE: a copy that was made while the server wrote it differs there from the file it became.
const IN_USE_AT: usize = 4 + 17;
const IN_USE_BIT: u8 = 1;

/// Who wants to know how far a survey is.
pub trait Watch: Send + Sync {
    /// So many items, of so many bytes as stored, will be read.
    fn begin(&self, _items: usize, _stored_bytes: u64) {}
    /// One of so many bytes was read.
    fn read(&self, _stored_bytes: u64) {}
}

/// Nobody wants to know.
#[derive(Debug)]
pub struct Unwatched;
impl Watch for Unwatched {}

/// What one item is.
enum Verdict {
    Binlog(Arc<Found>),
    Refused(String),
    Foreign(String),
}

/// Reads every item of `pile` but those at the `excluded` paths, `at_a_time` of them side by side.
///
/// # Errors
/// When something cannot be read: what is in it would be taken for missing, and recorded as a hole.
pub async fn survey(
    pile: &Arc<Pile>,
    excluded: &[String],
    at_a_time: usize,
    watch: &dyn Watch,
) -> Result<Findings> {
    let listed = pile.list(excluded).await?;
    if is_stream(&listed.items) {
        bail!(
            "{} is a stream of binlogfs, not a pile of binlogs: what is in it is archived already",
            pile.describe()
        );
    }
    let mut findings = Findings::default();
    for (path, reason) in listed.odd {
        findings.foreign.push(Left { path, reason });
    }
    let stored_bytes = listed.items.iter().map(|item| item.stored_bytes).sum();
    watch.begin(listed.items.len(), stored_bytes);
    let examine = |item: Item| {
        let (pile, runtime) = (Arc::clone(pile), Handle::current());
        async move {
            let read = tokio::task::spawn_blocking(move || {
                let verdict = examine(&pile, &item, &runtime);
                (item, verdict)
            });
            read.await
        }
    };
    let mut examined = futures::stream::iter(listed.items)
        .map(examine)
        .buffered(at_a_time.max(1));
    while let Some(done) = examined.next().await {
        let (item, verdict) = done?;
        watch.read(item.stored_bytes);
        let left = |reason| Left {
            path: item.path.clone(),
            reason,
        };
        match verdict? {
            Verdict::Binlog(found) => findings.binlogs.push(found),
            Verdict::Refused(reason) => findings.refused.push(left(reason)),
            Verdict::Foreign(reason) => findings.foreign.push(left(reason)),
        }
    }
    Ok(findings)
}

/// Whether these are the objects of a stream of ours.
fn is_stream(items: &[Item]) -> bool {
    let has = |wanted: fn(&str) -> bool| items.iter().any(|item| wanted(&item.path));
    has(|path| path == "stream.json") && has(|path| path.starts_with(SEGMENTS_PREFIX))
}

fn examine(pile: &Pile, item: &Item, runtime: &Handle) -> Result<Verdict, SourceError> {
    let stored = pile.open(item, runtime)?;
    let read = scan(stored.reader(), item);
    stored.unchanged()?;
    read.or_else(|error| match ReadFault::within(&error) {
        Some(_) => Err(SourceError::io("read", pile.name_of(item), error)),
        // What the decompressor says of the bytes.
        None => Ok(Verdict::Refused(format!(
            "it cannot be decompressed: {error}"
        ))),
    })
}

fn scan(stored: Box<dyn io::Read + '_>, item: &Item) -> io::Result<Verdict> {
    let mut plain = Plain::new(stored)?;
    let (mut scanner, mut hasher) = (Scanner::new(()), Hasher::default());
    let mut buffer = vec![0; FRAME_SIZE_DEFAULT as usize];
    loop {
        let n = plain.fill(&mut buffer)?;
        if n == 0 {
            break;
        }
        if let Err(refusal) = scanner.push(&buffer[..n]) {
            return Ok(refused(&refusal, &plain, item));
        }
        hasher.update(&buffer[..n]);
    }
    let mut summary = match scanner.finish().0 {
        Ok(summary) => summary,
        Err(refusal) => return Ok(refused(&refusal, &plain, item)),
    };
    if summary.flavour.is_none() {
        let named = names::of_path(&item.path).is_some();
        let bytes = count(summary.size, "byte");
        let reason = format!("it has no format description ({bytes})");
        return Ok(match named || summary.size >= 4 {
            true => Verdict::Refused(reason),
            false => Verdict::Foreign(reason),
        });
    }
    // Statements and tables of a whole pile would be held for nothing: archiving reads them again.
    summary.index = SegmentIndex::default();
    Ok(Verdict::Binlog(Arc::new(Found {
        item: item.clone(),
        compression: plain.compression,
        summary,
        sha256: hasher.finish(),
    })))
}

/// Whether what is refused should have been a binlog.
fn refused(refusal: &Refusal, plain: &Plain<'_>, item: &Item) -> Verdict {
    if *refusal != Refusal::NotABinlog {
        return Verdict::Refused(refusal.to_string());
    }
    if names::of_path(&item.path).is_none() {
        return Verdict::Foreign("not a binary log".to_owned());
    }
    let age = plain.first.starts_with(AGE_MAGIC);
    Verdict::Refused(match plain.compression {
        Compression::None if age => {
            "encrypted with age: decrypt it first ('age -d -i KEY')".to_owned()
        }
        Compression::None => {
            "named like a binlog, and neither one nor compressed with gzip, zstd, lz4, xz or lzma: decrypt or decompress it first".to_owned()
        }
        compression => format!(
            "named like a binlog, and what is in its {} is none",
            compression.name()
        ),
    })
}

/// Whether `shorter` is how `longer` begins, but for the flag that a server sets while it writes a file.
///
/// # Errors
/// When one of them cannot be read.
pub fn is_beginning(
    pile: &Pile,
    longer: &Found,
    shorter: &Found,
    runtime: &Handle,
) -> Result<bool, SourceError> {
    let fault = |item: &Item, error| SourceError::io("read", pile.name_of(item), error);
    let opened = (
        pile.open(&longer.item, runtime)?,
        pile.open(&shorter.item, runtime)?,
    );
    let mut long = Plain::new(opened.0.reader()).map_err(|e| fault(&longer.item, e))?;
    let mut short = Plain::new(opened.1.reader()).map_err(|e| fault(&shorter.item, e))?;
    let size = FRAME_SIZE_DEFAULT as usize;
    let (mut a, mut b) = (vec![0; size], vec![0; size]);
    let mut is_first = true;
    loop {
        let n = short.fill(&mut b).map_err(|e| fault(&shorter.item, e))?;
        if n == 0 {
            return Ok(true);
        }
        let m = long.fill(&mut a[..n]).map_err(|e| fault(&longer.item, e))?;
        if is_first {
            for bytes in [&mut a, &mut b] {
                if let Some(flags) = bytes.get_mut(IN_USE_AT) {
                    *flags &= !IN_USE_BIT;
                }
            }
            is_first = false;
        }
        if m < n || a[..n] != b[..n] {
            return Ok(false);
        }
    }
}

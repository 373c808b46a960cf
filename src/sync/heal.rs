//! A segment healed from the server's own file: its object is made anew, where the one that is archived is lost or damaged.
//!
//! The file must be the one that was archived: the SHA-256 of all its bytes is compared with the recorded one before anything is
//! committed to the store. The new object is for the recipients that the record names, under a key of its own, and a `supersede`
//! record names it. How it is made, and what a crash leaves: [`super::anew`].

use super::anew::{Anew, Maker};
use super::append;
use super::archive::LEVEL_DEFAULT;
use super::clock::system_clock;
use super::pipeline::Uploaded;
use crate::index::Step;
use crate::ledger::record::{ObjectRecord, SupersedeReason, SupersedeRecord};
use crate::ledger::{Body, Entry, SegmentRecord};
use crate::model::counted::count;
use crate::model::{Micros, Seq, Sha256};
use crate::segment::{Identities, Recipients};
use crate::source::{Content, Pieces, Source, SourceError, SourceFile};
use crate::stream::{RacesLost, Stream};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};

/// Lost races for a record after which something else is going on.
const RACES_MAX: u32 = 100;

/// The files that a server has still.
#[derive(Clone, Debug)]
pub struct OwnFiles {
    /// Its data directory or binlog index file.
    pub source: PathBuf,
    /// Directory of the index of the stream on this host.
    pub dir: PathBuf,
    /// Host name and version, for the records.
    pub by: String,
}

impl OwnFiles {
    /// Makes the object of a segment anew, and a record that names it. Says what was done.
    ///
    /// # Errors
    /// When the server has the file no more, or another one of that name, or the store fails. Nothing is recorded then.
    pub async fn heal(&self, stream: &Stream, entry: &Entry) -> Result<String> {
        let segment = entry.segment.as_deref();
        let segment = segment.context("the segment is not in the history any more")?;
        let file = self.find(segment)?;
        let path = file.path().to_owned();
        let maker = maker(stream, segment, &self.dir).await?;
        let made = match maker.make_of(segment, Box::new(file)).await {
            Ok(made) => made,
            Err(error) => {
                // What cannot be removed now, the journal remembers; why it could not be made is what counts.
                if let Err(left) = maker.tidy_up().await {
                    tracing::debug!(error = format!("{left:#}"), "left for the next run");
                }
                return Err(error);
            }
        };
        let seq = self.record(stream, entry, &maker, &made).await?;
        Ok(format!(
            "record {seq} names {}, made anew from {}",
            made.key,
            path.display()
        ))
    }

    fn find(&self, segment: &SegmentRecord) -> Result<OwnFile> {
        let source = Source::open(&self.source)?;
        let files = source.list()?.files;
        let mut closed = files.iter().filter(|listed| listed.closed);
        let opened = match closed.find(|listed| listed.file == segment.file) {
            Some(listed) => source.open_listed(listed)?,
            None => None,
        };
        let file = opened.with_context(|| {
            let index = source.index_path().display();
            format!("{index} lists no closed {} any more", segment.file)
        })?;
        if file.size() != segment.size {
            bail!(
                "{} is another file than the one archived: it has {}, and {} were archived",
                file.path().display(),
                count(file.size(), "byte"),
                segment.size
            );
        }
        Ok(OwnFile {
            file,
            sha256: segment.sha256,
        })
    }

    /// Has a record name the new object.
    async fn record(
        &self,
        stream: &Stream,
        entry: &Entry,
        maker: &Maker,
        made: &Uploaded,
    ) -> Result<Seq> {
        let before = object_of(Some(entry));
        for _ in 0..RACES_MAX {
            let state = append::followed(stream).await?;
            let now = stream.index().entry_by_seq(entry.seq)?;
            let now = object_of(now.as_ref());
            if now.is_some_and(|now| now.key == made.key) {
                // Ours, whose reply was lost.
                maker.recorded(made)?;
                return Ok(state.last_seq);
            }
            if now != before {
                maker.discard(made).await?;
                bail!(
                    "another object, or the same one for others, was recorded for {} meanwhile: run this again",
                    entry.mount_name
                );
            }
            let segment = entry.in_object(made.object());
            let body = Body::Supersede(Box::new(SupersedeRecord {
                supersedes: entry.seq,
                reason: SupersedeReason::BetterCopy,
                made_at: Some(Micros::now()),
                made_by: Some(self.by.clone()),
                segment: segment.context("the segment is not in the history any more")?,
            }));
            maker.before_record(made, state.next_seq()).await?;
            if let Some((line, _)) = append::create(stream.store(), &state, body).await? {
                let seq = line.seq();
                stream.index().apply(&[Step::Line(line)])?;
                maker.recorded(made)?;
                return Ok(seq);
            }
        }
        bail!(RacesLost(RACES_MAX))
    }
}

/// What is recorded of the object that a segment is read from: for whom it is, too. The new object is made for them, and would take a
/// re-keyed segment back to those who had it before.
fn object_of(entry: Option<&Entry>) -> Option<&ObjectRecord> {
    Some(&entry?.segment.as_ref()?.object)
}

/// What makes an object for whom the one before it was.
async fn maker(stream: &Stream, segment: &SegmentRecord, dir: &Path) -> Result<Maker> {
    let order = Anew {
        recipients: Recipients::parse(&segment.object.recipients)?,
        allow_unencrypted: segment.object.header_size == 0,
        level: LEVEL_DEFAULT,
        dir: dir.to_owned(),
    };
    let (store, nobody) = (stream.store(), Identities::none());
    Maker::open(store, stream, &nobody, &order, &system_clock()).await
}

/// The server's file, which must have the bytes that were archived.
struct OwnFile {
    file: SourceFile,
    sha256: Sha256,
}

impl Content for OwnFile {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn size(&self) -> u64 {
        self.file.size()
    }

    fn pieces(&self) -> Result<Box<dyn Pieces + '_>, SourceError> {
        self.file.pieces()
    }

    fn check_read(&self, sha256: Sha256) -> Result<(), SourceError> {
        self.file.check_read(sha256)?;
        if sha256 != self.sha256 {
            let why = format!(
                "it is another file than the one archived: its SHA-256 is {sha256}, and {} was recorded",
                self.sha256
            );
            let why = std::io::Error::other(why);
            return Err(SourceError::io("heal from", self.file.path(), why));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::testing;

    #[test]
    fn a_segment_that_was_rekeyed_has_another_object_than_before_though_under_the_same_key() {
        let segment = testing::segment(1);
        let before = segment.entry(Seq(1), None);
        let rekeyed = testing::rekeyed(1, segment.clone()).segment;
        let now = rekeyed.entry(Seq(1), None);
        assert_eq!(rekeyed.object.key, segment.object.key);
        assert_ne!(object_of(Some(&now)), object_of(Some(&before)));
        assert_eq!(object_of(Some(&before)), Some(&segment.object));
    }
}

//! One run of the archiver: everything that is closed and not archived yet, in order.

use super::commit::{Committed, Committer, closed_by};
use super::compress::CompressPool;
use super::journal::{Interrupt, Journal, Uninterrupted, around};
use super::likeness::{Likeness, likeness};
use super::manifest::{self, LastArchived, Manifest};
use super::pipeline::{self, Format, OnRead, Uploaded};
use super::place::{Arrival, Consent, Refusal, first_basename, flavour_name};
use super::plan::{ArchivedAs, Conflict, Plan, Seen, plan, suspects};
use crate::binlog::{Head, Scanner, Summary};
use crate::index::Index;
use crate::ledger::record::ClosedBy;
use crate::ledger::{FORMAT, LedgerState, SEGMENTS_PREFIX, StreamFile};
use crate::model::digest::Hasher;
use crate::model::{GtidSet, Incarnation, Micros, ObjectKey, Sha256};
use crate::segment::{FRAME_SIZE_DEFAULT, Recipients};
use crate::source::{Listing, Source, SourceError, SourceFile};
use crate::store::SharedStore;
use crate::stream::{self, Stream, StreamError};
use anyhow::{Context as _, Result, bail};
use futures::StreamExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Name of the index in the state directory.
pub const INDEX_NAME: &str = "index.db";
/// Name of the lock in the state directory.
const LOCK_NAME: &str = "lock";

/// How to archive.
#[derive(Clone)]
pub struct Settings {
    /// Where journal, index and manifest live.
    pub state_dir: PathBuf,
    /// Whom to encrypt to; nobody means no encryption.
    pub recipients: Recipients,
    /// zstd level.
    pub level: i32,
    /// Plaintext bytes in a frame.
    pub frame_size: u32,
    /// Compression threads.
    pub threads: usize,
    /// Files in flight at a time.
    pub transfers: usize,
    /// What a person allowed.
    pub consent: Consent,
    /// Host name and version, for the records.
    pub archiver: String,
    /// The tests' way to stop a run anywhere.
    pub interrupt: Arc<dyn Interrupt>,
    /// Who wants to know how far it is.
    pub progress: Arc<dyn Progress>,
}

/// Who wants to know how far a run is.
pub trait Progress: Send + Sync {
    /// `files` with `bytes` in all are to be archived.
    fn planned(&self, _files: usize, _bytes: u64) {}
    /// `bytes` more were read.
    fn read(&self, _bytes: u64) {}
    /// A segment is archived.
    fn archived(&self, _name: &str) {}
}

/// Nobody wants to know.
#[derive(Debug)]
pub struct Silent;
impl Progress for Silent {}

impl Settings {
    /// Defaults for a database host, with state in `state_dir`.
    pub fn new(state_dir: impl Into<PathBuf>) -> Settings {
        Settings {
            state_dir: state_dir.into(),
            recipients: Recipients::none(),
            level: 3,
            frame_size: FRAME_SIZE_DEFAULT,
            threads: 1,
            transfers: 2,
            consent: Consent::default(),
            archiver: format!("binlogfs {}", env!("CARGO_PKG_VERSION")),
            interrupt: Arc::new(Uninterrupted),
            progress: Arc::new(Silent),
        }
    }
}

/// What a run did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Names and record numbers of the segments it archived.
    pub archived: Vec<(String, u64)>,
    /// How many it found archived by another archiver meanwhile.
    pub by_another: usize,
    /// Bytes of the files it archived.
    pub bytes: u64,
    /// Bytes of the objects it made.
    pub stored_bytes: u64,
    /// Objects of earlier runs that it removed.
    pub orphans_removed: u64,
    /// Names of the segments that fail their own checks.
    pub damaged: Vec<String>,
    /// Holes and gaps, new timelines, crash-closed files: what a person should know.
    pub notices: Vec<String>,
}

/// What a server's files are now: read before anything is written anywhere.
pub struct Batch {
    listing: Listing,
    heads: Vec<HeadOfFile>,
}

/// Lists the files of `source` and reads the head of each.
///
/// # Errors
/// When a file cannot be read, or is no binlog that can be archived: it is refused by name, and nothing was written.
pub fn read_batch(source: &Source) -> Result<Batch> {
    let listing = source.list()?;
    let heads = read_heads(source, &listing)?;
    Ok(Batch { listing, heads })
}

/// Archives every closed file of `batch` that `store` does not have.
///
/// # Errors
/// When anything cannot be archived; what was archived before it stays archived.
pub async fn archive_once(
    source: &Source,
    batch: Batch,
    store: SharedStore,
    settings: &Settings,
) -> Result<Outcome> {
    let Some(first) = batch.heads.iter().find(|file| file.0.closed) else {
        return Ok(Outcome {
            notices: vec!["no file is closed yet: nothing to archive".to_owned()],
            ..Outcome::default()
        });
    };
    std::fs::create_dir_all(&settings.state_dir).with_context(|| {
        format!(
            "cannot create the state directory {}; pass --state-dir",
            settings.state_dir.display()
        )
    })?;
    let _lock = lock(settings)?;
    let committer = open_stream(store, settings, first).await?;
    let state = committer.state().await?;
    check_not_behind(settings, &state)?;
    let orphans_removed = committer.tidy_up().await?;
    let mut seen = look_up(&committer.index, &state, batch.heads)?;
    clear_suspects(&committer.index, &mut seen)?;
    let plan = plan(&seen);
    let mut run = Run {
        source,
        settings,
        committer,
        pool: CompressPool::start(settings.threads, settings.level, settings.frame_size)?,
        format: Format {
            frame_size: settings.frame_size,
            recipients: settings.recipients.clone(),
        },
        listing: batch.listing,
        outcome: Outcome {
            orphans_removed,
            ..Outcome::default()
        },
    };
    run.note_older(&seen, &plan);
    run.archive(&seen, &plan).await?;
    // Objects whose record had an unknown outcome could not go before another record stood at its place.
    run.outcome.orphans_removed += run.committer.tidy_up().await?;
    run.write_manifest()?;
    Ok(run.outcome)
}

/// Takes the lock of the state directory; it is released when the file is closed, whatever ends the process.
fn lock(settings: &Settings) -> Result<std::fs::File> {
    let path = settings.state_dir.join(LOCK_NAME);
    let file = std::fs::File::create(&path)
        .with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => bail!(
            "another binlogfs archives with the state directory {}; wait for it, or give this one its own --state-dir",
            settings.state_dir.display()
        ),
        Err(std::fs::TryLockError::Error(e)) => {
            Err(e).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

type HeadOfFile = (crate::source::Listed, Head, u64);

/// Reads the head of every listed file. Closed files that were purged meanwhile are left out.
fn read_heads(source: &Source, listing: &Listing) -> Result<Vec<HeadOfFile>> {
    let mut heads = Vec::with_capacity(listing.files.len());
    for listed in &listing.files {
        let Some(file) = source.open_listed(listed)? else {
            continue;
        };
        match file.head() {
            Ok(head) => heads.push((listed.clone(), head, file.size())),
            // The active file may be in the making: nothing is taken from it but its PREVIOUS_GTIDS.
            Err(SourceError::Io { .. }) if !listed.closed => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(heads)
}

/// Opens the stream, or begins it, with index and journal.
async fn open_stream(
    store: SharedStore,
    settings: &Settings,
    first: &HeadOfFile,
) -> Result<Committer> {
    let (index, _) = Index::open(&settings.state_dir.join(INDEX_NAME))?;
    let index = Arc::new(index);
    let flavour = first.1.flavour;
    let stream = match Stream::open(Arc::clone(&store), Arc::clone(&index)).await {
        Err(StreamError::NoStream { .. }) => {
            let file = StreamFile {
                format: FORMAT,
                stream_id: uuid::Uuid::new_v4(),
                flavour: flavour.context("the first closed file tells neither MySQL nor MariaDB: it has no format description")?,
                basename: first_basename(&first.0.file),
                created_at: Micros::now(),
            };
            stream::create(&store, &file).await?;
            Stream::open(Arc::clone(&store), Arc::clone(&index)).await?
        }
        opened => opened?,
    };
    let stream_flavour = stream.file().flavour;
    if let Some(file_flavour) = flavour.filter(|flavour| *flavour != stream_flavour) {
        let (file_flavour, stream_flavour) =
            (flavour_name(file_flavour), flavour_name(stream_flavour));
        return Err(Refusal::OtherFlavour {
            file: first.0.file.clone(),
            file_flavour,
            stream_flavour,
        }
        .into());
    }
    let interrupt = Arc::clone(&settings.interrupt);
    let journal = Journal::open(&settings.state_dir, Arc::clone(&interrupt))?;
    let (consent, archiver) = (settings.consent.clone(), settings.archiver.clone());
    Ok(Committer {
        store,
        stream,
        index,
        journal,
        consent,
        archiver,
        interrupt,
    })
}

/// A ledger that ends before what this host archived has lost records: the index may be gone, the manifest remembers.
fn check_not_behind(settings: &Settings, state: &LedgerState) -> Result<()> {
    let seen = manifest::read(&settings.state_dir).and_then(|manifest| manifest.last_archived);
    match seen {
        Some(last) if last.seq > state.last_seq => bail!(
            "the ledger ends at record {} and this host has archived {} as record {}: records were removed from the bucket. Restore them \
             from a copy; if the loss is final, move {} away and run again",
            state.last_seq,
            last.file,
            last.seq,
            manifest::path(&settings.state_dir).display()
        ),
        _ => Ok(()),
    }
}

fn look_up(index: &Index, state: &LedgerState, heads: Vec<HeadOfFile>) -> Result<Vec<Seen>> {
    let look_up = |(listed, head, size): HeadOfFile| {
        let found = index
            .find(&head.head, listed.file.number())?
            .into_iter()
            .next_back();
        let archived = found.and_then(|entry| {
            let succeeded = state
                .incarnation(entry.incarnation)
                .is_some_and(|known| known.last_number > entry.number);
            Some(ArchivedAs {
                seq: entry.seq,
                incarnation: entry.incarnation,
                size: entry.segment?.size,
                succeeded,
            })
        });
        Ok(Seen {
            listed,
            head,
            size,
            archived,
        })
    };
    heads.into_iter().map(look_up).collect()
}

/// Reads the files that may be others than those archived, and forgets the match of those that are.
fn clear_suspects(index: &Index, seen: &mut [Seen]) -> Result<()> {
    for n in suspects(seen) {
        let Some(archived) = seen[n].archived else {
            continue;
        };
        let record = index
            .entry_by_seq(archived.seq)?
            .and_then(|entry| entry.segment);
        let record = record
            .with_context(|| format!("ledger record {} is not in the index", archived.seq))?;
        let (summary, sha256) = read_through(&seen[n])?;
        match likeness(&record, &summary, sha256) {
            Likeness::Same => {}
            Likeness::Another => seen[n].archived = None,
            Likeness::Changed => return Err(Conflict::of(&seen[n], &archived).into()),
        }
    }
    Ok(())
}

/// Scans and hashes a whole file.
fn read_through(file: &Seen) -> Result<(Summary, Sha256)> {
    let opened = SourceFile::open(&file.listed.path)?;
    let (mut scanner, mut hasher) = (Scanner::new(()), Hasher::default());
    let mut buffer = vec![0; FRAME_SIZE_DEFAULT as usize];
    let mut offset = 0;
    loop {
        let n = opened.read_at_most(offset, &mut buffer)?;
        if n == 0 {
            break;
        }
        let refused = |source| SourceError::Refused {
            path: file.listed.path.clone(),
            source,
        };
        scanner.push(&buffer[..n]).map_err(refused)?;
        hasher.update(&buffer[..n]);
        offset += n as u64;
    }
    Ok((scanner.finish().0?, hasher.finish()))
}

struct Run<'a> {
    source: &'a Source,
    settings: &'a Settings,
    committer: Committer,
    pool: CompressPool,
    format: Format,
    listing: Listing,
    outcome: Outcome,
}

impl Run<'_> {
    fn note_older(&mut self, seen: &[Seen], plan: &Plan) {
        for file in plan.older.iter().filter_map(|n| seen.get(*n)) {
            self.outcome.notices.push(format!(
                "{} is older than what this stream begins with, or a hole in it: left alone",
                file.listed.file
            ));
        }
    }

    /// Uploads several files at a time, and commits them in order. After a failure nothing more begins or is committed,
    /// and what was in flight is waited for and removed: an upload that is merely dropped might still land.
    async fn archive(&mut self, seen: &[Seen], plan: &Plan) -> Result<()> {
        let progress = Arc::clone(&self.settings.progress);
        progress.planned(
            plan.next.len(),
            plan.next
                .iter()
                .filter_map(|n| seen.get(*n))
                .map(|file| file.size)
                .sum(),
        );
        let on_read: OnRead = Arc::new(move |bytes| progress.read(bytes));
        let (committer, pool, format, source) =
            (&self.committer, &self.pool, &self.format, self.source);
        let stop = &AtomicBool::new(false);
        let upload = |n: usize| {
            let on_read = Arc::clone(&on_read);
            async move {
                if stop.load(Ordering::Relaxed) {
                    return (n, Ok(None));
                }
                (
                    n,
                    upload_one(committer, source, pool, format, &seen[n], on_read).await,
                )
            }
        };
        let mut uploads = futures::stream::iter(plan.next.iter().copied())
            .map(upload)
            .buffered(self.settings.transfers.max(1));
        let mut failed: Option<anyhow::Error> = None;
        while let Some((n, uploaded)) = uploads.next().await {
            let result = match uploaded {
                Ok(None) => continue,
                Ok(Some(uploaded)) if failed.is_some() => {
                    discard(committer, &uploaded.key)
                        .await
                        .unwrap_or_else(|e| tracing::warn!("removed by the next run: {e:#}"));
                    continue;
                }
                Ok(Some(uploaded)) => {
                    let committed =
                        commit_one(committer, &self.listing, seen, plan, n, &uploaded).await;
                    committed.map(|committed| self.outcome.add(&seen[n], &uploaded, committed))
                }
                Err(e) => Err(e),
            };
            match result.and_then(|()| write_manifest(committer, self.settings)) {
                Ok(()) => self
                    .settings
                    .progress
                    .archived(&seen[n].listed.file.to_string()),
                Err(e) => {
                    stop.store(true, Ordering::Relaxed);
                    failed.get_or_insert(
                        e.context(format!("archiving {}", seen[n].listed.path.display())),
                    );
                }
            }
        }
        let Some(e) = failed else { return Ok(()) };
        if let Err(tidy) = committer.tidy_up().await {
            tracing::warn!("objects of interrupted uploads are removed by the next run: {tidy:#}");
        }
        Err(e)
    }

    fn write_manifest(&self) -> Result<()> {
        write_manifest(&self.committer, self.settings)
    }
}

impl Outcome {
    fn add(&mut self, file: &Seen, uploaded: &Uploaded, committed: Committed) {
        let name = file.listed.file.to_string();
        self.notices.extend(committed.notices);
        if committed.by_another {
            self.by_another += 1;
            return;
        }
        if let Some(damage) = &uploaded.summary.damage {
            self.notices.push(format!(
                "{name} is damaged at {}: {}; archived as it is",
                damage.first_bad_position, damage.reason
            ));
            self.damaged.push(name.clone());
        }
        self.archived.push((name, committed.seq.0));
        self.bytes += uploaded.summary.size;
        self.stored_bytes += uploaded.facts.size;
    }
}

/// Uploads one file under a fresh, journaled key. `None` when it was purged before it could be opened.
async fn upload_one(
    committer: &Committer,
    source: &Source,
    pool: &CompressPool,
    format: &Format,
    file: &Seen,
    on_read: OnRead,
) -> Result<Option<Uploaded>> {
    let Some(opened) = source.open_listed(&file.listed)? else {
        return Ok(None);
    };
    check_same_head(&opened, file)?;
    let key = fresh_key(&file.listed.file.to_string(), !format.recipients.is_empty())?;
    committer
        .journal
        .begin(&key, &file.listed.file.to_string(), Micros::now())?;
    let uploaded = pipeline::upload(&committer.store, opened, key, format, pool, on_read).await?;
    Ok(Some(uploaded))
}

/// Between planning and reading, a RESET may have put another file in its place.
fn check_same_head(opened: &SourceFile, file: &Seen) -> Result<()> {
    if opened.head()?.head != file.head.head {
        let what = "another file has its name now; run again".to_owned();
        return Err(SourceError::Changed {
            path: file.listed.path.clone(),
            what,
        }
        .into());
    }
    Ok(())
}

/// A key that nobody else draws: 128 random bits.
fn fresh_key(file: &str, encrypted: bool) -> Result<ObjectKey> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|e| anyhow::anyhow!("the system has no random numbers: {e}"))?;
    let suffix = if encrypted { ".age" } else { "" };
    Ok(format!(
        "{SEGMENTS_PREFIX}{file}-{}.zst{suffix}",
        hex::encode(random)
    )
    .parse()?)
}

async fn commit_one(
    committer: &Committer,
    listing: &Listing,
    seen: &[Seen],
    plan: &Plan,
    n: usize,
    uploaded: &Uploaded,
) -> Result<Committed> {
    let file = &seen[n].listed.file;
    let before = n.checked_sub(1).and_then(|before| seen.get(before));
    let follows = before
        .map(|before| incarnation_of(committer, before))
        .transpose()?
        .flatten();
    let mut history: GtidSet = plan.history.clone();
    history.union_with(&uploaded.summary.gtids);
    let arrival = Arrival {
        file,
        previous: uploaded.summary.previous_gtids.as_ref(),
        server_uuid: listing.server_uuid,
        history: &history,
        follows,
    };
    let successor = seen.get(n + 1).map(|next| &next.listed.file);
    let (closed_by, notice): (ClosedBy, _) = closed_by(&uploaded.summary.ending, file, successor);
    let mut committed = committer.commit(&arrival, uploaded, closed_by).await?;
    committed.notices.extend(notice);
    Ok(committed)
}

fn incarnation_of(committer: &Committer, file: &Seen) -> Result<Option<Incarnation>> {
    let found = committer
        .index
        .find(&file.head.head, file.listed.file.number())?;
    Ok(found.last().map(|entry| entry.incarnation))
}

async fn discard(committer: &Committer, key: &ObjectKey) -> Result<()> {
    committer.store.delete(key).await?;
    Ok(committer.journal.end(key)?)
}

/// Writes `state.json` from the index: the newest segment, whoever archived it.
fn write_manifest(committer: &Committer, settings: &Settings) -> Result<()> {
    let state = committer.index.state()?;
    let newest = state.as_deref().and_then(LedgerState::newest_segment);
    let entry = newest
        .map(|seq| committer.index.entry_by_seq(seq))
        .transpose()?
        .flatten();
    let last_archived = entry.and_then(|entry| {
        let segment = entry.segment?;
        Some(LastArchived {
            file: segment.file.clone(),
            incarnation: entry.incarnation,
            gtid_set: state?.incarnation(entry.incarnation)?.executed.clone(),
            sha256: segment.sha256,
            seq: entry.seq,
        })
    });
    let manifest = Manifest {
        last_archived,
        updated_at: Micros::now(),
    };
    around(&*settings.interrupt, "manifest.write", || {
        manifest::write(&settings.state_dir, &manifest)
    })
    .with_context(|| {
        format!(
            "cannot write {}",
            manifest::path(&settings.state_dir).display()
        )
    })
}

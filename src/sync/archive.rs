//! One run of the archiver: everything that is closed and not archived yet, in order.

use super::begin::{Begun, begin, finish, new_run};
use super::clock::{Clock, system_clock};
use super::commit::Committer;
use super::footing::Footing;
use super::journal::{Interrupt, Journal, Uninterrupted};
use super::listed::{Batch, HeadOfFile, clear_suspects, executed_in_active, look_up};
use super::manifest;
use super::new_timeline::NewTimeline;
use super::pace::Pace;
use super::place::{Consent, Refusal, first_basename, flavour_name};
use super::plan::plan;
use super::replica::through_unlimited;
use super::run::Run;
use crate::binlog::Flavour;
use crate::index::Index;
use crate::ledger::{FORMAT, LedgerState, Line, StreamFile};
use crate::segment::{FRAME_SIZE_DEFAULT, Recipients};
use crate::source::Source;
use crate::store::SharedStore;
use crate::stream::{self, Stream, StreamError};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// Name of the index in the state directory.
pub const INDEX_NAME: &str = "index.db";

/// zstd's level, unless somebody says otherwise: on binlogs of most workloads it is both smaller and twice as fast as level 3
/// (docs/BENCH.md, the census of levels).
pub const LEVEL_DEFAULT: i32 = 1;

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
    /// How fast it may go.
    pub pace: Arc<Pace>,
    /// Set when the process is about to end: no further file is begun.
    pub stop: Arc<AtomicBool>,
    /// Set when the moment is no longer a good one: no further file is begun in this run.
    pub hold: Arc<AtomicBool>,
    /// The time of day.
    pub clock: Clock,
    /// Who wants to know how far it is.
    pub progress: Arc<dyn Progress>,
    /// The newest record that counts as archived: that which all replicas have, where all are waited for.
    pub archived_through: Arc<AtomicU64>,
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
            level: LEVEL_DEFAULT,
            frame_size: FRAME_SIZE_DEFAULT,
            threads: 1,
            transfers: 2,
            consent: Consent::default(),
            archiver: format!("binlogfs {}", env!("CARGO_PKG_VERSION")),
            interrupt: Arc::new(Uninterrupted),
            pace: Arc::default(),
            stop: Arc::default(),
            hold: Arc::default(),
            clock: system_clock(),
            progress: Arc::new(Silent),
            archived_through: through_unlimited(),
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
    /// How many it did not begin, because it was to stop or to hold.
    pub left: usize,
    /// Bytes of the files it archived.
    pub bytes: u64,
    /// Bytes of the objects it made.
    pub stored_bytes: u64,
    /// Objects of earlier runs that it removed.
    pub orphans_removed: u64,
    /// Objects that no record names and that this account may not remove.
    pub orphans_left: Vec<String>,
    /// Names of the segments that fail their own checks.
    pub damaged: Vec<String>,
    /// Names of the holes and gaps right before what it archived.
    pub missing: Vec<String>,
    /// Timelines that it began, each of which leaves another.
    pub branches: Vec<NewTimeline>,
    /// Why it could not archive what comes after that: a file that is waited for.
    pub blocked: Option<String>,
    /// Holes and gaps, new timelines, crash-closed files: what a person should know.
    pub notices: Vec<String>,
}

/// Archives every closed file of `batch` that `store` does not have. If a file ends the batch early, the outcome says so
/// ([`Outcome::blocked`]).
///
/// # Errors
/// When anything of the batch cannot be archived, what was archived before it stays archived; or when a file blocks, and nothing is
/// before it.
pub async fn archive_once(
    source: &Source,
    batch: Batch,
    store: SharedStore,
    settings: &Settings,
) -> Result<Outcome> {
    archive_again(source, batch, store, settings, &mut Footing::default()).await
}

/// The same for whoever did so before, and has `footing` from then.
///
/// # Errors
/// As [`archive_once`].
pub async fn archive_again(
    source: &Source,
    batch: Batch,
    store: SharedStore,
    settings: &Settings,
    footing: &mut Footing,
) -> Result<Outcome> {
    let mut batch = batch.unless_all_is_blocked()?;
    let blocked = batch.blocked.take().map(|blocked| blocked.error);
    let closed: Vec<&HeadOfFile> = batch.heads.iter().filter(|file| file.0.closed).collect();
    if closed.is_empty() {
        return Ok(Outcome {
            notices: vec!["no file is closed yet: nothing to archive".to_owned()],
            ..Outcome::default()
        });
    }
    let Begun {
        committer,
        state,
        orphans_removed,
        lock: _lock,
    } = begin(store, settings, &closed, footing.take((settings.clock)())).await?;
    let mut seen = look_up(&committer.index, &state, batch.heads)?;
    clear_suspects(source, &committer.index, &mut seen)?;
    let mut plan = plan(&seen);
    if state.last_seq.0 > 0 && seen.iter().all(|file| file.archived.is_none()) {
        // Another server's files, it may be: whether it lost anything is decided by all that it has.
        if let Some(error) = &blocked
            && !is_known(&state, batch.listing.server_uuid)
        {
            bail!(
                "{error}; what this server has executed cannot be told without that file, so that none of its files has a place in this stream"
            );
        }
        plan.history.union_with(&executed_in_active(source, &seen)?);
    }
    let mut run = Run {
        listing: batch.listing,
        put_aside: batch.put_aside,
        ..new_run(source, settings, committer, orphans_removed)?
    };
    run.note_older(&seen, &plan);
    run.archive(&seen, &plan).await?;
    let (mut outcome, stands) = finish(run).await?;
    *footing = stands;
    outcome.blocked = blocked.map(|error| error.to_string());
    Ok(outcome)
}

/// Whether files of this server are archived.
fn is_known(state: &LedgerState, server_uuid: Option<uuid::Uuid>) -> bool {
    let mut servers = state.incarnations().map(|(_, known)| known.server_uuid);
    server_uuid.is_some() && servers.any(|known| known == server_uuid)
}

/// A `--recipient` that is forgotten once must not put plaintext beside what was encrypted with care.
pub(super) fn check_encryption(
    settings: &Settings,
    index: &Index,
    state: &LedgerState,
) -> Result<()> {
    if !settings.recipients.is_empty() || settings.consent.unencrypted {
        return Ok(());
    }
    let newest = state.newest_segment().map(|seq| index.entry_by_seq(seq));
    let segment = newest
        .transpose()?
        .flatten()
        .and_then(|entry| entry.segment);
    match segment.filter(|segment| !segment.object.recipients.is_empty()) {
        None => Ok(()),
        Some(segment) => bail!(
            "this stream is encrypted (its newest segment, {}, to {}) and no --recipient was given: pass it, or pass \
             --allow-unencrypted if plaintext is meant; nothing was written",
            segment.file,
            segment.object.recipients.join(", ")
        ),
    }
}

/// Opens the stream that the `closed` files belong to, or begins it, with index and journal.
pub(super) async fn open_stream(
    store: SharedStore,
    settings: &Settings,
    closed: &[&HeadOfFile],
    footing: Footing,
) -> Result<Committer> {
    let (index, _) = Index::open(&settings.state_dir.join(INDEX_NAME))?;
    let index = Arc::new(index);
    let known = match footing.stream() {
        Some(bytes) => Stream::again(Arc::clone(&store), Arc::clone(&index), bytes).await?,
        None => None,
    };
    let stream = match known {
        Some(stream) => stream,
        None => {
            let stream = find_or_begin(&store, &index, settings, closed).await?;
            stream::probe_condition(&store, stream.file_bytes()).await?;
            stream
        }
    };
    check_flavour(stream.file().flavour, closed)?;
    let interrupt = Arc::clone(&settings.interrupt);
    let journal = Journal::open(&settings.state_dir, Arc::clone(&interrupt))?;
    let (consent, archiver) = (settings.consent.clone(), settings.archiver.clone());
    Ok(Committer {
        store,
        stream,
        index,
        journal,
        lost: BTreeSet::new(),
        consent,
        archiver,
        interrupt,
        clock: Arc::clone(&settings.clock),
        footing,
        met_another: AtomicBool::new(false),
    })
}

async fn find_or_begin(
    store: &SharedStore,
    index: &Arc<Index>,
    settings: &Settings,
    closed: &[&HeadOfFile],
) -> Result<Stream> {
    let first = closed.first().context("there is a closed file")?;
    match Stream::open(Arc::clone(store), Arc::clone(index)).await {
        Err(StreamError::NoStream { .. }) => {
            check_never_begun(index, settings)?;
            let flavour = first.1.flavour.context("the first closed file tells neither MySQL nor MariaDB: it has no format description")?;
            check_flavour(flavour, closed)?;
            let file = StreamFile {
                format: FORMAT,
                stream_id: uuid::Uuid::new_v4(),
                flavour,
                basename: first_basename(&first.0.file),
                created_at: (settings.clock)(),
            };
            match stream::create(store, &file).await {
                // Another archiver began it at the same moment: then that is the stream.
                Ok(()) | Err(StreamError::Exists { .. }) => {}
                Err(e) => return Err(e.into()),
            }
            Ok(Stream::open(Arc::clone(store), Arc::clone(index)).await?)
        }
        opened => Ok(opened?),
    }
}

/// A stream that this host has archived to does not begin anew: its store is not there, or was emptied.
fn check_never_begun(index: &Index, settings: &Settings) -> Result<()> {
    let known = index.stream_bytes()?.is_some()
        || manifest::read(&settings.state_dir).is_some_and(|known| known.last_archived.is_some());
    if known {
        bail!(
            "there is no stream.json, and this host has archived to this stream before (state directory {}): is the store's file system \
             mounted, the bucket the right one, and not emptied? Nothing was written. To begin a new stream all the same, move that \
             directory away",
            settings.state_dir.display()
        );
    }
    Ok(())
}

/// Each file by itself: a server that was exchanged for one of the other flavour goes on with the numbers and the index
/// file of the old one.
fn check_flavour(stream_flavour: Flavour, closed: &[&HeadOfFile]) -> Result<(), Refusal> {
    let other = |file: &&HeadOfFile| {
        let flavour = file.1.flavour.filter(|flavour| *flavour != stream_flavour);
        Some((file.0.file.clone(), flavour?))
    };
    match closed.iter().find_map(other) {
        None => Ok(()),
        Some((file, flavour)) => Err(Refusal::OtherFlavour {
            file,
            file_flavour: flavour_name(flavour),
            stream_flavour: flavour_name(stream_flavour),
        }),
    }
}

/// A ledger that ends before what this host archived has lost records: the index may be gone, the manifest remembers.
///
/// So has one in whose place other records were made since.
pub(super) fn check_not_behind(
    settings: &Settings,
    index: &Index,
    state: &LedgerState,
) -> Result<()> {
    let seen = manifest::read(&settings.state_dir).and_then(|manifest| manifest.last_archived);
    if let Some(last) = &seen
        && last.seq <= state.last_seq
    {
        // The record itself: what it says may have been superseded since.
        let line = index.line(last.seq)?;
        let line = line.and_then(|text| Line::read(text.as_bytes()).ok());
        let held = line.as_ref().map(|line| {
            let segment = line.record().body.described();
            segment.map(|segment| segment.sha256)
        });
        if held.is_some_and(|held| held != Some(last.sha256)) {
            bail!(
                "ledger record {} holds something else than the {} that this host archived as that record: records were removed from the \
                 bucket and others made in their place. Find out who writes there, and compare with a copy of the bucket; if it is right as \
                 it is, move {} away and run again",
                last.seq,
                last.file,
                manifest::path(&settings.state_dir).display()
            );
        }
    }
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

//! The local files after a history: what is listed now, compared with what was shown.

use super::file::LocalFile;
use super::names::{self, Archived, FileHead, LastSegment, Listed, Named, Shown};
use crate::fs::history::History;
use crate::fs::source::{HistorySource, SourceError};
use crate::model::{Basename, FileName, Incarnation, MountName, Seq, Timeline};
use crate::source::{Listing, Source, SourceFile};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use uuid::Uuid;

/// How far back a segment is looked for behind holes.
const LOOK_BACK: u64 = 1000;
/// The upper 16 bits of a local file's inode number and handle: no stream of a forest has that number.
const LOCAL_NUMBER: u64 = 0xFFFF << 48;
/// Set in the cookies of local files: those of archived ones are record numbers.
const LOCAL_COOKIE: u64 = 1 << 62;

/// What is shown after the archived history.
#[derive(Default)]
pub(super) struct State {
    /// The history that the files were placed after.
    pub(super) history: Arc<History>,
    /// The binlog index file then.
    pub(super) stamp: Option<Stamp>,
    /// The files, ascending by name.
    pub(super) files: Vec<Arc<LocalFile>>,
    /// Whose they are, and what they continue.
    pub(super) origin: Origin,
    /// The newest file listed.
    shown: Option<Shown>,
}

/// Nothing of the server belongs to the history any more.
#[derive(Debug, thiserror::Error)]
#[error(
    "timeline {timeline} was ended by a fence in or behind {last}: what the server that wrote it has beyond that does not belong there"
)]
pub(super) struct Fenced {
    timeline: Timeline,
    last: MountName,
}

/// Whose local files are, and what they continue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    /// Their server, where known.
    pub(super) server_uuid: Option<Uuid>,
    /// The timeline.
    pub(super) timeline: Timeline,
    /// The incarnation.
    pub(super) incarnation: Incarnation,
}

impl Default for Origin {
    /// Where nothing is archived yet.
    fn default() -> Origin {
        Origin {
            server_uuid: None,
            timeline: Timeline(1),
            incarnation: Incarnation(1),
        }
    }
}

impl State {
    /// The file called `name`.
    pub(super) fn file(&self, name: &str) -> Option<&Arc<LocalFile>> {
        let at = self
            .files
            .binary_search_by(|file| file.name.as_str().cmp(name));
        self.files.get(at.ok()?)
    }

    /// The same without any file, placed after nothing yet.
    pub(super) fn ended(&self) -> State {
        State {
            origin: self.origin,
            shown: self.shown.clone(),
            ..State::default()
        }
    }
}

/// A state of the binlog index file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl Stamp {
    /// Its state now; `None` in the moment in which the server replaces it.
    pub(super) fn of(path: &Path) -> Option<Stamp> {
        let meta = std::fs::metadata(path).ok()?;
        Some(Stamp {
            inode: meta.ino(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}

/// The numbers of names that are or were local: a name keeps its own when it is archived.
#[derive(Default)]
pub(super) struct Numbers {
    by_name: HashMap<Arc<str>, u64>,
    names: Vec<Arc<str>>,
}

impl Numbers {
    /// Gives a number to every file of `state` that has none.
    pub(super) fn number(&mut self, state: &State) {
        for file in &state.files {
            if !self.by_name.contains_key(file.name.as_str()) {
                let name: Arc<str> = file.name.as_str().into();
                self.names.push(Arc::clone(&name));
                self.by_name.insert(name, self.names.len() as u64);
            }
        }
    }

    /// Whether no name is or was local.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    fn number_of(&self, name: &str) -> Option<u64> {
        self.by_name.get(name).copied()
    }

    fn name(&self, number: u64) -> Option<Arc<str>> {
        let at = usize::try_from(number.checked_sub(1)?).ok()?;
        self.names.get(at).cloned()
    }

    /// The inode number of a name that is or was local.
    pub(super) fn ino_of(&self, name: &str) -> Option<u64> {
        Some(LOCAL_NUMBER | self.number_of(name)?)
    }

    /// The name of such an inode number.
    pub(super) fn name_of_ino(&self, ino: u64) -> Option<Arc<str>> {
        is_local(ino).then(|| self.name(ino & !LOCAL_NUMBER))?
    }

    /// The cookie of a name that is or was local.
    pub(super) fn cookie_of(&self, name: &str) -> Option<u64> {
        Some(LOCAL_COOKIE | self.number_of(name)?)
    }

    /// The name of such a cookie.
    pub(super) fn name_of_cookie(&self, cookie: u64) -> Option<Arc<str>> {
        (cookie & LOCAL_COOKIE != 0).then(|| self.name(cookie & !LOCAL_COOKIE))?
    }
}

/// Whether an inode number is, or was, a local file's, or a handle one's.
pub(in crate::fs) fn is_local(ino: u64) -> bool {
    ino & LOCAL_NUMBER == LOCAL_NUMBER
}

/// The handle number `n` of local files.
pub(super) fn local_handle(n: u64) -> u64 {
    LOCAL_NUMBER | n
}

/// Places the files of `server` after `history`, timeline `root` of it. Files of `before` that are still there are kept. Blocks.
///
/// # Errors
/// When they do not continue it, or something cannot be read.
pub(super) fn place(
    source: &dyn HistorySource,
    history: Arc<History>,
    root: Option<Timeline>,
    server: &Source,
    basename: Basename,
    before: &State,
) -> Result<State, SourceError> {
    // Before the list is read: a change after this is seen as one.
    let stamp = Stamp::of(server.index_path());
    // A fence is seen also where the list cannot be read.
    let archived = Archived {
        basename,
        last: last_segment(source, &history, root)?,
    };
    let listing = server.list()?;
    let files: Vec<FileName> = listing
        .files
        .iter()
        .map(|listed| listed.file.clone())
        .collect();
    let listed = Listed {
        files: &files,
        server_uuid: listing.server_uuid,
    };
    let begun = Origin::default();
    let last = archived.last.as_ref();
    let origin = Origin {
        server_uuid: listing.server_uuid,
        timeline: root.unwrap_or(begun.timeline),
        incarnation: last.map_or(begun.incarnation, |last| last.incarnation),
    };
    let head_of = |at: usize| head_of(server, &listing, at);
    let named = names::after(&archived, before.shown.as_ref(), &listed, head_of)?;
    let mut placed = Vec::with_capacity(named.len());
    for named in named {
        placed.push(file_of(named, &listing, before)?);
    }
    // What was active and is listed no more, or is archived, was closed.
    for old in before.files.iter().filter(|old| old.is_active()) {
        let same = placed.iter().find(|file| file.name == old.name);
        if same.is_none_or(|file| !file.is_active()) {
            old.close()?;
        }
    }
    let newest = listing.files.len().checked_sub(1);
    let shown = match newest.zip(files.last()) {
        Some((at, file)) => self::head_of(server, &listing, at)?.map(|head| Shown {
            file: file.clone(),
            head,
        }),
        None => None,
    };
    Ok(State {
        history,
        stamp,
        files: placed,
        origin,
        shown: shown.or_else(|| before.shown.clone()),
    })
}

/// The file of a name: the one that was shown, or a new one.
fn file_of(named: Named, listing: &Listing, before: &State) -> Result<Arc<LocalFile>, SourceError> {
    let Some(listed) = named.at.and_then(|at| listing.files.get(at)) else {
        return Ok(Arc::new(LocalFile::missing(named.name, named.file)));
    };
    if let Some(old) = before.file(named.name.as_str())
        && !old.is_missing()
    {
        if listed.closed {
            old.close()?;
        }
        return Ok(Arc::clone(old));
    }
    let (name, file) = (named.name, named.file);
    match LocalFile::there(name.clone(), file.clone(), &listed.path, listed.closed) {
        Ok(there) => Ok(Arc::new(there)),
        // Purged since it was listed: the next look finds out.
        Err(crate::source::SourceError::Io { source, .. })
            if source.kind() == std::io::ErrorKind::NotFound =>
        {
            Ok(Arc::new(LocalFile::missing(name, file)))
        }
        Err(error) => Err(error.into()),
    }
}

fn head_of(server: &Source, listing: &Listing, at: usize) -> Result<Option<FileHead>, SourceError> {
    let Some(listed) = listing.files.get(at) else {
        return Ok(None);
    };
    let Some(file): Option<SourceFile> = server.open_listed(listed)? else {
        return Ok(None);
    };
    let head = file.head()?;
    if head.first_event_type.is_none() {
        // Torn by a crash, or in the making: it will hash to something else.
        return Ok(None);
    }
    Ok(Some(FileHead {
        head: head.head,
        previous: head.previous_gtids,
        size: file.size(),
    }))
}

/// The last segment of timeline `root`.
fn last_segment(
    source: &dyn HistorySource,
    history: &History,
    root: Option<Timeline>,
) -> Result<Option<LastSegment>, SourceError> {
    let entries = root.and_then(|root| history.timeline(root));
    let Some((entries, last)) = entries.and_then(|all| Some((all, all.last()?))) else {
        return Ok(None);
    };
    let near: Vec<Seq> = entries
        .after(Seq(last.seq.0.saturating_sub(LOOK_BACK)))
        .filter(|entry| entry.size > 0)
        .map(|entry| entry.seq)
        .collect();
    let newest = source.entry(last.seq)?;
    for seq in near.into_iter().rev() {
        let Some(entry) = source.entry(seq)? else {
            continue;
        };
        let Some(segment) = entry.segment else {
            continue;
        };
        let ledger = source
            .index()
            .map(|index| index.state())
            .transpose()?
            .flatten();
        let known = ledger
            .as_ref()
            .and_then(|ledger| ledger.incarnation(entry.incarnation));
        if known.is_some_and(|known| known.fenced) {
            return Err(Fenced {
                timeline: entry.timeline,
                last: entry.mount_name,
            }
            .into());
        }
        let last_number = match &newest {
            Some(newest) if newest.incarnation == entry.incarnation => newest.number,
            Some(_) | None => entry.number,
        };
        return Ok(Some(LastSegment {
            file: segment.file,
            head: segment.head,
            size: segment.size,
            incarnation: segment.incarnation,
            mount_name: segment.mount_name,
            server_uuid: segment.server_uuid,
            gtids: segment.gtids,
            last_number: last_number.max(entry.number),
        }));
    }
    Err(format!(
        "none of the last {LOOK_BACK} records is a segment's: what the local binlogs continue cannot be told"
    )
    .into())
}

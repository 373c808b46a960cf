//! Several streams in one mount: `<tenant>/<cluster>/` down to each stream's root, which is what a mount of it alone shows.
//!
//! Nothing is asked before somebody looks. A directory is listed when a name in it is asked for that is not known, or all of
//! them are, and again at the earliest after the refresh interval. A stream is opened, which means that its ledger is
//! followed into its own index, by the first look below it; from then on it is refreshed like one that is mounted alone.
//! Whoever waits for either waits no longer than a read may take; the work goes on. Who lists a directory whose names are known
//! waits half a second for new ones.
//!
//! A stream that cannot be opened has an errno (`errno.rs`) for every look below it, and its neighbours do not notice. It is
//! tried again by a look that comes a refresh interval later. At most [`OPEN_MAX`] streams are open: the one that was used
//! longest ago, and in which no file is open, is closed for the next.

mod answers;
mod dirs;
mod grove;
mod placed;
mod slot;

pub use grove::{Grove, OpenIndex, StoreGrove};

use super::deadline::Left;
use super::errno;
use super::front::Work;
use super::history::History;
use super::recall::Recall;
use super::refresh::{Refresher, load};
use super::source::SourceError;
use super::tree::{Node, Ownership};
use super::unloaded::{Question, Unloaded};
use super::view::{Errno, View};
use super::views::MadeNumbers;
use crate::cache::SegmentReader;
use crate::model::counted::{count, of_number};
use crate::model::{ObjectKey, Timeline};
use dirs::{Child, DirIno, Dirs, Place, ROOT, StreamNo};
use futures::FutureExt as _;
use slot::{OpenStream, Slot};
use std::collections::{HashMap, VecDeque};
use std::ffi::OsStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Streams open at a time: each has an index of its own, and is refreshed every few seconds.
pub const OPEN_MAX: usize = 64;
/// How long a listing waits for names that may be new: a store that does not answer must not keep those that are known.
const NEW_NAMES_PATIENCE: Duration = Duration::from_millis(500);
/// Directories that are listed at most before a place counts as one without streams.
const SEARCHED_MAX: usize = 1000;

/// The streams of a mount. See the module's documentation.
pub struct Forest {
    grove: Arc<dyn Grove>,
    reader: Arc<SegmentReader>,
    ownership: Ownership,
    refresh: Duration,
    dirs: Mutex<Dirs>,
    listing: tokio::sync::Mutex<()>,
    /// Listings that looks wait for, one of each directory: as many looks as come while a store is away wait for the same. Each is
    /// over when its sender is gone.
    listings: Mutex<HashMap<DirIno, watch::Receiver<()>>>,
    slots: Mutex<HashMap<StreamNo, Arc<Slot>>>,
    /// The timeline in the root of each stream that was open: it stays, as in a stream that is mounted alone.
    roots: Mutex<HashMap<StreamNo, Timeline>>,
    /// The numbers given to what was made on demand in each stream that was open: they are not used again.
    made: Mutex<HashMap<StreamNo, MadeNumbers>>,
    /// Counts uses, so that the longest unused stream is known.
    clock: AtomicU64,
    closed: AtomicBool,
    recall: Arc<Recall>,
}

/// What is not changed by halves, and so is sound after a panic elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Forest {
    /// The streams of `grove`, all read by `reader`, brought up to date every `refresh`.
    pub fn new(
        grove: Arc<dyn Grove>,
        reader: Arc<SegmentReader>,
        ownership: Ownership,
        refresh: Duration,
    ) -> Arc<Forest> {
        Arc::new(Forest {
            grove,
            reader,
            ownership,
            refresh,
            dirs: Mutex::new(Dirs::new()),
            listing: tokio::sync::Mutex::default(),
            listings: Mutex::default(),
            slots: Mutex::default(),
            roots: Mutex::default(),
            made: Mutex::default(),
            clock: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            recall: Arc::default(),
        })
    }

    /// Makes sure that there is a stream at all.
    ///
    /// # Errors
    /// When there is none, or the top cannot be listed.
    pub async fn find_any(self: &Arc<Self>) -> Result<(), SourceError> {
        let mut waiting = VecDeque::from([ROOT]);
        for _ in 0..SEARCHED_MAX {
            let Some(dir) = waiting.pop_front() else {
                break;
            };
            match self.list_now(dir).await {
                Err(error) if dir == ROOT => return Err(error),
                Err(error) => tracing::debug!(%error, "a directory cannot be listed"),
                Ok(()) => {}
            }
            let dirs = lock(&self.dirs);
            if dirs.streams() > 0 {
                return Ok(());
            }
            waiting.extend(dirs.children(dir, 0).filter_map(|(_, child)| match child {
                Child::Dir(dir) => Some(dir),
                Child::Stream(_) => None,
            }));
        }
        Err(
            "there is no stream there and none below it: no stream.json was found; check the URL, or begin a stream with \
             'binlogfs archive --to URL'"
                .into(),
        )
    }

    /// How long a call may take.
    pub(super) fn deadline(&self) -> Duration {
        self.reader.options().deadline
    }

    /// What comes before the answer to `question`.
    pub(super) fn before(self: &Arc<Self>, question: &Question<'_>) -> Option<Work> {
        match *question {
            Question::Lookup(parent, name) => self.before_lookup(parent, name),
            Question::Attr(ino) => self.before_attr(ino),
            Question::List(ino, cookie) => self.before_list(ino, cookie),
        }
    }

    /// What of a stream that is open has to be read first.
    pub(super) fn unloaded(&self, question: &Question<'_>) -> Option<Unloaded> {
        let place = |ino| match Place::of(ino) {
            Place::Stream(stream, inner) => Some((self.slot(stream).peek()?, inner)),
            Place::Dir(_) => None,
        };
        match *question {
            Question::Lookup(parent, name) => {
                let (view, inner) = place(parent)?;
                view.unloaded(&Question::Lookup(inner, name))
            }
            Question::Attr(ino) => {
                let (view, inner) = place(ino)?;
                view.unloaded(&Question::Attr(inner))
            }
            Question::List(ino, cookie) => {
                let (view, inner) = place(ino)?;
                view.unloaded(&Question::List(inner, cookie))
            }
        }
    }

    /// What comes before [`Forest::lookup`].
    fn before_lookup(self: &Arc<Self>, parent: u64, name: &OsStr) -> Option<Work> {
        match Place::of(parent) {
            Place::Dir(dir) => {
                let known = name.to_str().map(|name| lock(&self.dirs).child(dir, name));
                // What is no text, or is hidden, is nobody's name.
                let may_be =
                    matches!(known, Some(None)) && !name.as_encoded_bytes().starts_with(b".");
                may_be
                    .then(|| self.before_dir(dir, self.deadline()))
                    .flatten()
            }
            Place::Stream(stream, _) => self.before_stream(stream),
        }
    }

    /// What comes before [`Forest::attr`].
    fn before_attr(self: &Arc<Self>, ino: u64) -> Option<Work> {
        match Place::of(ino) {
            Place::Stream(stream, inner) if inner != Node::Root.ino() => self.before_stream(stream),
            // Of the root of a stream something can always be said.
            Place::Stream(..) | Place::Dir(_) => None,
        }
    }

    /// What comes before [`Forest::list`].
    fn before_list(self: &Arc<Self>, ino: u64, cookie: u64) -> Option<Work> {
        match Place::of(ino) {
            Place::Dir(dir) => {
                let listed_at = lock(&self.dirs).listed_at(dir);
                match (cookie, listed_at) {
                    (_, None) => self.before_dir(dir, self.deadline()),
                    (0, Some(_)) => self.before_dir(dir, NEW_NAMES_PATIENCE.min(self.deadline())),
                    // A listing that goes on has waited when it began.
                    (_, Some(_)) => None,
                }
            }
            Place::Stream(stream, _) => self.before_stream(stream),
        }
    }

    /// Has a directory listed unless it was lately. That is waited for no longer than `patience`.
    fn before_dir(self: &Arc<Self>, dir: DirIno, patience: Duration) -> Option<Work> {
        let listed_at = lock(&self.dirs).listed_at(dir);
        if listed_at.is_some_and(|at| at.elapsed() < self.refresh) {
            return None;
        }
        let forest = Arc::clone(self);
        let listing = async move {
            let mut over = forest.listing_of(dir);
            // Its outcome is in the directories; it goes on if it takes longer.
            let _ = tokio::time::timeout(patience, over.changed()).await;
        };
        Some(listing.boxed())
    }

    /// The listing of a directory that is under way, or else one that begins now: it says nothing, and ends. Inside a runtime.
    fn listing_of(self: &Arc<Self>, dir: DirIno) -> watch::Receiver<()> {
        let mut listings = lock(&self.listings);
        let under_way = listings.get(&dir).filter(|over| over.has_changed().is_ok());
        if let Some(over) = under_way {
            return over.clone();
        }
        let (ends, over) = watch::channel(());
        listings.insert(dir, over.clone());
        let forest = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(error) = forest.list_now(dir).await {
                tracing::error!(%error, "cannot look for streams; what is known stays readable");
            }
            // Here, or wherever a panic ends the task.
            drop(ends);
        });
        over
    }

    fn before_stream(self: &Arc<Self>, stream: StreamNo) -> Option<Work> {
        let slot = self.slot(stream);
        if !slot.must_wait(self.refresh) {
            return None;
        }
        let (forest, patience) = (Arc::clone(self), self.deadline());
        let opening = async move {
            if slot.begin(forest.refresh) {
                let slot = Arc::clone(&slot);
                tokio::spawn(async move { forest.open_stream(stream, &slot).await });
            }
            let _ = tokio::time::timeout(patience, slot.settled()).await;
        };
        Some(opening.boxed())
    }

    /// Lists a directory, one at a time; not again if another just did.
    async fn list_now(&self, dir: DirIno) -> Result<(), SourceError> {
        let asked_at = Instant::now();
        let _alone = self.listing.lock().await;
        let path = {
            let dirs = lock(&self.dirs);
            if dirs.listed_at(dir).is_some_and(|at| at >= asked_at) {
                return Ok(());
            }
            let Some(path) = dirs.path(dir) else {
                return Ok(());
            };
            path.cloned()
        };
        let names = self.grove.names(path.as_ref()).await?;
        let without = lock(&self.dirs).set(dir, names, Instant::now());
        if without > 0 {
            let (streams, are) = (
                count(without as u64, "stream"),
                of_number(without as u64, "is", "are"),
            );
            tracing::warn!("{streams} {are} not shown: a mount shows 65534 at most");
        }
        Ok(())
    }

    /// Opens a stream whose opening was claimed.
    async fn open_stream(self: Arc<Self>, stream: StreamNo, slot: &Slot) {
        let path = lock(&self.dirs).stream_path(stream).cloned();
        let Some(path) = path else {
            return slot.opened(Err(libc::ESTALE));
        };
        let (forest, at) = (Arc::clone(&self), path.clone());
        // In a task of its own: a panic in it must not leave the slot as it is.
        let opened = tokio::spawn(async move { forest.try_open(stream, &at).await }).await;
        let opened = opened.unwrap_or_else(|died| Err(died.into()));
        slot.opened(opened.map_err(|error| {
            let verdict = errno::of_source(&error);
            tracing::error!(stream = %path, %error, "the stream cannot be opened");
            verdict.errno
        }));
        self.close_idle();
    }

    async fn try_open(
        &self,
        stream: StreamNo,
        path: &ObjectKey,
    ) -> Result<OpenStream, SourceError> {
        let source = self.grove.open(path).await?;
        source.refresh().await?;
        let history = load(&source, History::default()).await?;
        let reader = Arc::clone(&self.reader);
        let mut view = View::new(Arc::clone(&source), reader, history, self.ownership);
        if let Some(root) = lock(&self.roots).get(&stream) {
            view = view.showing(*root);
        }
        let numbers = lock(&self.made).entry(stream).or_default().clone();
        let view = view.below(Arc::clone(&self.recall), stream.above());
        let view = Arc::new(view.numbering(numbers));
        if self.closed.load(Ordering::Relaxed) {
            view.close();
        }
        let refresher = Refresher::new(source, Arc::clone(&view));
        let now = self.now();
        Ok(OpenStream::new(view, refresher, self.refresh, now))
    }

    /// Closes streams that were not used for longest, while too many are open.
    fn close_idle(&self) {
        // Before the other lock: whoever answers takes it after this one.
        let _replacing = self.recall.replacing();
        let slots = lock(&self.slots);
        let mut open = slots.values().filter(|slot| slot.is_open()).count();
        let mut idle: Vec<_> = slots
            .iter()
            .filter_map(|(stream, slot)| Some((slot.idle_since()?, *stream, slot)))
            .collect();
        idle.sort_by_key(|(used_at, ..)| *used_at);
        for (_, stream, slot) in idle {
            if open <= OPEN_MAX {
                return;
            }
            if let Some(closed) = slot.close_idle() {
                open -= 1;
                self.recall.close(closed.view());
                if let Some(root) = closed.view().root() {
                    lock(&self.roots).insert(stream, root);
                }
                tokio::spawn(closed.close());
            }
        }
    }

    /// Number of streams that are open now.
    pub fn open_streams(&self) -> usize {
        let slots = lock(&self.slots);
        slots.values().filter(|slot| slot.is_open()).count()
    }

    /// What takes back what was told.
    pub(super) fn recall(&self) -> &Arc<Recall> {
        &self.recall
    }

    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn slot(&self, stream: StreamNo) -> Arc<Slot> {
        Arc::clone(lock(&self.slots).entry(stream).or_default())
    }

    fn view(&self, stream: StreamNo) -> Result<Arc<View>, Errno> {
        self.slot(stream).view(self.now())
    }

    /// Opens `stream` if it is not open, which may fail. What is left for the work in it: both end by one deadline.
    async fn opened(self: &Arc<Self>, stream: StreamNo) -> Left {
        let Some(before) = self.before_stream(stream) else {
            return Left::all();
        };
        let left = Left::of(self.deadline());
        before.await;
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::source::HistorySource;
    use crate::fs::testing::{OWNERSHIP, reader};
    use async_trait::async_trait;

    /// One stream, which is told of once; then the store is silent.
    #[derive(Default)]
    struct ToldOnce(AtomicBool);

    #[async_trait]
    impl Grove for ToldOnce {
        async fn names(&self, _: Option<&ObjectKey>) -> Result<Vec<(String, bool)>, SourceError> {
            match self.0.swap(true, Ordering::Relaxed) {
                false => Ok(vec![("a".to_owned(), true)]),
                true => std::future::pending().await,
            }
        }

        async fn open(&self, _: &ObjectKey) -> Result<Arc<dyn HistorySource>, SourceError> {
            Err("nobody looks into it".into())
        }
    }

    #[tokio::test]
    async fn a_store_that_hangs_keeps_no_listing_of_streams_that_are_known() {
        let grove = Arc::new(ToldOnce::default());
        // Each listing finds the last one old.
        let forest = Forest::new(grove, reader(), OWNERSHIP, Duration::ZERO);
        forest.find_any().await.expect("finds it");
        let (root, begun) = (Node::Root.ino(), Instant::now());
        let before = forest.before(&Question::List(root, 0));
        before.expect("asks for new names").await;
        assert!(begun.elapsed() < forest.deadline() / 3);
        let mut names = Vec::new();
        let listed = forest.list(root, 2, |listed, _| {
            names.push(listed.name.clone());
            true
        });
        listed.expect("lists");
        assert_eq!(names, ["a"]);
        let goes_on = forest.before(&Question::List(root, 2));
        assert!(goes_on.is_none(), "asked already");
        let unknown = Question::Lookup(root, OsStr::new("b"));
        assert!(forest.before(&unknown).is_some());
    }

    #[tokio::test]
    async fn however_many_looks_come_while_a_store_hangs_one_listing_waits_for_it() {
        let forest = Forest::new(
            Arc::new(ToldOnce::default()),
            reader(),
            OWNERSHIP,
            Duration::ZERO,
        );
        forest.find_any().await.expect("finds it");
        let (root, runtime) = (Node::Root.ino(), tokio::runtime::Handle::current());
        let before = runtime.metrics().num_alive_tasks();
        let looks = (0..100).map(|_| {
            let look = forest.before(&Question::List(root, 0));
            look.expect("asks for new names")
        });
        futures::future::join_all(looks).await;
        assert_eq!(runtime.metrics().num_alive_tasks(), before + 1);
    }

    /// A stream which is told of when it is asked for once more.
    #[derive(Default)]
    struct PanicsOnce(AtomicBool);

    #[async_trait]
    impl Grove for PanicsOnce {
        async fn names(&self, _: Option<&ObjectKey>) -> Result<Vec<(String, bool)>, SourceError> {
            assert!(self.0.swap(true, Ordering::Relaxed), "a bug");
            Ok(vec![("a".to_owned(), true)])
        }

        async fn open(&self, _: &ObjectKey) -> Result<Arc<dyn HistorySource>, SourceError> {
            Err("nobody looks into it".into())
        }
    }

    #[tokio::test]
    async fn a_listing_that_ended_in_a_panic_is_over_and_the_next_look_lists_again() {
        let grove = Arc::new(PanicsOnce::default());
        let forest = Forest::new(grove, reader(), OWNERSHIP, Duration::ZERO);
        let root = Node::Root.ino();
        let name = Question::Lookup(root, OsStr::new("a"));
        let begun = Instant::now();
        for is_known in [false, true] {
            let look = forest.before(&name);
            look.expect("asks for new names").await;
            assert_eq!(forest.before(&name).is_none(), is_known);
        }
        assert!(begun.elapsed() < forest.deadline() / 3);
    }
}

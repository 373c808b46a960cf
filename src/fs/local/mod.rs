//! A stream together with the files of its server that are not archived yet: on the database host, one history up to now.
//!
//! What is archived comes from the archive, proven like everywhere; only what comes after it is read from the server's files.
//! A local file beside its archived copy is not read: nothing but the archive's hashes can prove it, and its disk is the
//! server's. The names of local files are those that the archive will give them ([`names`]), so a listing in one order is
//! one history, and a file that is archived changes from one side to the other under the same name and inode number.
//!
//! | file | size | bytes |
//! |---|---|---|
//! | archived | as recorded | the archive's |
//! | closed, not archived yet | the file's | the server's, up to the first event that is damaged; EIO from there |
//! | active | to the end of its last whole transaction | the server's, events checked; never kept by the kernel |
//! | purged before it was archived | 0 | none: EIO, as for the hole that the archive will have |
//!
//! Nothing runs in the background but the refresh. Each look at the root, or at a local file, compares the binlog index file's stamp and
//! the active file's length with those known, a system call each, and only what changed is read. So what is seen is as new as the
//! look: that a file is listed means that the one before it has its final size.
//!
//! The server's disk may not answer. So it is asked on threads that may wait, of which there are only so many ([`disk`]), before
//! the answer is made out of memory; and whoever asks has ETIMEDOUT when a read would. A name that is archived takes no such look.
//!
//! Files that do not continue the history ([`names::Strange`]) are not shown: at first they keep the mount from being made;
//! later, after a RESET, what was shown stays, and what is gone of it gives EIO. Behind a fence nothing stays: what is there
//! belongs to no history, and may not even follow on what is left of the archive.

mod answers;
mod attributes;
mod disk;
mod file;
mod names;
mod place;

use super::front::Before;
use super::refresh::Refresher;
use super::source::{HistorySource, SourceError};
use super::tree::{Attr, Node, Ownership};
use super::unloaded::{Question, Unloaded};
use super::view::{Errno, View};
use crate::model::Basename;
use crate::source::Source;
pub(super) use place::is_local;

use answers::Handles;
use disk::blocking;
use file::LocalFile;
use futures::FutureExt as _;
use place::{Fenced, Numbers, Stamp, State};
use std::ffi::OsStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an answer waits for the archive to tell of files that are missing: whoever opens one asks it again.
const MISSING_PATIENCE: Duration = Duration::from_millis(500);

/// The files of the server that a stream is archived from.
pub struct LocalFiles {
    /// Where they are.
    pub server: Source,
    /// The stream's first basename (`stream.json`).
    pub basename: Basename,
}

/// A stream and local files. See the module's documentation.
pub struct Union {
    view: Arc<View>,
    source: Arc<dyn HistorySource>,
    refresher: Arc<Refresher>,
    files: LocalFiles,
    ownership: Ownership,
    /// How long an answer may take.
    patience: Duration,
    /// How long a failure holds before the next attempt.
    pause: Duration,
    state: Mutex<Arc<State>>,
    numbers: Mutex<Numbers>,
    handles: Handles,
    updating: tokio::sync::Mutex<()>,
    failed: Mutex<Option<(Instant, String)>>,
    /// Whether the server's disk did not answer when it was last asked.
    silent: AtomicBool,
}

/// What the server's disk tells before a question is answered.
struct News {
    /// The list, or the history before it, is another than when the files were placed.
    is_old: bool,
    /// More was written to the file that is asked about.
    has_grown: bool,
}

/// What is not changed by halves, and so is sound after a panic elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Union {
    /// An answer may take as long as the first of the times says, and a failure holds for the second. What is shown is
    /// `view`, which `refresher` keeps up to date with `source`, and after it `files`.
    ///
    /// # Errors
    /// When the files do not continue the history, or cannot be read.
    pub async fn new(
        view: Arc<View>,
        source: Arc<dyn HistorySource>,
        refresher: Arc<Refresher>,
        files: LocalFiles,
        ownership: Ownership,
        (patience, pause): (Duration, Duration),
    ) -> Result<Arc<Union>, SourceError> {
        let union = Arc::new(Union {
            patience,
            view,
            source,
            refresher,
            files,
            ownership,
            pause,
            state: Mutex::default(),
            numbers: Mutex::default(),
            handles: Handles::default(),
            updating: tokio::sync::Mutex::default(),
            failed: Mutex::default(),
            silent: AtomicBool::new(false),
        });
        let numbers = Arc::downgrade(&union);
        union.view.also_known(move |name| {
            let union = numbers.upgrade()?;
            lock(&union.numbers).ino_of(name)
        });
        union.place().await?;
        Ok(union)
    }

    /// The view of what is archived.
    pub(super) fn view(&self) -> &Arc<View> {
        &self.view
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&lock(&self.state))
    }

    /// What comes before the answer to `question`.
    pub(super) fn before_answer(self: &Arc<Self>, question: &Question<'_>) -> Option<Before> {
        match *question {
            Question::Lookup(parent, name) => self.before_lookup(parent, name),
            Question::Attr(ino) => self.before_attr(ino),
            Question::List(ino, _) => self.before_list(ino),
        }
    }

    /// What of the archived history has to be read first.
    pub(super) fn unloaded(&self, question: &Question<'_>) -> Option<Unloaded> {
        match *question {
            // What was local may have been archived long ago.
            Question::Attr(ino) if is_local(ino) => {
                let name = lock(&self.numbers).name_of_ino(ino)?;
                self.unloaded_of(&name)
            }
            Question::List(ino, cookie) if ino == Node::Root.ino() => {
                let name = lock(&self.numbers).name_of_cookie(cookie);
                let Some(name) = name else {
                    return self.view.unloaded(question);
                };
                self.unloaded_of(&name).or_else(|| {
                    let cookie = self.archived_cookie(&self.view.history(), &name)?;
                    self.view.unloaded(&Question::List(ino, cookie))
                })
            }
            _ => self.view.unloaded(question),
        }
    }

    /// What has to be read before it is known whether `name` is archived.
    fn unloaded_of(&self, name: &str) -> Option<Unloaded> {
        let question = Question::Lookup(Node::Root.ino(), OsStr::new(name));
        self.view.unloaded(&question)
    }

    /// The attributes of what is archived as `name`, by the number that it has there.
    async fn archived(&self, name: &str) -> Result<Attr, Errno> {
        if let Some(unloaded) = self.unloaded_of(name) {
            unloaded.load().await?;
        }
        self.view.lookup(Node::Root.ino(), OsStr::new(name))
    }

    /// Whether `name` is one of the archive's, if it is a name at all: then the server's files have nothing to say of it.
    fn is_archived(&self, name: &str) -> bool {
        let history = self.view.history();
        self.last_archived(&history)
            .is_some_and(|last| name <= last)
    }

    /// What comes before a lookup.
    fn before_lookup(self: &Arc<Self>, parent: u64, name: &OsStr) -> Option<Before> {
        if parent != Node::Root.ino() {
            return None;
        }
        self.before_name(name.to_str()?)
    }

    /// What comes before a listing.
    fn before_list(self: &Arc<Self>, ino: u64) -> Option<Before> {
        if ino != Node::Root.ino() {
            return None;
        }
        Some(self.before(self.state().files.last()))
    }

    /// What comes before attributes.
    fn before_attr(self: &Arc<Self>, ino: u64) -> Option<Before> {
        let name = lock(&self.numbers).name_of_ino(ino)?;
        self.before_name(&name)
    }

    /// What comes before anything about the file called `name`.
    fn before_name(self: &Arc<Self>, name: &str) -> Option<Before> {
        if self.is_archived(name) {
            return None;
        }
        Some(self.before(self.state().file(name)))
    }

    /// What has to be done before a question about `file`, or about none of the local ones.
    fn before(self: &Arc<Self>, file: Option<&Arc<LocalFile>>) -> Before {
        let (union, file) = (Arc::clone(self), file.cloned());
        let work = async move {
            let until = tokio::time::Instant::now() + union.patience;
            let news = union.news(file.clone()).await?;
            if !news.is_old && !news.has_grown {
                return Ok(());
            }
            let task = tokio::spawn(async move {
                if news.is_old {
                    union.update().await;
                }
                if let Some(file) = file {
                    union.catch_up(file).await;
                }
            });
            // It goes on if it takes longer.
            let _ = tokio::time::timeout_at(until, task).await;
            Ok(())
        };
        work.boxed()
    }

    /// What the server's disk tells, also of `file`.
    async fn news(self: &Arc<Self>, file: Option<Arc<LocalFile>>) -> Result<News, Errno> {
        let union = Arc::clone(self);
        let asking = blocking(move || {
            Ok(News {
                is_old: union.is_old(),
                has_grown: file.is_some_and(|file| file.has_grown()),
            })
        });
        match tokio::time::timeout(self.patience, asking).await {
            Ok(Ok(news)) => {
                if self.silent.swap(false, Ordering::Relaxed) {
                    tracing::info!("the disk of the local binlogs answers again");
                }
                Ok(news)
            }
            Ok(Err(error)) => {
                tracing::error!(%error, "cannot look at the local binlogs");
                Err(libc::EIO)
            }
            Err(_) => {
                // Once, and not for every question for as long as it is silent.
                if !self.silent.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        "the disk of the local binlogs did not answer within {} s: look at the disk of {}; what is archived stays readable",
                        self.patience.as_secs_f64(),
                        self.files.server.index_path().display()
                    );
                }
                Err(libc::ETIMEDOUT)
            }
        }
    }

    /// Whether history or list have changed since the files were placed. Blocks.
    fn is_old(&self) -> bool {
        if let Some((at, _)) = &*lock(&self.failed)
            && at.elapsed() < self.pause
        {
            return false;
        }
        let state = self.state();
        !Arc::ptr_eq(&state.history, &self.view.history())
            || state.stamp != Stamp::of(self.files.server.index_path())
    }

    /// Places the files anew if that is needed; a failure is logged, and what was known stays.
    async fn update(self: &Arc<Self>) {
        let _alone = self.updating.lock().await;
        let union = Arc::clone(self);
        // Another may have done it.
        if !matches!(blocking(move || Ok(union.is_old())).await, Ok(true)) {
            return;
        }
        match self.place_now().await {
            Ok(()) => {
                if lock(&self.failed).take().is_some() {
                    tracing::info!("the local binlogs continue the history again");
                }
            }
            Err(error) => {
                if error.is::<Fenced>() {
                    let ended = self.state().ended();
                    *lock(&self.state) = Arc::new(ended);
                }
                let error = error.to_string();
                let mut failed = lock(&self.failed);
                if failed.as_ref().is_none_or(|(_, before)| *before != error) {
                    tracing::error!(%error, "no new local binlogs are shown");
                }
                *failed = Some((Instant::now(), error));
            }
        }
    }

    async fn place(&self) -> Result<(), SourceError> {
        let _alone = self.updating.lock().await;
        self.place_now().await
    }

    /// Places the files after the history. If some are missing, they may have been archived, and purged, since the last refresh.
    async fn place_now(&self) -> Result<(), SourceError> {
        let mut state = self.placed().await?;
        if state.files.iter().any(|file| file.is_missing())
            && self.look_again(MISSING_PATIENCE).await.is_ok()
        {
            state = self.placed().await?;
        }
        lock(&self.numbers).number(&state);
        *lock(&self.state) = Arc::new(state);
        Ok(())
    }

    async fn placed(&self) -> Result<State, SourceError> {
        let (history, root) = (self.view.history(), self.view.root());
        let (source, before) = (Arc::clone(&self.source), self.state());
        let (server, basename) = (self.files.server.clone(), self.files.basename.clone());
        blocking(move || place::place(&*source, history, root, &server, basename, &before)).await
    }

    async fn catch_up(&self, file: Arc<LocalFile>) {
        let name = file.name.clone();
        let caught_up = blocking(move || Ok(file.catch_up()?)).await;
        if let Err(error) = caught_up {
            tracing::error!(%name, %error, "the active binlog cannot be read on");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::testing::{BinlogBuilder, mysql_gtid};
    use crate::fs::history::{History, row, stored};
    use crate::fs::mounting::{MountOptions, MountPoint};
    use crate::fs::source::Refreshed;
    use crate::fs::testing::{OWNERSHIP, Shows, reader};
    use crate::ledger::{Entry, EntryState};
    use crate::model::Seq;
    use async_trait::async_trait;

    /// Nothing archived, and a store that never answers.
    struct Hangs;

    #[async_trait]
    impl HistorySource for Hangs {
        async fn refresh(&self) -> Result<Refreshed, SourceError> {
            std::future::pending().await
        }

        fn extend(&self, _: &mut History) -> Result<(), SourceError> {
            Ok(())
        }

        fn entry(&self, _: Seq) -> Result<Option<Entry>, SourceError> {
            Ok(None)
        }
    }

    /// Nothing archived, and the one file of a server in `dir`, which may take so long to answer.
    async fn union(dir: &std::path::Path, patience: Duration) -> Arc<Union> {
        union_with(Arc::new(Shows(History::default)), dir, patience).await
    }

    /// The same, with nothing archived in `source`.
    async fn union_with(
        source: Arc<dyn HistorySource>,
        dir: &std::path::Path,
        patience: Duration,
    ) -> Arc<Union> {
        let mut binlog = BinlogBuilder::mysql();
        binlog.transaction(&mysql_gtid(1, 1), None, 300);
        std::fs::write(dir.join("binlog.000001"), binlog.finish()).expect("writes");
        std::fs::write(dir.join("binlog.index"), "./binlog.000001\n").expect("writes");
        let view = View::new(Arc::clone(&source), reader(), History::default(), OWNERSHIP);
        let view = Arc::new(view);
        let refresher = Refresher::new(Arc::clone(&source), Arc::clone(&view));
        let files = LocalFiles {
            server: Source::open(dir).expect("opens"),
            basename: "binlog".parse().expect("a basename"),
        };
        let times = (patience, Duration::from_secs(30));
        let refresher = Arc::new(refresher);
        let union = Union::new(view, source, refresher, files, OWNERSHIP, times).await;
        union.expect("continues")
    }

    #[tokio::test]
    async fn what_was_local_and_is_archived_is_read_before_anything_is_told_of_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let union = union(dir.path(), Duration::from_secs(30)).await;
        let (root, name) = (Node::Root.ino(), OsStr::new("binlog.000001"));
        let ino = union.lookup(root, name).expect("there").ino;
        assert!(is_local(ino));
        let mut last = 0;
        let listed = union.list(root, 0, |listed, _| {
            last = listed.cookie;
            true
        });
        listed.expect("lists");
        let questions = [Question::Attr(ino), Question::List(root, last)];
        assert!(questions.iter().all(|q| union.unloaded(q).is_none()));
        // As after a prune: all of the history is to be read again.
        let archived = (1..=9).map(|seq| row(1, seq, EntryState::Archived));
        union.view.show(stored(archived.collect(), || {}));
        assert!(questions.iter().all(|q| union.unloaded(q).is_some()));
        let found = union.archived("binlog.000001").await.expect("reads");
        assert_eq!((found.ino, found.size), (Node::File(Seq(1)).ino(), 1001));
        assert!(questions.iter().all(|q| union.unloaded(q).is_none()));
        let attr = union.attr(ino).expect("there");
        assert_eq!((attr.ino, attr.size), (ino, 1001));
    }

    #[tokio::test]
    async fn a_data_directory_that_does_not_answer_stops_only_what_is_asked_of_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let union = union(dir.path(), Duration::from_secs(1)).await;
        let (root, name) = (Node::Root.ino(), OsStr::new("binlog.000001"));
        let known = union.lookup(root, name).expect("there");
        // Nobody serves it: whoever looks into it waits.
        let options = MountOptions {
            target: dir.path().to_owned(),
            source: "silent".to_owned(),
            allow_other: false,
            noexec: false,
        };
        let (silent, _device) =
            MountPoint::mount(&options).expect("mounts: this test needs root and /dev/fuse");
        let questions = [
            Question::Lookup(root, name),
            Question::Attr(known.ino),
            Question::List(root, 0),
        ];
        let asked = questions.map(|q| union.before_answer(&q).expect("the disk is asked"));
        let answers = futures::future::join_all(asked).await;
        // What is known is told without a look at it.
        let attr = union.attr(known.ino);
        // What is archived needs none.
        let archived = (1..=9).map(|seq| row(1, seq, EntryState::Archived));
        union.view.show(stored(archived.collect(), || {}));
        let [lookup, attr_of, list] =
            questions.map(|question| union.before_answer(&question).is_some());
        silent.abort().expect("cut");
        silent.detach().expect("unmounts");
        assert_eq!(answers, [Err(libc::ETIMEDOUT); 3]);
        assert_eq!(attr.expect("known"), known);
        assert_eq!((lookup, attr_of, list), (false, false, true));
        let list = union.before_answer(&Question::List(root, 0));
        assert_eq!(list.expect("asks again").await, Ok(()));
    }

    #[tokio::test]
    async fn a_store_that_hangs_keeps_no_listing_and_no_local_file_because_one_is_missing() {
        let (dir, patience) = (
            tempfile::tempdir().expect("a directory"),
            Duration::from_secs(20),
        );
        let union = union_with(Arc::new(Hangs), dir.path(), patience).await;
        let at = |name: &str| dir.path().join(name);
        std::fs::copy(at("binlog.000001"), at("binlog.000003")).expect("copies");
        let index = "./binlog.000001\n./binlog.000002\n./binlog.000003\n";
        std::fs::write(at("binlog.index"), index).expect("writes");
        let (root, begun) = (Node::Root.ino(), Instant::now());
        let before = union.before_answer(&Question::List(root, 0));
        assert_eq!(before.expect("the disk is asked").await, Ok(()));
        let mut listed = Vec::new();
        let all = union.list(root, 2, |entry, attr| {
            listed.push((entry.name.clone(), attr.size > 0));
            true
        });
        all.expect("lists");
        let there = |number: u8, is_there| (format!("binlog.{number:06}"), is_there);
        assert_eq!(listed, [there(1, true), there(2, false), there(3, true)]);
        let newest = union.lookup(root, OsStr::new("binlog.000003"));
        let newest = newest.expect("there").ino;
        Arc::clone(&union).open(newest).await.expect("opens");
        assert!(begun.elapsed() < patience / 2, "{:?}", begun.elapsed());
    }
}

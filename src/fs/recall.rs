//! Takes back what the kernel was told and is not so any more: names and attributes of archived segments it keeps for an hour.
//!
//! **Nothing is missed.** An answer is computed and sent under [`Recall::answering`], a new history is shown under
//! [`Recall::replacing`], and what the old one said otherwise is taken back after that. So no answer out of the old one is on
//! its way then. Only answers that had to wait for the store are given outside of it, and those the kernel keeps for a second.
//!
//! **Nobody waits for it.** To take back a name, the kernel locks the name's directory, which a lookup may hold that waits for us; and a lookup
//! may wait for a refresh. So neither whoever answers nor whoever refreshes does it, but one task, which holds nothing.
//!
//! **It is bounded.** What was told is in memory as a part of the history, and nothing else is compared. A name of which the
//! kernel knows nothing costs one system call.

use super::changes::{Changed, changes, everything};
use super::history::History;
use super::pages::Pages;
use super::tree::Node;
use super::view::View;
use crate::model::Seq;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};

/// What the kernel can be told without being asked. Both may block.
pub(super) trait Kernel: Send + Sync {
    /// It shall ask what `name` in the directory `parent` is.
    ///
    /// # Errors
    /// When it does not listen. That it does not know the name is none.
    fn forget_name(&self, parent: u64, name: &str) -> io::Result<()>;

    /// It shall ask for the attributes of `ino`.
    ///
    /// # Errors
    /// As of names.
    fn forget_attributes(&self, ino: u64) -> io::Result<()>;
}

/// What a mount takes back. One for all that it shows.
#[derive(Default)]
pub struct Recall {
    answering: RwLock<()>,
    kernel: Mutex<Option<Arc<dyn Kernel>>>,
    waiting: Mutex<Waiting>,
    /// What it takes back of contents: with the next opening.
    pub(super) pages: Pages,
}

/// What the kernel knows the inodes of a view by, and who takes back what it was told of them.
#[derive(Default)]
pub(super) struct Told {
    recall: Arc<Recall>,
    /// Upper bits of its numbers.
    above: u64,
    also_known: OnceLock<AlsoKnown>,
}

/// Another number that it may know the file of a name by.
type AlsoKnown = Box<dyn Fn(&str) -> Option<u64> + Send + Sync>;

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// Whether a task is at work on them.
    is_running: bool,
}

/// A history that is not shown any more, and the one that is; none: its stream was closed.
struct Job {
    view: Arc<View>,
    before: Arc<History>,
    now: Option<Arc<History>>,
}

/// What is not changed by halves, and so is sound after a panic elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Recall {
    /// Held from the look at the history until the answer is sent.
    pub(super) fn answering(&self) -> RwLockReadGuard<'_, ()> {
        self.answering
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while another history takes the place of the one that is shown.
    pub(super) fn replacing(&self) -> RwLockWriteGuard<'_, ()> {
        self.answering
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the kernel is told; before that it has asked nothing.
    pub(super) fn connect(&self, kernel: Arc<dyn Kernel>) {
        *lock(&self.kernel) = Some(kernel);
    }

    /// It is told nothing any more: what holds the way to it is dropped.
    pub(super) fn disconnect(&self) {
        *lock(&self.kernel) = None;
    }

    /// Takes back what `before` said otherwise than what `view` shows now. Inside a runtime.
    pub(super) fn compare(self: &Arc<Self>, view: &Arc<View>, before: Arc<History>) {
        self.begin(Job {
            view: Arc::clone(view),
            before,
            now: Some(view.history()),
        });
    }

    /// Takes back all that `view` said: nobody will know what changes in it from now on. Inside a runtime.
    pub(super) fn close(self: &Arc<Self>, view: &Arc<View>) {
        self.begin(Job {
            view: Arc::clone(view),
            before: view.history(),
            now: None,
        });
    }

    fn begin(self: &Arc<Self>, job: Job) {
        if lock(&self.kernel).is_none() {
            return;
        }
        let mut waiting = lock(&self.waiting);
        waiting.jobs.push_back(job);
        if !std::mem::replace(&mut waiting.is_running, true) {
            let recall = Arc::clone(self);
            tokio::task::spawn_blocking(move || recall.work());
        }
    }

    fn work(&self) {
        // A panic must not leave the next jobs to nobody.
        let _running = Running(self);
        while let Some(job) = self.next() {
            let Some(kernel) = lock(&self.kernel).clone() else {
                continue;
            };
            if let Err(error) = job.tell(&*kernel) {
                tracing::warn!(%error, "the kernel cannot be told what has changed: it may show it for an hour; mount again");
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut waiting = lock(&self.waiting);
        let job = waiting.jobs.pop_front();
        // Under the same lock: what comes after this look begins a task of its own.
        waiting.is_running = job.is_some();
        job
    }
}

/// A task at work.
struct Running<'a>(&'a Recall);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            lock(&self.0.waiting).is_running = false;
        }
    }
}

impl Job {
    fn tell(&self, kernel: &dyn Kernel) -> io::Result<()> {
        let parts = self.view.cut_files();
        let mut told = Ok(());
        let mut each = |changed: Changed<'_>| {
            if told.is_ok() {
                let parts = parts.get(&changed.seq);
                told = self.view.take_back(&changed, parts, kernel);
            }
        };
        match &self.now {
            Some(now) => changes(&self.before, now, &mut each),
            None => everything(&self.before, &mut each),
        }
        told
    }
}

impl View {
    /// The same in a larger mount, where `recall` takes back what is told, and inode numbers have the upper bits `above`.
    pub(super) fn below(mut self, recall: Arc<Recall>, above: u64) -> View {
        (self.told.recall, self.told.above) = (recall, above);
        self
    }

    /// What takes back what was told.
    pub(super) fn recall(&self) -> &Arc<Recall> {
        &self.told.recall
    }

    /// The number by which the kernel knows `ino`.
    pub(super) fn outside(&self, ino: u64) -> u64 {
        self.told.above | ino
    }

    /// Has the kernel told of changes under the numbers that `number` gives, too.
    pub(super) fn also_known(&self, number: impl Fn(&str) -> Option<u64> + Send + Sync + 'static) {
        let _ = self.told.also_known.set(Box::new(number));
    }

    pub(super) fn known_also_as(&self, name: &str) -> Option<u64> {
        self.told.also_known.get()?(name)
    }

    /// The files of which only a part is shown, by the records of their segments.
    pub(super) fn cut_files(&self) -> BTreeMap<Seq, Vec<Node>> {
        let mut files: BTreeMap<Seq, Vec<Node>> = BTreeMap::new();
        for (seq, made) in self.views().cut_files() {
            files.entry(seq).or_default().push(Node::Made(made));
        }
        files
    }

    /// Takes back what was said of one entry, and of the files that show `parts` of it.
    fn take_back(
        &self,
        changed: &Changed<'_>,
        parts: Option<&Vec<Node>>,
        kernel: &dyn Kernel,
    ) -> io::Result<()> {
        let (timeline, seq) = (changed.timeline, changed.seq);
        let parts = parts.into_iter().flatten().copied();
        let files = [Node::File(seq), Node::RawFile(seq)].into_iter();
        let also = self.known_also_as(changed.name);
        for ino in files.chain(parts).map(Node::ino).chain(also) {
            kernel.forget_attributes(self.outside(ino))?;
        }
        if !changed.is_gone {
            return Ok(());
        }
        let is_root = self.root() == Some(timeline);
        let in_root = [Node::Root, Node::RootRaw].into_iter().filter(|_| is_root);
        let dirs = [Node::Timeline(timeline), Node::Raw(timeline)].into_iter();
        for dir in dirs.chain(in_root) {
            kernel.forget_name(self.outside(dir.ino()), changed.name)?;
        }
        Ok(())
    }
}

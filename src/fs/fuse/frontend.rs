//! How handlers answer: at once, or from a task, and never by a panic.

use super::reply::guarded;
use crate::fs::deadline::Left;
use crate::fs::front::{Before, Front};
use crate::fs::unloaded::{Asked, LOADING, Question};
use crate::fs::view::Errno;
use tokio::runtime::Handle;

/// Parts of the history that are read for one answer, one after the other.
const PARTS_MAX: usize = 4;

/// The file system that fuser serves.
pub(super) struct Frontend {
    pub(super) front: Front,
    pub(super) runtime: Handle,
}

impl Frontend {
    /// Answers from a task.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Answers now, or from a task where something comes before. The answer is told if that failed.
    pub(super) fn answer(
        &self,
        question: &Question<'_>,
        answer: impl FnOnce(&Front, Result<(), Errno>) + Send + 'static,
    ) {
        // Before the look at what has to be read first: then nothing else is shown, or closed, between the two.
        let answering = self.front.recall().answering();
        let Some(before) = self.front.before(question) else {
            return guarded(|| answer(&self.front, Ok(())));
        };
        drop(answering);
        let (front, asked) = (self.front.clone(), Asked::from(question));
        self.spawn(answer_later(front, asked, before, answer));
    }
}

/// Answers after `before`, and once everything is in memory that the answer needs: a stream may have been opened by then, or another
/// history be shown, of which that is not yet so. All of that ends by one deadline.
async fn answer_later(
    front: Front,
    asked: Asked,
    before: Before,
    answer: impl FnOnce(&Front, Result<(), Errno>),
) {
    let left = Left::of(front.deadline());
    let mut ready = before.await;
    for _ in 0..PARTS_MAX {
        let unloaded = {
            let _answering = front.recall().answering();
            match ready.map(|()| front.unloaded(&asked.question())) {
                Ok(Some(unloaded)) => unloaded,
                Ok(None) => return answer(&front, Ok(())),
                Err(errno) => return answer(&front, Err(errno)),
            }
        };
        ready = left.bound(LOADING, unloaded.load()).await;
    }
    // The history changes faster than it is read.
    answer(&front, ready.and(Err(libc::ETIMEDOUT)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fs::history::{History, row, stored};
    use crate::fs::source::{HistorySource, Refreshed, SourceError};
    use crate::fs::testing::{OWNERSHIP, Shows, reader, reader_within};
    use crate::fs::tree::Node;
    use crate::fs::view::View;
    use crate::fs::{Forest, Grove};
    use crate::ledger::{Entry, EntryState};
    use crate::model::{ObjectKey, Seq};
    use async_trait::async_trait;
    use std::ffi::OsStr;
    use std::sync::{Arc, Mutex, OnceLock, Weak, mpsc};
    use std::time::{Duration, Instant};
    use tokio::sync::oneshot;

    /// A record of the part that is not in memory.
    const UNREAD: Seq = Seq(2);

    /// Two timelines, of which the first is read when it is asked for; `read` hears of that.
    fn history(read: impl Fn() + Send + Sync + 'static) -> History {
        let rows = (1..=9).map(|seq| row(1, seq, EntryState::Archived));
        let mut history = stored(rows.collect(), read);
        let newest = history.push(&row(2, 10, EntryState::Archived));
        newest.expect("in order");
        history
    }

    fn source() -> Shows {
        Shows(|| history(|| {}))
    }

    /// One stream, in the directory `a`.
    struct OneStream;

    #[async_trait]
    impl Grove for OneStream {
        async fn names(&self, _: Option<&ObjectKey>) -> Result<Vec<(String, bool)>, SourceError> {
            Ok(vec![("a".to_owned(), true)])
        }

        async fn open(&self, _: &ObjectKey) -> Result<Arc<dyn HistorySource>, SourceError> {
            Ok(Arc::new(source()))
        }
    }

    /// How long a call may take, and how much of that it takes to open [`SlowStream`].
    const DEADLINE: Duration = Duration::from_secs(2);
    const OPENING: Duration = Duration::from_millis(1500);

    /// One stream, in the directory `a`, which opens slowly; a part of its history comes only when the sender is gone.
    #[derive(Clone)]
    struct SlowStream(Arc<Mutex<mpsc::Receiver<()>>>);

    #[async_trait]
    impl Grove for SlowStream {
        async fn names(&self, _: Option<&ObjectKey>) -> Result<Vec<(String, bool)>, SourceError> {
            Ok(vec![("a".to_owned(), true)])
        }

        async fn open(&self, _: &ObjectKey) -> Result<Arc<dyn HistorySource>, SourceError> {
            tokio::time::sleep(OPENING).await;
            Ok(Arc::new(self.clone()))
        }
    }

    #[async_trait]
    impl HistorySource for SlowStream {
        async fn refresh(&self) -> Result<Refreshed, SourceError> {
            Ok(Refreshed::Rewritten)
        }

        fn extend(&self, shown: &mut History) -> Result<(), SourceError> {
            let silence = Arc::clone(&self.0);
            *shown = history(move || {
                let _ = silence.lock().expect("nobody panics").recv();
            });
            Ok(())
        }

        fn entry(&self, _: Seq) -> Result<Option<Entry>, SourceError> {
            Ok(None)
        }
    }

    impl SlowStream {
        /// A mount of it, which is not open yet, and the number there of a file that is to be read.
        async fn forest(&self) -> (Arc<Forest>, u64) {
            let (grove, reader) = (Arc::new(self.clone()), reader_within(DEADLINE));
            let forest = Forest::new(grove, reader, OWNERSHIP, Duration::from_secs(60));
            forest.find_any().await.expect("finds it");
            let root = Node::Root.ino();
            let stream = forest.lookup(root, OsStr::new("a")).expect("there").ino;
            (forest, stream - root + Node::File(UNREAD).ino())
        }
    }

    /// Asks for the attributes of `ino`, and tells what was still to be read when that was answered.
    async fn left_to_read(front: Front, ino: u64) -> (Result<(), Errno>, bool) {
        let frontend = Frontend {
            front,
            runtime: Handle::current(),
        };
        let (told, answered) = oneshot::channel();
        let question = Question::Attr(ino);
        assert!(frontend.front.before(&question).is_some());
        frontend.answer(&question, move |front, loaded| {
            let left = front.unloaded(&Question::Attr(ino)).is_some();
            let _ = told.send((loaded, left));
        });
        answered.await.expect("is answered")
    }

    #[tokio::test]
    async fn nothing_is_left_to_read_when_another_history_is_shown_before_the_answer() {
        let shown: Arc<OnceLock<Weak<View>>> = Arc::default();
        let view = Arc::clone(&shown);
        // As a refresh does it that finds a fence.
        let first = history(move || {
            if let Some(view) = view.get().and_then(Weak::upgrade) {
                view.show(history(|| {}));
            }
        });
        let view = View::new(Arc::new(source()), reader(), first, OWNERSHIP);
        let view = Arc::new(view);
        shown.set(Arc::downgrade(&view)).expect("once");
        let ino = Node::File(UNREAD).ino();
        let left = left_to_read(Front::One(view), ino).await;
        assert_eq!(left, (Ok(()), false));
    }

    #[tokio::test]
    async fn nothing_is_left_to_read_after_the_first_look_below_a_stream_of_several() {
        let refresh = Duration::from_secs(60);
        let forest = Forest::new(Arc::new(OneStream), reader(), OWNERSHIP, refresh);
        forest.find_any().await.expect("finds it");
        let root = Node::Root.ino();
        let stream = forest.lookup(root, OsStr::new("a")).expect("there").ino;
        let ino = stream - root + Node::File(UNREAD).ino();
        let left = left_to_read(Front::Many(forest), ino).await;
        assert_eq!(left, (Ok(()), false));
    }

    #[tokio::test]
    async fn a_call_below_a_stream_that_opens_slowly_ends_by_one_deadline() {
        let (answers, silence) = mpsc::channel::<()>();
        let stream = SlowStream(Arc::new(Mutex::new(silence)));
        let (asked, ino) = stream.forest().await;
        let (opened, _) = stream.forest().await;
        let begun = Instant::now();
        let (left, file) = tokio::join!(left_to_read(Front::Many(asked), ino), opened.open(ino));
        let took = begun.elapsed();
        drop(answers);
        assert_eq!(left, (Err(libc::ETIMEDOUT), true));
        assert_eq!(file, Err(libc::ETIMEDOUT));
        assert!(took >= DEADLINE && took < DEADLINE + OPENING, "{took:?}");
    }
}

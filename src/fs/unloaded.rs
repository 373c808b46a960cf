//! Parts of the history that are not in memory, and which of them a question needs.

use super::chunk::Slot;
use super::deadline::in_time;
use super::hidden::{edge_seq, listed_after};
use super::made::Made;
use super::tree::Node;
use super::view::{Errno, View};
use super::views::Shown;
use crate::index::asking::ask;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::time::Duration;

/// What the log says of a part of the history that does not come.
pub(super) const LOADING: &str = "cannot load a part of the history";

/// A question that is answered out of the history.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question<'a> {
    /// [`View::lookup`].
    Lookup(u64, &'a OsStr),
    /// [`View::attr`].
    Attr(u64),
    /// [`View::list`].
    List(u64, u64),
}

/// A question that is answered later.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// [`Question::Lookup`].
    Lookup(u64, OsString),
    /// [`Question::Attr`].
    Attr(u64),
    /// [`Question::List`].
    List(u64, u64),
}

impl From<&Question<'_>> for Asked {
    fn from(question: &Question<'_>) -> Asked {
        match *question {
            Question::Lookup(parent, name) => Asked::Lookup(parent, name.to_owned()),
            Question::Attr(ino) => Asked::Attr(ino),
            Question::List(ino, cookie) => Asked::List(ino, cookie),
        }
    }
}

impl Asked {
    /// What was asked.
    pub(super) fn question(&self) -> Question<'_> {
        match self {
            Asked::Lookup(parent, name) => Question::Lookup(*parent, name),
            Asked::Attr(ino) => Question::Attr(*ino),
            Asked::List(ino, cookie) => Question::List(*ino, *cookie),
        }
    }
}

/// A part of the history that is not in memory.
pub(super) struct Unloaded {
    slots: Vec<Arc<Slot>>,
    /// How long it is waited for.
    deadline: Duration,
}

impl Unloaded {
    /// Has it in memory. Whoever waits no longer leaves the work to go on, for the next who asks.
    ///
    /// # Errors
    /// EIO if the index cannot be read; ETIMEDOUT if it does not answer.
    pub(super) async fn load(self) -> Result<(), Errno> {
        let slots = self.slots;
        let loaded = async { ask(move || load(&slots)).await.unwrap_or(Err(libc::EIO)) };
        in_time(self.deadline, LOADING, loaded).await
    }
}

fn load(slots: &[Arc<Slot>]) -> Result<(), Errno> {
    for slot in slots {
        slot.load().map_err(|error| {
            tracing::error!(%error, "cannot read the index");
            libc::EIO
        })?;
    }
    Ok(())
}

impl View {
    /// The part of the history that the answer to a question is in, if it has to be read first. Whoever must not wait has it
    /// loaded by somebody else.
    pub(super) fn unloaded(&self, question: &Question<'_>) -> Option<Unloaded> {
        let history = self.history();
        let tree = self.tree(&history);
        let one = |slot: Option<&Arc<Slot>>| slot.cloned().into_iter().collect();
        let slots: Vec<_> = match *question {
            Question::Lookup(parent, name) => {
                one(tree.unloaded_of_name(Node::of_ino(parent)?, name.to_str()?))
            }
            Question::Attr(ino) => match Node::of_ino(ino)? {
                Node::Made(made) => self.unloaded_of_made(made, 0),
                node => tree.unloaded_of(node),
            },
            Question::List(ino, cookie) => match Node::of_ino(ino)? {
                Node::Made(made) => self.unloaded_of_made(made, cookie),
                node => tree.unloaded_of_list(node, cookie),
            },
        };
        (!slots.is_empty()).then(|| self.to_load(slots))
    }

    /// What the attributes of something that was made on demand need of the history that is not in memory; of a directory, what
    /// the next entry of its listing needs.
    pub(super) fn unloaded_of_made(&self, made: Made, cookie: u64) -> Vec<Arc<Slot>> {
        let (id, last) = match made {
            Made::Hidden(..) => return Vec::new(),
            Made::Directory(id) => (id, None),
            Made::First(id) => (id, Some(false)),
            Made::Last(id) => (id, Some(true)),
        };
        let Ok(Shown::Part(timeline, from, to)) = self.shown(id) else {
            return Vec::new();
        };
        let history = self.history();
        match last {
            Some(last) => {
                let seq = edge_seq(from.as_ref(), &to, last);
                seq.map_or_else(Vec::new, |seq| history.unloaded_of_seq(seq))
            }
            None => {
                let after = listed_after(from.as_ref(), cookie);
                let entries = history.timeline(timeline);
                let slot = entries.and_then(|entries| entries.slots_after(after).next());
                let slot = slot.filter(|slot| !slot.is_loaded());
                slot.cloned().into_iter().collect()
            }
        }
    }

    /// Has a part of the history in memory.
    pub(super) async fn have_loaded(
        &self,
        slots: impl IntoIterator<Item = Arc<Slot>>,
    ) -> Result<(), Errno> {
        let slots = slots.into_iter().filter(|slot| !slot.is_loaded());
        let slots: Vec<_> = slots.collect();
        match slots.is_empty() {
            true => Ok(()),
            false => self.to_load(slots).load().await,
        }
    }

    fn to_load(&self, slots: Vec<Arc<Slot>>) -> Unloaded {
        Unloaded {
            slots,
            deadline: self.reader().options().deadline,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::chunk::{Load, Outline};
    use super::*;
    use crate::model::{Micros, Seq};
    use std::sync::mpsc;

    fn unloaded(load: Load) -> Unloaded {
        let outline = Outline {
            first_name: "binlog.000001".to_owned(),
            last_name: "binlog.000001".to_owned(),
            first_seq: Seq(1),
            last_seq: Seq(1),
            entries: 1,
            last_time: None,
        };
        Unloaded {
            slots: vec![Arc::new(Slot::stored(outline, load, Micros(0)))],
            deadline: Duration::from_millis(200),
        }
    }

    #[tokio::test]
    async fn a_part_of_the_history_that_does_not_come_is_a_timeout() {
        let (answer, silence) = mpsc::channel::<()>();
        let silence = std::sync::Mutex::new(silence);
        let silent: Load = Arc::new(move |_| {
            // Until the test has ended: the runtime waits for the thread.
            let _ = silence.lock().expect("one thread").recv();
            Ok(())
        });
        let loaded = unloaded(silent).load().await;
        drop(answer);
        assert_eq!(loaded, Err(libc::ETIMEDOUT));
        assert_eq!(unloaded(Arc::new(|_| Ok(()))).load().await, Ok(()));
        let fails: Load = Arc::new(|_| Err("no such table".into()));
        assert_eq!(unloaded(fails).load().await, Err(libc::EIO));
    }
}

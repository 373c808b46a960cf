//! Parts of the history that are not in memory, and which of them a question needs.

use super::chunk::Slot;
use super::hidden::{edge_seq, listed_after};
use super::made::Made;
use super::tree::Node;
use super::view::{Errno, View};
use super::views::Shown;
use std::ffi::OsStr;
use std::sync::Arc;

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

/// A part of the history that is not in memory.
pub(super) struct Unloaded(Vec<Arc<Slot>>);

impl Unloaded {
    /// Reads it. Blocks.
    ///
    /// # Errors
    /// EIO if the index cannot be read.
    pub(super) fn load(&self) -> Result<(), Errno> {
        for slot in &self.0 {
            slot.load().map_err(|error| {
                tracing::error!(%error, "cannot read the index");
                libc::EIO
            })?;
        }
        Ok(())
    }
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
                node => one(tree.unloaded_of(node)),
            },
            Question::List(ino, cookie) => match Node::of_ino(ino)? {
                Node::Made(made) => self.unloaded_of_made(made, cookie),
                node => tree.unloaded_of_list(node, cookie),
            },
        };
        (!slots.is_empty()).then_some(Unloaded(slots))
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
        let slot = match last {
            Some(last) => {
                let seq = edge_seq(from.as_ref(), &to, last);
                seq.and_then(|seq| history.unloaded_of_seq(seq))
            }
            None => {
                let after = listed_after(from.as_ref(), cookie);
                let entries = history.timeline(timeline);
                entries.and_then(|entries| entries.slots_after(after).next())
            }
        };
        let slot = slot.filter(|slot| !slot.is_loaded());
        slot.cloned().into_iter().collect()
    }

    /// Has a part of the history in memory.
    pub(super) async fn have_loaded(&self, slot: Option<Arc<Slot>>) -> Result<(), Errno> {
        let Some(slot) = slot.filter(|slot| !slot.is_loaded()) else {
            return Ok(());
        };
        let unloaded = Unloaded(vec![slot]);
        let loaded = tokio::task::spawn_blocking(move || unloaded.load()).await;
        loaded.map_err(|_| libc::EIO)?
    }
}

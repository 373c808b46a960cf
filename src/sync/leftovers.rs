//! What interrupted uploads left: objects that no record names, removed by the archiver that made them.

use super::commit::Committer;
use crate::model::{ObjectKey, Seq};
use crate::store::ErrorKind;
use anyhow::{Context as _, Result};

impl Committer {
    /// Removes an object that is in no record. An account that may not delete leaves it: the journal remembers it, and the
    /// run tells of it.
    pub(super) async fn remove(&self, key: &ObjectKey) -> Result<bool> {
        match self.store.delete(key).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind == ErrorKind::Denied => {
                tracing::debug!(%error, "left for somebody who may delete");
                Ok(false)
            }
            Err(error) => {
                Err(error).with_context(|| format!("removing {key}, which no ledger record names"))
            }
        }
    }

    /// Removes an upload of this run that will not be recorded.
    ///
    /// # Errors
    /// When the store or the journal fails; the next run removes it then.
    pub async fn discard(&self, key: &ObjectKey) -> Result<()> {
        if self.remove(key).await? {
            self.journal.end(key)?;
        }
        Ok(())
    }

    /// Removes what was begun and is in no record.
    ///
    /// A record whose creation has an unknown outcome may still appear, until another one stands at its place: the object
    /// that it would name stays until then. So does one whose record is there and cannot be read: it may name it.
    ///
    /// # Errors
    /// When the ledger cannot be followed, or the store or the journal fails; the entries are then still there.
    pub async fn tidy_up(&self) -> Result<Tidied> {
        let open = self.journal.open_uploads()?;
        let mut tidied = Tidied::default();
        if open.is_empty() {
            return Ok(tidied);
        }
        // Of a stream that has moved away, too: nothing more is written there, and nothing is left there.
        let last = self.followed().await?.whole()?.last_seq;
        for (key, record) in open {
            match self.fate(&key, record, last)? {
                Fate::Undecided => continue,
                Fate::Named => {}
                Fate::Leftover => {
                    if !self.remove(&key).await? {
                        tidied.left.push(key);
                        continue;
                    }
                    tidied.removed += 1;
                }
            }
            self.journal.end(&key)?;
        }
        Ok(tidied)
    }

    /// What became of an upload whose last record to be tried was `record`, in a ledger that ends with `last`. The record's
    /// own text is asked as well as the index's table of objects: what is deleted wrongly does not come back.
    fn fate(&self, key: &ObjectKey, record: Option<Seq>, last: Seq) -> Result<Fate> {
        if self.index.names_object(key)? {
            return Ok(Fate::Named);
        }
        let Some(seq) = record else {
            return Ok(Fate::Leftover);
        };
        if seq > last {
            return Ok(Fate::Undecided);
        }
        Ok(match self.index.line(seq)? {
            Some(text) if text.contains(key.as_str()) => Fate::Named,
            Some(_) => Fate::Leftover,
            None => {
                tracing::warn!(%key, %seq, "kept: the record that may name it cannot be read");
                Fate::Undecided
            }
        })
    }
}

/// What became of an upload that the journal still has.
enum Fate {
    /// A record names it.
    Named,
    /// No record does, or ever will.
    Leftover,
    /// A record may.
    Undecided,
}

/// What tidying up came to.
#[derive(Debug, Default)]
pub struct Tidied {
    /// Objects removed.
    pub removed: u64,
    /// Objects that this account may not remove.
    pub left: Vec<ObjectKey>,
}

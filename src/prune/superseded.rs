//! Objects that later records have replaced by others: of segments that were rewritten for other keys, or healed. They go when the
//! record that holds now is older than the grace, and the object that it names is there.

use super::{Kept, LOOKED_AT_ONCE, Pruner, note_earliest};
use crate::index::{Standing, Superseded};
use crate::ledger::{SEGMENTS_PREFIX, record_key};
use crate::model::{Micros, MountName, ObjectKey, Seq, Timeline};
use crate::store::{Keeping, Removed};
use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// A superseded object that stays, because what replaced it is not as recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Needed {
    /// The timeline of its segment.
    pub timeline: Timeline,
    /// Its segment.
    pub name: MountName,
    /// The object that stays.
    pub key: ObjectKey,
    /// The object that replaced it.
    pub replaced_by: ObjectKey,
    /// What is wrong with that one.
    pub why: String,
}

/// What deleting superseded objects came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Replaced {
    /// Objects deleted, or to be deleted.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that wait for their grace to end.
    pub waiting: u64,
    /// When the next of them may go, at the earliest.
    #[serde(serialize_with = "super::remove::time")]
    pub next_at: Option<Micros>,
    /// Locks in the way.
    pub kept: Vec<Kept>,
    /// Objects that may be needed still.
    pub needed: Vec<Needed>,
}

impl Replaced {
    /// Whether something is in the way of a deletion.
    pub fn is_held_up(&self) -> bool {
        !self.kept.is_empty() || !self.needed.is_empty()
    }
}

/// A superseded object that is there.
struct Old {
    key: ObjectKey,
    bytes: u64,
    by: Superseded,
}

/// What is known of one before it is deleted.
enum Look {
    Free,
    Locked(Keeping),
    Needed(String),
}

impl Pruner {
    /// Deletes the objects that were replaced more than `grace` ago, or with `execute` unset tells what would be deleted. No backup is
    /// asked for: what a segment says can be read from the object that is in force. `progress` hears of every object.
    ///
    /// # Errors
    /// When the store or the index fails. What was deleted until then is in `replaced`.
    pub async fn remove_superseded(
        &self,
        grace: Duration,
        execute: bool,
        progress: &(dyn Fn(u64) + Sync),
        replaced: &mut Replaced,
    ) -> Result<()> {
        let mut after: Option<ObjectKey> = None;
        loop {
            let page = self.store.list(SEGMENTS_PREFIX, after.as_ref()).await?;
            // Page by page: of a stream that was rewritten for other keys, half of all objects are superseded.
            let due = self.due_of(&page.objects, grace, replaced).await?;
            self.remove_old(&due, execute, progress, replaced).await?;
            match page.objects.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => return Ok(()),
            }
        }
    }

    async fn remove_old(
        &self,
        due: &[Old],
        execute: bool,
        progress: &(dyn Fn(u64) + Sync),
        replaced: &mut Replaced,
    ) -> Result<()> {
        for some in due.chunks(LOOKED_AT_ONCE) {
            let looks: Vec<Look> = futures::stream::iter(some)
                .map(|old| self.look(old))
                .buffered(LOOKED_AT_ONCE)
                .try_collect()
                .await?;
            for (old, look) in some.iter().zip(looks) {
                let kept = match look {
                    Look::Needed(why) => {
                        replaced.needed.push(old.needed(why));
                        continue;
                    }
                    Look::Locked(keeping) => Some(keeping),
                    Look::Free if !execute => None,
                    Look::Free => match self.store.remove(&old.key).await? {
                        Removed::Gone => None,
                        // Locked between the look and the deletion, or by another clock.
                        Removed::Kept(keeping) => Some(keeping),
                    },
                };
                match kept {
                    Some(keeping) => replaced.kept.push(old.kept(keeping)),
                    None => {
                        replaced.objects += 1;
                        replaced.bytes = replaced.bytes.saturating_add(old.bytes);
                        progress(old.bytes);
                    }
                }
            }
        }
        Ok(())
    }

    /// Those of these objects that are superseded and whose grace is over; those that wait are counted.
    async fn due_of(
        &self,
        objects: &[(ObjectKey, u64)],
        grace: Duration,
        replaced: &mut Replaced,
    ) -> Result<Vec<Old>> {
        let grace_micros = i64::try_from(grace.as_micros()).unwrap_or(i64::MAX);
        let (mut due, mut ages) = (Vec::new(), BTreeMap::<Seq, Micros>::new());
        for (key, bytes) in objects {
            let Standing::Superseded(by) = self.index.standing(key)? else {
                continue;
            };
            let made_at = match ages.get(&by.by) {
                Some(made_at) => *made_at,
                None => self.made_at(by.by).await?,
            };
            ages.insert(by.by, made_at);
            let over_at = Micros(made_at.0.saturating_add(grace_micros));
            // One that was made since this run looked at the clock is of no age.
            if self.now.0.max(made_at.0) < over_at.0 {
                replaced.waiting += 1;
                note_earliest(&mut replaced.next_at, over_at);
                continue;
            }
            due.push(Old {
                key: key.clone(),
                bytes: *bytes,
                by: *by,
            });
        }
        Ok(due)
    }

    /// When a record was made: by the store's clock, or, where that does not tell, as the record says.
    async fn made_at(&self, seq: Seq) -> Result<Micros> {
        let told = match self.store.keeping(&record_key(seq)).await {
            Ok(keeping) => keeping.made_at,
            // A record that is lost is still known to the index.
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let said = || -> Result<Micros> {
            let line = self.index.record(seq)?;
            // Without a time it has no age.
            Ok(line.map_or(self.now, |line| line.record().body.archived_at()))
        };
        told.map_or_else(said, Ok)
    }

    /// The second look: whether the object in force is there and whole, and whether the old one may be deleted.
    async fn look(&self, old: &Old) -> Result<Look> {
        let now = &old.by.now;
        match self.store.head(&now.key).await {
            Ok(meta) if meta.agrees_with(&now.checksums()) => {}
            Ok(_) => return Ok(Look::Needed("is not the one recorded".to_owned())),
            Err(error) if error.is_not_found() => {
                return Ok(Look::Needed("is not there".to_owned()));
            }
            Err(error) => return Err(error.into()),
        }
        let keeping = self.keeping(&old.key).await?;
        Ok(match keeping.holds_at(self.now) {
            true => Look::Locked(keeping),
            false => Look::Free,
        })
    }
}

impl Old {
    fn kept(&self, keeping: Keeping) -> Kept {
        Kept {
            timeline: self.by.timeline,
            name: self.by.name.clone(),
            key: self.key.clone(),
            keeping,
            objects: 1,
        }
    }

    fn needed(&self, why: String) -> Needed {
        Needed {
            timeline: self.by.timeline,
            name: self.by.name.clone(),
            key: self.key.clone(),
            replaced_by: self.by.now.key.clone(),
            why,
        }
    }
}

//! Deletes the objects of what was pruned, once the grace is over and no backup needs them.

use super::survey::Needs;
use super::{LOOKED_AT_ONCE, Pruner, note_earliest};
use crate::backup;
use crate::index::{EntryRow, Index, Prune};
use crate::ledger::{EntryState, SEGMENTS_PREFIX, record_key};
use crate::model::{Micros, MountName, ObjectKey, Seq, Timeline};
use crate::store::{self, Keeping, Removed};
use anyhow::Result;
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// A backup that needs what was to be deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// The timeline.
    pub timeline: Timeline,
    /// The backup.
    pub backup: String,
    /// The first entry that it needs; `None`: that is not known.
    pub from: Option<MountName>,
    /// Objects that stay because of it.
    pub objects: u64,
}

/// An object that its store keeps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Kept {
    /// The timeline.
    pub timeline: Timeline,
    /// Its entry.
    pub name: MountName,
    /// The object.
    pub key: ObjectKey,
    /// For how long.
    pub keeping: Keeping,
    /// Objects that stay with it, newer ones included.
    pub objects: u64,
}

/// What deleting came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removal {
    /// Objects deleted, or to be deleted.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that wait for their grace to end.
    pub waiting: u64,
    /// When the next of them may go, at the earliest.
    #[serde(serialize_with = "time")]
    pub next_at: Option<Micros>,
    /// Backups in the way.
    pub blocked: Vec<Blocked>,
    /// Locks in the way.
    pub kept: Vec<Kept>,
}

pub(super) fn time<S: serde::Serializer>(
    time: &Option<Micros>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

/// An object of a pruned entry that is there still.
#[derive(Clone, Debug)]
struct Leftover {
    name: MountName,
    key: ObjectKey,
    bytes: u64,
}

/// What was pruned of a timeline.
struct Pruned {
    timeline: Timeline,
    /// In replay order.
    leftovers: Vec<Leftover>,
    /// The last entry that has lost its object.
    gone_through: Option<MountName>,
}

impl Pruner {
    /// Deletes what was pruned more than `grace` ago, or with `execute` unset tells what would be deleted. `progress` hears of
    /// every object.
    ///
    /// # Errors
    /// When the store or the index fails. What was deleted until then is in `removal`.
    pub async fn remove(
        &self,
        grace: Duration,
        execute: bool,
        progress: &(dyn Fn(u64) + Sync),
        removal: &mut Removal,
    ) -> Result<()> {
        let removed = self.remove_due(grace, execute, progress, removal).await;
        if removal.waiting == 0 {
            removal.next_at = None;
        }
        removed
    }

    async fn remove_due(
        &self,
        grace: Duration,
        execute: bool,
        progress: &(dyn Fn(u64) + Sync),
        removal: &mut Removal,
    ) -> Result<()> {
        let prunes = self.index.prunes()?;
        if prunes.is_empty() {
            return Ok(());
        }
        let found = self.leftovers(&prunes).await?;
        let due = self.due(&prunes, grace, removal).await?;
        let needs = self.needs_again().await?;
        for mut pruned in found {
            let through = due.get(&pruned.timeline);
            let all = pruned.leftovers.len();
            pruned
                .leftovers
                .retain(|leftover| through.is_some_and(|through| leftover.name <= *through));
            removal.waiting += (all - pruned.leftovers.len()) as u64;
            if pruned.leftovers.is_empty() {
                continue;
            }
            let blocked = blocked(&pruned, &needs);
            if !blocked.is_empty() {
                removal.blocked.extend(blocked);
                continue;
            }
            self.remove_all(&pruned, execute, progress, removal).await?;
        }
        Ok(())
    }

    /// The objects of pruned entries that are there, by one listing of all segments.
    async fn leftovers(&self, prunes: &[Prune]) -> Result<Vec<Pruned>> {
        let mut there: BTreeMap<Seq, Vec<(ObjectKey, u64)>> = BTreeMap::new();
        let mut after: Option<ObjectKey> = None;
        loop {
            let page = self.store.list(SEGMENTS_PREFIX, after.as_ref()).await?;
            for (key, bytes) in &page.objects {
                // Where what replaces a lost record stands, nobody knows: it may be of another timeline, and the record be healed.
                if let Some(entry) = self.index.entry_of_object(key)?
                    && entry.state != EntryState::Lost
                    && self.index.is_pruned(entry.timeline, &entry.mount_name)?
                {
                    there
                        .entry(entry.seq)
                        .or_default()
                        .push((key.clone(), *bytes));
                }
            }
            match page.objects.last() {
                Some((last, _)) if page.more => after = Some(last.clone()),
                _ => break,
            }
        }
        let timelines: BTreeSet<Timeline> = prunes.iter().map(|p| p.record.timeline).collect();
        let mut found = Vec::new();
        for timeline in timelines {
            let mut pruned = Pruned {
                timeline,
                leftovers: Vec::new(),
                gone_through: None,
            };
            self.each_pruned(timeline, |row| pruned.add(row, there.remove(&row.seq)))?;
            if self.fenced {
                for entry in self.index.behind_fences(timeline)? {
                    // Of these `there` has those that the timeline was pruned past. One that is gone says nothing of what backups need.
                    let objects = there.remove(&entry.seq).unwrap_or_default();
                    pruned.extend(&entry.mount_name, objects);
                }
                pruned.leftovers.sort_by(|a, b| a.name.cmp(&b.name));
            }
            found.push(pruned);
        }
        Ok(found)
    }

    /// Up to which name of each timeline the grace is over.
    async fn due(
        &self,
        prunes: &[Prune],
        grace: Duration,
        removal: &mut Removal,
    ) -> Result<BTreeMap<Timeline, MountName>> {
        let grace_micros = i64::try_from(grace.as_micros()).unwrap_or(i64::MAX);
        let mut due = BTreeMap::new();
        for prune in prunes {
            let Some(through) = &prune.through else {
                continue;
            };
            let made_at = match self.store.keeping(&record_key(prune.seq)).await {
                Ok(keeping) => keeping.made_at,
                // A record that is lost is still known to the index.
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error.into()),
            };
            let made_at = made_at.unwrap_or(prune.record.archived_at);
            // One that was made since this run looked at the clock is of no age.
            let age_micros = self.now.0.saturating_sub(made_at.0).max(0);
            if age_micros >= grace_micros {
                let last: &mut MountName = due
                    .entry(prune.record.timeline)
                    .or_insert_with(|| through.clone());
                if *last < *through {
                    *last = through.clone();
                }
            } else {
                let over_at = Micros(made_at.0.saturating_add(grace_micros));
                note_earliest(&mut removal.next_at, over_at);
            }
        }
        Ok(due)
    }

    /// What backups need, as if nothing had been pruned.
    async fn needs_again(&self) -> Result<Needs> {
        let file = self.stream.file();
        let registered = backup::backups(&self.store, file.stream_id).await?;
        let unpruned: Index = self.index.unpruned()?;
        Needs::of(&unpruned, file.flavour, &registered)
    }

    async fn remove_all(
        &self,
        pruned: &Pruned,
        execute: bool,
        progress: &(dyn Fn(u64) + Sync),
        removal: &mut Removal,
    ) -> Result<()> {
        let mut left = pruned.leftovers.len();
        for some in pruned.leftovers.chunks(LOOKED_AT_ONCE) {
            let keepings: Vec<Keeping> = futures::stream::iter(some)
                .map(|leftover| self.keeping(&leftover.key))
                .buffered(LOOKED_AT_ONCE)
                .try_collect()
                .await?;
            let held = keepings
                .iter()
                .position(|keeping| keeping.holds_at(self.now));
            let free = some.get(..held.unwrap_or(some.len())).unwrap_or_default();
            // One that fails leaves the others their time: what becomes of each is told.
            let removed: Vec<store::Result<Removed>> = match execute {
                true => {
                    futures::stream::iter(free)
                        .map(|leftover| {
                            let store = Arc::clone(&self.store);
                            async move { store.remove(&leftover.key).await }
                        })
                        .buffered(LOOKED_AT_ONCE)
                        .collect()
                        .await
                }
                false => free.iter().map(|_| Ok(Removed::Gone)).collect(),
            };
            let mut first_kept = held.and_then(|at| Some((some.get(at)?, *keepings.get(at)?)));
            let mut failed = None;
            for (leftover, removed) in free.iter().zip(removed).rev() {
                match removed {
                    Ok(Removed::Gone) => {
                        left -= 1;
                        removal.objects += 1;
                        removal.bytes = removal.bytes.saturating_add(leftover.bytes);
                        progress(leftover.bytes);
                    }
                    // Locked between the look and the deletion, or by another clock.
                    Ok(Removed::Kept(keeping)) => first_kept = Some((leftover, keeping)),
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                return Err(error.into());
            }
            if let Some((leftover, keeping)) = first_kept {
                removal.kept.push(Kept {
                    timeline: pruned.timeline,
                    name: leftover.name.clone(),
                    key: leftover.key.clone(),
                    keeping,
                    objects: left as u64,
                });
                return Ok(());
            }
        }
        Ok(())
    }

    pub(super) async fn keeping(&self, key: &ObjectKey) -> Result<Keeping> {
        match self.store.keeping(key).await {
            Ok(keeping) => Ok(keeping),
            // Somebody else was faster.
            Err(error) if error.is_not_found() => Ok(Keeping::default()),
            Err(error) => Err(error.into()),
        }
    }
}

impl Pruned {
    fn add(&mut self, row: &EntryRow, objects: Option<Vec<(ObjectKey, u64)>>) {
        let name = &row.mount_name;
        match objects {
            None if row.stored_size > 0 => self.gone_through = Some(name.clone()),
            None => {}
            Some(objects) => self.extend(name, objects),
        }
    }

    /// Whether the object of an entry is gone, and so the history that begins with it. One that is gone behind it is not enough: the
    /// store may have lost it, and what is before is the more needed.
    fn has_lost(&self, name: &MountName) -> bool {
        let is_there = || self.leftovers.iter().any(|leftover| leftover.name == *name);
        Some(name) <= self.gone_through.as_ref() && !is_there()
    }

    fn extend(&mut self, name: &MountName, objects: Vec<(ObjectKey, u64)>) {
        let leftover = |(key, bytes)| Leftover {
            name: name.clone(),
            key,
            bytes,
        };
        self.leftovers.extend(objects.into_iter().map(leftover));
    }
}

/// Backups that need something of what is there still. One whose first entry is gone has lost its history before.
fn blocked(pruned: &Pruned, needs: &Needs) -> Vec<Blocked> {
    let last = pruned.leftovers.last().map(|leftover| &leftover.name);
    let objects = pruned.leftovers.len() as u64;
    let mut found = Vec::new();
    for hold in needs.of_timeline(pruned.timeline) {
        let from = match &hold.from {
            Ok(name) if Some(name) > last => continue,
            Ok(name) if pruned.has_lost(name) => continue,
            Ok(name) => Some(name.clone()),
            Err(_) => None,
        };
        found.push(Blocked {
            timeline: pruned.timeline,
            backup: hold.backup,
            from,
            objects,
        });
    }
    found
}

//! Whether every object is there and has its recorded size and, where the store keeps them, checksums; and what no record names.

use super::audit::Audit;
use super::finding::{Finding, FindingKind};
use super::segment::Segment;
use crate::index::Standing;
use crate::ledger::SEGMENTS_PREFIX;
use crate::model::{MountName, ObjectKey, Timeline};
use crate::store::SharedStore;
use anyhow::Result;
use futures::StreamExt as _;
use serde::Serialize;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// HEAD requests in flight at a time.
const HEADS_IN_FLIGHT: usize = 16;

impl Audit {
    /// Asks the store for every object that a segment of the history stands for.
    pub async fn check_objects(&mut self) {
        let store = Arc::clone(self.store());
        let found: Vec<_> = futures::stream::iter(&self.segments)
            .map(|segment| check(&store, segment))
            .buffered(HEADS_IN_FLIGHT)
            .filter_map(async |found| found)
            .collect()
            .await;
        self.findings.extend(found);
    }

    /// Takes back what was found missing and is no loss: objects of segments that were pruned, or rewritten, since the ledger was followed.
    /// To read a large archive takes longer than the grace of `prune`. Nothing is said of these segments: they were not looked at.
    ///
    /// # Errors
    /// When the ledger cannot be followed on.
    pub async fn drop_gone(&mut self) -> Result<()> {
        let is_missing = |finding: &Finding| finding.kind == FindingKind::ObjectMissing;
        if !self.findings.iter().any(is_missing) {
            return Ok(());
        }
        self.follow_on().await?;
        let (mut gone, mut pruned) = (HashSet::new(), 0);
        for finding in self.findings.iter().filter(|finding| is_missing(finding)) {
            let Some(Ok(key)) = finding.object.as_deref().map(str::parse::<ObjectKey>) else {
                continue;
            };
            match self.index().standing(&key)? {
                Standing::Pruned => pruned += u64::from(gone.insert(key.to_string())),
                Standing::Superseded(_) => {
                    gone.insert(key.to_string());
                }
                Standing::Unnamed | Standing::InForce => {}
            }
        }
        self.pruned += pruned;
        self.segments
            .retain(|segment| !gone.contains(segment.key.as_str()));
        self.findings.retain(|finding| {
            let key = finding.object.as_ref().filter(|_| is_missing(finding));
            key.is_none_or(|key| !gone.contains(key))
        });
        Ok(())
    }

    /// The objects from which nothing is read: those that no record names (those of segments that were archived while they were listed
    /// are none), and those that later records have replaced. `None` where that cannot be told: whoever removes what is listed must not
    /// remove what a record names that cannot be read at the moment.
    ///
    /// # Errors
    /// When they cannot be listed, or the ledger cannot be followed on.
    pub async fn unread(&self) -> Result<Option<Unread>> {
        let of_ledger = |finding: &Finding| {
            let kinds = [FindingKind::Ledger, FindingKind::Rollback];
            kinds.contains(&finding.kind) && !finding.healed
        };
        if self.findings.iter().any(of_ledger) || !self.index().lost(1)?.is_empty() {
            return Ok(None);
        }
        let (mut found, unnamed) = self.unread_by_now().await?;
        if !unnamed.is_empty() {
            self.follow_on().await?;
        }
        for key in unnamed {
            if self.index().standing(&key)? == Standing::Unnamed {
                found.orphans.push(key.to_string());
            }
        }
        Ok(Some(found))
    }

    /// What records have replaced that are known by now, and the objects that none of them names.
    async fn unread_by_now(&self) -> Result<(Unread, Vec<ObjectKey>)> {
        let (mut found, mut unnamed) = (Unread::default(), Vec::new());
        let fenced = self.fenced_objects()?;
        let mut after: Option<ObjectKey> = None;
        loop {
            let page = self.store().list(SEGMENTS_PREFIX, after.as_ref()).await?;
            for (key, bytes) in &page.objects {
                if let Some((timeline, name)) = fenced.get(key) {
                    found.fenced.objects += 1;
                    found.fenced.bytes = found.fenced.bytes.saturating_add(*bytes);
                    found.fenced.pruned += u64::from(self.index().is_pruned(*timeline, name)?);
                }
                match self.index().standing(key)? {
                    Standing::Unnamed => unnamed.push(key.clone()),
                    Standing::Superseded(by) => found.superseded.push(Replaced {
                        object: key.to_string(),
                        segment: by.name.to_string(),
                        replaced_by: by.now.key.to_string(),
                        record: by.by.0,
                    }),
                    Standing::InForce | Standing::Pruned => {}
                }
            }
            match page.objects.into_iter().next_back() {
                Some((last, _)) if page.more => after = Some(last),
                _ => return Ok((found, unnamed)),
            }
        }
    }

    /// The objects of what fences took out.
    fn fenced_objects(&self) -> Result<HashMap<ObjectKey, (Timeline, MountName)>> {
        let mut objects = HashMap::new();
        for (timeline, _) in self.state().timelines() {
            for entry in self.index().behind_fences(timeline)? {
                if let Some(segment) = entry.segment {
                    objects.insert(segment.object.key, (timeline, entry.mount_name));
                }
            }
        }
        Ok(objects)
    }
}

/// Objects from which nothing is read.
#[derive(Debug, Default)]
pub struct Unread {
    /// No record names them.
    pub orphans: Vec<String>,
    /// Later records have replaced them.
    pub superseded: Vec<Replaced>,
    /// Fences took them out.
    pub fenced: Fenced,
}

/// Objects that fences took out: no history reads them, and `ls --fenced` lists them.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Fenced {
    /// How many there are.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that their timeline was pruned past.
    pub pruned: u64,
}

/// An object that a later record has replaced by another.
#[derive(Debug, Serialize)]
pub struct Replaced {
    /// Its key.
    pub object: String,
    /// The segment, by its name in the mount.
    pub segment: String,
    /// The object that the segment is read from.
    pub replaced_by: String,
    /// The record that names that one.
    pub record: u64,
}

async fn check(store: &SharedStore, segment: &Segment) -> Option<Finding> {
    let object = &segment.stored;
    let (kind, wrong) = match store.head(&segment.key).await {
        Err(e) if e.is_not_found() => (FindingKind::ObjectMissing, e.to_string()),
        Err(e) => (FindingKind::ObjectUnknown, e.to_string()),
        Ok(meta) => {
            let wrong = meta.difference(object)?;
            (FindingKind::ObjectDamaged, wrong)
        }
    };
    let detail = format!("{}: object {} {wrong}", segment.name, segment.key);
    Some(Finding::of_segment(kind, segment, detail))
}

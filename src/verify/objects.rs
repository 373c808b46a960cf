//! Whether every object is there and has its recorded size and, where the store keeps them, checksums; and what no record names.

use super::audit::Audit;
use super::finding::{Finding, FindingKind};
use super::segment::Segment;
use crate::index::{Index, IndexError, Standing};
use crate::ledger::SEGMENTS_PREFIX;
use crate::model::{MountName, ObjectKey, Seq, Timeline};
use crate::store::SharedStore;
use anyhow::Result;
use futures::StreamExt as _;
use serde::ser::{Error as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
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
            found.superseded.drop_pruned()?;
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
        let (mut found, mut unnamed) = (Unread::new(self.index()), Vec::new());
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
                    Standing::Superseded(_) => {
                        let first_named = &mut found.superseded.first_named;
                        first_named.extend(self.index().record_naming(key)?);
                    }
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
pub struct Unread {
    /// No record names them.
    pub orphans: Vec<String>,
    /// Later records have replaced them.
    pub superseded: ReplacedObjects,
    /// Fences took them out.
    pub fenced: Fenced,
}

impl Unread {
    fn new(index: &Arc<Index>) -> Unread {
        Unread {
            orphans: Vec::new(),
            superseded: ReplacedObjects {
                index: Arc::clone(index),
                first_named: Vec::new(),
            },
            fenced: Fenced::default(),
        }
    }
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

/// Objects that later records have replaced. When a stream was rewritten for other keys there are as many as segments, so of each only
/// the record that first named it is held, and the rest is asked of the index as it is told.
pub struct ReplacedObjects {
    index: Arc<Index>,
    first_named: Vec<Seq>,
}

impl ReplacedObjects {
    /// How many there are.
    pub fn count(&self) -> u64 {
        self.first_named.len() as u64
    }

    /// Each of them, in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = Result<Replaced, IndexError>> {
        let each = self.first_named.iter();
        each.filter_map(move |seq| self.named_by(*seq).transpose())
    }

    /// The one that record `seq` names, if a later record has replaced it.
    fn named_by(&self, seq: Seq) -> Result<Option<Replaced>, IndexError> {
        let line = self.index.record(seq)?;
        let Some(segment) = line
            .as_ref()
            .and_then(|line| line.record().body.described())
        else {
            return Ok(None);
        };
        let key = &segment.object.key;
        Ok(match self.index.standing(key)? {
            Standing::Superseded(by) => Some(Replaced {
                object: key.to_string(),
                segment: by.name.to_string(),
                replaced_by: by.now.key.to_string(),
                record: by.by.0,
            }),
            Standing::Unnamed | Standing::InForce | Standing::Pruned => None,
        })
    }

    /// Leaves out those whose segments were pruned since they were listed: the ledger was followed on.
    fn drop_pruned(&mut self) -> Result<(), IndexError> {
        let mut still = Vec::new();
        for seq in &self.first_named {
            if self.named_by(*seq)?.is_some() {
                still.push(*seq);
            }
        }
        self.first_named = still;
        Ok(())
    }
}

impl Serialize for ReplacedObjects {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = serializer.serialize_seq(Some(self.first_named.len()))?;
        for one in self.iter() {
            all.serialize_element(&one.map_err(S::Error::custom)?)?;
        }
        all.end()
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::record::SupersedeReason;
    use crate::ledger::testing::{self, Writer};
    use crate::ledger::{Body, record_key};
    use crate::store::MemoryStore;
    use crate::stream;
    use serde_json::json;

    #[tokio::test]
    async fn of_a_replaced_object_a_number_is_held_and_all_of_it_is_told() {
        let memory = MemoryStore::new();
        let shared: SharedStore = Arc::new(memory.clone());
        let begun = stream::create(&shared, &testing::stream_file()).await;
        begun.expect("creates");
        let others = [1, 3].map(|n| testing::supersede(n, n, SupersedeReason::Rekeyed));
        let segments = (1..=3).map(|n| Body::Segment(Box::new(testing::segment(n))));
        let others = others.map(|other| Body::Supersede(Box::new(other)));
        let mut writer = Writer::default();
        for body in segments.chain(others) {
            let named = body.described().expect("names an object");
            memory.tamper(&named.object.key, "an object");
            let line = writer.write(body);
            memory.tamper(&record_key(line.seq()), format!("{}\n", line.text()));
        }
        let audit = Audit::open(&shared, Vec::new()).await.expect("opens");
        let unread = audit.unread().await.expect("lists").expect("can be told");
        assert_eq!(unread.superseded.first_named, [Seq(1), Seq(3)]);
        assert_eq!(unread.superseded.count(), 2);
        let replaced = |number: u64, record: u64| {
            let other = testing::supersede(number, number, SupersedeReason::Rekeyed);
            json!({
                "object": testing::segment(number).object.key.as_str(),
                "segment": format!("binlog.{number:06}"),
                "replaced_by": other.segment.object.key.as_str(),
                "record": record,
            })
        };
        let told = serde_json::to_value(&unread.superseded).expect("JSON");
        assert_eq!(told, json!([replaced(1, 4), replaced(3, 5)]));
    }
}

//! Whether every object is there and has its recorded size and, where the store keeps them, checksums; and what no record names.

use super::audit::Audit;
use super::finding::{Finding, FindingKind};
use crate::ledger::{Entry, SEGMENTS_PREFIX};
use crate::model::ObjectKey;
use crate::store::SharedStore;
use anyhow::Result;
use futures::StreamExt as _;
use std::sync::Arc;

/// HEAD requests in flight at a time.
const HEADS_IN_FLIGHT: usize = 16;

impl Audit {
    /// Asks the store for every object that a segment of the history stands for.
    pub async fn check_objects(&mut self) {
        let store = Arc::clone(self.store());
        let found: Vec<_> = futures::stream::iter(&self.entries)
            .map(|entry| check(Arc::clone(&store), entry))
            .buffered(HEADS_IN_FLIGHT)
            .filter_map(async |found| found)
            .collect()
            .await;
        self.findings.extend(found);
    }

    /// The objects that no record names: those of segments that were archived while they were listed are none. `None` where that cannot
    /// be told: whoever removes what is listed must not remove what a record names that cannot be read at the moment.
    ///
    /// # Errors
    /// When they cannot be listed, or the ledger cannot be followed on.
    pub async fn orphans(&self) -> Result<Option<Vec<String>>> {
        let of_ledger = |finding: &Finding| {
            let kinds = [FindingKind::Ledger, FindingKind::Rollback];
            kinds.contains(&finding.kind) && !finding.healed
        };
        if self.findings.iter().any(of_ledger) || !self.index().lost(1)?.is_empty() {
            return Ok(None);
        }
        let found = self.unnamed().await?;
        if !found.is_empty() {
            self.follow_on().await?;
        }
        let mut orphans = Vec::new();
        for key in found {
            if !self.index().names_object(&key)? {
                orphans.push(key.to_string());
            }
        }
        Ok(Some(orphans))
    }

    /// The objects that no record names which is known by now.
    async fn unnamed(&self) -> Result<Vec<ObjectKey>> {
        let (mut found, mut after): (Vec<ObjectKey>, Option<ObjectKey>) = (Vec::new(), None);
        loop {
            let page = self.store().list(SEGMENTS_PREFIX, after.as_ref()).await?;
            for (key, _) in &page.objects {
                if !self.index().names_object(key)? {
                    found.push(key.clone());
                }
            }
            match page.objects.into_iter().next_back() {
                Some((last, _)) if page.more => after = Some(last),
                _ => return Ok(found),
            }
        }
    }
}

async fn check(store: SharedStore, entry: &Entry) -> Option<Finding> {
    let object = &entry.segment.as_ref()?.object;
    let (kind, wrong) = match store.head(&object.key).await {
        Err(e) if e.is_not_found() => (FindingKind::ObjectMissing, e.to_string()),
        Err(e) => (FindingKind::ObjectUnknown, e.to_string()),
        Ok(meta) if meta.size != object.size => (
            FindingKind::ObjectDamaged,
            format!("has {} bytes and {} were recorded", meta.size, object.size),
        ),
        Ok(meta) if meta.crc32c.is_some_and(|crc| crc != object.crc32c) => (
            FindingKind::ObjectDamaged,
            "has another CRC-32C than recorded".to_owned(),
        ),
        Ok(meta) if meta.crc64nvme.is_some_and(|crc| crc != object.crc64nvme) => (
            FindingKind::ObjectDamaged,
            "has another CRC-64/NVME than recorded".to_owned(),
        ),
        Ok(_) => return None,
    };
    let detail = format!("{}: object {} {wrong}", entry.mount_name, object.key);
    Some(Finding::of_entry(kind, entry, detail))
}

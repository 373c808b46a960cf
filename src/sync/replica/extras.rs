//! What a replica has beside records and their objects: pages and registered backups.

use super::Replicator;
use super::begin::Listed;
use crate::backup::BACKUPS_PREFIX;
use crate::ledger::page::{
    PAGE_MAX_BYTES, PAGE_RECORDS, PAGES_PREFIX, page_end, page_key, page_of_key, read_page,
};
use crate::model::{ObjectKey, Seq};
use anyhow::Result;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::Instant;

/// How often it is looked for new ones, beside the comparison in the beginning. A page comes every thousand records, a backup every
/// day.
const EXTRAS_EVERY: Duration = Duration::from_secs(600);
/// Largest record of a backup.
const BACKUP_MAX_BYTES: u64 = 32 << 20;

impl Replicator {
    pub(super) fn extras_due(&self) -> bool {
        self.extras_at.is_none_or(|at| at.elapsed() >= EXTRAS_EVERY)
    }

    /// Copies pages and backups that the replica lacks.
    pub(super) async fn copy_extras(&mut self) -> Result<()> {
        self.extras_at = Some(Instant::now());
        self.copy_pages().await?;
        self.copy_backups().await
    }

    async fn copy_pages(&mut self) -> Result<()> {
        let mut listed = Listed::new(&self.replica, PAGES_PREFIX);
        let mut there = BTreeSet::new();
        while let Some(key) = listed.next().await? {
            there.extend(page_of_key(&key));
        }
        self.pages = there;
        let end = self.through() / PAGE_RECORDS * PAGE_RECORDS;
        let firsts = (1..=end).step_by(PAGE_RECORDS as usize).map(Seq);
        let missing: Vec<_> = firsts.filter(|seq| !self.pages.contains(seq)).collect();
        for first in missing {
            self.copy_page(first).await?;
        }
        Ok(())
    }

    /// One that the first store lacks, or that is damaged there, is left out: it is a copy of records.
    async fn copy_page(&mut self, first: Seq) -> Result<()> {
        let key = page_key(first);
        let bytes = match self.stream.store().get_all(&key, PAGE_MAX_BYTES).await {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let right = read_page(first, &bytes).is_ok_and(|lines| {
            let known = |seq| self.index.line(seq).ok().flatten();
            lines
                .iter()
                .all(|line| known(line.seq()).as_deref() == Some(line.text()))
        });
        if !right {
            return Ok(());
        }
        match self.replica.create(&key, bytes).await {
            Ok(()) => {}
            Err(error) if error.already_exists() => {}
            Err(error) => return Err(error.into()),
        }
        debug_assert!(page_end(first).0 <= self.through());
        self.pages.insert(first);
        Ok(())
    }

    async fn copy_backups(&self) -> Result<()> {
        let mut there = BTreeSet::new();
        let mut listed = Listed::new(&self.replica, BACKUPS_PREFIX);
        while let Some(key) = listed.next().await? {
            there.insert(key);
        }
        let mut listed = Listed::new(self.stream.store(), BACKUPS_PREFIX);
        let mut missing: Vec<ObjectKey> = Vec::new();
        while let Some(key) = listed.next().await? {
            if !there.contains(&key) {
                missing.push(key);
            }
        }
        for key in missing {
            let bytes = self.stream.store().get_all(&key, BACKUP_MAX_BYTES).await?;
            match self.replica.create(&key, bytes).await {
                Ok(()) => {}
                Err(error) if error.already_exists() => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

//! Which backups are registered, carried over: additions, and removals of what was carried over before.

use super::Migration;
use crate::backup::{BackupId, Registered, RegistryError, add, backups, remove, taken_off};
use anyhow::{Result, bail};

impl Migration<'_> {
    /// Registered backups are part of what can be recovered, and keep what they need from being pruned. One that is registered in
    /// the old place is registered in the new one; one that was taken off the list there after it had been carried over is taken
    /// off here.
    ///
    /// What a migration carried over is told by its record: but for the stream's id it is that of the old place, down to the
    /// microsecond at which it was registered. A backup that somebody registered in the new place stays, whatever its id. Once
    /// the old ledger is closed, no removal is carried over: the list of the new place is the one that counts.
    ///
    /// # Errors
    /// When a store fails, or the record of one cannot be read: the new place would keep less for it than the old one does.
    pub async fn carry_backups(&mut self) -> Result<()> {
        let (old, new) = (self.from.file().stream_id, self.to.file().stream_id);
        let (there, here) = futures::try_join!(
            backups(self.from.store(), old),
            backups(self.to.store(), new)
        )?;
        self.carry_removals(&there, &here).await?;
        for mut backup in there.backups {
            if here.get(&backup.id).is_some() {
                continue;
            }
            backup.stream_id = new;
            match add(self.to.store(), &backup).await {
                Ok(()) => self.report.backups += 1,
                // Somebody took it off the new list.
                Err(RegistryError::Removed { .. } | RegistryError::Taken { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match there.unreadable.first() {
            None => Ok(()),
            Some(bad) => bail!(
                "the record of backup {} in {} {}, so that it cannot be carried over: restore it from a copy of the bucket, or take it off the list \
                 with 'binlogfs backup remove'",
                bad.id,
                self.from.store().describe(),
                bad.reason
            ),
        }
    }

    /// Takes off the list of the new place what was carried over to it and is off that of the old one.
    async fn carry_removals(&mut self, there: &Registered, here: &Registered) -> Result<()> {
        let old = self.from.index().state()?;
        if old.is_some_and(|state| state.moved.is_some()) {
            return Ok(());
        }
        let is_lacking = |id: &&BackupId| there.get(id).is_none();
        let ids = here.backups.iter().map(|backup| &backup.id);
        let lacking: Vec<BackupId> = ids.filter(is_lacking).cloned().collect();
        let (old, new) = (self.from.file().stream_id, self.to.file().stream_id);
        for mut backup in taken_off(self.from.store(), old, &lacking).await? {
            backup.stream_id = new;
            // Another one of the same id, which was registered in the new place.
            if here.get(&backup.id) != Some(&backup) {
                continue;
            }
            let now = (self.order.clock)();
            match remove(self.to.store(), &backup.id, now, &self.order.by).await {
                Ok(()) => self.report.backups_removed += 1,
                // Somebody took it off the new list as well.
                Err(RegistryError::NoSuch { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

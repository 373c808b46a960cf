//! The backups that are registered in a stream's prefix.

use super::record::{BACKUP_MAX_BYTES, BACKUPS_PREFIX, FORMAT, Kept, RecordError};
use super::{Backup, BackupId};
use crate::model::{Micros, ObjectKey};
use crate::store::{self, SharedStore};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Records read at once: enough to hide the way to a distant store.
const READ_AT_ONCE: usize = 16;

/// Why the registry could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The id is taken.
    #[error(
        "backup {id} is registered already in {store}; give another --id, or see 'binlogfs backup show'"
    )]
    Taken {
        /// The id.
        id: BackupId,
        /// Which store.
        store: String,
    },
    /// The id was used and removed. Keys are create-only: nothing can be undone there.
    #[error("backup {id} was removed from {store}, and an id is used once only; give another --id")]
    Removed {
        /// The id.
        id: BackupId,
        /// Which store.
        store: String,
    },
    /// There is none.
    #[error("no backup {id} is registered in {store}; 'binlogfs backup list' shows those that are")]
    NoSuch {
        /// The id.
        id: BackupId,
        /// Which store.
        store: String,
    },
}

/// A record that is there and says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Its id.
    pub id: BackupId,
    /// Why.
    pub reason: RecordError,
}

/// What is registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    /// The backups, in the order in which they were registered.
    pub backups: Vec<Backup>,
    /// Records that cannot be read. They hide no other.
    pub unreadable: Vec<Unreadable>,
}

impl Registered {
    /// The backup with an id.
    pub fn get(&self, id: &BackupId) -> Option<&Backup> {
        self.backups.iter().find(|backup| backup.id == *id)
    }
}

/// The backups registered in the stream `stream_id`, whose prefix `store` is. One listing, and one small read for each.
///
/// # Errors
/// When the store cannot be asked.
pub async fn backups(store: &SharedStore, stream_id: Uuid) -> Result<Registered, store::Error> {
    let ids = listed(store).await?;
    let mut reads = futures::stream::iter(ids)
        .map(|id| read(store, stream_id, id))
        .buffered(READ_AT_ONCE);
    let mut found = Registered::default();
    while let Some(one) = reads.try_next().await? {
        match one {
            Some(Ok(backup)) => found.backups.push(backup),
            Some(Err(unreadable)) => found.unreadable.push(unreadable),
            None => {}
        }
    }
    let order = |backup: &Backup| (backup.added_at, backup.id.clone());
    found.backups.sort_by_key(order);
    Ok(found)
}

/// Of the backups `ids` those that were taken off the list of the stream `stream_id`, as they had been registered. One whose
/// record cannot be read is not among them.
///
/// # Errors
/// When the store cannot be asked.
pub async fn taken_off(
    store: &SharedStore,
    stream_id: Uuid,
    ids: &[BackupId],
) -> Result<Vec<Backup>, store::Error> {
    let mut found = Vec::new();
    for id in ids {
        if !is_there(store, &id.tombstone_key()).await? {
            continue;
        }
        // Its record stays where it is: see [`remove`].
        if let Some(Ok(backup)) = read(store, stream_id, id.clone()).await? {
            found.push(backup);
        }
    }
    Ok(found)
}

/// The ids with a record and no tombstone.
async fn listed(store: &SharedStore) -> Result<Vec<BackupId>, store::Error> {
    let (mut records, mut removed) = (BTreeSet::new(), BTreeSet::new());
    let mut after: Option<ObjectKey> = None;
    loop {
        let page = store.list(BACKUPS_PREFIX, after.as_ref()).await?;
        for (key, _) in &page.objects {
            match BackupId::of_key(key) {
                Some(Kept::Record(id)) => {
                    records.insert(id);
                }
                Some(Kept::Tombstone(id)) => {
                    removed.insert(id);
                }
                None => {}
            }
        }
        match page.objects.last() {
            Some((last, _)) if page.more => after = Some(last.clone()),
            _ => break,
        }
    }
    Ok(records.difference(&removed).cloned().collect())
}

async fn read(
    store: &SharedStore,
    stream_id: Uuid,
    id: BackupId,
) -> Result<Option<Result<Backup, Unreadable>>, store::Error> {
    let bytes = match store.get_all(&id.key(), BACKUP_MAX_BYTES).await {
        Ok(bytes) => bytes,
        // Gone since it was listed.
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let read = Backup::read(&bytes, &id, stream_id);
    Ok(Some(read.map_err(|reason| Unreadable { id, reason })))
}

/// Registers a backup.
///
/// # Errors
/// [`RegistryError::Taken`] or [`RegistryError::Removed`] when its id was used before; then nothing was changed.
pub async fn add(store: &SharedStore, backup: &Backup) -> Result<(), RegistryError> {
    let key = backup.id.key();
    // Asked first, because not every store refuses to overwrite.
    if !is_there(store, &key).await? && create(store, &key, backup.write().into()).await? {
        return Ok(());
    }
    let (id, name) = (backup.id.clone(), store.describe());
    match is_there(store, &id.tombstone_key()).await? {
        true => Err(RegistryError::Removed { id, store: name }),
        false => Err(RegistryError::Taken { id, store: name }),
    }
}

/// Takes a backup off the list, for good. Its record stays where it is: keys are create-only, and may be locked.
///
/// # Errors
/// [`RegistryError::NoSuch`] when there is none, or it was removed before.
pub async fn remove(
    store: &SharedStore,
    id: &BackupId,
    now: Micros,
    by: &str,
) -> Result<(), RegistryError> {
    let tombstone =
        serde_json::json!({"format": FORMAT, "id": id, "removed_at": now, "removed_by": by});
    let body = format!("{tombstone}\n");
    let done = is_there(store, &id.key()).await?
        && !is_there(store, &id.tombstone_key()).await?
        && create(store, &id.tombstone_key(), body.into()).await?;
    match done {
        true => Ok(()),
        false => Err(RegistryError::NoSuch {
            id: id.clone(),
            store: store.describe(),
        }),
    }
}

async fn is_there(store: &SharedStore, key: &ObjectKey) -> Result<bool, store::Error> {
    match store.head(key).await {
        Ok(_) => Ok(true),
        Err(error) if error.is_not_found() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Creates an object; whether it is this one that is there now. A create whose reply was lost has happened iff these bytes
/// are there: nobody else writes the same host and microsecond into them.
async fn create(store: &SharedStore, key: &ObjectKey, bytes: Bytes) -> Result<bool, store::Error> {
    let error = match store.create(key, bytes.clone()).await {
        Ok(()) => return Ok(true),
        Err(error) => error,
    };
    match store.get_all(key, BACKUP_MAX_BYTES).await {
        Ok(there) if there == bytes => Ok(true),
        _ if error.already_exists() => Ok(false),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::tests::backup;
    use super::*;
    use crate::store::fault::{Fault, FaultClock, FaultStore};
    use crate::store::{ErrorKind, MemoryStore, RecordingStore};
    use std::sync::Arc;

    const STREAM: Uuid = Uuid::from_u128(7);

    fn ids(found: &Registered) -> Vec<&str> {
        found.backups.iter().map(|b| b.id.as_str()).collect()
    }

    #[tokio::test]
    async fn backups_are_listed_as_they_were_added_and_removed_for_good() {
        let store: SharedStore = Arc::new(MemoryStore::new());
        assert_eq!(
            backups(&store, STREAM).await.expect("lists"),
            Registered::default()
        );
        for (n, id) in ["z", "m", "a"].into_iter().enumerate() {
            let mut one = backup(id);
            one.added_at = Micros(n as i64);
            add(&store, &one).await.expect("adds");
        }
        let found = backups(&store, STREAM).await.expect("lists");
        assert_eq!(ids(&found), ["z", "m", "a"]);
        let again = add(&store, &backup("m")).await;
        assert!(
            matches!(again, Err(RegistryError::Taken { .. })),
            "{again:?}"
        );
        let id: BackupId = "m".parse().expect("an id");
        remove(&store, &id, Micros(9), "me").await.expect("removes");
        let found = backups(&store, STREAM).await.expect("lists");
        assert_eq!(ids(&found), ["z", "a"]);
        let twice = remove(&store, &id, Micros(9), "me").await;
        assert!(
            matches!(twice, Err(RegistryError::NoSuch { .. })),
            "{twice:?}"
        );
        let again = add(&store, &backup("m")).await;
        assert!(
            matches!(again, Err(RegistryError::Removed { .. })),
            "{again:?}"
        );
        let never = "never".parse().expect("an id");
        let never = remove(&store, &never, Micros(9), "me").await;
        assert!(
            matches!(never, Err(RegistryError::NoSuch { .. })),
            "{never:?}"
        );
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_read_hides_no_other() {
        let memory = MemoryStore::new();
        let store: SharedStore = Arc::new(memory.clone());
        for n in 0..40 {
            add(&store, &backup(&format!("b{n:02}")))
                .await
                .expect("adds");
        }
        let bad: BackupId = "b07".parse().expect("an id");
        memory.tamper(&bad.key(), &b"{\"format\":1,"[..]);
        memory.tamper(&"backups/README".parse().expect("a key"), &b"by hand"[..]);
        let found = backups(&store, STREAM).await.expect("lists");
        assert_eq!(found.backups.len(), 39);
        assert_eq!(found.unreadable.len(), 1);
        assert_eq!(found.unreadable[0].id, bad);
        assert!(found.get(&bad).is_none());
    }

    #[tokio::test]
    async fn a_listing_costs_one_request_and_one_for_each_backup_that_is_not_removed() {
        let recording = Arc::new(RecordingStore::new(Arc::new(MemoryStore::new())));
        let store: SharedStore = recording.clone();
        for id in ["a", "b", "c"] {
            add(&store, &backup(id)).await.expect("adds");
        }
        let id = "b".parse().expect("an id");
        remove(&store, &id, Micros(9), "me").await.expect("removes");
        recording.reset();
        backups(&store, STREAM).await.expect("lists");
        assert_eq!(recording.total("list").calls, 1);
        assert_eq!(recording.total("get_all").calls, 2);
        assert_eq!(recording.calls().len(), 3);
    }

    #[tokio::test]
    async fn a_create_whose_reply_was_lost_is_done_and_not_refused() {
        // Told as unknown, or tried again by a retry and told as taken.
        for fault in [Fault::ErrorAfter(ErrorKind::Timeout), Fault::Twice] {
            let memory = MemoryStore::new();
            let clock = FaultClock::new(move |op| match op.what {
                "create" => fault,
                _ => Fault::None,
            });
            let store: SharedStore = Arc::new(FaultStore::new(Arc::new(memory.clone()), clock));
            add(&store, &backup("a")).await.expect("it is there");
            let id = "a".parse().expect("an id");
            let removed = remove(&store, &id, Micros(9), "me").await;
            removed.expect("it is off the list");
            assert_eq!(memory.keys().len(), 2, "{fault:?}");
        }
    }
}

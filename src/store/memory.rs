//! A store in memory, for tests. It locks objects as S3 does, whose plain delete hides a locked object all the same.

use super::{
    ChecksumHasher, Checksums, Error, ErrorKind, Keeping, Listing, ObjectMeta, Removed, Result,
    Retain, Store, Upload,
};
use crate::model::{Micros, ObjectKey};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keys on one page of a listing: what S3 gives, so that tests meet the second page where it will be met.
const LIST_PAGE_MAX: usize = 1000;

/// What messages call it.
const NAME: &str = "memory:";

#[derive(Clone)]
struct Object {
    body: Bytes,
    sums: Checksums,
    keeping: Keeping,
}

impl Object {
    fn new(body: Bytes, sums: Checksums) -> Object {
        let keeping = Keeping {
            made_at: Some(Micros::now()),
            ..Keeping::default()
        };
        Object {
            body,
            sums,
            keeping,
        }
    }
}

type Objects = BTreeMap<ObjectKey, Object>;

/// A store in memory. Clones share their objects, so a test keeps one and hands out another.
#[derive(Clone, Default)]
pub struct MemoryStore {
    objects: Arc<Mutex<Objects>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// All keys, in order: what a test compares two runs by.
    pub fn keys(&self) -> Vec<ObjectKey> {
        self.lock().keys().cloned().collect()
    }

    /// Replaces or plants an object, which no verb can: the damage in tests of damage.
    pub fn tamper(&self, key: &ObjectKey, body: impl Into<Bytes>) {
        let body = body.into();
        let sums = Checksums::of(&body);
        self.lock().insert(key.clone(), Object::new(body, sums));
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        // No code panics half-way through a change of the map.
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(&self, verb: &'static str, key: &ObjectKey) -> Result<Object> {
        let found = self.lock().get(key).cloned();
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, verb, key, NAME))
    }

    fn insert(&self, verb: &'static str, key: &ObjectKey, object: Object) -> Result<()> {
        let mut objects = self.lock();
        if objects.contains_key(key) {
            return Err(Error::new(ErrorKind::AlreadyExists, verb, key, NAME));
        }
        objects.insert(key.clone(), object);
        Ok(())
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<()> {
        let sums = Checksums::of(&body);
        self.insert("create", key, Object::new(body, sums))
    }

    async fn upload(&self, key: &ObjectKey, _size_hint: u64) -> Result<Box<dyn Upload>> {
        Ok(Box::new(MemoryUpload {
            store: self.clone(),
            key: key.clone(),
            body: BytesMut::new(),
            sums: ChecksumHasher::default(),
        }))
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let body = self.object("get", key)?.body;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        match (usize::try_from(range.start), usize::try_from(range.end)) {
            (Ok(start), Ok(end)) if end <= body.len() => Ok(body.slice(start..end)),
            _ => Err(Error::new(ErrorKind::Truncated, "get", key, NAME)),
        }
    }

    async fn get_all(&self, key: &ObjectKey, max_bytes: u64) -> Result<Bytes> {
        let object = self.object("get_all", key)?;
        if object.sums.size > max_bytes {
            return Err(Error::new(ErrorKind::TooLarge, "get_all", key, NAME));
        }
        Ok(object.body)
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta> {
        let sums = self.object("head", key)?.sums;
        Ok(ObjectMeta {
            size: sums.size,
            crc32c: Some(sums.crc32c),
            crc64nvme: Some(sums.crc64nvme),
        })
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Listing> {
        let objects = self.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = objects
            .range::<ObjectKey, _>((from, Bound::Unbounded))
            .filter(|(key, _)| key.as_str().starts_with(prefix))
            .map(|(key, object)| (key.clone(), object.sums.size));
        let page: Vec<_> = found.by_ref().take(LIST_PAGE_MAX).collect();
        let more = found.next().is_some();
        Ok(Listing {
            objects: page,
            more,
        })
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.lock().remove(key);
        Ok(())
    }

    async fn keeping(&self, key: &ObjectKey) -> Result<Keeping> {
        Ok(self.object("keeping", key)?.keeping)
    }

    async fn remove(&self, key: &ObjectKey) -> Result<Removed> {
        let mut objects = self.lock();
        let kept = objects.get(key).map(|object| object.keeping);
        if let Some(keeping) = kept.filter(|keeping| keeping.holds_at(Micros::now())) {
            return Ok(Removed::Kept(keeping));
        }
        objects.remove(key);
        Ok(Removed::Gone)
    }

    async fn retain(&self, key: &ObjectKey, change: &Retain) -> Result<()> {
        let mut objects = self.lock();
        let object = objects.get_mut(key);
        let object = object.ok_or_else(|| Error::new(ErrorKind::NotFound, "retain", key, NAME))?;
        let keeping = &mut object.keeping;
        keeping.lock = change.lock.or(keeping.lock);
        keeping.legal_hold = change.legal_hold.unwrap_or(keeping.legal_hold);
        Ok(())
    }

    fn describe(&self) -> String {
        NAME.to_owned()
    }
}

struct MemoryUpload {
    store: MemoryStore,
    key: ObjectKey,
    body: BytesMut,
    sums: ChecksumHasher,
}

#[async_trait]
impl Upload for MemoryUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.sums.update(&bytes);
        self.body.extend_from_slice(&bytes);
        Ok(())
    }

    async fn commit(self: Box<Self>, expected: Checksums) -> Result<()> {
        let sums = self.sums.finish();
        if sums != expected {
            return Err(Error::new(ErrorKind::BadDigest, "commit", &self.key, NAME));
        }
        let body = self.body.freeze();
        self.store
            .insert("commit", &self.key, Object::new(body, sums))
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;
    use std::sync::Arc;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_memory_store_keeps_every_contract() {
        conformance::run_all(|| Arc::new(MemoryStore::new())).await;
    }
}

//! A store that loses replies.

use super::*;

/// Loses the first create or commit on its way there, which looks the same as a lost reply.
pub(super) struct LosesFirst {
    inner: MemoryStore,
    lost: std::sync::atomic::AtomicBool,
}

impl LosesFirst {
    pub(super) fn new(inner: MemoryStore) -> LosesFirst {
        LosesFirst {
            inner,
            lost: false.into(),
        }
    }
}

#[async_trait]
impl Store for LosesFirst {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<()> {
        if !self.lost.swap(true, Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Timeout, "create", key, "lossy").outcome_unknown());
        }
        self.inner.create(key, body).await
    }

    async fn upload(&self, key: &ObjectKey, _: u64) -> Result<Box<dyn Upload>> {
        Ok(Box::new(LostUpload(key.clone())))
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.inner.get(key, range).await
    }

    async fn get_all(&self, key: &ObjectKey, max_bytes: u64) -> Result<Bytes> {
        self.inner.get_all(key, max_bytes).await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta> {
        self.inner.head(key).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Listing> {
        self.inner.list(prefix, after).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        self.inner.delete(key).await
    }

    fn describe(&self) -> String {
        "lossy".to_owned()
    }
}

struct LostUpload(ObjectKey);

#[async_trait]
impl Upload for LostUpload {
    async fn write(&mut self, _: Bytes) -> Result<()> {
        Ok(())
    }

    async fn commit(self: Box<Self>, _: Checksums) -> Result<()> {
        Err(Error::new(ErrorKind::Timeout, "commit", &self.0, "lossy").outcome_unknown())
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

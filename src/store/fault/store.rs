//! A store in which things go wrong when its clock says so.

use super::{Crashed, Fault, FaultClock};
use crate::model::ObjectKey;
use crate::store::{
    Checksums, Error, ErrorKind, Keeping, Listing, ObjectMeta, Removed, Result, Retain,
    SharedStore, Store, Upload,
};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Decorates a store with the faults of a [`FaultClock`]. Every verb, and `write`, `commit` and `abort` of an upload,
/// is one operation. Dropping an upload is none: it does what the inner store's upload does.
pub struct FaultStore {
    inner: SharedStore,
    faults: Faults,
}

impl FaultStore {
    /// `inner` with the faults of `clock`.
    pub fn new(inner: SharedStore, clock: Arc<FaultClock>) -> FaultStore {
        let name = inner.describe();
        FaultStore {
            inner,
            faults: Faults { clock, name },
        }
    }
}

/// How a body is spoiled.
#[derive(Clone, Copy)]
enum Spoil {
    Truncate,
    Flip,
}

impl Spoil {
    fn bytes(self, body: Bytes) -> Bytes {
        let middle = body.len() / 2;
        match self {
            Spoil::Truncate => body.slice(..middle),
            Spoil::Flip => {
                let mut body = BytesMut::from(&body[..]);
                if let Some(byte) = body.get_mut(middle) {
                    *byte ^= 0x10;
                }
                body.freeze()
            }
        }
    }
}

#[derive(Clone)]
struct Faults {
    clock: Arc<FaultClock>,
    name: String,
}

impl Faults {
    fn error(&self, kind: ErrorKind, verb: &'static str, key: impl fmt::Display) -> Error {
        Error::new(kind, verb, key, &self.name)
    }

    fn crashed(&self, verb: &'static str, key: impl fmt::Display) -> Error {
        let error = self.error(ErrorKind::Permanent, verb, key);
        error.because(Crashed).outcome_unknown()
    }

    /// Runs `verb` as one operation. `spoil` is what a fault of the body does to its result.
    async fn around<T, F>(
        &self,
        verb: &'static str,
        key: &str,
        effect: impl Fn() -> F + Send + Sync,
        spoil: impl FnOnce(T, Spoil) -> T + Send,
    ) -> Result<T>
    where
        T: Send,
        F: Future<Output = Result<T>> + Send,
    {
        match self.clock.step_at(verb, key) {
            Fault::Twice => {
                // Whatever came of the first, nobody was told.
                let _ = effect().await;
                effect().await
            }
            fault => self.once(fault, verb, key, effect(), spoil).await,
        }
    }

    /// Runs `verb` with any fault that does not repeat it.
    async fn once<T: Send>(
        &self,
        fault: Fault,
        verb: &'static str,
        key: &str,
        effect: impl Future<Output = Result<T>> + Send,
        spoil: impl FnOnce(T, Spoil) -> T + Send,
    ) -> Result<T> {
        let injected = |kind| self.error(kind, verb, key).because("injected");
        match fault {
            Fault::None | Fault::Twice | Fault::Late(_) => effect.await,
            Fault::ErrorBefore(kind) => Err(injected(kind)),
            Fault::ErrorAfter(kind) => {
                // An effect that fails tells so: then no reply was lost.
                effect.await?;
                Err(injected(kind).outcome_unknown())
            }
            Fault::Stall(time) => {
                tokio::time::sleep(time).await;
                Err(injected(ErrorKind::Timeout).outcome_unknown())
            }
            Fault::Throttled(time) => Err(injected(ErrorKind::Throttled).not_before(Some(time))),
            Fault::Reset => Err(injected(ErrorKind::Transient).outcome_unknown()),
            Fault::TruncatedBody => Ok(spoil(effect.await?, Spoil::Truncate)),
            Fault::WrongBody => Ok(spoil(effect.await?, Spoil::Flip)),
            Fault::Delay(time) => {
                tokio::time::sleep(time).await;
                effect.await
            }
            Fault::CrashBefore => Err(self.crashed(verb, key)),
            Fault::CrashAfter => {
                // Whatever came of it, nobody is there to learn it.
                let _ = effect.await;
                Err(self.crashed(verb, key))
            }
        }
    }
}

/// Spoils what has no body.
fn unspoiled<T>(value: T, _: Spoil) -> T {
    value
}

fn spoil_body(body: Bytes, spoil: Spoil) -> Bytes {
    spoil.bytes(body)
}

#[async_trait]
impl Store for FaultStore {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<()> {
        let (faults, verb) = (&self.faults, "create");
        let create = || self.inner.create(key, body.clone());
        match faults.clock.step_at(verb, key.as_str()) {
            Fault::Twice => {
                // Whatever came of the first, nobody was told.
                let _ = create().await;
                create().await
            }
            Fault::Late(time) => {
                let (inner, key, body) = (self.inner.clone(), key.clone(), body);
                let lost = faults.error(ErrorKind::Timeout, verb, &key);
                tokio::spawn(async move {
                    tokio::time::sleep(time).await;
                    // Nobody waits for its reply.
                    let _ = inner.create(&key, body).await;
                });
                Err(lost.because("injected").outcome_unknown())
            }
            fault => {
                faults
                    .once(fault, verb, key.as_str(), create(), unspoiled)
                    .await
            }
        }
    }

    async fn upload(&self, key: &ObjectKey, size_hint: u64) -> Result<Box<dyn Upload>> {
        let effect = || self.inner.upload(key, size_hint);
        let faults = &self.faults;
        let inner = faults
            .around("upload", key.as_str(), effect, unspoiled)
            .await?;
        Ok(Box::new(FaultUpload {
            inner,
            key: key.clone(),
            faults: faults.clone(),
        }))
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        let effect = || self.inner.get(key, range.clone());
        let faults = &self.faults;
        faults.around("get", key.as_str(), effect, spoil_body).await
    }

    async fn get_all(&self, key: &ObjectKey, max_bytes: u64) -> Result<Bytes> {
        let effect = || self.inner.get_all(key, max_bytes);
        let faults = &self.faults;
        faults
            .around("get_all", key.as_str(), effect, spoil_body)
            .await
    }

    async fn head(&self, key: &ObjectKey) -> Result<ObjectMeta> {
        let effect = || self.inner.head(key);
        let faults = &self.faults;
        faults.around("head", key.as_str(), effect, unspoiled).await
    }

    async fn list(&self, prefix: &str, after: Option<&ObjectKey>) -> Result<Listing> {
        let effect = || self.inner.list(prefix, after);
        self.faults.around("list", prefix, effect, unspoiled).await
    }

    async fn list_dirs(&self, prefix: &str, max: usize) -> Result<Vec<String>> {
        let effect = || self.inner.list_dirs(prefix, max);
        self.faults.around("list", prefix, effect, unspoiled).await
    }

    async fn delete(&self, key: &ObjectKey) -> Result<()> {
        let effect = || self.inner.delete(key);
        let faults = &self.faults;
        faults
            .around("delete", key.as_str(), effect, unspoiled)
            .await
    }

    async fn keeping(&self, key: &ObjectKey) -> Result<Keeping> {
        let effect = || self.inner.keeping(key);
        let faults = &self.faults;
        faults
            .around("keeping", key.as_str(), effect, unspoiled)
            .await
    }

    async fn remove(&self, key: &ObjectKey) -> Result<Removed> {
        let effect = || self.inner.remove(key);
        let faults = &self.faults;
        faults
            .around("remove", key.as_str(), effect, unspoiled)
            .await
    }

    async fn retain(&self, key: &ObjectKey, change: &Retain) -> Result<()> {
        let effect = || self.inner.retain(key, change);
        let faults = &self.faults;
        faults
            .around("retain", key.as_str(), effect, unspoiled)
            .await
    }

    fn describe(&self) -> String {
        self.faults.name.clone()
    }
}

struct FaultUpload {
    inner: Box<dyn Upload>,
    key: ObjectKey,
    faults: Faults,
}

#[async_trait]
impl Upload for FaultUpload {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let (verb, key) = ("write", self.key.as_str());
        let fault = self.faults.clock.step_at(verb, key);
        let bytes = match fault {
            Fault::TruncatedBody => Spoil::Truncate.bytes(bytes),
            Fault::WrongBody => Spoil::Flip.bytes(bytes),
            _ => bytes,
        };
        let effect = self.inner.write(bytes);
        self.faults.once(fault, verb, key, effect, unspoiled).await
    }

    async fn commit(self: Box<Self>, expected: Checksums) -> Result<()> {
        let FaultUpload { inner, key, faults } = *self;
        let verb = "commit";
        let fault = faults.clock.step_at(verb, key.as_str());
        let effect = inner.commit(expected);
        faults
            .once(fault, verb, key.as_str(), effect, unspoiled)
            .await?;
        match fault {
            // The second finds what the first made.
            Fault::Twice => Err(faults.error(ErrorKind::AlreadyExists, verb, &key)),
            _ => Ok(()),
        }
    }

    async fn abort(self: Box<Self>) -> Result<()> {
        let FaultUpload { inner, key, faults } = *self;
        let fault = faults.clock.step_at("abort", key.as_str());
        faults
            .once(fault, "abort", key.as_str(), inner.abort(), unspoiled)
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MemoryStore, Outcome, conformance};

    fn key(text: &str) -> ObjectKey {
        text.parse().expect("a key")
    }

    fn with(clock: Arc<FaultClock>) -> (MemoryStore, FaultStore) {
        let memory = MemoryStore::new();
        let store = FaultStore::new(Arc::new(memory.clone()), clock);
        (memory, store)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn without_faults_every_contract_holds() {
        conformance::run_all(|| {
            Arc::new(FaultStore::new(
                Arc::new(MemoryStore::new()),
                FaultClock::calm(),
            ))
        })
        .await;
    }

    #[tokio::test]
    async fn an_error_before_has_no_effect_and_one_after_has_it() {
        for (fault, outcome, created) in [
            (
                Fault::ErrorBefore(ErrorKind::Transient),
                Outcome::NoEffect,
                false,
            ),
            (
                Fault::ErrorAfter(ErrorKind::Timeout),
                Outcome::Unknown,
                true,
            ),
        ] {
            let (memory, store) = with(FaultClock::nth(0, fault));
            let error = store
                .create(&key("k"), "body".into())
                .await
                .expect_err("injected");
            assert_eq!(error.outcome, outcome);
            assert!(error.is_transient());
            assert_eq!(!memory.keys().is_empty(), created);
        }
    }

    #[tokio::test]
    async fn bodies_are_spoiled_without_an_error() {
        let (_, store) = with(FaultClock::new(|op| match op.n {
            1 => Fault::TruncatedBody,
            2 => Fault::WrongBody,
            _ => Fault::None,
        }));
        store.create(&key("k"), "body".into()).await.expect("made");
        let short = store.get(&key("k"), 0..4).await.expect("read");
        assert_eq!(&short[..], b"bo");
        let wrong = store.get_all(&key("k"), 4).await.expect("read");
        assert_eq!(wrong.len(), 4);
        let bits: u32 = wrong
            .iter()
            .zip(b"body")
            .map(|(a, b)| (a ^ b).count_ones())
            .sum();
        assert_eq!(bits, 1);
    }

    #[tokio::test]
    async fn a_bit_flipped_in_an_upload_is_found_by_its_commit() {
        let (memory, store) = with(FaultClock::nth(1, Fault::WrongBody));
        let mut upload = store.upload(&key("k"), 4).await.expect("begun");
        upload.write("body".into()).await.expect("written");
        let error = upload.commit(Checksums::of(b"body")).await;
        assert_eq!(error.expect_err("refused").kind, ErrorKind::BadDigest);
        assert!(memory.keys().is_empty());
    }

    #[tokio::test]
    async fn a_crash_at_each_operation_of_an_upload_leaves_all_or_nothing() {
        let scenario = async |store: &FaultStore| {
            let mut upload = store.upload(&key("k"), 4).await?;
            upload.write("bo".into()).await?;
            upload.write("dy".into()).await?;
            upload.commit(Checksums::of(b"body")).await?;
            store.head(&key("k")).await.map(drop)
        };
        let (_, store) = with(FaultClock::calm());
        scenario(&store).await.expect("calm");
        let operations = store.faults.clock.count();
        assert_eq!(operations, 5);
        for n in 0..operations {
            for (fault, last_without) in [(Fault::CrashBefore, 3), (Fault::CrashAfter, 2)] {
                let (memory, store) = with(FaultClock::nth(n, fault));
                let error = scenario(&store).await.expect_err("crashed");
                assert!(!error.is_transient() && error.to_string().contains("crashed"));
                assert_eq!(memory.keys().is_empty(), n <= last_without, "{fault:?} {n}");
                let dead = store.head(&key("k")).await.expect_err("dead");
                assert!(dead.to_string().contains("crashed"));
            }
        }
    }

    #[tokio::test]
    async fn a_create_carried_out_twice_finds_what_it_made() {
        let (memory, store) = with(FaultClock::nth(0, Fault::Twice));
        let error = store.create(&key("k"), "body".into()).await;
        assert!(error.expect_err("the second").already_exists());
        assert_eq!(memory.keys(), [key("k")]);
    }

    #[tokio::test]
    async fn a_reset_has_no_effect_and_nobody_can_know() {
        let (memory, store) = with(FaultClock::nth(0, Fault::Reset));
        let error = store.create(&key("k"), "body".into()).await;
        assert_eq!(error.expect_err("reset").outcome, Outcome::Unknown);
        assert!(memory.keys().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_takes_its_time_and_ends_as_a_timeout_without_effect() {
        let time = std::time::Duration::from_secs(120);
        let (memory, store) = with(FaultClock::nth(0, Fault::Stall(time)));
        let begun = tokio::time::Instant::now();
        let error = store.create(&key("k"), "body".into()).await;
        let error = error.expect_err("stalled");
        assert_eq!(
            (error.kind, error.outcome),
            (ErrorKind::Timeout, Outcome::Unknown)
        );
        assert_eq!(begun.elapsed(), time);
        assert!(memory.keys().is_empty());
    }

    #[tokio::test]
    async fn a_throttled_request_has_no_effect_and_says_when_to_come_back() {
        let time = std::time::Duration::from_secs(7);
        let (memory, store) = with(FaultClock::nth(0, Fault::Throttled(time)));
        let error = store.create(&key("k"), "body".into()).await;
        let error = error.expect_err("throttled");
        assert_eq!(error.retry_after, Some(time));
        assert_eq!(error.outcome, Outcome::NoEffect);
        assert!(memory.keys().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_create_takes_effect_after_it_was_told_to_have_failed() {
        let time = std::time::Duration::from_secs(7);
        let (memory, store) = with(FaultClock::nth(0, Fault::Late(time)));
        let error = store.create(&key("k"), "body".into()).await;
        assert_eq!(error.expect_err("late").outcome, Outcome::Unknown);
        assert!(memory.keys().is_empty());
        tokio::time::sleep(2 * time).await;
        assert_eq!(memory.keys(), [key("k")]);
    }
}

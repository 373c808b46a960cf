//! A store whose gets come in pieces, each when it is told to.

use crate::model::ObjectKey;
use crate::store::{
    Error, ErrorKind, Listing, ObjectMeta, OnPiece, Result, SharedStore, Store, Upload,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::ops::Range;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// What becomes of the next piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It comes.
    Piece,
    /// The get ends here, with an error that passes.
    CutOff,
}

/// Decorates a store: what [`Store::get_in_pieces`] gives comes in pieces of one length, and each waits for a step. Once nobody can
/// tell any more, the rest comes. The other verbs know of no steps.
pub struct InPieces {
    inner: SharedStore,
    piece_bytes: usize,
    steps: Mutex<UnboundedReceiver<Step>>,
}

impl InPieces {
    /// `inner` in pieces of `piece_bytes` (not 0), and who tells what becomes of them.
    pub fn new(inner: SharedStore, piece_bytes: usize) -> (InPieces, UnboundedSender<Step>) {
        let (tell, steps) = unbounded_channel();
        let store = InPieces {
            inner,
            piece_bytes,
            steps: Mutex::new(steps),
        };
        (store, tell)
    }
}

#[async_trait]
impl Store for InPieces {
    async fn create(&self, key: &ObjectKey, body: Bytes) -> Result<()> {
        self.inner.create(key, body).await
    }

    async fn upload(&self, key: &ObjectKey, size_hint: u64) -> Result<Box<dyn Upload>> {
        self.inner.upload(key, size_hint).await
    }

    async fn get(&self, key: &ObjectKey, range: Range<u64>) -> Result<Bytes> {
        self.inner.get(key, range).await
    }

    async fn get_in_pieces(
        &self,
        key: &ObjectKey,
        range: Range<u64>,
        on_piece: OnPiece<'_>,
    ) -> Result<()> {
        let mut left = self.inner.get(key, range).await?;
        while !left.is_empty() {
            let step = self.steps.lock().await.recv().await;
            if step == Some(Step::CutOff) {
                let error = Error::new(ErrorKind::Transient, "get", key, self.describe());
                return Err(error.because("cut off"));
            }
            on_piece(left.split_to(self.piece_bytes.min(left.len())));
        }
        Ok(())
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
        self.inner.describe()
    }
}

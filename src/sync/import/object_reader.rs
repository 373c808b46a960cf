//! An object read from front to back on a thread that may block, the next piece on its way while one is used.

use super::pile::{Object, ReadFault};
use crate::store;
use bytes::{Buf as _, Bytes};
use std::io::{self, Read};
use tokio::task::JoinHandle;

/// The first piece: enough to see what an object is, because most of a bucket may be something else.
const FIRST_PIECE_BYTES: u64 = 64 << 10;
/// Every other one: a request's price is spread over so much, and two of them are held.
const PIECE_BYTES: u64 = 4 << 20;

/// Reads one object.
pub struct ObjectReader {
    object: Object,
    /// Where the next request begins.
    next: u64,
    current: Bytes,
    ahead: Option<JoinHandle<store::Result<Bytes>>>,
}

impl ObjectReader {
    /// Begins to read `object`. Nothing is asked for yet.
    pub fn new(object: Object) -> ObjectReader {
        ObjectReader {
            object,
            next: 0,
            current: Bytes::new(),
            ahead: None,
        }
    }

    /// Asks for the next piece, unless there is none.
    fn ask(&mut self) -> Option<JoinHandle<store::Result<Bytes>>> {
        let length = match self.next {
            0 => FIRST_PIECE_BYTES,
            _ => PIECE_BYTES,
        };
        let range = self.next..self.next.saturating_add(length).min(self.object.size);
        if range.is_empty() {
            return None;
        }
        self.next = range.end;
        let Object {
            runtime,
            store,
            key,
            ..
        } = self.object.clone();
        Some(runtime.spawn(async move { store.get(&key, range).await }))
    }

    fn next_piece(&mut self) -> io::Result<Bytes> {
        let is_first = self.next == 0;
        let asked = self.ahead.take().or_else(|| self.ask());
        let Some(asked) = asked else {
            return Ok(Bytes::new());
        };
        // Whoever asks for a second piece reads on.
        if !is_first {
            self.ahead = self.ask();
        }
        let piece = self.object.runtime.block_on(asked);
        let piece = piece.map_err(|error| ReadFault::of(&error))?;
        piece.map_err(|error| ReadFault::of(&error))
    }
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() {
            self.current = self.next_piece()?;
        }
        let n = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..n]);
        Ok(n)
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        if let Some(ahead) = &self.ahead {
            ahead.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ObjectKey;
    use crate::store::{MemoryStore, RecordingStore};
    use std::sync::Arc;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_object_is_read_whole_and_a_look_at_its_beginning_costs_one_small_request() {
        let body: Vec<u8> = (0..10_000_000u32).map(|n| (n / 7) as u8).collect();
        let memory = MemoryStore::new();
        let key: ObjectKey = "binlog.000001.gz".parse().expect("a key");
        memory.tamper(&key, body.clone());
        let recording = Arc::new(RecordingStore::new(Arc::new(memory)));
        let reader = || {
            ObjectReader::new(Object {
                runtime: tokio::runtime::Handle::current(),
                store: Arc::clone(&recording) as crate::store::SharedStore,
                key: key.clone(),
                size: body.len() as u64,
            })
        };
        let (mut look, mut whole) = (reader(), reader());
        tokio::task::spawn_blocking(move || look.read_exact(&mut [0; 100]))
            .await
            .expect("ends")
            .expect("reads");
        assert_eq!(recording.calls().len(), 1, "{:?}", recording.calls());
        let read = tokio::task::spawn_blocking(move || {
            let mut read = Vec::new();
            whole.read_to_end(&mut read).map(|_| read)
        });
        assert!(read.await.expect("ends").expect("reads") == body);
        assert_eq!(recording.calls().len(), 1 + 4);
    }
}

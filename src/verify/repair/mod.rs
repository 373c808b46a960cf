//! Healing a stream from its replicas, and from the files that its server has still. What they give is proven before anything is done
//! with it.

mod objects;
mod records;

use crate::ledger::stream_file::STREAM_FILE_MAX_BYTES;
use crate::ledger::{RECORDS_PREFIX, StreamFile};
use crate::model::{ObjectKey, Seq};
use crate::store::SharedStore;
use crate::sync::heal::OwnFiles;
use anyhow::{Result, bail};
use bytes::Bytes;
use records::record_in;

/// What may be done.
#[derive(Clone, Debug)]
pub struct Repair {
    /// Remove a record or page that is damaged, so that the right one can be created. Nothing else is ever removed.
    pub replace: bool,
    /// Host name and version, for the records that are made.
    pub archiver: String,
    /// The server's own files, if they may heal what no replica can.
    pub own_files: Option<OwnFiles>,
}

/// How a thing was put into its place.
enum Put {
    /// Nothing stood there.
    Created,
    /// What stood there was removed.
    Replaced,
    /// Something stands there, and may not be removed.
    InTheWay,
}

impl Put {
    fn told(&self, what: &str) -> String {
        match self {
            Put::Created => format!("{what} was created again from a replica"),
            Put::Replaced => {
                format!("what stood there was removed, and {what} created from a replica")
            }
            Put::InTheWay => format!(
                "a replica has it, and what stands there cannot be overwritten: remove {what} and run again, or pass --replace, which does \
                 both and takes the right to delete"
            ),
        }
    }

    fn is_done(&self) -> bool {
        match self {
            Put::Created | Put::Replaced => true,
            Put::InTheWay => false,
        }
    }
}

impl Repair {
    /// Creates `key` with `body`, which is known to be right.
    async fn put(&self, store: &SharedStore, key: &ObjectKey, body: Bytes) -> Result<Put> {
        match store.create(key, body.clone()).await {
            Ok(()) => return Ok(Put::Created),
            Err(error) if !error.already_exists() => return Err(error.into()),
            Err(_) if !self.replace => return Ok(Put::InTheWay),
            Err(_) => {}
        }
        store.delete(key).await?;
        store.create(key, body).await?;
        Ok(Put::Replaced)
    }

    /// Puts `stream.json` of a replica into `store`, where there is none that can be read. Says what was done.
    ///
    /// # Errors
    /// When no replica has one, replicas differ or are of another stream, or the one that is there may not be replaced.
    pub async fn stream_file(
        &self,
        store: &SharedStore,
        replicas: &[SharedStore],
    ) -> Result<String> {
        let key = StreamFile::key();
        let mut found: Option<Bytes> = None;
        for replica in replicas {
            let Ok(bytes) = replica.get_all(&key, STREAM_FILE_MAX_BYTES).await else {
                continue;
            };
            if StreamFile::read(&bytes).is_err() {
                continue;
            }
            if !begins(store, replica, &bytes).await? {
                bail!(
                    "the stream.json in {} is not the one that the ledger in {} begins with: name a replica of this stream",
                    replica.describe(),
                    store.describe()
                );
            }
            if found.as_ref().is_some_and(|found| *found != bytes) {
                bail!("the replicas are of different streams: name those of this one only");
            }
            found = Some(bytes);
        }
        let Some(bytes) = found else {
            bail!("no replica has a stream.json that can be read");
        };
        let put = self.put(store, &key, bytes).await?;
        let told = put.told("stream.json");
        if !put.is_done() {
            bail!("{told}");
        }
        Ok(told)
    }
}

/// Whether the ledger in `store` begins with these bytes of a `stream.json`: its first record names them. Where that cannot be read, the
/// replica's does, if the second one here continues it. A store without any record tells nothing against them.
async fn begins(store: &SharedStore, replica: &SharedStore, bytes: &Bytes) -> Result<bool> {
    let hash = StreamFile::hash(bytes);
    if let Some(first) = record_in(store, Seq(1)).await {
        return Ok(first.record().prev == hash);
    }
    if store.list(RECORDS_PREFIX, None).await?.objects.is_empty() {
        return Ok(true);
    }
    let (first, second) = (
        record_in(replica, Seq(1)).await,
        record_in(store, Seq(2)).await,
    );
    Ok(first.zip(second).is_some_and(|(first, second)| {
        first.record().prev == hash && second.record().prev == first.hash()
    }))
}

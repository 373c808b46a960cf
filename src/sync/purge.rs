//! Which binlogs of a server may be purged because the archive holds them, and purging them.
//!
//! Nothing is believed that can be asked: the files' heads are read now, found in the ledger by hash and number, their
//! objects are looked at in the store now, and the server says who it is on the connection that purges. Only the oldest
//! files, without a break, are ever named. They go in small steps, and before each step all of it is asked again.

use super::listed::{Blocked, clear_suspects, look_up, read_batch_before_fault};
use super::plan::Seen;
use crate::index::Index;
use crate::ledger::record::ObjectRecord;
use crate::ledger::{LedgerState, record_key};
use crate::model::FileName;
use crate::model::counted::count;
use crate::source::Source;
use crate::source::server::{
    Identity, Mismatch, Server, ServerFacts, ServerLog, cross_check, persistent,
};
use crate::store::SharedStore;
use anyhow::{Result, bail};
use futures::StreamExt as _;
use serde::Serialize;
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Files in one PURGE: deleting holds the server's lock on its index.
const STEP_FILES: usize = 10;
/// HEAD requests in flight at a time.
const HEADS_IN_FLIGHT: usize = 8;

/// Where the files are, where they are archived, and who is asked.
pub struct Purge<'a> {
    /// The server's files.
    pub source: &'a Source,
    /// The server.
    pub server: &'a Server,
    /// The archive.
    pub store: SharedStore,
    /// Stores that must have a copy of what is purged.
    pub replicas: Vec<SharedStore>,
    /// Its index, followed to the end of the ledger.
    pub index: &'a Index,
    /// The ledger.
    pub state: &'a LedgerState,
    /// The newest files, the active one among them, that stay in any case; at least 1.
    pub keep: usize,
}

/// A file that the archive does not cover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotCovered {
    /// The file.
    pub file: FileName,
    /// Why not.
    pub reason: String,
}

/// What may be purged.
#[derive(Clone, Debug, Default, Serialize)]
pub struct PurgePlan {
    /// The oldest files, all archived, oldest first.
    pub files: Vec<FileName>,
    /// Their bytes.
    pub bytes: u64,
    /// PURGE BINARY LOGS TO this file: the first that stays. `None` when nothing can go.
    pub to: Option<FileName>,
    /// Where each step of `files` ends.
    #[serde(skip)]
    step_to: Option<FileName>,
    /// Files old enough to go that the archive does not cover.
    pub not_covered: Vec<NotCovered>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// What was purged.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Purged {
    /// Files that the server no longer lists.
    pub files: Vec<FileName>,
    /// What the server said.
    pub notes: Vec<String>,
}

impl Purge<'_> {
    /// Finds what may be purged now.
    ///
    /// # Errors
    /// When source, server and archive are not of the same server, or any of them does not answer.
    pub async fn plan(&self) -> Result<(PurgePlan, Identity)> {
        let facts = self.server.facts().await?;
        let mismatches = self.look_twice().await?;
        let batch = read_batch_before_fault(self.source)?;
        check_same_server(self.source, batch.listing.server_uuid, &facts)?;
        // One that is encrypted is not covered, and needs no more than that: its head says so too.
        let is_other = |mismatch: &&Mismatch| !matches!(mismatch, Mismatch::Encrypted(_));
        if let Some(mismatch) = mismatches.iter().find(is_other) {
            bail!("{mismatch}; nothing was purged");
        }
        let server_uuid = facts.server_uuid();
        let mut seen = look_up(self.index, self.state, batch.heads)?;
        clear_suspects(self.source, self.index, &mut seen)?;
        let keep = self.keep.max(1);
        let beyond = batch.blocked.as_ref().map_or(0, Blocked::count);
        let old = seen.len().saturating_sub(keep.saturating_sub(beyond));
        let mut plan = PurgePlan::default();
        let reasons: Vec<Option<String>> = futures::stream::iter(&seen[..old])
            .map(|file| self.not_covered(file, server_uuid))
            .buffered(HEADS_IN_FLIGHT)
            .collect()
            .await;
        for (file, reason) in seen.iter().zip(reasons) {
            let name = file.listed.file.clone();
            match reason {
                Some(reason) => plan.not_covered.push(NotCovered { file: name, reason }),
                // Past the first that is not covered, nothing can go: a PURGE takes all that is older.
                None if plan.not_covered.is_empty() => {
                    plan.files.push(name);
                    plan.bytes += file.size;
                }
                None => {}
            }
        }
        if let Some(blocked) = batch.blocked.as_ref().filter(|_| beyond > keep) {
            plan.not_covered.push(NotCovered {
                file: blocked.file.clone(),
                reason: format!("cannot be looked into: {}", blocked.error),
            });
        }
        let names = seen.iter().map(|file| &file.listed.file);
        let names = names.chain(batch.blocked.as_ref().map(|blocked| &blocked.file));
        let at = |n: usize| names.clone().nth(n).cloned();
        if !plan.files.is_empty() {
            plan.to = at(plan.files.len());
            plan.step_to = at(plan.files.len().min(STEP_FILES));
        }
        plan.notes = self.notes().await;
        Ok((plan, facts.identity))
    }

    /// Purges what may be purged, in small steps, all of it asked anew before each.
    ///
    /// # Errors
    /// As [`Purge::plan`], and when the server refuses. What was purged stays purged.
    pub async fn execute(&self) -> Result<(PurgePlan, Purged)> {
        let (first, identity) = self.plan().await?;
        let mut purged = Purged::default();
        let mut plan = first.clone();
        let last = first.to.clone();
        while let (Some(to), Some(_)) = (&plan.step_to, &plan.to) {
            let before = self.server.binary_logs().await?;
            let notes = self.server.purge_to(to, &identity).await?;
            purged.notes.extend(notes);
            let after = self.server.binary_logs().await?;
            let gone = gone(&before, &after);
            if gone.is_empty() {
                let stays = "the server kept the files: a connected replica or its own crash recovery may still read them; run again later";
                purged.notes.push(stays.to_owned());
                break;
            }
            purged.files.extend(gone);
            // What was planned at the beginning, and nothing that closed or was archived since.
            if after.first().map(|log| &log.name) == last.as_ref() {
                break;
            }
            let (next, now) = self.plan().await?;
            if now != identity {
                bail!(
                    "another server answers now ({now}, it was {identity}); nothing more was purged"
                );
            }
            plan = next;
        }
        Ok((first, purged))
    }

    /// What two looks at disk and server both find wrong.
    async fn look_twice(&self) -> Result<Vec<Mismatch>> {
        let first = self.look().await?;
        if first.is_empty() {
            return Ok(first);
        }
        Ok(persistent(&first, &self.look().await?))
    }

    async fn look(&self) -> Result<Vec<Mismatch>> {
        let listing = self.source.list()?;
        let logs = self.server.binary_logs().await?;
        let mut on_disk = Vec::with_capacity(listing.files.len());
        for listed in listing.files {
            if let Some(file) = self.source.open_listed(&listed)? {
                on_disk.push((listed.file, file.size(), listed.closed));
            }
        }
        Ok(cross_check(&on_disk, &logs))
    }

    /// Why the archive does not cover a file. `None` when it does.
    async fn not_covered(&self, file: &Seen, server_uuid: Option<uuid::Uuid>) -> Option<String> {
        if !file.listed.closed {
            return Some("is the active file".to_owned());
        }
        let Some(archived) = file.archived else {
            return Some(
                "is not archived, or not as it is now (its head and number are in no record)"
                    .to_owned(),
            );
        };
        let entry = match self.index.entry_by_seq(archived.seq) {
            Ok(entry) => entry,
            Err(e) => return Some(e.to_string()),
        };
        if let Some(entry) = &entry {
            match self.index.is_pruned(entry.timeline, &entry.mount_name) {
                Ok(false) => {}
                Ok(true) => {
                    let why = "was archived, and pruned from the archive since: purge it by hand if nobody needs it";
                    return Some(why.to_owned());
                }
                Err(e) => return Some(e.to_string()),
            }
        }
        let Some(segment) = entry.and_then(|entry| entry.segment) else {
            return Some(format!("record {} holds no segment", archived.seq));
        };
        if segment.size != file.size {
            return Some(format!(
                "has {} and {} were archived",
                count(file.size, "byte"),
                segment.size
            ));
        }
        match (segment.server_uuid, server_uuid) {
            (Some(recorded), Some(now)) if recorded != now => {
                return Some(format!(
                    "was archived from the server {recorded}, this is {now}"
                ));
            }
            _ => {}
        }
        if let Some(wrong) = wrong_object(&self.store, &segment.object).await {
            return Some(wrong);
        }
        for replica in &self.replicas {
            let wrong = match replica.head(&record_key(archived.seq)).await {
                Ok(_) => wrong_object(replica, &segment.object).await,
                Err(e) => Some(e.to_string()),
            };
            if let Some(wrong) = wrong {
                return Some(format!("is not in every replica: {wrong}"));
            }
        }
        None
    }

    /// Replicas: those that are connected the server protects itself, by keeping what they read; others nobody sees.
    async fn notes(&self) -> Vec<String> {
        let connected = match self.server.connected_readers().await {
            Ok(0) => "no replica is seen connected (seeing them takes PROCESS)".to_owned(),
            Ok(n) => format!("{n} connected: the server keeps what they still read"),
            Err(e) => format!("connected replicas are not known: {e}"),
        };
        vec![format!(
            "replicas: {connected}. One that is disconnected is never seen: what it has not fetched may be purged"
        )]
    }
}

/// What is wrong with an object, as the store knows it now.
async fn wrong_object(store: &SharedStore, object: &ObjectRecord) -> Option<String> {
    let wrong = match store.head(&object.key).await {
        Err(e) => e.to_string(),
        Ok(meta) => format!("it {}", meta.difference(&object.checksums())?),
    };
    Some(format!(
        "its object {} in {} is not as archived: {wrong}",
        object.key,
        store.describe()
    ))
}

/// What the server listed before and does not list now.
fn gone(before: &[ServerLog], after: &[ServerLog]) -> Vec<FileName> {
    let left: HashSet<&FileName> = after.iter().map(|log| &log.name).collect();
    let gone = before.iter().filter(|log| !left.contains(&log.name));
    gone.map(|log| log.name.clone()).collect()
}

/// The files and the connection are of one server: by `auto.cnf`, or by the index file where there is no UUID.
fn check_same_server(
    source: &Source,
    on_disk: Option<uuid::Uuid>,
    facts: &ServerFacts,
) -> Result<()> {
    match (on_disk, facts.server_uuid()) {
        (Some(disk), Some(server)) if disk == server => return Ok(()),
        (Some(disk), Some(server)) => bail!(
            "auto.cnf beside {} says server_uuid {disk}, and the server asked says {server}: --source and --mysql are not the same \
             server; nothing was purged",
            source.index_path().display()
        ),
        (None | Some(_), None) | (None, Some(_)) => {}
    }
    let named = facts.log_bin_index().unwrap_or("no file");
    let file = |path: &Path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.dev(), meta.ino()))
    };
    // A relative name is below the data directory, which is the index file's own.
    let beside = source.index_path().parent().unwrap_or(Path::new("."));
    let same =
        file(&beside.join(named)).is_some_and(|there| Some(there) == file(source.index_path()));
    if !same {
        bail!(
            "there is no server_uuid to compare, and the server's binlog index file is {named}, not {}: name that one with --source, on \
             the server's own host; nothing was purged",
            source.index_path().display()
        );
    }
    Ok(())
}

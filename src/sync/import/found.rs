//! What a pile was found to hold.

use super::compression::Compression;
use super::pile::Item;
use crate::binlog::{Head, Summary};
use crate::model::Sha256;
use std::sync::Arc;

/// A binlog in the pile, read once.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it lies.
    pub item: Item,
    /// How it is stored.
    pub compression: Compression,
    /// What the scan tells, without the index of its statements.
    pub summary: Summary,
    /// SHA-256 of the file as its server wrote it.
    pub sha256: Sha256,
}

impl Found {
    /// Its head, as a listing has it.
    pub fn head(&self) -> Head {
        let summary = &self.summary;
        Head {
            head: summary.head,
            flavour: summary.flavour,
            server_version: summary.server_version.clone(),
            server_id: summary.server_id,
            checksum: summary.checksum,
            in_use: summary.in_use,
            created: summary.created,
            previous_gtids: summary.previous_gtids.clone(),
            first_event_type: None,
            end: 0,
            damage: summary.damage.clone(),
        }
    }
}

/// What else is in the pile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its path below the pile's.
    pub path: String,
    /// Why it is not imported.
    pub reason: String,
}

/// All of a pile.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// The binlogs.
    pub binlogs: Vec<Arc<Found>>,
    /// What is, or may be, a binlog, and cannot be imported.
    pub refused: Vec<Left>,
    /// What is no binlog at all.
    pub foreign: Vec<Left>,
}

//! What a look at an archive has shown: for people, and as a document for auditors.

use crate::cli::status_locks::LockCounts;
use crate::cli::{Global, output};
use crate::model::{Micros, Sha256, StoreUrl};
use crate::verify::objects::{Fenced, Replaced};
use crate::verify::{Audit, Finding, Proofs, Segment};
use anyhow::Result;
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// What was looked at, and what was found.
#[derive(Serialize)]
pub struct Report {
    version: &'static str,
    url: String,
    stream_id: String,
    started_at: String,
    ended_at: String,
    records: u64,
    /// SHA-256 of the newest record: of two reports with the same one, the ledger was the same.
    ledger_head: Option<Sha256>,
    pages: u64,
    segments: u64,
    /// Entries that were pruned: that they have no object is no finding.
    pruned: u64,
    /// Segments read to their end.
    pub segments_read: u64,
    /// Bytes of the server's files in them.
    pub bytes_read: u64,
    findings: Vec<Finding>,
    /// Objects that no record names, if they were looked for and it can be told.
    pub orphans: Option<Vec<String>>,
    /// Objects that later records have replaced, if they were looked for.
    pub superseded: Option<Vec<Replaced>>,
    /// What fences took out and is still there, if it was looked for.
    pub fenced: Option<Fenced>,
    /// The locks, if they were asked for.
    pub locks: Option<LockCounts>,
    /// Why not all was looked at, if a step failed.
    pub failed: Option<String>,
    results: Vec<SegmentResult>,
    /// Records of the segments that were read.
    #[serde(skip)]
    pub read: HashSet<u64>,
    #[serde(skip)]
    proven_at: HashMap<u64, Micros>,
}

/// One segment.
#[derive(Serialize)]
struct SegmentResult {
    segment: String,
    record: u64,
    object: String,
    size: u64,
    stored_size: u64,
    sha256: Sha256,
    /// `content` if all of it was read in this run, else `object`: that it is there, its size and its checksums.
    checked: &'static str,
    /// `right`, `wrong`, or `healed`.
    result: &'static str,
    /// When this host last read all of it and found it right.
    proven_at: Option<String>,
}

impl Report {
    /// One of a run that began at `started_at`.
    pub fn new(url: &StoreUrl, started_at: Micros, audit: &Audit) -> Report {
        Report {
            version: env!("CARGO_PKG_VERSION"),
            url: url.to_string(),
            stream_id: audit.stream().file().stream_id.to_string(),
            started_at: started_at.to_string(),
            ended_at: String::new(),
            records: 0,
            ledger_head: None,
            pages: 0,
            segments: 0,
            pruned: 0,
            segments_read: 0,
            bytes_read: 0,
            findings: Vec::new(),
            orphans: None,
            superseded: None,
            fenced: None,
            locks: None,
            failed: None,
            results: Vec::new(),
            read: HashSet::new(),
            proven_at: HashMap::new(),
        }
    }

    /// Takes in when the segments were proven.
    pub fn proven(&mut self, segments: &[Segment], proofs: &Proofs) {
        for segment in segments {
            if let Some(at) = proofs.at(&segment.key) {
                self.proven_at.insert(segment.seq.0, at);
            }
        }
    }

    /// Takes in what was found.
    pub fn finish(&mut self, global: &Global, audit: &Audit) {
        self.ended_at = Micros::now().to_string();
        self.records = audit.state().last_seq.0;
        self.ledger_head = audit.state().last_hash;
        self.pages = audit.pages;
        self.segments = audit.segments.len() as u64;
        self.pruned = audit.pruned;
        self.findings.clone_from(&audit.findings);
        let mut wrong: HashMap<u64, bool> = HashMap::new();
        for finding in &self.findings {
            if let (Some(record), Some(_)) = (finding.record, &finding.segment) {
                *wrong.entry(record).or_insert(true) &= finding.healed;
            }
        }
        let result = |segment: &Segment| SegmentResult {
            segment: segment.name.to_string(),
            record: segment.seq.0,
            object: segment.key.to_string(),
            size: segment.size,
            stored_size: segment.stored.size,
            sha256: segment.sha256,
            checked: match self.read.contains(&segment.seq.0) {
                true => "content",
                false => "object",
            },
            result: match wrong.get(&segment.seq.0) {
                None => "right",
                Some(true) => "healed",
                Some(false) => "wrong",
            },
            proven_at: self.proven_at.get(&segment.seq.0).map(ToString::to_string),
        };
        // People are shown the findings alone.
        if global.json {
            self.results = audit.segments.iter().map(result).collect();
        }
    }

    /// Whether nothing is wrong any more.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.healed)
    }

    /// What is kept of what fences took out, and how it goes.
    fn fenced_text(&self) -> String {
        let Some(fenced) = self.fenced.filter(|fenced| fenced.objects > 0) else {
            return String::new();
        };
        let mut text = format!(
            "fenced: {}, {}: 'binlogfs ls --fenced' lists them, and they stay\n",
            output::count(fenced.objects, "object"),
            output::size(fenced.bytes)
        );
        if fenced.pruned > 0 {
            text += &format!(
                "'binlogfs prune {} --fenced --execute' deletes {} of them, up to where their timelines are pruned\n",
                self.url, fenced.pruned
            );
        }
        text
    }

    /// Prints it.
    pub fn print(&self, global: &Global) -> Result<()> {
        if global.json {
            return output::print_json(self);
        }
        let findings = self.findings.iter();
        let mut text: String = findings.map(|finding| format!("{finding}\n")).collect();
        let orphans = self.orphans.iter().flatten();
        text.extend(orphans.map(|key| format!("orphan: {key}\n")));
        let superseded = self.superseded.as_deref().unwrap_or_default();
        text.extend(superseded.iter().map(|old| {
            format!(
                "superseded: {}, by {} (record {})\n",
                old.object, old.replaced_by, old.record
            )
        }));
        if !superseded.is_empty() {
            text += &format!(
                "'binlogfs prune {} --superseded --execute' deletes what was superseded a day ago\n",
                self.url
            );
        }
        text += &self.fenced_text();
        if let Some(locks) = &self.locks {
            text += &locks.to_string();
        }
        text += &output::count(self.records, "record");
        if self.pages > 0 {
            text += &format!(", {}", output::count(self.pages, "page"));
        }
        text += &format!(", {}", output::count(self.segments, "segment"));
        if self.pruned > 0 {
            text += &format!(", {} pruned", self.pruned);
        }
        if self.segments_read > 0 || !self.read.is_empty() {
            let (read, bytes) = (self.segments_read, output::size(self.bytes_read));
            text += &format!(", {read} read ({bytes})");
        }
        if let Some(orphans) = &self.orphans {
            text += &format!(", {}", output::count(orphans.len() as u64, "orphan"));
        }
        if !superseded.is_empty() {
            text += &format!(", {} superseded", superseded.len());
        }
        let healed = self.findings.iter().filter(|finding| finding.healed);
        let healed = healed.count();
        text += &match (self.findings.len(), healed) {
            (0, _) => ": all as recorded\n".to_owned(),
            (n, 0) => format!(": {}\n", output::count(n as u64, "finding")),
            (n, healed) => {
                format!(
                    ": {}, {healed} healed\n",
                    output::count(n as u64, "finding")
                )
            }
        };
        if self.failed.is_some() {
            text += "not everything was looked at: this run failed before its end\n";
        }
        output::print(&text)
    }
}

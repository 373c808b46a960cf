//! What a look at an archive has shown: for people, and as a document for auditors.

use crate::cli::status_locks::LockCounts;
use crate::cli::{Global, output};
use crate::model::{Micros, Sha256, StoreUrl};
use crate::verify::objects::{Fenced, ReplacedObjects};
use crate::verify::{Audit, Finding, Proofs, Segment};
use serde::{Serialize, Serializer};
use std::collections::{HashMap, HashSet};

/// Bytes of text that are printed at once.
const PRINTED_AT_ONCE: usize = 64 << 10;

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
    pub superseded: Option<ReplacedObjects>,
    /// What fences took out and is still there, if it was looked for.
    pub fenced: Option<Fenced>,
    /// The locks, if they were asked for.
    pub locks: Option<LockCounts>,
    /// Why not all was looked at, if a step failed.
    pub failed: Option<String>,
    /// Records of the segments that were read.
    #[serde(skip)]
    pub read: HashSet<u64>,
    #[serde(skip)]
    proven_at: HashMap<u64, Micros>,
}

/// The report with what came of each segment: made as it is printed, because there may be a million.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    report: &'a Report,
    results: Results<'a>,
}

struct Results<'a> {
    report: &'a Report,
    segments: &'a [Segment],
    /// Records of the segments of which something was found wrong, and whether all of that was healed.
    wrong: HashMap<u64, bool>,
}

impl Serialize for Results<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.segments.iter().map(|segment| self.of(segment)))
    }
}

/// One segment.
#[derive(Serialize)]
struct SegmentResult<'a> {
    segment: &'a str,
    record: u64,
    object: &'a str,
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
    pub fn finish(&mut self, audit: &Audit) {
        self.ended_at = Micros::now().to_string();
        self.records = audit.state().last_seq.0;
        self.ledger_head = audit.state().last_hash;
        self.pages = audit.pages;
        self.segments = audit.segments.len() as u64;
        self.pruned = audit.pruned;
        self.findings.clone_from(&audit.findings);
    }

    fn document<'a>(&'a self, segments: &'a [Segment]) -> Document<'a> {
        let mut wrong: HashMap<u64, bool> = HashMap::new();
        for finding in &self.findings {
            if let (Some(record), Some(_)) = (finding.record, &finding.segment) {
                *wrong.entry(record).or_insert(true) &= finding.healed;
            }
        }
        Document {
            report: self,
            results: Results {
                report: self,
                segments,
                wrong,
            },
        }
    }

    /// Whether nothing is wrong any more.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.healed)
    }

    /// Adds what was superseded to `text`, which is printed when it is long: there may be a line for each of a million segments.
    fn print_superseded(&self, text: &mut String) -> anyhow::Result<()> {
        let Some(superseded) = self.superseded.as_ref().filter(|all| all.count() > 0) else {
            return Ok(());
        };
        for old in superseded.iter() {
            let old = old?;
            *text += &format!(
                "superseded: {}, by {} (record {})\n",
                old.object, old.replaced_by, old.record
            );
            if text.len() >= PRINTED_AT_ONCE {
                output::print(text)?;
                text.clear();
            }
        }
        *text += &format!(
            "'binlogfs prune {} --superseded --execute' deletes what was superseded a day ago\n",
            self.url
        );
        Ok(())
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

    /// Prints it, as a document with these segments. People are shown the findings alone.
    pub fn print(&self, global: &Global, segments: &[Segment]) -> anyhow::Result<()> {
        if global.json {
            return output::print_json(&self.document(segments));
        }
        let findings = self.findings.iter();
        let mut text: String = findings.map(|finding| format!("{finding}\n")).collect();
        let orphans = self.orphans.iter().flatten();
        text.extend(orphans.map(|key| format!("orphan: {key}\n")));
        self.print_superseded(&mut text)?;
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
        let superseded = self.superseded.as_ref().map_or(0, ReplacedObjects::count);
        if superseded > 0 {
            text += &format!(", {superseded} superseded");
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

impl Results<'_> {
    fn of<'a>(&self, segment: &'a Segment) -> SegmentResult<'a> {
        let (report, record) = (self.report, segment.seq.0);
        SegmentResult {
            segment: segment.name.as_str(),
            record,
            object: segment.key.as_str(),
            size: segment.size,
            stored_size: segment.stored.size,
            sha256: segment.sha256,
            checked: match report.read.contains(&record) {
                true => "content",
                false => "object",
            },
            result: match self.wrong.get(&record) {
                None => "right",
                Some(true) => "healed",
                Some(false) => "wrong",
            },
            proven_at: report.proven_at.get(&record).map(ToString::to_string),
        }
    }
}

//! One timeline, as `binlogfs status` tells of it.

use crate::cli::output;
use crate::cli::status_locks::Locks;
use crate::index::{Fence, Prune};
use crate::ledger::Entry;
use crate::model::{GtidSet, MountName, Seq, Timeline};
use serde::Serialize;

/// A timeline, summed up.
#[derive(Serialize, Default)]
pub struct TimelineStatus {
    /// Its number.
    pub timeline: u32,
    segments: u64,
    bytes: u64,
    stored_bytes: u64,
    transactions: u64,
    first: Option<String>,
    last: Option<String>,
    first_time: Option<String>,
    last_time: Option<String>,
    gtids: String,
    unencrypted: u64,
    single_writer: u64,
    /// The timeline that it left, and what of that it lacks.
    left: Option<Left>,
    fences: Vec<FenceStatus>,
    /// Where the history begins because of retention.
    pruned: Option<Pruned>,
    /// Until when its ends are locked, if that was asked.
    pub locks: Option<Locks>,
}

/// What retention took away.
#[derive(Serialize)]
struct Pruned {
    through: Option<MountName>,
    at: String,
    rule: String,
}

/// Where a timeline came from.
#[derive(Serialize)]
struct Left {
    timeline: Timeline,
    lost: String,
    late: bool,
}

/// Where a timeline ends.
#[derive(Serialize)]
struct FenceStatus {
    record: Seq,
    file: Option<String>,
    position: Option<u64>,
    recorded_at: String,
    reason: String,
}

impl TimelineStatus {
    /// A timeline of which no entry is counted yet.
    pub fn new(
        timeline: Timeline,
        archived: &GtidSet,
        fences: &[Fence],
        pruned: Option<Prune>,
    ) -> TimelineStatus {
        let of_it = fences.iter().filter(|fence| fence.timeline == timeline);
        TimelineStatus {
            timeline: timeline.0,
            gtids: archived.to_string(),
            fences: of_it.map(FenceStatus::of).collect(),
            pruned: pruned.map(|prune| Pruned {
                through: prune.through,
                at: prune.record.archived_at.to_string(),
                rule: prune.record.reason,
            }),
            ..TimelineStatus::default()
        }
    }

    /// Counts an entry, the next in replay order.
    pub fn add(&mut self, entry: &Entry) {
        let Some(segment) = &entry.segment else {
            return;
        };
        if let Some(branch) = &segment.branch {
            self.left = Some(Left {
                timeline: branch.timeline,
                lost: branch.lost.to_string(),
                late: branch.late,
            });
        }
        self.segments += 1;
        // Saturating: these are a record's numbers, and whoever can write to the bucket can make them up.
        self.bytes = self.bytes.saturating_add(entry.end());
        self.stored_bytes = self.stored_bytes.saturating_add(segment.object.size);
        self.transactions = self.transactions.saturating_add(entry.transactions());
        self.unencrypted += u64::from(segment.object.recipients.is_empty());
        self.single_writer += u64::from(segment.single_writer);
        let name = entry.mount_name.to_string();
        self.first.get_or_insert_with(|| name.clone());
        self.last = Some(name);
        if self.first_time.is_none() {
            self.first_time = segment.first_time.map(|time| time.to_string());
        }
        self.last_time = entry
            .last_time()
            .map(|time| time.to_string())
            .or(self.last_time.take());
    }

    /// For people.
    pub fn print(&self) -> String {
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let encrypted = match self.unencrypted {
            0 => "all encrypted".to_owned(),
            n if n == self.segments => "not encrypted".to_owned(),
            n => format!("{n} not encrypted"),
        };
        let single_writer = match self.single_writer {
            0 => String::new(),
            n => format!(
                "  single writer {n} archived where the store does not refuse to overwrite (--single-writer)\n"
            ),
        };
        let pruned = self.pruned.as_ref().map(|pruned| {
            let through = pruned.through.as_ref().map_or("-", MountName::as_str);
            let (at, rule) = (&pruned.at, &pruned.rule);
            format!("  pruned        up to {through}, on {at} ({rule})\n")
        });
        let pruned = pruned.unwrap_or_default();
        let locks = self.locks.as_ref().map(ToString::to_string);
        let locks = locks.unwrap_or_default();
        let text = format!(
            "\ntimeline {}\n  segments      {} ({} to {}), {encrypted}\n{single_writer}  size          {} stored as {}\n  transactions  {}\n  from          {}\n{pruned}  to            {}\n  gtids         {}\n{locks}",
            self.timeline,
            self.segments,
            dash(&self.first),
            dash(&self.last),
            output::size(self.bytes),
            output::size(self.stored_bytes),
            self.transactions,
            dash(&self.first_time),
            dash(&self.last_time),
            if self.gtids.is_empty() {
                "-"
            } else {
                &self.gtids
            },
        );
        text + &self.print_bounds()
    }

    /// Where it begins and ends, if that is not with the first and the last file.
    fn print_bounds(&self) -> String {
        let mut text = String::new();
        if let Some(left) = &self.left {
            text += &match (left.late, left.lost.is_empty()) {
                (true, _) => format!(
                    "  late tail     of a server that timeline {} does not go on from\n",
                    left.timeline
                ),
                (false, true) => format!("  branch        has left timeline {}\n", left.timeline),
                (false, false) => format!(
                    "  branch        has left timeline {}, and lacks its {}\n",
                    left.timeline, left.lost
                ),
            };
        }
        for fence in &self.fences {
            let file = fence.file.as_deref().unwrap_or("-");
            let position = fence
                .position
                .map_or(String::new(), |at| format!(" at byte {at}"));
            text += &format!(
                "  fence         in {file}{position}: {} (record {}, {})\n",
                fence.reason, fence.record, fence.recorded_at
            );
        }
        text
    }
}

impl FenceStatus {
    fn of(fence: &Fence) -> FenceStatus {
        FenceStatus {
            record: fence.seq,
            file: fence.mount_name.as_ref().map(ToString::to_string),
            position: fence.position,
            recorded_at: fence.recorded_at.to_string(),
            reason: fence.reason.clone(),
        }
    }
}

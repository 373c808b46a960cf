//! What a backup can recover, or why it cannot.

use super::BackupId;
use crate::model::{GtidSet, Micros, MountName, Seq, Timeline};
use serde::{Serialize, Serializer};
use std::fmt;

/// What can be recovered from a backup, as the ledger tells: no segment was read for it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Window {
    /// The timeline it is recovered on.
    pub timeline: Timeline,
    /// Where the replay begins; `None`: it holds all that is archived.
    pub start: Option<WindowStart>,
    /// The backup is not older: it holds all that was committed by then.
    #[serde(serialize_with = "time")]
    pub not_before: Option<Micros>,
    /// From this moment on.
    #[serde(serialize_with = "time")]
    pub earliest: Option<Micros>,
    /// Whether that is the moment of the backup itself. Otherwise it may lie earlier, by less than a file.
    pub earliest_is_exact: bool,
    /// Up to this moment: the last commit that can be replayed without a moment in between that cannot be reached. A plan may get past
    /// what ends it, in the files of a successor that says again all of that; the moments in it stay unknown.
    #[serde(serialize_with = "time")]
    pub latest: Option<Micros>,
    /// What ends it; `None`: the end of all that is archived.
    pub ends_at: Option<WindowEnd>,
}

impl Window {
    /// The backup was there at `time`, by a clock that may be wrong: its moment is not later.
    pub fn was_there(&mut self, time: Micros) {
        let is_sooner = self.earliest.is_some_and(|earliest| time < earliest);
        if !self.earliest_is_exact && is_sooner && self.not_before <= Some(time) {
            self.earliest = Some(time);
        }
    }
}

/// The first entry of which something is to be replayed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WindowStart {
    /// The record that introduced it.
    pub seq: Seq,
    /// Its name.
    pub file: MountName,
}

/// What a replay cannot cross.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WindowEnd {
    /// The entry.
    pub file: MountName,
    /// What is wrong with it.
    pub reason: String,
}

/// Why a backup cannot be used with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum UnusableKind {
    /// It is of another cluster.
    Foreign,
    /// The server it was made on had transactions of its own.
    Diverged,
    /// It is older than the history.
    TooEarly,
    /// What follows right after it is missing.
    Missing,
    /// It does not have the coordinates that this stream needs.
    NoPlace,
    /// Its position may mean several files.
    Ambiguous,
}

/// Why a backup cannot be used, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unusable {
    /// In one word.
    pub kind: UnusableKind,
    /// Why.
    pub reason: String,
    /// What to do.
    pub next: String,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.reason, self.next)
    }
}

/// Whether a backup can be used with a stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Verdict {
    /// It can.
    Usable(Window),
    /// It is newer than all that is archived: it can be restored, and from it nothing be replayed yet.
    Ahead {
        /// What it has and the archive has not; empty where GTIDs do not tell.
        gtids: GtidSet,
        /// What is waited for.
        reason: String,
    },
    /// It cannot.
    Unusable(Unusable),
}

impl Verdict {
    /// What it can recover.
    pub fn window(&self) -> Option<&Window> {
        match self {
            Verdict::Usable(window) => Some(window),
            Verdict::Ahead { .. } | Verdict::Unusable(_) => None,
        }
    }

    /// Why nothing can be replayed to it; `None` if something can.
    pub fn reason(&self) -> Option<String> {
        match self {
            Verdict::Usable(_) => None,
            Verdict::Ahead { reason, .. } => Some(format!("it is ahead of the archive: {reason}")),
            Verdict::Unusable(why) => Some(why.to_string()),
        }
    }

    /// In one word.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Usable(_) => "usable",
            Verdict::Ahead { .. } => "ahead",
            Verdict::Unusable(_) => "unusable",
        }
    }

    /// How well it serves: of the verdicts of several timelines the best counts.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Verdict::Usable(_) => 0,
            Verdict::Ahead { .. } => 1,
            Verdict::Unusable(why) if why.kind != UnusableKind::Foreign => 2,
            Verdict::Unusable(_) => 3,
        }
    }
}

/// A stretch of time of which every moment can be recovered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recoverable {
    /// The timeline.
    pub timeline: Timeline,
    /// From this moment on.
    #[serde(serialize_with = "time")]
    pub earliest: Option<Micros>,
    /// The backup that it begins with.
    pub backup: BackupId,
    /// Up to this moment.
    #[serde(serialize_with = "time")]
    pub latest: Option<Micros>,
    /// What ends it; `None`: the end of all that is archived.
    pub ends_at: Option<WindowEnd>,
}

/// The stretches that several backups make together, oldest first: what lies between two of them cannot be recovered.
pub fn recoverable<'a>(
    windows: impl IntoIterator<Item = (&'a BackupId, &'a Window)>,
) -> Vec<Recoverable> {
    let mut sorted: Vec<_> = windows.into_iter().collect();
    sorted.sort_by_key(|(_, window)| (window.timeline, window.earliest, window.latest));
    let mut found: Vec<Recoverable> = Vec::new();
    for (id, window) in sorted {
        // Those that end at the same place, or begin before the last one ends, are one.
        if let Some(last) = found.last_mut()
            && last.timeline == window.timeline
            && (last.ends_at == window.ends_at || window.earliest <= last.latest)
        {
            if window.latest > last.latest {
                last.latest = window.latest;
                last.ends_at = window.ends_at.clone();
            }
            continue;
        }
        found.push(Recoverable {
            timeline: window.timeline,
            earliest: window.earliest,
            backup: id.clone(),
            latest: window.latest,
            ends_at: window.ends_at.clone(),
        });
    }
    found
}

fn time<S: Serializer>(time: &Option<Micros>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(earliest: i64, latest: i64, hole: Option<&str>) -> Window {
        Window {
            timeline: Timeline(1),
            start: None,
            not_before: None,
            earliest: Some(Micros(earliest)),
            earliest_is_exact: true,
            latest: Some(Micros(latest)),
            ends_at: hole.map(|name| WindowEnd {
                file: name.parse().expect("a name"),
                reason: "a hole".to_owned(),
            }),
        }
    }

    fn spans(windows: &[Window]) -> Vec<(i64, i64, String)> {
        let ids: Vec<BackupId> = (0..windows.len())
            .map(|n| format!("b{n}").parse().expect("an id"))
            .collect();
        recoverable(ids.iter().zip(windows))
            .into_iter()
            .map(|r| {
                let (from, to) = (r.earliest.expect("known"), r.latest.expect("known"));
                (from.0, to.0, r.backup.to_string())
            })
            .collect()
    }

    #[test]
    fn the_time_of_its_registration_narrows_down_a_moment_that_is_not_known() {
        let at = |time: i64, exact: bool| {
            let mut window = window(50, 90, None);
            window.not_before = Some(Micros(20));
            window.earliest_is_exact = exact;
            window.was_there(Micros(time));
            window.earliest.map(|time| time.0)
        };
        assert_eq!(at(30, false), Some(30));
        assert_eq!(at(70, false), Some(50));
        // A clock that contradicts the history is not believed.
        assert_eq!(at(10, false), Some(50));
        assert_eq!(at(30, true), Some(50));
    }

    #[test]
    fn windows_that_meet_are_one_and_a_hole_parts_them() {
        let (hole, hole_2) = (Some("binlog.000005"), Some("binlog.000009"));
        let windows = [
            window(60, 90, None),
            window(10, 40, hole),
            window(20, 40, hole),
            window(70, 90, None),
        ];
        assert_eq!(
            spans(&windows),
            [(10, 40, "b1".to_owned()), (60, 90, "b0".to_owned())]
        );
        // A backup inside the first stretch reaches over nothing; one before its end that ends later does.
        let windows = [window(10, 40, hole), window(30, 80, hole_2)];
        assert_eq!(spans(&windows), [(10, 80, "b0".to_owned())]);
        assert!(spans(&[]).is_empty());
    }
}

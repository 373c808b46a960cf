//! Whether what follows a backup is archived, from the index alone: no segment is read, and no key is needed.
//!
//! # By GTIDs
//! Let *B* be what the backup holds and *E* what a timeline executed. The backup belongs to it if *B* ⊆ *E*; if *E* ⊆ *B* it is
//! ahead of it, as every backup is whose binlog is not archived yet. What is to be replayed is *E* − *B*. It begins in the last
//! entry before which nothing of it was executed, and goes on to the first entry that no replay may cross.
//!
//! MariaDB tells the last GTID of each domain only: it stands for all transactions of that domain with smaller numbers, whatever
//! server wrote them.
//!
//! # By position
//! Where the stream has no GTIDs, and for MariaDB's dumps, the file and offset say where the replay begins (`place.rs`).

use super::Coordinates;
use super::place::by_position;
use super::relation::{implied, related, shown};
use super::window::{Unusable, UnusableKind, Verdict, Window, WindowEnd, WindowStart};
use crate::binlog::Flavour;
use crate::index::{EntryRow, Finding, Index, IndexError};
use crate::ledger::{Entry, EntryState, LedgerState};
use crate::model::{Gtid, GtidSet, MountName, Timeline};
use std::cmp::Reverse;

/// Entries looked back at for the one in which a replay begins. The first guess is right but where servers wrote their GTIDs
/// out of order.
const LOOK_BACK_MAX: usize = 100_000;

/// Whether the backup at `coordinates` can be used with the stream of `flavour` that `index` knows. Of several timelines the
/// newest on which it can counts.
///
/// # Errors
/// When the index cannot be read.
pub fn check(
    index: &Index,
    flavour: Flavour,
    coordinates: &Coordinates,
) -> Result<Verdict, IndexError> {
    let mut best: Option<Verdict> = None;
    for (_, verdict) in verdicts(index, flavour, coordinates)? {
        if best
            .as_ref()
            .is_none_or(|best| verdict.rank() < best.rank())
        {
            best = Some(verdict);
        }
    }
    Ok(best.expect("there is one verdict at least"))
}

/// The verdict for each timeline, the history that goes on first; one alone, without a timeline, where it is none of theirs.
pub(super) fn verdicts(
    index: &Index,
    flavour: Flavour,
    coordinates: &Coordinates,
) -> Result<Vec<(Option<Timeline>, Verdict)>, IndexError> {
    let one = |verdict: Verdict| Ok(vec![(None, verdict)]);
    let state = index.state()?;
    let Some(state) = state.filter(|state| state.newest_timeline().is_some()) else {
        return one(Verdict::Ahead {
            gtids: coordinates.gtids.clone().unwrap_or_default(),
            reason: "nothing is archived yet".to_owned(),
        });
    };
    if let Some(why) = other_flavour(flavour, coordinates) {
        return one(why);
    }
    let told = match (&coordinates.gtids, &coordinates.position) {
        (Some(gtids), _) if state.timelines().any(|(_, t)| !t.executed.is_empty()) => gtids,
        (_, Some(position)) => return one(by_position(index, &state, coordinates, position)?),
        (Some(_), None) => {
            return one(unusable(
                UnusableKind::NoPlace,
                "it has GTIDs only, and the transactions of the stream have none",
                "give its place by --position",
            ));
        }
        (None, None) => {
            return one(unusable(
                UnusableKind::NoPlace,
                "it names no place",
                "give it by --gtid-set or --position",
            ));
        }
    };
    let mut found = Vec::new();
    let mut timelines: Vec<_> = state.timelines().collect();
    // A late tail is nobody's choice.
    timelines.sort_by_key(|(id, known)| (known.late, Reverse(*id)));
    for (timeline, _) in timelines {
        let checker = Checker {
            index,
            state: &state,
            timeline,
            coordinates,
        };
        found.push((Some(timeline), checker.by_gtids(told)?));
    }
    Ok(found)
}

fn other_flavour(flavour: Flavour, coordinates: &Coordinates) -> Option<Verdict> {
    let gtids = coordinates.gtids.as_ref().filter(|set| !set.is_empty())?;
    let (of_backup, of_stream) = match (flavour, gtids.has_mariadb()) {
        (Flavour::MySql, true) => ("MariaDB", "MySQL"),
        (Flavour::MariaDb, false) => ("MySQL", "MariaDB"),
        (Flavour::MySql, false) | (Flavour::MariaDb, true) => return None,
    };
    Some(unusable(
        UnusableKind::Foreign,
        format!("it is a backup of {of_backup}, and the stream is of {of_stream}"),
        "name the stream of the server it was made on",
    ))
}

pub(super) fn unusable(kind: UnusableKind, reason: impl Into<String>, next: &str) -> Verdict {
    Verdict::Unusable(Unusable {
        kind,
        reason: reason.into(),
        next: next.to_owned(),
    })
}

/// What follows the backup is not there.
pub(super) fn missing(file: &MountName, reason: &str) -> Verdict {
    unusable(
        UnusableKind::Missing,
        format!("what follows right after it is missing: {file}, {reason}"),
        "make a new backup",
    )
}

/// What is wrong with an entry.
fn words(finding: &Finding) -> String {
    match finding {
        Finding::Unreadable { state, reason, .. } => {
            let what = match state {
                EntryState::Archived => "archived",
                EntryState::Damaged => "damaged",
                EntryState::Hole => "a hole",
                EntryState::Gap => "a gap of unknown extent",
                EntryState::Lost => "a lost record",
            };
            format!("{what} ({reason})")
        }
        Finding::GtidBreak {
            appeared, vanished, ..
        } if vanished.is_empty() => format!(
            "before which {} were executed that no archived file holds",
            shown(appeared)
        ),
        Finding::GtidBreak { vanished, .. } => {
            format!("which knows nothing of {} any more", shown(vanished))
        }
    }
}

/// One timeline, and the coordinates of one backup.
pub(super) struct Checker<'a> {
    pub(super) index: &'a Index,
    pub(super) state: &'a LedgerState,
    pub(super) timeline: Timeline,
    pub(super) coordinates: &'a Coordinates,
}

impl Checker<'_> {
    fn by_gtids(&self, told: &GtidSet) -> Result<Verdict, IndexError> {
        let none = GtidSet::new();
        let known = self.state.timeline(self.timeline);
        let executed = known.map_or(&none, |known| &known.executed);
        if let Some(verdict) = related(told, executed) {
            return Ok(self.left_behind(&verdict).unwrap_or(verdict));
        }
        let held = implied(told, executed);
        let Some(first) = self.index.entries(self.timeline, None, 1)?.pop() else {
            return self.nothing_left();
        };
        if let Some(before) = &first.previous_gtids
            && !before.is_subset(&held)
        {
            return self.too_early(&before.minus(&held), &first.mount_name);
        }
        let wanted = executed.minus(&held);
        if wanted.is_empty() {
            return self.all_of_it();
        }
        let start = self.start(first, &wanted, &held)?;
        if start.gtids().is_some_and(|gtids| gtids.is_subset(&held)) {
            // A damaged one: what it lacks is not in the backup.
            return Ok(missing(&start.mount_name, &start.reason));
        }
        if let Some(before) = &start.previous_gtids
            && !before.is_subset(&held)
        {
            let reason = format!(
                "before which {} were executed that no archived file holds",
                shown(&before.minus(&held))
            );
            return Ok(missing(&start.mount_name, &reason));
        }
        let begun = start.gtids().is_some_and(|gtids| gtids.intersects(&held));
        match self.row(&start.mount_name)? {
            Some(row) => self.replay_from(&row, begun, |appeared| appeared.is_subset(&held)),
            None => self.nothing_left(),
        }
    }

    /// What seems to be ahead of this timeline, and is not: it has transactions that another timeline has, and this one left
    /// there.
    fn left_behind(&self, verdict: &Verdict) -> Option<Verdict> {
        let Verdict::Ahead { gtids, .. } = verdict else {
            return None;
        };
        let mut others = self
            .state
            .timelines()
            .filter(|(id, _)| *id != self.timeline);
        let (other, _) = others.find(|(_, other)| other.archived.intersects(gtids))?;
        Some(unusable(
            UnusableKind::Diverged,
            format!(
                "it has {}, which timeline {} left behind in timeline {other}",
                shown(gtids),
                self.timeline
            ),
            "make a new backup",
        ))
    }

    /// The entry in which the replay of `wanted` begins.
    pub(super) fn start(
        &self,
        first: Entry,
        wanted: &GtidSet,
        held: &GtidSet,
    ) -> Result<Entry, IndexError> {
        let mut at: Option<Entry> = None;
        for (source, intervals) in wanted.iter() {
            let Some((number, _)) = intervals.runs().first().copied() else {
                continue;
            };
            let gtid = Gtid {
                source: source.clone(),
                number,
            };
            let holding = self.index.holding(&gtid)?;
            for entry in holding.into_iter().filter(|e| e.timeline == self.timeline) {
                if at
                    .as_ref()
                    .is_none_or(|at| entry.mount_name < at.mount_name)
                {
                    at = Some(entry);
                }
            }
        }
        let mut at = match at {
            Some(at) => at,
            // The first transaction of each source is missing: the place is somewhere before the last entry.
            None => self.last()?.unwrap_or(first),
        };
        for _ in 0..LOOK_BACK_MAX {
            let before = at.previous_gtids.as_ref();
            if before.is_some_and(|before| before.is_subset(held)) {
                break;
            }
            match self.before(&at.mount_name)? {
                Some(before) => at = before,
                None => break,
            }
        }
        // All of that entry is in the backup where what follows it is missing.
        let whole = at.gtids().filter(|_| at.state == EntryState::Archived);
        if whole.is_some_and(|gtids| gtids.is_subset(held))
            && let (_, Some(next)) = self.index.neighbours(self.timeline, &at.mount_name)?
            && let Some(next) = self.index.entry_by_seq(next.seq)?
        {
            return Ok(next);
        }
        Ok(at)
    }

    /// The row of a name.
    fn row(&self, name: &MountName) -> Result<Option<EntryRow>, IndexError> {
        Ok(self.index.following(self.timeline, name, 1)?.pop())
    }

    /// The last entry with transactions.
    fn last(&self) -> Result<Option<Entry>, IndexError> {
        match self.index.extent(self.timeline)?.1 {
            Some(row) => self.index.entry_by_seq(row.seq),
            None => Ok(None),
        }
    }

    /// The entry before a name.
    fn before(&self, name: &MountName) -> Result<Option<Entry>, IndexError> {
        match self.index.neighbours(self.timeline, name)?.0 {
            Some(row) => self.index.entry_by_seq(row.seq),
            None => Ok(None),
        }
    }

    /// The backup holds all that is archived.
    pub(super) fn all_of_it(&self) -> Result<Verdict, IndexError> {
        let last = self.index.extent(self.timeline)?.1;
        let latest = last.and_then(|row| row.latest_through);
        Ok(Verdict::Usable(Window {
            timeline: self.timeline,
            start: None,
            not_before: latest,
            earliest: latest,
            earliest_is_exact: latest.is_some(),
            latest,
            ends_at: None,
        }))
    }

    /// What can be recovered by a replay that begins in `start`. `begun`: it may begin inside; `covers` tells whether GTIDs
    /// that are in no segment are in the backup.
    pub(super) fn replay_from(
        &self,
        start: &EntryRow,
        begun: bool,
        covers: impl Fn(&GtidSet) -> bool,
    ) -> Result<Verdict, IndexError> {
        let findings = self.index.continuity(self.timeline)?;
        let end = findings.iter().find(|finding| match finding {
            Finding::Unreadable { mount_name, .. } => *mount_name >= start.mount_name,
            Finding::GtidBreak {
                mount_name,
                appeared,
                vanished,
                ..
            } => *mount_name > start.mount_name && !(vanished.is_empty() && covers(appeared)),
        });
        let earlier = self.index.latest_before(self.timeline, &start.mount_name)?;
        let latest = match end {
            Some(Finding::Unreadable {
                mount_name,
                state: EntryState::Damaged,
                ..
            }) => self.row(mount_name)?.and_then(|row| row.latest_through),
            Some(finding) if *finding.mount_name() <= start.mount_name => {
                return Ok(missing(&start.mount_name, &words(finding)));
            }
            Some(finding) => {
                let before = self
                    .index
                    .neighbours(self.timeline, finding.mount_name())?
                    .0;
                before.and_then(|row| row.latest_through)
            }
            None => self
                .index
                .extent(self.timeline)?
                .1
                .and_then(|row| row.latest_through),
        };
        let earliest = match begun {
            false => earlier,
            // Somewhere in the file: it was consistent when it was made, or at the file's end at the latest.
            true => [self.coordinates.taken_at, start.latest_through]
                .into_iter()
                .flatten()
                .filter(|time| Some(*time) >= earlier)
                .min(),
        };
        Ok(Verdict::Usable(Window {
            timeline: self.timeline,
            start: Some(WindowStart {
                seq: start.seq,
                file: start.mount_name.clone(),
            }),
            not_before: earlier,
            earliest: earliest.or(earlier),
            earliest_is_exact: !begun && earlier.is_some(),
            latest,
            ends_at: end.map(|finding| WindowEnd {
                file: finding.mount_name().clone(),
                reason: words(finding),
            }),
        }))
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;

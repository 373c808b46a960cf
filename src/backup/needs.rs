//! What of each timeline a backup needs, so that retention leaves it.

use super::check::{Checker, verdicts};
use super::relation::implied;
use super::window::{UnusableKind, Verdict, WindowStart};
use super::{Coordinates, check::unusable};
use crate::binlog::Flavour;
use crate::index::{Index, IndexError};
use crate::model::{FileName, GtidSet, MountName, Timeline};

/// What a backup needs of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it is no backup of this history, or its history is gone already.
    Nothing,
    /// Everything from this entry on. Usable: it can be recovered from as things are.
    From {
        /// The entry.
        name: MountName,
        /// Whether something can be recovered from it now; one that is newer than the archive only waits.
        usable: bool,
    },
    /// It cannot be told, for this reason: all of it.
    Unknown(String),
}

/// What the backup at `coordinates` needs of each timeline of the stream of `flavour` that `index` knows.
///
/// # Errors
/// When the index cannot be read.
pub fn needs(
    index: &Index,
    flavour: Flavour,
    coordinates: &Coordinates,
) -> Result<Vec<(Timeline, Need)>, IndexError> {
    let mut found = Vec::new();
    let all = index.timeline_numbers()?;
    for (timeline, verdict) in verdicts(index, flavour, coordinates)? {
        let of_window = verdict.window().map(|window| window.timeline);
        let timelines = match timeline.or(of_window) {
            Some(timeline) => vec![timeline],
            // It says nothing of any timeline, or the same of all.
            None => all.clone(),
        };
        for timeline in timelines {
            found.push((timeline, need(index, coordinates, timeline, &verdict)?));
        }
    }
    Ok(found)
}

fn need(
    index: &Index,
    coordinates: &Coordinates,
    timeline: Timeline,
    verdict: &Verdict,
) -> Result<Need, IndexError> {
    let from = |name: Option<MountName>, usable: bool| match name {
        Some(name) => Need::From { name, usable },
        None => Need::Nothing,
    };
    Ok(match verdict {
        Verdict::Usable(window) => {
            let start = match &window.start {
                Some(WindowStart { file, .. }) => Some(file.clone()),
                None => last_with_transactions(index, timeline)?,
            };
            let place = place(index, coordinates, timeline)?;
            let first = match (start, place) {
                (Some(start), Some(place)) => Some(start.min(place)),
                (start, place) => start.or(place),
            };
            from(first, true)
        }
        Verdict::Ahead { .. } => from(awaited(index, coordinates, timeline)?, false),
        Verdict::Unusable(why) => match why.kind {
            UnusableKind::Foreign | UnusableKind::Diverged | UnusableKind::TooEarly => {
                Need::Nothing
            }
            UnusableKind::Missing | UnusableKind::NoPlace | UnusableKind::Ambiguous => {
                Need::Unknown(why.reason.clone())
            }
        },
    })
}

fn last_with_transactions(
    index: &Index,
    timeline: Timeline,
) -> Result<Option<MountName>, IndexError> {
    Ok(index.extent(timeline)?.1.map(|row| row.mount_name))
}

/// The entry that its position names, where a replay goes by that.
fn place(
    index: &Index,
    coordinates: &Coordinates,
    timeline: Timeline,
) -> Result<Option<MountName>, IndexError> {
    let by_gtids = coordinates
        .gtids
        .as_ref()
        .is_some_and(|set| !set.is_empty());
    let Some(position) = coordinates.position.as_ref().filter(|_| !by_gtids) else {
        return Ok(None);
    };
    if let Ok(name) = position.file.parse::<MountName>()
        && let Some(entry) = index.entry(timeline, &name)?
    {
        return Ok(Some(entry.mount_name));
    }
    let Ok(file) = position.file.parse::<FileName>() else {
        return Ok(None);
    };
    // Of several incarnations the first: what is kept in vain costs less than what is missed.
    let mut of_file = index.of_file(timeline, &file)?.into_iter();
    Ok(of_file.next().map(|entry| entry.mount_name))
}

/// Where the replay begins once the archive has come as far as the backup: it may lack what is archived already.
fn awaited(
    index: &Index,
    coordinates: &Coordinates,
    timeline: Timeline,
) -> Result<Option<MountName>, IndexError> {
    let (Some(told), Some(state)) = (&coordinates.gtids, index.state()?) else {
        return place(index, coordinates, timeline);
    };
    let none = GtidSet::new();
    let executed = state
        .timeline(timeline)
        .map_or(&none, |known| &known.executed);
    let held = implied(told, executed);
    let wanted = executed.minus(&held);
    let Some(first) = index.entries(timeline, None, 1)?.pop() else {
        return Ok(None);
    };
    let before = first.previous_gtids.as_ref();
    if before.is_some_and(|before| !before.is_subset(&held)) {
        return Ok(None);
    }
    if wanted.is_empty() {
        return last_with_transactions(index, timeline);
    }
    let checker = Checker {
        index,
        state: &state,
        timeline,
        coordinates,
    };
    Ok(Some(checker.start(first, &wanted, &held)?.mount_name))
}

impl Checker<'_> {
    /// What was executed between the backup and the beginning of the history is gone.
    pub(super) fn too_early(
        &self,
        lacking: &GtidSet,
        first: &MountName,
    ) -> Result<Verdict, IndexError> {
        let mut reason = format!(
            "{} were executed after it and before the history of timeline {} begins (with {first})",
            super::relation::shown(lacking),
            self.timeline,
        );
        if let Some(prune) = self.index.pruned(self.timeline)? {
            reason += &format!("; what was before that was {prune}");
        }
        Ok(unusable(
            UnusableKind::TooEarly,
            reason,
            "make a new backup",
        ))
    }

    /// Nothing of the timeline is visible.
    pub(super) fn nothing_left(&self) -> Result<Verdict, IndexError> {
        let reason = match self.index.pruned(self.timeline)? {
            Some(prune) => format!("what timeline {} held was {prune}", self.timeline),
            None => format!("nothing is left of timeline {}", self.timeline),
        };
        Ok(unusable(
            UnusableKind::TooEarly,
            reason,
            "make a new backup",
        ))
    }

    /// The file that a position names was pruned, if it was.
    pub(super) fn pruned_file(&self, file: &str) -> Result<Option<Verdict>, IndexError> {
        let Some(row) = self.index.pruned_named(self.timeline, file)? else {
            return Ok(None);
        };
        let Some(prune) = self.index.pruned_by(&row)? else {
            return Ok(None);
        };
        let reason = format!("what follows it was not kept: {file} was {prune}");
        Ok(Some(unusable(
            UnusableKind::TooEarly,
            reason,
            "make a new backup",
        )))
    }
}

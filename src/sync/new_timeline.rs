//! A timeline that a file has begun, and that does not go on from the one that was the newest.

use super::place::Place;
use crate::model::{FileName, Timeline};

/// What a person is told of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct NewTimeline {
    /// The file that it begins with.
    pub file: FileName,
    /// Its number.
    pub timeline: Timeline,
    /// The one that it leaves.
    pub left: Timeline,
    /// It is the tail of a server that the history has left: the newest timeline stays the newest.
    pub late: bool,
}

impl NewTimeline {
    /// The one that `file` begins at its place, if it begins one that leaves another.
    pub(super) fn of(placed: &Place, file: &FileName) -> Option<NewTimeline> {
        let branch = placed.branch.as_ref()?;
        Some(NewTimeline {
            file: file.clone(),
            timeline: placed.timeline,
            left: branch.timeline,
            late: branch.late,
        })
    }
}

impl std::fmt::Display for NewTimeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (file, timeline, left) = (&self.file, self.timeline, self.left);
        match self.late {
            false => write!(
                f,
                "{file} begins timeline {timeline}, which does not go on from timeline {left}: no recovery goes from one into the other; \
                 'binlogfs status' names both, and a base backup made now can be recovered from"
            ),
            true => write!(
                f,
                "{file} begins timeline {timeline}, beside timeline {left}, which goes on without it: no recovery goes through it; 'binlogfs \
                 status' names what it alone has"
            ),
        }
    }
}

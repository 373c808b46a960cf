//! The note that a replay without GTIDs was begun.

use super::Recovery;
use crate::replay::notes::{self, Note};
use crate::replay::{Base, Unfit, UnfitKind};
use anyhow::{Context as _, Result};

impl Recovery<'_> {
    /// Without GTIDs a second run would apply everything twice.
    pub(super) fn check_note(&self) -> Result<Result<(), Unfit>> {
        if self.ready.plan.by_gtid || self.args.restored {
            return Ok(Ok(()));
        }
        let read = notes::read::<Note>(&self.note);
        let note = read.with_context(|| format!("cannot read {}", self.note.display()))?;
        // Where MariaDB says itself what it has, that is where it begins, unless it says the same as before.
        let is_other = |note: &Note| {
            let goes_on = match self.request.base != Base::default() {
                true => note.stop == self.begin(),
                false => note.begin != self.begin(),
            };
            !note.done || !goes_on
        };
        let Some(note) = note.filter(is_other) else {
            return Ok(Ok(()));
        };
        let reason = match note.done {
            true => format!(
                "a replay without GTIDs brought this server to {} before, and this one would begin at {}",
                note.stop,
                self.begin()
            ),
            false => format!(
                "a replay without GTIDs from {} to {} was begun on this server and did not end: nobody can tell what it applied",
                note.begin, note.stop
            ),
        };
        Ok(Err(Unfit::new(
            UnfitKind::Unfinished,
            reason,
            &[
                "restore the base again, and say so with --restored; to go on from where an earlier replay ended, name that place with \
                 --from-position",
            ],
        )))
    }

    pub(super) fn begin(&self) -> String {
        let place = &self.ready.plan.begin.place;
        format!("{}:{}", place.file, place.position)
    }

    pub(super) fn stop(&self) -> String {
        let place = &self.ready.plan.stop.place;
        format!("{}:{}", place.file, place.position)
    }

    pub(super) fn note(&self, done: bool) -> Result<()> {
        if self.ready.plan.by_gtid {
            return Ok(());
        }
        let note = Note {
            target: self.ready.facts.identity.clone(),
            begin: self.begin(),
            stop: self.stop(),
            done,
        };
        notes::write(&self.note, &note)
            .with_context(|| format!("cannot write {}", self.note.display()))
    }
}

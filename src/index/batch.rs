//! What a batch does to the rows, record by record.

use super::apply::Step;
use super::before::Before;
use super::error::Fault;
use super::foresee::{Foreseen, NewRow};
use super::intervals::NewRuns;
use super::latest::{self, Latest};
use super::listing::Changes;
use super::repair::{self, Target};
use super::rows::{self, EntryRow, state_code};
use super::texts::{Texts, keep_line};
use super::write::{NewEntry, alias, file, insert_entries, joined, unfile};
use super::{bounds, objects};
use crate::ledger::entry::Change;
use crate::ledger::record::{SegmentRecord, SupersedeRecord};
use crate::ledger::{Body, ChainError, Entry, EntryState, LedgerState, Line};
use crate::model::Seq;
use rusqlite::{Connection, params};

pub(super) struct Batch<'a> {
    pub(super) conn: &'a Connection,
    pub(super) texts: Texts<'a>,
    /// The page that the batch is, is kept: no record of it needs a row of its own.
    pub(super) page_kept: bool,
    /// All objects that its records name are theirs already.
    pub(super) objects_claimed: bool,
    pub(super) state: &'a mut LedgerState,
    pub(super) records: u64,
    pub(super) added: u64,
    pub(super) replaced: Vec<Seq>,
    pub(super) bounds_changed: bool,
    pub(super) changes: Changes,
    pub(super) latest: Latest,
    /// New rows that only append, until something must see them.
    pub(super) new_entries: Vec<NewEntry>,
    pub(super) new_runs: NewRuns,
}

impl Batch<'_> {
    /// Takes all steps in, and tells of the first that breaks a rule: nothing of it and of those after it is taken in.
    pub(super) fn take_in(
        &mut self,
        steps: &[Step],
        foreseen: Option<Foreseen>,
    ) -> Result<Option<ChainError>, Fault> {
        // What was worked out ahead holds if nobody else has written meanwhile, and each object belongs to its record.
        let foreseen = foreseen.filter(|known| self.objects_claimed && known.is_of(self.state));
        if let Some(foreseen) = foreseen {
            self.foreseen(steps, foreseen)?;
            return Ok(None);
        }
        for step in steps {
            match self.step(step) {
                Ok(()) => {}
                Err(Fault::Chain(error)) => return Ok(Some(error)),
                Err(other) => return Err(other),
            }
        }
        Ok(None)
    }

    /// Takes in steps of which all is known already.
    fn foreseen(&mut self, steps: &[Step], foreseen: Foreseen) -> Result<(), Fault> {
        for (step, row) in steps.iter().zip(foreseen.rows) {
            let Step::Line(line) = step else { continue };
            if !self.page_kept {
                keep_line(self.conn, line)?;
            }
            self.append(row, line.record().body.segment())?;
            self.records += 1;
        }
        *self.state = (*foreseen.after).clone();
        Ok(())
    }

    /// Everything is checked before anything is written: on [`Fault::Chain`] the step left no trace.
    fn step(&mut self, step: &Step) -> Result<(), Fault> {
        if step.seq() <= self.state.last_seq {
            return self.seen(step);
        }
        match step {
            Step::Line(line) => self.line(line)?,
            Step::Lost { seq, reason } => {
                if *seq != self.state.next_seq() {
                    let reason = format!("stands at the place of record {}", self.state.next_seq());
                    return Err(ChainError { seq: *seq, reason }.into());
                }
                self.write_out()?;
                if let Change::Add(entry) = self.state.accept_lost(reason) {
                    self.add_lost(&entry)?;
                }
                self.conn
                    .prepare_cached("INSERT INTO lost (seq) VALUES (?1)")?
                    .execute([seq.0 as i64])?;
            }
        }
        self.records += 1;
        Ok(())
    }

    /// A step that was applied before: it must be the same record.
    fn seen(&self, step: &Step) -> Result<(), Fault> {
        let Step::Line(line) = step else {
            return Ok(());
        };
        match self.texts.text(line.seq())? {
            Some(text) if text != line.text() => Err(ChainError {
                seq: line.seq(),
                reason: "is not the record that was there before: it was replaced".to_owned(),
            }
            .into()),
            _ => Ok(()),
        }
    }

    fn line(&mut self, line: &Line) -> Result<(), Fault> {
        self.state.check_link(line)?;
        let claimed = match self.objects_claimed {
            true => None,
            false => {
                if let Body::Supersede(_) = &line.record().body {
                    self.write_out()?;
                }
                objects::claim(self.texts, line)?
            }
        };
        let accepted = self.accept(line);
        if let (Err(Fault::Chain(_)), Some(key)) = (&accepted, claimed) {
            objects::release(self.conn, key)?;
        }
        accepted
    }

    /// Writes the rows that wait, for whoever reads or changes what is there.
    pub(super) fn write_out(&mut self) -> Result<(), Fault> {
        insert_entries(self.conn, &self.new_entries)?;
        self.new_entries.clear();
        self.new_runs.write_out(self.conn)
    }

    fn accept(&mut self, line: &Line) -> Result<(), Fault> {
        let body = &line.record().body;
        let before = Before::of(self.state, body);
        let appends = matches!(body, Body::Segment(_) | Body::Hole(_));
        if !appends || before.may_follow_lost {
            self.write_out()?;
        }
        let target = match body {
            Body::Supersede(supersede) => Some(repair::target(self.texts, line.seq(), supersede)?),
            Body::Segment(_)
            | Body::Hole(_)
            | Body::Gap(_)
            | Body::Fence(_)
            | Body::Prune(_)
            | Body::Moved(_) => None,
        };
        bounds::check(self.conn, line.seq(), body)?;
        let segment = body.segment();
        let missing_name =
            |state: &LedgerState, entry: &Entry| repair::missing_before(state, segment, entry);
        // What the record shows of lost ones is told by the state before it.
        let earlier = before.may_follow_lost.then(|| self.state.clone());
        let change = self.state.accept_bare(line)?;
        if !self.page_kept {
            keep_line(self.conn, line)?;
        }
        match (change, body) {
            (Change::Add(entry), _) => {
                if let Some(name) = earlier.and_then(|state| missing_name(&state, &entry)) {
                    repair::claim(self.conn, &entry, before.last_seq, &name, &mut self.changes)?;
                    latest::settle(self.conn, entry.timeline, &name)?;
                }
                self.add(&before, &entry, segment)
            }
            (Change::Replace(_, segment), Body::Supersede(supersede)) => match target {
                Some(target) => self.replace(line.seq(), target, supersede, &segment),
                None => Ok(()),
            },
            (Change::Replace(..), _) => Ok(()),
            (Change::Fence(fence), _) => {
                self.bounds_changed = true;
                self.fence(line.seq(), &fence)
            }
            (Change::Moved, _) => Ok(()),
            (Change::Prune(prune), _) => {
                self.bounds_changed = true;
                bounds::prune(self.conn, line.seq(), &prune)
            }
        }
    }

    fn add(
        &mut self,
        before: &Before,
        entry: &Entry,
        segment: Option<&SegmentRecord>,
    ) -> Result<(), Fault> {
        if let Some(lost) = self.lost_at(entry)? {
            // A gap where a lost record stands: one name, and the gap says more.
            self.conn.execute(
                "UPDATE entries SET state = ?1, line = ?2, reason = ?3 WHERE seq = ?4",
                params![
                    state_code(entry.state),
                    entry.seq.0 as i64,
                    joined(&lost.reason, &entry.reason),
                    lost.seq.0 as i64
                ],
            )?;
            self.replaced.push(lost.seq);
            self.changes.touch(lost.timeline, &lost.mount_name);
            return alias(self.conn, entry.seq, lost.seq);
        }
        self.append(NewRow::of(before, entry, segment), segment)
    }

    /// Writes the row of an entry that sorts after all of its timeline.
    fn append(&mut self, new: NewRow, segment: Option<&SegmentRecord>) -> Result<(), Fault> {
        let (seq, timeline) = (new.row.seq, new.row.timeline);
        if let Some(broken) = &new.broken {
            broken.keep(self.conn, seq)?;
        }
        if let Some(text) = &new.position {
            super::build::keep_position(self.conn, seq, text)?;
        }
        let row = self.latest.appended(self.conn, new.row)?;
        self.new_entries.push(NewEntry::new(row, segment));
        self.changes.grown.insert(timeline.0);
        self.added += 1;
        match segment {
            Some(segment) => file(self.conn, &mut self.new_runs, timeline, segment, seq),
            None => Ok(()),
        }
    }

    fn lost_at(&self, entry: &Entry) -> Result<Option<EntryRow>, Fault> {
        if entry.state != EntryState::Gap {
            return Ok(None);
        }
        let row = rows::named(self.conn, entry.timeline, &entry.mount_name)?;
        Ok(row.filter(|row| row.state == EntryState::Lost))
    }

    fn add_lost(&mut self, entry: &Entry) -> Result<(), Fault> {
        match rows::named(self.conn, entry.timeline, &entry.mount_name)? {
            Some(there) => {
                self.conn.execute(
                    "UPDATE entries SET reason = ?1 WHERE seq = ?2",
                    params![joined(&there.reason, &entry.reason), there.seq.0 as i64],
                )?;
                self.replaced.push(there.seq);
                alias(self.conn, entry.seq, there.seq)
            }
            None => {
                self.added += 1;
                self.changes.grown.insert(entry.timeline.0);
                let row = EntryRow::of(entry, None, None);
                let row = self.latest.appended(self.conn, row)?;
                self.new_entries.push(NewEntry::new(row, None));
                Ok(())
            }
        }
    }

    fn replace(
        &mut self,
        seq: Seq,
        target: Target,
        supersede: &SupersedeRecord,
        segment: &SegmentRecord,
    ) -> Result<(), Fault> {
        let row = match target {
            Target::Nothing(row) => return alias(self.conn, seq, row.seq),
            Target::Replace(row) | Target::Restore(row) => row,
        };
        tracing::debug!(%seq, entry = %row.mount_name, reason = ?supersede.reason, "segment superseded");
        if let Some(old) = super::build::segment(self.texts, &row)? {
            unfile(self.conn, row.timeline, &old, row.seq)?;
        }
        self.conn
            .execute("DELETE FROM entries WHERE seq = ?1", [row.seq.0 as i64])?;
        let entry = segment.entry(row.seq, None);
        self.changes.touch(row.timeline, &row.mount_name);
        self.changes.touch(entry.timeline, &entry.mount_name);
        let row_now = NewEntry::new(
            EntryRow::of(&entry, Some(segment), Some(seq)),
            Some(segment),
        );
        insert_entries(self.conn, &[row_now])?;
        latest::settle(self.conn, row.timeline, &entry.mount_name)?;
        self.latest.forget();
        file(
            self.conn,
            &mut self.new_runs,
            row.timeline,
            segment,
            row.seq,
        )?;
        self.write_out()?;
        self.fence_again(&row)?;
        self.replaced.push(row.seq);
        alias(self.conn, seq, row.seq)
    }
}

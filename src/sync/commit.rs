//! Creating the record of an uploaded segment: in order, once, whoever else does the same at the same time.

use super::append;
use super::clock::Clock;
use super::footing::Footing;
use super::journal::{Interrupt, Journal, around};
use super::likeness::{Likeness, likeness};
use super::new_timeline::NewTimeline;
use super::pipeline::Uploaded;
use super::place::{Arrival, Consent, HOLES_MAX, Place, Provenance, Signature, place};
use crate::binlog::{Ending, Summary};
use crate::index::{Index, Step};
use crate::ledger::record::{Body, ClosedBy, DamagedRecord};
use crate::ledger::{LedgerState, SegmentRecord, record_key};
use crate::model::{FileName, Incarnation, Seq};
use crate::store::SharedStore;
use crate::stream::{Followed, RacesLost, Stream};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Losing the race for a record this often in a row means that something other than a race is going on.
const RACES_MAX: u32 = 1000;

/// Who commits, and to what.
pub struct Committer {
    /// The store.
    pub store: SharedStore,
    /// The stream's ledger, followed.
    pub stream: Stream,
    /// Its index.
    pub index: Arc<Index>,
    /// The journal.
    pub journal: Journal,
    /// Records that could not be read when it was planned what is archived and what is not.
    pub lost: BTreeSet<Seq>,
    /// What a person allowed.
    pub consent: Consent,
    /// Host name and version, for the records.
    pub archiver: String,
    /// The tests' way to stop a run anywhere.
    pub interrupt: Arc<dyn Interrupt>,
    /// The time of day.
    pub clock: Clock,
    /// What the run before left.
    pub footing: Footing,
    /// Somebody else has appended to the ledger since it was followed.
    pub met_another: AtomicBool,
}

/// How a segment came into the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Committed {
    /// Its record.
    pub seq: Seq,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// Another archiver was first: ours was removed.
    pub by_another: bool,
    /// Names of the holes and gaps right before it.
    pub missing: Vec<String>,
    /// The timeline that it began, if it began one that leaves another.
    pub branch: Option<NewTimeline>,
    /// What a person should know.
    pub notices: Vec<String>,
}

impl Committer {
    /// Follows the ledger and gives its state.
    ///
    /// # Errors
    /// When the ledger cannot be followed, went backwards, or ends in a damaged record.
    pub async fn state(&self) -> Result<Arc<LedgerState>> {
        append::appendable(self.followed().await?)
    }

    /// Follows the ledger.
    pub(super) async fn followed(&self) -> Result<Followed> {
        self.interrupt.before("index.follow")?;
        let followed = self.stream.follow().await?;
        self.interrupt.after("index.follow")?;
        if followed.new_records > 0 {
            self.met_another.store(true, Ordering::Relaxed);
        }
        Ok(followed)
    }

    /// The same at the beginning of a run. Whoever expects that nobody else has appended only makes sure that nothing was taken
    /// away.
    pub(super) async fn state_at_first(&self) -> Result<Arc<LedgerState>> {
        if !self.footing.alone() {
            return self.state().await;
        }
        self.interrupt.before("index.follow")?;
        let followed = self.stream.confirm().await?;
        self.interrupt.after("index.follow")?;
        append::appendable(followed)
    }

    /// What the next run may stand on.
    pub(super) fn footing_after(&self) -> Footing {
        let met_another = self.met_another.load(Ordering::Relaxed);
        let stream = self.stream.file_bytes().clone();
        let now = (self.clock)();
        self.footing.clone().after(stream, met_another, now)
    }

    /// What the ledger said when it was last followed, with what was appended here since. If it is out of date, the next record
    /// cannot be created, and that tells.
    fn known(&self) -> Result<Arc<LedgerState>> {
        self.index
            .state()?
            .context("the index of a stream that was opened has no state: it was removed meanwhile; run again")
    }

    /// Creates the records that put `uploaded` into the history, and forgets its journal entry.
    ///
    /// # Errors
    /// A [`super::Refusal`] if it may not be placed; else when the store or the index fails.
    pub async fn commit(
        &self,
        arrival: &Arrival<'_>,
        uploaded: &Uploaded,
        closed_by: ClosedBy,
    ) -> Result<Committed> {
        let mut state = self.known()?;
        let (mut notices, mut missing, mut branch) = (Vec::new(), Vec::new(), None);
        let (mut races_lost, mut appended, mut is_new) = (0, 0, false);
        while races_lost < RACES_MAX {
            if let Some(done) = self.already_there(uploaded, arrival.file).await? {
                return Ok(Committed {
                    notices,
                    missing,
                    branch,
                    ..done
                });
            }
            self.check_none_lost(arrival.file)?;
            check_nobody_between(&state, arrival)?;
            if appended > HOLES_MAX {
                bail!(
                    "{appended} records went before that of {}, and it still has no place: this is a bug; nothing more is written",
                    arrival.file
                );
            }
            let now = (self.clock)();
            let by = Signature {
                archiver: &self.archiver,
                now,
            };
            let placed = match place(&state, arrival, &self.consent, &by) {
                Ok(placed) => placed,
                // What seems to be missing, or another's, others may have archived meanwhile.
                Err(_) if !is_new => {
                    (state, is_new) = (self.state().await?, true);
                    continue;
                }
                Err(refusal) => return Err(refusal.into()),
            };
            let body = match placed.before.first() {
                Some(before) => before.clone(),
                None => {
                    self.check_object(uploaded).await?;
                    missing = self.missing_at_end(&state)?;
                    let (consent, by) = (&self.consent, &by);
                    let record =
                        segment_record(&state, &placed, arrival, uploaded, closed_by, consent, by);
                    Body::Segment(Box::new(record))
                }
            };
            self.journal.recording(&uploaded.key, state.next_seq())?;
            if !self.append(&state, body).await? {
                races_lost += 1;
                state = self.state().await?;
            } else {
                (races_lost, appended) = (0, appended + 1);
                // A hole or gap in front is placed again with what now holds: its notices stand with the last placement.
                if placed.before.is_empty() {
                    branch = NewTimeline::of(&placed, arrival.file);
                    notices.extend(placed.notices);
                } else if notices.is_empty() {
                    notices.extend(placed.notices.iter().cloned());
                }
                state = self.known()?;
            }
        }
        bail!(RacesLost(RACES_MAX))
    }

    /// The holes and gaps that the ledger ends with. Not only those of this run: one before it may have been killed right behind
    /// them, and told nobody.
    fn missing_at_end(&self, state: &LedgerState) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for seq in (1..=state.last_seq.0).rev() {
            let line = self.index.record(Seq(seq))?;
            match line.as_ref().map(|line| &line.record().body) {
                Some(Body::Hole(hole)) => names.push(hole.mount_name.to_string()),
                Some(Body::Gap(gap)) => names.push(gap.mount_name.to_string()),
                Some(_) | None => break,
            }
        }
        names.reverse();
        Ok(names)
    }

    /// A record that was lost since the files were compared with the ledger may be that of `file`: with it unread, the file
    /// would seem to be another of the same number, and leave the timeline.
    fn check_none_lost(&self, file: &FileName) -> Result<()> {
        let lost = self.index.lost(usize::MAX)?;
        match lost.iter().find(|seq| !self.lost.contains(seq)) {
            None => Ok(()),
            Some(seq) => bail!(
                "ledger record {seq}, which another archiver has written meanwhile, cannot be read, and may be that of {file}: nothing was \
                 recorded. The next run reads it again; if this goes on, 'binlogfs verify' tells what is wrong with {}",
                record_key(*seq)
            ),
        }
    }

    /// The object is there and whole, right before the record that names it: somebody with a copy of our journal may have taken
    /// it for a leftover.
    pub(super) async fn check_object(&self, uploaded: &Uploaded) -> Result<()> {
        let meta = self.store.head(&uploaded.key).await?;
        let sent = uploaded.object().checksums();
        if !meta.agrees_with(&sent) {
            bail!(
                "object {} is not what was sent (the store has {meta:?}, sent were {sent:?}); nothing was recorded, run again",
                uploaded.key
            );
        }
        Ok(())
    }

    /// Creates the next record with `body`. Returns whether it is ours.
    pub(super) async fn append(&self, state: &LedgerState, body: Body) -> Result<bool> {
        let Some((line, _)) = append::create(&self.store, state, body).await? else {
            return Ok(false);
        };
        around(
            &*self.interrupt,
            "index.apply",
            || -> Result<(), anyhow::Error> {
                self.index.apply(&[Step::Line(line)])?;
                Ok(())
            },
        )?;
        Ok(true)
    }

    /// Whether the ledger already has this segment: ours, whose reply was lost, or another archiver's.
    async fn already_there(
        &self,
        uploaded: &Uploaded,
        file: &FileName,
    ) -> Result<Option<Committed>> {
        let found = self.index.find(&uploaded.summary.head, file.number())?;
        let mut same = None;
        for entry in found {
            let Some(segment) = &entry.segment else {
                continue;
            };
            match likeness(segment, &uploaded.summary, uploaded.sha256) {
                Likeness::Same => same = Some(entry),
                Likeness::Changed => bail!(
                    "ledger record {} holds {file} with other bytes (SHA-256 {}) than this server's ({}): one of the two was changed; nothing was written",
                    entry.seq,
                    segment.sha256,
                    uploaded.sha256
                ),
                Likeness::Another => {}
            }
        }
        let Some(entry) = same else { return Ok(None) };
        let ours = entry
            .segment
            .as_ref()
            .is_some_and(|segment| segment.object.key == uploaded.key);
        if ours || self.remove(&uploaded.key).await? {
            self.journal.end(&uploaded.key)?;
        }
        Ok(Some(Committed {
            seq: entry.seq,
            incarnation: entry.incarnation,
            by_another: !ours,
            missing: Vec::new(),
            branch: None,
            notices: Vec::new(),
        }))
    }
}

/// What is imported was compared with what the stream had then, and found to come behind it. It need not come behind what others
/// have archived since: a ledger has no place for it then, and would get a wrong one.
fn check_nobody_between(state: &LedgerState, arrival: &Arrival<'_>) -> Result<()> {
    match (arrival.provenance, state.newest_segment()) {
        (Provenance::Pile { behind, .. }, Some(newest)) if behind != Some(newest) => bail!(
            "another archiver has added to this stream while files were imported (ledger record {newest}), and {} may belong before that: neither it nor \
             what comes after it was recorded. See that nobody else archives to the stream, and run the import again: it compares with what is there now",
            arrival.file
        ),
        (Provenance::Pile { .. } | Provenance::Server, _) => Ok(()),
    }
}

/// How a file was closed, and what is odd about it.
pub fn closed_by(
    summary: &Summary,
    file: &FileName,
    successor: Option<&FileName>,
) -> (ClosedBy, Option<String>) {
    match &summary.ending {
        Ending::Stop => (ClosedBy::Stop, None),
        // Behind damage no end is looked for: that none was seen says nothing of the server.
        Ending::Open if summary.damage.is_some() => (ClosedBy::Unknown, None),
        Ending::Open => (
            ClosedBy::Crash,
            Some(format!(
                "{file} ends in neither ROTATE nor STOP: its server crashed"
            )),
        ),
        Ending::Rotate { next_file, .. } => {
            let odd = successor.filter(|next| next.to_string() != *next_file);
            (
                ClosedBy::Rotate,
                odd.map(|next| {
                    format!(
                        "{file} says that {next_file} follows, and the server's index lists {next}"
                    )
                }),
            )
        }
    }
}

pub(super) fn segment_record(
    state: &LedgerState,
    placed: &Place,
    arrival: &Arrival<'_>,
    uploaded: &Uploaded,
    closed_by: ClosedBy,
    consent: &Consent,
    by: &Signature<'_>,
) -> SegmentRecord {
    let summary = &uploaded.summary;
    // The first record of a page has its previous GTIDs in full, so that a page can be read alone.
    let begins_page = crate::ledger::page::page_start(state.next_seq()) == state.next_seq();
    let in_full = begins_page || placed.previous_gtids.is_some();
    let torn = closed_by == ClosedBy::Crash && summary.last_whole_event_end < summary.size;
    SegmentRecord {
        timeline: placed.timeline,
        incarnation: placed.incarnation,
        branch: placed.branch.clone(),
        server_uuid: arrival.server_uuid,
        server_version: summary.server_version.clone(),
        file: arrival.file.clone(),
        number: arrival.file.number(),
        head: summary.head,
        mount_name: placed.mount_name.clone(),
        size: summary.size,
        sha256: uploaded.sha256,
        object: uploaded.object(),
        closed_by,
        whole_until: torn.then_some(summary.last_whole_event_end),
        damaged: summary.damage.as_ref().map(|damage| DamagedRecord {
            first_bad_position: damage.first_bad_position,
            reason: damage.reason.clone(),
        }),
        first_time: summary.first_time,
        last_time: summary.last_time,
        min_time: summary.min_time,
        max_time: summary.max_time,
        latest_commit: summary.latest_commit,
        gtids: summary.gtids.clone(),
        transactions: summary.transactions,
        previous_gtids: if in_full {
            arrival.previous.cloned()
        } else {
            None
        },
        previous_gtids_sha256: if in_full {
            None
        } else {
            placed.previous_gtids_sha256
        },
        single_writer: consent.single_writer,
        archived_at: by.now,
        archiver: by.archiver.to_owned(),
    }
}

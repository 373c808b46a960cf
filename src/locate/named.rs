//! What a name means: a file of a timeline, a GTID that no file holds.

use super::locator::{LocateError, Locator, refusal};
use super::{Refusal, RefusalKind};
use crate::ledger::Entry;
use crate::model::{FileName, Gtid, MountName, Timeline};

impl Locator {
    /// Why a moment before the first transaction of `timeline` cannot be reached.
    pub(super) async fn before_all(&self, timeline: Timeline) -> Result<Refusal, LocateError> {
        let pruned = self.ask(move |index| index.pruned(timeline)).await?;
        let reason = match pruned {
            None => "it lies before the history begins".to_owned(),
            Some(prune) => format!(
                "it lies before the history begins: what was up to {} was {prune}",
                prune
                    .through
                    .as_ref()
                    .map_or("there", |through| through.as_str())
            ),
        };
        Ok(refusal(RefusalKind::TooEarly, reason))
    }

    /// A refusal that knows of no transaction, where all of them were pruned.
    pub(super) async fn unless_pruned(
        &self,
        timeline: Timeline,
        refused: Refusal,
    ) -> Result<Refusal, LocateError> {
        if refused.last_before.is_some() {
            return Ok(refused);
        }
        let pruned = self.ask(move |index| index.pruned(timeline)).await?;
        Ok(match pruned {
            Some(prune) => refusal(
                RefusalKind::TooEarly,
                format!("what timeline {timeline} held was {prune}"),
            ),
            None => refused,
        })
    }

    /// Why no segment of `timeline` holds `gtid`.
    pub(super) async fn unknown_gtid(
        &self,
        timeline: Timeline,
        gtid: &Gtid,
        elsewhere: Option<Timeline>,
    ) -> Result<Refusal, LocateError> {
        if let Some(other) = elsewhere {
            let reason = format!("{gtid} is not in timeline {timeline} but in timeline {other}");
            return Ok(refusal(RefusalKind::Unknown, reason));
        }
        let wanted = gtid.clone();
        let pruned = self
            .ask(
                move |index| match index.pruned_holding(timeline, &wanted)? {
                    Some(row) => Ok(index.pruned_by(&row)?.map(|prune| (row.mount_name, prune))),
                    None => Ok(None),
                },
            )
            .await?;
        if let Some((name, prune)) = pruned {
            let reason = format!("{gtid} stood in {name}, which was {prune}");
            return Ok(refusal(RefusalKind::TooEarly, reason));
        }
        let wanted = gtid.clone();
        let (early, executed, fenced_off) = self
            .ask(move |index| {
                let first = index.entries(timeline, None, 1)?;
                let before = first
                    .first()
                    .and_then(|entry| entry.previous_gtids.as_ref());
                let state = index.state()?;
                let known = state.as_ref().and_then(|state| state.timeline(timeline));
                Ok((
                    before.is_some_and(|set| set.contains(&wanted)),
                    known.is_some_and(|known| known.executed.contains(&wanted)),
                    known.is_some_and(|known| known.fenced_off.contains(&wanted)),
                ))
            })
            .await?;
        if fenced_off {
            let reason = format!(
                "{gtid} stands behind a fence of timeline {timeline}, which ends before it; 'binlogfs ls --fenced' shows where it is kept"
            );
            return Ok(refusal(RefusalKind::Unknown, reason));
        }
        Ok(match (early, executed) {
            (true, _) => refusal(
                RefusalKind::TooEarly,
                format!("{gtid} was executed before the history begins"),
            ),
            (false, true) => refusal(
                RefusalKind::Missing,
                format!("{gtid} was executed, but the binlog that held it is not archived"),
            ),
            (false, false) => refusal(
                RefusalKind::Unknown,
                format!(
                    "no archived binlog holds {gtid}: it was not executed, or is not archived yet"
                ),
            ),
        })
    }

    /// The entry of a file, by its name in the mount or by the server's own.
    pub(super) async fn entry_of_file(
        &self,
        timeline: Timeline,
        file: &str,
    ) -> Result<Entry, LocateError> {
        let unknown = |reason: String| refusal(RefusalKind::Unknown, reason);
        let mount_name: Option<MountName> = file.parse().ok();
        let file_name: Option<FileName> = file.parse().ok();
        let mut found = self
            .ask(move |index| {
                if let Some(name) = mount_name
                    && let Some(entry) = index.entry(timeline, &name)?
                {
                    return Ok(vec![entry]);
                }
                match file_name {
                    Some(file) => index.of_file(timeline, &file),
                    None => Ok(Vec::new()),
                }
            })
            .await?;
        match (found.pop(), found.is_empty()) {
            (Some(entry), true) => Ok(entry),
            (Some(last), false) => {
                let mut names: Vec<String> =
                    found.iter().map(|e| e.mount_name.to_string()).collect();
                names.push(last.mount_name.to_string());
                let reason = format!(
                    "{file} is the server's name of several files; name one as 'binlogfs ls' does: {}",
                    names.join(", ")
                );
                Err(unknown(reason).into())
            }
            (None, _) => {
                let name = file.to_owned();
                let pruned = self
                    .ask(move |index| match index.pruned_named(timeline, &name)? {
                        Some(row) => index.pruned_by(&row),
                        None => Ok(None),
                    })
                    .await?;
                if let Some(prune) = pruned {
                    let reason = format!("{file} was {prune}");
                    return Err(refusal(RefusalKind::TooEarly, reason).into());
                }
                let reason = format!("timeline {timeline} has no file {file}");
                Err(unknown(reason).into())
            }
        }
    }
}

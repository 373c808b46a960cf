//! Transactions that are left out for good: the target has empty ones in their place.
//!
//! These are committed before anything is applied, so that no run applies what was to be left out, however the first one ends. Of a GTID that
//! it has a server cannot tell whether it has the transaction, or the empty one. So a note is kept: by that the same command goes on after
//! it was killed, and a server that has the transaction itself is refused.

use super::super::reading;
use super::Recovery;
use crate::model::GtidSet;
use crate::replay::notes::{self, About, LeftOut};
use crate::replay::{Request, Target};
use anyhow::{Context as _, Result};
use std::path::Path;

/// Takes what an earlier run has left out of the target out of what is asked for; what is worth knowing of that.
pub(super) async fn before(
    dir: &Path,
    target: &mut Target,
    request: &mut Request,
) -> Result<Option<String>> {
    if request.skip.is_empty() {
        return Ok(None);
    }
    let facts = target.facts().await?;
    let noted = noted(&notes::path(dir, About::LeftOut, &facts.identity))?;
    let mut before = noted.common(&facts.executed).common(&request.skip);
    // It was restored since, from a base that has the transaction itself.
    if let Some(base) = &request.base.gtids {
        before = before.minus(base);
    }
    request.skip = request.skip.minus(&before);
    Ok((!before.is_empty()).then(|| {
        format!(
            "{before} was left out by an earlier run: the target has an empty transaction instead"
        )
    }))
}

/// What was left out of a server, by the note of it.
fn noted(path: &Path) -> Result<GtidSet> {
    let note = notes::read::<LeftOut>(path);
    let note = note.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(note.map(|note| note.gtids).unwrap_or_default())
}

impl Recovery<'_> {
    /// Has the target pass over what is left out, now and later.
    pub(super) async fn leave_out(&mut self) -> Result<()> {
        let (facts, skip) = (&self.ready.facts, &self.ready.plan.question.skip);
        if !facts.takes_gtids() {
            return Ok(());
        }
        let dir = reading::state_dir(self.global, &self.args.url);
        let path = notes::path(&dir, About::LeftOut, &facts.identity);
        let before = noted(&path)?;
        // What it has no more it was restored without.
        let mut gtids = before.common(&facts.executed);
        gtids.union_with(skip);
        if gtids != before {
            let written = match gtids.is_empty() {
                true => notes::remove(&path),
                false => {
                    let target = facts.identity.clone();
                    notes::write(&path, &LeftOut { target, gtids })
                }
            };
            written.with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(self.target.pass_over(skip).await?)
    }
}

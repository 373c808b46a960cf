//! The restarts of a target: one before the replay, with options that its applier needs, and one without them at the end.

use super::Recovery;
use crate::replay::notes::{self, About};
use crate::replay::relay;
use crate::replay::restart::{self, MYSQLD_OPTS, RestartError, RestartNote};
use crate::replay::{self, Restart, Target, command_line};
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};
use tokio::sync::watch;

/// What to do where the server runs with other options than those it was to have.
const PASS_ON: &str = "the command must give mysqld what MYSQLD_OPTS holds, and nothing when it is empty (with systemd: systemctl \
    set-environment MYSQLD_OPTS=\"$MYSQLD_OPTS\" && systemctl restart mysqld); what SET PERSIST has set, options do not change";

/// What is known of the target's restarts.
pub(super) struct Restarts {
    /// Where the note of them is.
    path: PathBuf,
    /// The last of them that was not forgotten.
    note: Option<RestartNote>,
    /// The target runs with the note's options.
    in_force: bool,
    /// How often this run has restarted it.
    pub(super) done: u32,
}

impl Restarts {
    /// What an earlier run has left: its options, unless the server was started without them since.
    pub(super) async fn find(dir: &Path, identity: &str, target: &mut Target) -> Result<Restarts> {
        let path = notes::path(dir, About::Restart, identity);
        let note = notes::read::<RestartNote>(&path);
        let note = note.with_context(|| format!("cannot read {}", path.display()))?;
        let in_force = match &note {
            None => false,
            Some(note) => note.is_in_force(&restart::variables(target, note).await?),
        };
        Ok(Restarts {
            path,
            note,
            in_force,
            done: 0,
        })
    }

    /// The note whose options the target runs with.
    pub(super) fn in_force(&self) -> Option<&RestartNote> {
        self.note.as_ref().filter(|_| self.in_force)
    }

    fn forget(&mut self) -> Result<()> {
        (self.note, self.in_force) = (None, false);
        notes::remove(&self.path).with_context(|| format!("cannot remove {}", self.path.display()))
    }
}

impl Recovery<'_> {
    /// Restarts the target with the options that its applier needs, and looks at everything again.
    pub(super) async fn restart_for(
        &mut self,
        wanted: &Restart,
        stopped: &watch::Receiver<bool>,
    ) -> Result<()> {
        let Some(command) = self.args.restart.as_deref() else {
            bail!("the target needs a restart: --restart COMMAND");
        };
        let options = command_line(&wanted.options);
        // What an earlier run has changed stays known as it was before that.
        let earlier = self.restarts.in_force().map(|note| note.before.clone());
        let mut note = RestartNote::new(&self.ready.facts.identity, &wanted.options);
        note.before = restart::variables(&mut self.target, &note).await?;
        note.before.extend(earlier.unwrap_or_default());
        notes::write(&self.restarts.path, &note).with_context(|| {
            format!(
                "cannot write {}; nothing was changed",
                self.restarts.path.display()
            )
        })?;
        (self.restarts.note, self.restarts.in_force) = (Some(note.clone()), true);
        eprintln!(
            "binlogfs: restarting {} with {MYSQLD_OPTS}='{options}', because {}",
            self.target.name(),
            wanted.why
        );
        let (target, facts) = (&mut self.target, &self.ready.facts);
        restart::restart(target, facts, command, &options, stopped)
            .await
            .context("nothing was applied")?;
        self.restarts.done += 1;
        let now = restart::variables(&mut self.target, &note).await?;
        let lacking = note.lacking(&now);
        if !lacking.is_empty() {
            bail!(
                "the target was restarted without the options that it needs ({}): {PASS_ON}; nothing was applied",
                lacking.join(", ")
            );
        }
        self.ready = replay::prepare(&self.planner, &mut self.target, &self.request).await?;
        if let Some(still) = &self.ready.restart {
            bail!(
                "the restart has not helped: {}; nothing was applied",
                still.why
            );
        }
        Ok(())
    }

    /// Restarts the target without options of ours, if it has any: it ends as its administrator has configured it.
    pub(super) async fn restart_as_configured(&mut self) -> Result<()> {
        let Some(note) = self.restarts.note.clone() else {
            return Ok(());
        };
        if self.target.connection().run("DO 1").await.is_err() {
            match self.target.reconnect().await {
                // It had its own options: there is nothing to be given back.
                Err(_) if !self.restarts.in_force => return Ok(()),
                reconnected => reconnected.with_context(|| left(&note))?,
            }
        }
        let now = restart::variables(&mut self.target, &note).await?;
        if !note.is_in_force(&now) {
            return self.restarts.forget();
        }
        let Some(command) = self.args.restart.as_deref() else {
            eprintln!("binlogfs: note: {}", left(&note));
            return Ok(());
        };
        self.clear_for_restart()
            .await
            .with_context(|| left(&note))?;
        eprintln!(
            "binlogfs: restarting {} as it is configured",
            self.target.name()
        );
        // Whoever asked to stop wants this above all.
        let (_keep, never) = watch::channel(false);
        let (target, facts) = (&mut self.target, &self.ready.facts);
        let restarted: Result<(), RestartError> =
            restart::restart(target, facts, command, "", &never).await;
        restarted.with_context(|| left(&note))?;
        self.restarts.done += 1;
        let now = restart::variables(&mut self.target, &note).await?;
        if note.is_in_force(&now) {
            bail!(
                "{}: the restart at the end has not ended that: {PASS_ON}",
                left(&note)
            );
        }
        self.restarts.forget()
    }

    /// Nobody else recovers the target, and no channel of ours is there: the server would start it, with filters of its own.
    async fn clear_for_restart(&mut self) -> Result<()> {
        if !self.target.claim().await? {
            bail!("another recovery of the target is under way");
        }
        let facts = self.target.facts().await?;
        if relay::is_left_behind(&facts) {
            relay::clean(&mut self.target, &facts).await?;
        }
        Ok(())
    }
}

/// That the options are there, and how to be rid of them.
pub(super) fn left(note: &RestartNote) -> String {
    format!(
        "the target has options that are for its recovery alone ({}): restart it without them, or run the same command with --restart \
         COMMAND, which does that at the end",
        note.options()
    )
}

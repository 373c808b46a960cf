//! What an agent knows of its stream from the run before, and so need not ask the store again.
//!
//! A run that knows nothing asks for `stream.json`, proves that the store refuses to create it again, and follows the ledger by a
//! listing. All of that tells what hardly ever changes, and what is wrong all the same shows at once: the newest record is read
//! by every run, and where somebody else has appended, the next record cannot be created.

use bytes::Bytes;

/// Runs until everything is asked for again: five hours of a server that closes a binlog every five minutes.
const RUNS: u32 = 60;

/// What is known, if anything.
#[derive(Clone, Debug, Default)]
pub struct Footing(Option<Known>);

#[derive(Clone, Debug)]
struct Known {
    /// `stream.json`, as it was read.
    stream: Bytes,
    /// Nobody else has appended since the run before.
    alone: bool,
    runs_left: u32,
}

impl Footing {
    /// Takes it, so that a run that fails leaves nothing to stand on.
    pub(super) fn take(&mut self) -> Footing {
        let known = self.0.take();
        Footing(known.filter(|known| known.runs_left > 0))
    }

    /// `stream.json`, if the store was asked not long ago, and refused to create it again.
    pub(super) fn stream(&self) -> Option<&Bytes> {
        self.0.as_ref().map(|known| &known.stream)
    }

    /// Whether to expect that nobody else has appended.
    pub(super) fn alone(&self) -> bool {
        self.0.as_ref().is_some_and(|known| known.alone)
    }

    /// What is known after a run on `stream` that began with this, and met somebody else or not.
    pub(super) fn after(self, stream: Bytes, met_another: bool) -> Footing {
        let left = self.0.map(|known| known.runs_left);
        Footing(Some(Known {
            stream,
            alone: !met_another,
            runs_left: left.map_or(RUNS, |left| left.saturating_sub(1)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Bytes {
        Bytes::from_static(b"{}")
    }

    #[test]
    fn whoever_met_somebody_does_not_expect_to_be_alone() {
        let mut footing = Footing::default();
        assert!(footing.take().stream().is_none());
        footing = footing.take().after(file(), true);
        assert!(footing.stream().is_some() && !footing.alone());
        footing = footing.take().after(file(), false);
        assert!(footing.alone());
    }

    #[test]
    fn now_and_then_everything_is_asked_for_again() {
        let mut footing = Footing::default();
        let mut asked = 0;
        for _ in 0..=2 * RUNS + 1 {
            let known = footing.take();
            asked += u32::from(known.stream().is_none());
            footing = known.after(file(), false);
        }
        assert_eq!(asked, 2);
    }

    #[test]
    fn a_run_that_fails_leaves_nothing() {
        let mut footing = Footing::default().after(file(), false);
        drop(footing.take());
        assert!(footing.take().stream().is_none());
    }
}

//! What stands between where a replay begins and where it ends.

use super::plan::Begin;
use super::planner::{Ground, PlanError, Planner};
use super::refusal::{Refusal, RefusalKind};
use super::stop::Ending;
use crate::index::Finding;
use crate::ledger::EntryState;
use crate::model::{GtidSet, MountName, Seq};

/// How a replay gets from its beginning to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Over transactions that are all there.
    Whole,
    /// There is nothing to replay.
    Nothing,
}

/// Looks at everything between `begin` and `ending`. `has` is what the base has.
///
/// # Errors
/// A refusal if it cannot be crossed, or the end comes before the beginning.
pub(super) async fn check(
    planner: &Planner,
    ground: &Ground,
    (begin, ending): (&Begin, &Ending),
    has: &GtidSet,
) -> Result<Way, PlanError> {
    let from = (begin.place.seq, begin.place.position);
    let to = (ending.stop.place.seq, ending.stop.place.position);
    if from == to {
        return Ok(Way::Nothing);
    }
    if to < from {
        return before(begin, ending);
    }
    let timeline = ground.timeline;
    let findings = planner.ask(move |index| index.continuity(timeline)).await?;
    let last = &ending.stop.place.file;
    let blocking = findings
        .iter()
        .find(|finding| blocks(finding, &begin.place.file, last, has));
    match blocking {
        Some(finding) => Err(refuse(planner, ground, finding, from, has).await?),
        None => Ok(Way::Whole),
    }
}

/// The target stands before what the base has.
fn before(begin: &Begin, ending: &Ending) -> Result<Way, PlanError> {
    let from = (begin.place.seq, begin.place.position);
    if ending.next_at.is_none_or(|next| next >= from) {
        // No transaction stands between the two.
        return Ok(Way::Nothing);
    }
    let place = &begin.place;
    let reason = format!(
        "the base has all before {}:{}, and the target is {}:{}, before that: a replay cannot take anything back",
        place.file, place.position, ending.stop.place.file, ending.stop.place.position
    );
    let mut refusal = Refusal::new(RefusalKind::BaseTooNew, reason);
    let sentence = "take a base that is older than the target".to_owned();
    refusal.instead.push(sentence);
    Err(refusal.into())
}

/// Whether a replay from somewhere in `first` to somewhere in `last` cannot cross it.
fn blocks(finding: &Finding, first: &MountName, last: &MountName, has: &GtidSet) -> bool {
    let name = finding.mount_name();
    if name < first || name > last {
        return false;
    }
    match finding {
        // Up to its damage it is whole, and no target is found behind that.
        Finding::Unreadable { state, .. } => *state != EntryState::Damaged || name != last,
        // What is missing before the first file is no matter of this replay.
        Finding::GtidBreak {
            appeared, vanished, ..
        } => name > first && (!vanished.is_empty() || !appeared.is_subset(has)),
    }
}

async fn refuse(
    planner: &Planner,
    ground: &Ground,
    finding: &Finding,
    begin: (Seq, u64),
    has: &GtidSet,
) -> Result<PlanError, PlanError> {
    let reach = planner.reach(ground);
    let name = finding.mount_name();
    let (reason, before, after) = match finding {
        Finding::Unreadable {
            seq, state, reason, ..
        } => {
            let before = match state {
                EntryState::Damaged => reach.last_in_or_before(*seq, name).await?,
                EntryState::Archived | EntryState::Hole | EntryState::Gap | EntryState::Lost => {
                    reach.last_before(name).await?
                }
            };
            let what = match state {
                EntryState::Hole => "a hole",
                EntryState::Gap => "a gap of unknown extent",
                EntryState::Lost => "an entry whose ledger record is lost",
                EntryState::Damaged | EntryState::Archived => "a damaged segment",
            };
            let reason = format!("{what} is in the way: {name} ({reason})");
            (reason, before, reach.first_after(name).await?)
        }
        Finding::GtidBreak {
            seq,
            appeared,
            vanished,
            ..
        } => {
            let reason = match appeared.minus(has) {
                lacking if lacking.is_empty() => format!(
                    "{name} does not know {vanished}, which was executed before it: the server was set back there"
                ),
                lacking => {
                    format!("{lacking} was executed before {name}, and no archived binlog holds it")
                }
            };
            let before = reach.last_before(name).await?;
            (reason, before, reach.first_of(*seq).await?)
        }
    };
    let mut refusal = Refusal::new(RefusalKind::Missing, reason);
    // What lies before the base's end is no point that it can be brought to.
    let ahead = before.filter(|(seq, end)| (*seq, end.position) > begin);
    refusal.before = ahead.map(|(_, end)| end);
    refusal.after = after;
    if let Finding::Unreadable {
        state: EntryState::Hole,
        ..
    } = finding
    {
        let sentence = format!(
            "if {name} still exists anywhere, bring it back and 'binlogfs dlq retry' fills the hole"
        );
        refusal.instead.push(sentence);
    }
    Ok(refusal.advised().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u64) -> MountName {
        format!("binlog.{number:06}").parse().expect("a name")
    }

    fn unreadable(number: u64, state: EntryState) -> Finding {
        Finding::Unreadable {
            seq: Seq(number),
            mount_name: name(number),
            state,
            reason: String::new(),
        }
    }

    #[test]
    fn nothing_that_is_missing_is_crossed() {
        let (first, last) = (name(3), name(6));
        let has = GtidSet::new();
        let blocks = |finding: &Finding| blocks(finding, &first, &last, &has);
        for state in [
            EntryState::Hole,
            EntryState::Gap,
            EntryState::Lost,
            EntryState::Damaged,
        ] {
            for number in [3, 4, 5] {
                assert!(blocks(&unreadable(number, state)), "{number} {state:?}");
            }
            for number in [2, 7] {
                assert!(!blocks(&unreadable(number, state)), "{number} {state:?}");
            }
            let is_damage = state == EntryState::Damaged;
            assert_eq!(blocks(&unreadable(6, state)), !is_damage, "{state:?}");
        }
    }

    #[test]
    fn gtids_from_nowhere_are_crossed_by_a_base_that_has_them() {
        let set = |text: &str| -> GtidSet { text.parse().expect(text) };
        let appeared = set("3e11fa47-71ca-11e1-9e33-c80aa9429562:5-7");
        let finding = |vanished: GtidSet| Finding::GtidBreak {
            seq: Seq(5),
            mount_name: name(5),
            appeared: appeared.clone(),
            vanished,
        };
        let (first, last) = (name(3), name(6));
        let nothing = GtidSet::new();
        assert!(blocks(&finding(nothing.clone()), &first, &last, &nothing));
        assert!(!blocks(&finding(nothing.clone()), &first, &last, &appeared));
        assert!(blocks(&finding(appeared.clone()), &first, &last, &appeared));
        // A replay that begins behind it, or ends before it.
        assert!(!blocks(
            &finding(nothing.clone()),
            &name(5),
            &last,
            &nothing
        ));
        assert!(!blocks(
            &finding(nothing.clone()),
            &first,
            &name(4),
            &nothing
        ));
    }
}

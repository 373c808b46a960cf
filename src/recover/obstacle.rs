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
        return before(planner, ground, begin, ending).await;
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
async fn before(
    planner: &Planner,
    ground: &Ground,
    begin: &Begin,
    ending: &Ending,
) -> Result<Way, PlanError> {
    let from = (begin.place.seq, begin.place.position);
    let (timeline, stop) = (ground.timeline, ending.stop.place.file.clone());
    let first = begin.place.file.clone();
    let (is_missing, behind) = planner
        .ask(move |index| {
            let findings = index.continuity(timeline)?;
            let is_missing = findings.iter().any(|finding| hides(finding, &stop, &first));
            Ok((
                is_missing,
                index.with_transactions_around(timeline, &stop)?.1,
            ))
        })
        .await?;
    let has_more = match (ending.next_at, behind) {
        (Some(next), _) => next < from,
        // It was not looked for that far: more files than a few are without transactions.
        (None, Some(row)) => row.seq < from.0 || (row.seq == from.0 && !begin.at_first),
        (None, None) => false,
    };
    if !is_missing && !has_more {
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

/// Whether transactions that nobody knows may stand behind a place in `stop` and before one in `first`.
fn hides(finding: &Finding, stop: &MountName, first: &MountName) -> bool {
    let Finding::Unreadable {
        mount_name, state, ..
    } = finding
    else {
        // What GTIDs tell of a base was looked at before.
        return false;
    };
    let from_stop = mount_name > stop || (mount_name == stop && *state == EntryState::Damaged);
    from_stop && mount_name < first
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
    fn what_is_missing_between_a_target_and_a_base_behind_it_may_have_held_transactions() {
        let (stop, first) = (name(3), name(6));
        let hides = |finding: &Finding| hides(finding, &stop, &first);
        for state in [
            EntryState::Hole,
            EntryState::Gap,
            EntryState::Lost,
            EntryState::Damaged,
        ] {
            for number in [4, 5] {
                assert!(hides(&unreadable(number, state)), "{number} {state:?}");
            }
            for number in [2, 6, 7] {
                assert!(!hides(&unreadable(number, state)), "{number} {state:?}");
            }
            // Behind a target in it is what is damaged.
            let is_damage = state == EntryState::Damaged;
            assert_eq!(hides(&unreadable(3, state)), is_damage, "{state:?}");
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

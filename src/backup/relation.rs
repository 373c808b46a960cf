//! How the GTIDs of a backup and those of a history relate. Pure.

use super::window::{Unusable, UnusableKind, Verdict};
use crate::model::{GtidSet, GtidSource, Intervals};
use std::collections::HashMap;

/// Characters of a set in a message: enough to see whose it is.
const SHOWN_MAX_CHARS: usize = 200;

/// A set in a message.
pub(super) fn shown(set: &GtidSet) -> String {
    let text = set.to_string();
    match text.char_indices().nth(SHOWN_MAX_CHARS) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}

/// All that a backup which tells `told` holds of `executed`. MariaDB tells the last of each domain, by whatever server.
pub(super) fn implied(told: &GtidSet, executed: &GtidSet) -> GtidSet {
    let mut held = told.clone();
    let mut last: HashMap<u32, u64> = HashMap::new();
    for (source, intervals) in told.iter() {
        if let (GtidSource::MariaDb { domain, .. }, Some(number)) = (source, intervals.last()) {
            let known = last.entry(*domain).or_default();
            *known = number.max(*known);
        }
    }
    for source in executed.iter().chain(told.iter()).map(|(source, _)| source) {
        if let GtidSource::MariaDb { domain, .. } = source
            && let Some(number) = last.get(domain)
        {
            held.insert_run(source.clone(), 0, *number);
        }
    }
    held
}

/// What a backup is to a timeline that executed `executed`, where it is not simply a part of it.
pub(super) fn related(told: &GtidSet, executed: &GtidSet) -> Option<Verdict> {
    let extra = told.minus(executed);
    if extra.is_empty() {
        return None;
    }
    let held = implied(told, executed);
    if !held.intersects(executed) {
        return Some(Verdict::Unusable(Unusable {
            kind: UnusableKind::Foreign,
            reason: format!(
                "it has no GTID in common with the stream ({} there, {} here): it is a backup of another cluster",
                shown(told),
                shown(executed)
            ),
            next: "name the stream of the server it was made on".to_owned(),
        }));
    }
    let lacks_nothing = executed.is_subset(&held);
    let known: HashMap<&GtidSource, &Intervals> = executed.iter().collect();
    let later = extra.iter().all(|(source, intervals)| {
        let first = intervals.runs().first().map(|run| run.0);
        match known.get(source) {
            Some(here) => first > here.last(),
            // Another server's: the next primary's, if nothing of the history is missing.
            None => lacks_nothing,
        }
    });
    Some(match later {
        true => Verdict::Ahead {
            reason: format!("{} are not archived yet", shown(&extra)),
            gtids: extra,
        },
        false => Verdict::Unusable(Unusable {
            kind: UnusableKind::Diverged,
            reason: format!(
                "it has {}, which the archived history has not: the server it was made on had transactions of its own",
                shown(&extra)
            ),
            next: "make a backup of a server without such transactions (the primary has none)"
                .to_owned(),
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const U: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const V: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        text.parse().expect(text)
    }

    fn relation(told: &str, executed: &str) -> String {
        match related(&set(told), &set(executed)) {
            None => "part".to_owned(),
            Some(Verdict::Ahead { gtids, .. }) => format!("ahead by {gtids}"),
            Some(Verdict::Unusable(why)) => format!("{:?}", why.kind),
            Some(Verdict::Usable(_)) => unreachable!("that needs an index"),
        }
    }

    #[test]
    fn a_backup_is_a_part_ahead_diverged_or_foreign() {
        let u = |n: &str| format!("{U}:{n}");
        assert_eq!(relation(&u("1-5"), &u("1-9")), "part");
        assert_eq!(relation("", &u("1-9")), "part");
        assert_eq!(
            relation(&u("1-12"), &u("1-9")),
            format!("ahead by {U}:10-12")
        );
        // A replica's workers have not come to 9 yet, and to 11 already.
        assert_eq!(
            relation(&u("1-8:11"), &u("1-9")),
            format!("ahead by {U}:11")
        );
        assert_eq!(
            relation(&format!("{U}:1-9,{V}:1-3"), &u("1-9")),
            format!("ahead by {V}:1-3")
        );
        assert_eq!(relation(&format!("{U}:1-5,{V}:1-3"), &u("1-9")), "Diverged");
        // One that fell into a hole of the set is no later one.
        assert_eq!(relation(&u("1-6"), &u("1-5:7-9")), "Diverged");
        assert_eq!(relation(&format!("{V}:1-3"), &u("1-9")), "Foreign");
        assert_eq!(relation(&u("blue:1"), &u("1-9")), "Foreign");
    }

    #[test]
    fn a_mariadb_position_stands_for_all_before_it_in_its_domain() {
        let executed = set("0-1-1..5,0-2-6..9,3-7-1..4");
        let held = implied(&set("0-2-7"), &executed);
        assert_eq!(executed.minus(&held), set("0-2-8..9,3-7-1..4"));
        assert_eq!(relation("0-2-7", "0-1-1..5,0-2-6..9"), "part");
        assert_eq!(relation("0-2-12", "0-1-1..5,0-2-6..9"), "ahead by 0-2-12");
        assert_eq!(relation("5-2-12", "0-1-1..5,0-2-6..9"), "Foreign");
    }

    #[test]
    fn a_set_of_a_thousand_runs_is_cut_in_a_message() {
        let mut text = U.to_owned();
        (1..1000).for_each(|n| text += &format!(":{}", 2 * n));
        let cut = shown(&set(&text));
        assert_eq!(cut.chars().count(), SHOWN_MAX_CHARS + 1);
        assert!(cut.starts_with(U) && cut.ends_with('…'));
    }
}

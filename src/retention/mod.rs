//! Which segments retention lets go: a pure rule over what is listed, what is asked for, and what backups need.
//!
//! Each timeline is looked at by itself, because no recovery crosses from one to another. What goes is a *prefix* of its visible
//! entries, so that what stays is one piece, as it was before: nothing in the middle goes, and nothing older than a hole is left
//! behind as an island. The prefix ends before the first entry that somebody has a reason to keep ([`Reason`]):
//!
//! * **the rule asked for**: an entry whose newest time is not old enough. An entry without any time (a hole, a gap, a lost record)
//!   is as old as what stands behind it: nobody knows what would be in it;
//! * **a registered backup**: what is replayed on top of it. One file more stays, the one with the last transaction before that: it
//!   tells where the moment of the backup itself lies, which can be asked for too;
//! * **a backup of which it is not known what it needs**: then everything stays;
//! * **the newest segment**, of the history that goes on and of the stream. A timeline that ended may go as a whole.

use crate::model::{Micros, MountName, Seq};

/// An entry of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The record that introduced it.
    pub seq: Seq,
    /// Its name.
    pub name: MountName,
    /// Whether it is a segment; else a hole, a gap or a lost record.
    pub is_segment: bool,
    /// Whether it has transactions.
    pub has_transactions: bool,
    /// Bytes of its object.
    pub stored_bytes: u64,
    /// The newest time in it, by commits and events.
    pub time: Option<Micros>,
}

/// What is asked to stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// What happened at this moment or later.
    Since(Micros),
    /// This entry, and all after it.
    From(MountName),
}

/// What a backup needs of the timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The backup.
    pub backup: String,
    /// The first entry of which something is replayed; or why that cannot be told.
    pub from: Result<MountName, String>,
}

/// Why an entry stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It was asked for.
    Rule,
    /// This backup needs it.
    Backup(String),
    /// What this backup needs is not known, for this reason.
    Unknown(String, String),
    /// It is the newest segment.
    Newest,
}

/// A reason, and how far it lets retention go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// So many entries, from the oldest, are no matter of this reason.
    pub end: usize,
    /// The reason.
    pub reason: Reason,
}

/// What may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// So many entries, from the oldest.
    pub end: usize,
    /// What limits it, the strictest first.
    pub limits: Vec<Limit>,
}

/// What may go of a timeline with these visible entries, in replay order. `goes_on`: its newest segment is one that always stays.
pub fn plan(rows: &[Row], rule: &Rule, holds: &[Hold], goes_on: bool) -> Plan {
    let mut limits = vec![Limit {
        end: rule_end(rows, rule),
        reason: Reason::Rule,
    }];
    for hold in holds {
        limits.push(match &hold.from {
            Ok(name) => Limit {
                end: hold_end(rows, name),
                reason: Reason::Backup(hold.backup.clone()),
            },
            Err(why) => Limit {
                end: 0,
                reason: Reason::Unknown(hold.backup.clone(), why.clone()),
            },
        });
    }
    if goes_on {
        let newest = rows.iter().rposition(|row| row.is_segment);
        limits.push(Limit {
            end: newest.unwrap_or(0),
            reason: Reason::Newest,
        });
    }
    limits.sort_by_key(|limit| limit.end);
    Plan {
        end: limits.first().map_or(0, |limit| limit.end),
        limits,
    }
}

fn rule_end(rows: &[Row], rule: &Rule) -> usize {
    let cut = match rule {
        Rule::From(name) => return rows.partition_point(|row| row.name < *name),
        Rule::Since(cut) => *cut,
    };
    let is_young = |row: &Row| row.time.is_some_and(|time| time >= cut);
    let end = rows.iter().position(is_young).unwrap_or(rows.len());
    // What has no time may be as young as what follows it, or younger than all there is.
    let known = |row: &Row| row.time.is_some();
    let before = rows.get(..end).unwrap_or_default();
    before.iter().rposition(known).map_or(0, |last| last + 1)
}

fn hold_end(rows: &[Row], name: &MountName) -> usize {
    let start = rows.partition_point(|row| row.name < *name);
    let before = rows.get(..start).unwrap_or_default();
    for (at, row) in before.iter().enumerate().rev() {
        if !row.is_segment {
            // Nothing before it can be replayed up to here.
            return at + 1;
        }
        if row.has_transactions {
            return at;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(number: usize) -> MountName {
        format!("binlog.{number:06}").parse().expect("a name")
    }

    /// Entries 1, 2, ...: `s` a segment, `e` one without transactions, `h` a hole; entry n is of time 10 n.
    fn rows(kinds: &str) -> Vec<Row> {
        let row = |(at, kind): (usize, char)| Row {
            seq: Seq(at as u64 + 1),
            name: name(at + 1),
            is_segment: kind != 'h',
            has_transactions: kind == 's',
            stored_bytes: 100,
            time: (kind != 'h').then_some(Micros(10 * (at as i64 + 1))),
        };
        kinds.chars().enumerate().map(row).collect()
    }

    fn hold(number: usize) -> Hold {
        Hold {
            backup: format!("b{number}"),
            from: Ok(name(number)),
        }
    }

    fn end(kinds: &str, cut: i64, holds: &[usize]) -> usize {
        let holds: Vec<Hold> = holds.iter().copied().map(hold).collect();
        plan(&rows(kinds), &Rule::Since(Micros(cut)), &holds, true).end
    }

    #[test]
    fn what_is_old_goes_and_what_a_backup_needs_stays_with_the_file_before_it() {
        assert_eq!(end("sssss", 31, &[]), 3);
        assert_eq!(end("sssss", 30, &[]), 2);
        assert_eq!(end("sssss", 31, &[5]), 3);
        assert_eq!(end("sssss", 31, &[3]), 1);
        assert_eq!(end("sssss", 31, &[3, 5]), 1);
        assert_eq!(end("sssss", 31, &[1]), 0);
        // The last transaction before the backup stands further back.
        assert_eq!(end("sseess", 61, &[5]), 1);
        // Behind a hole there is none.
        assert_eq!(end("sshess", 61, &[5]), 3);
    }

    #[test]
    fn a_hole_is_as_young_as_what_stands_behind_it() {
        assert_eq!(end("sshhs", 50, &[]), 2);
        assert_eq!(end("sshss", 50, &[]), 4);
        assert_eq!(end("hsss", 10, &[]), 0);
    }

    #[test]
    fn the_newest_segment_stays_and_a_timeline_that_ended_may_go() {
        assert_eq!(end("sss", 1000, &[]), 2);
        assert_eq!(end("ssh", 1000, &[]), 1);
        assert_eq!(end("hh", 1000, &[]), 0);
        assert_eq!(end("", 1000, &[]), 0);
        let rule = Rule::Since(Micros(1000));
        assert_eq!(plan(&rows("sss"), &rule, &[], false).end, 3);
        // A hole at the end may be of any time.
        assert_eq!(plan(&rows("ssh"), &rule, &[], false).end, 2);
    }

    #[test]
    fn a_backup_of_which_nothing_is_known_keeps_everything_and_reasons_are_told_strictest_first() {
        let unknown = Hold {
            backup: "odd".to_owned(),
            from: Err("no place".to_owned()),
        };
        let found = plan(
            &rows("ssss"),
            &Rule::From(name(4)),
            &[hold(3), unknown],
            true,
        );
        let said: Vec<_> = found.limits.iter().map(|l| (l.end, &l.reason)).collect();
        let backup = Reason::Backup("b3".to_owned());
        let odd = Reason::Unknown("odd".to_owned(), "no place".to_owned());
        let wanted = [
            (0, &odd),
            (1, &backup),
            (3, &Reason::Rule),
            (3, &Reason::Newest),
        ];
        assert_eq!(said, wanted);
    }

    proptest! {
        /// Whatever the history: a prefix goes, never the newest segment, nothing young, and nothing from the entry before a
        /// backup's first on.
        #[test]
        fn nothing_goes_that_anybody_needs(
            kinds in "[sshe]{0,40}",
            cut in 0i64..450,
            needs in proptest::collection::vec(1usize..42, 0..4),
            goes_on: bool,
        ) {
            let rows = rows(&kinds);
            let holds: Vec<Hold> = needs.iter().copied().map(hold).collect();
            let found = plan(&rows, &Rule::Since(Micros(cut)), &holds, goes_on);
            prop_assert!(found.end <= rows.len());
            let (gone, stays) = rows.split_at(found.end);
            prop_assert!(gone.iter().all(|row| row.time.is_none_or(|time| time < Micros(cut))));
            if goes_on && rows.iter().any(|row| row.is_segment) {
                prop_assert!(stays.iter().any(|row| row.is_segment));
            }
            for number in &needs {
                prop_assert!(gone.iter().all(|row| row.name < name(*number)));
                let before: Vec<_> = rows.iter().take_while(|row| row.name < name(*number)).collect();
                if let Some(last) = before.iter().rfind(|row| row.has_transactions) {
                    let whole = before.iter().filter(|row| row.name > last.name).all(|row| row.is_segment);
                    prop_assert!(!whole || stays.contains(last), "{} before b{number}", last.name);
                }
            }
            // As much as can go goes: the next entry has a reason of its own to stay.
            if let Some(next) = stays.first() {
                let mut more = found.limits.iter().filter(|limit| limit.end == found.end);
                prop_assert!(more.next().is_some(), "nothing keeps {}", next.name);
            }
        }
    }
}

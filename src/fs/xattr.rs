//! The extended attributes of an entry. Pure.

use crate::ledger::{Entry, EntryState};

/// Largest value that Linux passes on (XATTR_SIZE_MAX, `limits.h`).
pub const VALUE_MAX_BYTES: usize = 64 << 10;

const PREFIX: &str = "user.binlogfs.";

/// All names, without their prefix, in the order they are listed.
const NAMES: [&str; 11] = [
    "file",
    "gtid_set",
    "previous_gtids",
    "sha256",
    "first_time",
    "last_time",
    "server_uuid",
    "incarnation",
    "timeline",
    "seq",
    "state",
];

/// What holds for a part of a file too. The others tell of all its bytes.
const OF_A_PART: [&str; 6] = [
    "file",
    "server_uuid",
    "incarnation",
    "timeline",
    "seq",
    "state",
];

/// How a request for a value or a list ends (getxattr(2), listxattr(2)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Only the size was asked for.
    Size(u32),
    /// The bytes.
    Data(Vec<u8>),
    /// Nothing of that name: ENODATA.
    Absent,
    /// The caller's buffer is too small: ERANGE.
    BufferTooSmall,
    /// Longer than any buffer: E2BIG.
    TooLong,
}

/// Whether `name` can exist at all: others need no look at the index.
pub fn is_ours(name: &str) -> bool {
    name.strip_prefix(PREFIX)
        .is_some_and(|rest| NAMES.contains(&rest))
}

/// The answer to getxattr for `name` with a buffer of `size` bytes (0: how long is it?).
pub fn get(entry: &Entry, name: &str, size: u32) -> Answer {
    match name
        .strip_prefix(PREFIX)
        .and_then(|rest| value(entry, rest))
    {
        None => Answer::Absent,
        Some(value) => answer(value.into_bytes(), size),
    }
}

/// The answer to getxattr of a part of an entry's file.
pub fn get_of_part(entry: &Entry, name: &str, size: u32) -> Answer {
    let holds = |rest: &str| OF_A_PART.contains(&rest);
    match name.strip_prefix(PREFIX).is_some_and(holds) {
        true => get(entry, name, size),
        false => Answer::Absent,
    }
}

/// The answer to listxattr with a buffer of `size` bytes (0: how long is it?).
pub fn list(entry: &Entry, size: u32) -> Answer {
    list_of(entry, &NAMES, size)
}

/// The answer to listxattr of a part of an entry's file.
pub fn list_of_part(entry: &Entry, size: u32) -> Answer {
    list_of(entry, &OF_A_PART, size)
}

fn list_of(entry: &Entry, of: &[&str], size: u32) -> Answer {
    let mut names = Vec::new();
    for name in of.iter().filter(|name| value(entry, name).is_some()) {
        names.extend_from_slice(PREFIX.as_bytes());
        names.extend_from_slice(name.as_bytes());
        names.push(0);
    }
    answer(names, size)
}

/// The answer to listxattr of what has none.
pub fn nothing(size: u32) -> Answer {
    answer(Vec::new(), size)
}

/// The answer to getxattr where these are all attributes there are, named without their prefix.
pub(super) fn get_known(attributes: &[(&str, String)], name: &str, size: u32) -> Answer {
    let name = name.strip_prefix(PREFIX);
    match attributes.iter().find(|(known, _)| Some(*known) == name) {
        None => Answer::Absent,
        Some((_, value)) => answer(value.clone().into_bytes(), size),
    }
}

/// The answer to listxattr where these are all attributes there are.
pub(super) fn list_known(attributes: &[(&str, String)], size: u32) -> Answer {
    let names = attributes
        .iter()
        .map(|(name, _)| format!("{PREFIX}{name}\0"));
    answer(names.collect::<String>().into_bytes(), size)
}

fn answer(bytes: Vec<u8>, size: u32) -> Answer {
    match u32::try_from(bytes.len()) {
        Ok(len) if bytes.len() <= VALUE_MAX_BYTES => match size {
            0 => Answer::Size(len),
            size if len <= size => Answer::Data(bytes),
            _ => Answer::BufferTooSmall,
        },
        _ => Answer::TooLong,
    }
}

fn value(entry: &Entry, name: &str) -> Option<String> {
    let segment = entry.segment.as_deref();
    match name {
        "file" => segment.map(|s| s.file.to_string()),
        "gtid_set" => entry.gtids().map(ToString::to_string),
        "previous_gtids" => entry.previous_gtids.as_ref().map(ToString::to_string),
        // That of the whole file: up to a fence there is none.
        "sha256" => segment
            .filter(|_| entry.cut.is_none())
            .map(|s| s.sha256.to_string()),
        "first_time" => segment?.first_time.map(|time| time.to_string()),
        "last_time" => entry.last_time().map(|time| time.to_string()),
        "server_uuid" => segment?.server_uuid.map(|uuid| uuid.to_string()),
        "incarnation" => Some(entry.incarnation.to_string()),
        "timeline" => Some(entry.timeline.to_string()),
        "seq" => Some(entry.seq.to_string()),
        "state" => Some(
            match entry.state {
                EntryState::Archived => "archived",
                EntryState::Damaged => "damaged",
                EntryState::Hole => "hole",
                EntryState::Gap => "gap",
                EntryState::Lost => "lost",
            }
            .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{GtidSet, Incarnation, SegmentNumber, Seq, Timeline};

    fn hole() -> Entry {
        Entry {
            seq: Seq(7),
            timeline: Timeline(2),
            incarnation: Incarnation(3),
            number: SegmentNumber(42),
            mount_name: "binlog.000042".parse().expect("a name"),
            state: EntryState::Hole,
            reason: "purged".to_owned(),
            previous_gtids: None,
            segment: None,
            cut: None,
        }
    }

    #[test]
    fn sizes_are_told_and_small_buffers_refused() {
        let entry = hole();
        let name = "user.binlogfs.state";
        assert_eq!(get(&entry, name, 0), Answer::Size(4));
        assert_eq!(get(&entry, name, 3), Answer::BufferTooSmall);
        assert_eq!(get(&entry, name, 4), Answer::Data(b"hole".to_vec()));
        assert_eq!(get(&entry, "user.other", 0), Answer::Absent);
        assert_eq!(get(&entry, "user.binlogfs.sha256", 0), Answer::Absent);
    }

    #[test]
    fn the_list_names_what_can_be_got() {
        let entry = hole();
        let Answer::Data(names) = list(&entry, 4096) else {
            panic!("it fits");
        };
        let names = String::from_utf8(names).expect("ASCII");
        let names: Vec<&str> = names.split_terminator('\0').collect();
        assert_eq!(
            names,
            [
                "user.binlogfs.incarnation",
                "user.binlogfs.timeline",
                "user.binlogfs.seq",
                "user.binlogfs.state"
            ]
        );
        for name in names {
            assert!(is_ours(name));
            assert!(matches!(get(&entry, name, 100), Answer::Data(_)), "{name}");
        }
        assert!(!is_ours("security.selinux"));
    }

    #[test]
    fn a_set_too_long_for_an_attribute_is_told_as_such() {
        let runs: Vec<String> = (1..20_000).map(|n| (n * 2).to_string()).collect();
        let set: GtidSet = format!("3e11fa47-71ca-11e1-9e33-c80aa9429562:{}", runs.join(":"))
            .parse()
            .expect("a set");
        let mut entry = hole();
        entry.previous_gtids = Some(set);
        let name = "user.binlogfs.previous_gtids";
        assert_eq!(get(&entry, name, 0), Answer::TooLong);
        assert_eq!(get(&entry, name, 65536), Answer::TooLong);
    }
}

//! Which binlog a file is: by what it says of itself, by what its predecessor says, by its path. Pure.
//!
//! A ROTATE event names the next file, so a file that ends in one has the number before that. A server that finds a
//! higher number in its directory skips to it; then the file before tells. A file that ends in neither way (a shutdown, a
//! crash) is named by its path, or, if that has no number, by the ROTATE of the file before.

use super::found::Found;
use crate::binlog::Ending;
use crate::model::{FileName, GtidSet, Micros, SegmentNumber};
use std::collections::HashMap;

/// Between a ROTATE event and the next file's format description: both carry whole seconds.
pub(super) const ROTATION_MAX_MICROS: i64 = 2_000_000;

/// Suffixes that say how a file is stored.
const SUFFIXES: [&str; 11] = [
    ".gz", ".zst", ".zstd", ".lz4", ".xz", ".lzma", ".br", ".age", ".gpg", ".enc", ".bz2",
];

/// The binlog that the last part of a path names, with anything before or behind its number.
pub fn of_path(path: &str) -> Option<FileName> {
    let mut name = path.rsplit('/').next().unwrap_or(path);
    while let Some(rest) = SUFFIXES.iter().find_map(|end| name.strip_suffix(end)) {
        name = rest;
    }
    let numbered = |(at, _): (usize, &str)| {
        let digits: String = name[at + 1..]
            .chars()
            .take_while(char::is_ascii_digit)
            .collect();
        name[..at + 1 + digits.len()].parse::<FileName>().ok()
    };
    name.match_indices('.').find_map(numbered)
}

/// The binlog that a file is by its own last event.
pub(super) fn of_content(found: &Found) -> Option<FileName> {
    let next = next_of(found)?;
    let number = next.number().0.checked_sub(1).filter(|n| *n > 0)?;
    Some(FileName::new(
        next.basename().clone(),
        SegmentNumber(number),
    ))
}

/// The binlog that a file says is next.
pub(super) fn next_of(found: &Found) -> Option<FileName> {
    let Ending::Rotate { next_file, .. } = &found.summary.ending else {
        return None;
    };
    next_file.rsplit('/').next()?.parse().ok()
}

/// When the file's last event says that the server went on in another one.
pub(super) fn rotated_at(found: &Found) -> Option<Micros> {
    match found.summary.ending {
        Ending::Rotate { time, .. } => Some(time),
        Ending::Stop | Ending::Open => None,
    }
}

/// What was executed at the end of a file, where it tells.
pub(super) fn executed(found: &Found) -> Option<GtidSet> {
    let mut executed = found.summary.previous_gtids.clone()?;
    executed.union_with(&found.summary.gtids);
    Some(executed.into_position_form())
}

/// Whether `next` begins when `before` rotated, having executed what that had.
pub(super) fn rotates_into(before: &Found, next: &Found) -> bool {
    let in_time = rotated_at(before)
        .is_some_and(|rotated| (next.summary.created.0 - rotated.0).abs() <= ROTATION_MAX_MICROS);
    let gtids = match (executed(before), &next.summary.previous_gtids) {
        (Some(executed), Some(previous)) => executed == *previous,
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    in_time && gtids
}

/// The name of each of `files`, which come with the names that the paths of its copies tell; `None` where nothing tells.
pub(super) fn resolve(files: &[(&Found, Vec<FileName>)]) -> Vec<Option<FileName>> {
    let mut claims: HashMap<FileName, Vec<&Found>> = HashMap::new();
    for (found, _) in files {
        if let Some(next) = next_of(found) {
            claims.entry(next).or_default().push(found);
        }
    }
    let confirmed = |found: &Found, name: &FileName| {
        let claimants = claims.get(name).map_or(&[][..], Vec::as_slice);
        claimants.iter().any(|before| rotates_into(before, found))
    };
    let name = |(found, paths): &(&Found, Vec<FileName>)| {
        if let Some(content) = of_content(found) {
            let skipped = paths.iter().find(|path| {
                path.basename() == content.basename()
                    && **path != content
                    && confirmed(found, path)
                    && !confirmed(found, &content)
            });
            return Some(skipped.cloned().unwrap_or(content));
        }
        if let Some(path) = paths.iter().find(|path| confirmed(found, path)) {
            return Some(path.clone());
        }
        let followed = || {
            let claimed = claims.iter();
            claimed
                .filter(|(_, before)| before.iter().any(|before| rotates_into(before, found)))
                .map(|(name, _)| name)
        };
        // What is missing may have been closed in the same second: who claims this file is believed only where no path is, or the
        // path says the same behind something that looks like a number, such as a date.
        let in_path = |name: &&FileName| found.item.path.contains(&name.to_string());
        let told = followed().filter(in_path);
        if let Some(name) = told
            .max_by_key(|name| name.to_string().len())
            .or(paths.first())
        {
            return Some(name.clone());
        }
        let mut followed = followed();
        match (followed.next(), followed.next()) {
            // Two that could be before it tell nothing.
            (Some(only), None) => Some(only.clone()),
            (None, _) | (Some(_), Some(_)) => None,
        }
    };
    files.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_binlog_with_anything_around_its_number() {
        for (path, name) in [
            ("binlog.000007", Some("binlog.000007")),
            ("a/b/mysql-bin.000007.gz", Some("mysql-bin.000007")),
            ("binlog_005/binlog.1000000.lz4", Some("binlog.1000000")),
            ("binlog.000007.zst.age", Some("binlog.000007")),
            ("binlog.000007.1", Some("binlog.000007")),
            ("binlog.000007.20240101.xz", Some("binlog.000007")),
            ("binlog.000007_db1-2024", Some("binlog.000007")),
            ("binlog.000007-0011aabb.zst", Some("binlog.000007")),
            ("my.host.binlog.000007", Some("my.host.binlog.000007")),
            ("binlog.index", None),
            ("binlog.0007", None),
            ("binlog_sentinel_005.json", None),
            ("ibdata1", None),
            ("", None),
        ] {
            let told = of_path(path).map(|name| name.to_string());
            assert_eq!(told.as_deref(), name, "{path}");
        }
    }
}

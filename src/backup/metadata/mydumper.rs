//! What `metadata` of mydumper says: the old form (up to 0.11) and the new ones, which are ini files. Pure.

use super::super::{Coordinates, Tool};
use super::problem::{BY_HAND, Problem, gtid_set, placed, position};

/// What to do about a dump without coordinates.
const NO_PLACE: &str = "mydumper up to 0.16 cannot ask a MySQL 8.4 or newer where it stands (SHOW MASTER STATUS is gone): use a newer mydumper, \
     or give the coordinates by --gtid-set or --position";

/// One thing it says, and in which line.
struct Told {
    line: u64,
    value: String,
}

/// Reads it.
pub(super) fn read(text: &str) -> Result<Coordinates, Problem> {
    let (mut file, mut offset, mut gtids): (Option<Told>, Option<Told>, Option<Told>) =
        (None, None, None);
    let mut coordinates = Coordinates::of(Tool::Mydumper);
    let (mut ours, mut finished, mut begun) = (false, false, false);
    let mut lines = text.lines().zip(1u64..).peekable();
    while let Some((whole, line)) = lines.next() {
        let bare = whole.trim().trim_start_matches(['#', ' ']);
        if let Some(time) = after(bare, "Started dump at:") {
            begun = true;
            coordinates.local_time = Some(time.to_owned());
        } else if after(bare, "Finished dump at:").is_some() {
            finished = true;
        } else if let Some(section) = section(bare) {
            ours = section;
        } else if ours && let Some((name, value)) = member(bare) {
            let mut value = value.to_owned();
            if name == "gtid" {
                // A set of several servers stands on as many lines.
                while let Some((next, _)) = lines.next_if(|_| value.trim_end().ends_with(',')) {
                    value.push_str(next);
                }
            }
            // The first counts: what follows may be a channel's.
            let place = match name {
                "file" => &mut file,
                "position" => &mut offset,
                _ => &mut gtids,
            };
            place.get_or_insert(Told { line, value });
        }
    }
    if !begun {
        return Err(Problem::new(
            "it is no metadata file of mydumper",
            format!("is it damaged? {BY_HAND}"),
        ));
    }
    if !finished {
        return Err(Problem::new(
            "it does not say when the dump was finished: mydumper was interrupted",
            "dump again",
        ));
    }
    if let Some(told) = gtids.filter(|told| !told.value.trim_matches(['"', ' ']).is_empty()) {
        coordinates.gtids = Some(gtid_set(&told.value).map_err(|p| p.at(told.line))?);
    }
    if let Some(told) = file.filter(|told| !told.value.trim_matches(['"', ' ']).is_empty()) {
        let offset = offset.map(|told| told.value).unwrap_or_default();
        let place = position(told.value.trim_matches(['"', ' ']), &offset);
        coordinates.position = Some(place.map_err(|p| p.at(told.line))?);
    }
    placed(coordinates, NO_PLACE)
}

/// What follows `name`, whatever its case.
fn after<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let begin = line.get(..name.len())?;
    begin
        .eq_ignore_ascii_case(name)
        .then(|| line[name.len()..].trim())
}

/// Whether the section that begins here is that of the server itself; `None` if none begins.
fn section(line: &str) -> Option<bool> {
    let name = line.to_ascii_lowercase();
    if let Some(name) = name.strip_prefix('[') {
        let name = name.trim_end_matches(']');
        return Some(name == "source" || name == "master");
    }
    let shows = name.strip_prefix("show ")?.strip_suffix(':')?;
    Some(shows == "master status" || shows == "binary log status")
}

/// A member of that section, by the same name in all forms.
fn member(line: &str) -> Option<(&'static str, &str)> {
    let at = line.find([':', '='])?;
    let (name, value) = (
        line[..at].trim().to_ascii_lowercase(),
        line[at + 1..].trim(),
    );
    let name = match name.as_str() {
        "log" | "file" | "source_log_file" => "file",
        "pos" | "position" | "source_log_pos" => "position",
        "gtid" | "executed_gtid_set" => "gtid",
        _ => return None,
    };
    Some((name, value))
}

//! What `#clone/` in a cloned data directory says: the lines of `performance_schema.clone_status`. Pure.
//!
//! The plugin writes `#view_status` while it copies. Coordinates are found by the first server that starts on the clone, in its
//! recovery: it writes them to `#status_recovery`, and with performance_schema moves them to `#view_status`.

use super::super::{Coordinates, Tool};
use super::problem::{BY_HAND, Problem, gtid_set, position};
use crate::model::Micros;

/// `Completed`, as the plugin counts its states.
const COMPLETED: &str = "2";

/// A file of the clone's status, and its text.
pub(super) struct Status<'a> {
    pub(super) view: &'a str,
    /// Where it is there.
    pub(super) recovery: Option<&'a str>,
}

fn damaged() -> Problem {
    Problem::new(
        "it is no status of a clone",
        format!("is it damaged? {BY_HAND}"),
    )
}

/// Reads `#view_status`: state and id; begin and end in µs; source; error; its text; binlog; offset; GTIDs, on as many lines as they
/// have servers. And `#status_recovery`: begin; end; binlog; offset; GTIDs.
pub(super) fn read(status: &Status<'_>) -> Result<Coordinates, Problem> {
    let lines: Vec<&str> = status.view.lines().collect();
    let [state, times, _, error, told, file, offset, gtids @ ..] = &lines[..] else {
        return Err(damaged());
    };
    let mut state = state.split(' ');
    if state.next() != Some(COMPLETED) {
        let reason = match (error.trim(), told.trim()) {
            ("0", _) => "the clone was not completed".to_owned(),
            (code, text) => format!("the clone failed with error {code}: {text}"),
        };
        return Err(Problem::new(reason, "clone again").at(1));
    }
    let recovered: Vec<&str> = status.recovery.unwrap_or_default().lines().collect();
    let (file, offset, gtids) = match (file.trim(), &recovered[..]) {
        ("", [_, _, file, offset, gtids @ ..]) => (file.trim(), offset, gtids),
        (file, _) => (file, offset, gtids),
    };
    if file.is_empty() {
        return Err(Problem::new(
            "no server has started on the clone yet, and only that writes its coordinates down",
            "start a server on it once (it need not be used), or give the coordinates of its source by --gtid-set",
        ));
    }
    let mut coordinates = Coordinates::of(Tool::Clone);
    coordinates.position = Some(position(file, offset)?);
    let gtids: String = gtids.concat();
    if !gtids.trim().is_empty() {
        coordinates.gtids = Some(gtid_set(&gtids)?);
    }
    let ended = times.split(' ').nth(1).and_then(|time| time.parse().ok());
    coordinates.taken_at = ended.filter(|time| *time > 0).map(Micros);
    coordinates.warnings.push(
        "if a server has run on it since and taken writes, it holds more than these coordinates say"
            .to_owned(),
    );
    Ok(coordinates)
}

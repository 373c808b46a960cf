//! The stream itself: its ledger, its index, and whether the keys at hand open it.

use super::{Check, Level, duration};
use crate::cache::{ArchivedSegment, Cause, SegmentReader};
use crate::index::Index;
use crate::ledger::Entry;
use crate::model::Micros;
use crate::model::counted::count;
use std::time::Duration;

/// A record from later than now by more than this was made by a host whose clock is wrong, or ours is.
const FUTURE_MICROS: i64 = 120 * 1_000_000;

/// What was opened.
pub struct Opened<'a> {
    /// The index, followed to the ledger's end.
    pub index: &'a Index,
    /// How long following took.
    pub followed_in: Duration,
    /// Why the ledger could not be followed to its end, if so.
    pub alarm: Option<&'a str>,
    /// The newest segment.
    pub newest: Option<&'a Entry>,
    /// How many identities were given.
    pub identities: usize,
}

/// Looks at a stream.
pub async fn archive(opened: &Opened<'_>, reader: &SegmentReader, now: Micros) -> Vec<Check> {
    let mut checks = vec![ledger(opened)];
    checks.push(unsound(opened.index));
    let Some(newest) = opened.newest else {
        let advice = "'binlogfs archive' adds the first";
        checks.push(Check::bad(
            Level::Note,
            "newest",
            "the stream has no segment yet",
            advice,
        ));
        return checks;
    };
    let archived_at = newest.segment.as_ref().map(|segment| segment.archived_at);
    checks.push(age(newest.mount_name.as_str(), archived_at, now));
    checks.push(key(newest, reader, opened.identities).await);
    checks
}

fn ledger(opened: &Opened<'_>) -> Check {
    let name = "ledger";
    if let Some(alarm) = opened.alarm {
        return Check::bad(
            Level::Failure,
            name,
            alarm,
            "'binlogfs verify URL' tells more",
        );
    }
    match opened.index.state() {
        Ok(state) => {
            let records = state.map_or(0, |state| state.last_seq.0);
            let took = duration(opened.followed_in);
            Check::ok(
                name,
                format!(
                    "{}, opened and followed in {took}",
                    count(records, "record")
                ),
            )
        }
        Err(error) => {
            let advice = "'binlogfs index rebuild URL' makes it anew";
            Check::bad(Level::Failure, name, error.to_string(), advice)
        }
    }
}

/// Holes, gaps and damage: they are no fault of this host's, but whoever asks for a diagnosis wants to know.
fn unsound(index: &Index) -> Check {
    let name = "history";
    match index.unsound() {
        Ok(rows) if rows.is_empty() => Check::ok(name, "no holes, gaps or damage"),
        Ok(rows) => Check::bad(
            Level::Warning,
            name,
            format!(
                "{} cannot be read in full, the first is {}",
                count(rows.len() as u64, "segment"),
                rows[0].mount_name
            ),
            "'binlogfs status URL' names them",
        ),
        Err(error) => {
            let advice = "'binlogfs index rebuild URL' makes it anew";
            Check::bad(Level::Failure, name, error.to_string(), advice)
        }
    }
}

fn age(name: &str, archived_at: Option<Micros>, now: Micros) -> Check {
    let Some(at) = archived_at else {
        return Check::ok("newest", name);
    };
    if at.0.saturating_sub(now.0) > FUTURE_MICROS {
        return Check::bad(
            Level::Warning,
            "newest",
            format!("{name} was archived at {at}, which is in the future"),
            "the clock of this host or of the archiver's is wrong: set both by NTP",
        );
    }
    let ago = now.0.saturating_sub(at.0).max(0) / 1_000_000;
    Check::ok("newest", format!("{name}, archived {ago} s ago"))
}

async fn key(newest: &Entry, reader: &SegmentReader, identities: usize) -> Check {
    let name = "key";
    let encrypted = newest
        .segment
        .as_ref()
        .is_some_and(|segment| !segment.object.recipients.is_empty());
    let segment = match ArchivedSegment::of_entry(newest) {
        Ok(segment) => segment,
        Err(error) => return Check::bad(Level::Warning, name, error.to_string(), ""),
    };
    let error = match reader.probe(&segment).await {
        Ok(()) if encrypted => return Check::ok(name, "opens the newest segment"),
        Ok(()) => return Check::ok(name, "none is needed: the newest segment is not encrypted"),
        Err(error) => error,
    };
    match error.cause {
        Cause::NoKey(_) if identities == 0 => Check::bad(
            Level::Note,
            name,
            "the segments are encrypted and no identity was given: names can be listed, contents cannot be read",
            "pass --identity FILE with the private key",
        ),
        Cause::NoKey(_) => Check::bad(
            Level::Failure,
            name,
            error.to_string(),
            "pass the --identity FILE of one of the recipients that 'binlogfs ls --json URL' names",
        ),
        _ => Check::bad(
            Level::Failure,
            name,
            error.to_string(),
            "'binlogfs verify URL' looks at all objects",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_from_the_future_is_a_wrong_clock() {
        let now = Micros(1_000_000_000);
        assert_eq!(age("b.1", None, now).level, Level::Ok);
        let past = age("b.1", Some(Micros(now.0 - 5_000_000)), now);
        assert_eq!(past.found, "b.1, archived 5 s ago");
        let soon = Micros(now.0 + FUTURE_MICROS);
        assert_eq!(age("b.1", Some(soon), now).level, Level::Ok);
        let future = Micros(now.0 + FUTURE_MICROS + 1);
        assert_eq!(age("b.1", Some(future), now).level, Level::Warning);
    }

    #[test]
    fn an_empty_history_is_sound_and_has_no_records() {
        let index = Index::in_memory().expect("opens");
        assert_eq!(unsound(&index).level, Level::Ok);
        let opened = Opened {
            index: &index,
            followed_in: Duration::from_millis(3),
            alarm: None,
            newest: None,
            identities: 0,
        };
        assert_eq!(ledger(&opened).level, Level::Ok);
        let alarmed = Opened {
            alarm: Some("went backwards"),
            ..opened
        };
        assert_eq!(ledger(&alarmed).level, Level::Failure);
    }
}

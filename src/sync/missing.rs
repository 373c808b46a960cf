//! What is said of a file that is missing between two that are there. Pure.

use super::place::{Arrival, Provenance};
use crate::model::FileName;

/// Why a missing file is a hole: as its record says it, and as a person is told.
pub(super) fn told(file: &FileName, arrival: &Arrival<'_>) -> (String, String) {
    let put_aside = arrival.put_aside.iter().find(|(name, _)| name == file);
    let (reason, notice) = match (put_aside, arrival.provenance) {
        (Some((_, why)), Provenance::Server) => (
            format!("put aside: {why}"),
            format!("was put aside and is a hole for now ({why}); 'binlogfs dlq retry' fills it"),
        ),
        (None, Provenance::Server) => (
            "gone from the server's index before it was archived".to_owned(),
            "was gone from the server before it was archived: recorded as a hole".to_owned(),
        ),
        (Some((_, why)), Provenance::Pile { .. }) => (
            format!("not imported: {why}"),
            format!("could not be imported ({why}): recorded as a hole"),
        ),
        (None, Provenance::Pile { .. }) => (
            "missing among the files that were imported".to_owned(),
            "is missing among the files that are imported: recorded as a hole".to_owned(),
        ),
    };
    (reason, format!("{file} {notice}"))
}

//! What is done to a stream, where, and what must come of it: every cell of damage and place.

use super::bench::Bench;
use super::cell::Cell;
use Damage::{Deleted, Flipped, Older, Swapped, Truncated};
use Expected::{Happens, NotApplicable};
use Place::{
    ArchiverDb, ArchiverIndex, Manifest, NewestRecord, ObjectMiddle, ObjectStart, ObjectTail,
    OlderRecord, Page, ReaderIndex,
};
use Run::{Archives, Refuses};
use View::{Alarm, Shorter, Unreadable, Warned, Whole};

/// What is done to the bytes of a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Cut: an object at the start, in the middle, or a few bytes before its end; anything else in the middle.
    Truncated,
    /// One bit of one byte.
    Flipped,
    /// It is gone.
    Deleted,
    /// Another valid one stands there. Of objects one of the same stream and the same size; of records the one that
    /// another stream has at this place; of pages, databases and manifests those of another stream.
    Swapped,
    /// One from earlier stands there. Of objects another upload of the same file; of records the one before; of pages one
    /// made before record 3 was made anew; of local files a copy saved two segments ago.
    Older,
}

/// The thing that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first bytes of an object, or all of it.
    ObjectStart,
    /// The frames.
    ObjectMiddle,
    /// Its tail.
    ObjectTail,
    /// The last record.
    NewestRecord,
    /// A record with others on both sides.
    OlderRecord,
    /// The page of the first thousand records, while record 3 itself cannot be read.
    Page,
    /// A reader's `index.db`.
    ReaderIndex,
    /// The archiver's `index.db`.
    ArchiverIndex,
    /// `archiver.db`, with an upload in it that no record names.
    ArchiverDb,
    /// `state.json`.
    Manifest,
}

/// What a reader finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// All there ever was.
    Whole,
    /// One segment cannot be read, and these words tell which and why; the others can.
    Unreadable(&'static [&'static str]),
    /// A valid ledger without its newest record: nobody can know.
    Shorter,
    /// Every segment is read, and these words say what is wrong with the ledger.
    Warned(&'static [&'static str]),
    /// Nothing is read, and these words say why.
    Alarm(&'static [&'static str]),
}

/// What an archiver does that has one new file to archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// It archives so many segments.
    Archives(usize),
    /// It writes nothing to the bucket, and these words say why.
    Refuses(&'static [&'static str]),
}

/// What must come of a cell: for a host that saw the stream whole, and for one that has seen nothing.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// For readers and archivers.
    Happens {
        /// A reader with its index.
        knowing_reader: View,
        /// A reader without.
        fresh_reader: View,
        /// An archiver with its state directory.
        knowing_archiver: Run,
        /// An archiver without.
        fresh_archiver: Run,
    },
    /// There is no such thing.
    NotApplicable(&'static str),
}

/// Readers of both kinds see the same, and no archiver is in its way.
const fn readers(view: View) -> Expected {
    Happens {
        knowing_reader: view,
        fresh_reader: view,
        knowing_archiver: Archives(1),
        fresh_archiver: Archives(1),
    }
}

/// An archiver's own state: no reader knows of it, and without it there is none to be damaged.
const fn archiver(run: Run) -> Expected {
    Happens {
        knowing_reader: Whole,
        fresh_reader: Whole,
        knowing_archiver: run,
        fresh_archiver: Archives(1),
    }
}

/// A host that knows the newest record misses it; a host that does not, cannot read what stands there.
const fn newest(knowing: &'static [&'static str], fresh: &'static [&'static str]) -> Expected {
    Happens {
        knowing_reader: Warned(knowing),
        fresh_reader: Unreadable(fresh),
        knowing_archiver: Refuses(knowing),
        fresh_archiver: Refuses(&[
            "the newest ledger record, 5, cannot be read",
            "ledger/00000000000000000005.json",
        ]),
    }
}

/// Only who reads all records again meets one in the middle.
const fn older(fresh: &'static [&'static str]) -> Expected {
    Happens {
        knowing_reader: Whole,
        fresh_reader: Unreadable(fresh),
        knowing_archiver: Archives(1),
        fresh_archiver: Archives(1),
    }
}

/// The segment and its object, by name.
const OBJECT: &[&str] = &["segment {name}", "{key}"];

pub const MATRIX: &[(Place, Damage, Expected)] = &[
    (ObjectStart, Truncated, readers(Unreadable(OBJECT))),
    (ObjectStart, Flipped, readers(Unreadable(OBJECT))),
    (ObjectStart, Deleted, readers(Unreadable(OBJECT))),
    (ObjectStart, Swapped, readers(Unreadable(OBJECT))),
    (ObjectStart, Older, readers(Unreadable(OBJECT))),
    (ObjectMiddle, Truncated, readers(Unreadable(OBJECT))),
    (ObjectMiddle, Flipped, readers(Unreadable(OBJECT))),
    (
        ObjectMiddle,
        Deleted,
        NotApplicable("an object is deleted as a whole: see its start"),
    ),
    (ObjectMiddle, Swapped, readers(Unreadable(OBJECT))),
    (ObjectMiddle, Older, readers(Unreadable(OBJECT))),
    (ObjectTail, Truncated, readers(Unreadable(OBJECT))),
    (ObjectTail, Flipped, readers(Unreadable(OBJECT))),
    (
        ObjectTail,
        Deleted,
        NotApplicable("an object is deleted as a whole: see its start"),
    ),
    (ObjectTail, Swapped, readers(Unreadable(OBJECT))),
    (ObjectTail, Older, readers(Unreadable(OBJECT))),
    (
        NewestRecord,
        Truncated,
        newest(&["record 5 was right"], &["record 5 "]),
    ),
    (
        NewestRecord,
        Flipped,
        newest(&["record 5 was right"], &["record 5 "]),
    ),
    (
        NewestRecord,
        Deleted,
        Happens {
            knowing_reader: Warned(&["went backwards", "record 5 was there, and is gone"]),
            fresh_reader: Shorter,
            knowing_archiver: Refuses(&["went backwards", "record 5"]),
            fresh_archiver: Archives(2),
        },
    ),
    (
        NewestRecord,
        Swapped,
        newest(
            &["another record stands in the place of record 5"],
            &["record 5 "],
        ),
    ),
    (
        NewestRecord,
        Older,
        newest(&["record 5 was right"], &["record 5 "]),
    ),
    (OlderRecord, Truncated, older(&["record 3 "])),
    (OlderRecord, Flipped, older(&["record 3 "])),
    (OlderRecord, Deleted, older(&["record 3 "])),
    (OlderRecord, Swapped, older(&["record 3 "])),
    (
        OlderRecord,
        Older,
        older(&["record 3 ", "it holds record 2"]),
    ),
    (Page, Truncated, older(&["record 3 "])),
    (Page, Flipped, older(&["record 3 "])),
    (Page, Deleted, older(&["record 3 "])),
    (Page, Swapped, older(&["record 3 "])),
    (Page, Older, older(&["record 3 "])),
    (ReaderIndex, Truncated, readers(Whole)),
    (ReaderIndex, Flipped, readers(Whole)),
    (ReaderIndex, Deleted, readers(Whole)),
    (
        ReaderIndex,
        Swapped,
        Happens {
            knowing_reader: Alarm(&["index.db", "it holds stream"]),
            fresh_reader: Whole,
            knowing_archiver: Archives(1),
            fresh_archiver: Archives(1),
        },
    ),
    (ReaderIndex, Older, readers(Whole)),
    (ArchiverIndex, Truncated, archiver(Archives(1))),
    (ArchiverIndex, Flipped, archiver(Archives(1))),
    (ArchiverIndex, Deleted, archiver(Archives(1))),
    (
        ArchiverIndex,
        Swapped,
        archiver(Refuses(&["index.db", "it holds stream"])),
    ),
    (ArchiverIndex, Older, archiver(Archives(1))),
    (
        ArchiverDb,
        Truncated,
        archiver(Refuses(&["archiver.db", "move it away"])),
    ),
    (
        ArchiverDb,
        Flipped,
        archiver(Refuses(&["archiver.db", "move it away"])),
    ),
    (ArchiverDb, Deleted, archiver(Archives(1))),
    (ArchiverDb, Swapped, archiver(Archives(1))),
    (ArchiverDb, Older, archiver(Archives(1))),
    (Manifest, Truncated, archiver(Archives(1))),
    (Manifest, Flipped, archiver(Archives(1))),
    (Manifest, Deleted, archiver(Archives(1))),
    (Manifest, Swapped, archiver(Refuses(&["state.json"]))),
    (Manifest, Older, archiver(Archives(1))),
];

const PLACES: [Place; 10] = [
    ObjectStart,
    ObjectMiddle,
    ObjectTail,
    NewestRecord,
    OlderRecord,
    Page,
    ReaderIndex,
    ArchiverIndex,
    ArchiverDb,
    Manifest,
];
const DAMAGES: [Damage; 5] = [Truncated, Flipped, Deleted, Swapped, Older];

#[test]
fn the_matrix_has_every_cell_once() {
    for place in PLACES {
        for damage in DAMAGES {
            let cells = MATRIX
                .iter()
                .filter(|(p, d, _)| (*p, *d) == (place, damage));
            assert_eq!(cells.count(), 1, "{place:?} {damage:?}");
        }
    }
    assert_eq!(MATRIX.len(), PLACES.len() * DAMAGES.len());
    for (place, damage, expected) in MATRIX {
        if let NotApplicable(why) = expected {
            println!("{place:?} {damage:?} is left out: {why}");
            assert!(!why.is_empty());
        }
    }
}

/// Carries out all cells of a place.
fn check(place: Place, encrypted: bool) {
    let bench = Bench::of(place, encrypted);
    for (_, damage, expected) in MATRIX.iter().filter(|(p, ..)| *p == place) {
        Cell {
            bench: &bench,
            place,
            damage: *damage,
        }
        .check(*expected);
    }
}

#[test]
fn a_damaged_start_of_an_object_encrypted_is_refused_by_name() {
    check(ObjectStart, true);
}

#[test]
fn a_damaged_start_of_an_object_plain_is_refused_by_name() {
    check(ObjectStart, false);
}

#[test]
fn a_damaged_middle_of_an_object_encrypted_is_refused_by_name() {
    check(ObjectMiddle, true);
}

#[test]
fn a_damaged_middle_of_an_object_plain_is_refused_by_name() {
    check(ObjectMiddle, false);
}

#[test]
fn a_damaged_tail_of_an_object_encrypted_is_refused_by_name() {
    check(ObjectTail, true);
}

#[test]
fn a_damaged_tail_of_an_object_plain_is_refused_by_name() {
    check(ObjectTail, false);
}

#[test]
fn a_damaged_newest_record_is_an_alarm_to_who_knew_it_and_lost_to_others() {
    check(NewestRecord, true);
}

#[test]
fn a_damaged_older_record_is_lost_alone() {
    check(OlderRecord, true);
}

#[test]
fn a_damaged_page_falls_back_to_its_records() {
    check(Page, true);
}

#[test]
fn a_damaged_index_of_a_reader_is_built_again_or_refused() {
    check(ReaderIndex, true);
}

#[test]
fn a_damaged_index_of_an_archiver_is_built_again_or_refused() {
    check(ArchiverIndex, true);
}

#[test]
fn a_damaged_journal_is_refused_and_never_guessed_from() {
    check(ArchiverDb, true);
}

#[test]
fn a_damaged_manifest_is_written_again_or_refused() {
    check(Manifest, true);
}

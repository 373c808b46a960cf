//! The streams that a matrix is carried out on: made once for each place, and copied for each cell.

mod uploads;

use super::matrix::{Damage, Place};
use super::stream::{Stream, flipped, name, put};
use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use binlogfs::ledger::page::{PAGE_RECORDS, page_key, write_page};
use binlogfs::ledger::{Body, Line, Record, testing};
use binlogfs::model::Seq;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use uploads::{begin_upload, earlier_upload};

/// Segments archived when local files are saved.
const EARLIER: usize = 3;
/// Segments archived in all.
const ARCHIVED: usize = 5;
/// Segments tried for two of one stored size.
const TRIED_MAX: usize = 120;
/// The record that is damaged in the middle.
const MIDDLE: usize = 2;
/// Local files that are damaged, below a stream's directory.
const LOCAL: [&str; 4] = [
    "cache/index.db",
    "state/index.db",
    "state/archiver.db",
    "state/state.json",
];

/// What a host has of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// It has seen it whole: its index, and its state, are of then.
    Knowing,
    /// Nothing.
    Fresh,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Host::Knowing => "knowing",
            Host::Fresh => "fresh",
        })
    }
}

impl Place {
    /// Whether it is an object that a record names.
    pub fn is_object(self) -> bool {
        matches!(
            self,
            Place::ObjectStart | Place::ObjectMiddle | Place::ObjectTail
        )
    }

    /// The local file it is, if it is one.
    fn local(self) -> Option<&'static str> {
        match self {
            Place::ReaderIndex => Some(LOCAL[0]),
            Place::ArchiverIndex => Some(LOCAL[1]),
            Place::ArchiverDb => Some(LOCAL[2]),
            Place::Manifest => Some(LOCAL[3]),
            _ => None,
        }
    }

    /// Whether a damage there can mean anything to `host`: local files are only where something was seen, and who has
    /// taken in all records reads no page.
    pub fn concerns(self, host: Host) -> bool {
        match host {
            Host::Knowing => self != Place::Page,
            Host::Fresh => self.local().is_none(),
        }
    }
}

/// A stream, one segment behind its server, another stream, and the segments that cells speak of.
pub struct Bench {
    stream: Stream,
    other: Stream,
    /// Two segments whose objects have one size; the first is the victim.
    twins: Option<(usize, usize)>,
    /// The damaged segment's object, and an earlier upload of the same file.
    key: String,
    earlier_upload: Vec<u8>,
}

/// A stream of `count` segments, known to a reader and an archiver, with local files saved two segments before.
fn stream_of(archive: Archive, count: usize, transactions: u64) -> Stream {
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..count - (ARCHIVED - EARLIER)).for_each(|_| server.rotate(transactions, 3000));
    archive.archive(server.dir());
    archive.ls(&[]);
    for file in LOCAL {
        let saved = archive.path("saved").join(file);
        fs::create_dir_all(saved.parent().expect("it has one")).expect("writable");
        fs::copy(archive.path(file), saved).expect("closed whole");
    }
    (EARLIER..ARCHIVED).for_each(|_| server.rotate(transactions, 3000));
    archive.archive(server.dir());
    archive.ls(&[]);
    server.rotate(transactions, 3000);
    let truth = server.truth();
    Stream {
        archive,
        server,
        truth,
    }
}

/// A stream of more records than a page has, most of them holes: a few segments, files that were purged before they were
/// archived, and another segment.
fn stream_with_a_page(archive: Archive) -> Stream {
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    (0..ARCHIVED).for_each(|_| server.rotate(2, 3000));
    archive.archive(server.dir());
    (0..PAGE_RECORDS).for_each(|_| server.rotate(1, 10));
    let mut truth = server.truth();
    server.purge(truth.len());
    server.rotate(2, 3000);
    let output = tools::output(archive.archive_command(server.dir()).arg("--accept-holes"));
    assert_eq!(output.status.code(), Some(3), "there are holes");
    server.rotate(2, 3000);
    truth.extend(server.truth());
    Stream {
        archive,
        server,
        truth,
    }
}

impl Bench {
    /// Streams for a place.
    pub fn of(place: Place, encrypted: bool) -> Bench {
        let new = || Archive::in_memory(encrypted);
        let transactions = if place.is_object() { 400 } else { 2 };
        let mut stream = match place {
            Place::Page => stream_with_a_page(new()),
            _ => stream_of(new(), ARCHIVED, transactions),
        };
        // It has seen more than the stream: what belongs to it must not be taken for this one's.
        let other = stream_of(new(), 9, 3);
        let twins = place.is_object().then(|| twins(&mut stream));
        let victim = twins.map_or(MIDDLE, |(victim, _)| victim);
        let key = stream.archive.ls(&[])[victim]["object"]
            .as_str()
            .expect("a key")
            .to_owned();
        let earlier_upload = if place.is_object() {
            earlier_upload(&stream, victim)
        } else {
            Vec::new()
        };
        if place == Place::ArchiverDb {
            let archive = &stream.archive;
            // Left by a run that was killed; the saved journal is of a moment when a record stood and was not noted.
            let orphan = "segments/binlog.000006-00112233445566778899aabbccddeeff.zst";
            fs::write(archive.bucket().join(orphan), b"a part").expect("writable");
            begin_upload(&archive.path("state/archiver.db"), orphan);
            begin_upload(&archive.path("saved/state/archiver.db"), &key);
            let key = other.archive.ls(&[])[0]["object"]
                .as_str()
                .expect("a key")
                .to_owned();
            begin_upload(&other.archive.path("state/archiver.db"), &key);
        }
        Bench {
            stream,
            other,
            twins,
            key,
            earlier_upload,
        }
    }

    /// The stream before any damage.
    pub fn whole(&self) -> &Stream {
        &self.stream
    }

    /// Segments that are read in every cell: all of a short stream.
    pub fn sample(&self) -> impl Iterator<Item = usize> + use<> {
        let last = self.stream.truth.len() - 2;
        let (few, twins) = (last <= 2 * ARCHIVED, self.twins);
        (0..=last).filter(move |n| {
            few || [MIDDLE, MIDDLE + 1, last].contains(n)
                || twins.is_some_and(|(a, b)| [a, b].contains(n))
        })
    }

    /// The segment that cannot be read when the place is damaged.
    pub fn victim_number(&self, place: Place) -> usize {
        match (place, self.twins) {
            (Place::NewestRecord, _) => self.stream.truth.len() - 2,
            (_, Some((victim, _))) => victim,
            (_, None) => MIDDLE,
        }
    }

    /// Its name and the key of its object.
    pub fn victim(&self, place: Place) -> (String, String) {
        (name(self.victim_number(place)), self.key.clone())
    }

    /// A copy of the stream as `host` has it, damaged.
    pub fn damaged(&self, place: Place, damage: Damage, host: Host) -> Stream {
        let archive = copy(&self.stream.archive);
        if place == Place::Page {
            // A page only speaks where a record does not.
            write_pages(&archive, &self.page(None));
            put(&archive.bucket().join(record(MIDDLE)), Some(b"{}\n"));
        }
        let file = self.file(place);
        let bytes = fs::read(archive.path(&file)).expect("there");
        let (now, before) = (bytes.clone(), self.replacement(place, damage));
        put(
            &archive.path(&file),
            damaged(place, damage, &now, before).as_deref(),
        );
        if host == Host::Fresh {
            for dir in ["cache", "state"] {
                fs::remove_dir_all(archive.path(dir)).expect("removable");
                fs::create_dir(archive.path(dir)).expect("writable");
            }
        }
        Stream {
            server: self.stream.server.clone(),
            truth: self.stream.truth.clone(),
            archive,
        }
    }

    /// The file to damage, below a stream's directory.
    fn file(&self, place: Place) -> String {
        let bucket = self.stream.archive.bucket();
        let bucket = bucket.strip_prefix(self.stream.archive.path(""));
        let bucket = bucket.expect("it is below").display();
        match place {
            Place::ObjectStart | Place::ObjectMiddle | Place::ObjectTail => {
                format!("{bucket}/{}", self.key)
            }
            Place::NewestRecord => format!("{bucket}/{}", record(self.victim_number(place))),
            Place::OlderRecord => format!("{bucket}/{}", record(MIDDLE)),
            Place::Page => format!("{bucket}/{}", page_key(Seq(1))),
            Place::ReaderIndex | Place::ArchiverIndex | Place::ArchiverDb | Place::Manifest => {
                place.local().expect("it is one").to_owned()
            }
        }
    }

    /// What stands there afterwards, where another thing does.
    fn replacement(&self, place: Place, damage: Damage) -> Option<Vec<u8>> {
        let read = |path: PathBuf| Some(fs::read(path).expect("there"));
        let own = |file: &str| self.stream.archive.path(file);
        match (damage, place) {
            (Damage::Truncated | Damage::Flipped | Damage::Deleted, _) => None,
            (Damage::Swapped, _) if place.is_object() => {
                let (_, twin) = self.twins.expect("looked for");
                read(self.stream.object(twin))
            }
            (Damage::Older, _) if place.is_object() => Some(self.earlier_upload.clone()),
            (Damage::Swapped, Place::Page) => {
                Some(pages_of(&testing::chain(PAGE_RECORDS).collect::<Vec<_>>()))
            }
            (Damage::Older, Place::Page) => Some(self.page(Some("a host that was restored"))),
            (Damage::Swapped, _) => read(self.other.archive.path(&self.file(place))),
            (Damage::Older, Place::NewestRecord | Place::OlderRecord) => {
                let before = record(self.victim_number(place) - 1);
                read(self.stream.archive.bucket().join(before))
            }
            (Damage::Older, _) => read(own("saved").join(self.file(place))),
        }
    }

    /// The stream's page; with another archiver in record 3 if one is given.
    fn page(&self, other_archiver: Option<&str>) -> Vec<u8> {
        let mut lines = lines(&self.stream.archive);
        if let Some(archiver) = other_archiver {
            let mut record: Record = lines[MIDDLE].record().clone();
            let Body::Segment(segment) = &mut record.body else {
                panic!("a segment");
            };
            segment.archiver = archiver.to_owned();
            lines[MIDDLE] = Line::write(record).expect("a record");
        }
        pages_of(&lines)
    }
}

fn record(n: usize) -> String {
    format!("ledger/{:020}.json", n + 1)
}

fn lines(archive: &Archive) -> Vec<Line> {
    let read = |n| fs::read(archive.bucket().join(record(n))).expect("there");
    (0..PAGE_RECORDS as usize)
        .map(|n| Line::read(&read(n)).expect("a record"))
        .collect()
}

fn pages_of(lines: &[Line]) -> Vec<u8> {
    write_page(lines).expect("a page")
}

fn write_pages(archive: &Archive, page: &[u8]) {
    let path = archive.bucket().join(page_key(Seq(1)).as_str());
    fs::create_dir_all(path.parent().expect("it has one")).expect("writable");
    fs::write(path, page).expect("writable");
}

/// Two segments whose objects have the same size; more are archived until there are. One stays unarchived.
fn twins(stream: &mut Stream) -> (usize, usize) {
    loop {
        let (sizes, twins) = stream.stored_sizes();
        if let Some(twins) = twins {
            return twins;
        }
        assert!(sizes.len() < TRIED_MAX, "no two of {sizes:?} are the same");
        (0..5).for_each(|_| stream.server.rotate(400, 3000));
        stream.archive.archive(stream.server.dir());
        stream.server.rotate(400, 3000);
        stream.truth = stream.server.truth();
    }
}

/// A copy below a directory of its own. Objects and the server's files are linked: nobody writes to them in place.
fn copy(archive: &Archive) -> Archive {
    let copy = archive.beside();
    let pairs = [
        (archive.bucket(), copy.bucket(), "-al"),
        (archive.data(), copy.data(), "-al"),
        (archive.path("state"), copy.path("state"), "-a"),
        (archive.path("cache"), copy.path("cache"), "-a"),
    ];
    for (from, to, how) in pairs {
        fs::remove_dir(&to).ok();
        fs::create_dir_all(to.parent().expect("it has one")).expect("writable");
        tools::run(std::process::Command::new("cp").arg(how).arg(from).arg(to));
    }
    copy
}

/// What stands in the place of `bytes` afterwards; `None` when nothing does.
fn damaged(place: Place, damage: Damage, bytes: &[u8], other: Option<Vec<u8>>) -> Option<Vec<u8>> {
    let len = bytes.len();
    let at = match place {
        // In the first stanza of the age header, which then looks like one for another key.
        Place::ObjectStart if damage == Damage::Flipped => 40,
        Place::ObjectStart => 0,
        Place::ObjectTail => len - 3,
        // The type of its first page ("The SQLite database file format", 1.6): the middle may be in a page that holds nothing.
        Place::ArchiverDb if damage == Damage::Flipped => 100,
        _ => len / 2,
    };
    match (damage, other) {
        (Damage::Truncated, _) => Some(bytes[..at].to_vec()),
        (Damage::Flipped, _) => Some(flipped(bytes, at)),
        (Damage::Deleted, _) => None,
        (Damage::Swapped | Damage::Older, None) => panic!("nothing to put there"),
        (_, Some(other)) => Some(match place {
            // A part of the other in its place, from the same distance to the end.
            Place::ObjectMiddle => {
                let (from, to) = (len / 3, len / 3 * 2);
                let end = other.len() - (len - to);
                [&bytes[..from], &other[end - (to - from)..end], &bytes[to..]].concat()
            }
            Place::ObjectTail => {
                let third = len / 3;
                [&bytes[..len - third], &other[other.len() - third..]].concat()
            }
            _ => other,
        }),
    }
}

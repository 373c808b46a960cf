//! Targets in a real server's history, found as by reading all that mysqlbinlog prints.

mod again;
mod costs;
pub mod reference;
mod told;

use crate::archive::{Archive, Mounted};
use crate::mysql::{Server, mysqlbinlog};
use crate::tools;
use binlogfs::cache::{CacheOptions, SegmentReader};
use binlogfs::index::Index;
use binlogfs::locate::{LocateError, Located, Locator, RefusalKind, Target};
use binlogfs::model::{Micros, Timeline};
use binlogfs::segment::Identities;
use binlogfs::store::{OpenMode, RecordingStore, SharedStore, open};
use binlogfs::stream::Stream;
use costs::costs;
use reference::{Told, glob, replayed, transactions};
use std::fs;
use std::sync::Arc;
use told::{gtids, not_there, what_people_are_told};

/// An archive of a server whose third file was purged too early, and all that mysqlbinlog knows of the others.
pub struct History {
    pub archive: Archive,
    pub server: Server,
    pub told: Vec<Told>,
    /// What stood in the third file.
    pub lost: Vec<Told>,
}

const ROW: &str = "INSERT INTO d.t (v) VALUES (REPEAT('x', ";

pub fn history() -> History {
    let archive = Archive::encrypted();
    let server = Server::new();
    server
        .sql("CREATE DATABASE d; CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v LONGBLOB)");
    let burst = |rows: usize, bytes: usize| format!("{ROW}{bytes})); ").repeat(rows);
    // A burst within one second, and statements that claim to be of another time.
    server.sql(&burst(40, 10));
    server.flush_logs();
    server.sql(&format!(
        "{} SET TIMESTAMP=1000000000; {} SET TIMESTAMP=2000000000; {} SET TIMESTAMP=DEFAULT; {} {} {}",
        burst(5, 300_000),
        burst(3, 10),
        burst(3, 10),
        burst(15, 300_000),
        burst(1, 5_000_000),
        burst(20, 200_000),
    ));
    server.flush_logs();
    archive.archive(&server.index_file());
    server.sql(&burst(5, 10));
    server.flush_logs();
    server.sql(&burst(10, 10));
    server.flush_logs();
    let mut closed = server.binlogs();
    closed.pop();
    let lost = closed.remove(closed.len() - 2);
    let (told, lost) = (transactions(&closed), transactions(&[lost]));
    let kept = closed.last().expect("files").file_name().expect("a name");
    server.sql(&format!(
        "PURGE BINARY LOGS TO '{}'",
        kept.to_string_lossy()
    ));
    archive.archive(&server.index_file());
    History {
        archive,
        server,
        told,
        lost,
    }
}

/// A locator that knows nothing yet but the ledger, and the requests it makes.
async fn locator(archive: &Archive) -> (Locator, Arc<RecordingStore>) {
    let (index, reader, recording) = opened(archive).await;
    (Locator::new(index, reader), recording)
}

/// An index of the stream in `archive`, a reader of its segments, and the requests that makes.
pub async fn opened(archive: &Archive) -> (Arc<Index>, Arc<SegmentReader>, Arc<RecordingStore>) {
    let url = format!("file://{}", archive.bucket().display());
    let store = open(&url.parse().expect("a URL"), OpenMode::Existing).await;
    let recording = Arc::new(RecordingStore::new(store.expect("opens")));
    let store: SharedStore = recording.clone();
    let index = Arc::new(Index::in_memory().expect("opens"));
    let stream = Stream::open(store.clone(), index.clone()).await;
    stream.expect("a stream").follow().await.expect("follows");
    let key = fs::read_to_string(archive.key()).expect("a key");
    let identities = Identities::parse("key", &key).expect("a key");
    let tails = Some(index.clone() as Arc<_>);
    let reader = SegmentReader::new(store, identities, tails, CacheOptions::default());
    recording.reset();
    (index, Arc::new(reader), recording)
}

/// Where the history before a moment ends, by looking at every transaction.
#[derive(Debug, PartialEq)]
pub enum Expected {
    Before(Told),
    Behind(Told),
    Refused(RefusalKind),
}

pub fn expected(history: &History, created: Micros, time: Micros) -> Expected {
    let told = &history.told;
    let lost = history.lost.first().expect("some").clone();
    let Some(at) = told.iter().position(|t| t.committed > time) else {
        let last = told.last().expect("some");
        return match last.committed == time {
            true => Expected::Behind(last.clone()),
            false => Expected::Refused(RefusalKind::TooLate),
        };
    };
    match at.checked_sub(1).map(|before| &told[before]) {
        None if time < Micros(created.0 + 1_000_000) => Expected::Refused(RefusalKind::TooEarly),
        // The hole stands between these two.
        Some(before) if before.file < lost.file && told[at].file > lost.file => {
            match before.committed == time {
                true => Expected::Behind(before.clone()),
                false => Expected::Refused(RefusalKind::Missing),
            }
        }
        _ => Expected::Before(told[at].clone()),
    }
}

fn found(located: Result<Located, LocateError>) -> Result<Located, RefusalKind> {
    match located {
        Ok(located) => Ok(located),
        Err(LocateError::Refused(refusal)) => Err(refusal.kind),
        Err(other) => panic!("{other}"),
    }
}

/// Numbers that look random and are the same each time.
fn random(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn every_kind_of_target_is_found_as_by_reading_all_that_mysqlbinlog_prints() {
    let history = history();
    let headers: Vec<&str> = history
        .told
        .iter()
        .map(|t| t.header_time.as_str())
        .collect();
    assert!(
        !headers.is_sorted(),
        "header times run backwards: {headers:?}"
    );
    moments(&history);
    transactions_and_positions(&history);
    costs(&history);
    what_people_are_told(&history);
    parts_of_the_mount(&history);
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn moments(history: &History) {
    let (locator, _) = locator(&history.archive).await;
    let created = created(history);
    let (begin, end) = (
        created.0 - 2_000_000,
        history.told.last().expect("some").committed.0 + 2_000_000,
    );
    let all = history.told.iter().chain(&history.lost);
    let mut times: Vec<i64> = all
        .flat_map(|t| [t.committed.0 - 1, t.committed.0, t.committed.0 + 1])
        .collect();
    let mut seed = 42;
    times.extend((0..200).map(|_| begin + (random(&mut seed) % (end - begin) as u64) as i64));
    times.extend([
        begin,
        end,
        created.0,
        created.0 + 999_999,
        created.0 + 1_000_000,
    ]);
    let mut refused = std::collections::BTreeSet::new();
    for time in times.into_iter().map(Micros) {
        let got = found(locator.find(Timeline(1), &Target::Time(time)).await);
        match (expected(history, created, time), got) {
            (Expected::Refused(kind), Err(got)) => {
                assert_eq!(got, kind, "{time}");
                refused.insert(format!("{kind:?}"));
            }
            (Expected::Before(told), Ok(located)) => {
                let place = (
                    located.boundary.mount_name.as_str(),
                    located.boundary.position,
                );
                assert_eq!(place, (told.file.as_str(), told.start), "{time}");
                check(&located.transaction.expect("one"), &told);
            }
            (Expected::Behind(told), Ok(located)) => {
                let place = (
                    located.boundary.mount_name.as_str(),
                    located.boundary.position,
                );
                assert_eq!(place, (told.file.as_str(), told.end), "{time}");
                assert_eq!(located.transaction, None);
            }
            (expected, got) => panic!("{time}: {got:?} instead of {expected:?}"),
        }
    }
    let kinds: Vec<&str> = refused.iter().map(String::as_str).collect();
    assert_eq!(kinds, ["Missing", "TooEarly", "TooLate"]);
}

/// When the first file was created.
pub fn created(history: &History) -> Micros {
    let first = glob_first(history);
    let seconds = u32::from_le_bytes(first[4..8].try_into().expect("four bytes"));
    Micros::from_seconds(seconds)
}

fn glob_first(history: &History) -> Vec<u8> {
    let name = &history.told[0].file;
    tools::run(
        &mut history
            .archive
            .command(&["cat", &history.archive.url(), name]),
    )
}

fn check(found: &binlogfs::locate::Found, told: &Told) {
    assert_eq!((found.start, found.end), (told.start, told.end), "{told:?}");
    assert_eq!(found.commit_time, told.committed);
    assert_eq!(
        found.gtid.as_ref().expect("it has one").to_string(),
        told.gtid
    );
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_and_positions(history: &History) {
    let (locator, _) = locator(&history.archive).await;
    let find = async |text: &str| {
        let target = Target::parse(text, None).expect("a target");
        found(locator.find(Timeline(1), &target).await)
    };
    let boundary = async |text: &str| {
        let target = Target::parse(text, None).expect("a target");
        locator.boundary(Timeline(1), &target).await
    };
    for told in &history.told {
        let located = find(&told.gtid).await.expect("it is archived");
        assert_eq!(located.boundary.position, told.start);
        check(&located.transaction.expect("one"), told);
        for offset in [told.start, told.start + 1, told.end - 1] {
            let text = format!("{}:{offset}", told.file);
            let located = find(&text).await.expect("it is there");
            check(&located.transaction.expect("one"), told);
            let exact = boundary(&text).await;
            match offset == told.start {
                true => assert_eq!(exact.expect("a boundary").position, offset),
                false => assert!(
                    matches!(exact, Err(LocateError::Refused(r)) if r.kind == RefusalKind::Inside)
                ),
            }
        }
    }
    for told in &history.lost {
        assert_eq!(find(&told.gtid).await, Err(RefusalKind::Missing));
    }
    let lost = &history.lost[0];
    assert_eq!(
        find(&format!("{}:{}", lost.file, lost.start)).await,
        Err(RefusalKind::Missing)
    );
    let later = format!("{}:99999", history.server.uuid());
    assert_eq!(find(&later).await, Err(RefusalKind::Unknown));
    assert_eq!(find("binlog.000999:4").await, Err(RefusalKind::Unknown));
    let beyond = format!("{}:{}", history.told[0].file, 1_u64 << 40);
    assert_eq!(find(&beyond).await, Err(RefusalKind::Unknown));
}

fn parts_of_the_mount(history: &History) {
    let mounted = history.archive.mount();
    let listed = glob(mounted.dir());
    assert!(listed.iter().all(|path| {
        !path
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .starts_with('.')
    }));
    let told = &history.told;
    let lost_from = told
        .iter()
        .position(|t| t.file > history.lost[0].file)
        .expect("some");
    // Up to a moment: all transactions committed by then, and no other.
    for n in [0, 1, 25, 41, 60, lost_from - 1] {
        let dir = mounted
            .dir()
            .join(".at")
            .join(told[n].committed.to_string());
        let files = glob(&dir);
        assert_eq!(replayed(&files), gtids(&told[..=n]), "{n}");
        let last = files.last().expect("files").metadata().expect("stats");
        if let Some(next) = told.get(n + 1).filter(|next| next.file <= told[n].file) {
            assert_eq!(last.len(), next.start);
        }
    }
    // Before a transaction, and between two.
    let (from, to) = (30, 63);
    let before = mounted.dir().join(".before").join(&told[from].gtid);
    assert_eq!(replayed(&glob(&before)), gtids(&told[..from]));
    for (from, to) in [(from, to), (50, 60), (lost_from, told.len() - 2)] {
        let dir = mounted
            .dir()
            .join(format!(".range/{}/{}", told[from].gtid, told[to].gtid));
        assert_eq!(replayed(&glob(&dir)), gtids(&told[from..to]));
    }
    let same = format!(".range/{0}:{1}/{0}:{1}", told[50].file, told[50].start);
    assert_eq!(
        replayed(&glob(&mounted.dir().join(same))),
        Vec::<String>::new()
    );
    // What cannot be reached is not there; what has no meaning neither.
    let (first, hole) = (&told[0], &history.lost[1]);
    for name in [
        ".at/2099-01-01T00:00:00Z".to_owned(),
        ".at/2001-01-01T00:00:00Z".to_owned(),
        format!(".at/{}", hole.committed),
        ".at/-15m".to_owned(),
        ".at/nonsense".to_owned(),
        format!(".at/{}", first.gtid),
        format!(".before/{}", hole.gtid),
        format!(".before/{}:{}", first.file, first.start + 1),
        format!(".range/{}/{}", told[60].gtid, told[50].gtid),
        ".range/nonsense".to_owned(),
    ] {
        not_there(&mounted, &name);
    }
    positions_in_a_cut_file(history, &mounted);
    status(history, &mounted);
}

/// The first file of a range is a binlog of its own: its positions are not the server's, and mysqlbinlog takes them.
fn positions_in_a_cut_file(history: &History, mounted: &Mounted) {
    let (from, to) = (&history.told[50], &history.told[60]);
    let dir = mounted
        .dir()
        .join(format!(".range/{}/{}", from.gtid, to.gtid));
    let files = glob(&dir);
    assert_eq!(files.len(), 1);
    let part = fs::read(&files[0]).expect("reads");
    let whole = fs::read(mounted.dir().join(&from.file)).expect("reads");
    let head = part.len() - (to.start - from.start) as usize;
    assert_eq!(part[..head], whole[..head]);
    assert!(part[head..] == whole[from.start as usize..to.start as usize]);
    assert_eq!(files[0].metadata().expect("stats").len(), part.len() as u64);
    let second = head as u64 + history.told[51].start - from.start;
    let text = tools::run_text(
        mysqlbinlog()
            .arg(format!("--start-position={second}"))
            .args(&files),
    );
    assert!(!text.contains(&from.gtid) && text.contains(&history.told[51].gtid));
    // Attributes tell what holds for a part too.
    let mut value = [0; 256];
    let get = |value: &mut [u8], name: &str| rustix::fs::getxattr(&files[0], name, value);
    let len = get(&mut value, "user.binlogfs.file").expect("there");
    assert_eq!(&value[..len], from.file.as_bytes());
    let absent = get(&mut value, "user.binlogfs.sha256");
    assert_eq!(absent, Err(rustix::io::Errno::NODATA));
}

fn status(history: &History, mounted: &Mounted) {
    let text = fs::read(mounted.dir().join(".status.json")).expect("reads");
    let status: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(status["root_timeline"], 1);
    assert_eq!(status["unsound"]["holes"], 1);
    assert_eq!(status["last_error"], serde_json::Value::Null);
    assert!(status["age_seconds"].as_f64().expect("a number") < 60.0);
    let last = history.told.last().expect("some");
    assert_eq!(status["last_archived"]["name"], last.file.as_str());
    let executed = status["executed"].as_str().expect("a set");
    let all: binlogfs::model::GtidSet = executed.parse().expect("a set");
    assert!(all.contains(&last.gtid.parse().expect("a GTID")));
    let dir = mounted
        .dir()
        .join(".timeline/1/.at")
        .join(last.committed.to_string());
    assert_eq!(glob(&dir).len(), glob(mounted.dir()).len());
}

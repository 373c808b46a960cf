//! What is reachable by name only, in a mount of several streams: the same as in a mount of each alone.

use super::{Mounted, add_stream, below, list, mounted, names};
use crate::archive::Archive;
use crate::tools::{self, errno, eventually};
use binlogfs::binlog::testing::mysql_gtid;
use binlogfs::model::Micros;
use binlogfs::store::FileStore;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// When transaction `n` of server `server` was committed: see `SyntheticServer`.
fn committed(server: u8, n: i64) -> Micros {
    Micros((1_700_000_000 + i64::from(server) + n) * 1_000_000 + 123)
}

/// What a directory shows: names and bytes, or why it is not there.
fn shown(dir: &Path) -> Result<Vec<(String, Vec<u8>)>, i32> {
    let names = list(dir).map_err(|error| error.raw_os_error().expect("the kernel's"))?;
    let read = |name: String| {
        let path = dir.join(&name);
        let bytes = fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let size = path.metadata().expect("there").len();
        assert_eq!(size, bytes.len() as u64, "{}", path.display());
        (name, bytes)
    };
    Ok(names.into_iter().map(read).collect())
}

#[test]
fn a_stream_below_has_the_hidden_directories_that_a_mount_of_it_alone_has() {
    let archive = Archive::encrypted();
    add_stream(&archive, "eu/a", 1);
    add_stream(&archive, "us/c", 3);
    let mounted = archive.mount_with(&["--refresh", "1"]);
    for (path, server) in [("eu/a", 1), ("us/c", 3)] {
        let dir = mounted.dir().join(path);
        // The index of a stream that is mounted alone; those of the others are in directories of their own.
        for name in ["index.db", "index.db-wal", "index.db-shm"] {
            let _ = fs::remove_file(archive.path("cache").join(name));
        }
        let alone = archive.mount_at(&below(&archive, path), archive.path("alone"), &[]);
        // Three transactions are in the first file, two in the second.
        let (second, last) = (committed(server, 2), committed(server, 5));
        let (third, fourth) = (mysql_gtid(server, 3), mysql_gtid(server, 4));
        let cut = alone.dir().join(format!(".at/{second}/binlog.000001"));
        let position = cut.metadata().expect("there").len();
        // Of a stream that nobody has looked into before, a part is the first that is asked for.
        let parts = [
            (format!(".at/{second}"), 1),
            (format!(".at/{last}"), 2),
            (format!(".before/{third}"), 1),
            (format!(".before/{fourth}"), 2),
            (format!(".before/binlog.000001:{position}"), 1),
            (format!(".range/{second}/{last}"), 2),
            (format!(".range/{third}/{fourth}"), 2),
            (format!(".timeline/1/.at/{second}"), 1),
        ];
        for (part, files) in parts {
            let got = shown(&dir.join(&part)).unwrap_or_else(|e| panic!("{path}/{part}: {e}"));
            assert_eq!(got.len(), files, "{path}/{part}");
            assert!(Ok(got) == shown(&alone.dir().join(&part)), "{path}/{part}");
        }
        for part in [
            ".at/2099-01-01T00:00:00Z".to_owned(),
            ".at/nonsense".to_owned(),
            ".at/-15m".to_owned(),
            format!(".before/{}", mysql_gtid(server + 1, 1)),
            format!(".range/{last}/{second}"),
        ] {
            assert_eq!(shown(&dir.join(&part)), Err(libc::ENOENT), "{path}/{part}");
        }
        assert_eq!(names(&dir), ["binlog.000001", "binlog.000002"]);
        let (first, part) = ("binlog.000001", format!(".at/{second}/binlog.000001"));
        let whole = fs::read(dir.join(first)).expect("reads");
        let cut = fs::read(dir.join(&part)).expect("reads");
        assert!(whole.starts_with(&cut) && cut.len() < whole.len());
        let ino = |name: &str| dir.join(name).metadata().expect("there").ino();
        assert_eq!(ino(&part) >> 48, ino(first) >> 48, "it is the stream's");

        let status = fs::read(dir.join(".status.json")).expect("reads");
        let status: serde_json::Value = serde_json::from_slice(&status).expect("JSON");
        assert_eq!(status["root_timeline"], 1);
        assert_eq!(status["last_archived"]["name"], "binlog.000002");
        let executed = status["executed"].as_str().expect("a set");
        assert!(executed.ends_with(":1-5"), "{executed}");
    }
    for none in [".at", "eu/.at", ".status.json", "eu/.range"] {
        let none = mounted.dir().join(none).metadata();
        assert_eq!(errno(none), libc::ENOENT);
    }
}

/// More streams than are open at a time: copies of one, each at a place of its own.
async fn many() -> (Archive, Mounted) {
    let archive = Archive::plain();
    add_stream(&archive, "t/s0", 1);
    for n in 1..70 {
        let (from, to) = (
            archive.bucket().join("t/s0"),
            archive.bucket().join(format!("t/s{n}")),
        );
        tools::run(Command::new("cp").arg("-al").args([from, to]));
    }
    let store = FileStore::open(archive.bucket()).expect("opens");
    let mounted = mounted(Arc::new(store), Duration::from_secs(30)).await;
    (archive, mounted)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stands_in_a_part_of_a_stream_that_was_closed_is_never_shown_another_part() {
    let (_archive, mounted) = many().await;
    let stream = |n: usize| mounted.dir.path().join(format!("t/s{n}"));
    let at = |n: usize, time: Micros| stream(n).join(format!(".at/{time}"));
    let (short, long) = (committed(1, 1), committed(1, 5));
    let before = shown(&at(0, short)).expect("there");
    assert_eq!(before.len(), 1);
    let standing = File::open(at(0, short)).expect("opens");
    let here = format!("/proc/self/fd/{}", standing.as_raw_fd());
    assert!(shown(Path::new(&here)).expect("there") == before);
    for n in 1..70 {
        assert_eq!(names(&stream(n)).len(), 2);
    }
    eventually("some are closed", || mounted.forest.open_streams() <= 64);
    // The first part that the stream makes after it was opened again is another one.
    let other = shown(&at(0, long)).expect("there");
    assert_eq!(other.len(), 2);
    assert_eq!(shown(Path::new(&here)), Err(libc::ESTALE));
    eventually("it is found again by its name", || {
        shown(&at(0, short)).is_ok_and(|again| again == before)
    });
    assert!(shown(&at(0, long)).expect("there") == other);
    drop(standing);
    mounted.handle.unmount().await.expect("unmounts");
}

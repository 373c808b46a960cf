//! A long history is not waited for while it is taken in, and nothing of it is trusted that may be lost.

use super::super::unsynced::{Mark, path_of};
use super::super::{checkpoint, schema};
use super::*;
use std::time::{Duration, Instant};

/// An index in a file that has taken in `pages` pages.
fn loaded(path: &Path, pages: u64) -> Index {
    let (index, _) = Index::open(path).expect("opens");
    begin(&index);
    load(&index, 0, pages);
    index
}

fn load(index: &Index, from: u64, to: u64) {
    let lines: Vec<Line> = testing::chain(to * 1000).collect();
    for lines in lines.chunks(1000).skip(from as usize) {
        let page = crate::ledger::page::write_page(lines).expect("a page");
        let steps: Vec<Step> = lines.iter().cloned().map(Step::Line).collect();
        index.apply_page(&steps, &page, None).expect("applies");
    }
}

/// Whether checkpoints of the writer wait for the disk.
fn waits(index: &Index) -> bool {
    let how: i64 = index
        .lock()
        .conn
        .pragma_query_value(None, "synchronous", |row| row.get(0))
        .expect("reads");
    how != 0
}

/// The mark goes beside the caller.
fn goes(mark: &Path) -> bool {
    let end = Instant::now() + Duration::from_secs(30);
    while mark.exists() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    !mark.exists()
}

#[test]
fn the_disk_is_waited_for_at_the_end_of_a_long_history() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("index.db");
    let mark = path_of(&path);
    let index = loaded(&path, 1);
    assert!(waits(&index) && !mark.exists(), "a page is no long history");
    load(&index, 1, 3);
    assert!(!waits(&index) && mark.exists());
    index.rest().expect("rests");
    assert!(waits(&index));
    assert!(goes(&mark));
    // Once more, much later: what was known of the ledger must not be lost.
    load(&index, 3, 7);
    assert!(waits(&index) && !mark.exists());
    index.rest().expect("rests");
    assert_eq!(
        index.state().expect("reads").expect("begun").last_seq,
        Seq(7000)
    );
    // From the beginning, into what is there.
    index.reset().expect("resets");
    load(&index, 0, 3);
    assert!(!waits(&index) && mark.exists());
    index.rest().expect("rests");
    assert!(waits(&index));
    assert!(goes(&mark));
}

#[test]
fn an_index_closed_too_early_is_waited_for_as_it_is_closed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("index.db");
    let index = loaded(&path, 3);
    assert!(path_of(&path).exists());
    drop(index);
    assert!(!path_of(&path).exists());
}

#[test]
fn what_a_killed_process_did_not_wait_for_the_next_one_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("index.db");
    let index = loaded(&path, 3);
    let reader = rusqlite::Connection::open(&path).expect("opens");
    reader
        .execute_batch("BEGIN; SELECT count(*) FROM entries")
        .expect("reads");
    load(&index, 3, 4);
    // What it reads keeps the log from its end, and so the mark.
    drop(index);
    assert!(path_of(&path).exists());
    drop(reader);
    let (index, opened) = Index::open(&path).expect("opens");
    assert_eq!(opened, Opened::Existing);
    assert_eq!(
        index.state().expect("reads").expect("begun").last_seq,
        Seq(4000)
    );
    // It goes on as the other one did.
    load(&index, 4, 6);
    assert!(!waits(&index));
    index.rest().expect("rests");
    assert!(waits(&index));
    assert!(goes(&path_of(&path)));
}

#[test]
fn the_mark_stays_while_another_process_does_not_wait() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("index.db");
    let index = loaded(&path, 3);
    let others = Mark::set(&path).expect("sets");
    index.rest().expect("rests");
    drop(index);
    assert!(path_of(&path).exists());
    drop(others);
    let (index, _) = Index::open(&path).expect("opens");
    index.rest().expect("rests");
    drop(index);
    assert!(!path_of(&path).exists());
}

#[test]
fn there_is_something_to_wait_for_each_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("index.db");
    let _index = loaded(&path, 1);
    let beside = schema::open_beside(&path).expect("opens");
    let reader = schema::open_reader(&path).expect("opens");
    // It changes with each commit of another connection that has written something to the log.
    let version = || -> i64 {
        let version = reader.query_row("PRAGMA data_version", [], |row| row.get(0));
        version.expect("reads")
    };
    for _ in 0..3 {
        let before = version();
        checkpoint::give_something(&beside).expect("writes");
        assert_ne!(version(), before);
    }
}

#[test]
fn the_mark_stays_if_somebody_writes_while_all_is_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("index.db");
    let _index = loaded(&path, 1);
    let mark = Mark::set(&path).expect("sets");
    let beside = schema::open_beside(&path).expect("opens");
    checkpoint::give_something(&beside).expect("writes");
    let writer = rusqlite::Connection::open(&path).expect("opens");
    writer.execute_batch("BEGIN IMMEDIATE").expect("begins");
    let left = checkpoint::settled(&beside, mark).expect("copies");
    let mark = left.expect("the writer may have kept SQLite from waiting for the database");
    assert!(path_of(&path).exists());
    writer.execute_batch("COMMIT").expect("ends");
    let left = checkpoint::settled(&beside, mark).expect("copies");
    assert!(left.is_none() && !path_of(&path).exists());
}

#[test]
fn after_the_machine_has_stopped_meanwhile_the_index_is_made_anew() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("index.db");
    drop(loaded(&path, 3));
    std::fs::write(path_of(&path), "boot of another day\n").expect("writes");
    let (index, opened) = Index::open(&path).expect("opens");
    assert!(
        matches!(&opened, Opened::Rebuilt { why } if why.contains("machine stopped")),
        "{opened:?}"
    );
    assert_eq!(index.state().expect("reads"), None);
    assert!(!path_of(&path).exists());
}

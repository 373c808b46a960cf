//! A bucket that lost or changed something: what is damaged is refused by name, what is not stays readable, and no wrong
//! byte ever goes out.

mod bench;
mod cell;
mod healing;
mod matrix;
mod records;
mod stream;

use crate::archive::Archive;
use binlogfs::index::Index;
use binlogfs::ledger::{Entry, LedgerState};
use binlogfs::model::Timeline;
use binlogfs::store::MemoryStore;
use binlogfs::stream as ledger;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use stream::{DAMAGES, FLIP_EVERY, SEGMENTS, Stream, name, put};

#[test]
fn another_valid_object_of_the_same_size_is_refused() {
    // Unencrypted, of one shape: among so many, some are stored in as many bytes.
    let stream = Stream::of(Archive::plain(), 24, 20, 2000);
    let (a, b) = stream.stored_sizes().1.expect("two of one size");
    let (object, other) = (
        stream.object(a),
        fs::read(stream.object(b)).expect("readable"),
    );
    for seen in [true, false] {
        let what = if seen {
            "swapped, its tail kept"
        } else {
            "swapped"
        };
        if seen {
            // Reading it keeps header and tail in this host's index.
            assert_eq!(stream.cat(a, "whole"), None);
        } else {
            stream.forget();
        }
        let own = fs::read(&object).expect("readable");
        put(&object, Some(&other));
        let said = stream.cat(a, what).expect("refused");
        assert!(
            said.contains(object.file_name().expect("a name").to_str().expect("text")),
            "the object is named: {said}"
        );
        assert_eq!(stream.cat(b, what), None);
        assert_eq!(stream.read_mounted(&[a], what), 1);
        let findings = stream.findings(what);
        assert!(
            !findings.is_empty() && findings.iter().all(|finding| finding.contains(&name(a))),
            "{findings:?}"
        );
        put(&object, Some(&own));
    }
    stream.archive.verify();
}

#[test]
fn a_damaged_object_is_refused_by_name_and_the_others_are_read() {
    let stream = Stream::of(Archive::encrypted(), 3, 50, 50_000);
    let object = stream.object(1);
    let whole = fs::read(&object).expect("readable");
    for (what, damage) in DAMAGES {
        put(&object, damage(&whole).as_deref());
        stream.forget();
        let refused = stream.cat(1, what);
        for n in [0, 2] {
            assert_eq!(stream.cat(n, what), None);
        }
        stream.forget();
        let failed = stream.read_mounted(&[1], what);
        // What was added behind its end is in nobody's way, and is found all the same.
        let harmless = what.starts_with("grown");
        assert_eq!(
            (refused.is_some(), failed),
            (!harmless, usize::from(!harmless)),
            "{what}: {refused:?}"
        );
        let findings = stream.findings(what);
        assert!(!findings.is_empty(), "{what}");
        for finding in &findings {
            assert!(finding.contains("binlog.000002"), "{what}: {finding}");
        }
        put(&object, Some(&whole));
    }
    stream.archive.verify();
}

#[test]
fn local_state_that_is_lost_or_garbage_is_made_again() {
    let mut stream = Stream::of(Archive::encrypted(), 3, 3, 1000);
    let before = stream.archive.ls(&[]);
    assert_eq!(stream.cat(1, "whole"), None);
    let index = stream.archive.path("cache/index.db");
    for round in ["garbage", "cut", "emptied", "deleted"] {
        match round {
            "garbage" => fs::write(&index, [0xA5; 40_000]).expect("writable"),
            "cut" => {
                let bytes = fs::read(&index).expect("readable");
                fs::write(&index, &bytes[..bytes.len() / 2]).expect("writable");
            }
            "emptied" => fs::write(&index, b"").expect("writable"),
            _ => stream.forget(),
        }
        assert_eq!(stream.archive.ls(&[]), before, "{round}");
        assert_eq!(stream.cat(1, round), None);
        assert_eq!(stream.read_mounted(&[], round), 0);
    }
    for n in 0..2 {
        fs::remove_dir_all(stream.archive.path("state")).expect("removable");
        assert!(
            stream
                .archive
                .archive(stream.server.dir())
                .contains(&format!("archived {n} segment"))
        );
        stream.server.rotate(3, 1000);
    }
    stream.archive.verify();
}

#[test]
fn an_object_whose_record_cannot_be_read_is_not_taken_for_a_leftover() {
    let mut stream = Stream::of(Archive::encrypted(), SEGMENTS, 3, 1000);
    let (object, record) = (stream.object(2), stream.record(2));
    let whole = fs::read(&record).expect("readable");
    // As a run leaves it that is killed before it notes that its record stands.
    let key = object.file_name().expect("a name").to_string_lossy();
    let journal = rusqlite::Connection::open(stream.archive.path("state/archiver.db"));
    journal
        .expect("opens")
        .execute(
            "INSERT INTO upload (key, file, started_at, record) VALUES (?1, 'binlog.000003', 1, 3)",
            [format!("segments/{key}")],
        )
        .expect("a journal");
    put(&record, Some(b"{}\n"));
    fs::remove_file(stream.archive.path("state/index.db")).expect("removable");
    stream.server.rotate(3, 1000);
    for archived in [1, 0] {
        let said = stream.archive.archive(stream.server.dir());
        assert!(
            said.contains(&format!("archived {archived} segment")),
            "{said}"
        );
        assert!(object.exists(), "the record may name it");
    }
    put(&record, Some(&whole));
    stream.archive.archive(stream.server.dir());
    stream.forget();
    assert_eq!(stream.cat(2, "put back"), None);
    stream.archive.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bit_flipped_anywhere_in_an_index_is_noticed_or_changes_nothing() {
    let stream = Stream::of(Archive::in_memory(false), SEGMENTS, 3, 1000);
    stream.archive.ls(&[]);
    let whole = fs::read(stream.archive.path("cache/index.db")).expect("readable");
    let store = MemoryStore::new();
    for dir in ["stream.json", "ledger"] {
        let path = stream.archive.bucket().join(dir);
        let files = if path.is_dir() {
            stream.archive.keys(dir)
        } else {
            vec![path]
        };
        for file in files {
            let key = file
                .strip_prefix(stream.archive.bucket())
                .expect("below it");
            let key = key.to_str().expect("text").parse().expect("a key");
            store.tamper(&key, fs::read(&file).expect("readable"));
        }
    }
    let path = stream.archive.path("flipped/index.db");
    fs::create_dir(path.parent().expect("it has one")).expect("writable");
    let truth = entries_of(&path, &store).await.expect("whole");
    let mut noticed = 0;
    for at in (0..whole.len()).step_by(FLIP_EVERY) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        for suffix in ["", "-wal", "-shm", "-corrupt"] {
            let _ = fs::remove_file(path.with_file_name(format!("index.db{suffix}")));
        }
        fs::write(&path, bytes).expect("writable");
        match entries_of(&path, &store).await {
            Ok(entries) => assert!(entries == truth, "byte {at} changed what is told"),
            Err(error) => {
                noticed += 1;
                assert!(error.contains("index"), "byte {at}: {error}");
                // Another stream's is not for us to delete; all else is built again.
                if !error.contains("delete the index") {
                    let again = entries_of(&path, &store).await;
                    assert!(again.as_ref() == Ok(&truth), "byte {at}: {:?}", again.err());
                }
            }
        }
    }
    println!(
        "{noticed} of {} were told as errors",
        whole.len() / FLIP_EVERY
    );
    assert!(noticed > 0, "some damage is only met when it is used");
}

/// Opens the index at `path`, follows, and reads all entries and the ledger's state.
async fn entries_of(
    path: &Path,
    store: &MemoryStore,
) -> Result<(Vec<Entry>, Arc<LedgerState>), String> {
    let (index, _) = Index::open(path).map_err(|e| e.to_string())?;
    let index = Arc::new(index);
    let opened = ledger::Stream::open(Arc::new(store.clone()), Arc::clone(&index)).await;
    let followed = opened.map_err(|e| e.to_string())?.follow().await;
    let state = followed.map_err(|e| e.to_string())?.state;
    let entries = index.entries(Timeline(1), None, usize::MAX);
    let entries = entries.map_err(|e| e.to_string())?;
    let rows = index.rows(Timeline(1), None, usize::MAX);
    let rows = rows.map_err(|e| e.to_string())?;
    for (entry, row) in entries.iter().zip(&rows) {
        assert_eq!((entry.seq, &entry.mount_name), (row.seq, &row.mount_name));
        assert_eq!(entry.segment.as_ref().map_or(0, |s| s.size), row.size);
    }
    Ok((entries, state))
}

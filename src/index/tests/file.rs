//! The index's file: deleted, damaged, shared, another program's.

use super::*;

#[test]
fn an_index_deleted_cut_or_of_another_version_is_rebuilt_equal() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, full) = file_index(dir.path());
    let good = std::fs::read(&path).expect("reads");
    std::fs::remove_file(&path).expect("deletes");
    assert_eq!(rebuilt(&path), (Opened::Fresh, full.clone()));
    for len in [
        1,
        15,
        16,
        99,
        100,
        4096,
        good.len() / 2,
        good.len() - 1,
        good.len() - 4096,
    ] {
        std::fs::write(&path, &good[..len]).expect("writes");
        let (opened, dump) = rebuilt(&path);
        // SQLite takes less than a page for a new database.
        assert_ne!(opened, Opened::Existing, "{len}");
        assert_eq!(dump, full);
    }
    std::fs::write(&path, b"").expect("writes");
    assert_eq!(rebuilt(&path), (Opened::Fresh, full.clone()));
    std::fs::write(&path, vec![0x5a; 100_000]).expect("writes");
    assert!(matches!(rebuilt(&path), (Opened::Rebuilt { .. }, dump) if dump == full));
    let conn = rusqlite::Connection::open(&path).expect("opens");
    conn.pragma_update(None, "user_version", 99).expect("sets");
    drop(conn);
    let (opened, dump) = rebuilt(&path);
    assert!(
        matches!(&opened, Opened::Rebuilt { why } if why.contains("99")),
        "{opened:?}"
    );
    assert_eq!(dump, full);
}

#[test]
fn another_programs_database_is_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("other.db");
    let conn = rusqlite::Connection::open(&path).expect("opens");
    conn.execute_batch("CREATE TABLE precious (x); INSERT INTO precious VALUES (1)")
        .expect("fills");
    drop(conn);
    let before = std::fs::read(&path).expect("reads");
    let error = Index::open(&path).err().expect("refused").to_string();
    assert!(error.contains("another program"), "{error}");
    assert_eq!(std::fs::read(&path).expect("reads"), before);
}

#[test]
fn damage_met_in_use_is_told_and_the_next_open_rebuilds() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, full) = file_index(dir.path());
    let (index, _) = Index::open(&path).expect("opens");
    let text = index
        .line(Seq(7))
        .expect("reads")
        .expect("there")
        .replace("db1", "db2");
    index
        .lock()
        .conn
        .execute("UPDATE lines SET text = ?1 WHERE seq = 7", [text])
        .expect("tampers");
    let error = index.entry_by_seq(Seq(7)).expect_err("found");
    assert!(matches!(error, IndexError::Corrupt { .. }), "{error}");
    drop(index);
    let (opened, dump) = rebuilt(&path);
    assert!(matches!(opened, Opened::Rebuilt { .. }), "{opened:?}");
    assert_eq!(dump, full);
    assert_eq!(rebuilt(&path), (Opened::Existing, full));
}

#[test]
fn two_handles_on_one_file_apply_each_record_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("index.db");
    let all = steps((1..=300).map(seg).collect());
    std::thread::scope(|scope| {
        for size in [7, 11, 13] {
            let (path, all) = (&path, &all);
            scope.spawn(move || {
                let (index, _) = Index::open(path).expect("opens");
                begin(&index);
                while let Some(state) = index.state().expect("reads") {
                    let from = state.last_seq.0 as usize;
                    if from == all.len() {
                        break;
                    }
                    let to = (from + size).min(all.len());
                    index.apply(&all[from..to]).expect("applies");
                }
            });
        }
    });
    let (index, _) = Index::open(&path).expect("opens");
    assert_eq!(dump(&index), dump(&with((1..=300).map(seg).collect())));
}

#[test]
fn a_temporary_index_that_outgrows_its_cache_knows_what_one_in_memory_does() {
    let filled = |index: Index| {
        begin(&index);
        let all = steps((1..=2000).map(seg).collect());
        for some in all.chunks(100) {
            index.apply(some).expect("applies");
        }
        dump(&index)
    };
    let index = Index::temporary().expect("opens");
    // Ten pages, of some hundreds: what is more has to be written and read again.
    let small = index.lock().conn.pragma_update(None, "cache_size", 10);
    small.expect("sets");
    assert!(filled(index) == filled(Index::in_memory().expect("opens")));
}

/// What a chunk lists.
fn seqs(index: &Index, chunk: &ListingChunk) -> Result<Vec<u64>, IndexError> {
    let mut seqs = Vec::new();
    index.listed(chunk, |row| seqs.push(row.seq.0))?;
    Ok(seqs)
}

#[test]
fn while_an_index_is_built_anew_no_chunk_of_before_is_short() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, _) = file_index(dir.path());
    let (index, _) = Index::open(&path).expect("opens");
    let chunks = index.listing(T1).expect("reads");
    assert_eq!(seqs(&index, &chunks[1]).expect("reads"), [5, 6, 7, 8]);
    let before = index.making().expect("reads");
    // As another process does it when a lost record can be read again.
    let (other, _) = Index::open(&path).expect("opens");
    other.reset().expect("resets");
    let all = steps((1..=50).map(seg).collect());
    for some in [&all[..6], &all[6..]] {
        let error = seqs(&index, &chunks[1]).expect_err("built anew");
        assert!(matches!(error, IndexError::MadeAnew { .. }), "{error}");
        other.apply(some).expect("applies");
    }
    assert_ne!(index.making().expect("reads"), before);
    let chunks = index.listing(T1).expect("reads");
    assert_eq!(seqs(&index, &chunks[1]).expect("reads"), [5, 6, 7, 8]);
}

#[test]
fn an_index_whose_file_was_deleted_and_begun_anew_gives_what_it_had() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, _) = file_index(dir.path());
    let (index, _) = Index::open(&path).expect("opens");
    let chunks = index.listing(T1).expect("reads");
    // As `binlogfs index rebuild` does it beside a mount that has not been looked into.
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    let (other, opened) = Index::open(&path).expect("opens");
    assert_eq!(opened, Opened::Fresh);
    begin(&other);
    let all = steps((1..=6).map(seg).collect());
    other.apply(&all).expect("applies");
    assert_eq!(seqs(&index, &chunks[0]).expect("reads"), [1, 2, 3, 4]);
    assert_eq!(seqs(&index, &chunks[1]).expect("reads"), [5, 6, 7, 8]);
}

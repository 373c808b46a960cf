//! What is particular to a directory: its files, its faults, its two ways to write.

use super::*;
use crate::store::{Checksums, Outcome, SharedStore, conformance};
use std::cell::RefCell;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use tempfile::TempDir;

const BOTH: [TempFiles; 2] = [TempFiles::Anonymous, TempFiles::Named];

fn key(text: &str) -> ObjectKey {
    text.parse().expect("a key")
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn store(dir: &TempDir, temp_files: TempFiles) -> FileStore {
    let store = FileStore::open(dir.path()).expect("opened");
    store.with_temp_files(temp_files)
}

fn temps(dir: &Path) -> usize {
    std::fs::read_dir(dir.join(temp::TEMP_DIR)).map_or(0, Iterator::count)
}

async fn conforms(make: impl Fn(&TempDir) -> SharedStore) {
    let dirs = RefCell::new(Vec::new());
    conformance::run_all(|| {
        let dir = directory();
        let store = make(&dir);
        dirs.borrow_mut().push(dir);
        store
    })
    .await;
    for dir in dirs.take() {
        assert_eq!(temps(dir.path()), 0, "a temporary file was left");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_anonymous_temporaries_every_contract_holds() {
    conforms(|dir| Arc::new(store(dir, TempFiles::Anonymous))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_named_temporaries_every_contract_holds() {
    conforms(|dir| Arc::new(store(dir, TempFiles::Named))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_small_listing_pages_every_contract_of_listings_holds() {
    for page in [1, 2, 3, 7] {
        let dir = directory();
        let store = store(&dir, TempFiles::Anonymous).with_list_page_max(page);
        for text in ["e/a-1", "e/a/1", "e/a/2/3", "e/a0", "e/b", "f/g", "h"] {
            store.create(&key(text), Bytes::new()).await.expect("made");
        }
        for empty in ["e/a/empty", "e/a/2/x/y/z", "e/0", "e/00", "z"] {
            std::fs::create_dir_all(dir.path().join(empty)).expect("made");
        }
        std::fs::write(dir.path().join("e/a/.hidden"), "").expect("written");
        let (mut keys, mut after) = (Vec::new(), None);
        loop {
            let listing = store.list("", after.as_ref()).await.expect("listed");
            assert!(listing.objects.len() <= page);
            assert!(!listing.more || !listing.objects.is_empty());
            keys.extend(listing.objects.into_iter().map(|(key, _)| key.to_string()));
            after = keys.last().map(|text| key(text));
            if !listing.more {
                break;
            }
        }
        let all = ["e/a-1", "e/a/1", "e/a/2/3", "e/a0", "e/b", "f/g", "h"];
        assert_eq!(keys, all, "pages of {page}");
    }
}

#[tokio::test]
async fn objects_are_files_that_nobody_writes_and_others_do_not_read() {
    for temp_files in BOTH {
        let dir = directory();
        let store = store(&dir, temp_files);
        store
            .create(&key("ledger/1.json"), "{}".into())
            .await
            .expect("created");
        let meta = dir.path().join("ledger/1.json").metadata().expect("there");
        assert_eq!(meta.permissions().mode() & 0o337, 0, "{temp_files:?}");
        assert_eq!(meta.nlink(), 1);
        let meta = dir.path().join("ledger").metadata().expect("there");
        assert_eq!(meta.permissions().mode() & 0o007, 0);
    }
}

#[tokio::test]
async fn named_temporaries_of_dead_processes_go_with_their_key_or_at_the_next_first_write() {
    let dir = directory();
    let dead = |store: &FileStore, text: &str| {
        let (_, temp) = new_temp(&store.root, "create", &key(text)).expect("made");
        // A dead process unlocks its file and removes nothing.
        rustix::fs::flock(&temp.file, rustix::fs::FlockOperation::Unlock).expect("unlocked");
        std::mem::forget(temp);
    };
    let first = store(&dir, TempFiles::Named);
    dead(&first, "segments/a");
    dead(&first, "segments/a");
    dead(&first, "segments/b");
    assert_eq!(temps(dir.path()), 3);
    first.delete(&key("segments/a")).await.expect("deleted");
    assert_eq!(temps(dir.path()), 1);

    let mut alive = first.upload(&key("segments/c"), 1).await.expect("begun");
    alive.write("c".into()).await.expect("written");
    assert_eq!(temps(dir.path()), 2);
    let second = store(&dir, TempFiles::Named);
    second
        .create(&key("segments/d"), "d".into())
        .await
        .expect("created");
    assert_eq!(temps(dir.path()), 1, "only the living one stays");
    alive.commit(Checksums::of(b"c")).await.expect("committed");
    assert_eq!(temps(dir.path()), 0);
    let listing = store(&dir, TempFiles::Named).list("", None).await;
    assert_eq!(listing.expect("listed").objects.len(), 2);
}

#[tokio::test]
async fn an_upload_whose_temporary_was_deleted_fails_and_says_so() {
    let dir = directory();
    let store = store(&dir, TempFiles::Named);
    let mut upload = store.upload(&key("segments/a"), 1).await.expect("begun");
    upload.write("a".into()).await.expect("written");
    store.delete(&key("segments/a")).await.expect("deleted");
    let error = upload
        .commit(Checksums::of(b"a"))
        .await
        .expect_err("refused");
    assert!(error.to_string().contains("removed meanwhile"), "{error}");
    assert_eq!(error.outcome, Outcome::NoEffect);
}

#[test]
fn the_way_to_write_is_found_by_trying() {
    // Temporary directories are on a file system with O_TMPFILE wherever tests run; procfs has none.
    let dir = directory();
    let root = Root::open(dir.path().to_owned()).expect("opened");
    let fd = root.open_dir("").expect("opened");
    assert_eq!(TempFiles::probe(&fd), TempFiles::Anonymous);
    let root = Root::open("/proc".into()).expect("opened");
    let fd = root.open_dir("").expect("opened");
    assert_eq!(TempFiles::probe(&fd), TempFiles::Named);
}

#[test]
fn a_missing_directory_is_no_bucket_and_is_made_only_when_asked_for() {
    let dir = directory();
    let path = dir.path().join("a/b/c");
    let error = FileStore::open(&path).err().expect("refused");
    assert_eq!(error.kind, ErrorKind::NoSuchBucket);
    FileStore::create_dir_all(&path).expect("made");
    FileStore::create_dir_all(&path).expect("is there");
    let file = dir.path().join("file");
    std::fs::write(&file, "").expect("written");
    let error = FileStore::open(&file).err().expect("refused");
    assert_eq!(error.kind, ErrorKind::NoSuchBucket);
    let below = FileStore::create_dir_all(file.join("x"));
    assert!(below.is_err());
}

#[tokio::test]
async fn a_directory_that_vanishes_is_no_bucket_rather_than_an_empty_one() {
    let dir = directory();
    let store = store(&dir, TempFiles::Anonymous);
    dir.close().expect("removed");
    let list = store.list("ledger/", None).await.expect_err("gone");
    assert_eq!(list.kind, ErrorKind::NoSuchBucket);
    let get = store.get_all(&key("stream.json"), 10).await;
    assert_eq!(get.expect_err("gone").kind, ErrorKind::NoSuchBucket);
    for text in ["stream.json", "ledger/1"] {
        let create = store.create(&key(text), "{}".into()).await;
        let error = create.expect_err("gone");
        assert_eq!(error.kind, ErrorKind::NoSuchBucket, "{error}");
    }
}

#[tokio::test]
async fn symbolic_links_are_refused_aloud_and_odd_files_are_no_objects() {
    let (dir, outside) = (directory(), directory());
    std::fs::write(outside.path().join("secret"), "secret").expect("written");
    symlink(outside.path(), dir.path().join("ledger")).expect("linked");
    std::fs::create_dir(dir.path().join("segments")).expect("made");
    let linked = dir.path().join("segments/linked");
    symlink(outside.path().join("secret"), &linked).expect("linked");
    symlink(outside.path(), dir.path().join("segments/dir")).expect("linked");
    let fifo = dir.path().join("segments/fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR).expect("made");
    let store = store(&dir, TempFiles::Anonymous);

    for text in ["ledger/secret", "segments/linked", "segments/dir/secret"] {
        let error = store.get_all(&key(text), 10).await.expect_err("refused");
        assert_eq!(error.kind, ErrorKind::Denied, "{error}");
    }
    let error = store.list("ledger/", None).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.to_string().contains("symbolic link"), "{error}");
    let create = store.create(&key("ledger/x"), "x".into()).await;
    assert_eq!(create.expect_err("refused").kind, ErrorKind::Denied);
    assert!(!outside.path().join("x").exists());
    let delete = store.delete(&key("ledger/secret")).await;
    assert_eq!(delete.expect_err("refused").kind, ErrorKind::Denied);
    assert!(outside.path().join("secret").exists());

    let fifo = store.get_all(&key("segments/fifo"), 10).await;
    assert_eq!(fifo.expect_err("refused").kind, ErrorKind::NotFound);
    let listing = store.list("segments/", None).await.expect("listed");
    assert!(listing.objects.is_empty(), "{listing:?}");
}

#[tokio::test]
async fn a_key_below_an_object_cannot_be_created() {
    let dir = directory();
    let store = store(&dir, TempFiles::Anonymous);
    store.create(&key("a"), "a".into()).await.expect("created");
    let below = store.create(&key("a/b"), "b".into()).await;
    assert_eq!(below.expect_err("refused").kind, ErrorKind::Permanent);
    store
        .create(&key("c/d"), "d".into())
        .await
        .expect("created");
    let above = store.create(&key("c"), "c".into()).await;
    assert_eq!(above.expect_err("refused").kind, ErrorKind::AlreadyExists);
}

#[tokio::test]
async fn a_full_disk_fails_the_upload_again_and_again_and_leaves_nothing() {
    // Without a small file system at hand: /dev/full, which every write finds full.
    let dir = directory();
    let store = store(&dir, TempFiles::Anonymous);
    let mut upload = FileUpload::begin(store.root.clone(), key("segments/a"))
        .await
        .expect("begun");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    upload.replace_file(full.expect("opened"));
    let piece = Bytes::from(vec![1; 1 << 20]);
    let mut kinds = Vec::new();
    for _ in 0..4 {
        if let Err(error) = upload.write(piece.clone()).await {
            kinds.push((error.kind, error.to_string()));
        }
    }
    let commit = Box::new(upload).commit(Checksums::of(b"")).await;
    let error = commit.expect_err("refused");
    kinds.push((error.kind, error.to_string()));
    assert!(kinds.len() >= 2, "{kinds:?}");
    for (kind, text) in &kinds {
        assert_eq!(*kind, ErrorKind::NoSpace);
        assert_eq!(*text, kinds[0].1);
        assert!(text.contains("free some"), "{text}");
    }
    let listing = store.list("", None).await.expect("listed");
    assert!(listing.objects.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_open_upload_does_not_hold_up_a_paused_clock() {
    let dir = directory();
    let store = store(&dir, TempFiles::Anonymous);
    let upload = store.upload(&key("a"), 1).await.expect("begun");
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
    upload.abort().await.expect("aborted");
}

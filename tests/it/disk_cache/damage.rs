//! The damage matrix with warm caches: damaged files, damaged objects, and both; with and without memory; through the kernel
//! with its page cache dropped. What comes is the right bytes or an error, and an error only if nothing sound was left.

use super::mounted::Mounted;
use super::{AMPLE, Host, cache_in, eventually, files};
use binlogfs::cache::disk::StreamDisk;
use binlogfs::model::ObjectKey;
use binlogfs::store::Store as _;
use std::path::{Path, PathBuf};

/// What is done to bytes; the second are other sound ones of the same kind. `None` removes them.
type Damage = fn(&[u8], &[u8]) -> Option<Vec<u8>>;

fn flipped(bytes: &[u8], at: usize) -> Option<Vec<u8>> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 0x10;
    Some(bytes)
}

const DAMAGES: [(&str, Damage); 10] = [
    ("first byte flipped", |bytes, _| flipped(bytes, 0)),
    ("a byte in the middle flipped", |bytes, _| {
        flipped(bytes, bytes.len() / 2)
    }),
    ("last byte flipped", |bytes, _| {
        flipped(bytes, bytes.len() - 1)
    }),
    ("cut in half", |bytes, _| {
        Some(bytes[..bytes.len() / 2].to_vec())
    }),
    ("one byte short", |bytes, _| {
        Some(bytes[..bytes.len() - 1].to_vec())
    }),
    ("emptied", |_, _| Some(Vec::new())),
    ("zeroed, as after a power cut", |bytes, _| {
        Some(vec![0; bytes.len()])
    }),
    ("swapped", |_, other| Some(other.to_vec())),
    ("swapped, with its own length", |bytes, other| {
        let mut other = other.to_vec();
        other.resize(bytes.len(), 0);
        Some(other)
    }),
    ("removed", |_, _| None),
];

/// Where damage is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    Files,
    Object,
    Both,
}

fn put(path: &Path, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => std::fs::write(path, bytes).expect("writable"),
        None => std::fs::remove_file(path).expect("there"),
    }
}

/// A host with all of two segments on disk; the first is the victim.
struct Warm {
    host: Host,
    disk: StreamDisk,
    /// The victim's files and what they hold.
    own: Vec<(PathBuf, Vec<u8>)>,
    object: Vec<u8>,
    other_object: Vec<u8>,
}

impl Warm {
    async fn new(encrypted: bool) -> Warm {
        // Frames that have other age chunks than the third after them: swapped, they are wrong.
        let host = Host::with_frames(encrypted, 2, 6, 64 << 10).await;
        let disk = host.cache(AMPLE);
        host.warm(&disk).await;
        let object = |n: usize| {
            let key: ObjectKey = host.segments[n].key().clone();
            let store = host.archive.store.clone();
            async move { store.get_all(&key, 1 << 20).await.expect("there").to_vec() }
        };
        let (object, other_object) = (object(0).await, object(1).await);
        let mut own = Vec::new();
        for path in files(host.dir()) {
            let bytes = std::fs::read(&path).expect("readable");
            if object.windows(bytes.len()).any(|part| part == bytes) {
                own.push((path, bytes));
            }
        }
        assert_eq!(own.len(), 6);
        Warm {
            host,
            disk,
            own,
            object,
            other_object,
        }
    }

    /// Puts everything right.
    async fn repair(&self) {
        let key = self.host.segments[0].key();
        self.host.archive.store.tamper(key, self.object.clone());
        // What the last cell had kept is written by now, or it would be over what is put here.
        self.host.flush(&self.disk).await;
        for (path, bytes) in &self.own {
            std::fs::create_dir_all(path.parent().expect("a shard")).expect("writable");
            put(path, Some(bytes));
        }
    }

    /// Damages the object in the store.
    async fn damage_object(&self, damage: Damage) {
        let key = self.host.segments[0].key();
        match damage(&self.object, &self.other_object) {
            None => self.host.archive.store.delete(key).await.expect("deletes"),
            Some(bytes) => self.host.archive.store.tamper(key, bytes),
        }
    }

    fn damage_files(&self, damage: Damage) {
        for (n, (path, bytes)) in self.own.iter().enumerate() {
            let other = &self.own[(n + 3) % self.own.len()].1;
            put(path, damage(bytes, other).as_deref());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_the_mount_come_right_bytes_or_an_error_and_an_error_only_if_nothing_sound_is_left()
{
    for encrypted in [false, true] {
        let warm = Warm::new(encrypted).await;
        let host = &warm.host;
        let without = Mounted::new(host, host.reader(&warm.disk)).await;
        let with = Mounted::new(host, host.reader_with(&warm.disk, 1 << 20)).await;
        let (mut right, mut failed) = (0, 0);
        for (what, damage) in DAMAGES {
            for place in [Where::Files, Where::Object, Where::Both] {
                warm.repair().await;
                // Memory and kernel are warm too.
                for mounted in [&with, &without] {
                    assert!(mounted.read(1).expect("reads") == host.truth[0]);
                }
                let before = warm.disk.figures().counts;
                if place != Where::Object {
                    warm.damage_files(damage);
                }
                if place != Where::Files {
                    warm.damage_object(damage).await;
                }
                let cell = format!("{what}, {place:?}, encrypted: {encrypted}");
                assert!(with.read(1).expect(&cell) == host.truth[0], "{cell}");
                match without.read(1) {
                    Ok(bytes) => {
                        assert!(bytes == host.truth[0], "{cell}: wrong bytes");
                        right += 1;
                    }
                    Err(error) => {
                        let errno = error.raw_os_error().expect("the kernel's");
                        assert!(
                            [libc::EIO, libc::ESTALE].contains(&errno),
                            "{cell}: {error}"
                        );
                        assert_eq!(place, Where::Both, "{cell}: {error}");
                        failed += 1;
                    }
                }
                let counts = warm.disk.figures().counts.since(&before);
                assert!(
                    counts.hits > 0 || place != Where::Object,
                    "{cell}: {counts:?}"
                );
                assert_eq!(
                    counts.faults > 0,
                    place != Where::Object && what != "removed",
                    "{cell}: {counts:?}"
                );
                assert!(without.read(2).expect(&cell) == host.truth[1], "{cell}");
            }
        }
        // Damage of the tail, or of a header that is remembered, harms no frame; every other of `Both` does.
        let expected = if encrypted { (21, 9) } else { (22, 8) };
        assert_eq!((right, failed), expected, "encrypted: {encrypted}");
        for mounted in [with, without] {
            mounted.handle.unmount().await.expect("unmounts");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_byte_flipped_anywhere_in_a_file_is_a_fault_and_the_store_answers() {
    for encrypted in [false, true] {
        let host = Host::new(encrypted, 1, 1).await;
        let disk = host.cache(AMPLE);
        host.warm(&disk).await;
        let reader = host.reader(&disk);
        let [path] = &files(host.dir())[..] else {
            panic!("one frame is one file");
        };
        let good = std::fs::read(path).expect("readable");
        // Each of what is at either end: headers, checksums, tags.
        let ends = |at: &usize| *at < 40 || *at + 40 >= good.len() || at.is_multiple_of(13);
        for (n, at) in (0..good.len()).filter(ends).enumerate() {
            std::fs::write(path, flipped(&good, at).expect("bytes")).expect("writable");
            host.read_all(&reader).await;
            let faults = disk.figures().counts.faults;
            assert_eq!(faults, n as u64 + 1, "byte {at}");
            let kept = n as u64 + 2;
            eventually("it is kept again", || disk.figures().counts.kept == kept).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_stands_in_the_place_of_a_file_is_a_miss() {
    let host = Host::new(false, 1, 3).await;
    let disk = host.cache(AMPLE);
    host.warm(&disk).await;
    let paths = files(host.dir());
    std::fs::remove_file(&paths[0]).expect("there");
    std::fs::create_dir(&paths[0]).expect("writable");
    std::fs::write(paths[0].join("x"), b"x").expect("writable");
    std::fs::remove_file(&paths[1]).expect("there");
    std::os::unix::fs::symlink("/dev/zero", &paths[1]).expect("writable");
    std::fs::remove_file(&paths[2]).expect("there");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let pipe = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &paths[2], pipe, mode, 0).expect("made");
    host.store.reset();
    host.read_all(&host.reader(&disk)).await;
    assert!(host.gets() > 0);
    eventually("what can be is a file again", || {
        paths[1..]
            .iter()
            .all(|path| path.metadata().is_ok_and(|meta| meta.is_file()))
    })
    .await;
    assert!(disk.figures().not_keeping.is_none());
    // A file in the place of a directory.
    let elsewhere = tempfile::NamedTempFile::new().expect("a file");
    let disk = cache_in(elsewhere.path(), AMPLE);
    host.read_all(&host.reader(&disk)).await;
    eventually("it is told", || disk.figures().not_keeping.is_some()).await;
}

//! A file that the server may still write: how far it is whole.

use super::file::modified;
use super::{SourceError, SourceFile};
use crate::binlog::{Damage, Scanner, Told};
use crate::model::Micros;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Bytes scanned at a time.
const SCAN_BYTES: usize = 1 << 20;

/// Which file it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
    /// When it was made, where the file system tells that: the number of a file that is removed is given to the next one, which after
    /// a RESET may have its name, too.
    made_at: Option<SystemTime>,
}

impl FileId {
    /// The file that `path` names now.
    ///
    /// # Errors
    /// [`SourceError::Io`].
    pub fn of(path: &Path) -> Result<FileId, SourceError> {
        let meta = std::fs::metadata(path).map_err(|e| SourceError::io("stat", path, e))?;
        Ok(FileId::from(&meta))
    }

    /// Which file `file` is.
    pub fn of_open(file: &SourceFile) -> FileId {
        FileId::from(file.at_open())
    }
}

impl From<&std::fs::Metadata> for FileId {
    fn from(meta: &std::fs::Metadata) -> FileId {
        FileId {
            device: meta.dev(),
            inode: meta.ino(),
            made_at: meta.created().ok(),
        }
    }
}

/// What a file that the server has closed came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its length in bytes.
    pub size: u64,
    /// What is wrong with it.
    pub damage: Option<Damage>,
    /// What its events tell.
    pub told: Told,
    /// Time of its last event.
    pub last_time: Option<Micros>,
}

/// An open file that may grow, scanned as it does. Every event up to [`LiveFile::whole_end`] has passed the scanner's checks.
///
/// The server only appends, but for two things: it clears the IN_USE flag when it closes the file, and it may cut off a
/// torn transaction in crash recovery, which never was before `whole_end`.
pub struct LiveFile {
    file: File,
    path: PathBuf,
    id: FileId,
    scan: Mutex<Scan>,
    whole_end: AtomicU64,
    scanned: AtomicU64,
}

enum Scan {
    Going { scanner: Box<Scanner>, read: u64 },
    Ended(Closed),
}

impl Scan {
    fn begin() -> Scan {
        Scan::Going {
            scanner: Box::new(Scanner::new(())),
            read: 0,
        }
    }

    fn told(&self) -> Told {
        match self {
            Scan::Going { scanner, .. } => scanner.told(),
            Scan::Ended(closed) => closed.told.clone(),
        }
    }
}

impl LiveFile {
    /// Opens `path`. Nothing is scanned yet.
    ///
    /// # Errors
    /// [`SourceError::Io`].
    pub fn open(path: &Path) -> Result<LiveFile, SourceError> {
        let file = File::open(path).map_err(|e| SourceError::io("open", path, e))?;
        let meta = file
            .metadata()
            .map_err(|e| SourceError::io("stat", path, e))?;
        Ok(LiveFile {
            file,
            path: path.to_owned(),
            id: FileId::from(&meta),
            scan: Mutex::new(Scan::begin()),
            whole_end: AtomicU64::new(0),
            scanned: AtomicU64::new(0),
        })
    }

    /// Which file it is.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Offset after the last whole transaction that was scanned (after the header events, if there is none yet).
    pub fn whole_end(&self) -> u64 {
        self.whole_end.load(Ordering::Acquire)
    }

    /// Whether there is something to scan. Costs a system call, and no reading.
    pub fn has_grown(&self) -> bool {
        let len = self.file.metadata().map_or(0, |meta| meta.len());
        len != self.scanned.load(Ordering::Acquire)
    }

    /// When it was last written, if its disk tells. Costs a system call.
    pub fn modified_at(&self) -> Option<Micros> {
        self.file.metadata().ok().map(|meta| modified(&meta))
    }

    /// Scans what was added. Returns [`LiveFile::whole_end`]. Blocks.
    ///
    /// # Errors
    /// When it cannot be read, or is no binlog that can be shown.
    pub fn catch_up(&self) -> Result<u64, SourceError> {
        let mut scan = self.lock();
        self.advance(&mut scan)?;
        Ok(self.whole_end())
    }

    /// What the events tell that were scanned: of no transaction behind [`LiveFile::whole_end`]. Waits for a scan that goes on.
    pub fn told(&self) -> Told {
        self.lock().told()
    }

    /// Scans the rest of a file that the server has closed. Blocks.
    ///
    /// # Errors
    /// As [`LiveFile::catch_up`].
    pub fn close(&self) -> Result<Closed, SourceError> {
        let mut scan = self.lock();
        self.advance(&mut scan)?;
        if let Scan::Ended(closed) = &*scan {
            return Ok(closed.clone());
        }
        let Scan::Going { scanner, .. } = std::mem::replace(&mut *scan, Scan::begin()) else {
            unreachable!("it had not ended");
        };
        let summary = scanner.finish().0.map_err(|source| self.refused(source))?;
        let closed = Closed {
            size: summary.size,
            damage: summary.damage,
            told: Told {
                previous_gtids: summary.previous_gtids,
                gtids: summary.gtids,
                first_time: summary.first_time,
            },
            last_time: summary.last_time,
        };
        *scan = Scan::Ended(closed.clone());
        Ok(closed)
    }

    /// Reads at `offset` until `buffer` is full or the file ends.
    ///
    /// # Errors
    /// As read(2).
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self
                .file
                .read_at(&mut buffer[filled..], offset + filled as u64)
            {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn lock(&self) -> MutexGuard<'_, Scan> {
        // A scanner that panicked is in an unknown state, and what it found is not used: see `advance`.
        self.scan.lock().unwrap_or_else(|poisoned| {
            self.scan.clear_poison();
            let mut scan = PoisonError::into_inner(poisoned);
            *scan = Scan::begin();
            scan
        })
    }

    fn advance(&self, scan: &mut Scan) -> Result<(), SourceError> {
        let io = |verb| move |error| SourceError::io(verb, &self.path, error);
        let len = self.file.metadata().map_err(io("stat"))?.len();
        if matches!(scan, Scan::Going { read, .. } if *read > len) {
            // Crash recovery cut off what was never whole.
            *scan = Scan::begin();
        }
        let Scan::Going { scanner, read } = scan else {
            return Ok(());
        };
        let mut buffer =
            vec![0; SCAN_BYTES.min(usize::try_from(len - *read).unwrap_or(SCAN_BYTES))];
        while *read < len {
            let want = buffer
                .len()
                .min(usize::try_from(len - *read).unwrap_or(SCAN_BYTES));
            let got = self
                .read_at(*read, &mut buffer[..want])
                .map_err(io("read"))?;
            if got == 0 {
                break;
            }
            scanner
                .push(&buffer[..got])
                .map_err(|source| self.refused(source))?;
            *read += got as u64;
        }
        self.whole_end
            .store(scanner.last_transaction_end(), Ordering::Release);
        self.scanned.store(*read, Ordering::Release);
        Ok(())
    }

    fn refused(&self, source: crate::binlog::Refusal) -> SourceError {
        SourceError::Refused {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::testing::{BinlogBuilder, mysql_gtid};
    use std::io::Write as _;

    /// A file of three transactions with where each ends, the first being the end of the header events.
    fn binlog() -> (Vec<u8>, Vec<u64>) {
        let mut ends = Vec::new();
        let mut bytes = Vec::new();
        for transactions in 0..=3 {
            let mut builder = BinlogBuilder::mysql();
            for n in 1..=transactions {
                builder.transaction(&mysql_gtid(1, n), None, 300);
            }
            bytes = builder.finish();
            ends.push(bytes.len() as u64);
        }
        (bytes, ends)
    }

    #[test]
    fn a_file_with_the_name_and_the_inode_of_one_that_was_removed_is_another() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("binlog.000001");
        let make = || {
            std::fs::write(&path, "a binlog").expect("writes");
            let meta = std::fs::metadata(&path).expect("stats");
            (meta.ino(), meta.created().is_ok())
        };
        let (inode, tells_when) = make();
        let first = FileId::of(&path).expect("there");
        assert_eq!(FileId::of(&path).expect("there"), first);
        let open = SourceFile::open(&path).expect("opens");
        assert_eq!(FileId::of_open(&open), first);
        drop(open);
        // Not every file system gives a number again, or tells when a file was made.
        let tries = if tells_when { 50 } else { 0 };
        for _ in 0..tries {
            std::fs::remove_file(&path).expect("removes");
            // Longer than a tick of the clock that files are stamped with.
            std::thread::sleep(std::time::Duration::from_millis(20));
            let (again, _) = make();
            assert_ne!(FileId::of(&path).expect("there"), first);
            if again == inode {
                return;
            }
        }
    }

    #[test]
    fn at_every_length_it_ends_after_a_whole_transaction() {
        let (bytes, ends) = binlog();
        let mut named = tempfile::NamedTempFile::new().expect("a file");
        let live = LiveFile::open(named.path()).expect("opens");
        for len in 0..bytes.len() {
            named.write_all(&bytes[len..=len]).expect("written");
            assert!(live.has_grown());
            let whole = live.catch_up().expect("scans");
            let now = len as u64 + 1;
            let expected = ends.iter().rev().find(|end| **end <= now);
            match expected {
                Some(end) => assert_eq!(whole, *end, "at {now}"),
                None => assert!(whole <= now, "inside the head"),
            }
            assert!(!live.has_grown());
        }
        let closed = live.close().expect("scans");
        assert_eq!(closed.size, bytes.len() as u64);
        assert_eq!(closed.damage, None);
    }

    #[test]
    fn what_crash_recovery_cuts_off_was_never_shown() {
        let (bytes, ends) = binlog();
        let mut named = tempfile::NamedTempFile::new().expect("a file");
        let live = LiveFile::open(named.path()).expect("opens");
        named.write_all(&bytes[..bytes.len() - 1]).expect("written");
        assert_eq!(live.catch_up().expect("scans"), ends[2]);
        named.as_file().set_len(ends[2]).expect("cut");
        assert!(live.has_grown());
        assert_eq!(live.catch_up().expect("scans"), ends[2]);
        let mut buffer = vec![0; bytes.len()];
        assert_eq!(live.read_at(0, &mut buffer).expect("reads") as u64, ends[2]);
    }

    #[test]
    fn a_damaged_event_ends_what_is_whole_and_is_told_when_the_file_is_closed() {
        let (mut bytes, ends) = binlog();
        let at = usize::try_from(ends[2]).expect("small") + 100;
        bytes[at] ^= 1;
        let mut named = tempfile::NamedTempFile::new().expect("a file");
        named.write_all(&bytes).expect("written");
        let live = LiveFile::open(named.path()).expect("opens");
        assert_eq!(live.catch_up().expect("scans"), ends[2]);
        let damage = live.close().expect("scans").damage.expect("damaged");
        assert!(damage.first_bad_position >= ends[2]);
    }
}

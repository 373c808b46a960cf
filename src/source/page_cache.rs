//! Reading a file and leaving the page cache as it was: what was in it stays, what reading brought in goes.
//!
//! Which pages are in the cache is asked before each read (mincore(2)); those that were not are dropped after it
//! (`POSIX_FADV_DONTNEED`). The kernel's read-ahead is switched off meanwhile (`POSIX_FADV_RANDOM`): it would put pages there
//! that then look as if they had been there before. `RWF_NOWAIT` would be the simpler question, but it starts read-ahead.
//!
//! Linux tells only who could write to the file, or owns it; to others every page seems to be there (since 5.2), and nothing
//! is dropped.

use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::num::NonZeroU64;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;

/// Bytes looked at and read at a time: each such read is one request to the disk.
const PIECE_BYTES: usize = 1 << 20;

/// A file that is read from front to back.
#[derive(Debug)]
pub struct ConsiderateReader<'a> {
    file: &'a File,
    page_bytes: u64,
}

impl<'a> ConsiderateReader<'a> {
    /// Begins to read `file`.
    pub fn new(file: &'a File) -> ConsiderateReader<'a> {
        // Advice that is not taken costs nothing.
        let _ = fadvise(file, 0, None, Advice::Random);
        ConsiderateReader {
            file,
            page_bytes: page_bytes(),
        }
    }

    /// Reads at `offset` as much as one call gives.
    ///
    /// # Errors
    /// As read(2).
    pub fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> std::io::Result<usize> {
        let piece = buffer.len().min(PIECE_BYTES);
        let first_page = offset - offset % self.page_bytes;
        let before = resident(self.file, first_page, offset + piece as u64 - first_page);
        let n = self.file.read_at(&mut buffer[..piece], offset)?;
        if let Some(before) = before {
            self.drop_what_came(first_page, &before);
        }
        Ok(n)
    }

    /// Drops the pages that were not there, run by run.
    fn drop_what_came(&self, first_page: u64, before: &[bool]) {
        let mut n = 0;
        while n < before.len() {
            let was_there = before[n];
            let run = before[n..].iter().take_while(|b| **b == was_there).count();
            if !was_there {
                let start = first_page + n as u64 * self.page_bytes;
                let length = NonZeroU64::new(run as u64 * self.page_bytes);
                let _ = fadvise(self.file, start, length, Advice::DontNeed);
            }
            n += run;
        }
    }
}

impl Drop for ConsiderateReader<'_> {
    fn drop(&mut self) {
        let _ = fadvise(self.file, 0, None, Advice::Normal);
    }
}

/// The size of a page, in bytes.
#[expect(
    unsafe_code,
    reason = "sysconf(3) is declared unsafe; it reads a constant"
)]
fn page_bytes() -> u64 {
    // SAFETY: no memory is passed, and the value never changes.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096).max(1)
}

/// Which of the pages of `length` bytes from the page border `start` are in the page cache. `None` where that cannot be told.
#[expect(
    unsafe_code,
    reason = "mincore(2) asks about a mapping, and there is no other way to ask before Linux 6.5"
)]
fn resident(file: &File, start: u64, length: u64) -> Option<Vec<bool>> {
    let (length, start) = (usize::try_from(length).ok()?, i64::try_from(start).ok()?);
    let mut pages = vec![0u8; length.div_ceil(usize::try_from(page_bytes()).ok()?)];
    // SAFETY: a new mapping at an address of the kernel's choice, without any access: it is never read through, so that a file
    // that shrinks cannot hurt. `pages` has a byte for each of its pages. It is unmapped before this returns.
    unsafe {
        let address = libc::mmap(
            std::ptr::null_mut(),
            length,
            libc::PROT_NONE,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            start,
        );
        if address == libc::MAP_FAILED {
            return None;
        }
        let told = libc::mincore(address, length, pages.as_mut_ptr());
        libc::munmap(address, length);
        (told == 0).then(|| pages.iter().map(|page| page & 1 == 1).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// How many pages of a file are in the page cache (fincore(1) of util-linux).
    fn cached_pages(path: &std::path::Path) -> Option<u64> {
        let told = std::process::Command::new("fincore")
            .args(["--noheadings", "--output", "PAGES"])
            .arg(path)
            .output()
            .ok()?;
        String::from_utf8(told.stdout).ok()?.trim().parse().ok()
    }

    #[test]
    fn the_cache_is_left_as_it_was_found() {
        let bytes: Vec<u8> = (0..4 << 20).map(|n| (n / 4096) as u8).collect();
        // Not in the directory for temporary files: that may be in memory.
        let mut named =
            tempfile::NamedTempFile::new_in(env!("CARGO_MANIFEST_DIR")).expect("a file");
        named.write_all(&bytes).expect("written");
        let file = named.as_file();
        file.sync_all().expect("synchronised");
        fadvise(file, 0, None, Advice::DontNeed).expect("advised");
        if cached_pages(named.path()) != Some(0) {
            eprintln!(
                "NOT SHOWN HERE: this file system keeps everything in memory, or there is no fincore"
            );
            return;
        }
        fadvise(file, 0, None, Advice::Random).expect("advised");
        let mut warm = vec![0; 64 * 4096];
        file.read_exact_at(&mut warm, 2 << 20).expect("read");
        assert_eq!(cached_pages(named.path()), Some(64));
        let mut read = Vec::new();
        let mut reader = ConsiderateReader::new(file);
        let mut buffer = vec![0; 300_000];
        loop {
            match reader
                .read_at(read.len() as u64, &mut buffer)
                .expect("read")
            {
                0 => break,
                n => read.extend_from_slice(&buffer[..n]),
            }
        }
        drop(reader);
        assert!(read == bytes);
        assert_eq!(cached_pages(named.path()), Some(64));
    }
}

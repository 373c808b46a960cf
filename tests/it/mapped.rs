//! Files that are mapped (mmap(2)): that makes pages in the kernel's cache also of a file that reading passes it by.

use crate::fixture::{Archive, ArchiveSource, Segment, content, mount_options};
use crate::tools::eventually_async as eventually;
use binlogfs::cache::{CacheOptions, SegmentReader};
use binlogfs::fs::{MountHandle, mount};
use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Some pages, the last one not full.
const SIZE: usize = 30_000;

/// The bytes of a file, mapped.
struct Mapping {
    address: *mut libc::c_void,
    len: usize,
}

impl Mapping {
    #[expect(unsafe_code, reason = "no safe wrapper maps a file")]
    fn of(file: &File, len: usize) -> Mapping {
        // SAFETY: a new mapping at an address of the kernel's choice, that nothing writes to.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.as_raw_fd(),
                0,
            )
        };
        let error = std::io::Error::last_os_error();
        assert!(address != libc::MAP_FAILED, "{error}");
        Mapping { address, len }
    }

    #[expect(unsafe_code, reason = "what is mapped is read through a pointer")]
    fn bytes(&self) -> Vec<u8> {
        // SAFETY: all of it is mapped, as long as this lives.
        unsafe { std::slice::from_raw_parts(self.address.cast::<u8>(), self.len) }.to_vec()
    }
}

impl Drop for Mapping {
    #[expect(unsafe_code, reason = "no safe wrapper maps a file")]
    fn drop(&mut self) {
        // SAFETY: nobody has a reference into it.
        unsafe { libc::munmap(self.address, self.len) };
    }
}

async fn mounted(archive: &Arc<Archive>, dir: &Path) -> MountHandle {
    let options = mount_options(dir, Duration::from_millis(50));
    let (store, keys) = (archive.shared(), archive.identities());
    let reader = SegmentReader::new(store, keys, None, CacheOptions::default());
    let source = Arc::new(ArchiveSource(archive.clone()));
    mount(source, Arc::new(reader), options)
        .await
        .expect("mounts: this test needs root and /dev/fuse")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_mapped_of_a_damaged_segment_is_not_what_a_better_copy_is_read_as() {
    let archive = Archive::new(true);
    let (damaged, better) = (content(1, SIZE), content(2, SIZE));
    let mut segment = Segment::new(1, damaged.clone());
    segment.first_bad_position = Some(10_001);
    let entry = archive.add(&segment).await;
    let dir = tempfile::tempdir().expect("a directory");
    let handle = mounted(&archive, dir.path()).await;
    let raw = dir.path().join(".raw/binlog.000001");
    let file = File::open(&raw).expect("opens");
    let mapping = Mapping::of(&file, SIZE);
    assert!(mapping.bytes() == damaged);
    archive
        .supersede(&entry, &Segment::new(1, better.clone()))
        .await;
    let damaged_ones = dir.path().join(".raw");
    eventually("the better copy is seen", || {
        let mut listed = std::fs::read_dir(&damaged_ones).expect("lists");
        listed.next().is_none()
    })
    .await;
    let is_better = || std::fs::read(&raw).expect("reads") == better;
    for _ in 0..3 {
        assert!(is_better(), "while the damaged one is mapped");
        // Its pages may have been dropped: they are made again.
        mapping.bytes();
    }
    drop((mapping, file));
    for _ in 0..3 {
        assert!(is_better(), "when it is not mapped any more");
    }
    // Of the better copy, pages are right.
    let file = File::open(&raw).expect("opens");
    assert!(Mapping::of(&file, SIZE).bytes() == better);
    assert!(is_better());
    drop(file);
    handle.unmount().await.expect("unmounts");
}

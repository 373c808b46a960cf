//! A mount over a disk cache, read through the kernel.

use super::Host;
use crate::fixture::{ArchiveSource, mount_options};
use binlogfs::cache::SegmentReader;
use binlogfs::fs::{MountHandle, mount};
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

/// A mount of a host's archive.
pub struct Mounted {
    pub handle: MountHandle,
    pub dir: tempfile::TempDir,
}

impl Mounted {
    pub async fn new(host: &Host, reader: SegmentReader) -> Mounted {
        let dir = tempfile::tempdir().expect("a directory");
        let options = mount_options(dir.path(), Duration::from_secs(60));
        let source = Arc::new(ArchiveSource(Arc::clone(&host.archive)));
        let handle = mount(source, Arc::new(reader), options)
            .await
            .expect("mounts: these tests need root and /dev/fuse");
        Mounted { handle, dir }
    }

    /// The file, read through the kernel, which has none of its pages.
    pub fn read(&self, number: usize) -> std::io::Result<Vec<u8>> {
        let path = self.dir.path().join(format!("binlog.{number:06}"));
        let mut file = File::open(path)?;
        fadvise(&file, 0, None, Advice::DontNeed).expect("advised");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// What it says of itself.
    pub fn status(&self) -> serde_json::Value {
        let text = std::fs::read(self.dir.path().join(".status.json")).expect("reads");
        serde_json::from_slice(&text).expect("JSON")
    }
}

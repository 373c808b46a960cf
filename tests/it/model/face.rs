//! What is compared with the model: the mount through the kernel, and the view alone.

use super::{DEADLINE, FRAME_BYTES, Weather};
use crate::fixture::Archive;
use crate::random::Random;
use binlogfs::cache::{CacheOptions, SegmentReader};
use binlogfs::fs::view::View;
use binlogfs::fs::{
    History, HistorySource as _, MountHandle, MountOptions, Options, Ownership, Refreshed,
    StreamSource, mount,
};
use binlogfs::index::Index;
use binlogfs::stream::Stream;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;

/// What is compared with the model.
pub trait Face: Sync {
    fn names(&self, random: &mut Random) -> Vec<String>;
    fn size(&self, name: &str) -> Result<u64, i32>;
    fn open(&self, name: &str) -> Result<u64, i32>;
    fn read(&self, handle: u64, offset: u64, len: usize) -> Result<Vec<u8>, i32>;
    fn close(&self, handle: u64);
    /// Drops what is cached of an open file above the view.
    fn forget(&self, handle: u64);
    /// Sees what is new, sooner or later.
    fn look_again(&self);
}

/// What a face is made of.
pub struct Parts {
    pub source: Arc<StreamSource>,
    pub reader: Arc<SegmentReader>,
}

pub async fn parts(archive: &Archive, weather: &Weather, index: &std::path::Path) -> Parts {
    let (index, _) = Index::open(index).expect("opens");
    let index = Arc::new(index);
    let stream = Stream::open(archive.shared(), Arc::clone(&index)).await;
    let options = CacheOptions {
        // Half of it is for frames that are kept.
        memory_bytes: 2 * FRAME_BYTES,
        deadline: DEADLINE,
        ..CacheOptions::default()
    };
    let store = weather.store(archive);
    let tails = Some(index as Arc<_>);
    Parts {
        source: Arc::new(StreamSource::new(Arc::new(stream.expect("a stream")))),
        reader: Arc::new(SegmentReader::new(
            store,
            archive.identities(),
            tails,
            options,
        )),
    }
}

pub const OWNERSHIP: Ownership = Ownership {
    uid: 0,
    gid: 0,
    mode: 0o440,
};

/// Through the kernel.
pub struct Kernel {
    pub runtime: Arc<Runtime>,
    pub handle: Option<MountHandle>,
    pub dir: tempfile::TempDir,
    pub files: Mutex<HashMap<u64, Arc<File>>>,
}

impl Kernel {
    pub fn new(runtime: &Arc<Runtime>, parts: Parts) -> Kernel {
        let dir = tempfile::tempdir().expect("a directory");
        let options = Options {
            mount: MountOptions {
                target: dir.path().to_owned(),
                source: "memory://model".to_owned(),
                allow_other: false,
                noexec: false,
            },
            ownership: OWNERSHIP,
            refresh: Duration::from_millis(20),
        };
        let mounted = runtime.block_on(mount(parts.source, parts.reader, options));
        Kernel {
            runtime: Arc::clone(runtime),
            handle: Some(mounted.expect("mounts: these tests need root and /dev/fuse")),
            dir,
            files: Mutex::default(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn file(&self, handle: u64) -> Arc<File> {
        Arc::clone(&self.files.lock().expect("no panics")[&handle])
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.files.lock().expect("no panics").clear();
        if let Some(handle) = self.handle.take() {
            self.runtime.block_on(handle.unmount()).expect("unmounts");
        }
    }
}

pub fn errno(error: &std::io::Error) -> i32 {
    error.raw_os_error().expect("an errno")
}

impl Face for Kernel {
    fn names(&self, random: &mut Random) -> Vec<String> {
        let dir = File::open(self.dir.path()).expect("opens");
        // Small buffers make the kernel go on from cookies in the middle.
        let mut space = vec![std::mem::MaybeUninit::uninit(); 256 << random.below(6)];
        let mut raw = rustix::fs::RawDir::new(dir, &mut space);
        let mut names = Vec::new();
        while let Some(entry) = raw.next() {
            let name = entry
                .expect("lists")
                .file_name()
                .to_str()
                .expect("text")
                .to_owned();
            names.push(name);
        }
        names.retain(|name| name != "." && name != "..");
        names
    }

    fn size(&self, name: &str) -> Result<u64, i32> {
        let meta = std::fs::metadata(self.path(name));
        meta.map(|meta| meta.len()).map_err(|e| errno(&e))
    }

    fn open(&self, name: &str) -> Result<u64, i32> {
        let file = File::open(self.path(name)).map_err(|e| errno(&e))?;
        let mut files = self.files.lock().expect("no panics");
        let handle = files.keys().max().map_or(1, |last| last + 1);
        files.insert(handle, Arc::new(file));
        Ok(handle)
    }

    fn read(&self, handle: u64, offset: u64, len: usize) -> Result<Vec<u8>, i32> {
        let mut bytes = vec![0; len];
        let read = self.file(handle).read_at(&mut bytes, offset);
        bytes.truncate(read.map_err(|e| errno(&e))?);
        Ok(bytes)
    }

    fn close(&self, handle: u64) {
        self.files.lock().expect("no panics").remove(&handle);
    }

    fn forget(&self, handle: u64) {
        let file = self.file(handle);
        rustix::fs::fadvise(&*file, 0, None, rustix::fs::Advice::DontNeed).expect("advises");
    }

    fn look_again(&self) {}
}

/// Without the kernel.
pub struct Bare {
    pub runtime: Arc<Runtime>,
    pub source: Arc<StreamSource>,
    pub view: Arc<View>,
}

impl Bare {
    pub fn new(runtime: &Arc<Runtime>, parts: Parts) -> Bare {
        let (source, mut history) = (parts.source, History::default());
        runtime.block_on(source.refresh()).expect("follows");
        source.extend(&mut history).expect("reads");
        let view = View::new(Arc::clone(&source) as _, parts.reader, history, OWNERSHIP);
        Bare {
            runtime: Arc::clone(runtime),
            source,
            view: Arc::new(view),
        }
    }

    pub fn ino(&self, name: &str) -> Result<u64, i32> {
        Ok(self.view.lookup(ROOT_INO, OsStr::new(name))?.ino)
    }
}

/// The root, as the kernel names it.
pub const ROOT_INO: u64 = 1;

impl Face for Bare {
    fn names(&self, random: &mut Random) -> Vec<String> {
        let (mut names, mut cookie) = (Vec::new(), 0);
        loop {
            let (mut left, before) = (1 + random.below(5), names.len());
            let listed = self.view.list(ROOT_INO, cookie, |listed, _| {
                cookie = listed.cookie;
                names.push(listed.name.clone());
                left -= 1;
                left > 0
            });
            listed.expect("a directory");
            if names.len() == before {
                names.retain(|name| name != "." && name != "..");
                return names;
            }
        }
    }

    fn size(&self, name: &str) -> Result<u64, i32> {
        Ok(self.view.lookup(ROOT_INO, OsStr::new(name))?.size)
    }

    fn open(&self, name: &str) -> Result<u64, i32> {
        let opened = self
            .runtime
            .block_on(Arc::clone(&self.view).open(self.ino(name)?));
        Ok(opened?.handle)
    }

    fn read(&self, handle: u64, offset: u64, len: usize) -> Result<Vec<u8>, i32> {
        let read = Arc::clone(&self.view).read(handle, offset, len as u32);
        Ok(self.runtime.block_on(read)?.to_vec())
    }

    fn close(&self, handle: u64) {
        self.view.release(handle);
    }

    fn forget(&self, _: u64) {}

    fn look_again(&self) {
        let refreshed = self.runtime.block_on(self.source.refresh());
        let mut history = match refreshed.expect("follows") {
            Refreshed::Rewritten => History::default(),
            Refreshed::Appended | Refreshed::Unchanged => History::clone(&self.view.history()),
        };
        self.source.extend(&mut history).expect("reads");
        self.view.show(history);
    }
}

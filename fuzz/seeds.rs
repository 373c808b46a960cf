//! The inputs that a fuzzer begins with, written by the target itself, which alone knows how it reads one.

use std::fs;
use std::path::{Path, PathBuf};

/// Names the directory that the seeds are to be written into, instead of fuzzing.
const INTO: &str = "BINLOGFS_FUZZ_SEEDS";
/// Names a directory of binlogs of real servers.
const FROM: &str = "BINLOGFS_FUZZ_BINLOGS";

/// Writes `seeds`, each to a file of its own, and ends the process, if it was started for that.
pub fn write_if_asked(seeds: impl FnOnce() -> Vec<Vec<u8>>) {
    let Some(dir) = std::env::var_os(INTO).map(PathBuf::from) else {
        return;
    };
    for (number, seed) in seeds().iter().enumerate() {
        fs::write(dir.join(format!("{number:04}")), seed)
            .expect("the seeds' directory is writable");
    }
    std::process::exit(0);
}

/// The first `bytes_max` bytes of each binlog that there is.
#[allow(
    dead_code,
    reason = "compiled into each target, and not all read files"
)]
pub fn binlogs(bytes_max: usize) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    if let Some(dir) = std::env::var_os(FROM) {
        collect(Path::new(&dir), bytes_max, &mut found);
    }
    found
}

fn collect(dir: &Path, bytes_max: usize, found: &mut Vec<Vec<u8>>) {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            collect(&path, bytes_max, found);
        } else if let Ok(mut bytes) = fs::read(&path)
            && bytes.starts_with(b"\xfebin")
        {
            bytes.truncate(bytes_max);
            found.push(bytes);
        }
    }
}

//! The most memory that a process takes.

use super::SAMPLE_INTERVAL;
use std::fs;
use std::thread::JoinHandle;

/// Peak resident memory of a process in KiB, known when it has ended.
pub fn watch_memory(pid: u32) -> JoinHandle<u64> {
    std::thread::spawn(move || {
        let (path, mut peak) = (format!("/proc/{pid}/status"), 0);
        // A process that has ended has no VmHWM.
        while let Some(kib) = fs::read_to_string(&path).ok().as_deref().and_then(peak_kib) {
            peak = kib;
            std::thread::sleep(SAMPLE_INTERVAL);
        }
        peak
    })
}

pub fn peak_kib(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

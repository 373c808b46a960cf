//! The memory of a mount whose readers are read ahead for.

use super::{MIB, PATIENCE};
use crate::fixture::{Archive, Segment, content};
use crate::tools;
use binlogfs::fs::mountinfo;
use binlogfs::store::{FileStore, Store as _};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// The most memory that the process has had resident (`VmHWM` of proc(5)), in bytes.
fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.expect("a number").parse::<u64>().expect("a number") << 10
}

/// A mount in a process of its own, with defaults.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_of_a_mount_with_defaults_is_bounded_whatever_64_readers_read() {
    const FILES: u64 = 8;
    const FILE_BYTES: usize = 32 << 20;
    let archive = Archive::new(true);
    for number in 1..=FILES {
        let segment = Segment {
            frame_size: 1 << 20,
            ..Segment::new(number, content(number, FILE_BYTES))
        };
        archive.add(&segment).await;
    }
    let temp = tempfile::tempdir().expect("a directory");
    let path = |name: &str| temp.path().join(name);
    let store = FileStore::create_dir_all(path("bucket")).expect("a directory");
    for key in archive.store.keys() {
        let body = archive.store.get_all(&key, 1 << 30).await.expect("there");
        store.create(&key, body).await.expect("stores");
    }
    std::fs::write(path("key"), archive.identity_file()).expect("writes");
    let dir = path("mount");
    std::fs::create_dir(&dir).expect("creates");
    let mut process = tools::binlogfs()
        .arg("mount")
        .arg(format!("file://{}", path("bucket").display()))
        .args([&dir, Path::new("--foreground")])
        .arg("--identity")
        .arg(path("key"))
        .arg("--cache-dir")
        .arg(path("cache"))
        .spawn()
        .expect("starts");
    let begun = Instant::now();
    let is_mounted = || {
        let table = std::fs::read(mountinfo::PATH).expect("reads");
        mountinfo::at(&mountinfo::parse(&table), &dir).is_some()
    };
    while !is_mounted() {
        assert!(begun.elapsed() < PATIENCE, "does not mount");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let readers: Vec<_> = (0..64u64)
        .map(|n| {
            let path = dir.join(format!("binlog.{:06}", n % FILES + 1));
            std::thread::spawn(move || {
                let file = File::open(path).expect("opens");
                let mut buffer = vec![0; 256 << 10];
                // Each begins elsewhere, and reads on for half of the file.
                let from = n / FILES * (FILE_BYTES as u64 / 8);
                for step in 0..64 {
                    let offset = (from + step * (256 << 10)) % FILE_BYTES as u64;
                    file.read_exact_at(&mut buffer, offset).expect("reads");
                }
            })
        })
        .collect();
    for reader in readers {
        let ended = tokio::task::spawn_blocking(|| reader.join());
        ended.await.expect("runs").expect("no panic");
    }
    let peak = peak_bytes(process.id());
    let pid = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("sends");
    assert!(process.wait().expect("ends").success());
    println!("peak: {} MiB", peak >> 20);
    assert!(peak <= 256 * MIB, "{} MiB", peak >> 20);
}

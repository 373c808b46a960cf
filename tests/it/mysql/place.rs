//! Where a server of a test may live, and as whom.

use super::MEMORY_MIN_BYTES;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

/// The files a binlog index file lists, in order; relative names belong to `base`.
pub fn listed_in(index_file: &Path, base: &Path) -> Vec<PathBuf> {
    let text =
        fs::read_to_string(index_file).unwrap_or_else(|e| panic!("{}: {e}", index_file.display()));
    text.lines()
        .map(|line| base.join(line.strip_prefix("./").unwrap_or(line)))
        .collect()
}

/// The `server_uuid` in an auto.cnf.
pub fn server_uuid(auto_cnf: &Path) -> String {
    let text =
        fs::read_to_string(auto_cnf).unwrap_or_else(|e| panic!("{}: {e}", auto_cnf.display()));
    let uuid = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == "server-uuid").then(|| value.trim().to_owned())
    });
    uuid.unwrap_or_else(|| panic!("no server-uuid in {}", auto_cnf.display()))
}

/// Where servers live: in memory if there is room.
pub fn scratch_parent() -> PathBuf {
    let memory = Path::new("/dev/shm");
    match rustix::fs::statvfs(memory) {
        Ok(stat) if stat.f_bavail * stat.f_frsize >= MEMORY_MIN_BYTES => memory.to_owned(),
        _ => std::env::temp_dir(),
    }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener
        .local_addr()
        .expect("a bound socket has an address")
        .port()
}

/// Undoes the escapes of the client's batch mode.
pub fn unescape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut chars = field.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        text.push(match chars.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('0') => '\0',
            Some(other) => other,
            None => '\\',
        });
    }
    text
}

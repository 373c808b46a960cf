//! The file in which the server lists the relay logs of a channel.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Puts `files` before what the file lists. The server has it open, so it is written in place.
pub(super) fn put_before(index: &Path, files: &[PathBuf]) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(index)?;
    let mut listed = Vec::new();
    file.read_to_end(&mut listed)?;
    let mut text = Vec::new();
    for path in files {
        text.extend_from_slice(path.as_os_str().as_encoded_bytes());
        text.push(b'\n');
    }
    text.extend_from_slice(&listed);
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&text)?;
    file.sync_all()
}

/// Takes `files` out of what the file lists.
pub(super) fn take_out(index: &Path, files: &[PathBuf]) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(index)?;
    let mut listed = Vec::new();
    file.read_to_end(&mut listed)?;
    let files = files.iter().map(|file| file.as_os_str().as_encoded_bytes());
    let files: HashSet<&[u8]> = files.collect();
    let is_ours = |line: &[u8]| files.contains(line.strip_suffix(b"\n").unwrap_or(line));
    let lines = listed.split_inclusive(|byte| *byte == b'\n');
    let kept: Vec<&[u8]> = lines.filter(|line| !is_ours(line)).collect();
    let kept = kept.concat();
    file.seek(SeekFrom::Start(0))?;
    file.write_all(&kept)?;
    file.set_len(kept.len() as u64)?;
    file.sync_all()
}

/// The directories of recoveries that it lists files of.
pub(super) fn mounts(index: &Path) -> Vec<PathBuf> {
    let mut text = String::new();
    if File::open(index)
        .and_then(|mut file| file.read_to_string(&mut text))
        .is_err()
    {
        return Vec::new();
    }
    let mut dirs: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| {
            line.split_once("/.range/")
                .or(line.split_once("/.timeline/"))
        })
        .map(|(dir, _)| PathBuf::from(dir.split("/.timeline/").next().unwrap_or(dir)))
        .filter(|dir| {
            let name = dir.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("recover-"))
        })
        .collect();
    dirs.dedup();
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_own_line_stays_last_and_the_mount_is_found_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let index = dir.path().join("relay-bin-binlogfs.index");
        std::fs::write(&index, "./relay-bin-binlogfs.000001\n").expect("writable");
        let files: Vec<PathBuf> = [
            "/run/binlogfs/recover-1/.range/a:4/b:9/a",
            "/run/binlogfs/recover-1/.timeline/2/.range/a:4/b:9/b",
        ]
        .map(PathBuf::from)
        .into();
        put_before(&index, &files).expect("writable");
        let text = std::fs::read_to_string(&index).expect("text");
        assert!(
            text.ends_with("/b\n./relay-bin-binlogfs.000001\n"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 3);
        assert_eq!(mounts(&index), [PathBuf::from("/run/binlogfs/recover-1")]);
        take_out(&index, &files).expect("writable");
        let text = std::fs::read_to_string(&index).expect("text");
        assert_eq!(text, "./relay-bin-binlogfs.000001\n");
    }
}

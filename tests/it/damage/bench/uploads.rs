//! Uploads that an earlier run began.

use super::super::stream::{Stream, name};
use crate::tools;
use std::fs;
use std::path::Path;

/// Notes in a journal that `key` is being uploaded to.
pub fn begin_upload(journal: &Path, key: &str) {
    let journal = rusqlite::Connection::open(journal).expect("opens");
    journal
        .execute(
            "INSERT INTO upload (key, file, started_at) VALUES (?1, 'binlog.000001', 1)",
            [key],
        )
        .expect("a journal");
}

/// The object that another upload of the segment at `n` makes: encrypted anew, compressed otherwise.
pub fn earlier_upload(stream: &Stream, n: usize) -> Vec<u8> {
    let elsewhere = tempfile::tempdir_in(stream.archive.path("")).expect("a directory");
    let bucket = elsewhere.path().join("bucket");
    let mut command = stream
        .archive
        .archive_command_to(&format!("file://{}", bucket.display()), stream.server.dir());
    command
        .args(["--level", "3", "--state-dir"])
        .arg(elsewhere.path());
    tools::run(&mut command);
    let made = fs::read_dir(bucket.join("segments")).expect("made");
    let same = made
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.display().to_string().contains(&name(n)));
    let bytes = fs::read(same.expect("archived")).expect("readable");
    assert_ne!(bytes, fs::read(stream.object(n)).expect("readable"));
    bytes
}

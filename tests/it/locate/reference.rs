//! What mysqlbinlog says of the transactions in files: the reference.

use crate::mysql::mysqlbinlog;
use crate::tools;
use binlogfs::model::Micros;
use std::path::{Path, PathBuf};

/// A transaction as mysqlbinlog prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    pub file: String,
    pub start: u64,
    pub end: u64,
    pub gtid: String,
    pub committed: Micros,
    /// Header time of its first event, in seconds.
    pub header_time: String,
}

/// The transactions of `files`, in order.
pub fn transactions(files: &[PathBuf]) -> Vec<Told> {
    files.iter().flat_map(|file| of_file(file)).collect()
}

fn of_file(path: &Path) -> Vec<Told> {
    let text = printed(std::slice::from_ref(&path.to_owned()));
    let size = path.metadata().expect("it is there").len();
    let file = path.file_name().expect("a name").to_string_lossy();
    let mut told: Vec<Told> = Vec::new();
    let (mut at, mut open) = (0, false);
    for line in text.lines() {
        if let Some(position) = line.strip_prefix("# at ") {
            at = position.parse().expect("a position");
        } else if line.contains(" end_log_pos ") && line.starts_with('#') {
            let begins = line.contains("\tGTID\t");
            if open && (begins || line.contains("\tRotate to ") || line.contains("\tStop")) {
                told.last_mut().expect("one is open").end = at;
                open = false;
            }
            if begins {
                told.push(Told {
                    file: file.clone().into_owned(),
                    start: at,
                    end: size,
                    gtid: String::new(),
                    committed: Micros(0),
                    header_time: line[1..16].trim().to_owned(),
                });
                open = true;
            }
        } else if let Some(rest) = line.strip_prefix("# immediate_commit_timestamp=") {
            let digits = rest.split(' ').next().expect("a number");
            let time = digits.parse().expect("microseconds");
            told.last_mut().expect("one is open").committed = Micros(time);
        } else if let Some(gtid) = gtid_next(line) {
            told.last_mut().expect("one is open").gtid = gtid.to_owned();
        }
    }
    assert!(told.iter().all(|t| t.committed.0 > 0 && !t.gtid.is_empty()));
    told
}

fn gtid_next(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("SET @@SESSION.GTID_NEXT= '")?;
    let gtid = rest.split('\'').next()?;
    (gtid != "AUTOMATIC").then_some(gtid)
}

/// What mysqlbinlog prints of `files`; it must work.
pub fn printed(files: &[PathBuf]) -> String {
    tools::run_text(
        mysqlbinlog()
            .args(["--verify-binlog-checksum", "--base64-output=DECODE-ROWS"])
            .args(files),
    )
}

/// The GTIDs that a replay of `files` would bring, in order.
pub fn replayed(files: &[PathBuf]) -> Vec<String> {
    let text = printed(files);
    text.lines()
        .filter_map(gtid_next)
        .map(str::to_owned)
        .collect()
}

/// The files of a directory, as a glob gives them.
pub fn glob(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap_or_else(|e| panic!("{}: {e}", dir.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
}

//! The coordinates of a backup, read from its own metadata.
//!
//! | backup | read | coordinates |
//! |---|---|---|
//! | mysqldump, mariadb-dump; plain, gzip or zstd | the head of the dump and its last kilobytes; of a compressed one the head, and all of it only where GTIDs are not there | `GTID_PURGED`, `gtid_slave_pos`, `CHANGE REPLICATION SOURCE TO` |
//! | mydumper | `metadata`, in its old form and as ini file | of `SHOW MASTER STATUS`, `[source]` or `[master]` |
//! | MySQL Shell | `@.json`; `@.done.json` must be there | `gtidExecuted`, `binlogFile` |
//! | xtrabackup, mariadb-backup | `xtrabackup_binlog_info` or `mariadb_backup_binlog_info`; the tool from `*_info`, the UUID from `backup-my.cnf` | both |
//! | clone plugin | `#clone/#view_status` and `#status_recovery`: there once a server has started on the clone | both |
//!
//! Nothing else of a backup is read, and nothing is changed. What is damaged, cut off, not consistent or without coordinates is
//! refused with the file, the line and what to do. Times in these files are without a zone, all but a clone's.

mod cloned;
mod dump;
mod dump_file;
mod mydumper;
mod physical;
mod problem;
mod shell;
#[cfg(test)]
mod tests;

pub use problem::MetadataError;

use super::Coordinates;
use problem::Problem;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Larger metadata are none: a GTID set makes them large, as it does a record of the ledger.
const FILE_MAX_BYTES: u64 = 32 << 20;

/// Where the kinds of backups have their coordinates: file, and how it is read together with the directory it is in.
const KINDS: [(&str, Reader); 5] = [
    ("xtrabackup_binlog_info", physical_backup),
    ("mariadb_backup_binlog_info", physical_backup),
    ("@.json", shell_dump),
    ("#clone/#view_status", cloned_directory),
    ("metadata", |path, _| {
        mydumper::read(&text(path)?).map_err(|p| p.of(path))
    }),
];
/// What is left by tools that were interrupted, or found no binlogs: file, what that means, what to do.
const UNUSABLE: [(&str, &str, &str); 3] = [
    (
        "metadata.partial",
        "the dump was not finished: mydumper renames it at its end",
        "dump again",
    ),
    (
        "xtrabackup_info",
        "the backup has no xtrabackup_binlog_info: the server wrote no binlogs (log_bin)",
        "no binlog can follow such a backup; make one of a server with log_bin",
    ),
    (
        "mariadb_backup_info",
        "the backup has no mariadb_backup_binlog_info: the server wrote no binlogs (log_bin)",
        "no binlog can follow such a backup; make one of a server with log_bin",
    ),
];

type Reader = fn(&Path, &Path) -> Result<Coordinates, MetadataError>;

/// Reads the coordinates of the backup in `path`: a dump file, a backup's directory, or its metadata file itself.
///
/// # Errors
/// [`MetadataError`].
pub fn read(path: &Path) -> Result<Coordinates, MetadataError> {
    if path.is_dir() {
        return directory(path);
    }
    let parent = path.parent().unwrap_or(path);
    let name = path.file_name().and_then(|name| name.to_str());
    let last = |file: &'static str| file.rsplit('/').next();
    match KINDS
        .iter()
        .find(|(file, _)| last(file) == name && name.is_some())
    {
        Some((_, reader)) => reader(path, parent),
        None => dump_file::read(path),
    }
}

fn directory(dir: &Path) -> Result<Coordinates, MetadataError> {
    for (file, reader) in KINDS {
        let path = dir.join(file);
        if path.is_file() {
            return reader(&path, dir);
        }
    }
    for (file, reason, next) in UNUSABLE {
        let path = dir.join(file);
        if path.is_file() {
            return Err(Problem::new(reason, next).of(&path));
        }
    }
    let names: Vec<&str> = KINDS.iter().map(|(file, _)| *file).collect();
    Err(Problem::new(
        format!("it has none of {}", names.join(", ")),
        "give the directory of a backup, or a dump file",
    )
    .of(dir))
}

fn physical_backup(path: &Path, dir: &Path) -> Result<Coordinates, MetadataError> {
    let mut coordinates = physical::binlog_info(&text(path)?).map_err(|p| p.of(path))?;
    for name in ["xtrabackup_info", "mariadb_backup_info"] {
        if dir.join(name).is_file() {
            physical::info(&text(&dir.join(name))?, &mut coordinates);
        }
    }
    let my_cnf = dir.join("backup-my.cnf");
    if my_cnf.is_file() {
        physical::my_cnf(&text(&my_cnf)?, &mut coordinates);
    }
    Ok(coordinates)
}

fn cloned_directory(path: &Path, _: &Path) -> Result<Coordinates, MetadataError> {
    let view = text(path)?;
    let recovery = path.with_file_name("#status_recovery");
    let recovery = match recovery.is_file() {
        true => Some(text(&recovery)?),
        false => None,
    };
    let status = cloned::Status {
        view: &view,
        recovery: recovery.as_deref(),
    };
    cloned::read(&status).map_err(|p| p.of(path))
}

fn shell_dump(path: &Path, dir: &Path) -> Result<Coordinates, MetadataError> {
    let coordinates = shell::read(&text(path)?).map_err(|p| p.of(path))?;
    if !dir.join("@.done.json").is_file() {
        let reason = "there is no @.done.json beside it: the dump was not finished";
        return Err(Problem::new(reason, "dump again").of(path));
    }
    Ok(coordinates)
}

/// A metadata file. What is no UTF-8 in it is in a name that does not matter.
fn text(path: &Path) -> Result<String, MetadataError> {
    let io = |e: std::io::Error| {
        let next = "check the path and the file's mode";
        Problem::new(format!("cannot be read: {e}"), next).of(path)
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(io)?;
    if bytes.len() as u64 > FILE_MAX_BYTES {
        let reason = format!("it is longer than {FILE_MAX_BYTES} bytes");
        return Err(Problem::new(reason, "is it the right file?").of(path));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

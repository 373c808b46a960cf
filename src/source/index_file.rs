//! The binlog index file: the server's own list of its binlogs, oldest first.

use super::SourceError;
use crate::model::FileName;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a missing index file is waited for: the server unlinks it and renames its successor into place.
pub const MISSING_PATIENCE: Duration = Duration::from_secs(1);
/// How often it is looked for meanwhile.
const MISSING_POLL: Duration = Duration::from_millis(5);
/// Names of MariaDB's InnoDB-based binlogs end so (12.3 and later).
const INNODB_BINLOG_SUFFIX: &str = ".ibb";
/// Largest index file accepted: a million files with long paths.
const INDEX_FILE_MAX_BYTES: u64 = 512 << 20;

/// Reads the index file, past the instant in which the server replaces it.
///
/// # Errors
/// When it cannot be read, is empty, or is not text.
pub fn read(path: &Path) -> Result<String, SourceError> {
    let deadline = Instant::now() + MISSING_PATIENCE;
    let bytes = loop {
        match read_bounded(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && Instant::now() < deadline => {
                std::thread::sleep(MISSING_POLL)
            }
            result => break result.map_err(|e| SourceError::io("read", path, e))?,
        }
    };
    if bytes.is_empty() {
        return Err(not_an_index(
            path,
            "is empty; name the data directory or the binlog index file of a server that writes binlogs",
        ));
    }
    if bytes.starts_with(b"\xfebin") || bytes.starts_with(b"\xfdbin") {
        return Err(not_an_index(
            path,
            "is a binlog, not a binlog index file; name the data directory, or the file that lists the binlogs",
        ));
    }
    String::from_utf8(bytes)
        .map_err(|_| not_an_index(path, "is not text, so it is no binlog index file"))
}

fn not_an_index(path: &Path, reason: &str) -> SourceError {
    SourceError::NotAnIndex {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.take(INDEX_FILE_MAX_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > INDEX_FILE_MAX_BYTES {
        return Err(std::io::Error::other("larger than any binlog index file"));
    }
    Ok(bytes)
}

/// One line of an index file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexLine {
    /// The file's name.
    pub file: FileName,
    /// The path as the server wrote it.
    pub written: PathBuf,
}

/// Parses the text of an index file.
///
/// # Errors
/// When a line names no binlog, or a file is listed twice.
pub fn parse(path: &Path, text: &str) -> Result<Vec<IndexLine>, SourceError> {
    let bad = |line: usize, reason: String| SourceError::BadLine {
        path: path.to_owned(),
        line,
        reason,
    };
    let mut lines: Vec<IndexLine> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for (n, written) in text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
    {
        let name = written.rsplit('/').next().unwrap_or(written);
        if name.ends_with(INNODB_BINLOG_SUFFIX) {
            return Err(bad(
                n + 1,
                format!(
                    "{name} is a binlog inside MariaDB's InnoDB, not a file of events: it cannot be archived"
                ),
            ));
        }
        let file: FileName = name
            .parse()
            .map_err(|e: crate::model::name::NameError| bad(n + 1, e.to_string()))?;
        if !seen.insert(written) {
            return Err(bad(n + 1, format!("{written} is listed twice")));
        }
        lines.push(IndexLine {
            file,
            written: PathBuf::from(written),
        });
    }
    if lines.is_empty() {
        return Err(not_an_index(path, "lists no binlog"));
    }
    Ok(lines)
}

/// Where a listed file is: as written (relative to the directory of the index file), or beside the index file when the
/// directory was moved.
pub fn locate(index_path: &Path, line: &IndexLine) -> PathBuf {
    let dir = index_path.parent().unwrap_or(Path::new("."));
    // Through its components, which leaves out the "./" that the server writes.
    let as_written: PathBuf = dir.join(&line.written).components().collect();
    let beside = dir.join(line.file.to_string());
    let readable = |path: &Path| path.try_exists().unwrap_or(true);
    if !readable(&as_written) && readable(&beside) {
        beside
    } else {
        as_written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_absolute_and_moved_paths_are_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let index = dir.path().join("binlog.index");
        for name in ["binlog.000001", "binlog.000002", "binlog.000003"] {
            std::fs::write(dir.path().join(name), b"x").expect("writes");
        }
        let text = format!(
            "./binlog.000001\n{}/binlog.000002\n/no/such/place/binlog.000003\n",
            dir.path().display()
        );
        let lines = parse(&index, &text).expect("parses");
        for (line, name) in lines
            .iter()
            .zip(["binlog.000001", "binlog.000002", "binlog.000003"])
        {
            let found = locate(&index, line);
            assert_eq!(
                std::fs::canonicalize(found).expect("exists"),
                std::fs::canonicalize(dir.path().join(name)).expect("exists")
            );
        }
    }

    #[test]
    fn an_index_file_that_is_being_replaced_is_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let index = dir.path().join("binlog.index");
        let late = index.clone();
        let writer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            std::fs::write(late.with_extension("tmp"), "./binlog.000001\n").expect("writes");
            std::fs::rename(late.with_extension("tmp"), &late).expect("renames");
        });
        assert_eq!(read(&index).expect("reads"), "./binlog.000001\n");
        writer.join().expect("the writer ends");
    }

    #[test]
    fn what_is_no_index_file_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.index");
        for (bytes, reason) in [
            (&b""[..], "is empty"),
            (b"\xfebin....", "is a binlog"),
            (b"\xff\xff\xff", "not text"),
        ] {
            std::fs::write(&path, bytes).expect("writes");
            let error = read(&path).expect_err("refused").to_string();
            assert!(
                error.contains(reason) && error.contains("x.index"),
                "{error}"
            );
        }
        for (text, reason) in [
            ("./binlog.000001\n./relay.log\n", "line 2"),
            ("./b.000001\n./b.000001\n", "twice"),
            ("\n", "lists no binlog"),
        ] {
            let error = parse(&path, text).expect_err("refused").to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}

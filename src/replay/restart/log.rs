//! What a server wrote into its error log since it was last looked at.

use super::super::target::TargetFacts;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

/// Lines that an error repeats.
const LINES_MAX: usize = 3;
/// So much of a log is read.
const LOG_MAX_BYTES: u64 = 4 << 20;
/// How mysqld says that it will not start (ER_ABORTING).
const GIVEN_UP: &str = "Aborting";

/// An error log, from where it ended.
pub(super) struct ErrorLog {
    path: Option<PathBuf>,
    from: u64,
}

impl ErrorLog {
    /// That of a server, from now on.
    pub(super) fn of(facts: &TargetFacts) -> ErrorLog {
        let path = facts
            .log_error
            .as_ref()
            .and_then(|path| match path.is_absolute() {
                true => Some(path.clone()),
                false => Some(facts.datadir.as_ref()?.join(path)),
            });
        let metadata = path.as_ref().and_then(|path| std::fs::metadata(path).ok());
        ErrorLog {
            path,
            from: metadata.map_or(0, |metadata| metadata.len()),
        }
    }

    /// Whether it says that the server will not come.
    pub(super) fn has_given_up(&self) -> bool {
        let text = self.read().unwrap_or_default();
        errors(&text).any(|line| line.trim_end().ends_with(GIVEN_UP))
    }

    /// What it says, for people.
    pub(super) fn told(&self) -> String {
        let Some(path) = &self.path else {
            return "its error log is no file of this host: look there (journalctl -u mysqld)"
                .to_owned();
        };
        let path = path.display();
        match self.read() {
            Err(error) => format!("its error log {path} cannot be read ({error})"),
            Ok(text) => match last_errors(&text) {
                none if none.is_empty() => format!("its error log {path} tells no error"),
                lines => format!("its error log {path} says: {}", lines.join("; ")),
            },
        }
    }

    /// What was added; all of it if it was begun anew.
    fn read(&self) -> io::Result<String> {
        let path = self.path.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        let from = if len < self.from { 0 } else { self.from };
        file.seek(SeekFrom::Start(from.max(len.saturating_sub(LOG_MAX_BYTES))))?;
        let mut text = Vec::new();
        file.take(LOG_MAX_BYTES).read_to_end(&mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn errors(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| line.contains("[ERROR]"))
}

/// The last errors before it gave up, oldest first.
fn last_errors(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = errors(text)
        .filter(|line| !line.trim_end().ends_with(GIVEN_UP))
        .collect();
    lines.drain(..lines.len().saturating_sub(LINES_MAX));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-11-27T07:00:00.1Z 0 [System] [MY-010116] [Server] /usr/sbin/mysqld (mysqld 9.7.4) starting as process 1\n\
        2026-11-27T07:00:00.2Z 0 [ERROR] [MY-000067] [Server] unknown variable 'nothing=1'.\n\
        2026-11-27T07:00:00.3Z 0 [ERROR] [MY-010119] [Server] Aborting\n";

    #[test]
    fn what_was_there_before_is_not_told_again_and_giving_up_is_seen() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("error.log");
        std::fs::write(&path, LOG).expect("writable");
        let log = |from| ErrorLog {
            path: Some(path.clone()),
            from,
        };
        let old = log(LOG.len() as u64);
        assert!(!old.has_given_up());
        assert!(old.told().ends_with("tells no error"), "{}", old.told());
        let new = log(0);
        assert!(new.has_given_up());
        assert!(
            new.told().ends_with("unknown variable 'nothing=1'."),
            "{}",
            new.told()
        );
        // It was rotated away.
        assert!(log(1 << 20).has_given_up());
        let nowhere = ErrorLog {
            path: None,
            from: 0,
        };
        assert!(nowhere.told().contains("journalctl") && !nowhere.has_given_up());
    }
}

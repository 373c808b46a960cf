//! The files on disk against what the server says of them.

use super::listing::ServerLog;
use crate::model::FileName;
use crate::model::counted::count;
use std::collections::HashMap;

/// A file of which disk and server say different things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// A closed file has another size than the server says.
    Size {
        /// The file.
        file: FileName,
        /// Bytes on disk.
        on_disk: u64,
        /// Bytes as SHOW BINARY LOGS says.
        at_server: u64,
    },
    /// In the binlog index file only: it is perhaps the index file of another server.
    OnDiskOnly(FileName),
    /// In SHOW BINARY LOGS only.
    AtServerOnly(FileName),
    /// The server says that it is encrypted.
    Encrypted(FileName),
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Mismatch::Size {
                file,
                on_disk,
                at_server: 0,
            } => write!(
                f,
                "{file} has {} on disk and the server cannot open it (SHOW BINARY LOGS says 0); check who owns it",
                count(*on_disk, "byte")
            ),
            Mismatch::Size {
                file,
                on_disk,
                at_server,
            } => write!(
                f,
                "{file} has {} on disk and {at_server} as SHOW BINARY LOGS says: it was changed or cut, or --source is \
                 another server's directory",
                count(*on_disk, "byte")
            ),
            Mismatch::OnDiskOnly(file) => write!(
                f,
                "{file} is in the binlog index file and not in SHOW BINARY LOGS: check that --source and --mysql are the same server"
            ),
            Mismatch::AtServerOnly(file) => write!(
                f,
                "{file} is in SHOW BINARY LOGS and not in the binlog index file: check that --source and --mysql are the same server"
            ),
            Mismatch::Encrypted(file) => write!(
                f,
                "{file} is encrypted by the server; switch binlog_encryption off and let binlogfs encrypt"
            ),
        }
    }
}

/// Compares the files of the binlog index file (name, bytes on disk, whether closed) with SHOW BINARY LOGS.
///
/// The two are read one after the other: a rotation or a purge between them shows as a mismatch. Only what a second look
/// finds again counts ([`persistent`]).
pub fn cross_check(on_disk: &[(FileName, u64, bool)], at_server: &[ServerLog]) -> Vec<Mismatch> {
    let server: HashMap<&FileName, &ServerLog> =
        at_server.iter().map(|log| (&log.name, log)).collect();
    let mut found = Vec::new();
    for (file, size, closed) in on_disk {
        match server.get(file) {
            None => found.push(Mismatch::OnDiskOnly(file.clone())),
            // The active file grows between the two looks.
            Some(log) if *closed && log.size != *size => found.push(Mismatch::Size {
                file: file.clone(),
                on_disk: *size,
                at_server: log.size,
            }),
            Some(log) if log.encrypted == Some(true) => {
                found.push(Mismatch::Encrypted(file.clone()));
            }
            Some(_) => {}
        }
    }
    let disk: std::collections::HashSet<&FileName> =
        on_disk.iter().map(|(file, _, _)| file).collect();
    let missing = at_server.iter().filter(|log| !disk.contains(&log.name));
    found.extend(missing.map(|log| Mismatch::AtServerOnly(log.name.clone())));
    found
}

/// What two looks both found: a rotation or a purge between the two readings of one look does not stay.
pub fn persistent(first: &[Mismatch], second: &[Mismatch]) -> Vec<Mismatch> {
    second
        .iter()
        .filter(|mismatch| first.contains(mismatch))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: u64) -> FileName {
        format!("binlog.{number:06}").parse().expect("valid")
    }

    fn log(number: u64, size: u64) -> ServerLog {
        ServerLog {
            name: name(number),
            size,
            encrypted: Some(false),
        }
    }

    #[test]
    fn a_closed_file_of_another_size_is_seen_and_a_growing_one_is_not() {
        let disk = [(name(1), 100, true), (name(2), 50, false)];
        assert_eq!(cross_check(&disk, &[log(1, 100), log(2, 70)]), []);
        let found = cross_check(&disk, &[log(1, 99), log(2, 70)]);
        assert_eq!(
            found,
            [Mismatch::Size {
                file: name(1),
                on_disk: 100,
                at_server: 99
            }]
        );
        assert!(found[0].to_string().contains("binlog.000001"));
        let cut = cross_check(&[(name(1), 1, true)], &[log(1, 99)]);
        let told = cut[0].to_string();
        assert!(told.contains("has 1 byte on disk and 99"), "{told}");
    }

    #[test]
    fn a_file_that_only_one_of_them_has_is_seen() {
        let disk = [(name(1), 100, true), (name(2), 50, false)];
        let found = cross_check(&disk, &[log(2, 50), log(3, 70)]);
        assert_eq!(
            found,
            [
                Mismatch::OnDiskOnly(name(1)),
                Mismatch::AtServerOnly(name(3))
            ]
        );
    }

    #[test]
    fn an_encrypted_file_is_seen() {
        let encrypted = ServerLog {
            encrypted: Some(true),
            ..log(1, 100)
        };
        assert_eq!(
            cross_check(&[(name(1), 100, true)], &[encrypted]),
            [Mismatch::Encrypted(name(1))]
        );
    }

    #[test]
    fn a_rotation_between_the_readings_does_not_alarm() {
        // Read before the rotation, asked after it.
        let first = cross_check(&[(name(1), 100, false)], &[log(1, 180), log(2, 10)]);
        assert_eq!(first, [Mismatch::AtServerOnly(name(2))]);
        let second = cross_check(
            &[(name(1), 180, true), (name(2), 10, false)],
            &[log(1, 180), log(2, 10)],
        );
        assert_eq!(persistent(&first, &second), []);
        // And one in each look: never the same file.
        let second = cross_check(
            &[(name(1), 180, true), (name(2), 10, false)],
            &[log(1, 180), log(2, 20), log(3, 10)],
        );
        assert_eq!(persistent(&first, &second), []);
    }
}

//! mysqlbinlog and mysql, as they are installed here.

use crate::binlog::Flavour;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// From this version on it is mysqlbinlog's own number that it tells; before, and in MariaDB, it is 3.something.
const MYSQL_MAJOR_MIN: u32 = 8;

/// The clients that an engine runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// `mysqlbinlog`, or `mariadb-binlog`.
    pub reader: PathBuf,
    /// `mysql`, or `mariadb`.
    pub client: PathBuf,
}

/// A client that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// It does not run.
    #[error("cannot run {program}: {error}; install {package}, or name it with {option}")]
    Missing {
        /// Its name or path.
        program: String,
        /// Why not.
        error: io::Error,
        /// What has it.
        package: &'static str,
        /// The option that names another.
        option: &'static str,
    },
    /// It is another program.
    #[error("{program} is not {wanted} ({said}); name the right one with {option}")]
    Another {
        /// Its name or path.
        program: String,
        /// What it should be.
        wanted: &'static str,
        /// What it says it is.
        said: String,
        /// The option that names another.
        option: &'static str,
    },
}

impl Clients {
    /// Those for binlogs of `flavour`, by name or where they were said to be.
    pub fn of(flavour: Flavour, reader: Option<PathBuf>, client: Option<PathBuf>) -> Clients {
        let (usual_reader, usual_client) = match flavour {
            Flavour::MySql => ("mysqlbinlog", "mysql"),
            Flavour::MariaDb => ("mariadb-binlog", "mariadb"),
        };
        Clients {
            reader: reader.unwrap_or_else(|| usual_reader.into()),
            client: client.unwrap_or_else(|| usual_client.into()),
        }
    }

    /// Runs both for their versions: on Debian `mysqlbinlog` is often MariaDB's, which misreads MySQL's binlogs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn check(&self, flavour: Flavour) -> Result<(), ClientError> {
        let package = match flavour {
            Flavour::MySql => "the MySQL client programs (package mysql-client)",
            Flavour::MariaDb => "the MariaDB client programs (package mariadb-client)",
        };
        for (program, option, is_reader) in [
            (&self.reader, "--mysqlbinlog", true),
            (&self.client, "--mysql", false),
        ] {
            let said = version(program.into()).map_err(|error| ClientError::Missing {
                program: program.display().to_string(),
                error,
                package,
                option,
            })?;
            let (is_right, wanted) = match flavour {
                Flavour::MySql => (!is_mariadb(&said, is_reader), "MySQL's, of 8.0 or later"),
                Flavour::MariaDb => (is_mariadb(&said, is_reader), "MariaDB's"),
            };
            if !is_right {
                return Err(ClientError::Another {
                    program: program.display().to_string(),
                    wanted,
                    said,
                    option,
                });
            }
        }
        Ok(())
    }
}

fn version(program: OsString) -> io::Result<String> {
    let output = Command::new(program)
        .args(["--no-defaults", "--version"])
        .stdin(Stdio::null())
        .output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let said = said.lines().next().unwrap_or_default().trim().to_owned();
    match said.is_empty() {
        true => Err(io::Error::other("it tells no version")),
        false => Ok(said),
    }
}

fn is_mariadb(said: &str, is_reader: bool) -> bool {
    let major = said.split("Ver ").nth(1).and_then(|rest| {
        let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u32>().ok()
    });
    let by_number = is_reader && major.is_some_and(|major| major < MYSQL_MAJOR_MIN);
    said.contains("MariaDB") || by_number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_of_the_flavours_are_told_apart_by_what_they_say() {
        for (said, is_reader, is_maria) in [
            (
                "mysqlbinlog  Ver 9.7.4-2 for Linux on x86_64 ((Debian))",
                true,
                false,
            ),
            (
                "mysql  Ver 9.7.4-2 for Linux on x86_64 ((Debian))",
                false,
                false,
            ),
            (
                "mysqlbinlog  Ver 8.0.36 for Linux on x86_64 (Source distribution)",
                true,
                false,
            ),
            (
                "mysqlbinlog Ver 3.5 for debian-linux-gnu at x86_64",
                true,
                true,
            ),
            (
                "mysql  Ver 15.1 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64) using  EditLine wrapper",
                false,
                true,
            ),
            (
                "mariadb from 11.8.6-MariaDB, client 15.2 for debian-linux-gnu (x86_64) using  EditLine wrapper",
                false,
                true,
            ),
        ] {
            assert_eq!(is_mariadb(said, is_reader), is_maria, "{said}");
        }
    }

    #[test]
    fn what_does_not_run_is_named_with_what_has_it() {
        let clients = Clients::of(Flavour::MySql, Some("/nonexistent".into()), None);
        let error = clients
            .check(Flavour::MySql)
            .expect_err("missing")
            .to_string();
        assert!(
            error.contains("/nonexistent") && error.contains("--mysqlbinlog"),
            "{error}"
        );
    }
}

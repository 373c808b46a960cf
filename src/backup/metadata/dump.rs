//! What the head and the end of a dump say: `mysqldump` of 5.6 to 9.x, `mariadb-dump`. Pure.

use super::super::{Coordinates, Tool};
use super::problem::{Problem, gtid_set, placed, position};

/// How lines of a dump begin that no longer belong to its head.
const BODY: [&str; 11] = [
    "CREATE DATABASE",
    "CREATE TABLE",
    "DROP TABLE",
    "USE `",
    "INSERT INTO",
    "LOCK TABLES",
    "DELIMITER",
    "-- Current Database",
    "-- Table structure",
    "-- Temporary",
    "-- Dump completed",
];
/// What a dump begins with that was made without comments.
const WITHOUT_COMMENTS: [&str; 4] = [
    "/*!40101 SET",
    "/*!40103 SET",
    "/*!50503 SET",
    "SET @MYSQLDUMP_TEMP_LOG_BIN",
];
/// Lines that are looked at before a file that is none is given up.
const STRANGE_LINES_MAX: u64 = 200;
/// What to do about a dump without coordinates.
const DUMP_AGAIN: &str = "dump again with --single-transaction --source-data=2 --set-gtid-purged=ON (mariadb-dump: --master-data=2 --gtid), \
     or give its coordinates by --gtid-set or --position";

/// What a dump has said so far.
#[derive(Debug)]
pub(super) struct Dump {
    coordinates: Coordinates,
    line: u64,
    /// A GTID_PURGED statement that goes on in the next line, and where it began.
    open: Option<(u64, String)>,
    /// It is a dump.
    known: bool,
    /// It has comments, so its last line says that it is complete.
    commented: bool,
    /// Where the next line stands is not known: the end was read after a jump.
    jumped: bool,
}

impl Dump {
    pub(super) fn new() -> Dump {
        Dump {
            coordinates: Coordinates::of(Tool::Mysqldump),
            line: 0,
            open: None,
            known: false,
            commented: false,
            jumped: false,
        }
    }

    /// Reads the next line of the head. `false`: it was the last one.
    pub(super) fn head(&mut self, line: &str) -> Result<bool, Problem> {
        self.line += 1;
        if self.open.is_none() && BODY.iter().any(|begin| line.starts_with(begin)) {
            return Ok(false);
        }
        self.read(line)?;
        if !self.known && self.line > STRANGE_LINES_MAX {
            return Ok(false);
        }
        Ok(true)
    }

    /// Whether GTIDs are still looked for: some versions write them behind the data.
    pub(super) fn lacks_gtids(&self) -> bool {
        self.coordinates.gtids.is_none()
    }

    /// The head has ended, after all of it was read or as much as is sensible.
    pub(super) fn head_is_over(&self) -> Result<(), Problem> {
        if let Some((line, _)) = &self.open {
            let reason = "its GTID_PURGED statement does not end: the dump is cut off";
            return Err(Problem::new(reason, "look for the whole dump, or dump again").at(*line));
        }
        match self.known {
            true => Ok(()),
            false => Err(Problem::new(
                "it is no dump of mysqldump or mariadb-dump",
                "give the dump file, or the directory of a mydumper, MySQL Shell, xtrabackup, mariadb-backup or clone backup",
            )),
        }
    }

    /// Reads the end of the dump, which may begin in the middle of a line.
    pub(super) fn end(&mut self, text: &str) -> Result<(), Problem> {
        self.jumped = true;
        let last = text.lines().rev().find(|line| !line.trim().is_empty());
        let completed = last.and_then(|line| line.strip_prefix("-- Dump completed"));
        if self.commented && completed.is_none() {
            return Err(Problem::new(
                "its last line is not '-- Dump completed': the dump is cut off, or mysqldump failed",
                "look for the whole dump, or dump again",
            ));
        }
        let time = completed.and_then(|rest| rest.trim().strip_prefix("on "));
        self.coordinates.local_time = time.map(|time| time.trim().to_owned());
        // Bodies of routines stand as they are in a dump, whatever they contain; each is followed by a DELIMITER.
        let mut lines: Vec<&str> = Vec::new();
        for line in text.lines().skip(1) {
            lines.push(line);
            if line.starts_with("DELIMITER") {
                lines.clear();
            }
        }
        lines.into_iter().try_for_each(|line| self.read(line))?;
        self.head_is_over()
    }

    /// What the whole dump says.
    pub(super) fn finish(self) -> Result<Coordinates, Problem> {
        let mut coordinates = placed(self.coordinates, DUMP_AGAIN)?;
        if coordinates.position.is_none() {
            coordinates.warnings.push(
                "it has no binlog position, so nothing in it tells that it is consistent: it is if it was made with --single-transaction \
                 or --lock-all-tables"
                    .to_owned(),
            );
        }
        Ok(coordinates)
    }

    fn read(&mut self, line: &str) -> Result<(), Problem> {
        if let Some((from, mut statement)) = self.open.take() {
            statement.push_str(line);
            return self.purged(from, statement);
        }
        let bare = line.trim_start_matches(['-', '/', '*', ' ']);
        if WITHOUT_COMMENTS.iter().any(|begin| line.starts_with(begin)) {
            self.known = true;
        } else if let Some(rest) = line.strip_prefix("-- MySQL dump ") {
            self.made_by(Tool::Mysqldump, rest);
        } else if let Some(rest) = line.strip_prefix("-- MariaDB dump ") {
            self.made_by(Tool::MariadbDump, rest);
        } else if let Some(rest) = line.strip_prefix("-- Host: ") {
            self.made_of(rest);
        } else if let Some(rest) = bare.strip_prefix("SET @@GLOBAL.GTID_PURGED=") {
            self.known = true;
            return self.purged(self.line, rest.to_owned());
        } else if let Some(rest) = bare.strip_prefix("SET GLOBAL gtid_slave_pos=") {
            let set = rest.split('\'').nth(1).unwrap_or_default();
            self.coordinates.gtids = Some(gtid_set(set).map_err(|p| self.here(p))?);
        } else if bare.starts_with("CHANGE MASTER TO ")
            || bare.starts_with("CHANGE REPLICATION SOURCE TO ")
        {
            self.known = true;
            return self.source(bare);
        }
        Ok(())
    }

    fn here(&self, problem: Problem) -> Problem {
        match self.jumped {
            true => problem,
            false => problem.at(self.line),
        }
    }

    fn made_by(&mut self, tool: Tool, rest: &str) {
        self.known = true;
        self.commented = true;
        self.coordinates.tool = tool;
        let version = rest
            .split_once("Distrib ")
            .and_then(|(_, rest)| rest.split(',').next());
        self.coordinates.tool_version = version.map(|version| version.trim().to_owned());
        // Up to 10.5 it called itself MySQL's.
        if version.is_some_and(|version| version.contains("MariaDB")) {
            self.coordinates.tool = Tool::MariadbDump;
        }
    }

    fn made_of(&mut self, rest: &str) {
        let database = rest.split_once("Database:").map_or("", |(_, name)| name);
        // The end of a small dump is all of it, and was read before.
        if !database.trim().is_empty() && !self.jumped {
            self.coordinates.warnings.push(format!(
                "it is a dump of some databases ({}), and the binlogs hold changes of all: replay only what it has",
                database.trim()
            ));
        }
    }

    /// `/*!80000 '+'*/ 'SET';`, on as many lines as the set has servers.
    fn purged(&mut self, from: u64, statement: String) -> Result<(), Problem> {
        if !statement.contains(';') {
            self.open = Some((from, statement));
            return Ok(());
        }
        let value = match statement.split_once("*/ ") {
            Some((hint, value)) if hint.trim_start().starts_with("/*!") => value,
            _ => &statement,
        };
        let problem = |p: Problem| match self.jumped {
            true => p,
            false => p.at(from),
        };
        let set = value.split('\'').nth(1).ok_or_else(|| {
            problem(Problem::new(
                "its GTID_PURGED statement has no set",
                "is the file damaged? dump again",
            ))
        })?;
        let set = gtid_set(set).map_err(problem)?;
        self.coordinates.gtids = Some(set);
        Ok(())
    }

    /// `CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='binlog.000001', SOURCE_LOG_POS=1405;`
    fn source(&mut self, statement: &str) -> Result<(), Problem> {
        let after = |name: &str| statement.split_once(name).map(|(_, rest)| rest);
        let Some(file) = after("_LOG_FILE='").and_then(|rest| rest.split('\'').next()) else {
            // MariaDB: MASTER_USE_GTID; the position stands below it.
            return Ok(());
        };
        let digits = |text: &str| -> String {
            let digits = text.chars().take_while(char::is_ascii_digit);
            digits.collect()
        };
        let offset = after("_LOG_POS=").map(digits).unwrap_or_default();
        let place = position(file, &offset).map_err(|p| self.here(p))?;
        match &self.coordinates.position {
            Some(known) if *known != place => Err(self.here(Problem::new(
                format!("it names two positions, {known} and {place}: it was made with --dump-replica on a server of several sources"),
                "dump without --dump-replica, or give the right one by --position",
            ))),
            _ => {
                self.coordinates.position = Some(place);
                Ok(())
            }
        }
    }
}

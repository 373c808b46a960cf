//! What `@.json` of a MySQL Shell dump says. Pure.

use super::super::{Coordinates, Tool};
use super::problem::{Problem, gtid_set, placed, position};
use serde::Deserialize;

/// The members that matter; the Shell writes many more.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    dumper: String,
    #[serde(default)]
    origin: String,
    #[serde(default)]
    gtid_executed: String,
    #[serde(default)]
    gtid_executed_inconsistent: bool,
    consistent: bool,
    binlog_file: Option<String>,
    binlog_position: Option<u64>,
    begin: Option<String>,
}

const AGAIN: &str = "dump again with util.dumpInstance() by an account that may lock the instance (consistent: true)";

/// Reads it.
pub(super) fn read(text: &str) -> Result<Coordinates, Problem> {
    let manifest: Manifest = serde_json::from_str(text).map_err(|e| {
        Problem::new(
            format!("it is no manifest of a MySQL Shell dump ({e})"),
            "is it damaged? dump again",
        )
        .at(e.line() as u64)
    })?;
    if !manifest.dumper.starts_with("mysqlsh") {
        return Err(Problem::new(
            format!(
                "it was written by {:?}, not by MySQL Shell",
                manifest.dumper
            ),
            "give its coordinates by --gtid-set or --position",
        ));
    }
    if !manifest.consistent {
        return Err(Problem::new(
            "the dump is not consistent (consistent: false): its tables are of different moments",
            AGAIN,
        ));
    }
    if manifest.gtid_executed_inconsistent {
        return Err(Problem::new(
            "the GTID set was not read at the moment of the data (gtidExecutedInconsistent: true)",
            AGAIN,
        ));
    }
    let mut coordinates = Coordinates::of(Tool::MysqlShell);
    let version = manifest.dumper.split_once("Ver ").map(|(_, rest)| rest);
    coordinates.tool_version = version
        .and_then(|rest| rest.split_whitespace().next())
        .map(str::to_owned);
    coordinates.local_time = manifest.begin;
    // Without GTIDs it is empty, and so it is on a server that has executed none.
    if !manifest.gtid_executed.trim().is_empty() {
        coordinates.gtids = Some(gtid_set(&manifest.gtid_executed)?);
    }
    if let (Some(file), Some(offset)) = (&manifest.binlog_file, manifest.binlog_position)
        && !file.is_empty()
    {
        coordinates.position = Some(position(file, &offset.to_string())?);
    }
    if manifest.origin != "dumpInstance" {
        coordinates.warnings.push(format!(
            "it was made by util.{}(), so it lacks some of the schemas, and the binlogs hold changes of all: replay only what it has",
            manifest.origin
        ));
    }
    placed(coordinates, AGAIN)
}

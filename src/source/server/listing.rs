//! What the server lists: its binlogs, and the one it writes.

use super::session::{Ask, Kind};
use super::table::Table;
use crate::model::{FileName, GtidSet};
use std::time::Duration;

const LOGS_DEADLINE: Duration = Duration::from_secs(5);
pub(super) const LISTING: Ask = Ask {
    kind: Kind::Listing,
    what: "SHOW BINARY LOGS",
    privilege: "REPLICATION CLIENT (MariaDB 10.5 and later: BINLOG MONITOR)",
    deadline: LOGS_DEADLINE,
};
pub(super) const ACTIVE: Ask = Ask {
    kind: Kind::Active,
    what: "SHOW BINARY LOG STATUS",
    privilege: "REPLICATION CLIENT (MariaDB 10.5 and later: BINLOG MONITOR)",
    deadline: LOGS_DEADLINE,
};
pub(super) const REPLICA: Ask = Ask {
    kind: Kind::Replicas,
    what: "SHOW REPLICA STATUS",
    privilege: "REPLICATION CLIENT (MariaDB 10.5 and later: REPLICA MONITOR)",
    deadline: LOGS_DEADLINE,
};
pub(super) const DUMPS: Ask = Ask {
    kind: Kind::Replicas,
    what: "SHOW PROCESSLIST",
    privilege: "PROCESS",
    deadline: LOGS_DEADLINE,
};
/// A rotation syncs and closes the active file, and waits for commits under way.
pub(super) const FLUSH: Ask = Ask {
    kind: Kind::Flush,
    what: "FLUSH BINARY LOGS",
    privilege: "RELOAD",
    deadline: Duration::from_secs(30),
};
/// Deleting ten files of a gigabyte takes seconds on some file systems.
pub(super) const PURGE: Ask = Ask {
    kind: Kind::Purge,
    what: "PURGE BINARY LOGS",
    privilege: "BINLOG_ADMIN (MySQL 5.7: SUPER; MariaDB: BINLOG ADMIN)",
    deadline: Duration::from_secs(60),
};

/// A row of SHOW BINARY LOGS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLog {
    /// Its name.
    pub name: FileName,
    /// Its length in bytes; 0 when the server cannot open it.
    pub size: u64,
    /// `Encrypted` (MySQL 8.0.14).
    pub encrypted: Option<bool>,
}

/// The binlog that the server writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveLog {
    /// Its name.
    pub name: FileName,
    /// Where the next event goes, in bytes.
    pub position: u64,
    /// MySQL: `gtid_executed`. MariaDB: `gtid_binlog_pos`, the last GTID of each domain. Empty where there are no GTIDs.
    pub executed: GtidSet,
    /// `binlog_do_db` or `binlog_ignore_db` is set: some databases' changes are in no binlog.
    pub filtered: bool,
}

/// Reads the rows of SHOW BINARY LOGS.
pub(super) fn server_logs(table: &Table) -> Result<Vec<ServerLog>, String> {
    table
        .rows()
        .map(|row| {
            let name = row.get(&["Log_name"]).ok_or("a row has no Log_name")?;
            let size = row.get(&["File_size"]).and_then(|size| size.parse().ok());
            Ok(ServerLog {
                name: file_name(name)?,
                size: size.ok_or("a row has no File_size")?,
                encrypted: row
                    .get(&["Encrypted"])
                    .map(|value| value.eq_ignore_ascii_case("yes")),
            })
        })
        .collect()
}

/// Reads the row of SHOW BINARY LOG STATUS; none where no binlog is written.
pub(super) fn active_log(
    table: &Table,
    mariadb_position: Option<&str>,
) -> Result<Option<ActiveLog>, String> {
    let Some(row) = table.rows().next() else {
        return Ok(None);
    };
    let name = file_name(row.get(&["File"]).ok_or("it has no File")?)?;
    let position = row.get(&["Position"]).and_then(|text| text.parse().ok());
    let executed = mariadb_position
        .or(row.get(&["Executed_Gtid_Set"]))
        .unwrap_or("");
    let set = |names: &[&str]| row.get(names).is_some_and(|text| !text.is_empty());
    Ok(Some(ActiveLog {
        name,
        position: position.ok_or("it has no Position")?,
        executed: executed
            .parse::<GtidSet>()
            .map_err(|e| e.to_string())?
            .into_position_form(),
        filtered: set(&["Binlog_Do_DB"]) || set(&["Binlog_Ignore_DB"]),
    }))
}

/// A name as the server tells it. With an absolute `log_bin`, some versions tell the path.
fn file_name(text: &str) -> Result<FileName, String> {
    let name = text.rsplit('/').next().unwrap_or(text);
    name.parse()
        .map_err(|e: crate::model::name::NameError| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(columns: &[&str], rows: &[&[Option<&str>]]) -> Table {
        let own = |row: &&[Option<&str>]| row.iter().map(|v| v.map(str::to_owned)).collect();
        Table::new(
            columns.iter().map(|c| (*c).to_owned()).collect(),
            rows.iter().map(own).collect(),
        )
    }

    #[test]
    fn both_servers_lists_are_read() {
        let mysql = table(
            &["Log_name", "File_size", "Encrypted"],
            &[&[Some("binlog.000001"), Some("180"), Some("No")]],
        );
        let logs = server_logs(&mysql).expect("reads");
        assert_eq!((logs[0].size, logs[0].encrypted), (180, Some(false)));
        let maria = table(
            &["Log_name", "File_size"],
            &[&[Some("/x/binlog.000001"), Some("1")]],
        );
        let logs = server_logs(&maria).expect("reads");
        assert_eq!(logs[0].name.to_string(), "binlog.000001");
        assert_eq!(logs[0].encrypted, None);
        for bad in [&[Some("x"), Some("1")], &[Some("b.000001"), None]] {
            assert!(server_logs(&table(&["Log_name", "File_size"], &[bad])).is_err());
        }
    }

    #[test]
    fn the_active_log_has_its_gtids_in_either_form() {
        let columns = [
            "File",
            "Position",
            "Binlog_Do_DB",
            "Binlog_Ignore_DB",
            "Executed_Gtid_Set",
        ];
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let set = format!("{uuid}:1-5,\n4e11fa47-71ca-11e1-9e33-c80aa9429562:1");
        let row: &[_] = &[
            Some("b.000002"),
            Some("197"),
            Some(""),
            Some("tmp"),
            Some(&set),
        ];
        let active = active_log(&table(&columns, &[row]), None)
            .expect("reads")
            .expect("one");
        assert_eq!(
            (active.position, active.filtered, active.executed.count()),
            (197, true, 6)
        );
        let row: &[_] = &[Some("b.000002"), Some("400"), Some(""), Some("")];
        let active = active_log(&table(&columns[..4], &[row]), Some("0-1-7,1-1-2"))
            .expect("reads")
            .expect("one");
        assert_eq!((active.filtered, active.executed.count()), (false, 9));
        assert_eq!(active_log(&table(&columns, &[]), None), Ok(None));
    }
}

//! The statements that make the server's applier read files of ours, and undo it.

use super::super::target::Target;
use super::CHANNEL;
use crate::source::server::{Connection, ServerError, Table};
use std::path::Path;

/// The host of the channel's source, which nobody connects to: only the applier is started. `.invalid` never resolves (RFC 2606).
pub(super) const HOST: &str = "binlogfs.invalid";
/// The channel's user says what `relay_log_purge` was, for whoever takes away what a kill left.
const PURGE_WAS_ON: &str = "relay_log_purge-on";
const PURGE_WAS_OFF: &str = "relay_log_purge-off";
/// How the applier says that it waits for more files.
const AT_END: &str = "has read all relay log";
/// How its threads say that they have nothing to do.
const RESTING: [&str; 2] = [AT_END, "Waiting for an event from Coordinator"];
/// The columns of SHOW REPLICA STATUS that tell filters.
const FILTERS: [&str; 7] = [
    "Replicate_Do_DB",
    "Replicate_Ignore_DB",
    "Replicate_Do_Table",
    "Replicate_Ignore_Table",
    "Replicate_Wild_Do_Table",
    "Replicate_Wild_Ignore_Table",
    "Replicate_Rewrite_DB",
];

/// The one that a recovery of some tables sets.
const ONLY: &str = "Replicate_Wild_Do_Table";

/// What the applier is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    /// It runs.
    pub(super) runs: bool,
    /// It has read everything.
    pub(super) at_end: bool,
    /// Where it is in the files, for people.
    pub(super) place: String,
}

/// Makes the channel. From here on something has to be taken away.
pub(super) async fn make(server: &mut Connection, purge: bool) -> Result<(), ServerError> {
    let was = if purge { PURGE_WAS_ON } else { PURGE_WAS_OFF };
    server
        .run(&format!(
            "CHANGE REPLICATION SOURCE TO SOURCE_HOST = '{HOST}', SOURCE_USER = '{was}', SOURCE_AUTO_POSITION = 0 FOR CHANNEL '{CHANNEL}'"
        ))
        .await
}

/// On a mount that cannot be written the server would fail to delete what it has applied, and stop.
pub(super) async fn keep_files(server: &mut Connection) -> Result<(), ServerError> {
    server.run("SET GLOBAL relay_log_purge = OFF").await
}

/// What the channel would leave out: a new channel takes the server's global filters.
pub(super) async fn filters(server: &mut Connection) -> Result<String, ServerError> {
    filters_but(server, "").await
}

async fn filters_but(server: &mut Connection, ours: &str) -> Result<String, ServerError> {
    let status = status(server).await?;
    let Some(row) = status.rows().next() else {
        return Ok(String::new());
    };
    let set = FILTERS
        .iter()
        .filter(|name| **name != ours)
        .filter_map(|name| {
            let value = row.get(&[name]).filter(|value| !value.is_empty())?;
            Some(format!("{name}={value}"))
        });
    Ok(set.collect::<Vec<_>>().join(", "))
}

/// Takes the server's filters from the channel. A server that is started again gives them back, so its channels must not start by
/// themselves then.
pub(super) async fn end_filters(server: &mut Connection) -> Result<(), ServerError> {
    let none = FILTERS.map(|name| format!("{} = ()", name.to_ascii_uppercase()));
    server
        .run(&format!(
            "CHANGE REPLICATION FILTER {} FOR CHANNEL '{CHANNEL}'",
            none.join(", ")
        ))
        .await
}

/// Filters that the channel has of the server, not of us; `used_or_not`, or only those that left something out since the start.
pub(super) async fn filters_in_force(
    server: &mut Connection,
    used_or_not: bool,
) -> Result<String, ServerError> {
    let mut query = format!(
        "SELECT CONCAT(FILTER_NAME, '=', FILTER_RULE) AS filter FROM performance_schema.replication_applier_filters \
         WHERE CHANNEL_NAME = '{CHANNEL}' AND FILTER_RULE <> '' AND CONFIGURED_BY NOT LIKE '%FOR_CHANNEL'"
    );
    if !used_or_not {
        query += " AND COUNTER > 0";
    }
    let table = server.rows(&query).await?;
    let rows = table.rows();
    let told = rows.filter_map(|row| row.get(&["filter"]).map(str::to_owned));
    let told = told.collect::<Vec<_>>().join(", ");
    if !told.is_empty() || !used_or_not {
        return Ok(told);
    }
    // With performance_schema=OFF those tables are empty, and whose a filter is only its kind tells.
    filters_but(server, ONLY).await
}

/// Whether no thread of the applier has anything to do.
pub(super) async fn workers_rest(server: &mut Connection) -> Result<bool, ServerError> {
    let list = server.rows("SHOW PROCESSLIST").await?;
    let mut states = list
        .rows()
        .filter(|row| row.get(&["User"]) == Some("system user"))
        .map(|row| row.get(&["State"]).unwrap_or_default().to_owned());
    Ok(states.all(|state| RESTING.iter().any(|rest| state.contains(rest))))
}

/// Lets the server read its list of files again, and begin with `first`.
pub(super) async fn point_to(server: &mut Connection, first: &Path) -> Result<(), ServerError> {
    read_list_again(server).await?;
    server
        .run(&format!(
            "CHANGE REPLICATION SOURCE TO RELAY_LOG_FILE = '{}', RELAY_LOG_POS = 4 FOR CHANNEL '{CHANNEL}'",
            first.display()
        ))
        .await
}

/// The server remembers how long its list is, until it is told to look again.
pub(super) async fn read_list_again(server: &mut Connection) -> Result<(), ServerError> {
    // LOCAL: not a transaction of its own.
    server
        .run(&format!("FLUSH LOCAL RELAY LOGS FOR CHANNEL '{CHANNEL}'"))
        .await
}

/// Why the server cannot read a file that its list has, in its words; `None` if it can. Only it knows what it may.
pub(super) async fn unreadable(
    server: &mut Connection,
    file: &Path,
) -> Result<Option<String>, ServerError> {
    let look = format!(
        "SHOW RELAYLOG EVENTS IN '{}' LIMIT 1 FOR CHANNEL '{CHANNEL}'",
        file.display()
    );
    match server.rows(&look).await {
        Ok(_) => Ok(None),
        Err(ServerError::Statement {
            message,
            code: Some(_),
            ..
        }) => Ok(Some(message)),
        Err(error) => Err(error),
    }
}

pub(super) async fn start(server: &mut Connection) -> Result<(), ServerError> {
    server
        .run(&format!("START REPLICA SQL_THREAD FOR CHANNEL '{CHANNEL}'"))
        .await
}

async fn status(server: &mut Connection) -> Result<Table, ServerError> {
    server
        .rows(&format!("SHOW REPLICA STATUS FOR CHANNEL '{CHANNEL}'"))
        .await
}

/// What it is doing; without the channel, nothing.
pub(super) async fn state(server: &mut Connection) -> Result<State, ServerError> {
    let status = status(server).await?;
    let row = status.rows().next();
    let get = |name: &str| row.as_ref().and_then(|row| row.get(&[name]));
    Ok(State {
        runs: get("Replica_SQL_Running") == Some("Yes"),
        at_end: get("Replica_SQL_Running_State").is_some_and(|state| state.contains(AT_END)),
        place: format!(
            "{}:{}",
            get("Relay_Log_File").unwrap_or("?"),
            get("Relay_Log_Pos").unwrap_or("?")
        ),
    })
}

/// Why it stopped, in the server's words.
pub(super) async fn failure(server: &mut Connection) -> Result<String, ServerError> {
    let errors = server
        .rows(&format!(
            "SELECT LAST_ERROR_NUMBER AS number, LAST_ERROR_MESSAGE AS message \
             FROM performance_schema.replication_applier_status_by_worker \
             WHERE CHANNEL_NAME = '{CHANNEL}' AND LAST_ERROR_NUMBER <> 0 ORDER BY LAST_ERROR_TIMESTAMP LIMIT 1"
        ))
        .await?;
    if let Some(row) = errors.rows().next() {
        return Ok(format!(
            "{} (error {})",
            row.get(&["message"]).unwrap_or("no message"),
            row.get(&["number"]).unwrap_or("?")
        ));
    }
    let status = status(server).await?;
    let row = status.rows().next();
    let said = row.and_then(|row| row.get(&["Last_SQL_Error"]).map(str::to_owned));
    Ok(said
        .filter(|said| !said.is_empty())
        .unwrap_or_else(|| "somebody stopped it; the server's error log may say more".to_owned()))
}

/// Ends the applier, after the transactions that it is at.
pub(super) async fn stop(server: &mut Connection) -> Result<(), ServerError> {
    server
        .run(&format!("STOP REPLICA FOR CHANNEL '{CHANNEL}'"))
        .await
}

/// The events that the applier has created. As on any replica it leaves them disabled (`REPLICA_SIDE_DISABLED`), whatever they were on the
/// source. Their originator tells them from those that were restored.
pub(super) async fn events(server: &mut Connection) -> Result<Vec<String>, ServerError> {
    let events = server
        .rows(
            "SELECT EVENT_SCHEMA AS place, EVENT_NAME AS name FROM information_schema.EVENTS \
             WHERE STATUS IN ('REPLICA_SIDE_DISABLED', 'SLAVESIDE_DISABLED') AND ORIGINATOR <> @@GLOBAL.server_id ORDER BY 1, 2",
        )
        .await?;
    let quoted = |name: &str| format!("`{}`", name.replace('`', "``"));
    let names = events.rows().filter_map(|row| {
        let (place, name) = (row.get(&["place"])?, row.get(&["name"])?);
        Some(format!("{}.{}", quoted(place), quoted(name)))
    });
    Ok(names.collect())
}

/// Takes the channel away, and what was changed for it. The mount must be gone: the server deletes the files that it lists, and finds none.
pub(super) async fn remove(target: &mut Target) -> Result<(), ServerError> {
    let server = target.connection();
    let status = status(server).await?;
    let row = status.rows().next();
    let was = row.and_then(|row| row.get(&["Source_User"]).map(str::to_owned));
    server
        .run(&format!("RESET REPLICA ALL FOR CHANNEL '{CHANNEL}'"))
        .await?;
    match was.as_deref() {
        Some(PURGE_WAS_ON) => server.run("SET GLOBAL relay_log_purge = ON").await,
        Some(_) | None => Ok(()),
    }
}

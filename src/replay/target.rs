//! The server to recover, and what is known of it.

use super::start_options::{self, ApplierSettings};
use crate::binlog::Flavour;
use crate::model::{Gtid, GtidSet};
use crate::source::server::{ClientLogin, Connection, ServerError, ServerOptions, Table};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

/// The variables that are asked for, in one statement. Each is shorter than the 1024 characters at which the server cuts them.
const VARIABLES: [&str; 22] = [
    "version",
    "server_uuid",
    "server_id",
    "gtid_mode",
    "super_read_only",
    "event_scheduler",
    "datadir",
    "pid_file",
    "hostname",
    "port",
    "relay_log_index",
    "relay_log_purge",
    "replica_parallel_workers",
    "replica_skip_errors",
    "replica_exec_mode",
    "innodb_redo_log_capacity",
    "log_error",
    "enforce_gtid_consistency",
    "skip_replica_start",
    // Their names before 8.0.26.
    "slave_skip_errors",
    "slave_exec_mode",
    "skip_slave_start",
];
/// Schemas of the server itself.
const USER_TABLES: &str = "SELECT COUNT(*) FROM (SELECT 1 FROM information_schema.tables WHERE table_schema NOT IN \
    ('mysql', 'sys', 'information_schema', 'performance_schema') LIMIT 1) AS one";
/// Events that the server would run.
const ENABLED_EVENTS: &str =
    "SELECT COUNT(*) FROM information_schema.events WHERE status = 'ENABLED'";
/// In the words of MariaDB, which tells all its connections only when asked for ALL, of MySQL, and of MySQL before 8.0.22.
const REPLICA_STATUS: [&str; 3] = [
    "SHOW ALL SLAVES STATUS",
    "SHOW REPLICA STATUS",
    "SHOW SLAVE STATUS",
];
/// A lock that ends with the connection.
const CLAIM: &str = "SELECT GET_LOCK('binlogfs recover', 0)";
/// After a failure the server is asked once more what it has; a dead one is not waited for longer.
const LAST_LOOK: Duration = Duration::from_secs(5);

/// A channel that the server replicates by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name; the default one's is empty.
    pub name: String,
    /// The host of its source.
    pub source: String,
    /// One of its threads runs.
    pub runs: bool,
}

/// What is known of the server. What its version does not have is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFacts {
    /// MySQL or MariaDB.
    pub flavour: Flavour,
    /// `version`.
    pub version: String,
    /// `server_uuid`.
    pub uuid: Option<Uuid>,
    /// Tells it from other servers, also where there is no UUID.
    pub identity: String,
    /// `server_id`.
    pub server_id: Option<u32>,
    /// `gtid_mode`.
    pub gtid_mode: Option<String>,
    /// `gtid_executed`; MariaDB's `gtid_binlog_pos` and `gtid_slave_pos`.
    pub executed: GtidSet,
    /// `super_read_only`.
    pub super_read_only: bool,
    /// `event_scheduler`.
    pub event_scheduler: bool,
    /// It has events that the scheduler would run.
    pub has_events: bool,
    /// It has a table of somebody.
    pub has_tables: bool,
    /// Its channels.
    pub channels: Vec<Channel>,
    /// `datadir`.
    pub datadir: Option<PathBuf>,
    /// `pid_file`.
    pub pid_file: Option<PathBuf>,
    /// `relay_log_index`: that of its default channel.
    pub relay_log_index: Option<PathBuf>,
    /// `relay_log_purge`.
    pub relay_log_purge: bool,
    /// `log_error`, if that is a file.
    pub log_error: Option<PathBuf>,
    /// How its appliers are set.
    pub applier: ApplierSettings,
    /// `replica_parallel_workers`.
    pub workers: Option<u32>,
    /// `innodb_redo_log_capacity`, in bytes.
    pub redo_log_bytes: Option<u64>,
}

impl TargetFacts {
    /// Transactions with GTIDs can be applied.
    pub fn takes_gtids(&self) -> bool {
        let mode = self.gtid_mode.as_deref();
        mode.is_some_and(|mode| mode.starts_with("ON"))
    }

    /// Transactions without GTIDs can be applied.
    pub fn takes_anonymous(&self) -> bool {
        self.gtid_mode.as_deref() != Some("ON")
    }
}

/// The server to recover.
pub struct Target {
    options: ServerOptions,
    connection: Connection,
}

impl Target {
    /// Connects to it.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn open(options: ServerOptions) -> Result<Target, ServerError> {
        let connection = Connection::open(&options).await?;
        Ok(Target {
            options,
            connection,
        })
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        self.connection.server()
    }

    /// The connection.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// How its client connects.
    ///
    /// # Errors
    /// [`ServerError::Options`].
    pub fn login(&self, flavour: Flavour) -> Result<ClientLogin, ServerError> {
        Ok(self.options.client_login(flavour)?)
    }

    /// Connects again: the server was ended, and started.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn reconnect(&mut self) -> Result<(), ServerError> {
        self.connection = Connection::open(&self.options).await?;
        Ok(())
    }

    /// Takes the server for this recovery, as long as the connection lives; `false` if another one has it.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn claim(&mut self) -> Result<bool, ServerError> {
        let got = self.connection.value(CLAIM).await?;
        Ok(got.as_deref() == Some("1"))
    }

    /// What it is now.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn facts(&mut self) -> Result<TargetFacts, ServerError> {
        let variables = self.connection.variables(&VARIABLES).await?;
        let get = |name: &str| variables.get(name).cloned();
        let version = get("version").unwrap_or_default();
        let flavour = match version.contains("MariaDB") {
            true => Flavour::MariaDb,
            false => Flavour::MySql,
        };
        let executed = self.executed_of(flavour).await?;
        let tables = self.connection.value(USER_TABLES).await?;
        let events = self.connection.value(ENABLED_EVENTS).await?;
        let status = self.connection.first_known(&REPLICA_STATUS).await?;
        let mut applier = applier(&variables);
        if flavour == Flavour::MySql {
            start_options::ask(&mut self.connection, &mut applier).await;
        }
        let path = |name: &str| get(name).filter(|path| !path.is_empty()).map(PathBuf::from);
        Ok(TargetFacts {
            flavour,
            uuid: get("server_uuid").and_then(|uuid| uuid.parse().ok()),
            identity: identity(&variables),
            server_id: get("server_id").and_then(|id| id.parse().ok()),
            gtid_mode: get("gtid_mode"),
            executed,
            super_read_only: get("super_read_only").is_some_and(|value| value == "ON"),
            event_scheduler: get("event_scheduler").is_some_and(|value| value == "ON"),
            has_events: events.is_some_and(|count| count != "0"),
            has_tables: tables.is_some_and(|count| count != "0"),
            channels: channels(&status),
            datadir: path("datadir"),
            pid_file: path("pid_file"),
            relay_log_index: path("relay_log_index"),
            relay_log_purge: get("relay_log_purge").is_some_and(|value| value == "ON"),
            log_error: path("log_error").filter(|path| path.as_os_str() != "stderr"),
            applier,
            workers: get("replica_parallel_workers").and_then(|count| count.parse().ok()),
            redo_log_bytes: get("innodb_redo_log_capacity").and_then(|size| size.parse().ok()),
            version,
        })
    }

    /// Commits an empty transaction for each of these: it has their GTIDs then, and applies none of them, whoever brings it. One that it
    /// has stays as it is.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn pass_over(&mut self, gtids: &GtidSet) -> Result<(), ServerError> {
        if gtids.is_empty() {
            return Ok(());
        }
        let each: Vec<Gtid> = gtids.each().collect();
        for gtid in each {
            let next = format!("SET SESSION gtid_next = '{gtid}'");
            for statement in [next.as_str(), "BEGIN", "COMMIT"] {
                self.connection.run(statement).await?;
            }
        }
        self.connection
            .run("SET SESSION gtid_next = 'AUTOMATIC'")
            .await
    }

    /// What it has executed.
    ///
    /// # Errors
    /// [`ServerError`].
    pub async fn executed(&mut self) -> Result<GtidSet, ServerError> {
        self.executed_of(Flavour::MySql).await
    }

    /// The same over a connection of its own, after a failure: the first may be what failed. `None` if it cannot be asked.
    pub async fn last_look(&self) -> Option<GtidSet> {
        let look = async {
            let mut again = Target::open(self.options.clone()).await.ok()?;
            again.executed().await.ok()
        };
        tokio::time::timeout(LAST_LOOK, look).await.ok().flatten()
    }

    async fn executed_of(&mut self, flavour: Flavour) -> Result<GtidSet, ServerError> {
        let query = match flavour {
            // Not from SHOW VARIABLES, which cuts it.
            Flavour::MySql => "SELECT @@GLOBAL.gtid_executed",
            // What it wrote itself, and what it had when it was restored: a client that replays writes the source's GTIDs into the
            // former, and gtid_current_pos passes over those of other servers.
            Flavour::MariaDb => {
                "SELECT CONCAT_WS(',', NULLIF(@@GLOBAL.gtid_binlog_pos, ''), NULLIF(@@GLOBAL.gtid_slave_pos, ''))"
            }
        };
        let text = self.connection.value(query).await?.unwrap_or_default();
        let text: String = text.split_whitespace().collect();
        text.parse().map_err(|error| ServerError::Unexpected {
            server: self.name().to_owned(),
            what: "gtid_executed",
            reason: format!("{error}"),
        })
    }
}

fn identity(variables: &HashMap<String, String>) -> String {
    let get = |name: &str| variables.get(name).map_or("", String::as_str);
    match variables.get("server_uuid") {
        Some(uuid) => uuid.clone(),
        None => format!("{}:{}:{}", get("hostname"), get("port"), get("datadir")),
    }
}

fn applier(variables: &HashMap<String, String>) -> ApplierSettings {
    let get = |names: &[&str]| names.iter().find_map(|&name| variables.get(name)).cloned();
    let kept = start_options::KEPT.iter().filter_map(|&name| {
        let value = variables.get(name)?;
        Some((name.to_owned(), value.clone()))
    });
    ApplierSettings {
        skip_errors: get(&["replica_skip_errors", "slave_skip_errors"]),
        exec_mode: get(&["replica_exec_mode", "slave_exec_mode"]),
        skip_start: get(&["skip_replica_start", "skip_slave_start"])
            .is_some_and(|value| value == "ON"),
        kept: kept.collect(),
        ..ApplierSettings::default()
    }
}

fn channels(status: &Table) -> Vec<Channel> {
    let rows = status.rows().map(|row| {
        let runs = |names: &[&str]| {
            row.get(names)
                .is_some_and(|state| !state.eq_ignore_ascii_case("no"))
        };
        Channel {
            name: row
                .get(&["Channel_Name", "Connection_name"])
                .unwrap_or_default()
                .to_owned(),
            source: row
                .get(&["Source_Host", "Master_Host"])
                .unwrap_or_default()
                .to_owned(),
            runs: runs(&["Replica_IO_Running", "Slave_IO_Running"])
                || runs(&["Replica_SQL_Running", "Slave_SQL_Running"]),
        }
    });
    rows.collect()
}

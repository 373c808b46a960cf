//! What the server is, and which of its settings decide what its binlogs are worth.

use super::session::{Ask, Kind};
use crate::binlog::Flavour;
use std::collections::HashMap;
use std::time::Duration;
use uuid::Uuid;

/// A question of facts takes no binlog lock.
pub(super) const VARIABLES: Ask = Ask {
    kind: Kind::Variables,
    what: "SHOW GLOBAL VARIABLES",
    privilege: "USAGE",
    deadline: Duration::from_secs(5),
};

/// The variables that are asked for, in one statement. `docs/SERVER.md` says what each means for the archive.
pub(super) const NAMES: [&str; 25] = [
    "server_uuid",
    "server_id",
    "hostname",
    "port",
    "version",
    "version_comment",
    "gtid_mode",
    "gtid_domain_id",
    "log_bin",
    "log_bin_basename",
    "log_bin_index",
    "binlog_expire_logs_seconds",
    "expire_logs_days",
    "binlog_expire_logs_auto_purge",
    "binlog_error_action",
    "binlog_encryption",
    "encrypt_binlog",
    "max_binlog_size",
    "binlog_space_limit",
    "max_binlog_total_size",
    "sync_binlog",
    "binlog_checksum",
    "log_replica_updates",
    "log_slave_updates",
    "read_only",
];

/// The variables that tell one server from another.
pub(super) const IDENTITY_NAMES: [&str; 5] = [
    "server_uuid",
    "server_id",
    "hostname",
    "port",
    "log_bin_index",
];

/// Which server it is: all that differs between two, a clone on the same host included.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Identity {
    /// `server_uuid`; MariaDB has none.
    pub server_uuid: Option<Uuid>,
    /// `server_id`.
    pub server_id: Option<u64>,
    /// `hostname`.
    pub hostname: Option<String>,
    /// `port`.
    pub port: Option<u64>,
    /// `log_bin_index`.
    pub log_bin_index: Option<String>,
}

impl std::fmt::Display for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let uuid = self.server_uuid.map(|uuid| uuid.to_string());
        write!(
            f,
            "server_uuid {}, server_id {}, host {}, port {}",
            uuid.as_deref().unwrap_or("none"),
            self.server_id.unwrap_or(0),
            self.hostname.as_deref().unwrap_or("unknown"),
            self.port.unwrap_or(0)
        )
    }
}

/// A server that replicates from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Channels (or connections, MariaDB) whose receiver and applier both run, of `channels`.
    pub running: usize,
    /// All of them.
    pub channels: usize,
    /// The largest `Seconds_Behind_Source`; `None` while any channel does not know it.
    pub lag: Option<Duration>,
}

/// What is known of the server. `None`: this version does not have it.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct ServerFacts {
    /// Which server it is.
    pub identity: Identity,
    /// `version`, such as `9.7.4`.
    pub version: String,
    /// Told from the version.
    pub flavour: Option<Flavour>,
    /// `gtid_mode`.
    pub gtid_mode: Option<String>,
    /// `log_bin`.
    pub log_bin: Option<bool>,
    /// `log_bin_basename`: a path.
    pub log_bin_basename: Option<String>,
    /// `binlog_expire_logs_seconds`.
    pub binlog_expire_logs_seconds: Option<u64>,
    /// `expire_logs_days`; MariaDB's may have a fraction.
    pub expire_logs_days: Option<f64>,
    /// `binlog_expire_logs_auto_purge` (MySQL 8.0.29).
    pub binlog_expire_logs_auto_purge: Option<bool>,
    /// `binlog_error_action`.
    pub binlog_error_action: Option<String>,
    /// `binlog_encryption`; MariaDB: `encrypt_binlog`.
    pub binlog_encryption: Option<bool>,
    /// `max_binlog_size`, in bytes.
    pub max_binlog_size: Option<u64>,
    /// Percona's `binlog_space_limit`, MariaDB's `max_binlog_total_size`, in bytes; 0 is no limit.
    pub binlog_total_limit: Option<u64>,
    /// `sync_binlog`.
    pub sync_binlog: Option<u64>,
    /// `binlog_checksum`.
    pub binlog_checksum: Option<String>,
    /// `log_replica_updates`.
    pub log_replica_updates: Option<bool>,
    /// `read_only`.
    pub read_only: Option<bool>,
    /// `Threads_running`.
    pub threads_running: Option<u64>,
    /// Where it replicates from others.
    pub replica: Option<Replica>,
    /// The account may not ask about replication; then `replica` says nothing.
    pub replica_unknown: bool,
}

impl ServerFacts {
    /// The binlog index file, as the server names it.
    pub fn log_bin_index(&self) -> Option<&str> {
        self.identity.log_bin_index.as_deref()
    }

    /// `server_uuid`.
    pub fn server_uuid(&self) -> Option<Uuid> {
        self.identity.server_uuid
    }

    /// Reads the variables; replication and status are asked for separately.
    pub(super) fn from_variables(variables: &HashMap<String, String>) -> ServerFacts {
        let get = |name: &str| variables.get(name).cloned();
        let number = |name: &str| variables.get(name)?.parse().ok();
        let flag = |name: &str| on(variables.get(name)?);
        let version = get("version").unwrap_or_default();
        let comment = get("version_comment").unwrap_or_default();
        let flavour = if format!("{version} {comment}")
            .to_ascii_lowercase()
            .contains("mariadb")
        {
            Flavour::MariaDb
        } else {
            Flavour::MySql
        };
        ServerFacts {
            identity: identity(variables),
            flavour: (!version.is_empty()).then_some(flavour),
            version,
            gtid_mode: get("gtid_mode"),
            log_bin: flag("log_bin"),
            log_bin_basename: get("log_bin_basename"),
            binlog_expire_logs_seconds: number("binlog_expire_logs_seconds"),
            expire_logs_days: variables
                .get("expire_logs_days")
                .and_then(|days| days.parse().ok()),
            binlog_expire_logs_auto_purge: flag("binlog_expire_logs_auto_purge"),
            binlog_error_action: get("binlog_error_action"),
            binlog_encryption: flag("binlog_encryption").or_else(|| flag("encrypt_binlog")),
            max_binlog_size: number("max_binlog_size"),
            binlog_total_limit: number("binlog_space_limit")
                .or_else(|| number("max_binlog_total_size")),
            sync_binlog: number("sync_binlog"),
            binlog_checksum: get("binlog_checksum"),
            log_replica_updates: flag("log_replica_updates").or_else(|| flag("log_slave_updates")),
            read_only: flag("read_only"),
            threads_running: None,
            replica: None,
            replica_unknown: false,
        }
    }
}

/// Which server the variables are of.
pub(super) fn identity(variables: &HashMap<String, String>) -> Identity {
    let number = |name: &str| variables.get(name)?.parse().ok();
    let text = |name: &str| {
        let value = variables.get(name)?;
        (!value.is_empty()).then(|| value.clone())
    };
    Identity {
        server_uuid: text("server_uuid").and_then(|uuid| uuid.parse().ok()),
        server_id: number("server_id"),
        hostname: text("hostname"),
        port: number("port"),
        log_bin_index: text("log_bin_index"),
    }
}

/// A switch, as the servers spell it.
fn on(value: &str) -> Option<bool> {
    match value.to_ascii_uppercase().as_str() {
        // read_only of MariaDB 11.8 has more than two values; all but OFF are read-only.
        "ON" | "1" | "YES" | "NO_LOCK" | "NO_LOCK_NO_ADMIN" => Some(true),
        "OFF" | "0" | "NO" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(of: &[(&str, &str)]) -> ServerFacts {
        let owned = of.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        ServerFacts::from_variables(&owned.collect())
    }

    #[test]
    fn what_a_version_does_not_have_is_not_known_and_no_error() {
        let none = facts(&[]);
        assert_eq!(none, ServerFacts::default());
        let old = facts(&[("version", "5.6.51-log"), ("expire_logs_days", "7")]);
        assert_eq!(old.flavour, Some(Flavour::MySql));
        assert_eq!(old.expire_logs_days, Some(7.0));
        assert_eq!(old.binlog_expire_logs_seconds, None);
    }

    #[test]
    fn each_flavours_own_words_are_understood() {
        let maria = facts(&[
            ("version", "10.11.6-MariaDB-log"),
            ("encrypt_binlog", "ON"),
            ("max_binlog_total_size", "1000"),
            ("log_slave_updates", "OFF"),
            ("expire_logs_days", "0.500000"),
        ]);
        assert_eq!(maria.flavour, Some(Flavour::MariaDb));
        assert_eq!(maria.binlog_encryption, Some(true));
        assert_eq!(maria.binlog_total_limit, Some(1000));
        assert_eq!(maria.log_replica_updates, Some(false));
        assert_eq!(maria.expire_logs_days, Some(0.5));
    }
}

//! Where in the history a base backup stands.

use crate::locate::FilePosition;
use crate::model::{GtidSet, Micros};
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// What a backup was made with, and so where its coordinates were written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tool {
    /// `mysqldump`.
    Mysqldump,
    /// `mariadb-dump`.
    MariadbDump,
    /// `mydumper`.
    Mydumper,
    /// `util.dumpInstance` and its like of MySQL Shell.
    MysqlShell,
    /// Percona XtraBackup.
    Xtrabackup,
    /// `mariadb-backup`.
    MariadbBackup,
    /// The clone plugin.
    Clone,
    /// A person told the coordinates.
    ByHand,
    /// A tool that only a newer build knows.
    #[serde(other)]
    Other,
}

impl Tool {
    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            Tool::Mysqldump => "mysqldump",
            Tool::MariadbDump => "mariadb-dump",
            Tool::Mydumper => "mydumper",
            Tool::MysqlShell => "mysqlsh",
            Tool::Xtrabackup => "xtrabackup",
            Tool::MariadbBackup => "mariadb-backup",
            Tool::Clone => "clone",
            Tool::ByHand => "by hand",
            Tool::Other => "another tool",
        }
    }
}

/// Where in the history a backup stands, as its own metadata tell. At least one of `gtids` and `position` is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coordinates {
    /// Every GTID whose effects it holds. MariaDB: the last of each domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtids: Option<GtidSet>,
    /// The end of what it holds in the binlogs of the server it was made on: a file by that server's own name, and bytes.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "position_text"
    )]
    pub position: Option<FilePosition>,
    /// The server it was made on. Few tools write it down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_uuid: Option<Uuid>,
    /// When it was consistent, at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_at: Option<Micros>,
    /// The time its metadata give, of which no zone is known: for people only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_time: Option<String>,
    /// What it was made with.
    pub tool: Tool,
    /// Its version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_version: Option<String>,
    /// What a person should know before relying on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Coordinates {
    /// Nothing known yet.
    pub fn of(tool: Tool) -> Coordinates {
        Coordinates {
            gtids: None,
            position: None,
            server_uuid: None,
            taken_at: None,
            local_time: None,
            tool,
            tool_version: None,
            warnings: Vec::new(),
        }
    }

    /// Whether they name a place at all.
    pub fn is_place(&self) -> bool {
        self.gtids.is_some() || self.position.is_some()
    }

    /// The tool with its version.
    pub fn made_with(&self) -> String {
        match &self.tool_version {
            Some(version) => format!("{} {version}", self.tool.name()),
            None => self.tool.name().to_owned(),
        }
    }
}

impl fmt::Display for Coordinates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.gtids, &self.position) {
            (Some(gtids), Some(position)) => write!(f, "{gtids} ({position})"),
            (Some(gtids), None) => write!(f, "{gtids}"),
            (None, Some(position)) => write!(f, "{position}"),
            (None, None) => f.write_str("nowhere"),
        }
    }
}

mod position_text {
    use super::FilePosition;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        position: &Option<FilePosition>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match position {
            Some(position) => serializer.collect_str(position),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<FilePosition>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let parsed = text.map(|text| text.parse()).transpose();
        parsed.map_err(serde::de::Error::custom)
    }
}

//! What a server's start decides of its appliers, and the options with which a start decides it otherwise.

use super::target::TargetFacts;
use crate::source::server::Connection;
use std::collections::BTreeMap;
use std::fmt;

/// From this version on the names of options and variables say `replica`.
const VERSION_MIN: (u32, u32, u32) = (8, 0, 26);
/// Filters of the server's start, and of CHANGE REPLICATION FILTER for all channels: a new channel takes them over.
const FILTERS: &str = "SELECT CONCAT(FILTER_NAME, '=', FILTER_RULE) AS filter \
    FROM performance_schema.replication_applier_global_filters WHERE FILTER_RULE <> '' ORDER BY 1";
/// Variables that were set while the server runs.
const SET_SINCE: &str = "SELECT VARIABLE_NAME AS name FROM performance_schema.variables_info WHERE VARIABLE_SOURCE = 'DYNAMIC'";

/// Variables that were looked at, or that somebody was told to set, before a replay: a start must not undo that.
pub(super) const KEPT: [&str; 6] = [
    "server_id",
    "gtid_mode",
    "enforce_gtid_consistency",
    "event_scheduler",
    "replica_parallel_workers",
    "innodb_redo_log_capacity",
];

/// How a server's appliers are set. What its version does not have is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApplierSettings {
    /// `replica_skip_errors`: only a start sets it.
    pub skip_errors: Option<String>,
    /// `replica_exec_mode`.
    pub exec_mode: Option<String>,
    /// `skip_replica_start`: its channels do not start with it. Only a start sets it.
    pub skip_start: bool,
    /// Filters that a new channel takes over. Only the start's options, or the lack of them, end those.
    pub filters: Vec<String>,
    /// Values of `KEPT`.
    pub kept: BTreeMap<String, String>,
    /// Those of `KEPT` that were set while it runs: a start without options of ours undoes that.
    pub set_since: Vec<String>,
}

/// A start that takes out of the applier's way what is there by an earlier start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    /// What is in the way.
    pub why: String,
    /// What mysqld is to be given besides.
    pub options: Vec<StartOption>,
    /// What a start without these options undoes.
    pub undone: Vec<String>,
}

/// An option of mysqld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartOption {
    /// The variable in which it shows.
    pub variable: String,
    /// Its value there.
    pub value: String,
}

impl fmt::Display for StartOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--{}={}", self.variable.replace('_', "-"), self.value)
    }
}

/// As they are written on a command line.
pub fn command_line(options: &[StartOption]) -> String {
    let words: Vec<String> = options.iter().map(StartOption::to_string).collect();
    words.join(" ")
}

/// What makes the applier leave something out that a start can end; `None` if there is nothing.
pub fn needed(facts: &TargetFacts, workers: usize) -> Option<Restart> {
    let applier = &facts.applier;
    let option = |variable: &str, value: &str| StartOption {
        variable: variable.to_owned(),
        value: value.to_owned(),
    };
    // A server that comes back by itself would start the channel, and any other.
    let mut options = vec![option("skip_replica_start", "ON")];
    let mut why = Vec::new();
    if let Some(errors) = forgiven(applier.skip_errors.as_deref(), "OFF") {
        why.push(format!(
            "the target's appliers pass over errors (replica_skip_errors={errors})"
        ));
        options.push(option("replica_skip_errors", "OFF"));
    }
    if let Some(mode) = forgiven(applier.exec_mode.as_deref(), "STRICT") {
        why.push(format!(
            "the target's appliers pass over errors (replica_exec_mode={mode}; SET GLOBAL replica_exec_mode = STRICT ends that without a restart)"
        ));
        options.push(option("replica_exec_mode", "STRICT"));
    }
    // They can be taken from a channel while the server runs, but whoever starts it again gives them back, and starts the channel.
    if !applier.filters.is_empty() && !applier.skip_start {
        why.push(format!(
            "the target has replication filters, which would leave transactions out ({}), and starts its channels by itself",
            applier.filters.join(", ")
        ));
    }
    if why.is_empty() {
        return None;
    }
    options.extend(applier.kept.iter().map(|(variable, value)| {
        let few =
            variable == "replica_parallel_workers" && facts.workers.is_none_or(|count| count < 2);
        match few {
            true => option(variable, &workers.max(2).to_string()),
            false => option(variable, value),
        }
    }));
    Some(Restart {
        why: why.join("; "),
        options,
        undone: applier.set_since.clone(),
    })
}

/// Whether the options of a start have the names that this knows.
pub(super) fn are_known(version: &str) -> bool {
    numbers(version) >= VERSION_MIN
}

/// The numbers that a version begins with.
pub(super) fn numbers(version: &str) -> (u32, u32, u32) {
    let mut numbers = version
        .split(['.', '-'])
        .map(|part| part.parse().unwrap_or(0_u32));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next(), next())
}

fn forgiven<'a>(value: Option<&'a str>, strict: &str) -> Option<&'a str> {
    value.filter(|value| !value.eq_ignore_ascii_case(strict))
}

/// Filters, and what was set while the server runs. An account that may not read that is told nothing: the channel itself shows later
/// what it has.
pub(super) async fn ask(server: &mut Connection, applier: &mut ApplierSettings) {
    match server.rows(FILTERS).await {
        Ok(filters) => {
            let rows = filters.rows();
            let texts = rows.filter_map(|row| row.get(&["filter"]).map(str::to_owned));
            applier.filters = texts.collect();
        }
        Err(error) => tracing::debug!(%error, "the replication filters are not known"),
    }
    match server.rows(SET_SINCE).await {
        Ok(names) => {
            let names = names
                .rows()
                .filter_map(|row| row.get(&["name"]).map(str::to_ascii_lowercase));
            let mut names: Vec<String> =
                names.filter(|name| KEPT.contains(&name.as_str())).collect();
            names.sort();
            applier.set_since = names;
        }
        Err(error) => tracing::debug!(%error, "what was set while the server runs is not known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::Flavour;

    fn facts(applier: ApplierSettings) -> TargetFacts {
        TargetFacts {
            flavour: Flavour::MySql,
            version: "9.7.4".into(),
            uuid: None,
            identity: String::new(),
            server_id: Some(2),
            gtid_mode: Some("ON".into()),
            executed: crate::model::GtidSet::new(),
            super_read_only: false,
            event_scheduler: false,
            has_events: false,
            has_tables: false,
            channels: Vec::new(),
            datadir: None,
            pid_file: None,
            relay_log_index: None,
            relay_log_purge: true,
            log_error: None,
            applier,
            workers: Some(4),
            redo_log_bytes: None,
        }
    }

    #[test]
    fn a_start_ends_what_makes_the_applier_leave_something_out_and_undoes_nothing() {
        let settings = ApplierSettings {
            skip_errors: Some("1062".into()),
            exec_mode: Some("STRICT".into()),
            kept: [("server_id".to_owned(), "2".to_owned())].into(),
            ..ApplierSettings::default()
        };
        let restart = needed(&facts(settings.clone()), 8).expect("needed");
        assert!(
            restart.why.contains("replica_skip_errors=1062"),
            "{}",
            restart.why
        );
        assert_eq!(
            command_line(&restart.options),
            "--skip-replica-start=ON --replica-skip-errors=OFF --server-id=2"
        );
        let strict = ApplierSettings {
            skip_errors: Some("OFF".into()),
            ..settings
        };
        assert_eq!(needed(&facts(strict), 8), None);
    }

    #[test]
    fn filters_are_in_the_way_of_a_server_that_starts_its_channels_by_itself() {
        let filters = vec!["REPLICATE_DO_DB=elsewhere".to_owned()];
        let mut settings = ApplierSettings {
            filters,
            kept: [("replica_parallel_workers".to_owned(), "1".to_owned())].into(),
            ..ApplierSettings::default()
        };
        let mut facts = facts(settings.clone());
        facts.workers = Some(1);
        let restart = needed(&facts, 8).expect("needed");
        assert!(
            restart.why.contains("REPLICATE_DO_DB=elsewhere"),
            "{}",
            restart.why
        );
        // One worker would be slow; it is as it was after the last start.
        assert_eq!(
            command_line(&restart.options),
            "--skip-replica-start=ON --replica-parallel-workers=8"
        );
        settings.skip_start = true;
        facts.applier = settings;
        assert_eq!(needed(&facts, 8), None);
    }

    #[test]
    fn options_are_given_to_versions_that_know_them() {
        for (version, known) in [
            ("9.7.4-2", true),
            ("8.0.26", true),
            ("8.0.25", false),
            ("5.7.44-log", false),
        ] {
            assert_eq!(are_known(version), known, "{version}");
        }
    }
}

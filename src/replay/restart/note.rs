//! That a server runs with options of ours.

use super::super::start_options::StartOption;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Variables that decide how fast something is, and nothing else: a server may have its reasons to set them otherwise.
const SPEED: [&str; 2] = ["replica_parallel_workers", "innodb_redo_log_capacity"];

/// Each start of ours sets it, and few servers do by themselves.
const MARK: &str = "skip_replica_start";

/// What is known of a server that was restarted for a replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartNote {
    /// The server.
    pub target: String,
    /// The options, as variables and their values.
    pub with: BTreeMap<String, String>,
    /// What these variables were before.
    pub before: BTreeMap<String, String>,
}

impl RestartNote {
    /// A note of a start with `options` of a server that has no values yet.
    pub fn new(target: &str, options: &[StartOption]) -> RestartNote {
        let with = options
            .iter()
            .map(|option| (option.variable.clone(), option.value.clone()));
        RestartNote {
            target: target.to_owned(),
            with: with.collect(),
            before: BTreeMap::new(),
        }
    }

    /// The options, as they are written on a command line.
    pub fn options(&self) -> String {
        let words = self.with.iter().map(|(variable, value)| {
            let (variable, value) = (variable.clone(), value.clone());
            StartOption { variable, value }.to_string()
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// Whether a server with these variables runs with the options.
    pub fn is_in_force(&self, now: &BTreeMap<String, String>) -> bool {
        let changed = self.changed();
        match changed.iter().find(|(name, _)| *name == MARK) {
            Some((name, value)) => is(now, name, value),
            None => !changed.is_empty() && changed.iter().all(|(name, value)| is(now, name, value)),
        }
    }

    /// The variables that are not what the options say, with their values.
    pub fn lacking(&self, now: &BTreeMap<String, String>) -> Vec<String> {
        let decides = self
            .with
            .iter()
            .filter(|(name, _)| !SPEED.contains(&name.as_str()));
        decides
            .filter(|(name, value)| !is(now, name, value))
            .map(|(name, value)| {
                let now = now.get(name).map_or("not there", String::as_str);
                format!("{name} is {now}, not {value}")
            })
            .collect()
    }

    /// The variables that the options change.
    fn changed(&self) -> Vec<(&String, &String)> {
        let with = self
            .with
            .iter()
            .filter(|(name, _)| !SPEED.contains(&name.as_str()));
        with.filter(|(name, value)| !is(&self.before, name, value))
            .collect()
    }
}

fn is(variables: &BTreeMap<String, String>, name: &str, value: &str) -> bool {
    variables
        .get(name)
        .is_some_and(|now| now.eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_server_is_told_from_one_that_was_started_without_the_options() {
        let note = RestartNote {
            target: "a server".into(),
            with: variables(&[
                ("skip_replica_start", "ON"),
                ("replica_skip_errors", "OFF"),
                ("replica_parallel_workers", "4"),
                ("server_id", "2"),
            ]),
            before: variables(&[
                ("skip_replica_start", "OFF"),
                ("replica_skip_errors", "1062"),
                ("replica_parallel_workers", "1"),
                ("server_id", "2"),
            ]),
        };
        let with = |errors, start| {
            variables(&[
                ("skip_replica_start", start),
                ("replica_skip_errors", errors),
                ("replica_parallel_workers", "2"),
                ("server_id", "2"),
            ])
        };
        let (ours, its_own) = (with("off", "ON"), with("1062", "OFF"));
        assert!(note.is_in_force(&ours) && note.lacking(&ours).is_empty());
        assert!(!note.is_in_force(&its_own));
        assert_eq!(
            note.lacking(&its_own),
            [
                "replica_skip_errors is 1062, not OFF",
                "skip_replica_start is OFF, not ON"
            ]
        );
        // Its administrator has mended one of them since, and started it himself.
        assert!(!note.is_in_force(&with("OFF", "OFF")));
        // An option that something else overrides does not make it a start of its own.
        assert!(note.is_in_force(&with("1062", "ON")));
        // What was set while it ran is lost, and that is told.
        let mut other = ours.clone();
        other.insert("server_id".into(), "1".into());
        assert_eq!(note.lacking(&other), ["server_id is 1, not 2"]);
    }

    #[test]
    fn the_options_are_written_as_they_were() {
        let options = [StartOption {
            variable: "skip_replica_start".into(),
            value: "ON".into(),
        }];
        let note = RestartNote::new("a server", &options);
        assert_eq!(note.options(), "--skip-replica-start=ON");
    }
}

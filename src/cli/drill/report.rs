//! What a drill tells.

use super::super::{Global, output};
use crate::backup::BackupId;
use crate::model::{Micros, Sha256, StoreUrl};
use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Tables that a line names.
const NAMED: usize = 5;

/// A drill that came to its end.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) backup: String,
    pub(super) target: String,
    pub(super) stop: String,
    pub(super) engine: &'static str,
    pub(super) transactions: u64,
    pub(super) restored: Duration,
    pub(super) replayed: Duration,
    pub(super) gtid_executed: String,
    pub(super) tables: BTreeMap<String, u64>,
    pub(super) is_compared: bool,
    /// Tables that are not as in the reference.
    pub(super) differing: Vec<String>,
}

/// What is read of an earlier report.
#[derive(Debug, Deserialize)]
pub(super) struct Reference {
    backup: String,
    stop: String,
    tables: BTreeMap<String, u64>,
}

/// Reads an earlier report.
pub(super) fn reference(path: &Path) -> Result<Reference> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| {
        format!(
            "{} is no report of a drill ('binlogfs drill --json' prints one)",
            path.display()
        )
    })
}

impl Reference {
    /// The tables that are not the same.
    pub(super) fn differing(
        &self,
        backup: &BackupId,
        stop: &str,
        tables: &BTreeMap<String, u64>,
    ) -> Result<Vec<String>> {
        if self.backup != backup.to_string() || self.stop != stop {
            bail!(
                "the reference is of backup {} up to {}, and this drill of {backup} up to {stop}: they cannot be compared; give the \
                 drill the reference's place with --to-position {}",
                self.backup,
                self.stop,
                self.stop
            );
        }
        let names = self.tables.keys().chain(tables.keys());
        let mut differing: Vec<String> = names
            .filter(|name| self.tables.get(*name) != tables.get(*name))
            .cloned()
            .collect();
        differing.sort();
        differing.dedup();
        Ok(differing)
    }
}

impl Report {
    /// One number for all tables.
    fn digest(&self) -> Sha256 {
        let lines = self
            .tables
            .iter()
            .map(|(name, sum)| format!("{name} {sum}\n"));
        Sha256::of(lines.collect::<String>().as_bytes())
    }
}

#[derive(Serialize)]
struct Document<'a> {
    proven: bool,
    backup: &'a str,
    target: &'a str,
    stop: &'a str,
    engine: &'a str,
    transactions: u64,
    restore_seconds: f64,
    replay_seconds: f64,
    gtid_executed: &'a str,
    tables_sha256: Sha256,
    tables: &'a BTreeMap<String, u64>,
    compared: bool,
    differing: &'a [String],
}

/// Prints it.
pub(super) fn print(global: &Global, report: &Report) -> Result<()> {
    let seconds = super::super::recover::seconds;
    if global.json {
        return output::print_json(&Document {
            proven: report.differing.is_empty(),
            backup: &report.backup,
            target: &report.target,
            stop: &report.stop,
            engine: report.engine,
            transactions: report.transactions,
            restore_seconds: seconds(report.restored),
            replay_seconds: seconds(report.replayed),
            gtid_executed: &report.gtid_executed,
            tables_sha256: report.digest(),
            tables: &report.tables,
            compared: report.is_compared,
            differing: &report.differing,
        });
    }
    let tables = output::count(report.tables.len() as u64, "table");
    let mut text = format!(
        "restored  {} in {} s\nreplayed  {} in {} s ({}), {}: up to {}\ngtids     as planned\ntables    {tables}, all together sha256 {}\n",
        report.backup,
        seconds(report.restored),
        output::count(report.transactions, "transaction"),
        seconds(report.replayed),
        report.engine,
        report.target,
        report.stop,
        report.digest(),
    );
    text += &match (report.is_compared, report.differing.as_slice()) {
        (false, _) => "proven: the backup and the archive make a server\n".to_owned(),
        (true, []) => {
            "proven: the backup and the archive make the server of the reference\n".to_owned()
        }
        (true, differing) => format!(
            "NOT as in the reference: {}{}\n",
            differing
                .iter()
                .take(NAMED)
                .cloned()
                .collect::<Vec<_>>()
                .join(", "),
            match differing.len() > NAMED {
                true => format!(" and {} more", differing.len() - NAMED),
                false => String::new(),
            }
        ),
    };
    output::print(&text)
}

/// The metrics of a drill; without a report it failed.
pub(super) fn metrics(
    url: &StoreUrl,
    backup: &str,
    report: Option<&Report>,
    took: Duration,
) -> String {
    let escaped = |text: &str| {
        text.replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    };
    let labels = format!("{{stream=\"{}\"}}", escaped(&url.to_string()));
    let success = report.is_some_and(|report| report.differing.is_empty());
    let mut text = String::new();
    let mut add = |name: &str, help: &str, value: f64| {
        text += &format!(
            "# HELP binlogfs_drill_{name} {help}\n# TYPE binlogfs_drill_{name} gauge\nbinlogfs_drill_{name}{labels} {value}\n"
        );
    };
    add(
        "success",
        "Whether the last drill proved that the stream can be recovered.",
        f64::from(u8::from(success)),
    );
    #[expect(
        clippy::cast_precision_loss,
        reason = "seconds since 1970 are exact in it"
    )]
    add(
        "timestamp_seconds",
        "When the last drill ended.",
        (Micros::now().0 / 1_000_000) as f64,
    );
    add(
        "duration_seconds",
        "How long the last drill took.",
        took.as_secs_f64(),
    );
    if let Some(report) = report {
        add(
            "restore_seconds",
            "How long the restore of the last drill took.",
            report.restored.as_secs_f64(),
        );
        add(
            "replay_seconds",
            "How long the replay of the last drill took.",
            report.replayed.as_secs_f64(),
        );
        #[expect(
            clippy::cast_precision_loss,
            reason = "nobody replays 2^53 transactions"
        )]
        add(
            "transactions",
            "Transactions that the last drill replayed.",
            report.transactions as f64,
        );
        add(
            "tables",
            "Tables that the last drill made.",
            f64::from(u32::try_from(report.tables.len()).unwrap_or(u32::MAX)),
        );
    }
    let info = format!(
        "{{stream=\"{}\",backup=\"{}\"}}",
        escaped(&url.to_string()),
        escaped(backup)
    );
    text += &format!(
        "# HELP binlogfs_drill_info The backup of the last drill.\n# TYPE binlogfs_drill_info gauge\nbinlogfs_drill_info{info} 1\n"
    );
    text
}

/// Puts them in place at once: the collector may read at any time.
pub(super) fn write_metrics(path: &Path, text: &str) -> Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, path))
        .with_context(|| format!("cannot write the metrics to {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(list: &[(&str, u64)]) -> BTreeMap<String, u64> {
        list.iter()
            .map(|(name, sum)| ((*name).to_owned(), *sum))
            .collect()
    }

    #[test]
    fn what_is_missing_new_or_other_than_in_the_reference_is_named() {
        let reference = Reference {
            backup: "20261126T000000Z-mysqldump".to_owned(),
            stop: "binlog.000002:157".to_owned(),
            tables: tables(&[("d.a", 1), ("d.b", 2), ("d.gone", 9)]),
        };
        let id: BackupId = "20261126T000000Z-mysqldump".parse().expect("an id");
        let now = tables(&[("d.a", 1), ("d.b", 3), ("d.new", 4)]);
        let differing = reference
            .differing(&id, "binlog.000002:157", &now)
            .expect("comparable");
        assert_eq!(differing, ["d.b", "d.gone", "d.new"]);
        let error = reference
            .differing(&id, "binlog.000002:4", &now)
            .expect_err("another place");
        assert!(
            error
                .to_string()
                .contains("--to-position binlog.000002:157"),
            "{error}"
        );
    }
}

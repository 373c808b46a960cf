//! Settings of a server that make its archive worth less than it looks, and when the server deletes by itself.

use super::facts::ServerFacts;
use crate::binlog::Flavour;
use std::time::Duration;

/// A setting that makes the archive worth less, or lets the server delete what is not archived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Danger {
    /// It writes no binlogs.
    LogBinOff,
    /// It goes on without a binlog when it cannot write one.
    ErrorActionIgnore,
    /// Its binlogs are encrypted with keys that the archive does not have.
    Encrypted,
    /// It deletes binlogs by their total size, however old they are.
    ExpiryBySize {
        /// In bytes.
        limit_bytes: u64,
    },
    /// When it deletes binlogs is not known.
    NoExpiryKnown,
    /// It applies another server's changes without writing them to its own binlog.
    ReplicaNotLogged,
    /// A power cut may leave the binlog behind the data.
    NotSynced {
        /// `sync_binlog`.
        sync_binlog: u64,
    },
    /// Its events have no checksums.
    NoChecksums,
}

impl Danger {
    /// A name for metrics and JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Danger::LogBinOff => "log_bin_off",
            Danger::ErrorActionIgnore => "binlog_error_action_ignore",
            Danger::Encrypted => "binlog_encrypted",
            Danger::ExpiryBySize { .. } => "expiry_by_size",
            Danger::NoExpiryKnown => "expiry_unknown",
            Danger::ReplicaNotLogged => "replica_not_logged",
            Danger::NotSynced { .. } => "binlog_not_synced",
            Danger::NoChecksums => "no_checksums",
        }
    }

    /// Whether recovery from the archive is impossible or incomplete, rather than at risk.
    pub fn is_critical(&self) -> bool {
        matches!(
            self,
            Danger::LogBinOff
                | Danger::ErrorActionIgnore
                | Danger::Encrypted
                | Danger::ReplicaNotLogged
        )
    }
}

impl std::fmt::Display for Danger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Danger::LogBinOff => f.write_str(
                "log_bin is OFF: the server writes no binlogs and nothing can be archived; set log_bin and restart it",
            ),
            Danger::ErrorActionIgnore => f.write_str(
                "binlog_error_action is IGNORE_ERROR: on a full disk the server goes on without a binlog and the history ends there \
                 unseen; set it to ABORT_SERVER",
            ),
            Danger::Encrypted => f.write_str(
                "binlogs are encrypted by the server: their bytes are worthless without its keyring and are not archived; switch \
                 binlog_encryption (MariaDB: encrypt_binlog) off and let binlogfs encrypt (--recipient)",
            ),
            Danger::ExpiryBySize { limit_bytes } => write!(
                f,
                "the server deletes binlogs beyond {limit_bytes} bytes in all (binlog_space_limit or max_binlog_total_size), archived \
                 or not: a burst of writes can outrun the archive; set it to 0 and use binlog_expire_logs_seconds and purge-safe"
            ),
            Danger::NoExpiryKnown => f.write_str(
                "the server does not tell when it deletes binlogs: time to expiry cannot be watched; set binlog_expire_logs_seconds \
                 (before MySQL 8.0: expire_logs_days)",
            ),
            Danger::ReplicaNotLogged => f.write_str(
                "the server is a replica with log_replica_updates OFF: what it replicates is in none of its binlogs; switch it on \
                 (log_slave_updates before 8.0.26 and on MariaDB), or archive its source",
            ),
            Danger::NotSynced { sync_binlog } => write!(
                f,
                "sync_binlog is {sync_binlog}: after a power cut the newest binlog may lack transactions that the data has, or the \
                 reverse; set it to 1"
            ),
            Danger::NoChecksums => f.write_str(
                "binlog_checksum is NONE: damage that happened before archiving cannot be seen; set it to CRC32",
            ),
        }
    }
}

/// What is dangerous about how the server is set, the worst first.
pub fn worthless(facts: &ServerFacts) -> Vec<Danger> {
    if facts.log_bin == Some(false) {
        return vec![Danger::LogBinOff];
    }
    let is = |value: &Option<String>, text: &str| {
        value
            .as_deref()
            .is_some_and(|value| value.eq_ignore_ascii_case(text))
    };
    let mut found = Vec::new();
    if is(&facts.binlog_error_action, "IGNORE_ERROR") {
        found.push(Danger::ErrorActionIgnore);
    }
    if facts.binlog_encryption == Some(true) {
        found.push(Danger::Encrypted);
    }
    if facts.replica.is_some() && facts.log_replica_updates == Some(false) {
        found.push(Danger::ReplicaNotLogged);
    }
    if let Some(limit_bytes) = facts.binlog_total_limit.filter(|limit| *limit > 0) {
        found.push(Danger::ExpiryBySize { limit_bytes });
    }
    if expiry(facts) == Expiry::Unknown {
        found.push(Danger::NoExpiryKnown);
    }
    if let Some(sync_binlog) = facts.sync_binlog.filter(|sync| *sync != 1) {
        found.push(Danger::NotSynced { sync_binlog });
    }
    if is(&facts.binlog_checksum, "NONE") {
        found.push(Danger::NoChecksums);
    }
    found
}

/// When the server deletes a binlog by its age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// This long after its last change.
    After(Duration),
    /// Not by age.
    Never,
    /// It does not tell.
    Unknown,
}

impl Expiry {
    /// The age, if it deletes by age.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Expiry::After(age) => Some(age),
            Expiry::Never | Expiry::Unknown => None,
        }
    }
}

/// When the server deletes a binlog by its age.
///
/// `binlog_expire_logs_seconds` comes before `expire_logs_days` where both are set; 0 is never.
pub fn expiry(facts: &ServerFacts) -> Expiry {
    const DAY_SECONDS: f64 = 86_400.0;
    if facts.binlog_expire_logs_auto_purge == Some(false) {
        return Expiry::Never;
    }
    let days = facts.expire_logs_days.filter(|days| days.is_finite());
    match (facts.binlog_expire_logs_seconds, days) {
        (Some(seconds), _) if seconds > 0 => Expiry::After(Duration::from_secs(seconds)),
        (_, Some(days)) if days > 0.0 => {
            Expiry::After(Duration::from_secs((days * DAY_SECONDS) as u64))
        }
        (None, None) => Expiry::Unknown,
        _ => Expiry::Never,
    }
}

/// Whether the server may delete binlogs by itself, by age or by size.
pub fn purges_by_itself(facts: &ServerFacts) -> bool {
    let by_size = facts.binlog_total_limit.is_some_and(|limit| limit > 0);
    by_size || expiry(facts) != Expiry::Never
}

/// Whether every transaction of the flavour has a GTID, so that GTIDs alone tell whether a file holds any.
pub(super) fn gtids_tell_all(flavour: Option<Flavour>) -> bool {
    flavour == Some(Flavour::MariaDb)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> ServerFacts {
        ServerFacts {
            log_bin: Some(true),
            binlog_error_action: Some("ABORT_SERVER".into()),
            binlog_encryption: Some(false),
            binlog_expire_logs_seconds: Some(2_592_000),
            binlog_expire_logs_auto_purge: Some(true),
            sync_binlog: Some(1),
            binlog_checksum: Some("CRC32".into()),
            ..ServerFacts::default()
        }
    }

    #[test]
    fn a_sound_server_is_in_no_danger_and_each_bad_setting_is_named() {
        assert_eq!(worthless(&sound()), []);
        let names =
            |facts: ServerFacts| -> Vec<_> { worthless(&facts).iter().map(Danger::name).collect() };
        let off = ServerFacts {
            log_bin: Some(false),
            ..ServerFacts::default()
        };
        assert_eq!(names(off), ["log_bin_off"]);
        let all = ServerFacts {
            binlog_error_action: Some("ignore_error".into()),
            binlog_encryption: Some(true),
            binlog_total_limit: Some(1 << 30),
            binlog_expire_logs_seconds: None,
            sync_binlog: Some(0),
            binlog_checksum: Some("NONE".into()),
            log_replica_updates: Some(false),
            replica: Some(super::super::Replica {
                running: 1,
                channels: 1,
                lag: None,
            }),
            ..sound()
        };
        let found = worthless(&all);
        assert_eq!(
            found.iter().map(Danger::name).collect::<Vec<_>>(),
            [
                "binlog_error_action_ignore",
                "binlog_encrypted",
                "replica_not_logged",
                "expiry_by_size",
                "expiry_unknown",
                "binlog_not_synced",
                "no_checksums"
            ]
        );
        for danger in found {
            let text = danger.to_string();
            assert!(
                text.contains("; ") && !text.contains('\n'),
                "says what to do: {text}"
            );
        }
    }

    #[test]
    fn the_expiry_is_what_the_server_will_do() {
        let with = |seconds, days, auto| {
            expiry(&ServerFacts {
                binlog_expire_logs_seconds: seconds,
                expire_logs_days: days,
                binlog_expire_logs_auto_purge: auto,
                ..ServerFacts::default()
            })
        };
        let after = |seconds| Expiry::After(Duration::from_secs(seconds));
        assert_eq!(with(Some(60), Some(7.0), None), after(60));
        assert_eq!(with(Some(0), Some(7.0), None), after(604_800));
        assert_eq!(with(None, Some(0.5), None), after(43_200));
        assert_eq!(with(Some(0), Some(0.0), None), Expiry::Never);
        assert_eq!(with(Some(60), None, Some(false)), Expiry::Never);
        assert_eq!(with(None, None, None), Expiry::Unknown);
        assert_eq!(with(None, Some(f64::NAN), None), Expiry::Unknown);
    }
}

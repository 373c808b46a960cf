//! When a stream is archived and when somebody is told, and how what is archived is protected.

use crate::agent::alarm::Thresholds;
use crate::agent::schedule::Policy;
use crate::config::section::Section;
use crate::config::value;
use crate::store::{LockMode, Protection};
use std::time::Duration;

/// Mode and time of the locks belong together.
pub(super) fn read_protection(section: &Section<'_>, protection: &mut Protection) {
    let mode = section.parse("object_lock", str::parse::<LockMode>);
    let time = duration(section, "retain");
    match (mode, time, &mut protection.lock) {
        (None, None, _) => {}
        (Some(mode), Some(time), lock) => *lock = Some((mode, time)),
        (Some(mode), None, Some(lock)) => lock.0 = mode,
        (None, Some(time), Some(lock)) => lock.1 = time,
        (Some(_), None, None) => section.mistake(
            "object_lock",
            "has no end; add how long objects are locked, such as retain = \"35d\"",
        ),
        (None, Some(_), None) => section.mistake(
            "retain",
            "says for how long, and nothing who may end it; add object_lock = \"governance\" or \"compliance\"",
        ),
    }
    protection.legal_hold = section.flag("legal_hold").unwrap_or(protection.legal_hold);
}

pub(super) fn duration(section: &Section<'_>, key: &'static str) -> Option<Duration> {
    section.parse(key, value::duration)
}

pub(super) fn read_policy(section: &Section<'_>, policy: &mut Policy) {
    if let Some(poll) = duration(section, "poll") {
        if poll < Duration::from_secs(1) {
            section.mistake(
                "poll",
                "is under a second: the kernel tells of new binlogs anyway; write \"30s\"",
            );
        }
        policy.poll = poll;
    }
    if let Some(quiet) = section.list("pause", str::parse) {
        policy.quiet = quiet;
    }
    let threads = section.integer("yield_threads_running", 2..=i64::from(u32::MAX));
    policy.busy_threads = threads
        .and_then(|n| u64::try_from(n).ok())
        .or(policy.busy_threads);
    policy.replica_lag = duration(section, "yield_replica_lag").or(policy.replica_lag);
    policy.rotate_after = duration(section, "rotate_after").or(policy.rotate_after);
    if policy
        .rotate_after
        .is_some_and(|after| after < Duration::from_secs(10))
    {
        section.mistake(
            "rotate_after",
            "is under ten seconds: every rotation costs the server; write \"5m\"",
        );
    }
    policy.dead_letter_after =
        duration(section, "dead_letter_after").unwrap_or(policy.dead_letter_after);
}

pub(super) fn read_thresholds(section: &Section<'_>, limits: &mut Thresholds) {
    for (key, limit) in [
        ("lag_warning", &mut limits.lag_warning),
        ("lag_critical", &mut limits.lag_critical),
        ("expiry_warning", &mut limits.expiry_warning),
        ("expiry_critical", &mut limits.expiry_critical),
        ("disk_full_warning", &mut limits.disk_full_warning),
        ("disk_full_critical", &mut limits.disk_full_critical),
    ] {
        *limit = duration(section, key).unwrap_or(*limit);
    }
    if limits.lag_critical < limits.lag_warning {
        section.mistake(
            "lag_critical",
            "is shorter than lag_warning: it would come first",
        );
    }
    if limits.expiry_critical > limits.expiry_warning {
        section.mistake(
            "expiry_critical",
            "is longer than expiry_warning: it would come first",
        );
    }
    if limits.disk_full_critical > limits.disk_full_warning {
        section.mistake(
            "disk_full_critical",
            "is longer than disk_full_warning: it would come first",
        );
    }
}

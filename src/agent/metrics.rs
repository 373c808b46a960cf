//! The metrics of an agent, made from the health of its streams at each scrape: the one list of their names.

use super::health::Health;
use super::replicas::ReplicaHealth;
use crate::model::Micros;
use crate::store::BreakerState;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// A measurement of one stream. `None` where it is unknown: the series is then absent, not zero.
type Read = fn(&Health, Micros) -> Option<f64>;

/// A count of one stream.
type Count = fn(&Health) -> u64;

/// Gauges with nothing but the stream's label.
const GAUGES: &[(&str, &str, Read)] = &[
    (
        "binlogfs_lag_seconds",
        "Age of the oldest closed binlog that is not archived",
        |health, now| Some(health.lag_seconds(now).unwrap_or(0) as f64),
    ),
    (
        "binlogfs_lag_bytes",
        "Bytes of closed binlogs that are not archived",
        |health, _| Some(health.backlog.bytes as f64),
    ),
    (
        "binlogfs_lag_segments",
        "Closed binlogs that are not archived",
        |health, _| Some(health.backlog.segments as f64),
    ),
    (
        "binlogfs_time_to_expiry_seconds",
        "Time until the server may purge a binlog that is not archived; negative when it is over",
        |health, _| health.time_to_expiry_seconds.map(|n| n as f64),
    ),
    (
        "binlogfs_time_to_disk_full_seconds",
        "Time until the disk of the binlogs is full at the rate at which it fills now",
        |health, _| health.time_to_disk_full_seconds.map(|n| n as f64),
    ),
    (
        "binlogfs_last_success_timestamp_seconds",
        "When everything closed was last archived",
        |health, _| health.last_success_at.map(seconds),
    ),
    (
        "binlogfs_last_archived_timestamp_seconds",
        "When a binlog was last archived",
        |health, _| health.last_archived_at.map(seconds),
    ),
    (
        "binlogfs_holes",
        "Binlogs in the history that cannot be read",
        |health, _| Some(health.blemishes.holes as f64),
    ),
    (
        "binlogfs_gaps",
        "Places in the history where an unknown extent is missing",
        |health, _| Some((health.blemishes.gaps + health.blemishes.lost_records) as f64),
    ),
    (
        "binlogfs_damaged_segments",
        "Archived binlogs that fail their own checks",
        |health, _| Some(health.blemishes.damaged as f64),
    ),
    (
        "binlogfs_dead_letters",
        "Binlogs that could not be handled and were put aside",
        |health, _| Some(health.dead_letters as f64),
    ),
    (
        "binlogfs_timelines",
        "Timelines of the history",
        |health, _| Some(health.blemishes.timelines as f64),
    ),
    (
        "binlogfs_server_up",
        "Whether the server answers queries",
        |health, _| health.server_up.map(|up| f64::from(u8::from(up))),
    ),
    (
        "binlogfs_paused",
        "Whether archiving waits for a better moment",
        |health, _| Some(f64::from(u8::from(health.paused.is_some()))),
    ),
];

/// Counters with nothing but the stream's label; `_total` is added to their names.
const COUNTERS: &[(&str, &str, Count)] = &[
    ("binlogfs_runs", "Runs of the archiver", |health| {
        health.totals.runs
    }),
    (
        "binlogfs_failed_runs",
        "Runs of the archiver that failed",
        |health| health.totals.failed_runs,
    ),
    ("binlogfs_archived_segments", "Binlogs archived", |health| {
        health.totals.segments
    }),
    (
        "binlogfs_archived_bytes",
        "Bytes of binlogs archived",
        |health| health.totals.bytes,
    ),
    (
        "binlogfs_stored_bytes",
        "Bytes of objects stored",
        |health| health.totals.stored_bytes,
    ),
    (
        "binlogfs_breaker_openings",
        "Times the circuit breaker of the store opened",
        |health| health.totals.breaker_openings,
    ),
];

/// A measurement of one replica.
type ReadReplica = fn(&ReplicaHealth, Micros) -> f64;
/// A count of one replica.
type CountReplica = fn(&ReplicaHealth) -> u64;

/// Gauges of each replica.
const REPLICA_GAUGES: &[(&str, &str, ReadReplica)] = &[
    (
        "binlogfs_replica_lag_seconds",
        "Age of the oldest closed binlog that the replica lacks",
        |replica, now| replica.lag_seconds(now).unwrap_or(0) as f64,
    ),
    (
        "binlogfs_replica_lag_records",
        "Ledger records that the replica lacks",
        |replica, _| replica.lag_records as f64,
    ),
    (
        "binlogfs_replica_up",
        "Whether the replica's last filling worked",
        |replica, _| f64::from(u8::from(replica.last_error.is_none())),
    ),
];

/// Counters of each replica; `_total` is added to their names.
const REPLICA_COUNTERS: &[(&str, &str, CountReplica)] = &[
    (
        "binlogfs_replica_copied_segments",
        "Objects copied to the replica",
        |replica| replica.segments,
    ),
    (
        "binlogfs_replica_copied_bytes",
        "Bytes of objects copied to the replica",
        |replica| replica.bytes,
    ),
    (
        "binlogfs_replica_passed_over",
        "Records and objects that the first store could not give to the replica",
        |replica| replica.passed_over,
    ),
];

fn seconds(time: Micros) -> f64 {
    time.0 as f64 / 1e6
}

/// Gives the text of a scrape, in the OpenMetrics format.
///
/// # Errors
/// Never, as long as a string can be written to.
pub fn encode(healths: Vec<Health>, now: Micros) -> Result<String, std::fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { healths, now }));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Scrape {
    healths: Vec<Health>,
    now: Micros,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut build = encoder.encode_descriptor(
            "binlogfs_build_info",
            "The running build",
            None,
            MetricType::Gauge,
        )?;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        ConstGauge::new(1_i64).encode(build.encode_family(&version)?)?;
        for (name, help, read) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for health in &self.healths {
                if let Some(value) = read(health, self.now) {
                    let labels = [("stream", health.stream.as_str())];
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        for (name, help, read) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for health in &self.healths {
                let labels = [("stream", health.stream.as_str())];
                ConstCounter::new(read(health)).encode(family.encode_family(&labels)?)?;
            }
        }
        self.encode_breakers(&mut encoder)?;
        self.encode_replicas(&mut encoder)?;
        self.encode_alarms(&mut encoder)
    }
}

impl Scrape {
    fn encode_breakers(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help =
            "What the circuit breaker of the store does with calls: 1 for the state it is in";
        let mut family =
            encoder.encode_descriptor("binlogfs_breaker_state", help, None, MetricType::Gauge)?;
        for health in &self.healths {
            for state in BreakerState::ALL {
                let labels = [("stream", health.stream.as_str()), ("state", state.name())];
                let value = i64::from(health.breaker == state);
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn encode_replicas(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, help, read) in REPLICA_GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for health in &self.healths {
                for replica in &health.replicas {
                    let labels = [
                        ("stream", health.stream.as_str()),
                        ("replica", replica.url.as_str()),
                    ];
                    let value = read(replica, self.now);
                    ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        for (name, help, read) in REPLICA_COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for health in &self.healths {
                for replica in &health.replicas {
                    let labels = [
                        ("stream", health.stream.as_str()),
                        ("replica", replica.url.as_str()),
                    ];
                    let value = read(replica);
                    ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }

    fn encode_alarms(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "binlogfs_alarm",
            "1 for each alarm that is raised",
            None,
            MetricType::Gauge,
        )?;
        for health in &self.healths {
            for raised in &health.alarms {
                let labels = [
                    ("stream", health.stream.as_str()),
                    ("alarm", raised.alarm.kind.name()),
                    ("severity", raised.alarm.severity.name()),
                ];
                ConstGauge::new(1_i64).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::alarm::{Alarm, AlarmKind, Raised, Severity};
    use super::*;

    #[test]
    fn what_is_unknown_is_absent_and_what_is_known_has_its_stream() {
        let mut health = Health {
            stream: "prod/orders".to_owned(),
            ..Health::default()
        };
        let text = encode(vec![health.clone()], Micros(0)).expect("text");
        assert!(!text.contains("binlogfs_time_to_expiry_seconds{"), "{text}");
        health.time_to_expiry_seconds = Some(-5);
        health.totals.segments = 7;
        health.alarms.push(Raised {
            alarm: Alarm {
                kind: AlarmKind::Expiry,
                severity: Severity::Critical,
                text: "...".to_owned(),
            },
            since: Micros(0),
            told_at: Micros(0),
        });
        let text = encode(vec![health], Micros(0)).expect("text");
        for line in [
            "binlogfs_time_to_expiry_seconds{stream=\"prod/orders\"} -5.0",
            "binlogfs_archived_segments_total{stream=\"prod/orders\"} 7",
            "binlogfs_breaker_state{stream=\"prod/orders\",state=\"closed\"} 1",
            "binlogfs_breaker_state{stream=\"prod/orders\",state=\"open\"} 0",
            "binlogfs_alarm{stream=\"prod/orders\",alarm=\"expiry\",severity=\"critical\"} 1",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}

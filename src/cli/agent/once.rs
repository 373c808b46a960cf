//! `binlogfs archive --once` of the streams of a configuration: for a timer.

use super::super::exit::Exit;
use super::super::{Global, output};
use super::{Orders, resolved, start_hooks, stream_agent, unresolved};
use crate::agent::health::Health;
use crate::agent::stream::Tending;
use crate::sync::Commons;
use anyhow::Result;

/// Archives what each stream has now, tells the alarms, and ends: for a timer.
pub async fn run_once(global: &Global, orders: &Orders) -> Result<Exit> {
    let (notices, telling) = start_hooks(&orders.agent)?;
    let (mut exit, mut told) = (Exit::Done, Vec::new());
    let commons = Commons::new(orders.totals());
    for stream in &orders.streams {
        let agent = resolved(stream)
            .and_then(|stream| stream_agent(global, orders, &stream, &commons, notices.clone()));
        let health = match agent {
            Ok(agent) => {
                let (mut tending, health) = Tending::new(agent);
                tending.once().await;
                health.borrow().clone()
            }
            // The others are archived all the same.
            Err(error) => unresolved(stream, &error),
        };
        let filled = { health.replicas.iter() }.all(|replica| replica.last_error.is_none());
        exit = match (&health.last_error, health.alarms.is_empty() && filled, exit) {
            (Some(_), _, _) | (None, _, Exit::Failed) => Exit::Failed,
            (None, false, _) => Exit::Findings,
            (None, true, exit) => exit,
        };
        if global.json {
            told.push(health);
        } else {
            output::print(&summary(&health))?;
        }
    }
    drop(notices);
    if let Some(telling) = telling {
        telling.await?;
    }
    if global.json {
        output::print_json(&told)?;
    }
    Ok(exit)
}

fn summary(health: &Health) -> String {
    let mut text = match (&health.last_error, &health.paused) {
        (Some(error), _) => format!("{}  failed: {error}\n", health.stream),
        (None, Some(why)) => format!("{}  waits: {why}\n", health.stream),
        (None, None) => format!(
            "{}  archived {}: {} as {}\n",
            health.stream,
            output::count(health.totals.segments, "segment"),
            output::size(health.totals.bytes),
            output::size(health.totals.stored_bytes),
        ),
    };
    for replica in &health.replicas {
        // An alarm comes when it lags; whoever looks at what this run did sees it now.
        if let Some(error) = &replica.last_error {
            let url = &replica.url;
            text += &format!("{}  {url}: not filled: {error}\n", health.stream);
        }
    }
    for raised in &health.alarms {
        let alarm = &raised.alarm;
        text += &format!(
            "{}  {} ({}): {}\n",
            health.stream,
            alarm.severity.name(),
            alarm.kind.name(),
            alarm.text
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::replicas::ReplicaHealth;

    #[test]
    fn a_replica_that_was_not_filled_is_told_of_before_it_lags_enough_for_an_alarm() {
        let replica = |url: &str, error: Option<&str>| ReplicaHealth {
            url: url.to_owned(),
            last_error: error.map(str::to_owned),
            ..ReplicaHealth::default()
        };
        let health = Health {
            stream: "orders".to_owned(),
            replicas: vec![
                replica("s3://copies/a", None),
                replica("s3://copies/b", Some("denied")),
            ],
            ..Health::default()
        };
        let text = summary(&health);
        assert!(
            text.contains("orders  s3://copies/b: not filled: denied\n"),
            "{text}"
        );
        assert!(!text.contains("s3://copies/a"), "{text}");
    }
}

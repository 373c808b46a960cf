//! `binlogfs retain`: objects are kept from being deleted for longer.

use super::exit::Exit;
use super::reading::{self, Reading};
use super::{Global, output, prune};
use crate::backup::BACKUPS_PREFIX;
use crate::config;
use crate::index::Standing;
use crate::ledger::page::PAGES_PREFIX;
use crate::ledger::{RECORDS_PREFIX, SEGMENTS_PREFIX, StreamFile};
use crate::model::url::Location;
use crate::model::{Micros, ObjectKey, StoreUrl};
use crate::store::{Error, Lock, LockMode, Retain};
use crate::telemetry;
use anyhow::{Result, bail};
use serde::Serialize;
use std::time::Duration;

/// Objects asked for at a time.
const ASKED_AT_ONCE: usize = 16;

#[derive(clap::Args, Debug)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true).args(["until", "for_time", "legal_hold"]))]
pub struct RetainArgs {
    /// The stream, such as s3://bucket/prod/orders.
    url: StoreUrl,
    /// Lock until TIME at least, such as 2027-01-01T00:00:00Z. Without a zone it is UTC.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Lock for so long from now at least, such as 35d.
    #[arg(long = "for", value_name = "TIME", value_parser = config::duration, conflicts_with = "until")]
    for_time: Option<Duration>,
    /// Who may end the lock before: governance, whoever has the right; compliance, nobody, you included.
    #[arg(long, value_name = "MODE", default_value_t = LockMode::Governance)]
    mode: LockMode,
    /// Put objects on legal hold, or take them off.
    #[arg(long, value_name = "on|off", value_parser = switch)]
    legal_hold: Option<bool>,
    /// Of segments, only those with something that happened since TIME. The ledger and what belongs to it is kept in any case.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    segments_since: Option<String>,
    /// Do it. Without this it is only told what would be done.
    #[arg(long)]
    execute: bool,
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("write on or off".to_owned()),
    }
}

/// What a run came to.
#[derive(Default, Serialize)]
struct Report {
    /// Objects that were looked at.
    objects: u64,
    /// Those that were changed, or would be.
    changed: u64,
    until: Option<String>,
    legal_hold: Option<bool>,
    /// Whether a time had no zone and was taken for UTC.
    zone_assumed: bool,
    executed: bool,
    /// Why the run ended before its end, if it did.
    failed: Option<String>,
}

/// What is asked for.
struct Wanted {
    lock: Option<Lock>,
    legal_hold: Option<bool>,
    since: Option<Micros>,
    zone_assumed: bool,
    /// By the store's clock.
    now: Micros,
    /// Whether the store is a directory, which locks nothing: that is told before anything would be done.
    is_directory: bool,
}

pub async fn run(global: &Global, args: &RetainArgs) -> Result<Exit> {
    let now = prune::clock(&args.url).await;
    let wanted = args.wanted(now)?;
    let reading = reading::open(global, &args.url).await?;
    let mut report = Report {
        until: wanted.lock.map(|lock| lock.until.to_string()),
        legal_hold: wanted.legal_hold,
        zone_assumed: wanted.zone_assumed,
        executed: args.execute,
        ..Report::default()
    };
    let retained = retain(&reading, &wanted, &mut report).await;
    if retained.is_ok() || report.failed.is_some() {
        print(global, &report)?;
    }
    retained?;
    Ok(reading.exit())
}

/// Does what is asked for, or tells it. Where that fails after something was changed, `report` says so: a lock that was made stays, and
/// not each can be taken back.
async fn retain(reading: &Reading, wanted: &Wanted, report: &mut Report) -> Result<()> {
    let retained = all(reading, wanted, report).await;
    if let Err(error) = &retained
        && report.executed
        && report.changed > 0
    {
        report.failed = Some(telemetry::message(error));
    }
    retained
}

/// Goes through all objects, and counts in `report`.
async fn all(reading: &Reading, wanted: &Wanted, report: &mut Report) -> Result<()> {
    let mut after: Option<ObjectKey> = None;
    loop {
        let page = reading.store.list("", after.as_ref()).await?;
        for some in page.objects.chunks(ASKED_AT_ONCE) {
            let execute = report.executed;
            let asked = some
                .iter()
                .map(|(key, _)| one(reading, key, wanted, execute));
            let mut failed = None;
            // One that fails leaves the others their time: what becomes of each is counted.
            for changed in futures::future::join_all(asked).await {
                match changed {
                    Ok(Some(changed)) => {
                        report.objects += 1;
                        report.changed += u64::from(changed);
                    }
                    Ok(None) => {}
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
        }
        match page.objects.last() {
            Some((last, _)) if page.more => after = Some(last.clone()),
            _ => return Ok(()),
        }
    }
}

/// Whether an object is changed; `None` if it is none of those asked for.
async fn one(
    reading: &Reading,
    key: &ObjectKey,
    wanted: &Wanted,
    execute: bool,
) -> Result<Option<bool>> {
    let Some(asked) = asked_of(reading, key, wanted)? else {
        return Ok(None);
    };
    let keeping = match reading.store.keeping(key).await {
        Ok(keeping) => keeping,
        // Deleted since it was listed.
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let change = Retain {
        lock: asked
            .lock
            .and_then(|lock| longer(lock, keeping.lock, wanted.now)),
        legal_hold: asked.legal_hold.filter(|held| *held != keeping.legal_hold),
    };
    let is_change = change != Retain::default();
    match (is_change, execute) {
        (true, true) => reading.store.retain(key, &change).await?,
        (true, false) if wanted.is_directory => {
            return Err(Error::no_locks(key, reading.store.describe()).into());
        }
        (true | false, false) | (false, true) => {}
    }
    Ok(Some(is_change))
}

/// Whether a key below the stream's prefix is one of the stream's own. Another stream may lie there too, or the dumps of the base
/// backups: nobody asked to lock those, and a lock in compliance mode cannot be taken back.
fn is_of_a_stream(key: &ObjectKey) -> bool {
    let prefixes = [
        RECORDS_PREFIX,
        PAGES_PREFIX,
        BACKUPS_PREFIX,
        SEGMENTS_PREFIX,
    ];
    let text = key.as_str();
    *key == StreamFile::key() || prefixes.iter().any(|prefix| text.starts_with(prefix))
}

/// The lock that an object gets at `now`: never a shorter one, nor a weaker one, than it has then. One that is over is none.
fn longer(wanted: Lock, has: Option<Lock>, now: Micros) -> Option<Lock> {
    let Some(has) = has.filter(|has| has.until > now) else {
        return Some(wanted);
    };
    let mode = match (wanted.mode, has.mode) {
        (LockMode::Governance, LockMode::Governance) => LockMode::Governance,
        (LockMode::Compliance, _) | (_, LockMode::Compliance) => LockMode::Compliance,
    };
    let until = wanted.until.max(has.until);
    Some(Lock { mode, until }).filter(|lock| *lock != has)
}

/// What is asked of the object at a key, if anything is: of the segments only those are meant that are listed and young enough.
fn asked_of(reading: &Reading, key: &ObjectKey, wanted: &Wanted) -> Result<Option<Retain>> {
    if !is_of_a_stream(key) {
        return Ok(None);
    }
    let asked = Retain {
        lock: wanted.lock,
        legal_hold: wanted.legal_hold,
    };
    if !key.as_str().starts_with(SEGMENTS_PREFIX) {
        return Ok(Some(asked));
    }
    let off = Retain {
        lock: None,
        legal_hold: Some(false),
    };
    Ok(match reading.index.standing(key)? {
        // What no record names may be on its way in, or garbage.
        Standing::Unnamed | Standing::Pruned => None,
        // It is read by nobody: a lock would only keep prune from it.
        Standing::Superseded(_) => (wanted.legal_hold == Some(false)).then_some(off),
        Standing::InForce => {
            let row = reading.index.entry_of_object(key)?;
            let newest = row.and_then(|row| row.latest_commit.max(row.last_time));
            let is_young = |since: Micros| newest.is_none_or(|time| time >= since);
            wanted.since.is_none_or(is_young).then_some(asked)
        }
    })
}

impl RetainArgs {
    fn wanted(&self, now: Micros) -> Result<Wanted> {
        let mut zone_assumed = false;
        let mut parse = |text: &String| -> Result<Micros> {
            let parsed = Micros::parse(text, now)?;
            zone_assumed |= parsed.zone_assumed;
            Ok(parsed.time)
        };
        let until = match (&self.until, self.for_time) {
            (Some(text), _) => Some(parse(text)?),
            (None, Some(time)) => {
                let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
                Some(Micros(now.0.saturating_add(micros)))
            }
            (None, None) => None,
        };
        if let Some(until) = until.filter(|until| *until <= now) {
            bail!("{until} is over: a lock ends in the future; it is now {now}");
        }
        let since = match &self.segments_since {
            Some(text) => Some(parse(text)?),
            None => None,
        };
        // Stores keep whole seconds; the same again is then no change.
        let whole = |time: Micros| Micros(time.0 - time.0.rem_euclid(1_000_000));
        Ok(Wanted {
            lock: until.map(|until| Lock {
                mode: self.mode,
                until: whole(until),
            }),
            legal_hold: self.legal_hold,
            since,
            zone_assumed,
            now,
            is_directory: matches!(self.url.location, Location::File { .. }),
        })
    }
}

fn print(global: &Global, report: &Report) -> Result<()> {
    if global.json {
        return output::print_json(report);
    }
    let mut what = Vec::new();
    what.extend(
        report
            .until
            .as_ref()
            .map(|until| format!("locked until {until} at least")),
    );
    what.extend(report.legal_hold.map(|held| match held {
        true => "on legal hold".to_owned(),
        false => "off legal hold".to_owned(),
    }));
    let zone = match report.zone_assumed {
        true => " (no zone was given: UTC)",
        false => "",
    };
    let what = what.join(" and ") + zone;
    let objects = output::count(report.objects, "object");
    let unchanged = report.objects - report.changed;
    output::print(&match report.executed {
        true => format!(
            "{objects} {what}: {} changed, {unchanged} as they were{}\n",
            report.changed,
            match report.failed {
                Some(_) => "; then this run failed: run it again",
                None => "",
            }
        ),
        false => format!(
            "{objects} would be {what}: {} of them changed\nnothing was changed; --execute does it\n",
            report.changed
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::Index;
    use crate::ledger::testing::{self, Writer};
    use crate::ledger::{Body, record_key};
    use crate::store::fault::{Fault, FaultClock, FaultStore};
    use crate::store::{ErrorKind, MemoryStore, SharedStore};
    use crate::stream::{self, Stream};
    use std::sync::Arc;

    /// A stream of three segments in a store that refuses to lock the second one.
    async fn refusing() -> Reading {
        let memory = MemoryStore::new();
        let shared: SharedStore = Arc::new(memory.clone());
        let begun = stream::create(&shared, &testing::stream_file()).await;
        begun.expect("creates");
        let mut writer = Writer::default();
        for number in 1..=3 {
            let segment = testing::segment(number);
            memory.tamper(&segment.object.key, "its bytes");
            let line = writer.write(Body::Segment(Box::new(segment)));
            memory.tamper(&record_key(line.seq()), format!("{}\n", line.text()));
        }
        let denied = testing::segment(2).object.key;
        let clock = FaultClock::new(move |op| match op.what {
            "retain" if op.key == denied.as_str() => Fault::ErrorBefore(ErrorKind::Denied),
            _ => Fault::None,
        });
        let store = Arc::new(FaultStore::new(shared, clock));
        let index = Arc::new(Index::in_memory().expect("opens"));
        let stream = Stream::open(store, index).await.expect("opens");
        reading::follow(stream).await.expect("follows")
    }

    #[tokio::test]
    async fn locks_that_were_made_are_told_also_when_the_store_fails_after_them() {
        let reading = refusing().await;
        let now = Micros::now();
        let wanted = Wanted {
            lock: Some(Lock {
                mode: LockMode::Governance,
                until: Micros(now.0 + 3_600_000_000),
            }),
            legal_hold: None,
            since: None,
            zone_assumed: false,
            now,
            is_directory: false,
        };
        let mut report = Report {
            executed: true,
            ..Report::default()
        };
        let failed = retain(&reading, &wanted, &mut report).await;
        let error = telemetry::message(&failed.expect_err("denied"));
        let document = serde_json::to_value(&report).expect("JSON");
        assert_eq!(document["failed"], error, "{document:#}");
        // stream.json, three records, and two of three objects.
        assert_eq!(document["changed"], 6, "{document:#}");
        // Where nothing is changed there is nothing to tell beside the error.
        let mut told = Report::default();
        let would = retain(&reading, &wanted, &mut told).await;
        would.expect("nothing is asked for that is refused");
        assert_eq!((told.changed, told.failed), (1, None));
    }

    #[test]
    fn a_lock_never_becomes_shorter_or_weaker() {
        let lock = |mode, until| Lock {
            mode,
            until: Micros(until),
        };
        let governance = |until| lock(LockMode::Governance, until);
        let compliance = |until| lock(LockMode::Compliance, until);
        for (wanted, has, gets) in [
            (governance(5), None, Some(governance(5))),
            (governance(5), Some(governance(5)), None),
            (governance(5), Some(governance(9)), None),
            (governance(9), Some(governance(5)), Some(governance(9))),
            (governance(9), Some(compliance(5)), Some(compliance(9))),
            (governance(5), Some(compliance(9)), None),
            (compliance(5), Some(governance(9)), Some(compliance(9))),
        ] {
            let found = longer(wanted, has, Micros(1));
            assert_eq!(found, gets, "{wanted:?} over {has:?}");
        }
        // What is over binds nobody: least of all to a mode that cannot be undone.
        let over = Some(compliance(5));
        let found = longer(governance(9), over, Micros(5));
        assert_eq!(found, Some(governance(9)));
    }

    #[test]
    fn what_lies_below_the_prefix_and_is_none_of_the_stream_is_left_alone() {
        for (key, is_own) in [
            ("stream.json", true),
            ("ledger/00000000000000000001.json", true),
            (
                "pages/00000000000000000001-00000000000000001000.jsonl.zst",
                true,
            ),
            ("backups/nightly.json", true),
            ("segments/binlog.000001-00.zst", true),
            ("crm/stream.json", false),
            ("crm/segments/binlog.000001-00.zst", false),
            ("dumps/nightly.sql", false),
            ("stream.json.old", false),
        ] {
            let key: ObjectKey = key.parse().expect("a key");
            assert_eq!(is_of_a_stream(&key), is_own, "{key}");
        }
    }
}

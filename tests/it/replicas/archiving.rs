//! An archiver with replicas: it never waits for them, and what they lack does not count as archived where that is asked for.

use super::Replicated;
use crate::agent::daemon::{Daemon, until};
use crate::agent::outage::agent_of;
use crate::archive::Archive;
use crate::server_purge::{archived, purge_safe};
use crate::synthetic::SyntheticServer;
use crate::tools;
use binlogfs::agent::alarm::AlarmKind;
use binlogfs::agent::health::Health;
use binlogfs::agent::replicas::{ArchivedWhen, ReplicaOrder, Replicas};
use binlogfs::agent::stream::{Stop, StreamAgent, Tending};
use binlogfs::store::fault::{Fault, FaultClock, FaultStore};
use binlogfs::store::{Breaker, BreakerPolicy, ErrorKind, MemoryStore, SharedStore};
use binlogfs::sync::{Settings, manifest};
use futures::FutureExt as _;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// The file that `state.json` names as the last one archived.
pub(super) fn last_archived(state_dir: &Path) -> Option<String> {
    let last = manifest::read(state_dir)?.last_archived?;
    Some(last.file.to_string())
}

#[test]
fn a_replica_that_cannot_be_written_fails_no_run_and_is_filled_by_a_later_one() {
    for when in ["primary", "all"] {
        let mut pair = Replicated::of(Archive::encrypted(), 0);
        pair.server.rotate(3, 1000);
        pair.server.rotate(3, 1000);
        // A file where the replica's directory would be.
        fs::write(pair.replica_dir(), b"in the way").expect("writable");
        let replica = pair.replica();
        let run = |pair: &Replicated| {
            let mut command = pair.archive.archive_command(pair.server.dir());
            command.args(["--replica", &replica, "--archived-when", when]);
            tools::output(&mut command)
        };
        let output = run(&pair);
        let said = tools::excerpt(&output.stdout);
        assert_eq!(output.status.code(), Some(3), "{when}: {said}");
        assert!(
            said.contains("archived 2 segments") && said.contains("not filled"),
            "{said}"
        );
        assert_eq!(
            pair.archive.keys("ledger").len(),
            2,
            "the first store has all"
        );
        let state = pair.archive.path("state");
        let counts = match when {
            "primary" => Some("binlog.000002".to_owned()),
            _ => None,
        };
        assert_eq!(last_archived(&state), counts, "{when}");
        fs::remove_file(pair.replica_dir()).expect("removable");
        pair.server.rotate(3, 1000);
        let output = run(&pair);
        let said = tools::excerpt(&output.stdout) + &tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{when}: {said}");
        assert!(said.contains("copied 3 records, 3 segments"), "{said}");
        assert_eq!(last_archived(&state), Some("binlog.000003".to_owned()));
        pair.check_same();
        // What counted once counts on, whatever becomes of the replica.
        fs::remove_dir_all(pair.replica_dir()).expect("removable");
        fs::write(pair.replica_dir(), b"in the way").expect("writable");
        pair.server.rotate(3, 1000);
        assert_eq!(run(&pair).status.code(), Some(3));
        let counts = match when {
            "primary" => "binlog.000004",
            _ => "binlog.000003",
        };
        assert_eq!(last_archived(&state), Some(counts.to_owned()), "{when}");
    }
}

#[test]
fn a_replica_of_a_stream_that_has_not_begun_is_no_failure_and_one_that_is_filled_no_alarm() {
    let mut pair = Replicated::of(Archive::plain(), 0);
    let (config, state) = (
        pair.archive.path("binlogfs.toml"),
        pair.archive.path("state"),
    );
    fs::create_dir_all(&state).expect("writable");
    let (replica, heard) = (pair.replica(), pair.archive.path("heard.jsonl"));
    let text = format!(
        "[agent]\ncommand = [\"sh\", \"-c\", \"cat >> {}; echo >> {}\"]\n\
         [[stream]]\nname = \"orders\"\nsource = \"{}\"\nto = \"{}\"\nreplicas = [\"{replica}\"]\nallow_unencrypted = true\n\
         state_dir = \"{}\"\n",
        heard.display(),
        heard.display(),
        pair.server.dir().display(),
        pair.archive.url(),
        state.display()
    );
    fs::write(&config, text).expect("writable");
    let by_config = || {
        let mut command = tools::binlogfs();
        command.args(["archive", "--once", "--json", "--config"]);
        let output = tools::output(command.arg(&config));
        let said = tools::excerpt(&output.stdout) + &tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let replica = &told[0]["replicas"][0];
        assert!(replica["last_error"].is_null(), "{replica:#}");
        replica["through"].clone()
    };
    // The second run finds the index that the first one left.
    assert_eq!((by_config(), by_config()), (0.into(), 0.into()));
    let mut by_hand = pair.archive.archive_command(pair.server.dir());
    let said = tools::run_text(by_hand.args(["--replica", &replica]));
    assert!(said.contains("nothing to copy yet"), "{said}");
    pair.server.rotate(3, 1000);
    assert_eq!(by_config(), 1);
    pair.check_same();
    // The binlog was closed long ago: its replica has it before anybody is told how far behind it is.
    let heard = fs::read_to_string(&heard).unwrap_or_default();
    assert_eq!(heard, "");
}

#[test]
fn a_daemon_fills_its_replica_and_measures_how_far_it_is() {
    let archive = Archive::encrypted();
    let server = SyntheticServer::new(&archive.data(), 1, "binlog");
    let mut pair = Replicated { archive, server };
    pair.server.rotate(2, 1000);
    let (url, state) = (pair.archive.url(), pair.archive.path("state"));
    let mut command = tools::binlogfs();
    command
        .args(["archive", "--to", &url, "--replica", &pair.replica()])
        // How far it is is told at each look.
        .args(["--poll", "1s", "--listen", "127.0.0.1:0"])
        .args(["--recipient", pair.archive.recipient(), "--source"])
        .arg(pair.server.dir())
        .arg("--state-dir")
        .arg(state);
    let daemon = Daemon::start(command, true);
    let records = |dir: &Path| fs::read_dir(dir.join("ledger")).map_or(0, Iterator::count);
    for n in 1..=3 {
        until("the replica has it", || records(&pair.replica_dir()) == n);
        pair.server.rotate(2, 1000);
    }
    until("the replica has the last", || {
        records(&pair.replica_dir()) == 4
    });
    until("it is measured", || {
        let (_, metrics) = daemon.get("/metrics");
        let has = |name: &str, value: &str| {
            metrics.lines().any(|line| {
                line.starts_with(name) && line.contains("replica=") && line.ends_with(value)
            })
        };
        has("binlogfs_replica_lag_records{", " 0.0")
            && has("binlogfs_replica_up{", " 1.0")
            && has("binlogfs_replica_copied_segments_total{", " 4")
    });
    assert_eq!(daemon.stop(), Some(0));
    pair.check_same();
}

/// An archiver into memory with a replica that does what `fault` says, at work.
pub(super) struct Working {
    temp: tempfile::TempDir,
    pub(super) server: SyntheticServer,
    pub(super) first: MemoryStore,
    pub(super) replica: MemoryStore,
    pub(super) health: watch::Receiver<Health>,
    pub(super) stop: watch::Sender<Stop>,
}

impl Working {
    pub(super) fn begin(
        when: ArchivedWhen,
        fault: impl Fn() -> Fault + Send + Sync + 'static,
    ) -> Working {
        let temp = tempfile::tempdir().expect("a directory");
        let data = temp.path().join("data");
        fs::create_dir(&data).expect("writable");
        let server = SyntheticServer::new(&data, 1, "binlog");
        let (first, replica) = (MemoryStore::new(), MemoryStore::new());
        let store: SharedStore = Arc::new(first.clone());
        let clock = FaultClock::new(move |_| fault());
        let faulty: SharedStore = Arc::new(FaultStore::new(Arc::new(replica.clone()), clock));
        let given = |store: &SharedStore| {
            let store = Arc::clone(store);
            move || futures::future::ready(Ok(Arc::clone(&store))).boxed()
        };
        let order = ReplicaOrder {
            url: "memory:replica".to_owned(),
            from: Box::new(given(&store)),
            to: Box::new(given(&faulty)),
        };
        let mut settings = Settings::new(temp.path().join("state"));
        settings.consent.unencrypted = true;
        let breaker = Arc::new(Breaker::new(BreakerPolicy::default()));
        let mut agent = StreamAgent {
            replicas: Replicas {
                orders: vec![order],
                archived_when: when,
                ..Replicas::default()
            },
            ..agent_of("orders", &data, store, breaker, settings)
        };
        agent.policy.poll = Duration::from_secs(1);
        let (tending, health) = Tending::new(agent);
        let (stop, stopped) = watch::channel(Stop::No);
        tokio::spawn(tending.run(stopped));
        Working {
            temp,
            server,
            first,
            replica,
            health,
            stop,
        }
    }

    /// Three binlogs archived, beside a replica that is down until it is told otherwise.
    pub(super) async fn with_replica_down(when: ArchivedWhen) -> (Working, Arc<AtomicBool>) {
        let down = Arc::new(AtomicBool::new(true));
        let is_down = Arc::clone(&down);
        let mut working = Working::begin(when, move || match is_down.load(Ordering::Relaxed) {
            true => Fault::ErrorBefore(ErrorKind::Timeout),
            false => Fault::None,
        });
        (0..3).for_each(|_| working.server.rotate(2, 500));
        working
            .until("all is archived", |working| {
                Working::records(&working.first) == 3
            })
            .await;
        (working, down)
    }

    pub(super) async fn until(&self, what: &str, mut done: impl FnMut(&Working) -> bool) {
        // A minute and a half, and more on a busy host.
        for _ in 0..1800 {
            if done(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("waited in vain until {what}: {:#?}", self.health.borrow());
    }

    pub(super) fn records(store: &MemoryStore) -> usize {
        let keys = store.keys();
        keys.iter()
            .filter(|key| key.as_str().starts_with("ledger/"))
            .count()
    }

    pub(super) fn state_names(&self) -> Option<String> {
        last_archived(&self.temp.path().join("state"))
    }

    pub(super) fn alarms(&self) -> Vec<AlarmKind> {
        let health = self.health.borrow();
        health
            .alarms
            .iter()
            .map(|raised| raised.alarm.kind)
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hangs_holds_up_nothing_but_what_counts_as_archived() {
    let hour = Duration::from_secs(3600);
    let mut working = Working::begin(ArchivedWhen::All, move || Fault::Delay(hour));
    for n in 1..=3 {
        working.server.rotate(2, 500);
        working
            .until("it is archived", |working| {
                Working::records(&working.first) == n
            })
            .await;
    }
    working
        .until("the replica is told of", |working| {
            let health = working.health.borrow();
            health
                .replicas
                .first()
                .is_some_and(|replica| replica.lag_records == 3)
        })
        .await;
    assert_eq!(Working::records(&working.replica), 0);
    assert_eq!(working.state_names(), None);
    let health = working.health.borrow().clone();
    assert_eq!((health.backlog.segments, health.failed_in_a_row), (0, 0));
    working
        .until("it is alarming", |working| {
            let alarms = working.alarms();
            alarms.contains(&AlarmKind::Replica) && alarms.contains(&AlarmKind::Lag)
        })
        .await;
    working.stop.send_replace(Stop::Now);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_down_is_filled_when_it_is_up_again() {
    for when in [ArchivedWhen::Primary, ArchivedWhen::All] {
        let (working, down) = Working::with_replica_down(when).await;
        working
            .until("why the replica is behind is known", |working| {
                let health = working.health.borrow();
                health
                    .replicas
                    .first()
                    .is_some_and(|replica| replica.last_error.is_some())
            })
            .await;
        let counts = match when {
            ArchivedWhen::Primary => Some("binlog.000003".to_owned()),
            ArchivedWhen::All => None,
        };
        assert_eq!(working.state_names(), counts);
        down.store(false, Ordering::Relaxed);
        working
            .until("it is filled, and everything counts", |working| {
                Working::records(&working.replica) == 3
                    && working.state_names().as_deref() == Some("binlog.000003")
                    && !working.alarms().contains(&AlarmKind::Replica)
            })
            .await;
        assert_eq!(working.replica.keys(), working.first.keys());
        working.stop.send_replace(Stop::Now);
    }
}

#[test]
fn what_a_replica_lacks_is_not_safe_to_purge() {
    let (mysql, archive) = archived(4);
    let (url, dir) = (archive.url(), archive.path("replica"));
    let replica = format!("file://{}", dir.display());
    tools::run(&mut archive.command(&["replicate", &url, "--to", &replica]));
    let ask = || {
        let more = ["--replica", &replica];
        purge_safe(&archive, &mysql.datadir(), &mysql.socket(), &more)
    };
    let (code, plan, said) = ask();
    assert_eq!(
        (code, &plan["purge_to"]),
        (Some(0), &"binlog.000004".into()),
        "{said}"
    );
    fs::remove_file(dir.join(format!("ledger/{:020}.json", 3))).expect("removable");
    let (code, plan, said) = ask();
    assert_eq!(
        (code, &plan["purge_to"]),
        (Some(3), &"binlog.000003".into()),
        "{said}"
    );
    assert!(
        plan["not_covered"][0]["reason"]
            .as_str()
            .expect("text")
            .contains("every replica")
    );
    // An object that only the replica has covers nothing either.
    tools::run(&mut archive.command(&["replicate", &url, "--to", &replica]));
    let object = archive.ls(&[])[0]["object"]
        .as_str()
        .expect("a key")
        .to_owned();
    fs::remove_file(archive.bucket().join(object)).expect("removable");
    let (code, plan, _) = ask();
    assert_eq!(
        (code, &plan["purge_to"]),
        (Some(3), &serde_json::Value::Null)
    );
}

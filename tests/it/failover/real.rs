//! Two MySQL servers in replication, one stream: the primary is killed and the replica promoted.

use crate::agent::daemon::{Daemon, until};
use crate::agent::manners::replicate;
use crate::archive::Archive;
use crate::mysql::{Options, Server};
use crate::recover::state::{State, executed};
use crate::recover::{Recovery, restore, target};
use crate::tools;
use binlogfs::model::GtidSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A primary and its replica, with tables, and a dump of the primary.
struct Pair {
    archive: Archive,
    primary: Server,
    replica: Server,
    dump: PathBuf,
}

impl Pair {
    fn start() -> Pair {
        let archive = Archive::encrypted();
        let (primary, replica) = (Server::new(), Options::new().server_id(2).start());
        replicate(&replica, &primary, "source_heartbeat_period = 2");
        replica.sql("START REPLICA");
        primary.sql(
            "CREATE DATABASE shop; CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(500));
             CREATE TABLE shop.stock (id INT PRIMARY KEY, n INT); INSERT INTO shop.stock VALUES (1, 0), (2, 0)",
        );
        write(&primary, 20);
        let dump = archive.path("full.sql");
        primary.dump(&[], &dump);
        let pair = Pair {
            archive,
            primary,
            replica,
            dump,
        };
        pair.caught_up();
        pair
    }

    /// Waits until the replica has all that the primary has.
    fn caught_up(&self) {
        let wanted = executed(&self.primary);
        until("the replica has caught up", || {
            executed(&self.replica) == wanted
        });
    }

    /// The replica is a server of its own from now on, and is written to.
    fn promote(&self) {
        self.replica.sql("STOP REPLICA; RESET REPLICA ALL");
        write(&self.replica, 15);
        self.replica.flush_logs();
        write(&self.replica, 10);
        self.replica.flush_logs();
    }

    /// An agent on a server's host, with its own configuration and state.
    fn agent(&self, server: &Server, host: &str) -> Daemon {
        let config = self.archive.path(&format!("{host}.toml"));
        let text = format!(
            "[agent]\nlisten = \"127.0.0.1:0\"\n[archive]\nrecipients = [\"{}\"]\npoll = \"1s\"\n\
             [[stream]]\nname = \"shop\"\nsource = \"{}\"\nto = \"{}\"\nstate_dir = \"{}\"\n",
            self.archive.recipient(),
            server.datadir().display(),
            self.archive.url(),
            self.state_dir(host).display(),
        );
        fs::write(&config, text).expect("writable");
        let mut command = tools::binlogfs();
        command.arg("archive").arg("--config").arg(&config);
        Daemon::start(command, true)
    }

    fn state_dir(&self, host: &str) -> PathBuf {
        self.archive.path(&format!("state-of-{host}"))
    }

    /// Waits until every closed file of a server has a record.
    fn archived(&self, server: &Server) {
        let uuid = server.uuid();
        until("all that is closed is archived", || {
            let known = self.files_of(&uuid);
            closed(server)
                .iter()
                .all(|file| known.iter().any(|known| known == name(file)))
        });
    }

    /// The archived files of a server, in whatever timeline.
    fn files_of(&self, server: &str) -> Vec<String> {
        let mut files = Vec::new();
        for timeline in self.timelines() {
            let listed = self.archive.ls(&["--timeline", &timeline]);
            let of_server = listed.iter().filter(|entry| entry["server_uuid"] == server);
            files.extend(of_server.filter_map(|entry| Some(entry["file"].as_str()?.to_owned())));
        }
        files
    }

    /// The numbers of the timelines; none before there is a stream.
    fn timelines(&self) -> Vec<String> {
        if self.archive.keys("ledger").is_empty() {
            return Vec::new();
        }
        let output = self
            .archive
            .output(&["status", &self.archive.url(), "--json"]);
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let timelines = told["timelines"].as_array().cloned().unwrap_or_default();
        timelines
            .iter()
            .map(|t| t["timeline"].to_string())
            .collect()
    }

    /// A third server, made of the dump and the archived history, is the surviving one.
    fn recovery_makes(&self, survivor: &Server) {
        let target = target();
        restore(&self.dump, &target);
        // The accounts of the dump: LOCAL, or it would be a transaction of its own.
        target.sql("FLUSH LOCAL PRIVILEGES");
        let recovery = Recovery::onto(&self.archive, &target);
        recovery.run_by("pipe", &["--to-end"]);
        assert_eq!(State::of(&target), State::of(survivor));
        recovery.has_nothing_to_do(&["--to-end"]);
    }
}

/// Writes some transactions.
fn write(server: &Server, transactions: usize) {
    let one = "INSERT INTO shop.orders (v) VALUES (REPEAT(UUID(), 10)); UPDATE shop.stock SET n = n + 1 WHERE id = 1;";
    server.sql(&one.repeat(transactions.div_ceil(2)));
}

fn closed(server: &Server) -> Vec<PathBuf> {
    let mut files = server.binlogs();
    files.pop();
    files
}

fn name(file: &Path) -> &str {
    file.file_name()
        .and_then(|name| name.to_str())
        .expect("a name")
}

fn set(text: &str) -> GtidSet {
    text.parse().expect("a GTID set")
}

/// What `mysqlbinlog` would be given by `DIR/*`: each name with its bytes.
fn all_of(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(dir).expect("listed");
    let mut names: Vec<String> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    let read = |name: String| {
        let bytes = fs::read(dir.join(&name)).expect("readable");
        (name, bytes)
    };
    names.into_iter().map(read).collect()
}

#[test]
fn the_survivor_of_a_failover_is_recovered_and_the_old_primarys_late_tail_is_kept_with_an_alarm() {
    let mut pair = Pair::start();
    let old = pair.agent(&pair.primary, "db1");
    pair.primary.flush_logs();
    write(&pair.primary, 20);
    pair.primary.flush_logs();
    write(&pair.primary, 10);
    pair.caught_up();
    pair.archived(&pair.primary);
    // What comes now is on the primary alone, in a file that is not closed.
    pair.replica.sql("STOP REPLICA IO_THREAD");
    write(&pair.primary, 6);
    let lost = set(&executed(&pair.primary)).minus(&set(&executed(&pair.replica)));
    assert_eq!(lost.count(), 6);
    let until_then = closed(&pair.primary);
    pair.primary.kill9();
    pair.promote();
    let new = pair.agent(&pair.replica, "db2");
    pair.archived(&pair.replica);

    // One history: the old primary's files, and then those of the new one.
    assert_eq!(pair.timelines(), ["1"]);
    let truth: Vec<Vec<u8>> = until_then
        .iter()
        .chain(&closed(&pair.replica))
        .map(|file| fs::read(file).expect("readable"))
        .collect();
    let mounted = pair.archive.mount();
    let history =
        |dir: &Path| -> Vec<Vec<u8>> { all_of(dir).into_iter().map(|(_, bytes)| bytes).collect() };
    assert!(history(mounted.dir()) == truth, "in one replayable order");
    pair.recovery_makes(&pair.replica);
    assert!(!new.get("/metrics").1.contains("alarm=\"branch\""));

    // The old primary comes back, with what nobody else has.
    pair.primary.restart();
    pair.primary.flush_logs();
    pair.archived(&pair.primary);
    until("the late tail is alarming", || {
        let (_, metrics) = old.get("/metrics");
        metrics.contains("alarm=\"branch\",severity=\"critical\"} 1")
    });
    let mut status = pair.archive.command(&["status", &pair.archive.url()]);
    let output = tools::output(status.arg("--state-dir").arg(pair.state_dir("db1")));
    let said = tools::excerpt(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let only = format!("{lost} (late tail, timeline 2)");
    assert!(
        said.contains(&only) && said.contains("branch (critical)"),
        "{said}"
    );
    let tail: Vec<(String, Vec<u8>)> = closed(&pair.primary)
        .iter()
        .filter(|file| !until_then.contains(file))
        .map(|file| (name(file).to_owned(), fs::read(file).expect("readable")))
        .collect();
    assert!(!tail.is_empty());
    drop(mounted);
    let mounted = pair.archive.mount();
    assert!(
        all_of(&mounted.dir().join(".timeline/2")) == tail,
        "byte for byte"
    );
    assert!(
        history(mounted.dir()) == truth,
        "and the history is what it was"
    );
    pair.recovery_makes(&pair.replica);
    drop(mounted);
    assert_eq!((old.stop(), new.stop()), (Some(0), Some(0)));
    pair.archive.verify();
}

#[test]
fn a_failover_that_lost_nothing_goes_on_in_the_same_timeline_without_an_alarm() {
    let mut pair = Pair::start();
    let old = pair.agent(&pair.primary, "db1");
    write(&pair.primary, 20);
    pair.primary.flush_logs();
    write(&pair.primary, 10);
    pair.caught_up();
    pair.archived(&pair.primary);
    pair.primary.kill9();
    pair.promote();
    let new = pair.agent(&pair.replica, "db2");
    pair.archived(&pair.replica);
    assert_eq!(pair.timelines(), ["1"]);
    pair.recovery_makes(&pair.replica);
    let url = pair.archive.url();
    for (agent, host) in [(old, "db1"), (new, "db2")] {
        let (_, metrics) = agent.get("/metrics");
        assert!(!metrics.contains("severity=\"critical\"} 1"), "{metrics}");
        let mut status = pair.archive.command(&["status", &url]);
        let said = tools::run_text(status.arg("--state-dir").arg(pair.state_dir(host)));
        assert!(said.contains("no holes, gaps or damage"), "{said}");
        assert_eq!(agent.stop(), Some(0));
    }
    pair.archive.verify();
}

#[test]
fn transactions_that_were_archived_and_lost_are_fenced_off_and_the_new_primary_joins() {
    let mut pair = Pair::start();
    pair.primary.flush_logs();
    write(&pair.primary, 20);
    pair.caught_up();
    pair.replica.sql("STOP REPLICA IO_THREAD");
    write(&pair.primary, 4);
    // They are archived, and nobody has replicated them.
    pair.primary.flush_logs();
    pair.archive.archive(&pair.primary.index_file());
    let lost = set(&executed(&pair.primary)).minus(&set(&executed(&pair.replica)));
    let first = lost
        .iter()
        .next()
        .and_then(|(_, runs)| runs.runs().first().copied());
    let first = format!("{}:{}", pair.primary.uuid(), first.expect("one").0);
    pair.primary.kill9();
    let url = pair.archive.url();
    let words = [
        "fence",
        &url,
        "--gtid",
        &first,
        "--reason",
        "db1 was lost",
        "--execute",
    ];
    let said = tools::run_text(&mut pair.archive.command(&words));
    assert!(said.contains(&format!("GTIDs {lost}")), "{said}");
    pair.promote();
    let mut second = pair
        .archive
        .archive_command_to(&url, &pair.replica.index_file());
    let said = tools::output(second.arg("--state-dir").arg(pair.state_dir("db2")));
    assert!(said.status.success(), "{}", tools::excerpt(&said.stderr));
    assert_eq!(pair.timelines(), ["1"], "it has joined");
    pair.recovery_makes(&pair.replica);
    // mysqlbinlog reads it as one: what is cut ends between two transactions.
    let mounted = pair.archive.mount();
    let mut reader = crate::mysql::mysqlbinlog();
    reader.arg("--verify-binlog-checksum");
    reader.args(
        all_of(mounted.dir())
            .iter()
            .map(|(name, _)| mounted.dir().join(name)),
    );
    let printed = tools::run_text(&mut reader);
    assert!(
        !printed.contains(&format!("'{first}'")),
        "it is not replayed"
    );
    // The old primary comes back, and has nothing that is replayed.
    pair.primary.restart();
    pair.primary.flush_logs();
    pair.archive.archive(&pair.primary.index_file());
    assert_eq!(pair.timelines(), ["1", "2"]);
    drop(mounted);
    pair.recovery_makes(&pair.replica);
    let left = tools::run(&mut pair.archive.command(&["cat", &url, "--fenced"]));
    let cut = closed(&pair.primary)
        .into_iter()
        .map(|file| fs::read(file).expect("readable"))
        .find(|bytes| left.starts_with(bytes));
    assert!(cut.is_some(), "the file that is cut is kept whole");
    pair.archive.verify();
}

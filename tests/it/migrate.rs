//! A stream to another place: under load, killed at random, and from one store to another.

mod anew;
mod lost;
mod read_only;
mod refused;
mod removed;

use crate::agent::daemon::{Daemon, daemon_command, until};
use crate::archive::{Archive, on_a_server};
use crate::random::Random;
use crate::synthetic::{SyntheticServer, uuid_of};
use crate::tools;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Runs that are killed.
const KILLS: u32 = 15;

/// An archived stream, and where it is to be.
struct Scene {
    old: Archive,
    new: Archive,
    server: SyntheticServer,
}

impl Scene {
    fn new(files: usize) -> Scene {
        let old = Archive::encrypted();
        let new = old.beside();
        Scene::of(old, new, files)
    }

    fn of(old: Archive, new: Archive, files: usize) -> Scene {
        let mut server = SyntheticServer::new(&old.data(), 1, "binlog");
        (0..files).for_each(|_| server.rotate(2, 50_000));
        old.archive(server.dir());
        Scene { old, new, server }
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = tools::binlogfs();
        command
            .args(["migrate", &self.old.url(), &self.new.url()])
            .args(more)
            .arg("--cache-dir")
            .arg(self.old.path("migrate-cache"));
        command
    }

    fn with_key(&self, more: &[&str]) -> Command {
        let mut command = self.command(more);
        command.arg("--identity").arg(self.old.key());
        command
    }

    /// Runs it, which must end well; what it reports.
    #[track_caller]
    fn migrate(&self, more: &[&str]) -> Value {
        let printed = tools::run(self.with_key(more).arg("--json"));
        serde_json::from_slice(&printed).expect("JSON")
    }
}

fn number(report: &Value, name: &str) -> u64 {
    report[name].as_u64().expect("a number")
}

/// What the records of a stream say, without what is each stream's own.
fn said(archive: &Archive) -> Vec<Value> {
    let records = archive.keys("ledger");
    let read = records.iter().map(|path| {
        let mut record: Value =
            serde_json::from_slice(&fs::read(path).expect("readable")).expect("JSON");
        let members = record.as_object_mut().expect("an object");
        members.remove("prev").expect("every record has it");
        members.remove("self").expect("every record has it");
        record
    });
    read.collect()
}

/// Each file of the server is in the stream once, in order, with its bytes.
fn check(archive: &Archive, server: &SyntheticServer) {
    archive.verify();
    let cat = tools::run(&mut archive.command(&["cat", &archive.url()]));
    let files = server.closed();
    let plain = files.iter().map(|path| fs::read(path).expect("readable"));
    assert!(cat == plain.collect::<Vec<_>>().concat());
    let listed = archive.ls(&[]);
    let names: BTreeSet<_> = listed
        .iter()
        .map(|entry| entry["file"].to_string())
        .collect();
    assert_eq!((listed.len(), names.len()), (files.len(), files.len()));
}

fn objects(archive: &Archive) -> Vec<(String, Vec<u8>)> {
    let name = |path: &Path| {
        path.file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned()
    };
    let all = archive.keys("segments");
    all.iter()
        .map(|path| (name(path), fs::read(path).expect("readable")))
        .collect()
}

fn text(output: &Output) -> String {
    tools::excerpt(&output.stdout) + &tools::excerpt(&output.stderr)
}

#[test]
fn every_record_and_object_is_carried_over_and_after_the_cut_over_the_archiver_goes_on_there() {
    let mut scene = Scene::new(3);
    let dry = scene.migrate(&["--dry-run"]);
    assert_eq!(
        [number(&dry, "carried"), number(&dry, "objects_copied")],
        [3, 3]
    );
    assert!(
        !scene.new.bucket().join("stream.json").exists(),
        "a dry run writes nothing"
    );
    let report = scene.migrate(&[]);
    let counts = [
        "records",
        "compared",
        "carried",
        "objects_copied",
        "read_back",
    ];
    let counts = |report: &Value| counts.map(|name| number(report, name));
    assert_eq!(counts(&report), [3, 0, 3, 3, 3], "{report:#}");
    assert_eq!(report["bytes_copied"], dry["bytes_copied"]);
    assert_eq!(said(&scene.old), said(&scene.new));
    assert_eq!(objects(&scene.old), objects(&scene.new));
    // It goes on where it was, and the copy is brought up to date.
    scene.server.rotate(2, 1000);
    scene.old.archive(scene.server.dir());
    let report = scene.migrate(&[]);
    assert_eq!(counts(&report), [4, 3, 1, 1, 1], "{report:#}");
    scene.server.rotate(2, 1000);
    scene.old.archive(scene.server.dir());
    let report = scene.migrate(&["--cut-over"]);
    assert_eq!(counts(&report), [5, 4, 1, 1, 1], "{report:#}");
    assert_eq!(report["cut_over"], true);

    // The old place is closed, and says where to.
    scene.server.rotate(2, 1000);
    let before = (said(&scene.old), objects(&scene.old));
    assert_eq!(before.0.last().expect("a record")["kind"], "moved");
    let refused = tools::output(&mut scene.old.archive_command(scene.server.dir()));
    assert_eq!(refused.status.code(), Some(1));
    let said_to = text(&refused);
    for words in ["has moved to", &scene.new.url()] {
        assert!(said_to.contains(words), "{words} is not in: {said_to}");
    }
    assert_eq!(
        (said(&scene.old), objects(&scene.old)),
        before,
        "it stays as it was"
    );
    let status = scene.old.output(&["status", &scene.old.url()]);
    assert!(text(&status).contains("moved    to"), "{}", text(&status));
    let five = scene.old.ls(&[]).len();
    assert_eq!(five, 5, "it is read as before");

    // The new one goes on, without a gap and with nothing twice.
    scene.new.archive(scene.server.dir());
    check(&scene.new, &scene.server);
    assert_eq!(said(&scene.new)[..5], before.0[..5]);
    // Asked again, it finds all done.
    let report = scene.migrate(&["--cut-over"]);
    assert_eq!(counts(&report), [5, 5, 0, 0, 0], "{report:#}");
}

/// Migrates while files are closed and archived, killed [`KILLS`] times, and cuts over while `files` more are closed, one each `pause`;
/// what the last run reports.
fn migrated_under_load(
    scene: &mut Scene,
    options: &[&str],
    (files, pause): (usize, Duration),
) -> Value {
    let mut random = Random::seeded();
    let archiver = Daemon::start(daemon_command(&scene.old, scene.server.dir()), true);
    let (mut killed, mut at_work) = (0, 0);
    while killed < KILLS {
        (0..4).for_each(|_| scene.server.rotate(2, 50_000));
        let before = scene.new.keys("ledger").len();
        let mut run = scene
            .with_key(&[&["--follow"], options].concat())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        if killed % 2 == 0 {
            until("a record is carried over", || {
                scene.new.keys("ledger").len() > before
            });
        }
        std::thread::sleep(Duration::from_millis(400).mul_f64(random.fraction()));
        run.kill().expect("it stays until it is killed");
        assert_eq!(run.wait().expect("is our child").code(), None, "it stays");
        killed += 1;
        at_work += u32::from(scene.new.keys("ledger").len() > before);
    }
    assert!(at_work > 0, "no run was killed at work");
    // Cut over while files are closed and archived.
    let mut cut = scene.with_key(&[&["--cut-over", "--json"], options].concat());
    let done = AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        let server = &mut scene.server;
        let closing = scope.spawn(|| {
            for _ in 0..files {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                server.rotate(2, 10_000);
                std::thread::sleep(pause);
            }
        });
        let printed = tools::output(&mut cut);
        done.store(true, Ordering::Relaxed);
        closing.join().expect("no panic");
        let said = tools::excerpt(&printed.stderr);
        assert!(printed.status.success(), "{said}");
        serde_json::from_slice::<Value>(&printed.stdout).expect("JSON")
    });
    assert_eq!(report["cut_over"], true, "{report:#}");
    assert_eq!(archiver.stop(), Some(0));
    report
}

/// No segment is there twice.
fn check_once(archive: &Archive, server: &SyntheticServer) {
    let records = said(archive);
    let heads = records.iter().map(|record| record["head"].to_string());
    let heads: BTreeSet<_> = heads.collect();
    assert_eq!(
        (heads.len(), records.len()),
        (server.closed().len(), server.closed().len()),
        "no segment twice"
    );
}

#[test]
fn under_load_and_killed_at_random_both_archives_are_equal_and_no_segment_is_there_twice() {
    let mut scene = Scene::new(10);
    // In a bucket a record is carried over in several requests: who closes faster is never caught up with.
    let pause = if on_a_server() { 1000 } else { 20 };
    let closing = (2000, Duration::from_millis(pause));
    migrated_under_load(&mut scene, &[], closing);
    let (old, new) = (said(&scene.old), said(&scene.new));
    let (last, carried) = old.split_last().expect("records");
    assert_eq!(last["kind"], "moved");
    assert_eq!(last["to"], scene.new.url());
    assert_eq!(carried, new, "record by record");
    assert_eq!(objects(&scene.old), objects(&scene.new), "object by object");
    // Whoever archived goes on at the new place, with what was closed meanwhile.
    let dir = scene.server.dir().to_owned();
    tools::run(&mut scene.new.archive_command(&dir));
    check(&scene.new, &scene.server);
    check_once(&scene.new, &scene.server);
    // Both are whole, each by itself; the old one up to its end.
    scene.old.verify();
}

#[test]
fn a_follower_carries_new_records_over_within_seconds_and_ends_when_asked_to() {
    let mut scene = Scene::new(1);
    let mut follower = scene
        .with_key(&["--follow", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let carried = |count: usize| scene.new.keys("ledger").len() == count;
    until("the first is there", || carried(1));
    scene.server.rotate(2, 1000);
    scene.old.archive(scene.server.dir());
    until("the second is there", || {
        scene.new.keys("ledger").len() == 2
    });
    tools::run(Command::new("kill").arg(follower.id().to_string()));
    let ended = follower.wait().expect("is our child");
    assert_eq!(ended.code(), Some(0));
    assert_eq!(said(&scene.old), said(&scene.new));
}

#[test]
fn holes_re_keyed_segments_and_backups_are_carried_over_as_they_are() {
    let mut scene = Scene::new(2);
    scene.server.rotate(2, 1000);
    scene.server.purge(3);
    scene.server.rotate(2, 1000);
    scene.old.archive(scene.server.dir());
    let set = format!("{}:1-3", uuid_of(1));
    let backup = ["backup", "add", &scene.old.url(), "--gtid-set", &set];
    let mut add = scene.old.command(&backup);
    tools::run(add.args(["--place", "tape 7", "--id", "one"]));
    let new_key = scene.old.path("new.txt");
    let public = tools::run_text(tools::binlogfs().arg("keygen").arg("-o").arg(&new_key));
    let url = scene.old.url();
    tools::run(
        &mut scene
            .old
            .command(&["rekey", &url, "--recipient", public.trim()]),
    );
    let printed = tools::run(
        scene
            .command(&["--json", "--cut-over"])
            .arg("--identity")
            .arg(&new_key),
    );
    let report: Value = serde_json::from_slice(&printed).expect("JSON");
    assert_eq!(number(&report, "backups"), 1);
    // The re-keyed ones are read by the key that they are for; as they were first recorded, they are for the old one.
    let read = ["read_back", "checksums_only"].map(|name| number(&report, name));
    assert_eq!(read, [3, 3], "{report:#}");
    let (old, new) = (said(&scene.old), said(&scene.new));
    assert_eq!(old[..old.len() - 1], new);
    assert!(new.iter().any(|record| record["kind"] == "hole"));
    let new_url = scene.new.url();
    let listed = scene.new.output(&["backup", "list", &new_url, "--json"]);
    assert!(text(&listed).contains("\"one\""), "{}", text(&listed));
}

//! Object Lock on moto: what is locked cannot be deleted, by prune or by hand, and prune says until when.

use super::*;
use crate::s3::moto::Moto;
use binlogfs::model::Micros;

/// A locking bucket's stream, and the local directories of those who use it.
struct Locked {
    moto: Moto,
    archive: Archive,
    server: SyntheticServer,
}

const PREFIX: &str = "prod/orders";

impl Locked {
    /// Five files, archived with these options.
    fn with(options: &[&str]) -> Locked {
        Locked::of(Archive::plain(), options)
    }

    fn of(archive: Archive, options: &[&str]) -> Locked {
        let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
        (0..5).for_each(|_| server.rotate(TRANSACTIONS, 200));
        let locked = Locked {
            moto: Moto::start_locking(),
            archive,
            server,
        };
        let mut command = locked
            .archive
            .archive_command_to(&locked.url(), locked.server.dir());
        command.arg("--state-dir").arg(locked.archive.path("state"));
        tools::run(command.args(options));
        locked
    }

    fn url(&self) -> String {
        self.moto.url(PREFIX)
    }

    /// A command on the stream, with JSON, which must end with `code`.
    #[track_caller]
    fn run(&self, what: &str, more: &[&str], code: i32) -> Value {
        let words: Vec<&str> = what.split(' ').collect();
        let url = self.url();
        run(
            &self.archive,
            &[&words[..], &[&url, "--json"], more].concat(),
            code,
        )
    }

    fn backup(&self) {
        let set = format!("{}:1-45", uuid_of(1));
        let more = ["--gtid-set", &set, "--place", "tape", "--id", "late"];
        self.run("backup add", &more, 0);
    }

    fn objects(&self) -> usize {
        self.moto.count(&format!("{PREFIX}/segments/"))
    }

    /// The full name of the object of the segment `at`, from the oldest visible.
    fn object(&self, at: usize) -> String {
        let listed = self.run("ls", &["--pruned"], 0);
        format!("{PREFIX}/{}", listed[at]["object"].as_str().expect("a key"))
    }
}

fn in_days(days: i64) -> String {
    let day = Micros(Micros::now().0 + days * 86_400_000_000).to_string();
    day[..10].to_owned()
}

#[test]
fn a_locked_segment_cannot_be_deleted_by_prune_or_by_hand_and_prune_says_until_when() {
    for mode in ["governance", "compliance"] {
        let locked = Locked::with(&["--object-lock", mode, "--retain", "10d"]);
        locked.backup();
        // Segments, records and stream.json alike.
        for name in [
            locked.object(0),
            format!("{PREFIX}/stream.json"),
            format!("{PREFIX}/ledger/00000000000000000001.json"),
        ] {
            let lock = locked.moto.lock_of(&name);
            assert!(lock.starts_with(&mode.to_uppercase()), "{name}: {lock}");
            assert!(lock.contains(&in_days(10)), "{name}: {lock}");
        }
        locked.run("prune", &["--keep", "1s", "--execute"], 0);
        let did = locked.run("prune", &["--execute", "--grace", "0s"], 3);
        let kept = &did["removal"]["kept"][0];
        assert_eq!(kept["name"], "binlog.000001", "{did:#}");
        assert_eq!(kept["objects"], 3);
        assert_eq!(kept["keeping"]["lock"]["mode"], mode);
        let until = kept["keeping"]["lock"]["until"].as_str().expect("a time");
        assert!(until.starts_with(&in_days(10)), "{until}");
        assert_eq!(did["removal"]["objects"], 0);
        let url = locked.url();
        let text = refused(
            &locked.archive,
            &["prune", &url, "--execute", "--grace", "0s"],
            3,
        );
        let said = format!("binlog.000001 is locked until {until} ({mode})");
        assert!(text.contains(&said), "{text}");
        assert_eq!(locked.objects(), 5);
        // By hand: the version cannot be deleted.
        let name = locked.object(0);
        assert_eq!(locked.moto.delete_version(&name), "AccessDenied");
        assert_eq!(locked.objects(), 5);
        // A delete that names no version succeeds, and hides it: the bytes are still there.
        locked.moto.delete(&name);
        assert_eq!(locked.objects(), 4);
        assert_eq!(locked.moto.versions(&name), 1);
        // All that is not pruned can be read.
        locked.run("verify", &["--deep"], 0);
    }
}

#[test]
fn a_locked_object_of_a_rewritten_segment_stays_and_prune_says_until_when() {
    let options = ["--object-lock", "governance", "--retain", "10d"];
    let locked = Locked::of(Archive::encrypted(), &options);
    let key = locked.archive.path("new.txt");
    let made = tools::run_text(tools::binlogfs().arg("keygen").arg("-o").arg(&key));
    // The key that opens it is that of the archive; the new objects are for it and another.
    let both = [
        "--recipient",
        locked.archive.recipient(),
        "--recipient",
        made.trim(),
    ];
    locked.run("rekey", &[&["--rewrite"], &both[..]].concat(), 0);
    assert_eq!(locked.objects(), 10);
    // A lock that moves along does not move with what is read by nobody.
    let did = locked.run("retain", &["--for", "20d", "--execute"], 0);
    let records = locked.moto.count(&format!("{PREFIX}/ledger/"));
    let meant = 1 + records + 5;
    assert_eq!(
        did["objects"], meant,
        "stream.json, the records, five objects: {did:#}"
    );
    let more = ["--superseded", "--execute", "--grace", "0s"];
    let did = locked.run("prune", &more, 3);
    let kept = did["superseded"]["kept"].as_array().expect("a list");
    assert_eq!(
        (kept.len(), &did["superseded"]["objects"]),
        (5, &0.into()),
        "{did:#}"
    );
    let until = kept[0]["keeping"]["lock"]["until"]
        .as_str()
        .expect("a time");
    assert!(until.starts_with(&in_days(10)), "{until}");
    let url = locked.url();
    let text = refused(&locked.archive, &[&["prune", &url], &more[..]].concat(), 3);
    assert!(
        text.contains(&format!("is locked until {until} (governance): it stays")),
        "{text}"
    );
    assert_eq!(locked.objects(), 10);
    locked.run("verify", &["--deep"], 0);
}

#[test]
fn locks_are_told_and_made_longer_and_end() {
    let locked = Locked::with(&["--object-lock", "governance", "--retain", "15s"]);
    locked.backup();
    let report = locked.run("verify", &["--locks"], 0);
    assert_eq!(report["locks"]["locked"], 5, "{report:#}");
    let would = locked.run("retain", &["--for", "3d"], 0);
    assert_eq!(would["executed"], false);
    // stream.json, a backup, five records and as many segments; the backup has no lock yet.
    assert_eq!(
        (would["objects"].as_u64(), would["changed"].as_u64()),
        (Some(12), Some(12))
    );
    let since = locked.run("ls", &[], 0)[3]["first_time"]
        .as_str()
        .expect("a time")
        .to_owned();
    let did = locked.run(
        "retain",
        &["--for", "3d", "--segments-since", &since, "--execute"],
        0,
    );
    assert_eq!(
        did["objects"], 9,
        "two segments, and what is no segment: {did:#}"
    );
    let status = locked.run("status", &["--locks"], 0);
    let newest = &status["timelines"][0]["locks"]["newest"];
    let until = newest["lock"]["until"].as_str().expect("a time");
    assert!(until.starts_with(&in_days(3)), "{status:#}");
    // Once more, no longer than they are: nothing changes.
    let again = locked.run(
        "retain",
        &["--for", "2d", "--segments-since", &since, "--execute"],
        0,
    );
    assert_eq!(again["changed"], 0, "{again:#}");

    locked.run("prune", &["--keep", "1s", "--execute"], 0);
    std::thread::sleep(Duration::from_secs(16));
    let did = locked.run("prune", &["--execute", "--grace", "0s"], 0);
    assert_eq!(did["removal"]["objects"], 3, "{did:#}");
    // Nothing is left of them: no version, and no delete marker.
    assert_eq!(locked.objects(), 2);
    assert_eq!(locked.moto.versions(&locked.object(0)), 0);
    locked.run("verify", &["--deep"], 0);
}

#[test]
fn a_legal_hold_has_no_end_until_it_is_taken_off() {
    let locked = Locked::with(&["--legal-hold"]);
    locked.backup();
    locked.run("prune", &["--keep", "1s", "--execute"], 0);
    let did = locked.run("prune", &["--execute", "--grace", "0s"], 3);
    assert_eq!(
        did["removal"]["kept"][0]["keeping"]["legal_hold"], true,
        "{did:#}"
    );
    let name = locked.object(0);
    assert_eq!(locked.moto.delete_version(&name), "AccessDenied");
    // What was pruned is none of the archive's any more: it is taken off by hand.
    for at in 0..3 {
        locked.moto.end_legal_hold(&locked.object(at));
    }
    let did = locked.run("prune", &["--execute", "--grace", "0s"], 0);
    assert_eq!(did["removal"]["objects"], 3, "{did:#}");
    let off = locked.run("retain", &["--legal-hold", "off", "--execute"], 0);
    assert!(off["changed"].as_u64() >= Some(2), "{off:#}");
    let status = locked.run("status", &["--locks"], 0);
    let oldest = &status["timelines"][0]["locks"]["oldest"];
    assert_eq!(oldest["legal_hold"], false, "{status:#}");
}

#[test]
fn a_bucket_without_object_lock_refuses_to_be_archived_to_with_locks_and_says_why() {
    let archive = Archive::plain();
    let moto = Moto::start();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(TRANSACTIONS, 200);
    let mut command = archive.archive_command_to(&moto.url(PREFIX), server.dir());
    command.arg("--state-dir").arg(archive.path("state"));
    let output = tools::output(command.args(["--object-lock", "governance", "--retain", "1d"]));
    let said = tools::excerpt(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("Object Lock is switched on for the bucket as a whole"),
        "{said}"
    );
}

/// On the servers of other runs, which have no locks.
pub fn refused_on_a_server(archive: &Archive) {
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(TRANSACTIONS, 200);
    archive.archive(server.dir());
    let url = archive.url();
    refused(archive, &["retain", &url, "--for", "1d", "--execute"], 1);
}

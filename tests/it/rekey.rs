//! Other keys for what is archived: who opens it then, who does not, and what is said to them.

mod afterwards;
mod cost;
mod killed;
mod lost_key;
mod rewrite;
mod rotation;

use crate::archive::Archive;
use crate::synthetic::{SyntheticServer, uuid_of};
use crate::tools;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// An encrypted stream of one server, and more keys.
struct Scene {
    archive: Archive,
    server: SyntheticServer,
}

/// A key pair: the file of the private key, and the public key.
struct Key {
    file: PathBuf,
    public: String,
}

impl Scene {
    /// One with `files` archived files, some of more than one frame.
    fn new(files: usize) -> Scene {
        let archive = Archive::encrypted();
        let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
        for number in 0..files {
            let transactions = if number % 3 == 1 { 70 } else { 3 };
            server.rotate(transactions, 40_000);
        }
        archive.archive(server.dir());
        Scene { archive, server }
    }

    /// Takes the rest of the second file out, and the third one.
    fn fence(&self) {
        let (url, gtid) = (self.archive.url(), format!("{}:10", uuid_of(1)));
        let fence = ["fence", &url, "--gtid", &gtid, "--reason", "db1 was lost"];
        let fence = [&fence[..], &["--execute"]].concat();
        tools::run(&mut self.archive.command(&fence));
    }

    fn key(&self, name: &str) -> Key {
        let file = self.archive.path(&format!("{name}.txt"));
        let made = tools::run_text(tools::binlogfs().arg("keygen").arg("-o").arg(&file));
        let public = made.trim().to_owned();
        Key { file, public }
    }

    /// The key that the stream was archived for.
    fn old(&self) -> Key {
        Key {
            file: self.archive.key(),
            public: self.archive.recipient().to_owned(),
        }
    }

    /// A command with `key`, and a cache directory of its own name.
    fn command(&self, key: &Key, cache: &str, arguments: &[&str]) -> Command {
        let mut command = tools::binlogfs();
        command
            .args(arguments)
            .arg("--identity")
            .arg(&key.file)
            .arg("--cache-dir")
            .arg(self.archive.path(cache));
        command
    }

    fn rekey_command(&self, with: &Key, to: &[&Key], more: &[&str]) -> Command {
        let url = self.archive.url();
        let mut command = self.command(with, "rekey-cache", &["rekey", &url]);
        for key in to {
            command.args(["--recipient", &key.public]);
        }
        command.args(more);
        command
    }

    /// Re-keys, which must end with `code`; what it reports.
    #[track_caller]
    fn rekey(&self, with: &Key, to: &[&Key], more: &[&str], code: i32) -> Value {
        let output = tools::output(self.rekey_command(with, to, more).arg("--json"));
        let said = tools::excerpt(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {said}"))
    }

    fn records(&self) -> usize {
        self.archive.keys("ledger").len()
    }

    /// All bytes that the server closed.
    fn plain(&self) -> Vec<u8> {
        self.server.truth().concat()
    }

    /// `cat` of everything, by `key` and out of a fresh cache.
    fn cat(&self, key: &Key) -> Output {
        let cache = tempfile::tempdir_in(self.archive.path(".")).expect("a directory");
        let cache = cache.path().to_str().expect("text");
        tools::output(&mut self.command(key, cache, &["cat", &self.archive.url()]))
    }

    /// A mount by `key`: its exit code and what it said.
    fn mount(&self, key: &Key, cache: &str, dir: &Path) -> (Option<i32>, String) {
        fs::create_dir_all(dir).expect("writable");
        let (url, dir) = (self.archive.url(), dir.to_str().expect("text"));
        let output = tools::output(&mut self.command(key, cache, &["mount", &url, dir]));
        (output.status.code(), tools::excerpt(&output.stderr))
    }
}

fn unmount(dir: &Path) {
    tools::run(Command::new("umount").arg(dir));
}

fn numbers(report: &Value) -> [u64; 4] {
    ["segments", "rekeyed", "already", "unencrypted"]
        .map(|name| report[name].as_u64().expect("a number"))
}

#[test]
fn after_it_the_mount_refuses_the_old_key_and_the_new_one_reads_everything() {
    let scene = Scene::new(4);
    let (old, new) = (scene.old(), scene.key("new"));
    let dir = scene.archive.path("old-mnt");
    // Whoever has read everything has headers, tails and frames at hand: they must not help later.
    assert_eq!(scene.mount(&old, "old-cache", &dir).0, Some(0));
    for file in scene.server.closed() {
        let name = file.file_name().expect("a name");
        let mounted = fs::read(dir.join(name)).expect("the old key reads");
        assert!(mounted == fs::read(&file).expect("readable"));
    }
    unmount(&dir);
    let objects: Vec<_> = scene.archive.keys("segments");
    let stored = |path: &PathBuf| fs::read(path).expect("readable");
    let before: Vec<_> = objects.iter().map(stored).collect();

    let report = scene.rekey(&old, &[&new], &[], 0);
    assert_eq!(numbers(&report), [4, 4, 0, 0], "{report:#}");
    assert_eq!(scene.records(), 8);
    assert_eq!(
        scene.archive.keys("segments"),
        objects,
        "no object came or went"
    );
    assert!(objects.iter().map(stored).eq(before), "none was written");

    let (code, said) = scene.mount(&old, "old-cache", &dir);
    assert_eq!(code, Some(1), "{said}");
    for words in [
        "was re-keyed",
        &new.public,
        &old.public,
        "key.txt",
        "--identity",
    ] {
        assert!(said.contains(words), "{words} is not in: {said}");
    }
    assert_eq!(
        scene.mount(&new, "new-cache", &dir),
        (Some(0), String::new())
    );
    for file in scene.server.closed() {
        let name = file.file_name().expect("a name");
        let mounted = fs::read(dir.join(name)).expect("the new key reads");
        assert!(mounted == fs::read(&file).expect("readable"), "{name:?}");
    }
    unmount(&dir);

    let refused = scene.cat(&old);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty());
    assert!(scene.cat(&new).stdout == scene.plain());
    let url = scene.archive.url();
    let verify = |key: &Key| {
        let arguments = ["verify", &url, "--deep", "--orphans", "--json"];
        let output = tools::output(&mut scene.command(key, "verify-cache", &arguments));
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        (output.status.code(), report)
    };
    let (code, report) = verify(&new);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(report["orphans"], serde_json::json!([]));
    let (code, report) = verify(&old);
    let findings = report["findings"].as_array().expect("a list");
    assert_eq!((code, findings.len()), (Some(3), 4), "{report:#}");
    let told = findings[0]["detail"].as_str().expect("text");
    assert!(told.contains("was re-keyed"), "{told}");
}

#[test]
fn stock_age_opens_the_old_body_behind_the_carried_header_with_the_new_key() {
    let scene = Scene::new(2);
    let (old, new, offline) = (scene.old(), scene.key("new"), scene.key("offline"));
    scene.rekey(&old, &[&new, &offline], &[], 0);
    let listed = scene.archive.ls(&[]);
    for ((place, file), entry) in scene.server.closed().iter().enumerate().zip(&listed) {
        let object = scene
            .archive
            .bucket()
            .join(entry["object"].as_str().expect("a key"));
        let header_size = entry["header_size"].as_u64().expect("a number");
        let header = entry["header"].as_str().expect("base64");
        let opened = |key: &Key| {
            // As docs/KEYS.md has it.
            let script = format!(
                "set -o pipefail; {{ echo {header} | base64 -d; tail -c +{} {}; }} | age -d -i {} | zstd -d",
                header_size + 1,
                object.display(),
                key.file.display(),
            );
            tools::output(Command::new("bash").args(["-c", &script]))
        };
        for key in [&new, &offline] {
            let output = opened(key);
            let said = tools::excerpt(&output.stderr);
            assert_eq!(output.status.code(), Some(0), "{said}");
            assert!(output.stdout == fs::read(file).expect("readable"), "{said}");
        }
        let refused = opened(&old);
        assert_ne!(refused.status.code(), Some(0));
        assert!(tools::excerpt(&refused.stderr).contains("no identity matched"));
        // And the object as it is still opens with the old key: re-keying takes nothing away.
        let object = scene.archive.keys("segments").remove(place);
        let mut age = Command::new("age");
        let still = tools::run(age.arg("-d").arg("-i").arg(&old.file).arg(object));
        assert!(!still.is_empty());
    }
}

#[test]
fn a_dry_run_writes_nothing_and_a_second_run_finds_nothing_to_do() {
    let scene = Scene::new(3);
    let (old, new) = (scene.old(), scene.key("new"));
    let report = scene.rekey(&old, &[&new], &["--dry-run"], 0);
    assert_eq!(numbers(&report), [3, 3, 0, 0]);
    assert_eq!(scene.records(), 3);
    let report = scene.rekey(&old, &[&new], &["--since", "binlog.000002"], 0);
    assert_eq!(numbers(&report), [2, 2, 0, 0]);
    assert_eq!(
        report["range"],
        serde_json::json!(["binlog.000002", "binlog.000003"])
    );
    let report = scene.rekey(&old, &[&new], &[], 0);
    assert_eq!(numbers(&report), [3, 1, 2, 0]);
    let report = scene.rekey(&old, &[&new], &[], 0);
    assert_eq!(numbers(&report), [3, 0, 3, 0]);
    assert_eq!(scene.records(), 6);
    // Once more for others: out of the carried headers, by the key that they are for now.
    let third = scene.key("third");
    let report = scene.rekey(&new, &[&third, &new], &[], 0);
    assert_eq!(numbers(&report), [3, 3, 0, 0]);
    // The order of recipients is nothing.
    let report = scene.rekey(&new, &[&new, &third], &[], 0);
    assert_eq!(numbers(&report), [3, 0, 3, 0]);
    for key in [&new, &third] {
        assert!(scene.cat(key).stdout == scene.plain());
    }
    assert_eq!(scene.cat(&old).status.code(), Some(1));
}

#[test]
fn a_mount_that_was_made_with_the_old_key_opens_nothing_more() {
    let scene = Scene::new(3);
    let (old, new) = (scene.old(), scene.key("new"));
    let dir = scene.archive.path("old-mnt");
    fs::create_dir_all(&dir).expect("writable");
    let (url, at) = (scene.archive.url(), dir.to_str().expect("text"));
    let arguments = ["mount", &url, at, "--refresh", "1"];
    tools::run(&mut scene.command(&old, "old-cache", &arguments));
    let begin = |name: &str| {
        use std::io::Read as _;
        let mut some = [0; 100];
        let mut file = fs::File::open(dir.join(name))?;
        file.read_exact(&mut some)
    };
    begin("binlog.000001").expect("the old key reads");
    scene.rekey(&old, &[&new], &[], 0);
    let done_at = jiff::Timestamp::now();
    tools::eventually("the mount has looked at the ledger", || {
        let text = fs::read(dir.join(".status.json")).expect("readable");
        let status: Value = serde_json::from_slice(&text).expect("JSON");
        let refreshed_at = status["refreshed_at"].as_str().expect("a time");
        refreshed_at.parse::<jiff::Timestamp>().expect("a time") > done_at
    });
    // Not one that was read before: of that the kernel has kept the pages.
    let refused = begin("binlog.000003").expect_err("it is not the old key's any more");
    assert_eq!(refused.raw_os_error(), Some(libc::ENOKEY), "{refused}");
    unmount(&dir);
}

#[test]
fn segments_that_are_not_encrypted_stay_as_they_are() {
    let archive = Archive::plain();
    let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
    server.rotate(2, 100);
    archive.archive(server.dir());
    let scene = Scene { archive, server };
    let (old, new) = (scene.key("old"), scene.key("new"));
    let report = scene.rekey(&old, &[&new], &[], 0);
    assert_eq!(numbers(&report), [1, 0, 0, 1]);
    assert_eq!(scene.records(), 1);
}

#[test]
fn what_a_fence_took_out_is_given_out_by_the_new_key() {
    let scene = Scene::new(3);
    let (old, new) = (scene.old(), scene.key("new"));
    let url = scene.archive.url();
    scene.fence();
    let report = scene.rekey(&old, &[&new], &["--dry-run"], 0);
    assert_eq!(numbers(&report), [3, 3, 0, 0], "{report:#}");
    let report = scene.rekey(&old, &[&new], &[], 0);
    assert_eq!(numbers(&report), [3, 3, 0, 0], "{report:#}");
    let fenced = |key: &Key, cache: &str| {
        let arguments = ["cat", &url, "--fenced"];
        tools::output(&mut scene.command(key, cache, &arguments))
    };
    let given = fenced(&new, "new-cache");
    let said = tools::excerpt(&given.stderr);
    assert_eq!(given.status.code(), Some(0), "{said}");
    assert!(given.stdout == scene.server.truth()[1..].concat(), "{said}");
    let refused = fenced(&old, "old-cache");
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.stdout.is_empty());
    let report = scene.rekey(&old, &[&new], &[], 0);
    assert_eq!(numbers(&report), [3, 0, 3, 0], "{report:#}");
}

//! A bucket that an attacker wrote, with hashes that hold: every command ends, in bounded memory, without a wrong byte, and
//! nothing is made outside the directories it was given.

use crate::archive::Archive;
use crate::synthetic::SyntheticServer;
use crate::tools;
use binlogfs::model::Sha256;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The most memory a command may hold. As a limit on its data segment it counts every private page that can be written,
/// which is more than what is resident.
const MEMORY_MAX_BYTES: u64 = 200 << 20;
/// The most a command may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a segment that is not what the record says may be read as: nothing beyond this is taken out of the mount.
const READ_MAX_BYTES: u64 = 4 << 20;

/// A stream of two honest segments, of which the second record is the attacker's.
struct Victim {
    archive: Archive,
    truth: Vec<Vec<u8>>,
    record: Value,
}

impl Victim {
    fn new() -> Victim {
        let archive = Archive::plain();
        let mut server = SyntheticServer::new(&archive.data(), 1, "binlog");
        (0..2).for_each(|_| server.rotate(5, 2000));
        archive.archive(server.dir());
        let truth = server.truth();
        let line = fs::read(archive.keys("ledger")[1].as_path()).expect("readable");
        let mut record: Value = serde_json::from_slice(&line).expect("JSON");
        record.as_object_mut().expect("an object").remove("self");
        Victim {
            archive,
            truth,
            record,
        }
    }

    /// Puts `record`, with a `self` that fits, in the place of the newest record.
    fn plant(&self, record: &Value) {
        let mut text = record.to_string();
        let digest = Sha256::of(text.as_bytes());
        assert_eq!(text.pop(), Some('}'));
        self.replace_newest(format!("{text},\"self\":\"{digest}\"}}\n").as_bytes());
    }

    fn replace_newest(&self, bytes: &[u8]) {
        let path = self.archive.bucket().join(format!("ledger/{:020}.json", 2));
        fs::remove_file(&path).expect("removable");
        fs::write(path, bytes).expect("writable");
        let _ = fs::remove_dir_all(self.archive.path("cache"));
    }

    /// A command in bounded memory, run to its end: it must end by itself, with an exit code of ours.
    fn run(&self, what: &str, arguments: &[&str]) -> Output {
        let output = tools::output(&mut self.bounded(arguments));
        let said = tools::excerpt(&output.stderr);
        let code = output.status.code();
        assert!(
            matches!(code, Some(0 | 1 | 3)),
            "{what}: {arguments:?} crashed: {}: {said}",
            output.status
        );
        assert!(!said.contains("panicked"), "{what}: {arguments:?}: {said}");
        output
    }

    fn bounded(&self, arguments: &[&str]) -> Command {
        let command = self.archive.command(arguments);
        let mut bounded = Command::new("timeout");
        bounded
            .arg(PATIENCE.as_secs().to_string())
            .args(["prlimit", &format!("--data={MEMORY_MAX_BYTES}")]);
        bounded.arg(command.get_program()).args(command.get_args());
        bounded.envs(crate::s3::credentials());
        bounded
    }

    /// Every reading command on the stream as it is now: it must end in an error, or tell the truth.
    fn check_reads(&self, what: &str) {
        let url = self.archive.url();
        let before = everything(&self.archive);
        self.run(what, &["ls", &url]);
        self.run(what, &["ls", &url, "--json"]);
        self.run(what, &["status", &url]);
        let cat = self.run(what, &["cat", &url]);
        let whole = self.truth.concat();
        let truth = if cat.status.code() == Some(0) {
            cat.stdout == whole
        } else {
            whole.starts_with(&cat.stdout)
        };
        assert!(
            truth,
            "{what}: cat gave {} bytes that nobody archived",
            cat.stdout.len()
        );
        self.check_mount(what);
        assert_eq!(
            everything(&self.archive),
            before,
            "{what}: something was made"
        );
    }

    /// The same; and `verify` must see through it.
    fn check(&self, what: &str) {
        self.check_reads(what);
        let url = self.archive.url();
        let verify = self.run(what, &["verify", &url, "--deep"]);
        assert_ne!(
            verify.status.code(),
            Some(0),
            "{what}: verify finds nothing"
        );
    }

    /// Mounts it, if it lets itself be mounted, and reads all there is.
    fn check_mount(&self, what: &str) {
        let (url, dir) = (self.archive.url(), self.archive.path("mnt"));
        let arguments = ["mount", &url, dir.to_str().expect("text"), "--foreground"];
        let mut child = self
            .bounded(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let begun = Instant::now();
        let mounted = loop {
            if let Some(status) = child.try_wait().expect("is our child") {
                assert_eq!(status.code(), Some(1), "{what}: mount crashed: {status}");
                break false;
            }
            if fs::read_dir(&dir).is_ok_and(|mut names| names.next().is_some()) {
                break true;
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{what}: neither mounted nor refused"
            );
            std::thread::sleep(Duration::from_millis(10));
        };
        if mounted {
            let read = self.read_all(&dir);
            // `timeout` passes on to `prlimit`, which becomes the program: it is timeout's only child.
            let unmounted = Command::new("umount")
                .arg("-l")
                .arg(&dir)
                .status()
                .expect("umount runs");
            assert!(unmounted.success());
            let status = child.wait().expect("is our child");
            read.unwrap_or_else(|wrong| panic!("{what}: {wrong}"));
            assert_eq!(
                status.code(),
                Some(0),
                "{what}: the mount ended with {status}"
            );
        }
    }

    fn read_all(&self, dir: &Path) -> Result<(), String> {
        for entry in fs::read_dir(dir).map_err(|error| error.to_string())? {
            let path = entry.map_err(|error| error.to_string())?.path();
            let name = path
                .file_name()
                .expect("a name")
                .to_string_lossy()
                .into_owned();
            let mut bytes = Vec::new();
            let read = File::open(&path)
                .and_then(|file| file.take(READ_MAX_BYTES).read_to_end(&mut bytes));
            let truth = self.truth.iter().any(|truth| {
                if read.is_ok() {
                    *truth == bytes
                } else {
                    truth.starts_with(&bytes)
                }
            });
            if !truth {
                return Err(format!(
                    "{name} gave {} bytes that nobody archived ({read:?})",
                    bytes.len()
                ));
            }
        }
        Ok(())
    }
}

/// Every path below the archive's directory but those in its cache, and those beside it that a key could lead to.
fn everything(archive: &Archive) -> Vec<PathBuf> {
    let root = archive.path("");
    let (mut found, mut dirs) = (Vec::new(), vec![root.clone()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).expect("readable") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && !path.is_symlink() && path != root.join("cache") {
                dirs.push(path.clone());
            }
            if path != root.join("cache") {
                found.push(path);
            }
        }
    }
    let escapes = ["passwd", "etc", "etc/passwd", "x"]
        .map(|name| root.parent().expect("a parent").join(name));
    found.extend(escapes.into_iter().filter(|path| path.exists()));
    found.sort();
    found
}

#[test]
fn names_and_keys_that_lead_elsewhere_lead_nowhere() {
    let victim = Victim::new();
    // What an escaping key would reach is right in every hash.
    let object = victim
        .archive
        .bucket()
        .join(victim.record["object"]["key"].as_str().expect("a key"));
    fs::copy(&object, victim.archive.path("x")).expect("copied");
    let names = [
        "../../etc/passwd",
        "/etc/passwd",
        "binlog.000002\0",
        "binlog.000002/../../x",
        "binlog.000001",
        "..",
        ".",
        "",
        ".raw",
        ".timeline",
        "binlog.000002\n",
        "binlog.000001.0",
        "zzz.000002",
        &format!("binlog.{:0300}", 2),
    ];
    for name in names {
        let mut record = victim.record.clone();
        record["mount_name"] = json!(name);
        victim.plant(&record);
        victim.check(&format!("mount name {name:?}"));
    }
    for name in ["../../etc/passwd", "binlog.000002\0", "../x.000002"] {
        let mut record = victim.record.clone();
        record["file"] = json!(name);
        victim.plant(&record);
        victim.check(&format!("file {name:?}"));
    }
    for key in [
        "../x",
        "../../x",
        "/etc/passwd",
        "segments/../../x",
        "segments//x",
        "segments/\0",
        "",
        "ledger/x",
        "stream.json",
    ] {
        let mut record = victim.record.clone();
        record["object"]["key"] = json!(key);
        victim.plant(&record);
        victim.check(&format!("key {key:?}"));
    }
    if crate::archive::on_a_server() {
        // What its own files are is the server's matter.
        return;
    }
    // A symbolic link out of the bucket is not followed.
    victim.plant(&victim.record);
    fs::remove_file(&object).expect("removable");
    std::os::unix::fs::symlink(victim.archive.path("x"), &object).expect("linked");
    victim.check("a symbolic link as object");
}

#[test]
fn numbers_that_lie_cost_nothing() {
    let victim = Victim::new();
    let lies: [(&str, &[u64]); 7] = [
        ("/size", &[0, 1, 1 << 20, 1 << 40, 1 << 62, u64::MAX]),
        ("/object/size", &[0, 1, 1 << 40, u64::MAX]),
        (
            "/object/frame_size",
            &[0, 1, 4096, 1 << 24, u32::MAX as u64],
        ),
        ("/object/tail_offset", &[0, 1, 1 << 30, u64::MAX]),
        ("/object/header_size", &[1, 100, 8192, u64::MAX]),
        ("/number", &[0, 1, 1 << 31, u64::MAX]),
        ("/transactions", &[u64::MAX]),
    ];
    for (pointer, values) in lies {
        for value in values {
            let mut record = victim.record.clone();
            *record.pointer_mut(pointer).expect("it has that member") = json!(value);
            victim.plant(&record);
            victim.check(&format!("{pointer} {value}"));
        }
    }
    // A file of one frame is the same in larger frames.
    let mut record = victim.record.clone();
    record["object"]["frame_size"] = json!(8 << 20);
    victim.plant(&record);
    victim.check_reads("the largest frame size");
}

#[test]
fn members_that_lie_are_refused_or_found() {
    let victim = Victim::new();
    let huge_set = "00000000-0000-0000-0000-000000000001:1-9223372036854775806";
    let lies = [
        ("/timeline", json!(u32::MAX)),
        ("/incarnation", json!(u32::MAX)),
        ("/gtids", json!(huge_set)),
        ("/first_time", json!(i64::MIN)),
        ("/last_time", json!(i64::MAX)),
        ("/min_time", json!(i64::MIN)),
        ("/max_time", json!(i64::MAX)),
        ("/latest_commit", json!(i64::MAX)),
        ("/sha256", json!("00".repeat(32))),
        ("/head", json!("00".repeat(32))),
        ("/object/tail_sha256", json!("00".repeat(32))),
        ("/kind", json!("nonsense")),
        ("/format", json!(2)),
        ("/seq", json!(7)),
        ("/seq", json!(u64::MAX)),
    ];
    for (pointer, value) in lies {
        let mut record = victim.record.clone();
        *record.pointer_mut(pointer).expect("it has that member") = value.clone();
        victim.plant(&record);
        victim.check(&format!("{pointer} {value}"));
    }
    // When it was archived is nothing that the bytes could prove.
    for time in [i64::MIN, i64::MAX] {
        let mut record = victim.record.clone();
        record["archived_at"] = json!(time);
        victim.plant(&record);
        victim.check_reads(&format!("archived at {time}"));
    }
}

/// A zstd frame that claims to hold `plain_bytes`, and holds one byte.
fn bomb(plain_bytes: u64) -> Vec<u8> {
    // Magic; single segment with an 8-byte content size; a last block, run-length, of 128 KiB; its byte.
    let mut frame = 0xFD2F_B528_u32.to_le_bytes().to_vec();
    frame.push(0xE0);
    frame.extend_from_slice(&plain_bytes.to_le_bytes());
    let block: u32 = 1 | (1 << 1) | ((128 << 10) << 3);
    frame.extend_from_slice(&block.to_le_bytes()[..3]);
    frame.push(b'x');
    frame
}

/// The tail of an object of one frame, as the segment's format has it.
fn tail_of(frame: &[u8], claimed_bytes: u32) -> Vec<u8> {
    let mut content = b"BLFT".to_vec();
    for half in [1_u16, 1, 1] {
        content.extend_from_slice(&half.to_le_bytes());
    }
    content.extend_from_slice(&32_u32.to_le_bytes());
    content.extend_from_slice(&Sha256::of(frame).0);
    let mut tail = 0x184D_2A5D_u32.to_le_bytes().to_vec();
    tail.extend_from_slice(&(content.len() as u32).to_le_bytes());
    tail.extend_from_slice(&content);
    let words = [
        0x184D_2A5E,
        2 * 8 + 9,
        frame.len() as u32,
        claimed_bytes,
        tail.len() as u32,
        0,
        2,
    ];
    for word in words {
        tail.extend_from_slice(&word.to_le_bytes());
    }
    tail.push(0);
    tail.extend_from_slice(&0x8F92_EAB1_u32.to_le_bytes());
    tail
}

#[test]
fn a_frame_that_claims_a_terabyte_is_not_believed() {
    let victim = Victim::new();
    let object = victim
        .archive
        .bucket()
        .join(victim.record["object"]["key"].as_str().expect("a key"));
    for claim in [1 << 40, u64::MAX, 1 << 20, 5] {
        let frame = bomb(claim);
        let tail = tail_of(&frame, 1 << 20);
        fs::remove_file(&object).expect("removable");
        fs::write(&object, [frame.as_slice(), &tail].concat()).expect("writable");
        let mut record = victim.record.clone();
        record["size"] = json!(1 << 20);
        record["object"]["size"] = json!(frame.len() + tail.len());
        record["object"]["tail_offset"] = json!(frame.len());
        record["object"]["tail_sha256"] = json!(Sha256::of(&tail).to_string());
        victim.plant(&record);
        let what = format!("a frame that claims {claim} bytes");
        victim.check(&what);
        let said = victim.run(&what, &["cat", &victim.archive.url(), "binlog.000002"]);
        let said = tools::excerpt(&said.stderr);
        assert!(
            said.contains("frame"),
            "{what}: the tail was believed, the frame was not: {said}"
        );
    }
}

#[test]
fn objects_of_a_terabyte_where_small_ones_belong_are_not_read() {
    let victim = Victim::new();
    let bucket = victim.archive.bucket();
    let sparse = |path: &Path| {
        let _ = fs::remove_file(path);
        File::create(path)
            .and_then(|file| file.set_len(1 << 40))
            .expect("sparse files");
    };
    sparse(&bucket.join(format!("ledger/{:020}.json", 2)));
    victim.check("a record of a terabyte");
    victim.plant(&victim.record);
    sparse(&bucket.join(victim.record["object"]["key"].as_str().expect("a key")));
    victim.check("an object of a terabyte");
    let stream_file = fs::read(bucket.join("stream.json")).expect("readable");
    sparse(&bucket.join("stream.json"));
    victim.check("a stream.json of a terabyte");
    fs::remove_file(bucket.join("stream.json")).expect("removable");
    for basename in ["../x", "..", "a/b", &"x".repeat(400)] {
        let file = json!({ "format": 1, "stream_id": "00000000-0000-0000-0000-000000000001", "flavour": "mysql", "basename": basename, "created_at": 0 });
        fs::write(bucket.join("stream.json"), file.to_string()).expect("writable");
        let _ = fs::remove_dir_all(victim.archive.path("cache"));
        victim.check(&format!("basename {basename:?}"));
    }
    fs::write(bucket.join("stream.json"), stream_file).expect("writable");
    let _ = fs::remove_dir_all(victim.archive.path("cache"));
    // Names that are no keys, and directories without end, are passed over.
    fs::write(bucket.join("ledger/18446744073709551615.json"), b"{}").expect("writable");
    fs::create_dir_all(bucket.join("ledger").join("d/".repeat(200))).expect("writable");
    victim.check("odd names under ledger/");
}
